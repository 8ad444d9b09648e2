"""Figures of ``ann.py`` against the number of vectors, drawn as SVG.

python benchmarks/ann.py --sizes 10000 30000 100000 -o ann.csv
python benchmarks/ann_plot.py ann.csv ann.svg
"""

from __future__ import annotations

import argparse
import csv
import math
from collections import defaultdict
from pathlib import Path

PANELS = {
    "queries/s": "queries a second, one thread",
    "build": "seconds to build",
    "memory": "MB while serving",
    "recall": "recall@10",
}
COLOURS = ("#1b6ca8", "#d1495b", "#66a182", "#8d6a9f")
WIDTH, HEIGHT, EDGE, RIGHT = 340, 240, 56, 34


def read(path: Path) -> dict[str, dict[str, dict[int, float]]]:
    """Values by panel, engine and number of vectors; of several runs, the last."""
    found: dict = defaultdict(lambda: defaultdict(dict))
    with open(path, newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["benchmark"] != "ann":
                continue
            size, _, what = row["case"].partition(", ")
            count = int(size.split()[0])
            if what in ("build", "memory", "recall"):
                found[what][row["engine"]][count] = float(row["median"])
            elif not what:
                found["queries/s"][row["engine"]][count] = float(row["rate"])
    return found


def scale(low: float, high: float, length: float):
    """A logarithmic scale from values to pixels."""
    low, high = math.log10(low), math.log10(high)
    return lambda value: length * (math.log10(value) - low) / max(high - low, 1e-9)


def ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 times powers of ten within bounds; the bounds where fewer than two are."""
    steps = [m * 10.0**n for n in range(-3, 9) for m in (1, 2, 5)]
    inside = [step for step in steps if low <= step <= high]
    return inside if len(inside) > 1 else [low, high]


def written(value: float) -> str:
    """A number of three digits, its thousands apart."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def panel(title: str, engines: dict[str, dict[int, float]], left: int, top: int) -> list[str]:
    """SVG of one panel: a line for each engine."""
    counts = [count for series in engines.values() for count in series]
    values = [value for series in engines.values() for value in series.values()]
    if not counts:
        return []
    bottom, right = top + HEIGHT - EDGE, left + WIDTH - RIGHT
    across = scale(min(counts), max(counts), right - left - EDGE)
    up = scale(min(values), max(values), bottom - top - 30)
    parts = [f'<text x="{left + EDGE}" y="{top + 14}" font-weight="bold">{title}</text>']
    for value in ticks(min(values), max(values)):
        y = bottom - up(value)
        parts.append(f'<path d="M{left + EDGE} {y:.1f}H{right}" stroke="#ddd"/>')
        parts.append(
            f'<text x="{left + EDGE - 6}" y="{y + 4:.1f}" text-anchor="end">{written(value)}</text>'
        )
    for count in sorted({*counts}):
        x = left + EDGE + across(count)
        parts.append(f'<text x="{x:.1f}" y="{bottom + 18}" text-anchor="middle">{count:,}</text>')
    for i, (engine, series) in enumerate(engines.items()):
        points = " ".join(
            f"{left + EDGE + across(count):.1f},{bottom - up(value):.1f}"
            for count, value in sorted(series.items())
        )
        colour = COLOURS[i % len(COLOURS)]
        parts.append(
            f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>'
        )
        x = left + EDGE + 80 * i
        parts.append(f'<text x="{x}" y="{bottom + 38}" fill="{colour}">{engine}</text>')
    return parts


def draw(found: dict) -> str:
    """SVG of all panels, two in a row."""
    parts = []
    for i, (name, title) in enumerate(PANELS.items()):
        parts += panel(title, found[name], WIDTH * (i % 2), 12 + (HEIGHT + 10) * (i // 2))
    size = f'width="{2 * WIDTH}" height="{2 * HEIGHT + 40}"'
    style = 'font-family="sans-serif" font-size="11"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} {style}>'
    return "\n".join([head, '<rect width="100%" height="100%" fill="white"/>', *parts, "</svg>"])


def main() -> None:
    """Read the results and write the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", type=Path, help="CSV file of ann.py")
    parser.add_argument("picture", type=Path, help="SVG file")
    given = parser.parse_args()
    given.picture.write_text(draw(read(given.results)), encoding="utf-8")


if __name__ == "__main__":
    main()
