"""Files as people have them, by the thousand: every cell comes back, or a line says why not.

Tables are drawn (hypothesis), then written under a convention of numbers, a separator, an encoding,
words for missing values, quotation marks, line ends and surroundings.
"""

import csv
import io
from dataclasses import dataclass, field

import pandas as pd
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from whycluster.table import TableError, read
from whycluster.table.output import assignments, write_csv

WORDS = {
    "utf-8": ["naïve", "größe", "město", "数量", "red", "blue, light", "a; b", "x | y"],
    "utf-8-sig": ["größe", "red", "two words"],
    "utf-16": ["größe", "数量", "red"],
    "cp1252": ["Müller", "größer", "café", "Straße", "niño", "red", "two words"],
    "gb18030": ["上海", "北京", "现金", "信用卡", "客户", "订单"],
    "cp932": ["東京", "大阪", "山田", "カード", "現金", "サクラ"],
    "cp1251": ["Москва", "Казань", "наличные", "карта", "имя", "город"],
}
MISSING = ["", "?", "NA", "#N/A", "-", "n/a", " ?", "NULL"]
NUMBERS = {
    "points": "{:.2f}".format,
    "thousands": "{:,.2f}".format,
    "commas": lambda x: f"{x:.2f}".replace(".", ","),
    "euro": lambda x: f"{x:,.2f}".translate(str.maketrans(",.", ".,")),
    "money": "${:,.2f}".format,
    "per cent": "{:.1f}%".format,
}
ONCE = settings(
    max_examples=400, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)


@dataclass
class Written:
    """A file, and the cells in it."""

    content: bytes
    names: list[str]
    rows: list[list[str]]
    settings: dict = field(default_factory=dict)


@st.composite
def tables(draw):
    """Draw an encoding, and rows of text: numbers in the first column, anything in the others."""
    encoding = draw(st.sampled_from(list(WORDS)))
    word = st.sampled_from(WORDS[encoding])
    n_rows = draw(st.integers(4, 12))
    show = NUMBERS[draw(st.sampled_from(list(NUMBERS)))]
    amount = st.floats(-1e6, 1e6).map(lambda x: show(x + 0.001))
    missing = draw(st.sampled_from(MISSING))
    kinds = [amount, word, st.integers(0, 9).map(str), st.integers(1000, 9999).map("K{}".format)]
    columns = [draw(st.lists(amount, min_size=n_rows, max_size=n_rows))]
    for kind in draw(st.lists(st.sampled_from(kinds), min_size=2, max_size=4)):
        gaps = st.one_of(kind, kind, kind, kind, st.just(missing))
        columns.append(draw(st.lists(gaps, min_size=n_rows, max_size=n_rows)))
    return encoding, [list(row) for row in zip(*columns, strict=True)]


@st.composite
def files(draw, has_names=True):
    """Draw a file of a table, with a header that says what it is."""
    encoding, rows = draw(tables())
    names = [f"field {letter}" for letter in "abcdefgh"[: len(rows[0])]]
    separator = draw(st.sampled_from(",;\t|"))
    quoting = draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]))
    end = draw(st.sampled_from(["\n", "\r\n", "\r"]))
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=separator, quoting=quoting, lineterminator=end)
    writer.writerows([names, *rows] if has_names else rows)
    lead = f"sep={separator}{end}" if draw(st.booleans()) else ""
    return Written((lead + text.getvalue()).encode(encoding), names, rows)


def read_bytes(folder, written):
    path = folder / "table.csv"
    path.write_bytes(written.content)
    return read(path, **written.settings)


def assert_cells(table, rows):
    """Assert that cells are the same, but for empty columns and bytes that were said to be so."""
    reading = table.attrs["reading"]
    width = table.shape[1]
    assert len(table) == len(rows)
    assert not any(any(row[width:]) for row in rows)
    assert width == len(rows[0]) or any("neither name nor value" in n for n in reading["notes"])
    cells = table.astype(object).where(table.notna(), "").to_numpy().tolist()
    if reading["encoding is"] == "guess":
        assert any("guessed to be" in note for note in reading["notes"])
    else:
        assert cells == [row[:width] for row in rows]


@ONCE
@given(written=files())
def test_every_cell_below_a_header_comes_back(tmp_path_factory, written):
    table = read_bytes(tmp_path_factory.getbasetemp(), written)
    assert list(table) == written.names
    assert_cells(table, written.rows)


@ONCE
@given(written=files(has_names=False))
def test_every_cell_without_a_header_comes_back_and_names_are_said_to_be_made(
    tmp_path_factory, written
):
    table = read_bytes(tmp_path_factory.getbasetemp(), written)
    assert_cells(table, written.rows)
    assert table.attrs["reading"]["header"] == "made"
    assert any("names were made" in note for note in table.attrs["reading"]["notes"])


@ONCE
@given(content=st.binary(max_size=200))
def test_any_bytes_are_a_table_or_one_line(tmp_path_factory, content):
    assert_table_or_line(tmp_path_factory.getbasetemp(), content)


@ONCE
@given(content=st.text(st.sampled_from('ab1.,;|\t "\n\r-=é'), max_size=120))
def test_any_text_is_a_table_or_one_line(tmp_path_factory, content):
    assert_table_or_line(tmp_path_factory.getbasetemp(), content.encode())


def assert_table_or_line(folder, content):
    try:
        table = read_bytes(folder, Written(content, [], []))
    except TableError as error:
        outcome = str(error)
    else:
        outcome = f"{len(table)} rows"
        assert len(table) >= 2
        assert len(set(table.columns)) == table.shape[1] >= 2
    assert "\n" not in outcome


@ONCE
@given(
    values=st.lists(
        st.text(st.sampled_from("'=+-@\t\r\n1.,x\" é＝"), min_size=1, max_size=8),
        min_size=2,
        max_size=6,
    )
)
def test_what_we_write_comes_back_and_holds_no_formula(tmp_path_factory, values):
    path = tmp_path_factory.getbasetemp() / "assignments.csv"
    found = pd.DataFrame({"cluster": [0] * len(values), "confidence": [0.5] * len(values)})
    ours = assignments(pd.DataFrame({"key": values}), {"k-means": found})
    write_csv(ours, path)
    with path.open(newline="", encoding="utf-8") as lines:
        raw = [row[1] for row in csv.reader(lines)][1:]
    assert len(raw) == len(values)
    for cell in raw:
        assert cell[0] not in "=@\t\r\n＝"
        assert cell[0] not in "+-" or cell[1:].strip("1.,") == ""
    assert read(path)["key"].tolist() == values
