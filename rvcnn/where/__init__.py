"""Filters: conditions on an image's metadata and on what the index knows of its file.

``species = 'fox' and (year >= 2020 or camera.model like 'X%') and width >= 1000``

The language is that of SQL's ``where``, as far as it goes, read by a parser of its own and
evaluated by plain functions: no part of a filter's text ever becomes code or a query.
"""

from rvcnn.where.parse import parse
from rvcnn.where.terms import COLUMNS, Condition, Field, StartsWith, all_of

__all__ = ["COLUMNS", "Condition", "Field", "StartsWith", "all_of", "parse"]
