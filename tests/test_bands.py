"""Large maps in bands of rows: every value as when the map is computed at once."""

import copy

import numpy as np
from graph_checks import bound_to_random, image, layers, network
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rvcnn.bands import LARGE
from rvcnn.errors import ShapeError
from rvcnn.graph import INPUT
from rvcnn.ops import Conv2d, MaxPool
from rvcnn.passes import optimise
from rvcnn.plan import ARENA, Plan


@st.composite
def pairs(draw):
    """A convolution whose result is large; after it, one with a filter a channel, or pooling."""
    channels = draw(st.sampled_from([8, 16, 24]))
    width = draw(st.sampled_from([1, 2, 7, 40, 65]))
    height = -(-LARGE // (4 * channels * width)) + draw(st.integers(0, 9))
    sides = st.tuples(st.integers(0, 3), st.integers(0, 3))
    dense = Conv2d(
        3,
        channels,
        draw(st.sampled_from([(1, 1), (3, 3)])),
        padding="same",
        activation=draw(st.sampled_from(["identity", "relu", "hard_swish", "silu"])),
        residual=draw(st.booleans()),
    )
    kernel = draw(st.sampled_from([(3, 3), (5, 5), (3, 1), (1, 5), (7, 7)]))
    side = (kernel[1] - 1) // 2
    stride = (draw(st.sampled_from([1, 2, 3])),) * 2
    reader = Conv2d(
        channels,
        channels,
        kernel,
        stride,
        (draw(st.one_of(sides, st.just((40, 0)))), (side, side)),
        (draw(st.sampled_from([1, 1, 1, 9])), 1),
        groups=channels,
        activation=draw(st.sampled_from(["identity", "hard_swish", "silu"])),
    )
    if draw(st.booleans()):
        above, below = (draw(st.integers(0, kernel[0] - 1)) for _ in range(2))
        reader = MaxPool(kernel, stride, ((above, below), (side, side)))
    inputs = [INPUT, "other"] if dense.residual else [INPUT]
    last = "reader"
    rows = [("other", Conv2d(3, channels)), ("dense", dense, *inputs), (last, reader, "dense")]
    return layers(*rows, ("after", Conv2d(channels, 4), last)), (height, width, 3)


@settings(max_examples=40, deadline=None)
@given(pairs())
@example(
    (
        layers(
            ("dense", Conv2d(3, 16)),
            ("depthwise", Conv2d(16, 16, (3, 3), padding=((40, 0), (1, 1)), groups=16), "dense"),
        ),
        (4, 800, 3),
    )
)
def test_a_large_map_in_bands_is_the_map_at_once(problem):
    graph, size = problem
    try:
        graph.shapes(size)
    except ShapeError:
        return
    graph, x = bound_to_random(graph), image(9, *size)
    plan = Plan(graph, size)
    # Without bands, each step in full before the next.
    in_order = copy.copy(plan)
    in_order.calls = lambda threads: [call for step in plan.steps for call in step.calls]
    results = []
    for each in (plan, in_order):
        workspace = each.workspace()
        workspace.buffers[ARENA][:] = np.nan
        results.append(workspace.run(x)[0])
    assert np.isfinite(results[0]).all() and results[0].tobytes() == results[1].tobytes()


def test_large_maps_do_go_in_bands():
    plan = Plan(optimise(network()), (224, 224, 3))
    assert len(plan.calls()) > sum(len(step.calls) for step in plan.steps)
