"""What is supported: the operators of ``operators.OPERATORS``, but for what is said here."""

_HALVES = "half precision is computed in float32 and rounded once, not at every step"

LIMITS = {
    "Attention": _HALVES,
    "Conv": "where Winograd's algorithm is the faster one, a value that is not finite makes NaN of "
    "its neighbours' results too",
    "Dropout": "in training its random numbers are NumPy's default generator's: no others are "
    "specified",
    "Resize": "align_corners with scales places the last value of the result on the last one of "
    "the input, as ONNX Runtime and PyTorch do, also where size times scale is no whole number",
    "Scan": "that of operator set 8, which counted sequences, is refused",
    "Softmax": _HALVES,
}
"""Operator to what of its specification, or of the reference's results, rvcnn does not do."""
