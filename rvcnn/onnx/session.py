"""Run a network: named arrays in, named arrays out."""

from typing import Any

import numpy as np

from rvcnn.errors import ShapeError, UsageError, WeightsError
from rvcnn.weights.contents import Refusal, shown

from .branches import operators
from .control import CONTROL
from .fold import fold
from .network import Network
from .operators import OPERATORS
from .program import Programs
from .read import read


def load(path: Any, threads: int = 1) -> "Session":
    """Read an ONNX model and make it ready to run.

    Parameters
    ----------
    path : path-like, bytes or onnx.ModelProto
    threads : int
        Threads that compute one image together.

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
    return Session(read(path), threads)


class Session:
    """A network ready to run.

    Parameters
    ----------
    network : Network
    threads : int
        Threads that compute one image together.

    Attributes
    ----------
    inputs, outputs : tuple of Value
    """

    def __init__(self, network: Network, threads: int = 1):
        try:
            check_operators(network)
            self._programs = Programs(fold(network)[0], threads)
        except Refusal as refusal:
            raise WeightsError(str(refusal)) from None
        except ShapeError as error:
            raise WeightsError(f"a damaged network: {error}") from None
        self.inputs, self.outputs = network.inputs, network.outputs

    def run(self, *arrays: Any) -> list[np.ndarray]:
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
        given = self._given(arrays)
        return self._programs.of(given).run(given)

    def program(self, *arrays):
        """What runs for inputs of these shapes: see :class:`~rvcnn.onnx.program.Program`."""
        return self._programs.of(self._given(arrays))

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


def check_operators(network: Network) -> None:
    """Raise Refusal, naming all, if a network needs operators that rvcnn has not."""
    unknown = sorted(operators(network) - OPERATORS.keys() - CONTROL.keys())
    if unknown:
        raise Refusal(f"operators that rvcnn has not: {', '.join(map(shown, unknown))}")
