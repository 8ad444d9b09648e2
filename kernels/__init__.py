"""Compute kernels: ordinary Python functions on SIMD registers, compiled by Numba."""
