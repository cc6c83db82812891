"""From the lines of a text file to its records: which separator, and where each record begins.

A record is (line on which it starts, its fields): all text, as it is written, and not all blank.
"""

import csv
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain, islice

import numpy as np

from whycluster.table.forms import TableError

Record = tuple[int, list[str]]

SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar", " ": "blanks"}
_MARKS = ",;\t|"
_NUMBER = re.compile(
    r"[(<>≤≥~]?\s*[-+]?\s*[$€£¥]?\s*[-+]?(\d[\d.,'\s]*|[.,]\d+)([eE][-+]?\d+)?"
    r"\s*([$€£¥%‰]|EUR|USD|GBP|CHF)?\)?"
)
_THOUSANDS_APART = re.compile(r"[-+]?\d{1,3}( \d{3})+([.,]\d+)?")
_SEPARATOR_LINE = re.compile(r"sep=([,;|\t])\s*", re.I)
_QUOTE_AFTER_BLANK = re.compile('[,;|] +"')
_QUOTED_IN_VAIN = re.compile(' +".*"', re.S)
_END = "\0"  # stands in no text: `decoding` refuses it


@dataclass(frozen=True)
class Dialect:
    """What separates fields, whether blanks after it are skipped, and lines above all records."""

    separator: str
    skips_blanks: bool = False
    skipped_lines: int = 0

    @property
    def notes(self) -> list[str]:
        """Sentences for the report."""
        name = SEPARATORS[self.separator]
        return [f"line 1 says that the separator is a {name}"] if self.skipped_lines else []

    def records(self, lines: Iterable[str], name: str) -> Iterator[Record]:
        """Yield the records of a file, without blank lines.

        Raises
        ------
        TableError
            If a quotation mark is left open to the end.
        """
        lines = chain(islice(lines, self.skipped_lines, None), [_END])
        if self.separator == " ":
            lines = (line.replace("\t", " ").strip() for line in lines)
        skips = self.skips_blanks or self.separator == " "
        reader = csv.reader(lines, delimiter=self.separator, skipinitialspace=skips)
        limit = csv.field_size_limit(sys.maxsize)
        try:
            start = self.skipped_lines + 1
            for fields in reader:
                if fields and fields[-1][-1:] == _END:
                    break
                if len(fields) > 1 or any(map(str.strip, fields)):
                    yield start, fields
                start = self.skipped_lines + reader.line_num + 1
        finally:
            csv.field_size_limit(limit)
        if fields != [_END]:
            raise TableError(f"{name}, line {start}: is a quotation mark left open there?")


def find_dialect(lines: list[str]) -> Dialect:
    """Return the dialect under which most of the first lines of a file are equally wide."""
    given = _SEPARATOR_LINE.fullmatch(lines[0])
    marks = given[1] if given else _MARKS
    skips = (False, True) if any(map(_QUOTE_AFTER_BLANK.search, lines)) else (False,)
    dialects = [Dialect(mark, skip, bool(given)) for skip in skips for mark in marks]
    evenness, best = max(((_evenness(d, lines), d) for d in dialects), key=lambda pair: pair[0])
    if given:
        return best
    if min(evenness) < 0.5 and _are_numbers_in_columns(lines):
        return Dialect(" ")
    return best


def _evenness(dialect, lines):
    """Return what speaks for a dialect, the most important first; all 0 for a single column."""
    records = [fields for _, fields in whole_records(dialect, lines)]
    width = common_width(records)
    if width == 1:
        return (0, 0, 0)
    cells = [cell for fields in records for cell in fields]
    share = np.mean([len(fields) == width for fields in records])
    return (share, np.mean([_is_one_value(cell) for cell in cells]), width)


def _is_one_value(cell):
    """Say whether a cell is whole: 1,5 and 1 234 are, 5;2 and 1.5 2.5 are not."""
    if _THOUSANDS_APART.fullmatch(cell):
        return True
    parts = cell.split()
    if len(parts) > 1:
        return not all(map(is_number, parts))
    return is_number(cell) or not (_QUOTED_IN_VAIN.fullmatch(cell) or set(_MARKS) & set(cell))


def _are_numbers_in_columns(lines):
    records = [fields for _, fields in whole_records(Dialect(" "), lines)]
    cells = [cell for fields in records[1:] for cell in fields]
    is_even = len(records) > 1 and len(set(map(len, records))) == 1 and len(records[0]) > 1
    return is_even and np.mean([is_number(cell) for cell in cells]) >= 0.5


def whole_records(dialect: Dialect, lines: list[str]) -> list[Record]:
    """Return the records of the first lines, up to one that these lines cut off."""
    found: list[Record] = []
    with suppress(TableError):
        found.extend(dialect.records(lines, ""))
    return found


def common_width(records: list[list[str]]) -> int:
    """Return the number of fields that most records have, the larger of two."""
    counts = Counter(map(len, records))
    return max(counts, key=lambda width: (counts[width], width), default=1)


def is_number(cell: str) -> bool:
    """Say whether a cell is a number under some convention, perhaps of money, or a limit."""
    return bool(_NUMBER.fullmatch(cell.strip()))


def ragged(name: str, line: int, n_fields: int, width: int) -> TableError:
    """Return the error of a record that is not as wide as the others."""
    return TableError(
        f"{name}, line {line}: {n_fields} fields where most lines have {width}; correct the line, "
        "or put quotation marks around text that holds the separator"
    )
