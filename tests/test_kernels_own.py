"""A kernel of one's own, in a file of one's own."""

import subprocess
import sys

TEMPLATE = """
import numpy as np
from rvcnn.kernels import Call, run
from rvcnn.kernels._jit import F32, kernel
from rvcnn.kernels._simd import load, store

@kernel("f32_times__v{LANES}")
def f32_times(out: F32, x: F32, n: int):
    for i in range(0, n, LANES):
        store(out, i, load(x, i, LANES) * FACTOR)

x = np.arange(8, dtype=np.float32)
out = np.zeros_like(x)
run([Call(f32_times(LANES=4), (out, x, 8))])
print(out[1])
"""


PARTS = '''
import numpy as np
from rvcnn.kernels import Call, run
from rvcnn.kernels._jit import F32, kernel, unroll
from rvcnn.kernels._simd import load, store

TWO = 2

def spread(reg, at, factor):
    """Multiply by a factor, add what grows, and go on."""
    STEP = len(reg)
    i = float(STEP)
    for k in unroll(len(reg)):
        v = reg[k] * factor
        reg[k] = v + i * k
    at += TWO * LANES

def double(reg):
    for k in unroll(len(reg)):
        reg[k] = reg[k] + reg[k]

@kernel("f32_spread__v{LANES}")
def f32_spread(out: F32, x: F32, n: int):
    STEP = 2 * LANES
    at = 0
    for i in range(0, n, 2 * STEP):
        for v in unroll(2):
            for r in unroll(2):
                reg_c[r, v] = load(x, i + (2 * r + v) * LANES, LANES)
        spread(reg_c, at, 10.0)
        double(reg_c[1])
        for r in unroll(2):
            for v in unroll(2):
                store(out, i + r * STEP + v * LANES, reg_c[r, v])
    store(out, n, load(x, at, LANES))

x = np.arange(36, dtype=np.float32)
out = np.zeros_like(x)
run([Call(f32_spread(LANES=4), (out, x, 32))])
want = 10 * x[:32] + np.tile(np.repeat([0, 4, 8, 12], 4), 2)
want *= np.tile(np.repeat([1, 2], 8), 2)
assert out.tolist() == [*want, 16, 17, 18, 19], out
'''


def test_a_part_stands_for_its_body_with_variables_of_its_own(tmp_path):
    (tmp_path / "own.py").write_text(PARTS)
    subprocess.run([sys.executable, "own.py"], cwd=tmp_path, check=True)


def test_a_changed_template_is_compiled_again(tmp_path):
    seen = []
    for factor in ("2.0", "3.0", "3.0"):
        (tmp_path / "own.py").write_text(TEMPLATE.replace("FACTOR", factor))
        child = subprocess.run(
            [sys.executable, "own.py"], cwd=tmp_path, capture_output=True, text=True, check=True
        )
        seen.append(child.stdout.strip())
    assert seen == ["2.0", "3.0", "3.0"]
