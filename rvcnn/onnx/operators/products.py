"""Products of matrices, by NumPy.

The kernels want one of the two packed, which pays where it is a network's weights: those products
are layers of a plan.
"""

import numpy as np

from rvcnn.errors import ShapeError

from .base import LARGEST, check_size, operators


def matmul(a, b):
    """``a @ b`` with NumPy's broadcasting of what comes before the last two dimensions."""
    if not a.ndim or not b.ndim or a.shape[-1] != b.shape[0 if b.ndim == 1 else -2]:
        raise ShapeError(f"matrices {a.shape} and {b.shape} do not fit")
    lead = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    check_size((*lead, *a.shape[-2:-1], *(b.shape[-1:] if b.ndim > 1 else ())), a.dtype)
    if b.ndim == 2 and a.ndim > 2:
        return (a.reshape(-1, a.shape[-1]) @ b).reshape(*a.shape[:-1], b.shape[1])
    return a @ b


# The names are those of the specification.
def gemm(a, b, c=None, *, alpha=1.0, beta=1.0, transA=0, transB=0):  # noqa: N803
    """``alpha * a @ b + beta * c`` of matrices, transposed where it is said."""
    a, b = a.T if transA else a, b.T if transB else b
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[0]:
        raise ShapeError(f"matrices {a.shape} and {b.shape} do not fit")
    out = a @ b
    if alpha != 1:
        out = (out * alpha).astype(a.dtype, copy=False)
    if c is None or not beta:
        return out
    return (out + (c if beta == 1 else c * beta)).astype(a.dtype, copy=False)


def einsum(*arrays, equation):
    """Einstein's sum over the indices of `equation`."""
    equation = equation.replace(" ", "")
    terms, arrow, wanted = equation.partition("->")
    sizes: dict[str, int] = {}
    for term, array in zip(terms.split(","), arrays, strict=True):
        for label, n in _labelled(term, array.shape):
            sizes[label] = max(sizes.get(label, 1), n)
    if not arrow:
        wanted = "".join(k for k in sizes if terms.count(k) == 1 or k.isdigit())
    kept = (n for label, n in sizes.items() if label in wanted or label.isdigit())
    check_size(kept, arrays[0].dtype)
    path = ("greedy", LARGEST // 8) if len(arrays) > 2 else False
    return np.einsum(equation, *arrays, optimize=path)


def _labelled(term, shape):
    """Each size with its label; those behind ``...`` have numbers, counted from the end."""
    before, dots, after = term.partition("...")
    hidden = len(shape) - len(before) - len(after)
    if hidden < 0 or (hidden and not dots):
        raise ShapeError(f"{term} does not name the dimensions of an array {shape}")
    return zip([*before, *map(str, range(hidden, 0, -1)), *after], shape, strict=True)


def det(x):
    """Determinants of square matrices."""
    return np.linalg.det(x).astype(x.dtype, copy=False)


OPERATORS = operators({"Det": det, "Einsum": einsum, "Gemm": gemm, "MatMul": matmul}, widen=True)
