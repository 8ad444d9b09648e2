"""What a run of `embed` or `verify --repair` has done, in one line."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rvcnn.folder import Report

COUNTS = {
    "indexed": "embedded",
    "reused": "found again",
    "unchanged": "unchanged",
    "skipped": "skipped",
    "removed": "removed",
}
STAGES = ("scan", "read", "decode", "resize", "network", "index")


def summary(label: str, report: "Report") -> str:
    """Say how many images met with what."""
    counts = [
        f"{getattr(report, name)} {word}" for name, word in COUNTS.items() if getattr(report, name)
    ]
    return f"{label}: {', '.join(counts) or 'no images'}"


def show_timings(reports: Iterable["Report"]) -> str:
    """Say where the time went; the stages are summed over threads."""
    total: dict[str, float] = {}
    for report in reports:
        for stage, seconds in report.seconds.items():
            total[stage] = total.get(stage, 0.0) + seconds
    stages = ", ".join(f"{name} {total[name]:.2f} s" for name in STAGES if name in total)
    return f"timings: {stages}{', ' if stages else ''}total {total.get('total', 0.0):.2f} s"
