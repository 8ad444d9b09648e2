"""The language of filters, against an evaluator written from its definition."""

import re
from datetime import datetime, timezone

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rvcnn.errors import UsageError
from rvcnn.where import all_of, parse
from rvcnn.where.evaluate import fields, predicate
from rvcnn.where.moments import moment
from rvcnn.where.terms import And, Or

COLUMNS = ("path", "width", "height", "size", "format", "added_at", "modified")


def holds(text: str, metadata=None, **columns):
    """Evaluate a filter for one image: True, False or None."""
    names = ["metadata", *COLUMNS]
    values = [metadata, *(columns.get(name) for name in COLUMNS)]
    return predicate(parse(text), {name: i for i, name in enumerate(names)})(values)


# --- an evaluator of its own: a random expression as a tree, its text, and its truth -------------

KEYS = [
    "species",
    "year",
    "a",
    "b",
    "odd key",
    "select",
    "in",
    "naïve",
    "x'y",
    '"; drop table items',
]
TEXTS = st.one_of(
    st.sampled_from(["fox", "Fox", "", "O'Neil", '"', "--", "'); DROP TABLE items; --", "a\x00b"]),
    st.text(max_size=6),
)
NUMBERS = st.one_of(
    st.integers(-3, 3),
    st.sampled_from([2**53, 2**53 + 1, 10**30, -(2**63)]),
    st.floats(allow_nan=False, allow_infinity=False, width=32),
    st.sampled_from([0.5, 1.0, -2.0]),
)
SCALARS = st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS)
METADATA = st.one_of(
    st.none(),
    st.dictionaries(
        st.sampled_from(KEYS),
        st.one_of(SCALARS, st.lists(SCALARS, max_size=2), st.dictionaries(st.just("b"), SCALARS)),
        max_size=5,
    ),
)


def spelled_text(value: str, quote: str) -> str:
    return quote + value.replace(quote, quote + quote) + quote


def spelled_key(key: str) -> str:
    return key if re.fullmatch(r"[^\W\d]\w*", key) and key not in ("in", "select") else f"[{key}]"


def spelled(value, quote) -> str:
    if isinstance(value, str):
        return spelled_text(value, quote)
    if value is None or isinstance(value, bool):
        return {None: "null", True: "TRUE", False: "false"}[value]
    return repr(value)


@st.composite
def terms(draw):
    """A term: its text and a function from metadata to its value."""
    if draw(st.booleans()):
        path = draw(st.lists(st.sampled_from(KEYS), min_size=1, max_size=2))

        def get(metadata):
            for key in path:
                metadata = metadata.get(key) if isinstance(metadata, dict) else None
            return metadata

        return ".".join(map(spelled_key, path)), get
    value = draw(SCALARS)
    return spelled(value, draw(st.sampled_from("'\""))), lambda metadata: value


def kind(value) -> str:
    for name, types in (("truth", bool), ("number", (int, float)), ("text", str)):
        if isinstance(value, types):
            return name
    return "other"


def compared(sign, a, b):
    if a is None or b is None:
        return None
    same = kind(a) == kind(b)
    if sign in ("=", "=="):
        return same and a == b
    if sign in ("!=", "<>"):
        return not (same and a == b)
    if not same or kind(a) == "other":
        return None
    return {"<": a < b, "<=": a <= b, ">": a > b, ">=": a >= b}[sign]


def alike(text: str, pattern: str) -> bool:
    """SQL's like, character by character, by dynamic programming; without escapes."""
    row = [True] + [False] * len(text)
    for p in pattern:
        new = [row[0] and p == "%"]
        for i, c in enumerate(text):
            if p == "%":
                new.append(new[i] or row[i + 1])
            else:
                new.append(row[i] and (p == "_" or re.fullmatch(re.escape(p), c, re.I | re.S)))
        row = new
    return bool(row[-1])


@st.composite
def comparisons(draw):
    (left, a), (right, b) = draw(terms()), draw(terms())
    sign = draw(st.sampled_from(["=", "==", "!=", "<>", "<", "<=", ">", ">="]))
    return f"{left} {sign} {right}", lambda m: compared(sign, a(m), b(m))


@st.composite
def memberships(draw):
    name, get = draw(terms())
    values = draw(st.lists(SCALARS, min_size=1, max_size=4))
    contrary = draw(st.booleans())
    text = f"{name} {'not ' * contrary}in ({', '.join(spelled(v, chr(39)) for v in values)})"

    def truth(metadata):
        each = [compared("=", get(metadata), value) for value in values]
        found = True if True in each else None if None in each else False
        return found if not contrary or found is None else not found

    return text, truth


@st.composite
def containments(draw):
    (item, get), key = draw(terms()), draw(st.sampled_from(KEYS))

    def truth(metadata):
        value, whole = get(metadata), (metadata or {}).get(key)
        if value is None or whole is None:
            return None
        members = whole if isinstance(whole, list) else []
        return any(compared("=", value, member) for member in members)

    return f"{item} in {spelled_key(key)}", truth


@st.composite
def likenesses(draw):
    name, get = draw(terms())
    pattern = draw(st.text(st.sampled_from("aFo%_x\n\x00ſß"), max_size=6))
    contrary = draw(st.booleans())

    def truth(metadata):
        value = get(metadata)
        if value is None:
            return None
        return (isinstance(value, str) and alike(value, pattern)) != contrary

    return f"{name} {'NOT ' * contrary}like {spelled_text(pattern, chr(34))}", truth


@st.composite
def nulls(draw):
    name, get = draw(terms())
    contrary = draw(st.booleans())
    return f"{name} is {'not ' * contrary}null", lambda m: (get(m) is None) != contrary


def joined(parts):
    @st.composite
    def join(draw):
        word = draw(st.sampled_from(["and", "or", "OR", "not"]))
        if word == "not":
            text, truth = draw(parts)
            return f"not ({text})", lambda m: None if truth(m) is None else not truth(m)
        some = draw(st.lists(parts, min_size=2, max_size=3))
        decisive = word.lower() == "or"

        def truth(metadata):
            each = [truth(metadata) for _, truth in some]
            return decisive if decisive in each else None if None in each else not decisive

        return f" {word} ".join(f"({text})" for text, _ in some), truth

    return join()


EXPRESSIONS = st.recursive(
    st.one_of(comparisons(), memberships(), containments(), likenesses(), nulls()),
    joined,
    max_leaves=8,
)


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(EXPRESSIONS, st.lists(METADATA, min_size=1, max_size=6))
def test_random_filters_mean_what_they_say(expression, images):
    text, truth = expression
    condition = parse(text)
    test = predicate(condition, {"metadata": 0})
    for metadata in images:
        assert test([metadata]) is truth(metadata), (text, metadata)


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.text(max_size=30), st.text("abc'\"[]().,<>=!-019e \n\x00%", max_size=30)))
def test_any_text_is_a_filter_or_an_error_that_says_where(text):
    try:
        condition = parse(text)
    except UsageError as error:
        at = int(re.match(r"the filter, at column (\d+): .", str(error), re.S)[1])
        assert 1 <= at <= len(text) + 1
    else:
        names = {field.column for field in fields(condition)}
        predicate(condition, {name: 0 for name in names})([None])


# --- by hand --------------------------------------------------------------------------------------

FOX = {"species": "fox", "year": 2021, "wild": True, "gps": {"lat": 46.5}, "note": None}
FOX["tags"] = ["snow", 7, True, None]


@pytest.mark.parametrize(
    "text, truth",
    [
        ("species = 'fox' and year >= 2020", True),
        ("species = 'fox' and year >= 2022 or wild", True),
        ("species = 'fox' and (year >= 2022 or wild = false)", False),
        ("not wild or gps.lat > 46", True),
        ("not species = 'cat' and not year < 2000", True),
        ("species IN ('cat', 'fox') AND species NOT IN ('dog')", True),
        ("species like 'F%' and species like '_o_' and not species like '%x_'", True),
        ("species glob 'f*' and species not glob 'F*' and species glob '[e-g]o?'", True),
        ("'snow' in tags and 7.0 in tags and true in tags", True),
        ("'Snow' in tags or 1 in tags or '7' in tags or species in gps", False),
        ("'rain' not in tags and species not in tags", True),
        ("null in tags", None),
        ("'snow' in nothing", None),
        ("'snow' not in nothing", None),
        ("note is null and nothing is null and species is not null", True),
        ("nothing = 1", None),
        ("not nothing = 1", None),
        ("nothing != 1", None),
        ("nothing in (1, 2)", None),
        ("species in ('cat', null)", None),
        ("species in ('fox', null)", True),
        ("year = '2021'", False),
        ("year != '2021'", True),
        ("year < '3000'", None),
        ("wild = 1", False),
        ("year = 2021.0 and year = 2.021e3", True),
        ("gps = 1", False),
        ("gps < 1", None),
        ("gps.lat.deeper is null", True),
        ("width > 100", True),
        ("metadata.width = 5", None),
        ("metadata.year = 2021", True),
        ("metadata is not null", True),
        ("width * 2", "column 7"),
        ("species = 'fox", "column 11: the text that begins with ' has no end"),
        ("[odd", "column 1: the name that begins with [ has no end"),
        ("", "column 1: expected a name or a value, not the end"),
        ("species", False),
        ("5", "column 2: expected a comparison, not the end"),
        ("'fox'", "column 6: expected a comparison"),
        ("true", True),
        ("species =", "column 10: expected a name or a value, not the end"),
        ("species = = 3", "column 11: expected a name or a value, not '='"),
        ("species is 3", "column 12: expected null, not '3'"),
        ("species like fox", "column 14: expected a text in quotes, not 'fox'"),
        ("species in (year)", "column 13: expected a value, not the name 'year'"),
        ("species in 3", "column 12: expected ( or a name, not '3'"),
        ("species in ()", "column 13: expected a name or a value, not ')'"),
        ("species not = 3", "column 13: expected in, like or glob, not '='"),
        ("(species = 'fox'", "column 17: expected ), not the end"),
        ("species = 'fox')", "column 16: expected and, or, or the end, not ')'"),
        ("year = 20x", "column 8: 20x is no number"),
        ("year = 1_000", "column 8: 1_000 is no number"),
        ("year = 1e999", "column 8: 1e999 is no number"),
        ("year = " + "9" * 9999, "column 8: 9999"),
        ("added_at > 'yesterday'", "column 12: 'yesterday' is neither a date"),
        ("species = 'fox'; drop table items", "column 16: ';' means nothing here"),
        ("(" * 200 + "wild" + ")" * 200, "more than 100 levels"),
        ("not " * 5000 + "wild", "more than 100 levels"),
    ],
)
def test_by_hand(text, truth):
    if isinstance(truth, str):
        with pytest.raises(UsageError, match=re.escape(truth)):
            parse(text)
    else:
        assert holds(text, FOX, width=200) is truth


def test_long_filters_are_read_and_evaluated():
    text = " or ".join(f"year = {n}" for n in range(5000))
    assert holds(text, FOX) is True
    assert isinstance(parse(text), Or)


def test_a_pattern_takes_no_time_to_speak_of():
    assert holds(f"t like '{'%a' * 40}%b'", {"t": "a" * 3000}) is False
    assert holds(f"t glob '{'*a' * 40}*b'", {"t": "a" * 3000}) is False


@pytest.mark.parametrize(
    "pattern, text, truth",
    [
        (r"50\%", "50%", True),
        (r"50\%", "50x", False),
        (r"a\_b", "a_b", True),
        (r"a\_b", "axb", False),
        (r"\\", "\\", True),
        ("%", "", True),
        ("", "", True),
        ("", "x", False),
        ("a%a", "a", False),
        ("a%a", "aa", True),
        ("%\n%", "two\nlines", True),
        ("É%", "école", True),
    ],
)
def test_like(pattern, text, truth):
    assert holds(f"t like '{pattern}'", {"t": text}) is truth


def test_dates_are_compared_with_moments():
    noon = datetime(2026, 3, 1, 12, tzinfo=timezone.utc).timestamp()
    assert holds("added_at >= '2026-03-01T12:00:00Z'", added_at=int(noon)) is True
    assert holds("'2026-03-01T13:00:00+00:00' > modified", modified=noon + 0.5) is True
    assert holds("added_at < '2026-03-01T12:00Z'", added_at=noon) is False
    assert holds("added_at in ('2026-03-01T12:00Z')", added_at=noon) is True
    assert holds("added_at is null", added_at=None) is True
    assert holds("taken >= '2026-03-01'", {"taken": "2026-03-02"}) is True


@pytest.mark.parametrize(
    "text, ago",
    [("90min", 5400), ("12 h", 43200), ("7d", 604800), ("2 weeks", 1209600), ("1Y", 31536000)]
    + [("1.5 hours", 5400), ("30s", 30), ("1 day", 86400), ("0d", 0)],
)
def test_durations(text, ago):
    assert moment(text, now=1e9) == 1e9 - ago


def test_a_date_without_a_zone_is_local():
    assert moment("2026-03-01") == datetime(2026, 3, 1).timestamp()
    assert moment(" 2026-03-01 07:30 ") == datetime(2026, 3, 1, 7, 30).timestamp()


@pytest.mark.parametrize("text", ["", "soon", "7", "7m", "2026-13-01", "-7d", "1e9d", "٧d", "d7"])
def test_no_moment(text):
    with pytest.raises(UsageError, match="is neither a date"):
        moment(text)


def test_conditions_are_joined():
    one, two = parse("a = 1"), parse("b = 2")
    assert all_of(None, one) == one
    assert all_of(None, None) is None
    assert all_of(one, None, two) == And((one, two)) == parse("a = 1 and b = 2")
