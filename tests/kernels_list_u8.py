"""Which problems on bytes are tried: below, at, above and between the tiles of every lane count."""

import numpy as np
from kernels_list import CHANNELS, LOPSIDED, OUTPUTS, ROWS, SAME
from kernels_problems_u8 import (
    Zeros,
    add,
    conv2d,
    depthwise,
    linear,
    lookup,
    max_pool,
    of_bytes,
    quantize,
    round_steps,
    scale,
    worst,
)

from rvcnn.kernels import FUSED_U8, Map, elementwise_u8

ZEROS = [Zeros(0, 0), Zeros(255, 255), Zeros(1, 128), Zeros(17, 3), Zeros(123.675, 0)]

LINEAR = [
    *(linear(8, 5, n) for n in OUTPUTS),
    *(linear(1, 6, n, real=True) for n in OUTPUTS),
    *(linear(m, 3, 33) for m in ROWS),
    *(linear(9, k, 20, real) for k in (1, 2, 3, 4, 5, 31, 600, 2000) for real in (0, 1)),
    *(linear(9, 6, 41, real, a) for a in FUSED_U8 for real in (0, 1)),
    linear(1, 576, 1024, True, "hard_swish"),
]
CONV = [
    *(conv2d((4, 5), 6, 20, (3, 3), a, padding=1) for a in FUSED_U8),
    *(conv2d((4, 5), 7, 20, activation=a, real=True, residual=True) for a in FUSED_U8),
    *(conv2d((6, 5), 3, n, (3, 3), padding=1) for n in (1, 8, 16, 24, 33)),
    *(conv2d((h, h), 3, 16, (3, 3), stride=2, padding=SAME) for h in (2, 5, 15, 32)),
    *(conv2d((9, 8), c, 12, (5, 3), stride=(1, 2), padding=LOPSIDED) for c in (1, 2, 3, 4, 17)),
    *(conv2d((5, 6), 5, 9, (3, 3), zeros=z, padding=LOPSIDED) for z in ZEROS),
    *(conv2d((5, 6), 8, 9, (1, 1), zeros=z, padding=((0, 2), (1, 0))) for z in ZEROS),
    *(conv2d((5, 6), c, c, (3, 3), per_channel=True, padding=1) for c in (3, 9)),
    conv2d((9, 9), 3, 16, (3, 3), "hard_swish", per_channel=True, padding=SAME, stride=2),
    *(conv2d((6, 7), 8, 32, (3, 3), groups=g, padding=1, stride=s) for g in (2, 8) for s in (1, 2)),
    *(conv2d((6, 7), 12, 9, (3, 3), groups=3, padding=1, real=r, residual=r) for r in (0, 1)),
    *(conv2d((12, 13), 4, 9, (3, 3), dilation=d, padding=2) for d in (2, (1, 3), (3, 1))),
    conv2d((12, 13), 6, 6, (3, 3), dilation=(2, 3), padding=3, groups=3, stride=(2, 1)),
    conv2d((7, 7), 12, 12, (3, 3), groups=12, padding=1, dilation=2),
    conv2d((7, 7), 12, 12, (3, 3), groups=12, padding=1, real=True, residual=True),
    conv2d((7, 6), 12, 24, (3, 3), groups=12, padding=1),
    conv2d((2, 2), 5, 9, (5, 5), padding=2),
    conv2d((17, 1), 5, 9, (3, 1)),
    conv2d((1, 17), 5, 9, (1, 7), padding=(0, 3)),
    conv2d((5, 6), 8, 16, padding=2, stride=3),
    conv2d((30, 31), 16, 72, activation="hard_swish"),
    conv2d((14, 14), 40, 24, real=True, residual=True),
]
DEPTHWISE = [
    *(
        depthwise((5, 17), c, (k, k), stride=s, padding=k // 2)
        for k in (3, 5)
        for s in (1, 2)
        for c in CHANNELS
        if c > 1
    ),
    *(
        depthwise((5, w * s), c, (k, k), stride=s, padding=((0, k - 1), (k - 1, 0)))
        for k in (3, 5)
        for s in (1, 2)
        for w, c in ((1, 28), (2, 3), (6, 25), (7, 12), (8, 12), (14, 12), (15, 12))
    ),
    *(depthwise((h, 9), 20, (3, 3), stride=s, padding=1) for h in (1, 2, 3, 4) for s in (1, 2)),
    *(depthwise((9, 10), 20, (3, 3), a, per_channel=True, padding=1) for a in FUSED_U8),
    *(depthwise((8, 9), 20, (5, 5), a, stride=2, padding=SAME) for a in FUSED_U8),
    *(depthwise((5, 6), 9, (5, 5), zeros=z, padding=LOPSIDED) for z in ZEROS[:4]),
    depthwise((10, 11), 9, (3, 5), padding=(1, 2)),
    depthwise((10, 11), 9, (7, 7), padding=3),
    depthwise((10, 11), 9, (3, 3), stride=3),
    depthwise((10, 11), 9, (3, 3), stride=(2, 1), per_channel=True),
    depthwise((10, 11), 1, (3, 3)),
]
WORST = [
    *(
        worst((1, 8), k, 17, (1, 1), sign, real)
        for k in (2, 3, 4, 64, 2048)
        for sign in (1, -1)
        for real in (False, True)
    ),
    *(worst((7, 7), 40, 33, (3, 3), sign, True) for sign in (1, -1)),
    *(worst((7, 8), 20, 20, (5, 5), sign, False, groups=20) for sign in (1, -1)),
    *(worst((4, 8), 1024, 4, (4, 8), sign, True) for sign in (1, -1)),
]
ELEMENTWISE = [
    *(quantize((n,)) for n in (1, 3, 4, 15, 16, 17, 100)),
    *(quantize((3, 5, c), each) for c in CHANNELS for each in (False, True)),
    *(of_bytes("dequantize", (3, 5, c), each) for c in CHANNELS for each in (False, True)),
    *(of_bytes("quantized_global_avg_pool", (7, 7, c), True) for c in CHANNELS),
    *(
        of_bytes("quantized_global_avg_pool", (h, w, 24))
        for h, w in ((1, 1), (1, 8), (5, 1), (33, 47))
    ),
    *(scale((3, 5), c, each) for c in CHANNELS for each in (False, True)),
    *(lookup((3, n, 2), kind) for n in (1, 7, 31, 32, 33, 50) for kind in ("uint8", "float32")),
    *(add((3, 5, c)) for c in CHANNELS),
    *(round_steps((3, 2, c), -700, 64835) for c in CHANNELS),
    round_steps((3, 2, 20), -(2**15), 2**15 - 1),
    *(add((2, 3, 20), bounds) for bounds in ((0.0, np.inf), (0.0, 6.0))),
]
POOL = [
    *(max_pool((5, 6), c, (3, 3), (2, 2), 1) for c in (*CHANNELS, 63, 64, 130)),
    *(
        max_pool((7, 9), 20, k, s, ((1, 0), (0, 1)))
        for k in ((3, 3), (2, 4))
        for s in ((1, 1), (2, 3))
    ),
    max_pool((7, 9), 20, (7, 9), (1, 1)),
]
PROBLEMS = LINEAR + CONV + DEPTHWISE + WORST + ELEMENTWISE + POOL


def calls_of_plans():
    """Return, by name, calls on bytes that no problem makes, and what they must write."""
    rng, calls = np.random.default_rng(4), {}
    for channels in CHANNELS:
        x = rng.integers(0, 256, (3, 5, channels), dtype=np.uint8)
        out = np.zeros_like(x)
        calls[f"copy {channels}"] = elementwise_u8.copy(Map.of(out), Map.of(x)), out, x
    return calls


FEW = [
    conv2d((7, 7), 20, 104, (3, 3), "hard_swish", padding=1),
    conv2d((7, 7), 20, 104, real=True, residual=True),
    conv2d((1, 1), 20, 104),
    depthwise((7, 7), 40, (3, 3), "hard_swish", padding=1),
    depthwise((7, 7), 40, (5, 5), stride=2, padding=2),
    quantize((3, 5, 100)),
    of_bytes("dequantize", (3, 5, 100)),
    of_bytes("quantized_global_avg_pool", (7, 7, 40)),
    scale((3, 5), 40),
    lookup((3, 5, 40), "uint8"),
    lookup((3, 5, 40), "float32"),
    add((3, 5, 40)),
    round_steps((3, 5, 40), -(2**15), 2**15 - 1),
    *(max_pool((5, 6), c, (3, 3), (2, 2), 1) for c in (64, 40, 8, 4, 1)),
]
"""Problems that call every kernel on vectors of each lane count."""
