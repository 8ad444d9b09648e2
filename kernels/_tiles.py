"""Cover the output of a matrix product with tiles from a table.

A table maps the rows of a tile to its widths, as (NR, lanes of a vector), the widest first.
"""


def row_tile(table, pixels):
    """Rows of the tiles for so many pixels: a number that divides them, else the first to fit."""
    fitting = [rows for rows in table if rows <= pixels]
    return next((rows for rows in fitting if rows > 1 and pixels % rows == 0), fitting[0])


def column_tiles(widths, channels, worth=None):
    """Pieces (start, count, NR, lanes) that cover the output channels.

    What is left beside whole tiles goes to narrower ones, or to one more that overlaps: above a
    share ``worth`` of a tile; without it, where narrower ones that fit would be as wide.
    """
    pieces, start, narrowest = [], 0, widths[-1][0]
    for nr, lanes in widths:
        count = (channels - start) // nr * nr
        if count:
            pieces.append((start, count, nr, lanes))
            start += count
        enough = nr - narrowest if worth is None else worth * nr
        if nr <= channels and channels - start > enough:
            pieces.append((channels - nr, nr, nr, lanes))
            start = channels
    if start < channels:
        if pieces and channels >= nr:
            pieces.append((channels - nr, nr, nr, lanes))
        else:
            pieces.append((start, channels - start, 1, 1))
    return pieces
