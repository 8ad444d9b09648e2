"""Values of maps at places between their pixels."""

import itertools

import numpy as np

from rvcnn.errors import ShapeError, WeightsError

from .base import check_size, choose, ints, operators
from .resize import cubic
from .windows import windows

_MODES = {
    "nearest": "nearest",
    "linear": "linear",
    "bilinear": "linear",
    "cubic": "cubic",
    "bicubic": "cubic",
}
_CUBIC_A = -0.75

WORK = 8
"""Arrays of the places' size that are there at one time while a map is sampled."""


def _linear_weights(distance):
    return np.maximum(1 - np.abs(distance), 0)


def _cubic_weights(distance):
    return cubic(distance, _CUBIC_A)


_CURVES = {"linear": (_linear_weights, (0, 1)), "cubic": (_cubic_weights, (-1, 0, 1, 2))}


def _reflected(at, n, align_corners):
    """Places folded back at the outermost pixels' centres or edges."""
    low, high = (0.0, n - 1.0) if align_corners else (-0.5, n - 0.5)
    span = high - low
    if span <= 0:
        return np.zeros_like(at)
    distance = np.abs(at - low)
    turns = np.floor(distance / span)
    rest = distance - turns * span
    return np.clip(np.where(turns % 2 == 0, low + rest, high - rest), 0, n - 1)


def _inside(at, n, padding_mode, align_corners):
    """Whole places within an axis, and where they were so already."""
    if padding_mode == "reflection":
        at = _reflected(at, n, align_corners)
    held = (at >= 0) & (at <= n - 1)
    return np.clip(np.nan_to_num(at), 0, n - 1).astype(np.int64), held


def sample(image, places, mode, padding_mode="zeros", align_corners=False):
    """Values of a map at places.

    Parameters
    ----------
    image : (C, *size) array
    places : list of arrays
        A coordinate of each axis, in pixels.
    mode : str
        nearest, linear or cubic.
    padding_mode : str
        zeros, border or reflection: what there is outside of the map.
    align_corners : bool
        Whether reflections are at the centres of the outermost pixels, not at their edges.

    Returns
    -------
    (C, *shape of the places) array
    """
    if padding_mode not in ("zeros", "border", "reflection"):
        raise WeightsError(f"padding_mode {padding_mode!r}: use zeros, border or reflection")
    check_size((WORK, *places[0].shape), np.float64)
    if padding_mode == "reflection" and mode != "cubic":
        places = [
            _reflected(at, n, align_corners) for at, n in zip(places, image.shape[1:], strict=True)
        ]
    if mode == "nearest":
        axes = [[(np.rint(at), None)] for at in places]
    else:
        curve, taps = _CURVES[mode]
        axes = [
            [(np.floor(at) + tap, curve(np.floor(at) + tap - at)) for tap in taps] for at in places
        ]
    out = np.zeros((len(image), *places[0].shape), image.dtype)
    for corner in itertools.product(*axes):
        index, share = [], np.ones((), image.dtype)
        for (at, weight), n in zip(corner, image.shape[1:], strict=True):
            whole, held = _inside(at, n, padding_mode, align_corners)
            index.append(whole)
            if weight is not None:
                share = share * weight.astype(image.dtype)
            if padding_mode == "zeros":
                share = np.where(held, share, np.zeros((), image.dtype))
        out += np.where(share == 0, 0, image[(slice(None), *index)] * share)
    return out


def grid_sample(x, grid, *, mode="linear", padding_mode="zeros", align_corners=0):
    """Values of each map at a grid's places; -1 and 1 are the ends of an axis.

    Jaderberg et al., 2015. The last axis of the grid names the map's axes from the last on.
    """
    if grid.ndim != x.ndim or grid.shape[-1] != x.ndim - 2 or len(grid) != len(x) or not x.size:
        raise ShapeError(f"a grid {grid.shape} does not fit an input of {x.shape}")
    mode = choose(_MODES, mode, "mode")
    out = np.empty(check_size((*x.shape[:2], *grid.shape[1:-1]), x.dtype), x.dtype)
    for image, nodes, result in zip(x, grid, out, strict=True):
        places = []
        for i, n in enumerate(image.shape[1:]):
            at = nodes[..., -1 - i]
            places.append((at + 1) / 2 * (n - 1) if align_corners else ((at + 1) * n - 1) / 2)
        result[:] = sample(image, places, mode, padding_mode, bool(align_corners))
    return out


def affine_grid(theta, size, *, align_corners=0):
    """Places of a map's pixels after an affine map: a grid for :func:`grid_sample`."""
    n, _, *sides = ints(size)
    check_size((n, *sides, len(sides)), theta.dtype)
    lines = [
        np.linspace(-1, 1, side) if align_corners else (2 * np.arange(side) + 1) / side - 1
        for side in sides
    ]
    mesh = np.meshgrid(*lines, indexing="ij")
    points = np.stack([*reversed(mesh), np.ones(sides)], -1)
    turned = points.reshape(-1, len(sides) + 1) @ theta.astype(np.float64).swapaxes(1, 2)
    return turned.reshape(n, *sides, len(sides)).astype(theta.dtype)


def roi_align(
    x,
    rois,
    batch_indices,
    *,
    mode="avg",
    output_height=1,
    output_width=1,
    sampling_ratio=0,
    spatial_scale=1.0,
    coordinate_transformation_mode=None,
    opset=16,
):
    """Means or maxima of bilinear samples of each cell of regions (He et al., 2017)."""
    default = "half_pixel" if opset >= 16 else "output_half_pixel"
    aligned = (coordinate_transformation_mode or default) == "half_pixel"
    check_size((len(rois), x.shape[1], output_height, output_width), x.dtype)
    out = np.empty((len(rois), x.shape[1], output_height, output_width), x.dtype)
    for roi, batch, result in zip(rois, ints(batch_indices), out, strict=True):
        result[:] = _region(
            x[batch],
            roi.astype(np.float64) * spatial_scale - (0.5 if aligned else 0),
            (output_height, output_width),
            sampling_ratio,
            aligned,
            mode,
        )
    return out


def _region(image, roi, cells, ratio, aligned, mode):
    """One region (x1, y1, x2, y2), in cells."""
    lines, counts = [], []
    for first, last, count, n in zip(roi[1::-1], roi[:1:-1], cells, image.shape[1:], strict=True):
        length = (last - first) if aligned else max(last - first, 1.0)
        taps = ratio if ratio > 0 else max(int(np.ceil(length / count)), 1)
        check_size((count, taps, image.shape[2]), np.float64)
        at = first + (np.arange(count * taps) + 0.5) * length / (count * taps)
        # Samples within a pixel of the border count as those on it.
        lines.append((np.clip(at, 0, n - 1), (at >= -1) & (at <= n)))
        counts.append(taps)
    (y, y_held), (x, x_held) = lines
    check_size((max(len(image), WORK), len(y), len(x)), np.float64)
    held = y_held[:, None] & x_held
    shape = (len(image), cells[0], counts[0], cells[1], counts[1])
    if mode == "avg":
        values = sample(image, np.meshgrid(y, x, indexing="ij"), "linear", "border")
        return np.where(held, values, 0).reshape(shape).mean((2, 4))
    corners = []
    for dy, dx in itertools.product((0, 1), repeat=2):
        rows, columns = np.floor(y) + dy, np.floor(x) + dx
        share = _linear_weights(rows - y)[:, None] * _linear_weights(columns - x)
        rows = np.minimum(rows, image.shape[1] - 1).astype(np.int64)
        columns = np.minimum(columns, image.shape[2] - 1).astype(np.int64)
        corners.append(np.where(held, image[:, rows[:, None], columns] * share, 0))
    return np.max(corners, 0).reshape(shape).max((2, 4))


def deform_conv(
    x,
    weights,
    offset,
    bias=None,
    mask=None,
    *,
    kernel_shape=None,
    strides=None,
    dilations=None,
    pads=None,
    group=1,
    offset_group=1,
):
    """Convolution whose taps are moved by offsets (N, groups * taps * 2, *out), (row, column).

    Dai et al., 2017; with a mask, Zhu et al., 2019.
    """
    w = windows(x.shape[2:], weights.shape[2:], strides=strides, dilations=dilations, pads=pads)
    taps, channels, dims = int(np.prod(w.kernel)), x.shape[1] // offset_group, len(w.kernel)
    check_size((x.shape[1], taps, *w.out), x.dtype)
    moves = offset.reshape(len(x), offset_group, taps, dims, *w.out)
    shares = np.ones((len(x), offset_group, taps, *w.out), x.dtype)
    if mask is not None:
        shares = mask.reshape(shares.shape)
    steps = [np.arange(o) * s - b for o, s, b in zip(w.out, w.strides, w.begin, strict=True)]
    grid = np.meshgrid(*steps, indexing="ij")
    columns = np.empty((len(x), x.shape[1], taps, *w.out), x.dtype)
    for n, g, (t, tap) in itertools.product(
        range(len(x)), range(offset_group), enumerate(np.ndindex(*w.kernel))
    ):
        places = [grid[i] + tap[i] * w.dilations[i] + moves[n, g, t, i] for i in range(dims)]
        part = slice(g * channels, (g + 1) * channels)
        columns[n, part, t] = sample(x[n, part], places, "linear") * shares[n, g, t]
    depth, rows = weights.shape[1], len(weights) // group
    out = np.empty((len(x), len(weights), *w.out), x.dtype)
    for g in range(group):
        filters = weights[g * rows : (g + 1) * rows].reshape(rows, depth, taps)
        inside = columns[:, g * depth : (g + 1) * depth]
        products = np.tensordot(inside, filters, ((1, 2), (1, 2)))
        out[:, g * rows : (g + 1) * rows] = np.moveaxis(products, -1, 1)
    return out if bias is None else out + bias.reshape(-1, *(1,) * dims)


OPERATORS = operators(
    {
        "AffineGrid": affine_grid,
        "DeformConv": deform_conv,
        "GridSample": grid_sample,
        "RoiAlign": roi_align,
    },
    widen=True,
)
