"""Which maps are held as bytes: small graphs of each kind."""

import numpy as np
import pytest

import rvcnn
from rvcnn.graph import INPUT, Graph, Node
from rvcnn.ops import Activation, Add, Conv2d, GlobalAvgPool, L2Normalize, Linear, ScaleChannels
from rvcnn.quantization.layout import byte_maps, byte_nodes, excitations, reads_pixels

DENSE = Conv2d(8, 8, bias=True, activation="relu")
DEPTHWISE = Conv2d(8, 8, (3, 3), padding="same", groups=8, bias=True, activation="relu")
SILU = Conv2d(8, 8, bias=True, activation="silu")
GROUPED = Conv2d(8, 8, groups=2, bias=True, activation="relu")
SUMMED = Conv2d(8, 8, bias=True, residual=True)


def chain(*ops):
    """Layers a, b, c ..., each reading the one before."""
    names = [INPUT, *"abcdefgh"]
    nodes = tuple(Node(n, op, (i,)) for n, op, i in zip(names[1:], ops, names, strict=False))
    return Graph(nodes, (nodes[-1].name,))


def test_a_map_has_scales_by_channel_unless_a_reader_mixes_them():
    maps = byte_maps(chain(DENSE, DEPTHWISE, DENSE, GlobalAvgPool(), Linear(8, 4)))
    assert {name: m.per_channel for name, m in maps.items()} == {
        "a": True,
        "b": False,
        "c": True,
        "d": False,
    }


def test_a_pool_gives_real_values_and_an_output_stays_real():
    maps = byte_maps(chain(DENSE, GlobalAvgPool(), Linear(8, 4)))
    assert not maps["a"].real and maps["b"].real and "c" not in maps


def test_what_is_summed_stays_real():
    graph = Graph(
        (
            Node("a", DENSE, (INPUT,)),
            Node("b", DENSE, ("a",)),
            Node("c", SUMMED, ("b", "a")),
            Node("d", DENSE, ("c",)),
            Node("e", Add(), ("d", "c")),
            Node("f", DENSE, ("e",)),
        ),
        ("f",),
    )
    maps = byte_maps(graph)
    assert {name for name, m in maps.items() if m.real} == {"a", "c", "e"}
    assert "d" not in maps  # nothing multiplies it


def test_the_factors_of_squeeze_excite_stay_real():
    graph = Graph(
        (
            Node("a", DENSE, (INPUT,)),
            Node("pool", GlobalAvgPool(), ("a",)),
            Node("fc1", DENSE, ("pool",)),
            Node("fc2", Conv2d(8, 8, bias=True, activation="hard_sigmoid"), ("fc1",)),
            Node("scale", ScaleChannels(), ("a", "fc2")),
            Node("b", DENSE, ("scale",)),
        ),
        ("b",),
    )
    assert excitations(graph) == {"pool", "fc1", "fc2"}
    maps = byte_maps(graph)
    assert set(maps) == {"a", "scale"}
    assert maps["a"] == (True, False) and maps["scale"] == (False, False)
    assert set(byte_nodes(graph)) == {"a", "fc1", "fc2", "b"}


@pytest.mark.parametrize("op", [SILU, GROUPED, Activation("relu")])
def test_what_no_kernel_stores_as_bytes_is_rounded_by_a_step_of_its_own(op):
    maps = byte_maps(chain(DENSE, op, DENSE))
    assert maps["b"].real
    assert maps.get("a", (False, True))[1] == (op is not SILU)


def test_a_reader_of_real_values_keeps_the_map_real():
    nodes = (*chain(DENSE, DENSE).nodes, Node("n", L2Normalize(), ("a",)))
    assert byte_maps(Graph(nodes, ("b", "n")))["a"].real
    assert byte_maps(Graph(nodes[:2], ("a", "b")))["a"].real


def test_pixels_go_into_dense_layers_only():
    assert reads_pixels(chain(Conv2d(3, 8, bias=True), DENSE))
    assert not reads_pixels(chain(Conv2d(3, 3, groups=3, bias=True)))


def test_mobilenet():
    graph = rvcnn.create_model()._optimised
    maps, nodes = byte_maps(graph), byte_nodes(graph)
    assert set(nodes) == {n.name for n in graph.nodes if n.op.parameters()}
    assert maps["features.0.2"] == (True, False)
    assert maps["features.4.block.0.2"] == (True, False)
    assert maps["features.4.block.2.scale"] == (False, False)
    assert maps["features.3.add"] == (False, True)
    assert maps["features.1.block.2.1"] == (False, False)
    assert maps["pooled"] == (False, True)
    weights = sum(np.prod(n.params["weight"].shape) for n in nodes.values())
    assert weights > 0.98 * 1.2e6
