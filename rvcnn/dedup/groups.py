"""Groups of near-duplicates: stars round the picture to keep, never chains.

Pictures come in the order of preference. The first that is in no group yet is a keeper, and its
group is every other, in no group yet, that reaches the threshold *with it*. So a row of pictures
that each resemble only the next does not become one group, and what would be deleted has always
been compared with what would be kept. The result depends on nothing but the pictures.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from rvcnn.dedup.pairs import DECIMALS, NO_PAIRS, Pairs, pairs_between, pairs_within
from rvcnn.dedup.pictures import Picture
from rvcnn.dedup.vectors import Vectors


class Duplicate(NamedTuple):
    """A picture that its group's keeper stands for: their cosine, and if their bytes are equal."""

    picture: Picture
    score: float
    same: bool


class Group(NamedTuple):
    """A picture to keep and its duplicates, the nearest first."""

    keeper: Picture
    duplicates: list[Duplicate]


def by_content(pictures: Sequence[Picture]) -> list[list[int]]:
    """Return the numbers of pictures, those of equal bytes together, in order of first sight."""
    classes: dict[object, list[int]] = {}
    for number, picture in enumerate(pictures):
        content = picture.item.sha256
        classes.setdefault(number if content is None else content, []).append(number)
    return list(classes.values())


def upright(
    pictures: Sequence[Picture],
    vectors: Vectors,
    references: int,
    threshold: float,
    workers: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Pairs:
    """Find the pairs among pictures as they are; the first so many are `references`, if any.

    With references, only pairs of one with another picture. `workers` and `progress` are those of
    `rvcnn.dedup.pairs.pairs_within`.
    """
    if not references:
        return pairs_within(vectors, threshold, workers, progress)
    others = vectors.part(slice(references, None))
    pairs = pairs_between(vectors.part(slice(references)), others, threshold, workers, progress)
    return pairs._replace(second=pairs.second + references)


def same_bytes(
    pictures: Sequence[Picture], vectors: Vectors, references: int, threshold: float
) -> Pairs:
    """Find no pairs: what is left are pictures of equal bytes, as hard links need them."""
    return NO_PAIRS


def find_groups(
    pictures: Sequence[Picture],
    vectors: Vectors,
    threshold: float,
    referred: bool = False,
    find_pairs=upright,
) -> list[Group]:
    """Group pictures whose cosine with a keeper is at least `threshold`.

    Parameters
    ----------
    pictures
        In the order of preference.
    vectors
        Theirs.
    threshold
        The least cosine. Pictures of equal bytes are duplicates at any.
    referred
        Whether only references are keepers, and only other pictures duplicates.
    find_pairs
        Finds pairs among pictures of different contents: `upright`, `same_bytes`, or one like
        them.

    Returns
    -------
    list of Group
        In the order of preference of their keepers.
    """
    classes = by_content(pictures)
    firsts = np.array([numbers[0] for numbers in classes], np.int64)
    references = sum(pictures[i].reference for i in firsts) if referred else 0
    if referred and not references:
        return []
    pairs = find_pairs([pictures[i] for i in firsts], vectors.part(firsts), references, threshold)
    groups = []
    for keeper, near in _stars(pairs, len(firsts), references or len(firsts)):
        duplicates = [
            Duplicate(pictures[i], round(score, DECIMALS), own == keeper)
            for own, score in [(keeper, 1.0), *near]
            for i in classes[own]
            if i != firsts[keeper] and not pictures[i].reference
        ]
        if duplicates:
            duplicates.sort(key=lambda d: (not d.same, -d.score, d.picture.preference()))
            groups.append(Group(pictures[firsts[keeper]], duplicates))
    return groups


def _stars(pairs: Pairs, count: int, keepers: int) -> Iterator[tuple[int, list[tuple[int, float]]]]:
    """Yield each keeper with its neighbours and their scores: each number in one star.

    Of the numbers below `count`, those below `keepers` may be kept. A keeper's neighbours come
    after it: one before would be a keeper, with this one in its star, or in another's star.
    """
    starts = np.searchsorted(pairs.first, np.arange(count + 1))
    free = np.ones(count, bool)
    for keeper in range(keepers):
        if not free[keeper]:
            continue
        free[keeper] = False
        span = slice(starts[keeper], starts[keeper + 1])
        near, scores = pairs.second[span], pairs.scores[span]
        wanted = free[near]
        free[near[wanted]] = False
        yield keeper, list(zip(near[wanted].tolist(), scores[wanted].tolist(), strict=True))
