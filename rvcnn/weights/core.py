"""Weights: tensors by name, and the metadata that says how to run them."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from rvcnn.errors import WeightsError


@dataclass(frozen=True, eq=False)
class Weights:
    """The tensors of a file, by rvcnn's names, and its metadata.

    They are float32, or of the types they are stored in where the metadata's precision is int8.

    Attributes
    ----------
    tensors : mapping of str to ndarray
    metadata : mapping of str to str
    source : str
        What messages call the file.
    sha256 : str
        Digest of the file's bytes.
    notes : tuple of str
        What a user should know of how the file was read: translated names, what it did not say.
    """

    tensors: Mapping[str, np.ndarray]
    metadata: Mapping[str, str]
    source: str
    sha256: str
    notes: tuple[str, ...] = ()

    def setting(self, key):
        """The metadata's value, or an error that names the key."""
        if key in self.metadata:
            return self.metadata[key]
        raise WeightsError(
            f"{self.source} does not say its {key!r}; pass it as an argument, or write it into the "
            "file's metadata with `rvcnn weights import`"
        )

    def number(self, key, kind=int):
        """As :meth:`setting`, as a number that is not negative."""
        value = self.setting(key)
        try:
            number = kind(value)
        except ValueError:
            number = -1
        if not 0 <= number < float("inf"):
            raise WeightsError(f"{self.source}: {key!r} is {value!r}, not a number from 0 up")
        return number

    def check(self, parameters: Mapping[str, tuple[int, ...]]):
        """Compare with the parameters a network has.

        Raises
        ------
        WeightsError
            Naming every missing, unexpected and misshapen key.
        """
        missing = [k for k in parameters if k not in self.tensors]
        unexpected = [k for k in self.tensors if k not in parameters]
        misshapen = [
            f"{k} {self.tensors[k].shape} instead of {shape}"
            for k, shape in parameters.items()
            if k in self.tensors and self.tensors[k].shape != shape
        ]
        faults = [
            f"{what}: {', '.join(key if key.isprintable() else repr(key) for key in keys)}"
            for what, keys in (
                ("missing", missing),
                ("unexpected", unexpected),
                ("misshapen", misshapen),
            )
            if keys
        ]
        if faults:
            raise WeightsError(f"{self.source} does not fit the network; {'; '.join(faults)}")


def random_weights(parameters: Mapping[str, tuple[int, ...]], metadata, seed=0) -> Weights:
    """Untrained weights: He initialisation, batch normalisation as the identity.

    Parameters
    ----------
    parameters : mapping
        Shape of every tensor, from :meth:`rvcnn.graph.Graph.parameters`.
    metadata : mapping of str to str
    seed : int
    """
    rng = np.random.default_rng(seed)
    tensors = {}
    for key, shape in parameters.items():
        if len(shape) > 1:
            deviation = np.sqrt(2.0 / np.prod(shape[1:]))
            tensors[key] = (rng.standard_normal(shape) * deviation).astype(np.float32)
        else:
            one = key.endswith((".running_var", ".weight"))
            tensors[key] = np.full(shape, float(one), np.float32)
    return Weights(tensors, metadata, f"random weights (seed {seed})", f"random-{seed}")
