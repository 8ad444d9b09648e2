"""rvcnn: images in, searchable vectors out, on an ordinary CPU.

Names are loaded when they are first used, so that ``import rvcnn`` costs nothing.
"""

import importlib

__version__ = "0.1.0"

_HOMES = {
    "Embedder": "embedder",
    "Index": "index",
    "Matches": "index",
    "Preprocess": "images",
    "MobileNetConfig": "models",
    "BackboneType": "backbones",
    "create_backbone": "backbones",
    "create_model": "model",
    "list_models": "model",
    "export_onnx": "onnx.export",
    "QuantParams": "quantization",
    "QuantizedTensor": "quantization",
    "quantize": "quantization",
    "dequantize": "quantization",
    "WinogradFilterCache": "kernels",
    "conv_3x3_winograd": "kernels",
}

__all__ = ["__version__", *_HOMES]


def __getattr__(name):
    if name == "onnx":
        return importlib.import_module("rvcnn.onnx")
    if name not in _HOMES:
        raise AttributeError(f"module 'rvcnn' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"rvcnn.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__():
    return sorted({*globals(), *__all__})
