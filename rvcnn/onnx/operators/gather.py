"""Values taken from places and put into places."""

import numpy as np

from rvcnn.errors import ShapeError

from .base import axis_of, check_size, choose, operators


def _places(indices, length):
    """Indices counted from the front."""
    if indices.size and not -length <= indices.min() <= indices.max() < length:
        raise ShapeError(
            f"indices from {indices.min()} to {indices.max()} of an axis of {length}: "
            f"they go from {-length} to {length - 1}"
        )
    return np.where(indices < 0, indices + length, indices)


def gather(x, indices, *, axis=0):
    """Slices of `x` along an axis."""
    axis = axis_of(axis, x.ndim)
    check_size((*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]), x.dtype)
    return np.take(x, _places(indices, x.shape[axis]), axis)


def gather_elements(x, indices, *, axis=0):
    """Values of `x` whose place along an axis is given for each."""
    axis = axis_of(axis, x.ndim)
    return x[_grid(indices, x, axis)]


def _grid(indices, x, axis):
    """Index of every value that `indices` names along an axis."""
    if indices.ndim != x.ndim:
        raise ShapeError(f"indices {indices.shape} for an array {x.shape}: the ranks differ")
    place = list(np.indices(check_size(indices.shape, np.int64), sparse=True))
    place[axis] = _places(indices, x.shape[axis])
    return tuple(place)


def gather_nd(x, indices, *, batch_dims=0):
    """Slices of `x` at the tuples along the last axis of `indices`."""
    rows = _tuples(x, indices, batch_dims)
    batch = np.indices(indices.shape[:-1], sparse=True)[:batch_dims]
    return x[(*batch, *rows)]


def _tuples(x, indices, batch_dims=0):
    """Columns of the last axis of `indices`, counted from the front."""
    depth = indices.shape[-1]
    if batch_dims + depth > x.ndim:
        raise ShapeError(f"indices {indices.shape} name {depth} axes of an array {x.shape}")
    return [_places(indices[..., i], x.shape[batch_dims + i]) for i in range(depth)]


_PUT = {
    "none": None,
    "add": np.add,
    "mul": np.multiply,
    "max": np.maximum,
    "min": np.minimum,
}


def _put(x, place, updates, reduction):
    """Copy of `x` with updates at a place, each combined with what is there."""
    combine, out = choose(_PUT, reduction, "reduction"), x.copy()
    if combine is None:
        out[place] = updates
    else:
        combine.at(out, place, updates)
    return out


def scatter_elements(x, indices, updates, *, axis=0, reduction="none"):
    """``x`` with updates whose place along an axis is given for each."""
    return _put(x, _grid(indices, x, axis_of(axis, x.ndim)), updates, reduction)


def scatter_nd(x, indices, updates, *, reduction="none"):
    """``x`` with updates at the tuples along the last axis of `indices`."""
    return _put(x, tuple(_tuples(x, indices)), updates, reduction)


def tensor_scatter(x, updates, first=None, *, axis=-2, mode="linear"):
    """A cache (batch, ...) with new values along an axis from each sequence's place on."""
    axis = axis_of(axis, x.ndim)
    length, count = x.shape[axis], updates.shape[axis]
    first = np.zeros(len(x), np.int64) if first is None else first
    at = first[:, None] + np.arange(count)
    if mode == "circular":
        at = at % length
    out = np.moveaxis(x.copy(), axis, 1)
    out[np.arange(len(x))[:, None], _places(at, length)] = np.moveaxis(updates, axis, 1)
    return np.moveaxis(out, 1, axis)


def one_hot(indices, depth, values, *, axis=-1):
    """The second value at each index along a new axis, the first elsewhere."""
    depth = int(np.ravel(depth)[0])
    axis = axis_of(axis, indices.ndim + 1)
    check_size((*indices.shape, depth), values.dtype)
    places = np.arange(depth).reshape(-1, *(1,) * (indices.ndim - axis))
    hot = np.expand_dims(indices % max(depth, 1), axis) == places
    inside = np.expand_dims((indices >= -depth) & (indices < depth), axis)
    return np.where(hot & inside, values[1], values[0])


OPERATORS = operators(
    {
        "Gather": gather,
        "GatherElements": gather_elements,
        "GatherND": gather_nd,
        "OneHot": one_hot,
        "Scatter": scatter_elements,
        "ScatterElements": scatter_elements,
        "ScatterND": scatter_nd,
        "TensorScatter": tensor_scatter,
    }
)
