"""Whether a DICOM file is whole: a report that was cut short would tell of less dose than there was.

pydicom takes what there is of a cut element without a word, so the lengths are checked against the bytes first.
"""

import struct
from dataclasses import dataclass

_UNDEFINED = 0xFFFFFFFF
_LONG = frozenset((b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"))
"""Value representations whose length has four bytes after two that are reserved."""
_ITEM, _ITEM_END, _SEQUENCE_END = (0xFFFE, 0xE000), (0xFFFE, 0xE00D), (0xFFFE, 0xE0DD)
_START = 132
_IMPLICIT, _BIG = "1.2.840.10008.1.2", "1.2.840.10008.1.2.2"


def check_complete(data: bytes, syntax: str) -> None:
    """Raise ``ValueError`` where an element claims more bytes than the file has, or a sequence does not end.

    **Arguments:** the whole file, with its preamble; the UID of its transfer syntax, not a deflated one.
    """
    meta = _Walk(data, "<", False)
    start = _START
    while start + 2 <= len(data) and data[start : start + 2] == b"\x02\x00":
        start = meta.element(start, len(data))
    _Walk(data, ">" if syntax == _BIG else "<", syntax == _IMPLICIT).elements(start, len(data))


@dataclass(frozen=True)
class _Walk:
    data: bytes
    order: str
    implicit: bool

    def elements(self, position: int, end: int, *, delimited: bool = False) -> int:
        """Pass over the elements up to ``end``, or up to the end of an item; returns where they stop."""
        while position < end:
            if self._tag(position, end) == _ITEM_END:
                return position + 8
            position = self.element(position, end)
        if delimited:
            raise ValueError("the file ends within an item of a sequence")
        return position

    def element(self, position: int, end: int) -> int:
        """Pass over one element; returns where it stops."""
        tag = self._tag(position, end)
        kind = b"" if self.implicit else self.data[position + 4 : position + 6]
        if kind in _LONG:
            length, value = self._number(position + 8, end), position + 12
        elif self.implicit:
            length, value = self._number(position + 4, end), position + 8
        else:
            length, value = struct.unpack_from(self.order + "H", self.data, position + 6)[0], position + 8
        if length == _UNDEFINED:
            inner = self if kind != b"UN" else _Walk(self.data, self.order, True)
            return inner.items(value, end, delimited=True)
        if value + length > end:
            raise ValueError(
                f"the element ({tag[0]:04X},{tag[1]:04X}) has {length} bytes, and the file ends after {end - value}"
            )
        if kind == b"SQ":
            self.items(value, value + length, delimited=False)
        return value + length

    def items(self, position: int, end: int, *, delimited: bool) -> int:
        """Pass over the items of a sequence; returns where it stops."""
        while delimited or position < end:
            tag = self._tag(position, end)
            if tag == _SEQUENCE_END:
                return position + 8
            if tag != _ITEM:
                raise ValueError(f"no item of a sequence begins at byte {position}, where one should")
            length, position = self._number(position + 4, end), position + 8
            if length == _UNDEFINED:
                position = self.elements(position, end, delimited=True)
                continue
            if position + length > end:
                raise ValueError("the file ends within an item of a sequence")
            if not self.implicit:
                self.elements(position, position + length)
            position += length
        return position

    def _tag(self, position: int, end: int) -> tuple[int, int]:
        if position + 8 > end:
            raise ValueError("the file ends within the head of an element")
        group, element = struct.unpack_from(self.order + "HH", self.data, position)
        return group, element

    def _number(self, position: int, end: int) -> int:
        if position + 4 > end:
            raise ValueError("the file ends within the head of an element")
        return struct.unpack_from(self.order + "L", self.data, position)[0]
