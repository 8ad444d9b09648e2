"""The compiler flags of every kernel."""

FLAGS = {"error_model": "numpy", "fastmath": {"contract"}}
"""No exceptions to raise, products and sums may be fused; NaN and infinity keep their meaning."""
