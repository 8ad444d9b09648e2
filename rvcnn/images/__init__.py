"""Images: decode, orient, resize, normalise."""

from rvcnn.images.decode import Decoded, decode
from rvcnn.images.formats import ALLOWED_FORMATS, SUFFIXES
from rvcnn.images.preprocess import Preprocess

__all__ = ["ALLOWED_FORMATS", "SUFFIXES", "Decoded", "Preprocess", "decode"]
