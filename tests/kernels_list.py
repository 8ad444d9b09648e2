"""Which problems are tried: below, at, above and between the tiles of every lane count."""

import itertools

import numpy as np
from kernels_problems import (
    activation,
    attention,
    batch_norm,
    bilinear,
    conv2d,
    depthwise,
    interleave_linear,
    linear,
    simple,
)
from kernels_recurrent import recurrent
from kernels_winograd import winograd

from rvcnn.kernels import (
    Call,
    Map,
    dot_rows,
    elementwise,
    near_pairs,
    neighbours,
    pixels,
    pruning,
    resize,
    vector,
)

ACTIVATIONS = "identity relu relu6 leaky_relu hard_sigmoid hard_swish sigmoid silu".split()
GELUS = "gelu gelu_tanh quick_gelu".split()
CHANNELS = (1, 3, 4, 5, 7, 8, 9, 12, 15, 16, 17, 20, 24, 25, 31, 32, 33, 40)
OUTPUTS = (*CHANNELS, 56, 63, 64, 65, 72, 80, 88, 96, 100, 640)
ROWS = (1, 2, 5, 6, 7, 8, 12, 13, 14, 15, 49)
SAME = ((0, 1), (0, 1))
LOPSIDED = ((2, 0), (0, 3))
UNEVEN = ((0, 3), (2, 1))
NONE = ((0, 0), (0, 0))

LINEAR = [
    *(linear(8, 5, n) for n in OUTPUTS),
    *(linear(1, 5, n) for n in OUTPUTS),
    *(linear(m, 3, 33) for m in ROWS),
    *(linear(9, k, 20) for k in (1, 2, 31, 600, 2000)),
    *(linear(9, 6, 41, residual=True, activation=a) for a in ACTIVATIONS),
    linear(1, 576, 1024, activation="hard_swish"),
    *(linear(9, 6, 48, residual=True, activation=a) for a in GELUS),
]
CONV = [
    *(conv2d((4, 5), 6, 20, activation=a) for a in ACTIVATIONS),
    *(conv2d((6, 5), 3, n, (3, 3), padding=1) for n in (1, 8, 16, 24, 33)),
    *(conv2d((3, w), 3, n, (3, 3), padding=1) for w in (6, 7, 8, 13, 14, 15) for n in (20, 128)),
    *(conv2d((h, h), 3, 16, (3, 3), stride=2, padding=SAME) for h in (2, 5, 15, 32)),
    *(conv2d((9, 8), c, 12, (5, 3), stride=(1, 2), padding=LOPSIDED) for c in (1, 4, 17)),
    *(conv2d((11, 9), 8, 10, (3, 3), groups=g, padding=1) for g in (2,)),
    *(conv2d((6, 7), 8, 32, (3, 3), groups=g, padding=1, stride=s) for g in (4, 8) for s in (1, 2)),
    *(conv2d((12, 13), 4, 9, (3, 3), dilation=d, padding=2) for d in (2, (1, 3), (3, 1))),
    conv2d((12, 13), 6, 6, (3, 3), dilation=(2, 3), padding=3, groups=3, stride=(2, 1)),
    conv2d((7, 7), 12, 12, (3, 3), groups=12, padding=1, dilation=2),
    conv2d((7, 7), 12, 12, (3, 3), groups=12, padding=1, residual=True),
    conv2d((7, 6), 12, 24, (3, 3), groups=12, padding=1),
    conv2d((3, 3), 5, 9, (3, 3)),
    conv2d((2, 2), 5, 9, (5, 5), padding=2),
    conv2d((17, 1), 5, 9, (3, 1)),
    conv2d((1, 17), 5, 9, (1, 7), padding=(0, 3)),
    conv2d((5, 6), 8, 40, residual=True, activation="relu"),
    conv2d((5, 6), 8, 16, (3, 3), padding=1, residual=True, activation="silu"),
    *(conv2d((5, 6), 9, 41, residual=True, sum_first=True, activation=a) for a in ACTIVATIONS),
    conv2d((5, 6), 9, 41, sum_first=True, activation="relu"),
    conv2d((5, 6), 8, 40, slope=0.1, activation="leaky_relu"),
    conv2d((5, 6), 8, 16, padding=2, stride=3),
    conv2d((30, 31), 16, 72, activation="hard_swish"),
]
WINOGRAD = [
    *(winograd(t, (h, w), 6, 9) for t in (2, 4) for h in (1, 2, 3, 4, 5, 9) for w in (1, 4, 6, 7)),
    *(winograd(t, (5, 6), c, 20) for t in (2, 4) for c in CHANNELS),
    *(winograd(t, (9, 11), 3, n) for t in (2, 4) for n in (*CHANNELS, 48, 56, 64, 80, 100)),
    *(winograd(t, (3, 3), 3, n) for t in (2, 4) for n in (33, 64, 72)),
    *(
        winograd(t, (7, 8), 5, 16, padding=p)
        for t in (2, 4)
        for p in (NONE, LOPSIDED, ((0, 3), (2, 1)))
    ),
    *(winograd(t, (7, 5), 8, 17, activation=a, residual=True) for t in (2, 4) for a in ACTIVATIONS),
    *(winograd(4, (4, 4 * n), 3, 40) for n in (3, 4, 6, 7, 8, 11)),
    *(winograd(2, (2, 2 * n), 3, 40) for n in (3, 4, 6, 7, 8, 11)),
    winograd(4, (37, 39), 24, 56),
    winograd(2, (41, 39), 24, 16, activation="relu"),
    winograd(4, (7, 5), 8, 16, activation="gelu", residual=True),
]
DEPTHWISE = [
    *(
        depthwise((5, 17), c, (k, k), stride=s, padding=k // 2)
        for k in (3, 5)
        for s in (1, 2)
        for c in CHANNELS
    ),
    *(
        depthwise((5, w * s), c, (k, k), stride=s, padding=((0, k - 1), (k - 1, 0)))
        for k in (3, 5)
        for s in (1, 2)
        for w, c in ((1, 28), (2, 3), (6, 25), (7, 12), (8, 12), (14, 12), (15, 12))
    ),
    *(depthwise((8, w), 25, (7, 7), stride=s, padding=3) for s in (1, 2) for w in (5, 7, 14, 17)),
    *(depthwise((8, 9), c, (7, 7), padding=((6, 0), (1, 5))) for c in (3, 8, 40)),
    *(depthwise((9, 10), 20, (3, 3), padding=1, activation=a) for a in ACTIVATIONS),
    depthwise((9, 10), 20, (3, 3), padding=1, activation="gelu"),
    depthwise((10, 11), 9, (3, 5), padding=(1, 2)),
    depthwise((10, 11), 9, (9, 9), padding=4),
    *(
        depthwise((10, 3), 20, (9, 1), padding=((4, 4), (0, 0)), activation=a)
        for a in ACTIVATIONS + GELUS
    ),
    depthwise((10, 11), 9, (3, 3), stride=3),
    depthwise((10, 11), 9, (3, 3), stride=(2, 1)),
    *(depthwise((1, w), c, (1, 9), padding=(0, 4)) for w in (5, 7, 8, 23) for c in (3, 16, 41)),
    *(depthwise((1, 30), 20, (1, 4), stride=(1, s), activation="silu") for s in (2, 3)),
    conv2d((1, 40), 24, 24, (1, 3), groups=24, padding=(0, 8), dilation=(1, 8)),
    conv2d((13, 12), 24, 24, (3, 3), groups=24, padding=4, dilation=4, activation="hard_swish"),
    depthwise((10, 11), 1, (3, 3)),
]
ELEMENTWISE = [
    *(activation(n, a) for a in ACTIVATIONS + GELUS for n in (1, 3, 4, 15, 16, 17, 100)),
    activation((3, 5, 7), "hard_swish"),
    activation((2000,), "sigmoid"),
    activation((2000,), "silu"),
    *(activation(100, "leaky_relu", slope=s) for s in (0.1, 0.0, 1.0, -0.5, 1.5)),
    *(simple("add", (3, 5, c), (3, 5, c)) for c in CHANNELS),
    *(simple("multiply", (3, 5, c), (3, 5, c)) for c in CHANNELS),
    *(simple("tanh", (3, 5, c)) for c in CHANNELS),
    *(simple("scale_shift", (3, 5, c), c, c) for c in CHANNELS),
    *(simple("scale_shift", (3, 5, c), c) for c in CHANNELS),
    *(batch_norm((4, 3), c, 1e-3) for c in (1, 8, 21)),
    *(simple("interleave", (3, 5, c), (3, 5, c)) for c in (*CHANNELS, 58, 116)),
    *(interleave_linear((3, 5), 4, n) for n in (*CHANNELS, 58, 116)),
    *(interleave_linear((2, 7), 9, 24, activation=a) for a in ACTIVATIONS),
    *(interleave_linear(s, 33, 58) for s in ((1, 1), (1, 8), (7, 7), (28, 28))),
    *(simple("take_channels", (3, 5, 6), constants=(o,)) for o in ((3, 1, 5), (5, 4, 3, 3, -1))),
]
POOLS = [
    *(simple("max_pool", (6, 7, c), constants=(2,)) for c in CHANNELS),
    *(simple("max_pool", (9, 8, 5), constants=((3, 2), s, 1)) for s in (1, 2, (2, 3))),
    simple("max_pool", (9, 10, 8), constants=(3, 1, LOPSIDED, (2, 3))),
    *(simple("max_pool", (9, 10, 8), constants=(3, 1, p)) for p in (SAME, LOPSIDED, UNEVEN)),
    *(simple("max_pool", (h, w, 24), constants=(3, 2, 1)) for h, w in ((1, 1), (2, 5), (15, 16))),
    *(simple("max_pool", (9, 12, c), constants=((5, 7), 1, (2, 3))) for c in (4, 24)),
    simple("max_pool", (5, 6, 33), constants=(5, 1, 2)),
    *(
        simple("avg_pool", (9, 8, c), constants=((3, 3), 2, p), count_include_pad=i)
        for c in (3, 17)
        for p in (0, 1, SAME)
        for i in (True, False)
    ),
    *(simple("global_avg_pool", (7, 7, c)) for c in CHANNELS),
    *(simple("global_avg_pool", (h, w, 24)) for h, w in ((1, 1), (1, 8), (5, 1), (33, 47))),
    *(simple("squeeze_excite", (7, 6, c), (s, c), s, (c, s), c) for c, s in ((16, 8), (25, 7))),
]
VECTORS = [
    *(simple("l2_normalize", n) for n in (1, 2, 31, 32, 33, 64, 100, 512, 513, 640)),
    *(simple("dot_products", (2, d), (5, d)) for d in (1, 31, 32, 33, 64, 95, 512, 600, 640)),
    *(simple("dot_products", (q, 40), (n, 40)) for q in (1, 3, 8) for n in (1, 2, 3, 4, 6, 8, 9)),
]
BILINEAR = [
    *(bilinear((5, 7), c, (9, 13)) for c in CHANNELS),
    *(bilinear((h, w), 9, (5, 6)) for h, w in ((1, 1), (1, 8), (9, 1), (40, 3))),
    bilinear((6, 5), 4, (1, 1)),
]
RECURRENT = [
    *(recurrent(f, 3, h) for f in ("lstm", "gru") for h in (1, 3, 15, 16, 17, 33, 48)),
    *(recurrent(f, t, 20, reverse=True) for f in ("lstm", "gru") for t in (1, 2, 12)),
]
TOKENS = [
    *(simple("layer_norm", (2, 3, c), c, c, constants=(1e-5,)) for c in (*CHANNELS[1:], 64, 100)),
    simple("layer_norm", (1, 1, 768), 768, 768, constants=(1e-6,)),
    *(attention(1, (t, 9), 2, (5, 7)) for t in (1, 2, 3, 4, 5, 6, 7, 12, 13)),
    *(attention(1, (7, s), 2, (3, 8)) for s in (1, 2, 15, 16, 17, 31, 32, 33, 47, 64, 65)),
    *(attention(1, (6, 5), 1, (4, w)) for w in (1, 3, 4, 15, 16, 17, 32, 36, 63, 64, 65, 100)),
    *(attention(1, (8, 6), 1, (d, 4)) for d in (1, 2, 64, 300)),
    *(attention(3, (t, 20), 2, (8, 16), biases=b) for t in (2, 9) for b in (1, 3)),
]
PROBLEMS = [
    *(LINEAR + CONV + WINOGRAD + DEPTHWISE + ELEMENTWISE + POOLS + VECTORS + BILINEAR),
    *(RECURRENT + TOKENS),
]


def calls_of_plans():
    """Return, by name, calls that no problem makes: those of plans, and those on bytes."""
    rng, calls = np.random.default_rng(4), {}
    for channels in CHANNELS:
        out, x = np.zeros((2, 3, 5, channels), np.float32)
        bytes_ = rng.integers(0, 256, x.shape, dtype=np.uint8)
        along = rng.standard_normal((2, channels))
        calls[f"pixels {channels}"] = pixels.move(
            Map.of(out), Map.of(x), (0, 14, 3, 4), (13, 2, 2, 6)
        )
        calls[f"copy {channels}"] = elementwise.copy(Map.of(out), Map.of(x))
        calls[f"normalise {channels}"] = elementwise.normalise_u8(
            Map.of(out), Map.of(bytes_), *along
        )
        # two values before, each of three rows of five followed by a gap of two, four after
        sizes = [n * channels for n in (2, 5, 2, 4)]
        border = (np.zeros(27 * channels, np.float32), sizes[0], 3, *sizes[1:])
        calls[f"border {channels}"] = [Call(elementwise.f32_zero_border(), border)]
    for asked, dim in itertools.product((1, 2, 16), (3, 65, 130)):
        out = np.zeros((asked, 7), np.int32)
        arrays = [rng.integers(-128, 128, (n, dim), dtype=np.int8) for n in out.shape]
        calls[f"{asked} s8 dots {dim}"] = vector.dot_products_s8(out, *arrays)
    for count, dim in itertools.product((1, 14, 33), (3, 130)):
        rows, columns = (rng.integers(-128, 128, (n, dim), dtype=np.int8) for n in (9, count))
        ones = np.ones(max(9, count))
        packed = near_pairs.pack(columns, ones[:count], ones[:count])
        out = np.zeros(11, np.int32)
        limits = np.full(9, 20_000.0)
        calls[f"{count} near pairs {dim}"] = near_pairs.near_pairs(
            out, rows, ones[:9], limits, packed
        )
    return calls


def other_kernels():
    """Return the kernels that no problem calls, for this lane count."""
    kernels = [call.kernel for calls in calls_of_plans().values() for call in calls]
    kernels += [
        neighbours.search_kernel(),
        *dot_rows.kernels(),
        pruning.prune_kernel(),
        resize.resize_kernel(),
    ]
    return [k for k in kernels if k.address]
