"""The allow-list: what is on it opens, what is not stays shut, nothing needless is imported."""

import io
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image, features

from rvcnn.errors import ImageError
from rvcnn.images import ALLOWED_FORMATS, SUFFIXES, decode
from rvcnn.images.formats import FORMATS, Format, openers

ALWAYS = {
    *("JPEG", "PNG", "GIF", "WEBP", "AVIF", "TIFF", "BMP"),
    *("PPM", "TGA", "ICO", "JPEG2000", "MPO", "PSD"),
}


def picture(width=48, height=32):
    """Smooth colours, so that lossy formats come close."""
    y, x = np.mgrid[:height, :width]
    red, green = x * 255 // (width - 1), y * 255 // (height - 1)
    return Image.fromarray(np.stack([red, green, 255 - red], -1).astype(np.uint8))


def saved(image, name, **options):
    buffer = io.BytesIO()
    image.save(buffer, name, **options)
    return buffer.getvalue()


def test_the_list_is_the_documented_one():
    assert set(ALLOWED_FORMATS) - {"HEIF"} == ALWAYS
    assert len(set(ALLOWED_FORMATS)) == len(ALLOWED_FORMATS)


def test_a_heic_is_looked_at_whether_or_not_its_plugin_is_installed():
    assert {".heic", ".heif", ".hif"} <= SUFFIXES


def test_suffixes_are_those_pillow_knows_for_these_formats():
    Image.init()
    known = {s for s, name in Image.EXTENSION.items() if name in ALWAYS}
    assert known <= SUFFIXES
    assert all(s.startswith(".") and s == s.lower() for s in SUFFIXES)
    assert not {".eps", ".ps", ".pdf", ".svg", ".txt", ".html"} & SUFFIXES


@pytest.mark.parametrize(
    ("name", "options", "tolerance"),
    [
        ("JPEG", {"quality": 95}, 8),
        ("PNG", {}, 0),
        ("GIF", {}, 40),
        ("WEBP", {"lossless": True}, 0),
        ("AVIF", {"quality": 95}, 12),
        ("TIFF", {}, 0),
        ("TIFF", {"compression": "tiff_lzw"}, 0),
        ("BMP", {}, 0),
        ("PPM", {}, 0),
        ("TGA", {}, 0),
        ("TGA", {"compression": "tga_rle"}, 0),
        ("ICO", {"sizes": [(48, 32)]}, 0),
        ("JPEG2000", {}, 0),
        ("MPO", {"quality": 95, "save_all": True, "append_images": [picture()]}, 8),
    ],
    ids=lambda v: v if isinstance(v, str) else None,
)
def test_each_format_decodes(name, options, tolerance):
    if name in ("WEBP", "AVIF") and not features.check(name.lower()):
        pytest.skip(f"this Pillow has no {name}")
    want = picture()
    got = decode(saved(want, name, **options))
    assert got.format == name
    assert got.image.mode == "RGB"
    assert (got.width, got.height) == got.image.size == want.size
    difference = np.abs(np.asarray(got.image, int) - np.asarray(want, int))
    assert difference.max() <= tolerance


def test_psd_decodes():
    image = picture(4, 3)
    planes = b"".join(plane.tobytes() for plane in image.split())
    head = b"8BPS\0\1" + bytes(6) + b"\0\3" + (3).to_bytes(4, "big") + (4).to_bytes(4, "big")
    psd = head + b"\0\x08\0\3" + bytes(12) + b"\0\0" + planes
    got = decode(psd)
    assert got.format == "PSD"
    assert got.image.tobytes() == image.tobytes()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("name", ["EPS", "PCX", "SGI", "IM", "SPIDER", "DIB"])
def test_other_formats_stay_shut(name):
    image = picture().convert("F") if name == "SPIDER" else picture()
    with pytest.raises(ImageError, match="not an image in a format rvcnn reads"):
        decode(saved(image, name))


def test_only_the_plugins_that_are_asked_are_imported(tmp_path):
    path = tmp_path / "a.jpg"
    path.write_bytes(saved(picture(), "JPEG"))
    script = (
        "import sys; from rvcnn.images import decode; decode(sys.argv[1]); "
        "print(*(m for m in sys.modules if m.endswith('ImagePlugin')))"
    )
    run = subprocess.run(
        [sys.executable, "-c", script, path], capture_output=True, text=True, check=True
    )
    imported = set(run.stdout.split())
    assert "PIL.JpegImagePlugin" in imported
    assert not imported & {"PIL.EpsImagePlugin", "PIL.WebPImagePlugin", "PIL.AvifImagePlugin"}


def test_a_plugin_built_without_its_library_says_so(monkeypatch):
    def without_library(prefix):
        return "image file could not be identified because WEBP support not installed"

    monkeypatch.setitem(Image.OPEN, "WEBP", (None, without_library))
    monkeypatch.setattr("rvcnn.images.formats._REGISTERED", {})
    with pytest.raises(ImageError, match="WEBP support not installed"):
        decode(b"RIFF\x1a\0\0\0WEBPVP8L" + bytes(20))


def test_a_pillow_without_a_plugin_does_without_it(monkeypatch):
    monkeypatch.setattr("rvcnn.images.formats._REGISTERED", {})
    absent = Format("WEBP", "PIL.NoSuchImagePlugin", ())
    monkeypatch.setattr("rvcnn.images.formats.FORMATS", (absent, *FORMATS))
    assert [opener.name for opener in openers(b"\x89PNG\r\n\x1a\n" + bytes(8))] == ["PNG", "TGA"]


def test_heic_without_its_plugin_names_the_extra(monkeypatch):
    monkeypatch.setattr("rvcnn.images.formats.ALLOWED_FORMATS", tuple(ALWAYS))
    kept = tuple(f for f in FORMATS if f.name != "HEIF")
    monkeypatch.setattr("rvcnn.images.formats.FORMATS", kept)
    with pytest.raises(ImageError, match=r"rvcnn\[heif\]"):
        decode(b"\0\0\0\x18ftypheic" + bytes(64))


@pytest.mark.extra
@pytest.mark.skipif("HEIF" not in ALLOWED_FORMATS, reason="the extra heif is not installed")
def test_heic_decodes_where_its_plugin_is_installed():
    import pillow_heif

    want = picture()
    buffer = io.BytesIO()
    pillow_heif.from_pillow(want).save(buffer, quality=95)
    for brand in (b"heic", b"mif1"):
        content = buffer.getvalue()
        got = decode(content[:8] + brand + content[12:])
        assert (got.format, got.image.size) == ("HEIF", want.size)


def test_tga_is_asked_last():
    assert [o.name for o in openers(b"\xff\xd8\xff" + bytes(13))] == ["JPEG", "TGA"]


def test_what_a_plugin_cannot_read_is_said_with_the_format():
    content = bytearray(saved(picture(), "BMP"))
    content[28] = 2  # bits a pixel
    with pytest.raises(ImageError, match=r"^cannot read this BMP file: .*pixel depth \(2\)"):
        decode(bytes(content))
