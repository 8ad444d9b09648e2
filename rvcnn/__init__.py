"""rvcnn: images in, searchable vectors out, on an ordinary CPU.

Names are loaded when they are first used, so that ``import rvcnn`` costs nothing.
"""

import importlib

TYPE_CHECKING = False  # to readers of types it is true; typing's own would be an import

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


if TYPE_CHECKING:
    from . import onnx as onnx
    from .backbones import BackboneType as BackboneType
    from .backbones import create_backbone as create_backbone
    from .embedder import Embedder as Embedder
    from .images import Preprocess as Preprocess
    from .index import Index as Index
    from .index import Matches as Matches
    from .kernels import WinogradFilterCache as WinogradFilterCache
    from .kernels import conv_3x3_winograd as conv_3x3_winograd
    from .model import create_model as create_model
    from .model import list_models as list_models
    from .models import MobileNetConfig as MobileNetConfig
    from .onnx.export import export_onnx as export_onnx
    from .quantization import QuantizedTensor as QuantizedTensor
    from .quantization import QuantParams as QuantParams
    from .quantization import dequantize as dequantize
    from .quantization import quantize as quantize
else:

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
