"""Networks that weights files bring along: stored as text, read back as data, whatever it says."""

import json

import numpy as np
import pytest
from graph_checks import bound_to_random, image, layers, run_plan
from test_ops_spatial import spread

import rvcnn
from rvcnn import ops
from rvcnn.errors import ShapeError, WeightsError
from rvcnn.models.imported import from_text, imported, to_text
from rvcnn.weights import save_weights


def network():
    """Make a small network to a vector, with random parameters."""
    return bound_to_random(
        layers(
            ("a", ops.Conv2d(3, 8, (3, 3), (2, 2), "same", bias=True)),
            ("b", ops.BatchNorm(8, 1e-3), "a"),
            ("c", ops.Activation("leaky_relu", 0.2), "b"),
            ("pooled", ops.GlobalAvgPool(), "c"),
            ("output", ops.Linear(8, 5), "pooled"),
        )
    )


def tensors_of(graph):
    return {
        f"{node.name}.{key}": value for node in graph.nodes for key, value in node.params.items()
    }


def metadata_of(graph, **more):
    facts = {"architecture": "imported", "input_size": "32", "any_size": "true"}
    facts |= {"num_classes": "5", "embedding": "pooled"}
    return {**facts, "graph": to_text(graph), **more}


def test_a_graph_is_read_as_it_was_written():
    for graph in (network(), spread()):
        again = from_text(to_text(graph))
        assert [(n.name, n.op, n.inputs) for n in again.nodes] == [
            (n.name, n.op, n.inputs) for n in graph.nodes
        ]
        assert again.outputs == graph.outputs


def test_a_file_with_its_graph_runs(tmp_path):
    graph, x = network(), image(4, 40, 33, 3)
    save_weights(tmp_path / "w.safetensors", tensors_of(graph), metadata_of(graph))
    (want,) = run_plan(graph, x)
    model = rvcnn.create_model(weights=tmp_path / "w.safetensors")
    assert np.abs(model(x[None])[0] - want.ravel()).max() <= 1e-5 * np.abs(want).max()
    model.save_weights(tmp_path / "again.safetensors")
    again = rvcnn.create_model(weights=tmp_path / "again.safetensors", num_classes=0)
    assert again.dim == 8


def test_a_network_of_one_size_takes_no_other(tmp_path):
    graph = network()
    metadata = metadata_of(graph, any_size="false")
    save_weights(tmp_path / "w.safetensors", tensors_of(graph), metadata)
    model = rvcnn.create_model(weights=tmp_path / "w.safetensors")
    assert model(image(1, 1, 32, 32, 3)).shape == (1, 5)
    for size in (31, 33):
        with pytest.raises(ShapeError, match=f"32 x 32 pixels alone, not {size} x 32"):
            model(image(1, 1, size, 32, 3))


def changed(*path, value):
    """The network's text with one of its values changed."""
    data = json.loads(to_text(network()))
    at = data
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    return json.dumps(data)


FIRST = ("nodes", 0, 3)
DAMAGED = {
    "no JSON": "{",
    "a number": "1",
    "no nodes": '{"outputs":["a"]}',
    "deep": "[" * 100_000,
    "no output": changed("outputs", value=[]),
    "an output that is not there": changed("outputs", value=["lost"]),
    "the input as output": changed("outputs", value=["input"]),
    "a name twice": changed("nodes", 1, 0, value="a"),
    "a name that is none": changed("nodes", 1, 0, value=[1]),
    "inputs that come later": changed("nodes", 0, 2, value=["output"]),
    "no inputs": changed("nodes", 0, 2, value=[]),
    "too many inputs": changed("nodes", 1, 2, value=["a", "a"]),
    "an unknown operator": changed("nodes", 0, 1, value="Op"),
    "a module's function": changed("nodes", 0, 1, value="__init__"),
    "an unknown attribute": changed(*FIRST, "command", value="rm"),
    "attributes missing": changed(*FIRST, value={}),
    "a huge width": changed(*FIRST, "out_channels", value=2**60),
    "a width below 0": changed(*FIRST, "out_channels", value=-1),
    "a width of text": changed(*FIRST, "out_channels", value="8"),
    "no groups": changed(*FIRST, "groups", value=0),
    "a stride of 0": changed(*FIRST, "stride", value=[0, 1]),
    "three strides": changed(*FIRST, "stride", value=[1, 1, 1]),
    "a huge padding": changed(*FIRST, "padding", value=[[2**30, 0], [0, 0]]),
    "padding that is too large": changed(*FIRST, "padding", value=[[2**19, 0], [2**19, 0]]),
    "an unknown padding": changed(*FIRST, "padding", value="valid"),
    "an unknown activation": changed("nodes", 2, 3, "name", value="exec"),
    "a slope that is none": changed("nodes", 2, 3, "slope", value=float("nan")),
    "too few channels": changed(*FIRST, "in_channels", value=4),
}


@pytest.mark.parametrize("what", DAMAGED)
def test_damaged_graphs_are_refused(what):
    with pytest.raises(WeightsError) as caught:
        imported({"graph": DAMAGED[what], "input_size": "32"})
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


@pytest.mark.parametrize("size", ["", "0", "-5", "x", "1e9", "9" * 50, "\u0663\u0662"])
def test_sizes_that_are_none(size):
    with pytest.raises(WeightsError, match="input_size"):
        imported({"graph": to_text(network()), "input_size": size})
