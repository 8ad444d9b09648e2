"""Zip archives as checkpoints are: entries found and checked by the archive's directory alone.

Stricter than ``zipfile``: entries that overlap, lie about their size, or were encrypted are
refused, and nothing is decompressed beyond the size that was stated.
"""

import struct
import zlib
from typing import NamedTuple

from rvcnn.weights.contents import HEADER_LIMIT, Refusal, shown

MAGIC = b"PK\x03\x04"
STORED, DEFLATED = 0, 8

_LOCAL = struct.Struct("<4s5H3L2H")
_CENTRAL = struct.Struct("<4s6H3L5H2L")
_END = struct.Struct("<4s4H2LH")
_END_64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR_64 = struct.Struct("<4sLQL")
_LONGEST_COMMENT = 0xFFFF
_IN_EXTRA = 0xFFFFFFFF
_ENCRYPTED = 1


class Entry(NamedTuple):
    """Where an entry's bytes lie, how many they are, and what they must come to."""

    start: int
    stored: int
    size: int
    method: int
    crc: int


class Archive:
    """A zip archive in a buffer.

    Attributes
    ----------
    entries : dict of str to Entry
    """

    def __init__(self, buffer: memoryview):
        """Read the directory.

        Raises
        ------
        Refusal
            If it is damaged, or entries overlap.
        """
        self._buffer = buffer
        self._checked = {}
        self.entries = {}
        begin, count = self._directory()
        spans = []
        at = begin
        for _ in range(count):
            name, entry, first, at = self._entry(at)
            if name in self.entries:
                raise Refusal(f"an archive with {shown(name)} twice")
            self.entries[name] = entry
            spans.append((first, entry.start + entry.stored, name))
        end = 0
        for first, last, name in sorted(spans):
            if first < end:
                raise Refusal(f"an archive whose {shown(name)} overlaps another entry")
            end = last
        if end > begin:
            raise Refusal("an archive whose entries overlap its directory")

    def read(self, name: str) -> memoryview:
        """Return an entry's bytes; those of a stored one are the file's own."""
        if name not in self.entries:
            raise Refusal(f"an archive without {shown(name)}")
        if name in self._checked:
            return self._checked[name]
        entry = self.entries[name]
        data = self._buffer[entry.start : entry.start + entry.stored]
        if entry.method == DEFLATED:
            inflate = zlib.decompressobj(-zlib.MAX_WBITS)
            data = memoryview(inflate.decompress(data, entry.size + 1))
        if len(data) != entry.size:
            raise Refusal(f"an archive whose {shown(name)} is not of the size that it states")
        if zlib.crc32(data) != entry.crc:
            raise Refusal(f"an archive whose {shown(name)} is damaged: its checksum differs")
        if entry.method == STORED:
            self._checked[name] = data
        return data

    def head(self, name: str, length: int) -> bytes:
        """Return the first `length` bytes of an entry, or all of a shorter one, unchecked."""
        entry = self.entries[name]
        data = self._buffer[entry.start : entry.start + entry.stored]
        if entry.method == DEFLATED:  # which takes a little more than it gives, at its worst
            return zlib.decompressobj(-zlib.MAX_WBITS).decompress(data[: length + 1024], length)
        return bytes(data[:length])

    def _directory(self):
        """Offset of the directory's first entry, and how many there are."""
        tail_at = max(0, len(self._buffer) - _LONGEST_COMMENT - _END.size)
        tail = bytes(self._buffer[tail_at:])
        at = tail.rfind(b"PK\x05\x06")
        if at < 0 or at + _END.size > len(tail):
            raise Refusal("an archive that was cut off: it has no directory")
        end = tail_at + at
        _, _, _, _, count, size, begin, comment = _END.unpack_from(tail, at)
        if at + _END.size + comment != len(tail):
            raise Refusal("an archive with more behind its end")
        locator = end - _LOCATOR_64.size
        if locator >= 0 and self._buffer[locator : locator + 4] == b"PK\x06\x07":
            _, _, end, _ = _LOCATOR_64.unpack_from(self._buffer, locator)
            if end + _END_64.size > locator or self._buffer[end : end + 4] != b"PK\x06\x06":
                raise Refusal("an archive with a damaged end")
            *_, count, size, begin = _END_64.unpack_from(self._buffer, end)
        if size > HEADER_LIMIT or begin + size != end or count * _CENTRAL.size > size:
            raise Refusal("an archive with a damaged directory")
        return begin, count

    def _entry(self, at):
        """The name and place of the directory's entry at an offset, and the offset behind it."""
        fields = _CENTRAL.unpack_from(self._buffer, at)
        _, _, _, flags, method, _, _, crc, stored, size, name_length, extra_length = fields[:12]
        comment_length, first = fields[12], fields[16]
        name_at = at + _CENTRAL.size
        extra_at = name_at + name_length
        after = extra_at + extra_length + comment_length
        if fields[0] != b"PK\x01\x02" or after > len(self._buffer):
            raise Refusal("an archive with a damaged directory")
        raw = self._buffer[name_at:extra_at]
        name = str(raw, "utf-8")
        extra = self._buffer[extra_at : extra_at + extra_length]
        size, stored, first = _long_fields(extra, size, stored, first)
        if flags & _ENCRYPTED or method not in (STORED, DEFLATED):
            raise Refusal(f"an archive whose {shown(name)} is encrypted or packed in another way")
        local = _LOCAL.unpack_from(self._buffer, first)
        start = first + _LOCAL.size + local[9] + local[10]
        local_name = self._buffer[first + _LOCAL.size :][: local[9]]
        if local[0] != MAGIC or local_name != raw or start + stored > len(self._buffer):
            raise Refusal(f"an archive whose {shown(name)} is not where its directory says")
        return name, Entry(start, stored, size, method, crc), first, after


def _long_fields(extra, *fields):
    """Sizes and offset that do not fit the directory's own fields, from its zip64 record."""
    long = b""
    while len(extra) >= 4:
        kind, length = struct.unpack_from("<2H", extra)
        if kind == 1:
            long = bytes(extra[4 : 4 + length])
        extra = extra[4 + length :]
    values = []
    for field in fields:
        if field == _IN_EXTRA:
            if len(long) < 8:
                raise Refusal("an archive with a damaged directory")
            field, long = int.from_bytes(long[:8], "little"), long[8:]
        values.append(field)
    return values
