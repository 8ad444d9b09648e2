"""A network with its weights: arrays in, arrays out."""

import os
import threading
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import replace
from importlib import resources
from typing import Any

import numpy as np

from .errors import ShapeError, UsageError, WeightsError
from .graph import Graph, Node
from .models import ARCHITECTURES, Architecture, MobileNetConfig, imported, mobilenetv3
from .ops import GlobalAvgPool, L2Normalize, Linear
from .passes import finish, optimise, quantise
from .paths import quoted
from .plan import Plan
from .quantization import Quantization
from .quantization.file import digest, restore
from .team import team_of
from .threads import available_cpus
from .weights import Weights, load_weights, random_weights, save_weights

EMBEDDED = {
    "fp32": "mobilenetv3_small_rvcnn.safetensors",
    "int8": "mobilenetv3_small_rvcnn_int8.safetensors",
}
"""The weights that come with the install, by precision."""

PRE_LOGITS = "pre_logits"
"""Where an embedding is taken from: what the classifier's last layer reads."""

EMBED, POOLED = "embed", "pooled"
"""A network's own linear head, and what its trunk ends in."""

MEAN = " pooled"
"""Behind a layer's name: the mean of its map."""

PLANS_KEPT = 8
"""Plans that a model remembers."""

UNTRAINED = {
    "padding": "symmetric",
    "bn_eps": "0.001",
    "embedding": "embed",
    "embedding_dim": "512",
    "resize": "256",
    "crop": "224",
    "interpolation": "bilinear",
    "mean": "0.485,0.456,0.406",
    "std": "0.229,0.224,0.225",
}
"""Metadata of random weights."""


def list_models() -> list[str]:
    """Names of the architectures."""
    return list(ARCHITECTURES)


def create_model(
    name: str | MobileNetConfig | None = None,
    *,
    weights: str | os.PathLike[str] | Weights | None = None,
    num_classes: int | None = None,
    padding: str | None = None,
    bn_eps: float | None = None,
    normalize: bool | None = None,
    precision: str = "fp32",
    threads: int = 1,
    seed: int = 0,
    embedding: str | None = None,
) -> "Model":
    """A network by name, with weights.

    Parameters
    ----------
    name : str or MobileNetConfig, optional
        One of :func:`list_models`; by default the one the weights file names. A configuration
        decides everything about the network by itself.
    weights : path-like or Weights, optional
        A safetensors file, a PyTorch checkpoint, a NumPy archive or an ONNX model; "random" for
        untrained weights. The embedded model's if neither name nor weights are given.
    num_classes : int, optional
        Width of the classifier; 0 asks for embeddings. By default, what the file holds.
    padding : {"same", "symmetric"}, optional
        Overrides the file's metadata.
    bn_eps : float, optional
        Overrides the file's metadata.
    normalize : bool, optional
        Scale embeddings to unit length; by default, what the file says, else no.
    precision : {"fp32", "int8"}
        Arithmetic of the network. int8 needs weights that ``rvcnn quantize`` made; the embedded
        model brings its own.
    threads : int
        Threads that share the images of a batch, or one image where a batch has fewer images than
        that; 0 for all the CPUs this process may use.
    seed : int
        Of random weights.
    embedding : str, optional
        The layer an embedding is taken from; by default the file's. ``pooled``, ``embed``,
        ``pre_logits`` (what the classifier's last layer reads), or any layer that gives a vector;
        "LAYER pooled" is the mean of a layer's map over its pixels. To ask for one is to ask for
        embeddings, not logits.

    Returns
    -------
    Model

    Raises
    ------
    UsageError
        An unknown name or precision, or a name without weights.
    ShapeError
        An embedding from a layer that does not exist.
    WeightsError
        A file that is damaged, does not fit the network, or does not say how to run it.
    """
    if precision not in EMBEDDED:
        raise UsageError(f"precision must be one of {', '.join(EMBEDDED)}, not {precision!r}")
    if threads < 0 or seed < 0:
        raise UsageError(f"threads and seed start at 0, not {min(threads, seed)}")
    untrained = isinstance(weights, str) and weights == "random"
    if untrained:
        if precision != "fp32":
            raise UsageError("random weights are fp32: int8 takes a file made by `rvcnn quantize`")
        file = Weights({}, _untrained(name, num_classes), "random weights", "")
    elif isinstance(weights, Weights):
        file = weights
    else:
        file = load_weights(_weights_path(name, weights, precision))
    _check_precision(file, precision)
    architecture = _architecture(file, name)
    if isinstance(name, MobileNetConfig):
        file = replace(file, metadata={**file.metadata, **name.metadata()})
        padding = name.padding if padding is None else padding
        bn_eps = name.bn_eps if bn_eps is None else bn_eps
    file = _as_asked(file, architecture, num_classes, padding, bn_eps, normalize)
    graph = _graph(architecture, file)
    quantization = None
    if precision == "int8":
        graph, quantization = restore(graph, file)
    else:
        if untrained:
            file = random_weights(graph.parameters(), file.metadata, seed)
        file.check(graph.parameters())
        graph = graph.bind(file.tensors)
    chosen = None
    if embedding is not None:
        chosen = embedding if embedding != file.metadata.get("embedding") else None
        file = replace(file, metadata={**file.metadata, "embedding": embedding})
        num_classes = 0
    wanted = _with_head(graph, architecture, file, num_classes)
    return Model(architecture, wanted, graph, file, threads, quantization, chosen)


def _check_precision(file, precision):
    held = file.metadata.get("precision", "fp32")
    if held != precision:
        named = quoted(file.source)
        how = {
            "int8": f"make such a file with `rvcnn quantize PATH... --weights {named}`",
            "fp32": "pass precision='int8' (--precision int8), or what they were made of",
        }
        raise WeightsError(f"{file.source} holds {held} weights, not {precision}: {how[precision]}")


def _untrained(name, num_classes):
    if isinstance(name, MobileNetConfig):
        head = "embed" if name.embedding_dim else "pooled"
        facts = {"num_classes": str(name.num_classes), "embedding_dim": str(name.embedding_dim)}
        return UNTRAINED | facts | {"embedding": head}
    return UNTRAINED | {"num_classes": str(num_classes or 0)}


def _weights_path(name, weights, precision):
    if isinstance(weights, (str, os.PathLike)):
        return os.fspath(weights)
    if weights is not None:
        raise UsageError(f"weights must be a path or 'random', not {weights!r}")
    if name is not None:
        if isinstance(name, str):
            _check_known(name)
        raise UsageError(
            f"{name} needs weights: a file (weights=FILE, --weights FILE) or weights='random'; "
            "without a name, the embedded model is used"
        )
    return resources.files("rvcnn.data") / EMBEDDED[precision]


def _architecture(file, name) -> Architecture:
    stated = file.metadata.get("architecture")
    if isinstance(name, MobileNetConfig):
        return Architecture(
            name.architecture,
            lambda padding, bn_eps, **heads: mobilenetv3(
                replace(name, padding=padding, bn_eps=bn_eps)
            ),
            ARCHITECTURES[name.architecture].classifier,
        )
    if name and stated and name != stated:
        raise WeightsError(f"{file.source} holds weights of {stated}, not of {name}")
    name = name or file.setting("architecture")
    if "graph" in file.metadata:
        return imported(file.metadata)
    _check_known(name)
    return ARCHITECTURES[name]


def _check_known(name):
    if name not in ARCHITECTURES:
        raise UsageError(f"unknown model {name!r}; there are {', '.join(ARCHITECTURES)}")


def _as_asked(file, architecture, num_classes, padding, bn_eps, normalize) -> Weights:
    """The weights with metadata in which the explicit arguments have won."""
    stated = file.metadata.get("num_classes")
    if stated is not None and num_classes and num_classes != file.number("num_classes"):
        raise WeightsError(f"{file.source} has {stated} classes, not {num_classes}")
    asked = {
        "architecture": architecture.name,
        "num_classes": num_classes if stated is None else None,
        "padding": padding,
        "bn_eps": bn_eps,
        "normalize": None if normalize is None else str(bool(normalize)).lower(),
    }
    given = {key: str(value) for key, value in asked.items() if value is not None}
    return replace(file, metadata={**file.metadata, **given})


def _graph(architecture, file) -> Graph:
    """The whole network the file holds: trunk and every head."""
    whole = "graph" in file.metadata
    source = file.metadata.get("embedding_from", None if whole else POOLED)
    held = "embed.weight" in file.tensors and "embedding_dim" in file.metadata
    head = source and (held or file.metadata.get("embedding") == EMBED)
    width = file.number("embedding_dim") if head else 0
    if whole:
        graph = architecture.build()
    else:
        graph = architecture.build(
            num_classes=file.number("num_classes"),
            padding=file.setting("padding"),
            bn_eps=file.number("bn_eps", kind=float),
            embedding_dim=width if source == POOLED else 0,
            **architecture.options(file.metadata),
        )
    if not width or EMBED in {node.name for node in graph.nodes}:
        return graph
    graph, layer = _vector(graph, architecture, file, source)
    read = _shape(graph, architecture, layer)[2]
    head = Node(EMBED, Linear(read, width), (layer,))
    others = [name for name in graph.outputs if name == architecture.classifier]
    return replace(graph, nodes=(*graph.nodes, head), outputs=(*others, EMBED))


def _vector(graph, architecture, file, layer):
    """The graph with a node that gives the vector of that name, and the node's name."""
    classifier = [node for node in graph.nodes if node.name == architecture.classifier]
    if layer == PRE_LOGITS:
        if not classifier:
            raise WeightsError(f"{file.source} has no classifier, so no {PRE_LOGITS}")
        return graph, classifier[0].inputs[0]
    if any(node.name == layer for node in graph.nodes if layer.endswith(MEAN)):
        return graph, layer
    name = graph.layer(layer.removesuffix(MEAN))
    if layer.endswith(MEAN):
        pooled = Node(layer, GlobalAvgPool(), (name,))
        return replace(graph, nodes=(*graph.nodes, pooled)), layer
    if _shape(graph, architecture, name)[:2] != (1, 1):
        raise WeightsError(
            f"{file.source}: {layer} is a map, not an embedding; the mean of it is one, "
            f"{layer + MEAN!r}"
        )
    return graph, name


def _shape(graph, architecture, layer):
    size = architecture.input_size
    return graph.cut([layer]).shapes((size, size, 3))[layer]


def _with_head(graph, architecture, file, num_classes) -> Graph:
    """What the model computes: logits, or the embedding the file names."""
    classifier = [node for node in graph.nodes if node.name == architecture.classifier]
    if num_classes or (num_classes is None and classifier):
        return graph.cut([architecture.classifier])
    graph, layer = _vector(graph, architecture, file, file.setting("embedding"))
    graph = graph.cut([layer])
    is_unit = isinstance(graph.nodes[-1].op, L2Normalize)
    if file.metadata.get("normalize") == "true" and not is_unit:
        return graph.followed_by("normalized", L2Normalize())
    return graph


class Model:
    """A network ready to run; safe to share between threads.

    Attributes
    ----------
    architecture : Architecture
    graph : Graph
        As the architecture states it, without any pass; of an int8 network, optimised and with
        the float32 weights that its bytes stand for.
    weights : Weights
    dim : int
        Values of one result.
    threads : int
    embedding : str or None
        The layer that was asked for, where it is not the one that the weights name.
    """

    def __init__(
        self,
        architecture: Architecture,
        graph: Graph,
        layers: Graph,
        weights: Weights,
        threads: int = 1,
        quantization: Quantization | None = None,
        embedding: str | None = None,
    ):
        self.architecture = architecture
        self.graph = graph
        self.weights = weights
        self.threads = threads or available_cpus()
        self.embedding = embedding
        self._layers = layers
        self._quantization = quantization
        optimised = optimise(graph)
        if quantization:
            optimised = quantise(optimised, quantization)
        self._optimised = finish(optimised)
        self._plans = OrderedDict()
        self._lock = threading.Lock()
        size = architecture.input_size
        self.dim: int = graph.shapes((size, size, 3))[graph.outputs[0]][2]

    def __repr__(self):
        return f"<{self.architecture.name}, {self.dim} outputs, {self.weights.source}>"

    @property
    def num_parameters(self) -> int:
        """Trainable values in the layers this model runs."""
        return sum(
            int(np.prod(shape))
            for key, shape in self.graph.parameters().items()
            if not key.endswith((".running_mean", ".running_var"))
        )

    @property
    def is_classifier(self) -> bool:
        """Whether its results are logits, not embeddings."""
        last = self.architecture.classifier
        return self.graph.outputs == (last,) and self.weights.metadata.get("embedding") != last

    @property
    def precision(self) -> str:
        """Arithmetic of the network: "fp32" or "int8"."""
        return "int8" if self._quantization else "fp32"

    def quantised(self, quantization: Quantization) -> "Model":
        """The same network with layers of bytes.

        Parameters
        ----------
        quantization : rvcnn.quantization.Quantization
            Of this model.

        Returns
        -------
        Model
        """
        weights = replace(self.weights, sha256=digest(quantization))
        parts = self.architecture, self.graph, self._layers, weights, self.threads
        return Model(*parts, quantization, self.embedding)

    def save_weights(self, path: str | os.PathLike[str]) -> None:
        """Write the weights as a safetensors file that says how to run them.

        Parameters
        ----------
        path : path-like
            Written whole or not at all.
        """
        metadata = {**self.weights.metadata, "key_layout": "torchvision"}
        save_weights(path, self.weights.tensors, metadata)

    def __call__(self, x: Any) -> np.ndarray:
        """Logits or embeddings of normalised images.

        Parameters
        ----------
        x : ndarray
            (N, H, W, 3) float32; H and W from 32 up.

        Returns
        -------
        ndarray
            (N, D) float32; row i belongs to image i and does not depend on the others.
        """
        x = self._images(x)
        plan = self.plan(x.shape[1:3])
        out = np.empty((len(x), self.dim), np.float32)

        def run(i):
            (row,) = plan.run(x[i], together)
            out[i] = row.reshape(-1)

        together = self.threads if len(x) < self.threads else 1
        self._each(run, len(x), together)
        return out

    def forward_features(self, x: Any, cuts: Iterable[str]) -> dict[str, np.ndarray]:
        """The maps of named layers, computed layer by layer without fusion, in float32.

        Parameters
        ----------
        x : ndarray
            (N, H, W, 3) float32.
        cuts : sequence of str
            Layers, as ``features.4`` or ``classifier.0``; a module stands for its last layer.

        Returns
        -------
        dict of str to ndarray
            (N, H', W', C) float32 for each cut.
        """
        if isinstance(cuts, str):
            raise UsageError(f"cuts is a sequence of layers: [{cuts!r}]")
        x, cuts = self._images(x), tuple(cuts)
        plan = self.plan(x.shape[1:3], cuts=cuts)
        maps = [np.empty((len(x), m.height, m.width, m.channels), np.float32) for m in plan.outputs]

        def run(i):
            for out, result in zip(maps, plan.run(x[i]), strict=True):
                out[i] = result

        self._each(run, len(x))
        return dict(zip(cuts, maps, strict=True))

    def plan(
        self,
        size: tuple[int, int],
        pixels: tuple[np.ndarray, np.ndarray] | None = None,
        cuts: tuple[str, ...] | None = None,
    ) -> Plan:
        """The plan for images of ``size`` (H, W), remembered for what was asked last.

        Parameters
        ----------
        size : tuple of int
        pixels : tuple of ndarray, optional
            Scale and shift of each channel, for a plan that takes uint8 pixels.
        cuts : tuple of str, optional
            Layers, for an unfused plan that ends in their maps.
        """
        smallest, largest = self.architecture.smallest_input, self.architecture.largest_input
        if min(size) < smallest or max(size) > largest:
            up = f"from {smallest} x {smallest} pixels up" if smallest < largest else "of"
            bound = "" if smallest < largest else f" {smallest} x {smallest} pixels alone"
            raise ShapeError(
                f"{self.architecture.name} takes images {up}{bound}, not {size[0]} x {size[1]}"
            )
        key = (*size, cuts, pixels is not None and tuple(np.concatenate(pixels)))
        with self._lock:
            if key not in self._plans:
                graph = self._optimised if cuts is None else self._layers.cut(cuts)
                self._plans[key] = Plan(graph, (*size, 3), pixels)
            self._plans.move_to_end(key)
            while len(self._plans) > PLANS_KEPT:
                self._plans.popitem(last=False)
            return self._plans[key]

    def _each(self, run, count, together=1):
        """Call ``run`` for each image: on this thread if one is enough or all share each image."""
        if self.threads == 1 or together > 1 or count < 2:
            for i in range(count):
                run(i)
        else:
            team_of(self.threads).each(run, count)

    def _images(self, x):
        x = np.ascontiguousarray(x, np.float32)
        if x.ndim != 4 or x.shape[3] != 3:
            raise ShapeError(f"expected images (N, H, W, 3), got an array of {x.shape}")
        return x
