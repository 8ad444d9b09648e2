"""What there is to know of an architecture before it has weights."""

from typing import NamedTuple

import numpy as np

from rvcnn.ops import Linear

from .registry import ARCHITECTURES

CLASSES = 1000
"""Of ImageNet, for which the networks were designed and are counted."""


class Facts(NamedTuple):
    """An architecture with a classifier of ``CLASSES`` classes, at the size it was designed for.

    Attributes
    ----------
    model : str
        Its name.
    parameters : int
        Trainable values.
    multiply_adds : int
        Multiplications of the convolutions and linear layers for one image.
    input_size : int
        Pixels of a side.
    embeddings : dict of str to int
        Values of the embedding that each named layer gives.
    """

    model: str
    parameters: int
    multiply_adds: int
    input_size: int
    embeddings: dict[str, int]


def facts(name: str) -> Facts:
    """Return the facts of one of ``ARCHITECTURES``."""
    architecture = ARCHITECTURES[name]
    graph = architecture.build(padding=None, bn_eps=1e-5, num_classes=CLASSES, embedding_dim=0)
    size = (architecture.input_size, architecture.input_size, 3)
    shapes = graph.shapes(size)
    (classifier,) = (node for node in graph.nodes if node.name == architecture.classifier)
    hidden = [n.name for n in graph.nodes if isinstance(n.op, Linear) and n is not classifier]
    embeddings = {"pooled": shapes["pooled"][2]}
    if hidden:
        embeddings["pre_logits"] = shapes[classifier.inputs[0]][2]
    trained = (
        int(np.prod(shape))
        for key, shape in graph.parameters().items()
        if not key.endswith((".running_mean", ".running_var"))
    )
    return Facts(name, sum(trained), graph.multiply_adds(size), architecture.input_size, embeddings)
