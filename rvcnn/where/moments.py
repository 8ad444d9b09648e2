"""Points in time as people write them."""

import re
import time
from datetime import datetime

from rvcnn.errors import UsageError

_SECONDS = {"s": 1, "min": 60, "h": 3600, "d": 86400, "w": 604800, "y": 31536000}
_WORDS = {"sec": "s", "second": "s", "minute": "min", "hour": "h", "day": "d", "week": "w"}
_WORDS |= {"year": "y", **{unit: unit for unit in _SECONDS}}
_DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)\s*([a-z]+?)s?", re.ASCII)


def moment(text: str, now: float | None = None) -> float:
    """Return a date, a date with a time, or a duration before `now`, as seconds since the epoch.

    ``2026-03-01``, ``2026-03-01 12:30``, ``2026-03-01T12:30:00+02:00`` and ``...Z``; without a zone
    in local time. ``90min``, ``12h``, ``7d``, ``2 weeks``, ``1y`` (of 365 days).

    Raises
    ------
    UsageError
        It is none of these.
    """
    duration = _DURATION.fullmatch(text.strip().lower())
    if duration and duration[2] in _WORDS:
        ago = float(duration[1]) * _SECONDS[_WORDS[duration[2]]]
        return (time.time() if now is None else now) - ago
    try:
        return datetime.fromisoformat(re.sub(r"[zZ]$", "+00:00", text.strip())).timestamp()
    except (ValueError, OverflowError, OSError):
        raise UsageError(
            f"{text!r} is neither a date (2026-03-01, 2026-03-01T12:30) nor a duration "
            "(90min, 12h, 7d, 2w, 1y)"
        ) from None
