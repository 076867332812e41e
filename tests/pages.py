"""Damages single pages of a PostgreSQL data directory, as a disk, or a bug above the disk, does.

With ``valid_checksum`` the page's checksum is made anew, so that only who reads the page's content sees the damage.
"""

from __future__ import annotations

import struct
from pathlib import Path

PAGE = 8192
_PRIME = 16777619
#: src/include/storage/checksum_impl.h of PostgreSQL.
_OFFSETS = (
    0x5B1F36E9, 0xB8525960, 0x02AB50AA, 0x1DE66D2A, 0x79FF467A, 0x9BB9F8A3, 0x217E7CD2, 0x83E13D2C,
    0xF8D4474F, 0xE39EB970, 0x42C6AE16, 0x993216FA, 0x7B093B5D, 0x98DAFF3C, 0xF718902A, 0x0B1C9CDB,
    0xE58F764B, 0x187636BC, 0x5D7B3BB1, 0xE73DE7DE, 0x92BEC979, 0xCCA6C0B2, 0x304A0979, 0x85AA43D4,
    0x783125BB, 0x6CA8EAA2, 0xE407EAC6, 0x4B5CFC3E, 0x9FBF8C76, 0x15CA20BE, 0xF2CA9FD3, 0x959BD756,
)  # fmt: skip


def checksum(page: bytes, block: int) -> int:
    """A page's checksum as PostgreSQL computes it."""
    words = struct.unpack("<2048I", page[:8] + b"\0\0" + page[10:])
    sums = list(_OFFSETS)
    rows = [words[i : i + 32] for i in range(0, 2048, 32)] + [(0,) * 32] * 2
    for row in rows:
        for lane in range(32):
            mixed = sums[lane] ^ row[lane]
            sums[lane] = ((mixed * _PRIME) & 0xFFFFFFFF) ^ (mixed >> 17)
    result = 0
    for one in sums:
        result ^= one
    return ((result ^ block) % 65535) + 1


class Page:
    """One page of a file, read, changed and written back."""

    def __init__(self, file: Path, block: int) -> None:
        self._file, self._block = file, block
        with file.open("rb") as opened:
            opened.seek(block * PAGE)
            self.bytes = bytearray(opened.read(PAGE))
        stored = struct.unpack_from("<H", self.bytes, 8)[0]
        assert len(self.bytes) == PAGE, f"{file} has no block {block}"
        assert stored in (0, checksum(bytes(self.bytes), block)), "this is not how PostgreSQL computes a checksum"

    def item(self, number: int) -> int:
        """Where an item begins."""
        return struct.unpack_from("<I", self.bytes, 24 + 4 * (number - 1))[0] & 0x7FFF

    def write(self, *, valid_checksum: bool) -> None:
        """Put the page back."""
        if valid_checksum:
            struct.pack_into("<H", self.bytes, 8, checksum(bytes(self.bytes), self._block))
        with self._file.open("r+b") as opened:
            opened.seek(self._block * PAGE)
            opened.write(self.bytes)


def scribble(file: Path) -> None:
    """Overwrite the middle of the first page: the checksum tells."""
    page = Page(file, 0)
    page.bytes[4000:4400] = b"\xa5" * 400
    page.write(valid_checksum=False)


def too_many_attributes(file: Path) -> None:
    """Let a row claim 2047 columns: it reads as before, and is wrong all the same."""
    page = Page(file, 0)
    at = page.item(1) + 18
    (infomask2,) = struct.unpack_from("<H", page.bytes, at)
    struct.pack_into("<H", page.bytes, at, infomask2 | 0x07FF)
    page.write(valid_checksum=True)


def out_of_order(file: Path) -> None:
    """Swap two items of an index's first leaf: searches go astray, and no checksum tells."""
    page = Page(file, 1)
    first, second = slice(24 + 8, 24 + 12), slice(24 + 12, 24 + 16)
    page.bytes[first], page.bytes[second] = page.bytes[second], page.bytes[first]
    page.write(valid_checksum=True)
