"""Architectures as data, and their registry."""

from .imported import imported
from .mobilenetv3 import MobileNetConfig, mobilenetv3
from .registry import ARCHITECTURES, Architecture

__all__ = ["ARCHITECTURES", "Architecture", "MobileNetConfig", "imported", "mobilenetv3"]
