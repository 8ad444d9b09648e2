"""A folder of images and its index: finding what changed, embedding that."""

from rvcnn.folder.events import Done, Event, Removed, Report, Scanned, Skipped
from rvcnn.folder.update import update

__all__ = ["Done", "Event", "Removed", "Report", "Scanned", "Skipped", "update"]
