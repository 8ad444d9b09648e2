"""What decoding JPEGs at reduced size does to embeddings, and what it saves.

Every photograph of a folder is enlarged to 12 megapixels (or to a given shorter side, to try the
margin where it is tightest), saved as JPEG of quality 90 in memory, and embedded after a full
decode and after a decode that keeps its shorter side at least K times the side the network's resize
asks for. Prints, for each K, the cosine between the two embeddings and the times. The limits it is
judged by are a mean of 0.999 and a minimum of 0.995. rvcnn's own K is ``DRAFT_MARGIN`` in
rvcnn/images/decode.py.

    RVCNN_TEST_DATA=data python benchmarks/draft.py
    python benchmarks/draft.py --images photos/ --short-side 2049 --every 5
    python benchmarks/draft.py --images photos/ --short-side 1024 --shrink-only
"""

from __future__ import annotations

import argparse
import io
import math
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

import rvcnn
from rvcnn.images import SUFFIXES, Decoded, decode
from rvcnn.images.decode import DRAFT_MARGIN

MARGINS = (1.0, 1.5, 2.0, 2.5, 3.0, 4.0)
MEAN_LIMIT, EACH_LIMIT = 0.999, 0.995


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    data = os.environ.get("RVCNN_TEST_DATA")
    parser.add_argument(
        "--images",
        type=Path,
        default=Path(data, "images", "imagenet500") if data else None,
        help="folder of photographs (default: images/imagenet500 in $RVCNN_TEST_DATA)",
    )
    parser.add_argument("--weights", help="weights file (default: the embedded model)")
    parser.add_argument("--every", type=int, default=1, help="take every N-th photograph")
    parser.add_argument("--megapixels", type=float, default=12.0)
    parser.add_argument("--short-side", type=int, help="resize to this shorter side instead")
    parser.add_argument(
        "--shrink-only",
        action="store_true",
        help="leave out photographs that would have to be enlarged: detail is the harder case",
    )
    given = parser.parse_args()
    if given.images is None:
        parser.error("no photographs: give --images or set RVCNN_TEST_DATA")
    return given


def resized(paths: list[Path], given: argparse.Namespace) -> Iterator[bytes]:
    """Yield each photograph as a large JPEG, one in memory at a time."""
    for path in paths:
        image = decode(path).image
        width, height = image.size
        scale = math.sqrt(given.megapixels * 1e6 / (width * height))
        if given.short_side is not None:
            scale = given.short_side / min(width, height)
        if scale > 1 and given.shrink_only:
            continue
        size = (round(width * scale), round(height * scale))
        buffer = io.BytesIO()
        image.resize(size, Image.Resampling.LANCZOS).save(buffer, "JPEG", quality=90)
        yield buffer.getvalue()


def timed(embedder: rvcnn.Embedder, jpeg: bytes, min_side: float | None) -> tuple:
    """Return the embedding, milliseconds to decode, milliseconds for all, and the reduction."""
    start = time.perf_counter()
    decoded: Decoded = decode(jpeg, min_side=min_side)
    middle = time.perf_counter()
    row = embedder.embed_decoded(decoded).astype(np.float64)
    end = time.perf_counter()
    reduction = round(decoded.width / decoded.image.width)
    return row / np.linalg.norm(row), (middle - start) * 1e3, (end - start) * 1e3, reduction


def main() -> None:
    """Print one line for the full decode and one for each margin."""
    given = arguments()
    paths = sorted(p for p in given.images.iterdir() if p.suffix.lower() in SUFFIXES)
    paths = paths[:: given.every]
    if not paths:
        sys.exit(f"no photographs in {given.images}")
    embedder = rvcnn.Embedder(weights=given.weights, workers=1)
    embedder.embed_one(paths[0])  # compiles the kernels where they are not cached yet
    resize = embedder.preprocess.resize
    full_times: list[tuple[float, float]] = []
    rows: dict[float, list[tuple]] = {margin: [] for margin in MARGINS}
    for jpeg in resized(paths, given):
        full, *times, _ = timed(embedder, jpeg, None)
        full_times.append(tuple(times))
        for margin, results in rows.items():
            # decode() multiplies by its own margin.
            row, *times, reduction = timed(embedder, jpeg, margin * resize / DRAFT_MARGIN)
            results.append((full @ row, *times, reduction))
    if not full_times:
        sys.exit("every photograph is smaller than that")
    decode_ms, all_ms = np.mean(full_times, axis=0)
    size = f"{given.megapixels:g} megapixels"
    if given.short_side:
        size = f"a shorter side of {given.short_side}"
    print(f"{len(full_times)} photographs resized to {size}, embedded by {embedder.name}")
    print(f"full decode   decode {decode_ms:6.1f} ms   with network {all_ms:6.1f} ms")
    for margin, results in rows.items():
        cosine, decode_ms, all_ms, reduction = np.asarray(results).T
        kept = cosine.mean() >= MEAN_LIMIT and cosine.min() >= EACH_LIMIT
        taken = "/".join(f"{r:g}" for r in np.unique(reduction))
        print(
            f"K = {margin:3.1f}       decode {decode_ms.mean():6.1f} ms   "
            f"with network {all_ms.mean():6.1f} ms   cosine mean {cosine.mean():.5f} "
            f"min {cosine.min():.5f}   {'kept' if kept else 'not kept'}   reduced by {taken}"
        )


if __name__ == "__main__":
    main()
