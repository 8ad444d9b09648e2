"""The ONNX project's tests of single operators, each of them.

A test whose operators rvcnn has must pass, or be left out for a limit that the library states; one
that needs others must be refused by their names, and one of an operator set that is not read, too.
"""

import importlib.util

import onnx_left_out
import pytest

from rvcnn.errors import WeightsError
from rvcnn.onnx.control import CONTROL
from rvcnn.onnx.network import OLDEST_OPSET
from rvcnn.onnx.operators import OPERATORS
from rvcnn.onnx.supported import LIMITS

pytestmark = pytest.mark.compare


def pytest_generate_tests(metafunc):
    """Give each test of the ONNX project to the test below, where its package is installed."""
    if "node_test" not in metafunc.fixturenames:
        return
    names = [pytest.param(None, marks=pytest.mark.skip("the extra `compare`"))]
    if importlib.util.find_spec("onnx"):
        import onnx_nodes

        names = list(onnx_nodes.tests())
    metafunc.parametrize("node_test", names)


def test_node(node_test):
    import onnx_nodes

    missing = onnx_nodes.kinds(node_test) - onnx_nodes.SUPPORTED
    limit = onnx_left_out.LEFT_OUT.get(node_test)
    if missing or onnx_nodes.opset(node_test) < OLDEST_OPSET:
        assert limit is None, f"left out although rvcnn has not {missing}"
        assert_refused(onnx_nodes.model(node_test), missing)
    elif limit is not None:
        assert limit in onnx_nodes.kinds(node_test) & LIMITS.keys()
        assert not onnx_nodes.passes(node_test), "left out, but it passes"
    else:
        assert onnx_nodes.failure(node_test) is None


def assert_refused(model, missing):
    """Refused in one line, by the names of the operators that are missing if it can be read."""
    from rvcnn.onnx import load

    with pytest.raises(WeightsError) as error:
        load(model)
    message = str(error.value)
    assert "\n" not in message
    if "operators that rvcnn has not" in message:
        assert all(kind in message for kind in missing)


def test_left_out_tests_exist():
    onnx_nodes = pytest.importorskip("onnx") and importlib.import_module("onnx_nodes")
    assert onnx_left_out.LEFT_OUT.keys() <= onnx_nodes.tests().keys()


def test_limits_are_of_operators_that_there_are():
    assert LIMITS.keys() <= OPERATORS.keys() | CONTROL.keys()


def test_shares_that_pass():
    """No fewer than tract, the best-known engine of this kind, states for its chosen set."""
    onnx_nodes = pytest.importorskip("onnx") and importlib.import_module("onnx_nodes")
    counts = onnx_nodes.counts()
    for passed, total in counts.values():
        assert passed / total > 0.85, counts
