"""Networks in bytes: parameters of quantisation, calibration on images, and what it costs."""

from .calibrate import calibrate, passes
from .calibrations import CALIBRATIONS
from .params import QuantParams, dequantize, quantize
from .recipe import Quantization
from .tensor import QuantizedTensor

__all__ = [
    "CALIBRATIONS",
    "QuantParams",
    "Quantization",
    "QuantizedTensor",
    "calibrate",
    "dequantize",
    "passes",
    "quantize",
]
