"""Dates as people write them: 2010-12-08, 12/8/2010 13:34, 8.12.10, 12 Mar 2021."""

import re
from collections.abc import Iterable

import pandas as pd

_TIME = (
    r"(?:(?:[T,]|\s)\s*(?P<time>\d{1,2}:\d{2}(?::\d{2}(?:[.,]\d+)?)?)\s*(?P<half>[AaPp]\.?[Mm]\.?)?"
    r"\s*(?:Z|UTC|GMT|[-+]\d{2}(?::?\d{2})?)?)?"
)
_YEAR = r"(?P<year>\d{4}|\d{2})"
ORDERS = {
    name: re.compile(pattern + _TIME)
    for name, pattern in {
        "year first": (
            r"(?P<year>\d{4})(?P<mark>[-/.])(?P<month>\d{1,2})(?:(?P=mark)(?P<day>\d{1,2}))?"
        ),
        "day first": rf"(?P<day>\d{{1,2}})(?P<mark>[-/.])(?P<month>\d{{1,2}})(?P=mark){_YEAR}",
        "month first": rf"(?P<month>\d{{1,2}})(?P<mark>[-/.])(?P<day>\d{{1,2}})(?P=mark){_YEAR}",
        "12 Mar 2021": rf"(?P<day>\d{{1,2}})[-. ]*(?P<month>[A-Za-z]{{3,9}})[-., ]*{_YEAR}",
        "Mar 12, 2021": (
            rf"(?P<month>[A-Za-z]{{3,9}})\.?[- ]*(?P<day>\d{{1,2}})(?:,\s*|[-. ]+){_YEAR}"
        ),
        "Mar 2021": r"(?P<month>[A-Za-z]{3,9})[-., ]+(?P<year>\d{4})",
    }.items()
}
_MONTHS = {
    month: number
    for number, names in enumerate(
        [
            *("january", "february", "march", "april", "may", "june", "july", "august"),
            *("september", "october", "november", "december"),
        ],
        start=1,
    )
    for month in (names, names[:3], names[:4] if names == "september" else names)
}


def read_dates(texts: Iterable[str], order: str) -> pd.Series:
    """Return the date of each text, NaT for what is none in this order.

    Parameters
    ----------
    texts : sequence of str, length n_texts
    order : str
        One of `ORDERS`.

    Returns
    -------
    Series of shape (n_texts,), datetime64
        The day and the hour as they are written: a time zone is passed over.

    Examples
    --------
    >>> read_dates(["12/8/2010 13:34"], "month first")[0]
    Timestamp('2010-12-08 13:34:00')
    """
    rows = [_rewrite(ORDERS[order].fullmatch(text)) for text in texts]
    return pd.to_datetime(pd.Series(rows, dtype=object), format="ISO8601", errors="coerce")


def _rewrite(found):
    """Return a date as ISO 8601 has it, None for none."""
    if not found:
        return None
    part = found.groupdict()
    month = part["month"]
    month = int(month) if month.isdigit() else _MONTHS.get(month.lower(), 0)
    year = int(part["year"])
    if len(part["year"]) == 2:
        year += 1900 if year > 68 else 2000  # as POSIX has it
    day = int(part.get("day") or 1)
    return f"{year:04}-{month:02}-{day:02}T{_hour(part['time'] or '0:00', part['half'] or '')}"


def _hour(time, half):
    hour, _, rest = time.replace(",", ".").partition(":")
    hour = int(hour) % 12 if half else int(hour)
    return f"{hour + 12 * half.lower().startswith('p'):02}:{rest}"
