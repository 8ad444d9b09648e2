"""Networks that PyTorch wrote as ONNX: rvcnn and ONNX Runtime compute the same from the file."""

import io
import warnings

import pytest
import torch_nets
from graph_checks import image, random_tensors
from test_backbones import NETWORKS, SHUFFLED, relative_error, shufflenet

import rvcnn
from rvcnn import ops
from rvcnn.models import ARCHITECTURES
from rvcnn.onnx import load

pytest.importorskip("onnx", reason="the extra `onnx`")
torch_classics = pytest.importorskip("torch_classics", exc_type=ImportError)
pytestmark = pytest.mark.compare

CLOSE = 1e-5  # of the largest value: sums of some thousand float32 products in two orders


def exported(torch, network, *shape, opset=17, dynamic=()):
    """What torch.onnx writes for a network and one input of this shape."""
    file = io.BytesIO()
    axes = {"input": {i: f"side{i}" for i in dynamic}} if dynamic else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network,
            (torch.zeros(shape),),
            file,
            input_names=["input"],
            output_names=["output"],
            opset_version=opset,
            dynamic_axes=axes,
            dynamo=False,
        )
    return file.getvalue()


def agree(onnxruntime, model, *inputs, close=CLOSE):
    """Fail unless both compute the same; return what rvcnn made of it."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    runtime = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    names = [value.name for value in runtime.get_inputs()]
    session = load(model)
    for x in inputs:
        want = runtime.run(None, dict(zip(names, [x], strict=True)))
        for got, expected in zip(session.run(x), want, strict=True):
            assert got.shape == expected.shape and got.dtype == expected.dtype
            assert relative_error(got, expected) <= close
    return session


WITH_NORMALISATION_ACROSS_CHANNELS = ("alexnet 2012", "inception v1")
"""It runs on arrays, and cuts these networks into several plans."""


def parameters(names):
    """Those that are long are for a release."""
    return [pytest.param(n, marks=[pytest.mark.slow] * (n in LONG)) for n in names]


LONG = {
    *("vgg11", "densenet121", "inception v1", "alexnet 2012", "resnet18", "resnet50"),
    *("efficientnet_b0", "mobilenetv3_large_minimalistic", "mobilenetv3_small_minimalistic"),
    *("shufflenetv2_x1_5", "shufflenetv2_x2_0 megvii, no conv5", "shufflenetv2_x1_0 megvii"),
}


@pytest.mark.parametrize("name", parameters(torch_classics.CLASSICS))
def test_classic_networks(torch, onnxruntime, name):
    network, size = torch_classics.make(name)
    x = image(5, 2, 3, size, size)
    session = agree(onnxruntime, exported(torch, network, *x.shape), x)
    if name not in WITH_NORMALISATION_ACROSS_CHANNELS:
        assert [node.op for node in session.program(x).nodes] == []


def as_module(torch, run, tensors):
    """A network of torch_nets as a module in float32."""

    class Module(torch.nn.Module):
        def forward(self, x):
            net = torch_nets.Net(tensors, 1e-5)
            net.tensors = {name: tensor.float() for name, tensor in net.tensors.items()}
            run(net, x)
            return list(net.cuts.values())[-1]

    return Module().eval()


ARCHITECTURES_IN_TORCH = {
    **{name: ({}, run) for name, run in NETWORKS.items()},
    **{
        f"shufflenetv2_x{width} {what}".strip(): (metadata, shufflenet(metadata))
        for (width, what), metadata in SHUFFLED.items()
    },
}


@pytest.mark.parametrize("name", parameters(ARCHITECTURES_IN_TORCH))
def test_architectures_become_the_built_in_ones(torch, onnxruntime, tmp_path, name):
    """The imported network is as many layers of the same kinds as rvcnn's own."""
    metadata, run = ARCHITECTURES_IN_TORCH[name]
    architecture = ARCHITECTURES[name.split()[0]]
    options = architecture.options(metadata)
    graph = architecture.build(
        padding="symmetric", bn_eps=1e-5, num_classes=10, embedding_dim=0, **options
    )
    tensors = random_tensors(graph)
    x = image(6, 1, 3, 64, 64)
    module = as_module(torch, run, tensors)
    model = exported(torch, module, *x.shape)
    agree(onnxruntime, model, x)
    (tmp_path / "model.onnx").write_bytes(model)
    if not any(isinstance(node.op, ops.Linear) for node in graph.nodes):
        return
    imported = rvcnn.create_model(weights=tmp_path / "model.onnx")
    want = module(torch.from_numpy(x)).detach().numpy()
    assert relative_error(imported(x.transpose(0, 2, 3, 1)), want) <= CLOSE


@pytest.mark.parametrize("layer", ["LSTM", "GRU"])
def test_recurrent_layers_of_a_recogniser(torch, onnxruntime, layer):
    """Columns of a map as a sequence, read both ways, of several images and any width."""

    class Recogniser(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = torch.nn.Conv2d(3, 12, 3, (4, 2), 1)
            self.layers = getattr(torch.nn, layer)(24, 20, num_layers=2, bidirectional=True)
            self.head = torch.nn.Linear(40, 11)

        def forward(self, x):
            columns = self.conv(x).relu().flatten(1, 2).permute(2, 0, 1)
            return self.head(self.layers(columns)[0])

    x, wider = image(7, 3, 3, 8, 30), image(8, 2, 3, 8, 46)
    model = exported(torch, Recogniser().eval(), *x.shape, dynamic=(0, 3))
    agree(onnxruntime, model, x, wider, x)
