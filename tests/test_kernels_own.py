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


def test_a_changed_template_is_compiled_again(tmp_path):
    seen = []
    for factor in ("2.0", "3.0", "3.0"):
        (tmp_path / "own.py").write_text(TEMPLATE.replace("FACTOR", factor))
        child = subprocess.run(
            [sys.executable, "own.py"], cwd=tmp_path, capture_output=True, text=True, check=True
        )
        seen.append(child.stdout.strip())
    assert seen == ["2.0", "3.0", "3.0"]
