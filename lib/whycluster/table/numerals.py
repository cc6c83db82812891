"""Numbers as people write them: 1.508,65 and $7,990.50, 5.3 %, (120.50), 1 234, <0.5.

Whether `5.784` is nearly six or nearly six thousand, the cell does not say. `Convention` asks the
cells of a whole table that can be read in one way only, and reads the others likewise.
"""

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import pandas as pd

from whycluster.contract.wording import short

PLAIN_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
NAMES = {".": "decimal point", ",": "decimal comma"}

_BLANK = " \u00a0\u2009\u202f"  # also those that do not break, as spreadsheets write them
_CURRENCY = (
    "(?:US|A|C|R|HK|S|NZ)?\\$|[€£¥₹₽₩₺₪₫฿₴₦¢]|Rs\\.?|Fr\\.|zł|Kč|Ft|kr\\.?|"
    "USD|EUR|GBP|CHF|JPY|CNY|RMB|INR|AUD|CAD|NZD|SEK|NOK|DKK|PLN|CZK|HUF|BRL|MXN|ZAR|RUB|TRY|KRW|"
    "SGD|HKD|ILS|THB"
)
_ATTACHED = f"%|‰|°[CFK]?|{_CURRENCY}|[kmcµn]?[gmlL]|m[²³]|[kcm]m²|km/h|mph|kWh?|MWh?|[kMG]B|Hz|lb"
_CELL = re.compile(
    rf"""(?P<limit>[<>≤≥]=?)? [{_BLANK}]* (?P<open>\()? [{_BLANK}]*
    (?P<sign>[-+−–])? [{_BLANK}]* (?P<before>{_CURRENCY})? [{_BLANK}]* (?P<inner>[-+−–])?
    (?P<body>\d(?:[\d.,'’{_BLANK}]*\d)?[.,]?|[.,]\d+) (?P<power>[eE][-+]?\d+)?
    (?P<plus>\+)? (?P<trailing>[-−])? (?P<close>\))?
    (?P<after>[{_BLANK}]*(?:{_ATTACHED})|[{_BLANK}]+[^\W\d_]{{1,8}}[²³]?(?:/[^\W\d_]{{1,8}})?)?
    (?P<end>\))?""",
    re.VERBOSE,
)
_GROUP = {
    ".": rf"(?P<mark>[,'’{_BLANK}])(?:\d{{2,3}}(?P=mark))*",  # 12,34,567 is twelve lakh
    ",": rf"(?P<mark>[.'’{_BLANK}])(?:\d{{3}}(?P=mark))*",
}
_BODY = {
    sign: re.compile(rf"(?:\d+|[1-9]\d{{0,2}}{group}\d{{3}})(?:{re.escape(sign)}\d*)?|[{sign}]\d+")
    for sign, group in _GROUP.items()
}
_AMBIGUOUS_POINT = r"[-+]?[1-9]\d{0,2}\.\d{3}"
_CLEAR_POINT = r"[-+]?(\d*\.\d*)([eE][-+]?\d+)?"
_WHOLE = r"[-+]?\d+"


class Written(NamedTuple):
    """A number taken apart: what limits it ("<", ">" or ""), its sign, digits, power and unit."""

    limit: str
    sign: float
    body: str
    power: str
    unit: str

    def under(self, decimal: str) -> float:
        """Return the number, NaN if it cannot be one with this decimal sign."""
        if not _BODY[decimal].fullmatch(self.body):
            return np.nan
        digits = re.sub(r"[^\d,.]", "", self.body)
        digits = digits.replace("," if decimal == "." else ".", "").replace(decimal, ".")
        return self.sign * float(digits + self.power)


def take_apart(text: str) -> Written | None:
    """Return the parts of a number, None for what is none.

    Examples
    --------
    >>> take_apart("($1,250.50)").under(".")
    -1250.5
    >>> take_apart("1.300,12 €").unit
    '€'
    """
    found = _CELL.fullmatch(text)
    if not found:
        return None
    part = found.groupdict(default="")
    brackets, closed = bool(part["open"]), bool(part["close"]) + bool(part["end"])
    signs = part["sign"] + part["inner"] + part["trailing"]
    both_sides = part["before"] and part["after"].strip()
    if closed != brackets or len(signs) + brackets > 1 or both_sides:
        return None
    limit = part["limit"][:1].replace("≤", "<").replace("≥", ">") or (">" if part["plus"] else "")
    is_negative = brackets or signs in ("-", "−", "–")
    unit = part["before"] or part["after"].strip(_BLANK)
    return Written(limit, -1.0 if is_negative else 1.0, part["body"], part["power"], unit)


# --- a column --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Numerals:
    """The different texts of a column, taken apart.

    Parameters
    ----------
    texts : Series of str, shape (n_texts,)
    is_plain : ndarray of bool, shape (n_texts,)
        Digits with at most a sign, a point and a power.
    parts : dict of str to Written
        Of those others that may be numbers.
    """

    texts: pd.Series
    is_plain: np.ndarray
    parts: dict[str, Written]
    _values: dict[str, dict[str, float]] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, texts) -> "Numerals":
        """Take apart the different texts of a column."""
        texts = pd.Series(pd.unique(pd.Series(texts).dropna()), dtype="str")
        is_plain = texts.str.fullmatch(PLAIN_NUMBER.pattern).to_numpy(dtype=bool)
        others = ((text, take_apart(text)) for text in texts[~is_plain])
        return cls(texts, is_plain, {text: written for text, written in others if written})

    def numbers(self, decimal: str, unit: str | None = None) -> np.ndarray:
        """Return the number that each text is, (n_texts,), NaN for what is none.

        With a unit, numbers of another one are none either.
        """
        numbers = np.full(len(self.texts), np.nan)
        plain = self.texts[self.is_plain]
        if decimal == ",":
            plain = plain.where(~plain.str.contains(".", regex=False) | _fits(plain), "nan")
            plain = plain.str.replace(".", "", regex=False)
        numbers[self.is_plain] = plain.to_numpy(dtype=object).astype(float)
        values = self._read(decimal)
        if unit is not None:
            values = {t: v for t, v in values.items() if self.parts[t].unit in ("", unit)}
        others = ~self.is_plain
        numbers[others] = [values.get(text, np.nan) for text in self.texts[others]]
        return numbers

    def _read(self, decimal):
        """Return the numbers among `parts` by their text."""
        if decimal not in self._values:
            values = ((text, part.under(decimal)) for text, part in self.parts.items())
            self._values[decimal] = {t: v for t, v in values if not np.isnan(v)}
        return self._values[decimal]

    def units(self, decimal: str) -> Counter:
        """Count the units of the numbers; "" is none."""
        counts = Counter(self.parts[text].unit for text in self._read(decimal))
        counts[""] += int(self.is_plain.sum())
        return +counts

    def limited(self, decimal: str) -> list[str]:
        """Return the texts that give only a limit."""
        return [text for text in self._read(decimal) if self.parts[text].limit]

    @property
    def share(self) -> float:
        """Which share of the texts may be numbers."""
        return (self.is_plain.sum() + len(self.parts)) / max(1, len(self.texts))

    def has_leading_zeros(self) -> bool:
        """Whether these are whole numbers, some of which begin with a zero, as codes do."""
        digits = self.texts[self.is_plain]
        return digits.str.fullmatch(r"0\d+").any() and digits.str.fullmatch(r"\d+").all()

    def bodies(self) -> pd.Series:
        """Return the digits and marks of all that may be numbers."""
        plain = self.texts[self.is_plain].str.replace("^[-+]", "", regex=True)
        return pd.concat([plain, pd.Series([p.body for p in self.parts.values()], dtype="str")])


def _fits(plain):
    return plain.str.fullmatch(_AMBIGUOUS_POINT) | plain.str.fullmatch(_WHOLE)


# --- a table ---------------------------------------------------------------------------------


@dataclass
class Evidence:
    """What the cells of one column say about points and commas.

    Parameters
    ----------
    proven : Counter
        Of (sign, role), role "decimal" or "group": cells that can be read in one way only.
    example : dict of str to str
        A cell that proves each decimal sign.
    ambiguous : str
        A cell that both conventions can read, to different numbers; empty if there is none.
    marks : set of str
        The signs in such cells.
    is_short, is_long : bool
        Whether whole numbers without a mark have at most three digits, or more.
    """

    proven: Counter = field(default_factory=Counter)
    example: dict[str, str] = field(default_factory=dict)
    ambiguous: str = ""
    marks: set[str] = field(default_factory=set)
    is_short: bool = False
    is_long: bool = False

    def votes(self, decimal: str) -> int:
        """Count the cells that only this decimal sign can read."""
        other = "." if decimal == "," else ","
        return self.proven[decimal, "decimal"] + self.proven[other, "group"]


def examine(numerals: Numerals) -> Evidence:
    """Look for cells that can be read in one way only."""
    evidence = Evidence()
    bodies = numerals.bodies()
    whole = bodies[bodies.str.fullmatch(_WHOLE)].str.len()
    evidence.is_short, evidence.is_long = bool((whole <= 3).any()), bool((whole > 3).any())
    marked = bodies[bodies.str.contains("[.,]", regex=True)]
    is_point = marked.str.fullmatch(_CLEAR_POINT) & ~marked.str.fullmatch(_AMBIGUOUS_POINT)
    if is_point.any():
        evidence.proven[".", "decimal"] += int(is_point.sum())
        evidence.example["."] = marked[is_point].iloc[0]
    for body in marked[~is_point]:
        _weigh(body, evidence)
    return evidence


def _weigh(body, evidence):
    readable = [sign for sign, pattern in _BODY.items() if pattern.fullmatch(body)]
    if len(readable) == 2:
        evidence.ambiguous = evidence.ambiguous or body
        evidence.marks |= set(body) & {".", ","}
    elif readable:
        decimal = readable[0]
        evidence.example.setdefault(decimal, body)
        for mark in set(body) & {".", ","}:
            evidence.proven[mark, "decimal" if mark == decimal else "group"] += 1


class Reading(NamedTuple):
    """How the numbers of a column are read: decimal sign, words for the report, doubt."""

    decimal: str
    remark: str = ""
    doubt: str = ""
    is_odd: bool = False  # unlike the rest of the table


class Convention:
    """The decimal sign of a table, decided over all its columns.

    Parameters
    ----------
    columns : dict of str to Numerals
    decimal : {".", ","}, optional
        Set by the user: nothing is decided.

    Examples
    --------
    >>> table = {"sales": ["5.784", "826"], "margin": ["1.508,65", "0,7"]}
    >>> columns = {name: Numerals.of(texts) for name, texts in table.items()}
    >>> Convention(columns).of("sales").decimal
    ','
    """

    def __init__(self, columns: dict[str, Numerals], decimal: str | None = None):
        self._set = decimal
        self._evidence = {name: examine(numerals) for name, numerals in columns.items()}
        self._proven = sum((each.proven for each in self._evidence.values()), Counter())
        votes = {d: sum(each.votes(d) for each in self._evidence.values()) for d in NAMES}
        self._votes = votes
        self._main = "," if votes[","] > votes["."] else "."

    def of(self, name: str) -> Reading:
        """Return how the numbers of a column are read, and why."""
        if self._set:
            return Reading(self._set)
        evidence = self._evidence.get(name, Evidence())
        if any(evidence.votes(decimal) for decimal in NAMES):
            return self._own(evidence)
        if evidence.ambiguous:
            return self._shared(evidence)
        return Reading(self._main)

    def _own(self, evidence):
        decimal = "," if evidence.votes(",") > evidence.votes(".") else "."
        other = "," if decimal == "." else "."
        if decimal == self._main or not self._votes[other]:
            return Reading(decimal, self._remark(decimal, evidence.example[decimal]))
        doubt = (
            f"written with a {NAMES[decimal]} ({evidence.example[decimal]}) in a table of "
            f"{NAMES[other]}s ({self._example(other)})"
        )
        return Reading(decimal, doubt=doubt, is_odd=True)

    def _shared(self, evidence):
        """Read a column that does not say by itself like the rest of the table."""
        decimal, is_sure, why = self._choose(evidence)
        if is_sure:
            return Reading(decimal, f"{evidence.ambiguous} read with a {NAMES[decimal]}, {why}")
        number = Written("", 1.0, evidence.ambiguous, "", "").under(decimal)
        doubt = (
            f"{evidence.ambiguous} is read as {number:,.15g}, {why}; decimal="
            f"'{'.' if decimal == ',' else ','}' reads it otherwise"
        )
        return Reading(decimal, doubt=doubt)

    def _choose(self, evidence):
        """Return the decimal sign of an ambiguous column, whether it is sure, and why."""
        seen = [decimal for decimal in NAMES if self._votes[decimal]]
        if len(seen) == 1:
            return seen[0], True, f"as in {self._example(seen[0])}"
        mark = min(evidence.marks)
        other = "," if mark == "." else "."
        if evidence.is_short != evidence.is_long:
            shape = (
                "beside whole numbers of up to three digits"
                if evidence.is_short
                else ("beside longer whole numbers without a mark")
            )
            return (other if evidence.is_short else mark), False, shape
        if seen:
            decimal = self._by_mark(mark, other)
            return decimal, False, f"as in {self._example(decimal)}, though the table has both ways"
        return ".", False, "since nothing in the table decides it"

    def _by_mark(self, mark, other):
        as_decimal, as_group = self._proven[mark, "decimal"], self._proven[mark, "group"]
        if as_decimal == as_group:
            return self._main
        return mark if as_decimal > as_group else other

    def _example(self, decimal):
        for name, evidence in self._evidence.items():
            if decimal in evidence.example:
                return f"{evidence.example[decimal]!r} of column {short(name, 30)!r}"
        return NAMES[decimal]

    def _remark(self, decimal, example):
        return f"decimal comma, as in {example!r}" if decimal == "," else ""
