"""The image formats rvcnn reads: an allow-list, and how Pillow's plugin for each is found.

Plugins are imported when a file asks for them, so a folder of JPEGs never pays for the others.
A format whose plugin starts a program (EPS, for one) must never join the list.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple


class Format(NamedTuple):
    """One format: Pillow's name for it, the module that registers it, the suffixes of its files."""

    name: str
    module: str
    suffixes: tuple[str, ...]


_HEIF = Format("HEIF", "pillow_heif", (".heic", ".heif", ".heics", ".heifs", ".hif"))
_HAS_HEIF = importlib.util.find_spec("pillow_heif") is not None

# In the order they are tried: the common ones first, and TGA, which has no magic number, last.
FORMATS = (
    Format("JPEG", "PIL.JpegImagePlugin", (".jpg", ".jpeg", ".jpe", ".jfif")),
    Format("PNG", "PIL.PngImagePlugin", (".png", ".apng")),
    Format("WEBP", "PIL.WebPImagePlugin", (".webp",)),
    Format("GIF", "PIL.GifImagePlugin", (".gif",)),
    Format("TIFF", "PIL.TiffImagePlugin", (".tif", ".tiff")),
    Format("BMP", "PIL.BmpImagePlugin", (".bmp", ".dib")),
    Format("AVIF", "PIL.AvifImagePlugin", (".avif", ".avifs")),
    *((_HEIF,) if _HAS_HEIF else ()),
    Format("JPEG2000", "PIL.Jpeg2KImagePlugin", (".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx")),
    Format("PPM", "PIL.PpmImagePlugin", (".ppm", ".pgm", ".pbm", ".pnm", ".pfm")),
    Format("PSD", "PIL.PsdImagePlugin", (".psd",)),
    Format("ICO", "PIL.IcoImagePlugin", (".ico",)),
    Format("TGA", "PIL.TgaImagePlugin", (".tga", ".icb", ".vda", ".vst")),
)

# An MPO is a JPEG with more pictures behind the first: the JPEG plugin opens it under this name.
_MPO = Format("MPO", "PIL.MpoImagePlugin", (".mpo",))

ALLOWED_FORMATS = tuple(f.name for f in (*FORMATS, _MPO))
# A HEIC is a file of a folder though its plugin is not installed: so it is named, and not lost.
SUFFIXES = frozenset(suffix for f in (*FORMATS, _MPO, _HEIF) for suffix in f.suffixes)


class Opener(NamedTuple):
    """Pillow's way into one format: ``factory(file, name)`` gives the image, header read only."""

    name: str
    factory: Callable[[Any, str], Any]
    has_magic: bool
    refusal: str


def openers(prefix: bytes) -> Iterator[Opener]:
    """Yield what can open a file that begins with ``prefix`` (16 bytes), likeliest first.

    Plugins are imported one by one as they are asked, never all at once by ``Image.init``.
    ``refusal`` says why a recognised format cannot be read by this Pillow (built without its
    library), else "".
    """
    for name, module, _ in FORMATS:
        factory, accept = _registered(name, module)
        answer = True if accept is None else accept(prefix)
        if isinstance(answer, str):
            yield Opener(name, factory, True, answer)
        elif answer:
            yield Opener(name, factory, accept is not None, "")


_REGISTERED: dict[str, tuple[Any, Any]] = {}


def _registered(name: str, module: str) -> tuple[Any, Any]:
    if name not in _REGISTERED:
        from PIL import Image

        try:
            plugin = importlib.import_module(module)
            if name == "HEIF" and name not in Image.OPEN:
                plugin.register_heif_opener()
            _REGISTERED[name] = Image.OPEN[name]
        except (ImportError, KeyError):
            _REGISTERED[name] = (None, lambda prefix: False)
    return _REGISTERED[name]
