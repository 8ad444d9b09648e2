"""Every exception rvcnn raises on purpose.

A message says what is wrong, where, and what to do. ``exit_code`` is the command line's.
"""


class RvcnnError(Exception):
    """Base of all errors that rvcnn raises on purpose."""

    exit_code = 1


class UsageError(RvcnnError, ValueError):
    """An argument or a path that cannot be meant."""

    exit_code = 2


class ImageError(RvcnnError, ValueError):
    """An image that cannot be read; the message is the reason, without the path."""


class ShapeError(RvcnnError, ValueError):
    """Shapes that do not fit; the message names the layer, the expected shape and the given one."""

    exit_code = 2


class WeightsError(RvcnnError, ValueError):
    """A weights file that does not fit its model, or is damaged."""

    exit_code = 2


class DownloadError(RvcnnError, OSError):
    """A file that cannot be fetched, or is not the one it should be."""


class IndexMissingError(RvcnnError, FileNotFoundError):
    """No index where one was asked for."""

    exit_code = 4


class IndexMismatchError(RvcnnError, ValueError):
    """An index made by another model or a newer rvcnn."""

    exit_code = 4


class IndexDamagedError(RvcnnError):
    """An index whose parts do not agree."""


class IndexLockedError(RvcnnError, TimeoutError):
    """Another process is writing to the index."""
