"""Fetch a file over HTTP: continued where it was cut off, checked by its digest, or absent."""

import hashlib
import http.client
import os
import re
import socket
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from rvcnn.errors import DownloadError

ATTEMPTS = 5
"""Attempts in a row that bring nothing before the fetch is given up."""

PAUSE = 0.5
"""Seconds before the second attempt; each later one waits twice as long."""

TIMEOUT = 30.0
"""Seconds without a byte after which a connection counts as cut."""

LARGEST = 1 << 30
"""Bytes after which a server is not believed any more."""

_BLOCK = 1 << 16
_TRY_AGAIN = {408, 425, 429, 500, 502, 503, 504}
_RANGE_REFUSED = 416
_HOPELESS = (socket.gaierror, ssl.SSLCertVerificationError)  # no network, most likely; or a trap

Progress = Callable[[int, int | None], None]
"""Gets the bytes there are and, if the server says, the bytes there will be."""


class _Cut(Exception):
    """A connection that ended before the file did, or never came about; the message says why."""


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follow redirects, but never from an encrypted connection to one that is not."""

    def redirect_request(self, request, file, code, message, headers, url):
        if urlsplit(request.full_url).scheme == "https" != urlsplit(url).scheme:
            raise DownloadError(f"{request.full_url} redirects to {url}, which is not encrypted")
        return super().redirect_request(request, file, code, message, headers, url)


def fetch(
    url: str, target: Path, digest: str = "", progress: Progress = lambda done, total: None
) -> str:
    """Fetch a file; return its sha256.

    What an earlier call left in ``TARGET.part`` is continued.

    Parameters
    ----------
    url : str
    target : Path
        Appears when the file is complete and its digest is right.
    digest : str
        What the file's sha256 must begin with.
    progress : callable, optional

    Raises
    ------
    DownloadError
        If the file cannot be had or written, or has another digest.
    """
    part = target.with_name(f"{target.name}.part")
    try:
        continued = part.exists()
        _complete(url, part, progress)
        found = sha256_of(part)
        if continued and not found.startswith(digest):  # what was there was of another file
            part.unlink()
            _complete(url, part, progress)
            found = sha256_of(part)
        if not found.startswith(digest):
            part.unlink()
            raise DownloadError(f"{url} has the sha256 {found}, not {digest}: it was not kept")
        os.replace(part, target)
    except OSError as error:
        if isinstance(error, DownloadError):
            raise
        reason = error.strerror or error
        raise DownloadError(
            f"cannot write {part}: {reason}; what was fetched is kept, and the same command goes "
            "on from there"
        ) from None
    return found


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file's bytes."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _complete(url, part, progress):
    """Let `part` hold the whole file, in as many connections as that takes."""
    fruitless, most = 0, _size(part)
    while True:
        try:
            _continue(url, part, progress)
            return
        except _Cut as cut:
            fruitless = 0 if _size(part) > most else fruitless + 1
            most = max(most, _size(part))
            if fruitless >= ATTEMPTS:
                raise DownloadError(f"cannot fetch {url}: {cut}") from None
            time.sleep(PAUSE * 2 ** max(fruitless - 1, 0))


def _size(path):
    return path.stat().st_size if path.exists() else 0


def _continue(url, part, progress):
    """Append to `part` what one connection brings; raise _Cut if that does not complete it."""
    start = _size(part)
    headers = {"User-Agent": "rvcnn", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    with _open(urllib.request.Request(url, headers=headers), part) as response:
        if response.status != http.client.PARTIAL_CONTENT:
            start = 0
        elif _first_byte(response) != start:
            part.unlink(missing_ok=True)
            raise _Cut("the server sends another part of it than it was asked for")
        length = response.headers.get("Content-Length", "")
        total = start + int(length) if re.fullmatch("[0-9]{1,15}", length) else None
        if total is not None and total > LARGEST:
            raise DownloadError(f"{url} is {total} bytes long, more than {LARGEST}")
        with open(part, "r+b" if start else "wb") as file:
            file.seek(start)
            file.truncate()
            done = start
            while block := _read(response):
                file.write(block)
                done += len(block)
                if done > LARGEST:
                    raise DownloadError(f"{url} does not end after {LARGEST} bytes")
                progress(done, total)
            file.flush()
            os.fsync(file.fileno())
    if total is not None and done < total:
        raise _Cut(f"the connection was cut after {done} of {total} bytes")


def _open(request, part):
    try:
        return urllib.request.build_opener(_Redirects).open(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == _RANGE_REFUSED and part.exists():
            part.unlink()
            raise _Cut("the server has no such part of it") from None
        if error.code in _TRY_AGAIN:
            raise _Cut(f"the server answers {error.code} {error.reason}") from None
        raise DownloadError(
            f"cannot fetch {request.full_url}: the server answers {error.code} {error.reason}"
        ) from None
    except (OSError, http.client.HTTPException) as error:
        if isinstance(error, DownloadError):
            raise
        reason = getattr(error, "reason", None) or error
        if isinstance(reason, _HOPELESS):
            raise DownloadError(f"cannot fetch {request.full_url}: {reason}") from None
        raise _Cut(str(reason)) from None


def _read(response):
    try:
        return response.read(_BLOCK)
    except (OSError, http.client.HTTPException) as error:
        raise _Cut(f"the connection was cut: {error}") from None


def _first_byte(response):
    found = re.match(r"bytes ([0-9]{1,15})-", response.headers.get("Content-Range", ""))
    return int(found[1]) if found else -1
