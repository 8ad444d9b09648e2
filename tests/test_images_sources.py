"""What can be given to decode, and every bad input: an ImageError of one line, nothing else."""

import errno
import io
import os
import tempfile
import threading
import warnings

import numpy as np
import pytest
from images_samples import ARRAY, encoded, reason
from PIL import Image, ImageFile

from rvcnn.errors import ImageError
from rvcnn.images import decode, formats, sources


def test_the_same_picture_from_every_source(tmp_path):
    content = encoded()
    path = tmp_path / "a.png"
    path.write_bytes(content)
    at_the_end = io.BytesIO(content)
    at_the_end.seek(0, io.SEEK_END)
    for source in (
        *(path, str(path), content, bytearray(content), memoryview(content)),
        *(io.BytesIO(content), at_the_end, Image.open(path), Image.fromarray(ARRAY), ARRAY),
    ):
        got = decode(source)
        assert (np.asarray(got.image) == ARRAY).all()
        assert (got.width, got.height, got.image.mode) == (50, 30, "RGB")
    with open(path, "rb") as file:
        assert (np.asarray(decode(file).image) == ARRAY).all()
        assert not file.closed


def test_a_stream_that_cannot_seek_and_reads_in_bits():
    class Pipe:
        def __init__(self):
            self.rest = encoded()

        def read(self, size):
            part, self.rest = self.rest[: min(size, 7)], self.rest[min(size, 7) :]
            return part

    assert (np.asarray(decode(Pipe()).image) == ARRAY).all()


def test_format_is_empty_for_what_comes_from_no_file():
    assert decode(ARRAY).format == ""
    assert decode(encoded()).format == "PNG"


@pytest.mark.parametrize(
    "name", [b"new\nline.png", b"not utf-8 \xff\xfe.png", b" .png", b"-o.png", b"semi;colon.png"]
)
def test_any_file_name(tmp_path, name):
    path = os.path.join(os.fsencode(tmp_path), name)
    try:
        with open(path, "wb") as file:
            file.write(encoded())
    except OSError:
        pytest.skip("this file system has no such names")
    assert decode(os.fsdecode(path)).width == 50
    os.truncate(path, 40)
    assert "png" not in reason(os.fsdecode(path)).replace("PNG", "")


ARRAYS = {
    "grey": (ARRAY[..., 0], ARRAY[..., :1].repeat(3, 2)),
    "one channel": (ARRAY[..., :1], ARRAY[..., :1].repeat(3, 2)),
    "backwards": (ARRAY[::-1, ::-1], ARRAY[::-1, ::-1]),
    "strided": (ARRAY[::2, ::3], ARRAY[::2, ::3]),
    "channels reversed": (ARRAY[..., ::-1], ARRAY[..., ::-1]),
    "one pixel": (ARRAY[:1, :1], ARRAY[:1, :1]),
}


@pytest.mark.parametrize(("array", "want"), ARRAYS.values(), ids=ARRAYS)
def test_arrays(array, want):
    array = array.view()
    array.flags.writeable = False
    assert (np.asarray(decode(array).image) == want).all()


def test_an_array_with_alpha_lies_over_white():
    clear = np.dstack([ARRAY, np.zeros(ARRAY.shape[:2], np.uint8)])
    assert (np.asarray(decode(clear).image) == 255).all()


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (ARRAY / np.float32(255), "array of float32 .* uint8"),
        (ARRAY > 9, "array of bool"),
        (ARRAY.astype(np.int16), "array of int16"),
        (ARRAY[None], r"shape \(1, 30, 50, 3\)"),
        (ARRAY.transpose(2, 0, 1), r"shape \(3, 30, 50\)"),
        (ARRAY[..., :2], r"shape \(30, 50, 2\)"),
        (ARRAY[0, 0], r"shape \(3,\)"),
        (ARRAY[:0], "no pixels"),
        (ARRAY[:, :0], "no pixels"),
    ],
)
def test_arrays_that_are_no_image(array, words):
    with pytest.raises(ImageError, match=words):
        decode(array)


def test_a_pil_image_is_not_changed():
    image = Image.fromarray(ARRAY).convert("P")
    image.info["transparency"] = 0
    before = (image.mode, image.size, dict(image.info), image.tobytes())
    decode(image)
    assert (image.mode, image.size, image.info, image.tobytes()) == before


def test_an_image_whose_loading_could_start_a_program_is_refused():
    class Lazy(ImageFile.ImageFile):
        format = "EPS"

        def _open(self):
            self._size, self._mode = (4, 4), "RGB"
            self.tile = [ImageFile._Tile("eps", (0, 0, 4, 4), 0, None)]

        def load(self, *_):
            raise AssertionError("loaded")

    assert "EPS is not a format" in reason(Lazy(io.BytesIO(b"%!PS")))


def test_paths_that_are_no_image_file(tmp_path):
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.jpg").write_text("no image\n" * 100)
    assert reason(tmp_path / "missing.png") == "No such file or directory"
    assert reason(tmp_path) == "is a directory"
    assert reason(tmp_path / "empty.png") == "the file is empty"
    assert "not an image" in reason(tmp_path / "text.jpg")
    assert reason("nul\0byte")
    assert reason("x" * 5000)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no FIFOs here")
def test_what_is_no_regular_file_is_not_even_opened(tmp_path, monkeypatch):
    """Opening alone rewinds a tape, or wakes who waits at the other end of a pipe."""
    os.mkfifo(tmp_path / "pipe.jpg")

    def opened(*_):
        raise AssertionError("opened")

    monkeypatch.setattr(sources.os, "open", opened)
    assert reason(tmp_path / "pipe.jpg") == "is not a regular file"
    assert reason(tmp_path) == "is a directory"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no FIFOs here")
def test_a_fifo_does_not_hang(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    got = []
    thread = threading.Thread(target=lambda: got.append(reason(tmp_path / "pipe.jpg")), daemon=True)
    thread.start()
    thread.join(10)
    assert got == ["is not a regular file"]


@pytest.mark.skipif(not os.path.exists("/dev/zero"), reason="no devices here")
def test_devices_are_refused():
    assert reason("/dev/zero") == reason("/dev/null") == "is not a regular file"


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="no permission bits here")
def test_a_file_without_permission():
    # Root reads everything, so as root this becomes somebody else for a moment.
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "a.png")
        with open(path, "wb") as file:
            file.write(encoded())
        os.chmod(path, 0)
        os.chmod(folder, 0o755)
        user = os.geteuid()
        try:
            if user == 0:
                os.seteuid(65534)
            assert reason(path) == "Permission denied"
        finally:
            os.seteuid(user)


@pytest.mark.parametrize("source", [None, 7, object(), ["a.png"], {"a": 1}], ids=type)
def test_what_is_no_source_at_all(source):
    assert "give a path, bytes" in reason(source)


def test_a_file_in_text_mode():
    assert reason(io.StringIO("abc")) == "the file is not open in binary mode"


@pytest.mark.parametrize(
    "error", [OSError(5, "Input/output error"), MemoryError(), ZeroDivisionError()]
)
def test_reading_that_fails(error):
    class Broken:
        def read(self, size):
            raise error

    assert reason(Broken())


def test_a_reason_is_one_short_line(monkeypatch):
    def refuse(*_):
        raise ValueError("first\nsecond\r\x1b[31m\0 " + "x" * 9999)

    monkeypatch.setattr(sources, "open_stream", refuse)
    assert reason(b"abc").startswith("first second [31m")


CUT = {
    "JPEG": {"quality": 90},
    "PNG": {},
    "GIF": {},
    "WEBP": {"lossless": True},
    "TIFF": {},
    "BMP": {},
    "PPM": {},
    "TGA": {"compression": "tga_rle"},
    "JPEG2000": {},
}


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
@pytest.mark.parametrize("name", CUT)
def test_truncated_files_are_errors(name):
    content = encoded(name=name, **CUT[name])
    for part in (1, 3, 10, 17, 40, len(content) // 3, len(content) * 2 // 3):
        reason(content[:part])


@pytest.mark.parametrize("name", [*CUT, "ICO"])
def test_damaged_files_never_raise_anything_else(name):
    content = bytearray(encoded(name=name, **CUT.get(name, {})))
    for at in range(0, min(len(content), 600), 3):
        damaged = content.copy()
        damaged[at] ^= 0xFF
        damaged[at + 1 : at + 3] = b"\xff\x7f"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                decode(bytes(damaged), max_megapixels=4)
            except ImageError as error:
                assert len(str(error)) <= 160


@pytest.mark.parametrize("healthy", [0, 16, 5000])
def test_a_disk_that_fails_while_a_file_is_read(tmp_path, monkeypatch, healthy):
    path = tmp_path / "a.bmp"
    path.write_bytes(encoded(np.zeros((900, 900), np.uint8), "BMP"))

    class Failing(io.FileIO):
        def read(self, size=-1):
            if self.tell() >= healthy:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return super().read(size)

    monkeypatch.setattr(sources, "_open_regular", lambda *_: Failing(path))
    assert reason(path) == os.strerror(errno.EIO)


def test_memory_that_is_not_enough_for_the_pixels():
    class Large(Image.Image):
        def load(self):
            raise MemoryError

    image = Large()
    image.__dict__.update(Image.new("RGB", (9, 9)).__dict__)
    assert reason(image) == "not enough memory to decode it"


def test_a_file_that_shrinks_while_it_is_read(tmp_path, monkeypatch):
    path = tmp_path / "a.bmp"
    path.write_bytes(encoded(np.zeros((900, 900), np.uint8), "BMP"))

    class Shrinking(io.FileIO):
        def read(self, size=-1):
            part = super().read(size)
            os.truncate(path, 2000)
            return part

        def readline(self, size=-1):
            return super().readline(size)

    monkeypatch.setattr(sources, "_open_regular", lambda *_: Shrinking(path))
    assert "truncated" in reason(path)


def test_nothing_is_mapped_into_memory(tmp_path):
    path = tmp_path / "a.bmp"
    path.write_bytes(encoded(np.zeros((90, 90), np.uint8), "BMP"))
    with Image.open(path) as pillows:
        pillows.load()
        assert pillows.map is not None
    stream = sources.open_stream(path, 10**6)
    assert not hasattr(stream, "fileno") and not hasattr(stream, "name")
    image = next(formats.openers(b"BM" + bytes(14))).factory(stream, "")
    image.load()
    assert image.map is None
    stream.close()


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs /proc")
def test_every_file_is_closed(tmp_path):
    good, bad = tmp_path / "a.gif", tmp_path / "b.png"
    good.write_bytes(encoded(name="GIF"))
    bad.write_bytes(encoded()[:99])
    before = len(os.listdir("/proc/self/fd"))
    kept = [decode(good) for _ in range(5)]
    for path in (bad, tmp_path):
        reason(path)
    assert len(os.listdir("/proc/self/fd")) == before
    assert kept[0].image.size == (50, 30)
