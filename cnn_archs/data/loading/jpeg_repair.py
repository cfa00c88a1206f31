"""Remove from a JPEG what libjpeg warns of although every pixel can be decoded.

These are a wrong version number of JFIF, wrong spectral parameters of a sequential scan, and bytes
between the parts of the file. But such bytes are also what remains of a damaged segment, or of
damaged pixels. So they are removed only if they fill the file up: few different values, or text;
or, within the header, if they are fewer than those of any segment that pixels depend on.
"""

import re

EXTRA_BYTES = re.compile(r"(\d+) extraneous bytes before marker 0x([0-9a-f]{2})")
SEQUENTIAL = (0xC0, 0xC1)  # markers of the frames of sequential JPEGs
SCAN, END = 0xDA, 0xD9
SMALLEST_TABLE = 20  # bytes of a Huffman table without codes
PRINTABLE = frozenset(b"\0\t\n\r" + bytes(range(32, 127)))


def plain_header(encoded: bytes) -> bytes:
    """Return the JPEG with nothing between the segments of its header.

    A JFIF segment gets version 1.02, and a sequential scan the only parameters that it can have.
    Raises ValueError if the file ends within the header, or if what is between them may be one.
    """
    kept, at, sequential = [encoded[:2]], 2, False
    while True:
        end, at = at, encoded.find(b"\xff", at)
        while encoded[at : at + 1] == b"\xff":
            at += 1
        if at < 1 or at + 3 > len(encoded):
            raise ValueError("the file ends within the header")
        marker, size = encoded[at], int.from_bytes(encoded[at + 1 : at + 3], "big")
        between = encoded[end : at - 1].rstrip(b"\xff")
        if marker == 0 or (len(between) >= SMALLEST_TABLE and not is_fill(between)):
            raise ValueError(f"a segment of the header is damaged at byte {end}")
        segment = encoded[at + 1 : at + 1 + size]
        sequential |= marker in SEQUENTIAL
        if marker == 0xE0 and segment[2:7] == b"JFIF\0":
            segment = segment[:7] + b"\x01\x02" + segment[9:]
        if marker == SCAN and sequential:
            segment = segment[:-3] + b"\x00\x3f\x00"
        kept += [bytes([0xFF, marker]), segment]
        at += 1 + size
        if marker in (SCAN, END):
            return b"".join([*kept, encoded[at:]])


def without_fill(encoded: bytes, warning: str) -> bytes | None:
    """Return the JPEG without the extra bytes that a warning of libjpeg counts.

    encoded: its header is plain. Returns None if the warning is another one, or if no bytes of that
    number before such a marker fill the file up.
    """
    found = EXTRA_BYTES.search(warning)
    if not found:
        return None
    count, marker = int(found[1]), bytes([0xFF, int(found[2], 16)])
    at = encoded.find(marker)
    while at >= 0:
        if is_fill(encoded[at - count : at]):
            return encoded[: at - count] + encoded[at:]
        at = encoded.find(marker, at + 1)
    return None


def is_fill(extra: bytes) -> bool:
    """Return whether bytes fill a file up; those of compressed pixels look random."""
    values = set(extra)
    return len(values) <= 2 + len(extra) // 16 or (len(extra) >= 8 and values <= PRINTABLE)
