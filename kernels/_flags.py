"""The compiler's flags."""

EXACT = {"error_model": "numpy"}
"""No exceptions to raise; each operation is rounded on its own."""

FLAGS = EXACT | {"fastmath": {"contract"}}
"""Products and sums may be fused; NaN and infinity keep their meaning."""
