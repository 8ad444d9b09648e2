"""Weights files of many kinds: read without running anything, translated, written, fetched."""

from .core import Weights, random_weights
from .load import load_weights, open_weights
from .write import save_weights

__all__ = ["Weights", "load_weights", "open_weights", "random_weights", "save_weights"]
