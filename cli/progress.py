"""The progress bar: images done of total, rate, time left; none where nobody watches."""

import os
import sys
from typing import TYPE_CHECKING

from rvcnn.cli.console import note

if TYPE_CHECKING:
    from rvcnn.folder import Event

IMAGES = {
    "unit": "",
    "bar_format": "{n_fmt}/{total_fmt} images |{bar}| {rate_fmt}, {remaining} left",
}
BYTES = {
    "unit": "B",
    "unit_scale": True,
    "bar_format": "{n_fmt}/{total_fmt} |{bar}| {rate_fmt}, {remaining} left",
}
BLOCKS = {
    "unit": "",
    "bar_format": "{n_fmt}/{total_fmt} blocks of pairs |{bar}| {rate_fmt}, {remaining} left",
}


class Progress:
    """A bar on stderr that appears with the first count and makes way for notes."""

    def __init__(self, quiet: bool = False, layout: dict = IMAGES) -> None:
        watched = sys.stderr is not None and sys.stderr.isatty()
        self._shown = watched and not quiet
        self._bar = None
        self._layout = layout

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *exc_info) -> None:
        if self._bar is not None:
            self._bar.close()

    def event(self, event: "Event") -> None:
        """Show what an update of a folder tells."""
        match type(event).__name__:
            case "Scanned":
                self.start(event.total)
            case "Done":
                self.advance()
            case "Skipped":
                self.note(f"skipping {event.path}: {event.reason}")
                self.advance(event.counted)

    def reach(self, done: int, total: int | None) -> None:
        """Show a count as it stands, of a total that may be unknown."""
        if self._bar is None:
            self.start(total or 0)
        self.advance(done - self._bar.n if self._bar is not None else 0)

    def start(self, total: int) -> None:
        """Show a bar over `total` images, if anybody watches."""
        if self._shown and total:
            from tqdm import tqdm

            tqdm.monitor_interval = 0  # no thread of its own
            sized = os.get_terminal_size(sys.stderr.fileno()).columns > 0
            self._bar = tqdm(
                total=total,
                file=sys.stderr,
                leave=False,
                **self._layout,
                ncols=None if sized else 79,
                nrows=None if sized else 24,
                dynamic_ncols=sized,
            )

    def advance(self, images: int = 1) -> None:
        """Count images as done."""
        if self._bar is not None:
            self._bar.update(images)

    def note(self, message: str) -> None:
        """Write a line to stderr without breaking the bar."""
        if self._bar is None:
            note(message)
            return
        self._bar.clear()
        note(message)
        self._bar.refresh()
