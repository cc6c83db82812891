"""What makes the tables of a notebook legible on a page: alignment, dashes, room to scroll."""

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

from bs4 import BeautifulSoup, Tag

DASH = "–"
LONG = 40  # characters; longer cells may break their lines
MISSING = {"NaN", "nan", "NaT", "<NA>"}
NUMERIC = re.compile(r"[\s\d.,:%±()\[\]/×–−+eE-]+")


def tables(html: str) -> str:
    """Align the columns of every table, dash its missing values, and let it scroll when wide.

    Parameters
    ----------
    html : str
        A fragment of a page.

    Returns
    -------
    str
        The fragment. Cells in columns of words have the class ``words``, cells of more than 40
        characters ``long``; where labels stand for several rows, rows that begin a group have
        the class ``group``.

    Examples
    --------
    >>> print(tables("<table><tr><td>age</td><td>NaN</td></tr></table>"))
    <div class="wide"><table><tr><td class="words">age</td><td>–</td></tr></table></div>
    """
    if "<table" not in html:
        return html
    soup = BeautifulSoup(html, "html.parser")
    for table in soup.find_all("table"):
        _align(table)
        if not table.find_parent("table"):
            table.wrap(soup.new_tag("div", attrs={"class": "wide"}))
    return str(soup)


def _align(table: Tag) -> None:
    """Mark the cells of columns that hold more words than numbers, and rows that begin a group."""
    places = list(_places(table))
    words: Counter[int] = Counter()
    numbers: Counter[int] = Counter()
    for cell, column in places:
        text = cell.get_text().strip()
        if text in MISSING:
            cell.string = DASH
        elif cell.name == "th" and cell.find_parent("tbody"):
            words[column] += 1  # a label, also where it is a number
        elif cell.name == "td" and text.strip(".…"):
            (numbers if _is_number(text) else words)[column] += 1
    for cell, column in places:
        if words[column] > numbers[column] and cell.get("colspan", "1") == "1":
            _add_class(cell, "words")
        if len(cell.get_text()) > LONG:
            _add_class(cell, "long")
    if table.select("tbody th[rowspan]"):
        firsts = (cell.parent for cell, column in places if not column)
        for row in {id(row): row for row in firsts if row}.values():
            _add_class(row, "group")


def _places(table: Tag) -> Iterator[tuple[Tag, int]]:
    """Yield the cells of a table with their columns, counting cells that span several."""
    taken: Counter[int] = Counter()  # rows that a cell from above still covers, by column
    for row in table.find_all("tr"):
        column = 0
        for cell in row.find_all(["td", "th"], recursive=False):
            while taken[column]:
                column += 1
            yield cell, column
            for _ in range(_span(cell, "colspan")):
                taken[column] = _span(cell, "rowspan")
                column += 1
        taken = Counter({place: rows - 1 for place, rows in taken.items() if rows > 1})


def _add_class(element: Tag, name: str) -> None:
    attributes: dict[str, Any] = element.attrs
    attributes["class"] = [*attributes.get("class", []), name]


def _span(cell: Tag, name: str) -> int:
    """Read a span; browsers take what is no number for 1, and stop at 1,000."""
    value = str(cell.get(name, "1"))
    return min(max(int(value), 1), 1000) if re.fullmatch(r"[0-9]{1,4}", value) else 1


def _is_number(text: str) -> bool:
    return bool(NUMERIC.fullmatch(text)) and any(character.isdigit() for character in text)
