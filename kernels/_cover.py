"""Cover a length with whole vectors or tiles."""

from ._target import lanes


def exact(n):
    """Pieces (start, count, lanes) that cover ``n`` values once, with ever fewer lanes."""
    pieces, start = [], 0
    for width in (w for w in (16, 8, 4, 1) if w <= lanes()):
        count = (n - start) // width * width
        if count:
            pieces.append((start, count, width))
            start += count
    return pieces


def overlapping(n, width):
    """Pieces (start, count) of multiples of ``width`` that cover ``n >= width`` values.

    The last piece overlaps the one before where ``width`` does not divide ``n``.
    """
    whole = n // width * width
    return [(0, whole)] + ([(n - width, width)] if whole < n else [])


def vectors(n):
    """Pieces (start, count, lanes) that cover ``n`` values, some of them twice.

    For operations whose output is not their input: one lane count serves any ``n`` above it.
    """
    width = next(w for w in (16, 8, 4, 1) if w <= lanes() and w <= n)
    return [(start, count, width) for start, count in overlapping(n, width)]
