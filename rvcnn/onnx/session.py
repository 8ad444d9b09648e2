"""Run a network: named arrays in, named arrays out."""

import numpy as np

from rvcnn.errors import RvcnnError, UsageError, WeightsError
from rvcnn.weights.contents import shown

from .network import Network
from .operators import OPERATORS
from .read import read


def load(path):
    """Read an ONNX model and make it ready to run.

    Parameters
    ----------
    path : path-like, bytes or onnx.ModelProto

    Returns
    -------
    Session

    Raises
    ------
    WeightsError
        If the model cannot be read, or needs operators that rvcnn has not; the message names all.

    Examples
    --------
    >>> session = rvcnn.onnx.load("detector.onnx")  # doctest: +SKIP
    >>> session.inputs[0]  # doctest: +SKIP
    Value(name='image', dtype=dtype('float32'), shape=(1, 3, None, None))
    >>> (boxes,) = session.run({"image": pixels})  # doctest: +SKIP
    """
    return Session(read(path))


class Session:
    """A network ready to run.

    Parameters
    ----------
    network : Network

    Attributes
    ----------
    inputs, outputs : tuple of Value
    """

    def __init__(self, network: Network):
        _check_operators(network)
        self.inputs, self.outputs = network.inputs, network.outputs
        self._network = network
        self._last_reads = _last_reads(network)

    def run(self, *arrays):
        """Compute the outputs.

        Parameters
        ----------
        *arrays : ndarray, or one mapping of str to ndarray
            The inputs in order, or by name.

        Returns
        -------
        list of ndarray
            The outputs in order.

        Raises
        ------
        UsageError
            Inputs of other names, numbers of dimensions, sizes or types than the model's.
        ShapeError
            Naming the node whose inputs do not fit.
        """
        values = dict(self._network.constants)
        values.update(self._given(arrays))
        for node, done in zip(self._network.nodes, self._last_reads, strict=True):
            for name, value in zip(node.outputs, self._results(node, values), strict=False):
                values[name] = value
            for name in done:
                values.pop(name, None)
        return [values[v.name] for v in self.outputs]

    def _results(self, node, values):
        inputs = [values[name] if name else None for name in node.inputs]
        operator, opset = OPERATORS[node.kind], self._network.opset
        try:
            return operator.run(node.attributes, opset, *inputs, outputs=len(node.outputs))
        except RvcnnError as error:
            raise type(error)(f"node {shown(node.name)}: {error}") from None

    def _given(self, arrays):
        names = [value.name for value in self.inputs]
        if len(arrays) == 1 and isinstance(arrays[0], dict):
            given = arrays[0]
        elif len(arrays) == len(names):
            given = dict(zip(names, arrays, strict=True))
        else:
            raise UsageError(f"{len(arrays)} inputs for a model that takes {', '.join(names)}")
        if given.keys() != set(names):
            raise UsageError(f"inputs {', '.join(map(str, given))} for one of {', '.join(names)}")
        return {value.name: _checked(value, given[value.name]) for value in self.inputs}


def _checked(value, array):
    array = np.asarray(array)
    if value.dtype is not None and array.dtype != value.dtype:
        raise UsageError(f"input {value.name} takes {value.dtype}, not {array.dtype}")
    if value.shape is not None:
        fits = len(value.shape) == array.ndim and all(
            wanted == side or not isinstance(wanted, int)
            for wanted, side in zip(value.shape, array.shape, strict=True)
        )
        if not fits:
            raise UsageError(f"input {value.name} takes {value.shape}, not {array.shape}")
    return array


def _check_operators(network):
    unknown = sorted({node.kind for node in network.nodes} - OPERATORS.keys())
    if unknown:
        raise WeightsError(f"operators that rvcnn has not: {', '.join(map(shown, unknown))}")


def _last_reads(network):
    """For each node, the values that nobody reads after it."""
    seen, last = {value.name for value in network.outputs}, []
    for node in reversed(network.nodes):
        last.append([name for name in {*node.inputs, *node.outputs} - seen if name])
        seen.update(node.inputs)
    return last[::-1]
