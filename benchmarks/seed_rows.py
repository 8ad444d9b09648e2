"""The rows of the seed's table: data, and every way to compute each."""

from __future__ import annotations

from importlib.util import find_spec

import common
import numpy as np
import seed_scalar
from seed_way import Row, Way

from rvcnn.kernels import (
    At,
    Map,
    Program,
    Window,
    WinogradFilterCache,
    conv,
    elementwise,
    elementwise_u8,
    pool,
    vector,
    winograd,
)
from rvcnn.kernels._memory import aligned
from rvcnn.kernels.activation import applied
from rvcnn.kernels.requantise import Store
from rvcnn.kernels.resize import coefficients, resize

if find_spec("torch"):
    import seed_torch
else:
    seed_torch = None

EPSILON = 1e-3
FLOAT = 1e-5
"""Rounding of sums of some thousand float32."""

PHOTOGRAPH, CROP = (375, 500), 224
VALUES, VECTORS = 1_000_000, 10_000


def versions(way: str) -> str:
    """What a way is computed by."""
    package = way.split(",")[0].split()[0]
    return common.versions({"pytorch": "torch", "loops": "numba"}.get(package, package))


def _random(rng, *shape) -> np.ndarray:
    return aligned(rng.standard_normal(shape, np.float32))


def _pytorch(name: str, *args) -> dict[str, Way]:
    return getattr(seed_torch, name)(*args) if seed_torch else {}


def _bordered(x: np.ndarray, border: int, value: float = 0) -> tuple[np.ndarray, Map]:
    """A map with a border, some bytes of slack behind it, and where its inside lies."""
    h, w, c = x.shape
    shape = (h + 2 * border, w + 2 * border, c)
    block = aligned(np.full(np.prod(shape) + 64, value, x.dtype))[: np.prod(shape)].reshape(shape)
    block[border : border + h, border : border + w] = x
    whole = Map.of(block)
    first = border * (whole.row + whole.pixel)
    return block, whole._replace(offset=first, height=h, width=w)


def _taps(x: np.ndarray, size: int, weights, product) -> np.ndarray:
    """A convolution in NumPy: for each tap the whole map at once; ``x`` carries its border."""
    h, w = x.shape[0] - size + 1, x.shape[1] - size + 1
    taps = ((dy, dx) for dy in range(size) for dx in range(size))
    return sum(product(x[dy : dy + h, dx : dx + w], weights[dy, dx]) for dy, dx in taps)


def convolution(rng, side: int, inputs: int, outputs: int, size: int, groups: int = 1) -> Row:
    """A convolution of stride 1 that keeps the size, in fp32."""
    x, bias = _random(rng, side, side, inputs), _random(rng, outputs)
    weights = _random(rng, outputs, size, size, inputs // groups)
    padded, source = _bordered(x, size // 2)
    window = Window((size, size), padding=((size // 2,) * 2,) * 2)
    out = aligned(np.empty((side, side, outputs), np.float32))
    nchw = weights.transpose(0, 3, 1, 2)
    run = Program(conv.convolution(Map.of(out), source, nchw, bias, window, groups)).run
    if groups > 1:
        taps = aligned(weights[..., 0].transpose(1, 2, 0))
        loops = Way(lambda: seed_scalar.depthwise(padded, taps, bias))
        numpy = Way(lambda: _taps(padded, size, taps, np.multiply) + bias)
    else:
        taps = aligned(weights.transpose(1, 2, 3, 0))
        loops = Way(lambda: seed_scalar.conv(padded, weights, bias))
        numpy = Way(lambda: _taps(padded, size, taps, np.matmul) + bias)
    ways = {"rvcnn": Way(run, lambda _: out), "loops": loops, "numpy": numpy}
    ways |= _pytorch("conv", x, weights, bias, groups)
    if size == 1:
        ways |= _pytorch("pointwise", x, taps[0, 0], bias)
    kind = "depthwise " if groups > 1 else "pointwise " if size == 1 else ""
    shape = f"{side}x{side}x{inputs}" + ("" if groups > 1 else f"->{outputs}")
    direct = ", direct" if size > 1 and groups == 1 else ""
    return Row(
        f"{size}x{size} {kind}convolution {shape} fp32{direct}",
        2 * side * side * weights.size,
        x.nbytes + weights.nbytes + out.nbytes,
        "GFLOP/s",
        FLOAT,
        ways,
        data=(padded, weights, bias),
    )


def by_winograd(rng, side: int, inputs: int, outputs: int) -> Row:
    """A 3x3 convolution by Winograd's algorithm, beside the direct one."""
    direct = convolution(rng, side, inputs, outputs, 3)
    padded, weights, bias = direct.data
    ways = {"rvcnn, direct": direct.ways["rvcnn"]} | direct.ways
    for name, tile in (("rvcnn", 4), ("rvcnn, F(2x2)", 2)):
        size = winograd.scratch_size(side, side, inputs, outputs, tile)
        out = aligned(np.empty((side, side, outputs), np.float32))
        run = Program(
            winograd.convolution(
                Map.of(out),
                Map.of(padded)._replace(height=side, width=side),
                WinogradFilterCache(weights, tile),
                bias,
                applied("identity"),
                None,
                At(aligned(np.empty(size, np.float32))),
            )
        ).run
        ways[name] = Way(run, lambda _, out=out: out)
    title = direct.title.replace("direct", "Winograd")
    return direct._replace(title=title, ways=ways)


def convolution_u8(rng, side: int, inputs: int, outputs: int, groups: int = 1) -> Row:
    """A 3x3 convolution of bytes to bytes with int8 weights, exact in between."""
    # 7 bits: with all 8, one of PyTorch's two engines saturates in 16 bits and disagrees.
    x = aligned(rng.integers(0, 128, (side, side, inputs), np.uint8))
    weights = aligned(rng.integers(-127, 128, (outputs, 3, 3, inputs // groups), np.int8))
    (x_scale, x_zero), w_scale = (0.02, 59), rng.uniform(0.001, 0.002, outputs)
    spread = 0.02 * 0.0015 * 37 * 73 * np.sqrt(weights[0].size)
    out_scale, out_zero = 6 * spread / 255, 131
    bias = _random(rng, outputs) * np.float32(spread)
    padded, source = _bordered(x, 1, x_zero)
    window = Window((3, 3), padding=((1, 1), (1, 1)))
    out = aligned(np.empty((side, side, outputs), np.uint8))
    nchw = weights.transpose(0, 3, 1, 2)
    store = Store.of(nchw, w_scale, bias, x_scale, x_zero, (out_scale, out_zero))
    calls = conv.quantized_convolution(Map.of(out), source, nchw, store, window, groups)
    sums = np.rint(bias / (x_scale * w_scale)).astype(np.int32)
    common_args = (padded, np.int32(x_zero))
    rest = (sums, store.multiplier, np.float32(out_zero))
    taps = aligned(weights[..., 0].transpose(1, 2, 0) if groups > 1 else weights)
    plain = seed_scalar.depthwise_u8 if groups > 1 else seed_scalar.conv_u8
    loops = Way(lambda: plain(*common_args, taps, *rest))
    wide = taps.astype(np.int32) if groups > 1 else weights.transpose(1, 2, 3, 0).astype(np.int32)

    def numpy():
        centred = padded.astype(np.int32) - x_zero
        total = _taps(centred, 3, wide, np.multiply if groups > 1 else np.matmul) + sums
        return np.clip(np.rint(total * store.multiplier) + out_zero, 0, 255).astype(np.uint8)

    ways = {"rvcnn": Way(Program(calls).run, lambda _: out), "loops": loops, "numpy": Way(numpy)}
    scales, zeros = (x_scale, w_scale, out_scale), (x_zero, out_zero)
    ways |= _pytorch("conv_u8", x, weights, bias, scales, zeros, groups)
    kind, arrow = ("depthwise ", "") if groups > 1 else ("", f"->{outputs}")
    return Row(
        f"3x3 {kind}convolution {side}x{side}x{inputs}{arrow} int8",
        2 * side * side * weights.size,
        x.nbytes + weights.nbytes + out.nbytes,
        "GOP/s",
        1,
        ways,
        on_bytes=True,
    )


def convolutions(rng, quick: bool):
    """All convolutions."""
    side, few, many = (14, 16, 32) if quick else (56, 64, 128)
    yield convolution(rng, side, few, many, 3)
    yield by_winograd(rng, side, few, many)
    yield convolution_u8(rng, side, few, many)
    yield convolution(rng, side, many, many, 3, groups=many)
    yield convolution_u8(rng, side, many, many, groups=many)
    yield convolution(rng, side, few, many, 1)


def elementwise_rows(rng, quick: bool):
    """What is done to each value by itself."""
    n = VALUES // 100 if quick else VALUES
    x, out = _random(rng, n), aligned(np.empty(n, np.float32))
    maps = [Map.of(a.reshape(1, 1, -1)) for a in (out, x)]
    ways = {
        "rvcnn": Way(Program(elementwise.activate(*maps, "relu")).run, lambda _: out),
        "loops": Way(lambda: seed_scalar.relu(x)),
        "numpy": Way(lambda: np.maximum(x, 0, out=out)),
    }
    ways |= _pytorch("relu", x)
    yield Row(f"ReLU of {n:,} values", n, 2 * x.nbytes, "GB/s", FLOAT, ways)

    side, channels = (14, 32) if quick else (56, 128)
    x, out = _random(rng, side, side, channels), aligned(np.empty((side, side, channels), "f4"))
    gamma, beta, mean = (_random(rng, channels) for _ in range(3))
    variance = aligned(rng.uniform(0.5, 2, channels), np.float32)
    scale = gamma / np.sqrt(variance + np.float32(EPSILON))
    shift = beta - mean * scale
    calls = elementwise.scale_shift(Map.of(out), Map.of(x), aligned(scale), aligned(shift))
    vectors = (gamma, beta, mean, variance)
    ways = {
        "rvcnn": Way(Program(calls).run, lambda _: out),
        "loops": Way(lambda: seed_scalar.batch_norm(x, *vectors, EPSILON)),
        "numpy": Way(lambda: np.add(np.multiply(x, scale, out=out), shift, out=out)),
    }
    ways |= _pytorch("batch_norm", x, *vectors, EPSILON)
    title = f"BatchNorm {side}x{side}x{channels}"
    yield Row(title, 2 * x.size, 2 * x.nbytes, "GB/s", FLOAT, ways)


def quantised(rng, quick: bool):
    """Values to bytes."""
    n = VALUES // 100 if quick else VALUES
    x, out = _random(rng, n), aligned(np.empty(n, np.uint8))
    scale, zero = 1 / 32, 131
    calls = elementwise_u8.quantize(*(Map.of(a.reshape(1, 1, -1)) for a in (out, x)), scale, zero)
    inverse = np.float32(1 / scale)
    ways = {
        "rvcnn": Way(Program(calls).run, lambda _: out),
        "loops": Way(lambda: seed_scalar.quantise(x, inverse, np.float32(zero))),
        "numpy": Way(lambda: np.clip(np.rint(x * inverse) + zero, 0, 255).astype(np.uint8)),
    }
    ways |= _pytorch("quantise", x, scale, zero)
    yield Row(f"quantise {n:,} values", 2 * n, x.nbytes + out.nbytes, "GB/s", 1, ways)


def _pooled(x: np.ndarray) -> Row:
    side, _, channels = x.shape
    out = aligned(np.empty((1, 1, channels), np.float32))
    run = Program(pool.global_avg_pool(Map.of(out), Map.of(x))).run
    ways = {
        "rvcnn": Way(run, lambda _: out),
        "loops": Way(lambda: seed_scalar.global_average(x)),
        "numpy": Way(lambda: x.mean((0, 1))),
    }
    ways |= _pytorch("global_average", x)
    title = f"global average pooling {side}x{side}x{channels}"
    return Row(title, x.size, x.nbytes, "GB/s", FLOAT, ways)


def pooled(rng, quick: bool):
    """Global average pooling: of a large map, and of the last one of MobileNetV3-Small."""
    for side, channels in [(14, 32)] if quick else [(56, 128), (7, 576)]:
        yield _pooled(_random(rng, side, side, channels))


def unit(rng, quick: bool):
    """A vector to length 1."""
    x, out = _random(rng, 512), aligned(np.empty(512, np.float32))
    ways = {
        "rvcnn": Way(Program(vector.l2_normalize(out, x, len(x))).run, lambda _: out),
        "loops": Way(lambda: seed_scalar.unit(x)),
        "numpy": Way(lambda: x / np.linalg.norm(x)),
    }
    ways |= _pytorch("unit", x)
    yield Row("L2 normalise a vector of 512", 3 * x.size, 2 * x.nbytes, "GB/s", FLOAT, ways)


def resized(rng, quick: bool):
    """A photograph to 224 x 224: bytes, antialiased bilinear, as Pillow's."""
    (h, w), to = PHOTOGRAPH, CROP
    rgbx = aligned(rng.integers(0, 256, (h, w, 4), np.uint8))
    rgb = aligned(rgbx[..., :3])
    axes = [coefficients(n, 0, n, to) for n in (h, w)]
    dense = [np.zeros((to, n), np.float32) for n in (h, w)]
    for matrix, (first, weights) in zip(dense, axes, strict=True):
        for i in range(to):
            matrix[i, first[i] : first[i] + weights.shape[1]] = weights[i]

    def numpy():
        rows = (dense[0] @ rgb.reshape(h, -1).astype(np.float32)).reshape(to, w, 3)
        return np.clip(np.rint(dense[1] @ rows), 0, 255).astype(np.uint8)

    ways = {
        "rvcnn": Way(lambda: resize(rgbx, (0, 0, w, h), (to, to))),
        "loops": Way(lambda: seed_scalar.resize(rgb, *axes[0], *axes[1])),
        "numpy": Way(numpy),
    }
    ways |= _pytorch("resize", rgb, (to, to))
    taps = [weights.shape[1] for _, weights in axes]
    work = 2 * 3 * to * (w * taps[0] + to * taps[1])
    title = f"resize {w}x{h} to {to}x{to}"
    yield Row(title, work, rgb.nbytes + 3 * to * to, "GFLOP/s", 1, ways)


def _dots(query: np.ndarray, vectors: np.ndarray) -> Row:
    out = aligned(np.empty((1, len(vectors)), np.float32))
    ways = {
        "rvcnn": Way(Program(vector.dot_products(out, query[None], vectors)).run, lambda _: out),
        "loops": Way(lambda: seed_scalar.dots(query, vectors)),
        "numpy": Way(lambda: vectors @ query),
    }
    ways |= _pytorch("dots", query, vectors)
    title = f"{len(vectors):,} dot products of {len(query)} fp32"
    return Row(title, 2 * vectors.size, vectors.nbytes, "GB/s", FLOAT, ways)


def _dots_s8(query: np.ndarray, vectors: np.ndarray) -> Row:
    out = aligned(np.empty((1, len(vectors)), np.int32))
    ways = {
        "rvcnn": Way(Program(vector.dot_products_s8(out, query[None], vectors)).run, lambda _: out),
        "loops": Way(lambda: seed_scalar.dots_s8(query, vectors)),
        "numpy": Way(lambda: np.matmul(vectors, query, dtype=np.int32)),
    }
    ways |= _pytorch("dots_s8", query, vectors)
    title = f"{len(vectors):,} dot products of {len(query)} int8"
    return Row(title, 2 * vectors.size, vectors.nbytes, "GB/s", 0, ways, True)


def dots(rng, quick: bool):
    """One query against many vectors, in fp32 and int8."""
    n = VECTORS // 100 if quick else VECTORS
    for dim in (256, 512, 1024, 2048):
        yield _dots(_random(rng, dim), _random(rng, n, dim))
        query, vectors = (rng.integers(-127, 128, shape, np.int8) for shape in (dim, (n, dim)))
        yield _dots_s8(aligned(query), aligned(vectors))


ROWS = (convolutions, elementwise_rows, pooled, quantised, unit, resized, dots)
"""In the table's order; each makes rows when it is asked to, and frees them after."""
