"""From the bytes of a text file to its lines: which encoding, how sure, and what depends on it.

UTF-8 and UTF-16 prove themselves. Anything else is a guess, and said with the first words that
depend on it. Single accented letters among plain ones are taken as Windows-1252, words wholly of
Cyrillic letters as Windows-1251, and charset-normalizer decides about the rest.
"""

import codecs
import gzip
import io
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import charset_normalizer

from whycluster.contract.wording import short
from whycluster.table.forms import TableError

_BINARY = {
    b"PAR1": "a Parquet file: rename it to .parquet",
    b"PK\x03\x04": "a zip archive or an Excel workbook: give the file in it, or name it .xlsx",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook: name it .xls",
    b"\x89HDF": "an HDF5 file: export the table as CSV or Parquet",
    b"%PDF": "a PDF: export the table as CSV",
}
_MARKS = {  # the longer first: that of UTF-32 begins with that of UTF-16
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
# The more people write in it the earlier it stands, which decides where nothing else does.
_OTHERS = ["gb18030", "cp932", "big5", "euc_kr", "euc_jp", "cp1251", "cp1250", "cp1253", "cp1252"]
_WORD = re.compile(r"[^\W\d_]+")
_WESTERN = re.compile(
    r"[a-zA-ZÀ-ÖØ-öø-ÿŒœŠšŽžŸ€£¥¢§©®°±²³µ·ªº«»¡¿¼½¾×÷´¨–—‘’‚“”„†•…‰™\xa0\x00-\x7f]*"
)
_STRAY_SIGNS = re.compile(  # between letters, or two in a row
    r"[^\W\d_][£¥¢§©®±²³·«»¡¿¼½¾×÷“„†•…‰™]+[^\W\d_]|[£¥¢§©®±²³µ·ªº«»¡¿¼½¾×÷]{2}"
)
_CYRILLIC_WORD = re.compile("[А-ЯЁІЇЄҐЎ]*[а-яёіїєґў]*")
_CYRILLIC_SIGNS = re.compile(r"[\x00-\x7f\xa0№«»—–…“”„°§±]*")
_BLOCK = 1 << 20  # bytes looked at in one go
_SAMPLE = 1 << 16  # bytes of lines that are not plain ASCII, on which a guess is based


@dataclass(frozen=True)
class Encoding:
    """How bytes become text.

    Parameters
    ----------
    name : str
        Python's name of the codec.
    sure : {"certain", "likely", "guess", "given"}
    note : str
        What the reader should know about it.
    errors : {"strict", "replace"}
    """

    name: str
    sure: str
    note: str = ""
    errors: str = "strict"


@contextmanager
def open_text(path: Path, encoding: Encoding) -> Iterator[io.TextIOWrapper]:
    """Open a text file, plain or gzipped; its lines end as they do in the file."""
    with _open(path) as binary:
        yield io.TextIOWrapper(binary, encoding.name, encoding.errors, newline="")


def find_encoding(path: Path, given: str | None = None) -> Encoding:
    """Return the encoding of a text file, plain or gzipped.

    Parameters
    ----------
    path : Path
    given : str, optional
        The encoding, if the user knows it.

    Raises
    ------
    TableError
        If the file is empty, binary, damaged, or not in the encoding that it says or was given.
    """
    head = next(_blocks(path), b"")
    for magic, kind in _BINARY.items():
        if head.startswith(magic):
            raise TableError(f"{path.name} is not a text table but {kind}")
    known = _given(given) or _marked(head) or _unmarked_utf16(head)
    try:
        return _check(path, known) if known else _first_that_fits(path)
    except UnicodeDecodeError as error:
        raise TableError(f"{path.name}: {_why_not(error, known)}") from None


def _given(name):
    if name is None:
        return None
    try:
        b"".decode(name)
        codecs.getincrementaldecoder(name)
    except LookupError:
        raise TableError(f"encoding={name!r} is not one that Python knows; try utf-8") from None
    return Encoding(name, "given")


def _marked(head):
    names = (name for mark, name in _MARKS.items() if head.startswith(mark))
    return next((Encoding(name, "certain") for name in names), None)


def _unmarked_utf16(head):
    """Return UTF-16 where every other byte is NUL, as in text that is mostly ASCII."""
    even, odd = (head[start::2].count(0) / max(len(head) // 2, 1) for start in (0, 1))
    if len(head) < 16 or max(even, odd) < 0.5 or min(even, odd) > 0.1:
        return None
    note = "taken as UTF-16, although the file lacks the mark that says so"
    return Encoding("utf-16-le" if odd > even else "utf-16-be", "likely", note)


def _why_not(error, encoding):
    if encoding.name.startswith("utf-16") and error.reason == "truncated data":
        return "UTF-16 text that was cut in the middle of a character; copy the file again"
    remedy = "give another encoding" if encoding.sure == "given" else "give its encoding"
    return f"not text in {encoding.name} throughout ({error.reason}); {remedy}"


# --- looking at the whole file, a block at a time --------------------------------------------


def _open(path):
    with path.open("rb") as file:
        is_zipped = file.read(2) == b"\x1f\x8b"
    return gzip.open(path, "rb") if is_zipped else path.open("rb")


def _blocks(path):
    try:
        with _open(path) as file:
            while block := file.read(_BLOCK):
                yield block
    except (OSError, EOFError, zlib.error) as error:
        raise TableError(f"{path.name}: cannot be read ({error})") from None


def _check(path, encoding):
    """Decode the file from end to end; return the encoding, with what was replaced in its note."""
    decoder = codecs.getincrementaldecoder(encoding.name)(encoding.errors)
    done = replaced = 0
    is_blank = True
    for block in chain(_blocks(path), [b""]):
        text = decoder.decode(block, final=not block)
        if "\0" in text:
            place = done + text.index("\0")
            raise TableError(f"{path.name} is not a text table: NUL byte at position {place}")
        is_blank = is_blank and not text.strip("\ufeff \t\r\n")
        replaced += text.count("\ufffd") if encoding.errors == "replace" else 0
        done += len(text)
    if is_blank:
        raise TableError(f"{path.name} is empty: a table needs a line of column names and rows")
    return replace(encoding, note=encoding.note.replace("{n}", str(replaced)))


# --- guessing --------------------------------------------------------------------------------


def _first_that_fits(path):
    for encoding in _guesses(path):
        try:
            return _check(path, encoding)
        except UnicodeDecodeError:
            continue
    raise AssertionError("Latin-1 fits every file")


def _guesses(path):
    yield Encoding("utf-8", "certain")
    lines = _odd_lines(path)
    if sum(map(_is_utf8, lines)) >= 0.8 * len(lines):
        note = "taken as UTF-8; places that are not, and are shown as \ufffd: {n}"
        yield Encoding("utf-8", "likely", note, "replace")
    sample = b"".join(lines)
    for name, sure in (*_likely(sample), ("cp1252", "guess"), ("latin-1", "guess")):
        yield Encoding(name, sure, _doubt(name, sure, sample))


def _odd_lines(path):
    """Return lines that are not plain ASCII, some 64 kB of them."""
    lines, size = [], 0
    for block in _blocks(path):
        for line in () if block.isascii() else block.splitlines(keepends=True):
            if not line.isascii():
                lines.append(line)
                size += len(line)
            if size > _SAMPLE:
                return lines
    return lines


def _is_utf8(line):
    return line == line.decode("utf-8", "ignore").encode()


def _likely(sample):
    if _is_western(sample):
        return [("cp1252", "likely")]
    if _is_cyrillic(sample):
        return [("cp1251", "likely")]
    found = charset_normalizer.from_bytes(sample, cp_isolation=_OTHERS)
    found = sorted(found, key=lambda match: (match.chaos, _OTHERS.index(match.encoding)))
    is_clear = len(found) == 1 or (len(found) > 1 and found[1].chaos - found[0].chaos > 0.05)
    return [(each.encoding, "likely" if is_clear else "guess") for each in found]


def _is_western(sample):
    """Say whether accented letters stand among plain ones, and signs not within words."""
    text = sample.decode("cp1252", "replace")
    if not _WESTERN.fullmatch(text) or _STRAY_SIGNS.search(text):
        return False
    words = _odd_words(text)
    mixed = [
        len(word) == 1 or 2 * len(re.sub("[^A-Za-z]", "", word)) >= len(word) for word in words
    ]
    return sum(mixed) >= 0.8 * len(words)


def _is_cyrillic(sample):
    """Say whether whole words are Cyrillic, with capitals only at their beginning."""
    text = sample.decode("cp1251", "replace")
    words = _odd_words(text)
    fits = _CYRILLIC_SIGNS.fullmatch(_WORD.sub("", text)) and any(len(word) > 1 for word in words)
    return bool(fits) and all(map(_CYRILLIC_WORD.fullmatch, words))


def _odd_words(text):
    return [word for word in _WORD.findall(text) if not word.isascii()]


def _doubt(name, sure, sample):
    text = sample.decode(name, "replace")
    words = dict.fromkeys(_odd_words(text) or re.findall(r"[^\x00-\x7f]", text))
    shown = short(", ".join(list(words)[:4]), 60)
    verb = "taken as" if sure == "likely" else "guessed to be"
    return f"not UTF-8; {verb} {name}, in which it reads {shown}; if that is wrong, give `encoding`"
