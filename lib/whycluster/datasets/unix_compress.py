"""Reader of the .Z files of Unix `compress`, which Python's standard library lacks."""

from __future__ import annotations

MAGIC = b"\x1f\x9d"
CLEAR = 256  # code that empties the dictionary, in block mode
NARROWEST = 9  # bits of the first codes


def decompress(data: bytes) -> bytes:
    """Undo `compress`: LZW (Welch 1984), codes growing from 9 to at most 16 bits, lowest bit first.

    Raises
    ------
    ValueError
        If `data` is not a .Z file, or refers to codes that were never defined.
    """
    widest, block_mode = _header(data)
    dictionary = _single_bytes(block_mode)
    output: list[bytes] = []
    previous, width = b"", NARROWEST
    start = position = 24  # bits; codes of one width are padded to groups of eight from start on
    while True:
        if width < widest and len(dictionary) >= 1 << width:
            start = position = _end_of_group(start, position, width)
            width += 1
        if position + width > 8 * len(data):
            return b"".join(output)
        code = _bits(data, position, width)
        position += width
        if code == CLEAR and block_mode:
            start = position = _end_of_group(start, position, width)
            dictionary, previous, width = _single_bytes(block_mode), b"", NARROWEST
            continue
        entry = _entry(dictionary, code, previous)
        if previous and len(dictionary) < 1 << widest:
            dictionary.append(previous + entry[:1])
        output.append(entry)
        previous = entry


def _header(data: bytes) -> tuple[int, bool]:
    """Bits of the widest codes, and whether the dictionary may be cleared."""
    if data[:2] != MAGIC or len(data) < 3:
        raise ValueError(f"not a .Z file: it starts with {data[:2]!r} instead of {MAGIC!r}")
    widest = data[2] & 0x1F
    if not 10 <= widest <= 16:  # implementations disagree on what 9 means
        raise ValueError(f"not a readable .Z file: codes of {widest} bits instead of 10 to 16")
    return widest, bool(data[2] & 0x80)


def _single_bytes(block_mode: bool) -> list[bytes]:
    return [bytes([value]) for value in range(256)] + [b""] * block_mode


def _end_of_group(start: int, position: int, width: int) -> int:
    return start + -(-(position - start) // (8 * width)) * 8 * width


def _bits(data: bytes, position: int, width: int) -> int:
    word = int.from_bytes(data[position // 8 : position // 8 + 3], "little")
    return word >> position % 8 & (1 << width) - 1


def _entry(dictionary: list[bytes], code: int, previous: bytes) -> bytes:
    if code < len(dictionary):
        return dictionary[code]
    if code == len(dictionary) and previous:  # the entry that this very code defines
        return previous + previous[:1]
    raise ValueError(f"damaged .Z file: code {code} is not among {len(dictionary)}")
