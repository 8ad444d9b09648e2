"""rvcnn's networks as ONNX files, in float32, for the engines that read those."""

from .model import export_onnx

__all__ = ["export_onnx"]
