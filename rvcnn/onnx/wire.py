"""A look at a protobuf before it is parsed: whether it is whole, and how many messages it makes.

The parser takes some hundred bytes of memory for a message of two bytes, so they are counted first.
https://protobuf.dev/programming-guides/encoding/
"""

from rvcnn.weights.contents import Refusal

FIELDS = 1_000_000
"""Most fields of a file: the largest networks have some ten thousand nodes of thirty each."""

DEPTH = 60
"""Most messages inside each other; the parser gives up at a hundred."""

_VARINT, _DOUBLE, _BYTES, _FLOAT = 0, 1, 2, 5
_WIDTHS = {_DOUBLE: 8, _FLOAT: 4}


def check(data, message) -> None:
    """Compare every length with the bytes there are, and count the fields.

    Parameters
    ----------
    data : bytes-like
    message : Descriptor
        Of the message that the bytes should be.

    Raises
    ------
    Refusal
        If the file is cut short, or has more fields than any network.
    """
    count, unread = 0, [(message, 0, len(data), 0)]
    while unread:
        message, at, end, depth = unread.pop()
        if depth > DEPTH:
            raise Refusal(f"messages more than {DEPTH} deep inside each other")
        fields = message.fields_by_number
        while at < end:
            key, at = _varint(data, at, end)
            count += 1
            if count > FIELDS:
                raise Refusal(f"more than {FIELDS} fields")
            start = at
            if key & 7 == _BYTES:
                length, start = _varint(data, at, end)
                at = start + length
            elif key & 7 == _VARINT:
                _, at = _varint(data, at, end)
            elif key & 7 in _WIDTHS:
                at += _WIDTHS[key & 7]
            else:
                raise Refusal("a damaged file: a field of a kind that ONNX has none of")
            if at > end:
                raise Refusal(f"a damaged file: a field ends at {at}, what holds it at {end}")
            inside = fields[key >> 3].message_type if key >> 3 in fields else None
            if inside is not None and key & 7 == _BYTES:
                unread.append((inside, start, at, depth + 1))


def _varint(data, at, end):
    value = shift = 0
    while at < end and shift < 64:
        byte = data[at]
        value |= (byte & 127) << shift
        at += 1
        if byte < 128:
            return value, at
        shift += 7
    raise Refusal("a damaged file: a number without an end")
