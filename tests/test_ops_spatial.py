"""Operators of imported networks: blocks of pixels, chosen channels, means, curves."""

import numpy as np
import pytest
from graph_checks import assert_every_layer, bound_to_random, image, layers

from rvcnn import ops
from rvcnn.errors import ShapeError
from rvcnn.graph import INPUT

PADDING = ((1, 0), (2, 1))


def spread():
    """Make a graph in which blocks are written into maps with borders and read from views."""
    return bound_to_random(
        layers(
            ("x", ops.Conv2d(3, 24, (3, 3), padding=((1, 1), (1, 1)))),
            ("depth", ops.DepthToSpace((2, 3)), "x"),
            ("after depth", ops.Conv2d(4, 5, (3, 3), padding=PADDING), "depth"),
            ("view", ops.SliceChannels(5, 22), "x"),
            ("large", ops.Repeat((3, 2)), "view"),
            ("after large", ops.Conv2d(17, 3, (3, 3), padding=PADDING), "large"),
            ("between", ops.Bilinear((2.5, 0.7), "half_pixel"), "view"),
            ("after between", ops.Conv2d(17, 3, (3, 3), padding=PADDING), "between"),
            ("some", ops.TakeChannels((7, 0, 16, 3, 3)), "view"),
            ("mean", ops.AvgPool((3, 2), (2, 1), PADDING), "view"),
            ("inner mean", ops.AvgPool((3, 3), (2, 2), "same", include_pad=False), "view"),
            ("clipped", ops.ClipCurve(-0.2, 0.4, -0.5, 1.5), "view"),
            ("gate", ops.ClipCurve(0.2, 0.5, 0.0, 1.0, gate=True), "view"),
            ("bent", ops.Tanh(), "view"),
            ("gated", ops.Multiply(), "bent", "view"),
            ("cropped", ops.Crop(((1, 0), (0, 2))), "gated"),
            ("after cropped", ops.Conv2d(17, 3, (2, 2), padding=PADDING), "cropped"),
            outputs=[
                "after depth",
                "after large",
                "after between",
                "some",
                "mean",
                "inner mean",
                "clipped",
                "gate",
                "after cropped",
            ],
        )
    )


@pytest.mark.parametrize("size", [(3, 4), (9, 11)])
def test_every_layer_against_its_reference(size):
    assert_every_layer(spread(), image(3, *size, 3))


def test_blocks_by_hand():
    """The references, which the layers are compared with, on numbers that are easily seen."""
    x = np.arange(4.0).reshape(1, 1, 4)
    assert ops.DepthToSpace((2, 2)).reference({}, x)[..., 0].tolist() == [[0, 1], [2, 3]]
    x = np.array([[[1.0], [2.0]]])
    assert ops.Repeat((2, 2)).reference({}, x)[..., 0].tolist() == [[1, 1, 2, 2], [1, 1, 2, 2]]
    x = np.array([[[-9.0, 1.0, 9.0]]])
    hard = ops.ClipCurve(0.5, 0.25, 0.0, 1.0)
    assert hard.reference({}, x).tolist() == [[[0.0, 0.75, 1.0]]]
    x = np.array([[[3.0], [5.0]]])
    assert ops.AvgPool((1, 2), (1, 2), ((0, 0), (1, 1))).reference({}, x).ravel().tolist() == [
        1.5,
        2.5,
    ]


@pytest.mark.parametrize(
    "op",
    [ops.DepthToSpace((2, 2)), ops.TakeChannels((0, 3)), ops.TakeChannels((-1,))],
)
def test_channels_that_are_not_there(op):
    with pytest.raises(ShapeError, match="layer y: an input of"):
        layers(("y", op, INPUT)).shapes((4, 4, 3))
