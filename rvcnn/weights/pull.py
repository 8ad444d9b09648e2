"""Published weights in the user's cache: fetched once, known by their digest, ready to run."""

import difflib
import re
from pathlib import Path

from rvcnn.errors import DownloadError, UsageError, WeightsError
from rvcnn.kernels import user_cache

from .convert import import_weights
from .fetch import Progress, fetch, sha256_of
from .load import open_weights
from .published import PUBLISHED, Published

SOURCE_DIGEST = "source_sha256"
_DIGEST = re.compile("[0-9a-f]{8,64}")


def weights_folder() -> Path:
    """Return the folder of pulled weights, in the user's cache."""
    return user_cache() / "weights"


def pull(name: str, *, sha256: str | None = None, progress: Progress | None = None) -> Path:
    """Fetch published weights and convert them; return the file for ``weights=`` and ``--weights``.

    What was fetched before is not fetched again; a file that was put into :func:`weights_folder` by
    hand is taken.

    Parameters
    ----------
    name : str
        A key of ``PUBLISHED``.
    sha256 : str, optional
        What the published file's digest must be, or begin with.
    progress : callable, optional
        Gets the bytes there are and, if known, the bytes there will be.

    Raises
    ------
    UsageError
        An unknown name, or a digest that is none.
    DownloadError
        If the file cannot be had or written, or has another digest than it should.
    WeightsError
        If what was published cannot be read.
    """
    if name not in PUBLISHED:
        near = difflib.get_close_matches(name, PUBLISHED, 3, 0.4)
        there = f"there are {', '.join(near)}" if near else "`rvcnn weights pull` lists them"
        raise UsageError(f"no published weights {name!r}; {there}")
    sha256 = (sha256 or "").lower()
    if sha256 and not _DIGEST.fullmatch(sha256):
        raise UsageError(f"a sha256 is 8 to 64 hexadecimal digits, not {sha256!r}")
    published, folder = PUBLISHED[name], weights_folder()
    _make(folder)
    original = folder / published.filename
    digest = _original(published, original, sha256, progress)
    converted = folder / f"{name.replace('/', '-')}.safetensors"
    if not _made_of(converted, digest):
        import_weights(
            original,
            converted,
            preset=published.preset,
            **published.metadata,
            source=published.url,
            source_sha256=digest,
        )
    return converted


def _make(folder):
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DownloadError(
            f"cannot make the folder {folder}: {error.strerror}; RVCNN_CACHE_DIR names another one"
        ) from None


def _original(published: Published, original: Path, sha256: str, progress) -> str:
    """The digest of the published file, which is in the cache when this returns."""
    record = original.with_name(f"{original.name}.sha256")
    recorded = record.read_text("ascii", "replace")[:64] if record.is_file() else ""
    expected = (published.digest, sha256, recorded)
    if original.is_file():
        digest = sha256_of(original)
    else:
        expected = (published.digest, sha256)  # whoever deletes the file wants another one
        longest = max(expected, key=len)
        try:
            digest = fetch(published.url, original, longest, progress or _nobody)
        except DownloadError as error:
            raise DownloadError(
                f"{error}. Without a network: put the file {original.name} into "
                f"{original.parent} and run the same command again"
            ) from None
    for wanted in expected:
        if not digest.startswith(wanted):
            raise DownloadError(
                f"{original} has the sha256 {digest}, not {wanted}: delete it and run the command "
                "again"
            )
    if digest != recorded:
        record.write_text(f"{digest}  {original.name}\n", "ascii")
    return digest


def _nobody(done, total):
    """Progress that nobody watches."""


def _made_of(converted, digest):
    """Whether a file is there that was converted from the original of this digest."""
    try:
        return open_weights(converted).metadata.get(SOURCE_DIGEST) == digest
    except WeightsError:
        return False
