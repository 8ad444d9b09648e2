"""Maps of another size, interpolated along one axis after the other."""

from dataclasses import dataclass

import numpy as np

from rvcnn.errors import ShapeError
from rvcnn.ops import WAYS

from .base import axes_of, check_size, choose, ints, operators


@dataclass(frozen=True)
class Side:
    """One axis: `n` values become `m`, `scale` times as many, of a region's share of them."""

    n: int
    m: int
    scale: np.float32
    start: float = 0.0
    end: float = 1.0


def _half_pixel_symmetric(at, s):
    adjusted = s.m / (s.scale * s.n)
    return s.n / 2 * (1 - adjusted) + (at + 0.5) / s.scale - 0.5


def _tf_half_pixel_for_nn(at, s):
    return (at + 0.5) / s.scale


def _tf_crop_and_resize(at, s):
    if s.m == 1:
        return np.full_like(at, (s.start + s.end) / 2 * (s.n - 1))
    return s.start * (s.n - 1) + at * (s.end - s.start) * (s.n - 1) / (s.m - 1)


_PLACES = {
    **{name: lambda at, s, way=way: way(at, s.n, s.m, s.scale) for name, way in WAYS.items()},
    "half_pixel_symmetric": _half_pixel_symmetric,
    "tf_half_pixel_for_nn": _tf_half_pixel_for_nn,
    "tf_crop_and_resize": _tf_crop_and_resize,
}

_ROUND = {
    "round_prefer_floor": lambda at: np.ceil(at - 0.5),
    "round_prefer_ceil": lambda at: np.floor(at + 0.5),
    "floor": np.floor,
    "ceil": np.ceil,
}


def _triangle(distance, a):
    return np.maximum(1 - np.abs(distance), 0)


def cubic(distance: np.ndarray, a: float) -> np.ndarray:
    """Keys' cubic convolution kernel (1981), section II, of parameter `a`."""
    d = np.abs(distance)
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
    return np.where(d <= 1, near, np.where(d < 2, far, 0))


_CURVES = {"linear": (_triangle, 1), "bilinear": (_triangle, 1), "cubic": (cubic, 2)}
"""Weight by distance, and the distance from which on it is 0."""


def _taps(at, side, mode, a, antialias, exclude_outside):
    """Places (taps, m) of the values that each result sums, and their weights."""
    curve, reach = choose(_CURVES, mode, "mode")
    squeeze = min(side.scale, 1.0) if antialias else 1.0
    reach = int(np.ceil(reach / squeeze))
    check_size((2 * reach, side.m), np.float64)
    at = at.astype(np.float64)
    places = np.floor(at) + np.arange(1 - reach, reach + 1)[:, None]
    weights = curve((places - at) * squeeze, a)
    if exclude_outside:
        weights = np.where((places < 0) | (places > side.n - 1), 0, weights)
    if exclude_outside or squeeze < 1:
        weights = weights / weights.sum(0)
    return np.clip(places, 0, side.n - 1).astype(np.int64), weights


def _along(x, axis, places, weights):
    """Weighted sums of the values at places along an axis."""
    kind = np.float32 if x.dtype == np.float32 else np.float64
    shape = [-1 if i == axis else 1 for i in range(x.ndim)]
    total = None
    for at, weight in zip(places, weights, strict=True):
        part = np.take(x, at, axis).astype(kind, copy=False)
        part *= weight.astype(kind).reshape(shape)
        total = part if total is None else np.add(total, part, out=total)
    return total


def _sides(x, axes, roi, scales, sizes, policy):
    """What becomes of each of the axes."""
    given = sizes if sizes is not None and sizes.size else scales
    if given is None or given.size != len(axes):
        raise ShapeError(f"{len(axes)} axes need as many sizes or scales")
    if given is sizes:
        wanted = ints(sizes)
        factors = [m / max(x.shape[axis], 1) for m, axis in zip(wanted, axes, strict=True)]
        if policy != "stretch":
            limit = choose({"not_larger": min, "not_smaller": max}, policy, "policy")(factors)
            factors = [limit] * len(axes)
            wanted = [int(limit * x.shape[axis] + 0.5) for axis in axes]
    else:
        factors = [float(f) for f in scales]
        if not all(0 < f < 1 << 31 for f in factors):
            raise ShapeError(f"scales {factors}: they are larger than 0")
        sizes = np.float32([x.shape[axis] for axis in axes])
        wanted = ints(np.float32(factors) * sizes)
    count = len(axes)
    region = [0.0] * count + [1.0] * count if roi is None or not roi.size else list(map(float, roi))
    if len(region) != 2 * count or min(wanted, default=0) < 0:
        raise ShapeError(f"a region of {len(region)} numbers, sizes {wanted} for {count} axes")
    return [
        Side(x.shape[axis], m, np.float32(f), region[i], region[i + count])
        for i, (axis, m, f) in enumerate(zip(axes, wanted, factors, strict=True))
    ]


def resize(
    x,
    roi=None,
    scales=None,
    sizes=None,
    *,
    mode="nearest",
    coordinate_transformation_mode=None,
    nearest_mode=None,
    cubic_coeff_a=-0.75,
    antialias=0,
    exclude_outside=0,
    extrapolation_value=0.0,
    keep_aspect_ratio_policy="stretch",
    axes=None,
    opset=13,
):
    """``x`` with other sizes, by the nearest value or by linear or cubic interpolation."""
    if opset < 11:
        roi, scales = None, roi
        coordinate_transformation_mode, nearest_mode = "asymmetric", "floor"
    axes = range(x.ndim) if axes is None else axes_of(axes, x.ndim)
    place = choose(_PLACES, coordinate_transformation_mode or "half_pixel", "coordinate mode")
    sides = _sides(x, axes, roi, scales, sizes, keep_aspect_ratio_policy)
    result = list(x.shape)
    for axis, side in zip(axes, sides, strict=True):
        result[axis] = side.m
    check_size(result, np.float64 if x.dtype == np.float64 else np.float32)
    if not x.size:
        return np.zeros(result, x.dtype)
    out, beyond = x, []
    for axis, side in sorted(zip(axes, sides, strict=True), key=lambda s: s[1].m / s[1].n):
        # In float32, as ONNX Runtime and PyTorch: it decides which of two pixels is nearer.
        at = place(np.arange(side.m, dtype=np.float32), side)
        if coordinate_transformation_mode == "tf_crop_and_resize":
            beyond.append((axis, (at < 0) | (at > side.n - 1)))
        if np.array_equal(at, np.arange(side.n)):
            continue
        if mode == "nearest":
            near = choose(_ROUND, nearest_mode or "round_prefer_floor", "nearest_mode")(at)
            out = np.take(out, np.clip(near, 0, side.n - 1).astype(np.int64), axis)
        else:
            taps = _taps(at, side, mode, cubic_coeff_a, antialias, exclude_outside)
            out = _along(out, axis, *taps)
    for axis, outside in beyond:
        shape = [-1 if i == axis else 1 for i in range(x.ndim)]
        out = np.where(outside.reshape(shape), np.asarray(extrapolation_value, out.dtype), out)
    return out.astype(x.dtype, copy=False)


def upsample(x, scales, *, mode="nearest"):
    """``x`` with so many times its sizes."""
    return resize(
        x,
        None,
        scales,
        mode=mode,
        coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    )


OPERATORS = operators({"Resize": resize, "Upsample": upsample}, widen=True)
