"""One writer at a time: a lock that a dead process does not keep, on every system alike.

It is an SQLite database that stays empty: what is used of it is SQLite's exclusive file lock, which
the operating system frees when the process ends, however it ends.
"""

import sqlite3
import time

from rvcnn.errors import IndexLockedError
from rvcnn.index.files import Home, told

NAME = "writer.lock"
_PAUSE = 0.05


class WriterLock:
    """The lock, taken when made."""

    def __init__(self, home: Home, wait: float):
        """Take the lock, waiting up to `wait` seconds.

        Raises
        ------
        IndexLockedError
            Another writer has it.
        """
        with told(home):
            self._connection = sqlite3.connect(
                home.location / NAME, timeout=0, isolation_level=None, check_same_thread=False
            )
            try:
                self._take(home, wait)
            except BaseException:
                self._connection.close()
                raise

    def _take(self, home: Home, wait: float) -> None:
        deadline = time.monotonic() + wait
        while True:
            try:
                self._connection.execute("BEGIN EXCLUSIVE")
                return
            except sqlite3.OperationalError as error:
                if "locked" not in str(error):
                    raise
            left = deadline - time.monotonic()
            if left <= 0:
                raise IndexLockedError(
                    f"another process is writing to the index of {home.root} (waited {wait:g} s): "
                    "run the command again when it has ended, or wait for it with --wait SECONDS"
                )
            time.sleep(min(_PAUSE, left))

    def release(self) -> None:
        self._connection.close()
