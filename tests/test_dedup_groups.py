"""Groups: stars round the picture to keep, the same whatever order the files come in."""

import hashlib
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from rvcnn.dedup.groups import find_groups
from rvcnn.dedup.pictures import Picture
from rvcnn.dedup.vectors import Vectors
from rvcnn.index import Item


def picture(name, content=None, size=100, width=10, height=10, mtime=0, reference=False):
    digest = None if content is None else hashlib.sha256(content.encode()).digest()
    item = Item(name, size=size, mtime_ns=mtime, sha256=digest, width=width, height=height)
    return Picture(Path(name), item, None, reference)


def on_circle(*degrees) -> np.ndarray:
    """Return unit vectors at angles in a plane."""
    angles = np.radians(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def grouped(pictures, rows, threshold, **options):
    """Return groups as names, from pictures in any order."""
    order = sorted(range(len(pictures)), key=lambda i: pictures[i].preference())
    groups = find_groups(
        [pictures[i] for i in order], Vectors.of(rows[order]), threshold, **options
    )
    return [
        (str(g.keeper.path), [(str(d.picture.path), d.same) for d in g.duplicates]) for g in groups
    ]


def test_a_chain_of_weak_links_is_no_group():
    """0, 10, 20, 30 degrees: each resembles the next, only neighbours of a keeper are with it."""
    pictures = [picture(name, name) for name in "abcd"]
    assert grouped(pictures, on_circle(0, 10, 20, 30), np.cos(np.radians(11))) == [
        ("a", [("b", False)]),
        ("c", [("d", False)]),
    ]


def test_keeper_by_resolution_then_size_then_age_then_name():
    better = dict(width=20, size=1, mtime=9)
    for more in (better, dict(size=101, mtime=9), dict(mtime=-1)):
        pictures = [picture("a", "a"), picture("z", "z", **more)]
        assert grouped(pictures, on_circle(0, 1), 0.9) == [("z", [("a", False)])]
    assert grouped([picture("b"), picture("a")], on_circle(0, 1), 0.9) == [("a", [("b", False)])]


def test_equal_bytes_are_duplicates_at_any_threshold_and_come_first():
    pictures = [picture("a", "x"), picture("c", "x"), picture("b", "y"), picture("d", "y")]
    rows = on_circle(0, 0, 5, 5)
    exact = [("a", [("c", True)]), ("b", [("d", True)])]
    assert grouped(pictures, rows, 0.9999) == exact
    assert grouped(pictures, rows, 0.9) == [("a", [("c", True), ("b", False), ("d", False)])]


def test_unknown_content_is_not_equal_to_unknown_content():
    assert grouped([picture("a"), picture("b")], on_circle(0, 90), 0.9) == []


def test_only_references_are_kept_and_never_listed():
    pictures = [
        picture("mine1", "1", width=99),
        picture("mine2", "2"),
        picture("mine3", "r", size=5),
        picture("ref1", "r", reference=True),
        picture("ref2", "r2", reference=True),
    ]
    rows = on_circle(1, 90, 0, 0, 2)
    assert grouped(pictures, rows, 0.99, referred=True) == [
        ("ref1", [("mine3", True), ("mine1", False)])
    ]
    alone = [picture("a", "x"), picture("b", "x")]
    assert grouped(alone, on_circle(0, 0), 0.9, referred=True) == []


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 60), min_size=1, max_size=25), st.integers(2, 20), st.randoms())
def test_every_duplicate_reaches_the_threshold_with_its_keeper(degrees, width, random):
    threshold = np.cos(np.radians(width))
    pictures = [picture(f"{i:03}", f"{i}", size=i * 7 % 5 + 1) for i in range(len(degrees))]
    rows = on_circle(*degrees)
    groups = grouped(pictures, rows, threshold)
    seen = [name for keeper, others in groups for name in (keeper, *(n for n, _ in others))]
    assert len(seen) == len(set(seen))
    for keeper, others in groups:
        for name, _ in others:
            cosine = rows[int(keeper)].astype(float) @ rows[int(name)].astype(float)
            assert round(cosine, 6) >= threshold
    kept = [i for i in range(len(degrees)) if f"{i:03}" not in seen]
    kept += [int(keeper) for keeper, _ in groups]
    for i in kept:  # nothing is left that should have been in a group
        for j in kept:
            assert i == j or round(rows[i].astype(float) @ rows[j].astype(float), 6) < threshold
    order = list(range(len(degrees)))
    random.shuffle(order)
    assert grouped([pictures[i] for i in order], rows[order], threshold) == groups
