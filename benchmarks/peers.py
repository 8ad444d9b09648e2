"""The engines behind one interface: load a network, run one image or a stream of images."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from typing import NamedTuple

import common
import networks
import numpy as np


class Job(NamedTuple):
    """What an engine is to run.

    Attributes
    ----------
    weights : str
        safetensors file.
    onnx : str
        The same network as ONNX, or an engine's own file of it in int8; empty where no engine
        needs it.
    output : str
        "logits" or "embedding".
    size : int
        Side of the images.
    threads : int
    mode : str
        "latency": one image on all threads; "stream": many images, each on one thread.
    """

    weights: str
    onnx: str
    output: str
    size: int
    threads: int
    mode: str


class Ready(NamedTuple):
    """A loaded engine: ``run`` gives (N, D) for images in its own layout."""

    versions: str
    precision: str
    layout: Callable[[np.ndarray], np.ndarray]
    run: Callable[[np.ndarray], np.ndarray]


def _channels_first(images: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2))


def _streamed(one: Callable, threads: int) -> Callable[[np.ndarray], np.ndarray]:
    """Images on a pool of Python threads: each takes the next one that nobody has."""
    pool = ThreadPoolExecutor(threads)

    def run(images: np.ndarray) -> np.ndarray:
        rows: list = [None] * len(images)
        tickets = itertools.count()

        def work(_):
            while (i := next(tickets)) < len(images):
                rows[i] = one(images[i : i + 1])

        list(pool.map(work, range(threads)))
        return np.concatenate(rows)

    return run


def rvcnn(job: Job, precision: str = "fp32") -> Ready:
    """The project itself, by its public interface."""
    model = networks.load(job.weights, job.output, job.threads, precision)
    return Ready(common.versions("rvcnn", "numba", "llvmlite"), precision, lambda x: x, model)


def rvcnn_int8(job: Job) -> Ready:
    """The project with weights that it quantised itself."""
    return rvcnn(job, "int8")


def onnxruntime(job: Job) -> Ready:
    """ONNX Runtime: its own threads for one image, Python threads for a stream."""
    import onnxruntime as ort

    stream = job.mode == "stream"
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1 if stream else job.threads
    options.inter_op_num_threads = 1
    session = ort.InferenceSession(job.onnx, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def one(image):
        return session.run(None, {name: image})[0]

    run = _streamed(one, job.threads) if stream else one
    return Ready(common.versions("onnxruntime"), "fp32", _channels_first, run)


def openvino(job: Job, precision: str | None = "f32") -> Ready:
    """OpenVINO, tuned by its own hint for the mode; precision None is its default."""
    import openvino as ov

    stream = job.mode == "stream"
    config = {
        "PERFORMANCE_HINT": "THROUGHPUT" if stream else "LATENCY",
        "INFERENCE_NUM_THREADS": job.threads,
    }
    if stream:
        config["NUM_STREAMS"] = job.threads
    if precision:
        config["INFERENCE_PRECISION_HINT"] = precision
    compiled = ov.Core().compile_model(job.onnx, "CPU", config)
    chosen = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
    queue = ov.AsyncInferQueue(compiled)  # as many requests as OpenVINO finds best
    request = compiled.create_infer_request()

    def one(image):
        return request.infer({0: image}, share_inputs=True)[0]

    def streamed(images):
        rows = np.empty((len(images), *compiled.output(0).shape[1:]), np.float32)

        def keep(finished, i):
            rows[i] = finished.get_output_tensor(0).data[0]

        queue.set_callback(keep)
        for i in range(len(images)):
            queue.start_async({0: images[i : i + 1]}, i, share_inputs=True)
        queue.wait_all()
        return rows

    precision = {"f32": "fp32", "float": "fp32"}.get(chosen, chosen)
    run = streamed if stream else one
    return Ready(common.versions("openvino"), precision, _channels_first, run)


def openvino_default(job: Job) -> Ready:
    """OpenVINO at the precision it chooses by itself."""
    return openvino(job, precision=None)


def onnxruntime_int8(job: Job) -> Ready:
    """ONNX Runtime with a network that its static quantiser wrote."""
    ready = onnxruntime(job)
    return ready._replace(precision="int8")


def openvino_int8(job: Job) -> Ready:
    """OpenVINO with a network that NNCF wrote; what is not int8 at its own choice of precision."""
    ready = openvino(job, precision=None)
    return ready._replace(versions=common.versions("openvino", "nncf"), precision="int8")


def pytorch(job: Job) -> Ready:
    """PyTorch eager, BatchNorm folded, channels last in memory."""
    import torch
    import torch_net

    from rvcnn.passes.fold_batch_norm import fold_batch_norm

    stream = job.mode == "stream"
    torch.set_num_threads(1 if stream else job.threads)
    graph = fold_batch_norm(networks.load(job.weights, job.output).graph)
    network = torch_net.network(graph, (job.size, job.size, 3))

    def one(image):
        with torch.inference_mode():
            return network(torch.from_numpy(image)).numpy()

    def layout(images):
        # The memory stays (N, H, W, C); only the axes' order is PyTorch's.
        return images.transpose(0, 3, 1, 2)

    run = _streamed(one, job.threads) if stream else one
    return Ready(common.versions("torch"), "fp32", layout, run)


class Engine(NamedTuple):
    """How to load an engine, and whom it is compared with.

    Attributes
    ----------
    load : callable
        Makes a :class:`Ready` of a :class:`Job`.
    package : str
        What must be installed.
    needs_onnx : bool
    group : str
        Engines of one group are compared: those of "fp32" must agree to float rounding; those of
        "int8" are shown with what their rounding costs. Empty: shown, and compared with none.
    int8_suffix : str
        Suffix of the file that ``quantise.py`` makes for it; empty where it runs the network as it
        is.
    """

    load: Callable[[Job], Ready]
    package: str
    needs_onnx: bool = False
    group: str = "fp32"
    int8_suffix: str = ""

    @property
    def is_ours(self) -> bool:
        """Whether this is the project itself."""
        return self.package == "rvcnn"


def _int8(load: Callable[[Job], Ready], package: str, suffix: str, needs_onnx: bool = True):
    return Engine(load, package, needs_onnx, "int8", suffix)


ENGINES = {
    "rvcnn": Engine(rvcnn, "rvcnn"),
    "onnxruntime": Engine(onnxruntime, "onnxruntime", needs_onnx=True),
    "openvino": Engine(openvino, "openvino", needs_onnx=True),
    "openvino-default": Engine(openvino_default, "openvino", needs_onnx=True, group=""),
    "pytorch": Engine(pytorch, "torch"),
    "rvcnn-int8": _int8(rvcnn_int8, "rvcnn", ".safetensors", needs_onnx=False),
    "onnxruntime-int8": _int8(onnxruntime_int8, "onnxruntime", ".onnx"),
    "openvino-int8": _int8(openvino_int8, "nncf", ".xml"),
    "openvino-int8-mixed": _int8(openvino_int8, "nncf", ".xml"),
}


def installed() -> list[str]:
    """Names of the engines that can run here."""
    has_onnx = find_spec("onnx") is not None
    return [
        name
        for name, engine in ENGINES.items()
        if find_spec(engine.package) and (has_onnx or not engine.needs_onnx)
    ]
