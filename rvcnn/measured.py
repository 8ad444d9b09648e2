"""What `rvcnn bench` found on this machine, kept for `rvcnn models` to tell."""

import datetime
import json
import platform
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from . import __version__
from .kernels import target, user_cache
from .paths import open_whole

if TYPE_CHECKING:
    from .bench import Report


class Measured(NamedTuple):
    """The latest measurement of a network, on one machine, in one precision and size.

    Attributes
    ----------
    model, precision : str
    input_size : int
        Pixels of a side.
    image_ms : float
        One image on one thread.
    machine : str
        CPU and host.
    date : str
        Year, month and day, with hyphens.
    version : str
        rvcnn's.
    """

    model: str
    precision: str
    input_size: int
    image_ms: float
    machine: str
    date: str
    version: str


def measurements_file() -> Path:
    """Return where measurements are kept: in the user's cache."""
    return user_cache() / "measured.json"


def machine() -> str:
    """Name the machine: what its CPU is called, and its host."""
    return f"{target()[0]} {platform.node()}"


def remember(report: "Report") -> None:
    """Keep a measurement in the place of an older one of the same kind.

    Where the cache cannot be written, nothing is kept.
    """
    now = Measured(
        report.model,
        report.precision,
        report.input_size,
        round(report.image_ms, 3),
        machine(),
        datetime.date.today().isoformat(),
        __version__,
    )
    others = [row for row in _read() if _key(row) != _key(now)]
    text = json.dumps([row._asdict() for row in [*others, now]], indent=1)
    file = measurements_file()
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        with open_whole(file) as out:
            out.write(text.encode())


def measured_here() -> list[Measured]:
    """Return what was measured on this machine, by any version."""
    return [row for row in _read() if row.machine == machine()]


def _key(row):
    return row.model, row.precision, row.input_size, row.machine


def _read():
    """Every row of the file; none of one that is damaged."""
    try:
        rows = [Measured(**row) for row in json.loads(measurements_file().read_bytes())]
    except (OSError, ValueError, TypeError, RecursionError):
        return []
    kinds = Measured.__annotations__
    return [row for row in rows if all(type(getattr(row, k)) is kinds[k] for k in kinds)]
