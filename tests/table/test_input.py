"""A user's file: what is read as it stands, what is no row and said to be none, what is refused."""

import gzip
import io
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from whycluster.table import TableEncoder, TableError, read

CASES = Path(__file__).parent / "cases"


def write(folder, content, name="table.csv"):
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def read_text(folder, content, **settings):
    return read(write(folder, content), **settings)


def reading(table):
    return table.attrs["reading"]


def notes(table):
    return "\n".join(reading(table)["notes"])


def assert_one_line(error, *words):
    message = str(error.value)
    assert "\n" not in message
    assert len(message) < 300
    for word in words:
        assert word in message


# The table as it stands


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_each_separator_is_found(tmp_path, delimiter):
    lines = [["name", "size"], ["a, b; c", "1.5"], ["d", "2"]]
    text = "\n".join(delimiter.join(f'"{cell}"' for cell in line) for line in lines)
    table = read(write(tmp_path, text))
    assert table.to_dict("list") == {"name": ["a, b; c", "d"], "size": ["1.5", "2"]}


def test_decimal_commas_without_a_header_do_not_separate(tmp_path):
    table = read_text(tmp_path, "1,5;2,5\n3,5;4,5\n0,5;7,5\n")
    assert table.to_numpy().tolist() == [["1,5", "2,5"], ["3,5", "4,5"], ["0,5", "7,5"]]


def test_blanks_separate_numbers_and_quoted_text_and_are_not_counted(tmp_path):
    table = read_text(tmp_path, '  x    y  "z z"\n 1.5   2  "a b"\n10.5  30\tc\n')
    assert table.to_dict("list") == {"x": ["1.5", "10.5"], "y": ["2", "30"], "z z": ["a b", "c"]}
    assert reading(table)["separator"] == "blanks"


def test_sentences_are_one_column(tmp_path):
    with pytest.raises(TableError, match="one column"):
        read_text(tmp_path, "note\nall good here\nvery bad here\n")


def test_text_stays_as_it_is_written_and_an_empty_field_is_missing(tmp_path):
    table = read_text(tmp_path, 'a,b\n007, ?\nNA,""\n,x\n')
    assert table.astype(object).where(table.notna(), None).to_numpy().tolist() == [
        ["007", " ?"],
        ["NA", None],
        [None, "x"],
    ]


def test_integers_of_19_digits_stay_exact_beside_gaps():
    table = read(CASES / "t08_big_ids.csv")
    assert table["reply_to"].dropna().iloc[0] == "1477429000000000018"
    assert table["reply_to"].isna().tolist() == [True, False, True, False, False]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_every_line_end_with_blank_lines_gives_the_same_table(tmp_path, end):
    table = read_text(tmp_path, end.join(["a,b", "1,x", "", "2,y", "", "", "3,z", ""]))
    assert table.to_dict("list") == {"a": ["1", "2", "3"], "b": ["x", "y", "z"]}


def test_mixed_line_ends_split_lines(tmp_path):
    assert read_text(tmp_path, "a,b\r\n1,2\r3,4\n5,6")["a"].tolist() == ["1", "3", "5"]


def test_quoted_line_breaks_do_not_break_records(tmp_path):
    table = read(write(tmp_path, 'a,b\n"one\ntwo",1\nthree,2\n'))
    assert table["a"].tolist() == ["one\ntwo", "three"]


def test_quotes_after_a_blank_are_quotes(tmp_path):
    table = read_text(tmp_path, 'a, b, c\n1, "x, y", 2\n3, "z", 4\n')
    assert table["b"].tolist() == ["x, y", "z"]


def test_quotes_within_text_are_text(tmp_path):
    assert read_text(tmp_path, 'a,b\n5" pipe,1\n"say ""so""",2\n')["a"].tolist() == [
        '5" pipe',
        'say "so"',
    ]


def test_numbers_stay_as_they_are_written(tmp_path):
    table = read(write(tmp_path, "a;b\n1,50;x\n002;?\n"))
    assert table.to_dict("list") == {"a": ["1,50", "002"], "b": ["x", "?"]}


def test_cell_of_100_000_characters_is_read_and_left_out(tmp_path):
    rng = np.random.default_rng(0)
    cells = ["x" * 100_000, *(f"note {i}" for i in range(29))]
    frame = pd.DataFrame({"age": rng.normal(size=30), "kg": rng.normal(size=30), "note": cells})
    frame.to_csv(tmp_path / "table.csv", index=False)
    table = read(tmp_path / "table.csv")
    encoder = TableEncoder().fit(table)
    assert len(table["note"][0]) == 100_000
    assert "note" not in encoder.used_
    assert len(encoder.report_._repr_html_()) < 10_000
    assert len(table._repr_html_()) < 20_000


def test_cell_longer_than_the_csv_limit_is_read(tmp_path):
    path = write(tmp_path, f"a,b\n{'x' * 200_000},1\ny,2\n")
    assert read(path)["a"].str.len().tolist() == [200_000, 1]


def test_2_000_columns_are_read(tmp_path):
    names = ",".join(f"c{i}" for i in range(2000))
    row = ",".join(["1.5"] * 2000)
    assert read_text(tmp_path, f"{names}\n{row}\n{row}\n").shape == (2, 2000)


def test_gzip_and_parquet_hold_the_same_table(tmp_path):
    table = pd.DataFrame({"a": ["1", "2"], "b": ["x", None]}, dtype="str")
    zipped = write(tmp_path, gzip.compress(table.to_csv(index=False).encode()), "t.csv.gz")
    table.to_parquet(tmp_path / "t.parquet")
    assert read(zipped).equals(read(tmp_path / "t.parquet"))


# Encodings

WORDS = {
    "utf-8": ("naïve,größe\ncafé,1\n€,2\n", "certain"),
    "utf-8-sig": ("naïve,größe\ncafé,1\n€,2\n", "certain"),
    "utf-16": ("naïve,größe\ncafé,1\n€,2\n", "certain"),
    "cp1252": ("naïve,größe\ncafé,1\n€,2\n", "likely"),
    "gb18030": ("城市,销售额\n上海,492.0\n北京,106.5\n", "likely"),
    "cp932": ("都市,売上\n東京,492.0\nサクラ,106.5\n", "likely"),
    "cp1251": ("город,продажи\nМосква,492\nКазань,106\n", "likely"),
}


@pytest.mark.parametrize("codec", WORDS)
def test_encoding_is_found_and_reported(tmp_path, codec):
    text, sure = WORDS[codec]
    table = read_text(tmp_path, text.encode(codec))
    assert ",".join(table.columns) == text.splitlines()[0]
    assert table.iloc[:, 0].tolist() == [line.split(",")[0] for line in text.splitlines()[1:]]
    assert (reading(table)["encoding"], reading(table)["encoding is"]) == (codec, sure)


@pytest.mark.parametrize("codec", ["cp1252", "gb18030", "cp932", "cp1251"])
def test_what_is_not_unicode_is_shown_with_the_option_that_overrules(tmp_path, codec):
    text, _ = WORDS[codec]
    said = notes(read_text(tmp_path, text.encode(codec)))
    assert "`encoding`" in said
    assert text.split(",")[0] in said


def test_gbk_case_is_read():
    table = read(CASES / "t19_gbk.csv")
    assert list(table) == ["城市", "付款方式", "消费金额"]
    assert table["城市"].iloc[0] == "上海"


def test_encoding_that_was_given_counts(tmp_path):
    path = write(tmp_path, "město,cena\nPlzeň,1\nČáslav,2\n".encode("cp1250"))
    table = read(path, encoding="cp1250")
    assert table["město"].tolist() == ["Plzeň", "Čáslav"]
    assert reading(table)["encoding is"] == "given"
    with pytest.raises(TableError) as error:
        read(path, encoding="utf-8")
    assert_one_line(error, "not text in utf-8 throughout", "give another encoding")
    with pytest.raises(TableError) as error:
        read(path, encoding="utf-9")
    assert_one_line(error, "encoding='utf-9'")


def test_single_broken_bytes_in_utf_8_are_counted(tmp_path):
    content = b"ort,x\n" + "Köln,1\n".encode() * 20 + b"K\xf6ln,2\n"
    table = read_text(tmp_path, content)
    assert table["ort"].iloc[0] == "Köln"
    assert table["ort"].iloc[-1] == "K\ufffdln"
    assert "shown as \ufffd: 1" in notes(table)


def test_bytes_of_no_western_encoding_are_called_a_guess(tmp_path):
    table = read_text(tmp_path, b"a,b\n\x81\xe9,1\nx,2\n")
    assert reading(table)["encoding is"] == "guess"


# Around the table


def test_separator_line_is_no_row():
    table = read(CASES / "t05_sep_line.csv")
    assert list(table) == ["Buchung", "Betrag", "Tage"]
    assert len(table) == 4
    assert reading(table)["header"] == "line 2"
    assert "line 1 says that the separator is a semicolon" in notes(table)


def test_titles_above_and_total_below_are_no_rows():
    table = read(CASES / "t05_title_and_total.csv")
    assert list(table) == ["Buchung", "Betrag", "Tage"]
    assert table["Betrag"].tolist() == ["100,35", "368,48", "434,67"]
    assert reading(table)["header"] == "line 4"
    above = ["Umsatzbericht", "Zeitraum: 01.01.2024 - 31.03.2024"]
    assert reading(table)["lines above"] == above
    assert reading(table)["lines below"] == ["Summe 903,50 21,2"]
    assert all(text in notes(table) for text in (*above, "Summe 903,50 21,2"))


def test_titles_padded_to_the_width_of_the_table_are_no_header(tmp_path):
    table = read_text(tmp_path, "Report;;\n;;\nQ1;2024;\nid;kg;cm\na;1,5;2\nb;2,5;3\nc;3,5;4\n")
    assert list(table) == ["id", "kg", "cm"]
    assert reading(table)["lines above"] == ["Report", "Q1 2024"]


def test_total_that_adds_up_is_no_row():
    table = read(CASES / "t05_total_only.csv")
    assert table["Buchung"].tolist() == ["B000", "B001", "B002"]


def test_last_row_called_total_that_does_not_add_up_stays(tmp_path):
    table = read_text(tmp_path, "team,goals\nAjax,3\nPSV,5\nTotal,4\n")
    assert table["team"].tolist() == ["Ajax", "PSV", "Total"]
    assert "the last row is called 'Total'" in notes(table)


def test_total_without_a_name_and_mean_are_left_out(tmp_path):
    table = read_text(tmp_path, "k,x,y\na,1,10\nb,2,20\nc,6,30\n,9,60\n")
    assert table["k"].tolist() == ["a", "b", "c"]
    table = read_text(tmp_path, "k,x,y\na,1,10\nb,2,20\nc,6,30\nMean,3,20\n")
    assert table["k"].tolist() == ["a", "b", "c"]


def test_remarks_and_empty_lines_below_are_no_rows_and_said(tmp_path):
    table = read_text(tmp_path, "a,b,c\n1,2,3\n4,5,6\n,,\n\nSource: the office\nprinted,today\n")
    assert table.to_numpy().tolist() == [["1", "2", "3"], ["4", "5", "6"]]
    assert reading(table)["lines below"] == ["Source: the office", "printed today"]
    assert "empty lines at the end are no rows: 1" in notes(table)


def test_separators_alone_are_a_blank_line_where_they_are_too_many_or_few(tmp_path):
    assert len(read_text(tmp_path, ",,,\na,b,c\n1,2,3\n,,,,\n4,5,6\n,\n")) == 2


def test_empty_record_among_rows_is_a_row(tmp_path):
    assert len(read_text(tmp_path, "a,b\n1,2\n,\n3,4\n")) == 3


def test_separator_at_the_end_of_lines_makes_no_column(tmp_path):
    for header in ("a,b,", "a,b"):
        table = read_text(tmp_path, f"{header}\n1,2,\n3,4,\n5,7,\n")
        assert list(table) == ["a", "b"]
        assert "neither name nor value" in notes(table)


def test_names_of_rows_as_r_writes_them():
    table = read(CASES / "t05_r_rownames.tsv")
    assert list(table) == ["row names", "betrag", "tage"]
    assert table.iloc[0].tolist() == ["1", "100.35", "2.8"]
    assert reading(table)["row names"] == "row names"
    assert "row names" in notes(table)


def test_row_of_units_is_kept_beside_the_names():
    table = read(CASES / "t06_units_row.csv")
    assert reading(table)["units"] == {"mass": "kg", "height": "cm", "temp": "°C", "grade": "pt"}
    assert table["mass"].tolist()[:2] == ["100.3", "368.5"]
    assert "line 2 holds units (kg, cm, °C, pt)" in notes(table)


@pytest.mark.parametrize(
    "first", ["unknown,unknown", "#DIV/0!,-", "high,high", "1.5,kg", "-2.0,-1.0"]
)
def test_first_row_that_is_no_row_of_units_stays(tmp_path, first):
    table = read_text(tmp_path, f"a,b\n{first}\n1,2\n3,4\n5,6\n7,9\n")
    assert table.iloc[0].tolist() == first.split(",")


# Names


def test_column_without_a_name_gets_its_place(tmp_path):
    table = read(write(tmp_path, ",b\n0,1\n1,2\n"))
    assert list(table) == ["column 1", "b"]
    assert "columns without a name are numbered: 1" in notes(table)


def test_name_given_twice_gets_its_place_and_is_said(tmp_path):
    table = read_text(tmp_path, "a,b,a\n1,2,3\n4,5,6\n")
    assert list(table) == ["a", "b", "a (column 3)"]
    assert "the name 'a' is given twice" in notes(table)


def test_line_break_in_a_name_becomes_a_blank(tmp_path):
    assert list(read_text(tmp_path, '"a\nb", c \n1,2\n3,4\n')) == ["a b", "c"]


def test_first_line_that_looks_like_the_others_is_a_row():
    table = read(CASES / "t20_no_header.data")
    assert list(table) == ["column 1", "column 2", "column 3"]
    assert table.iloc[0].tolist() == ["0.0", "0", "a"]
    assert len(table) == 8
    assert reading(table)["header"] == "made"
    assert '`header="yes"` overrules' in notes(table)


ADULT = "39, State-gov, 77516, Male\n50, Private, 83311, Male\n38, Private, 215646, Female\n"


def test_adult_without_names_loses_no_row(tmp_path):
    table = read_text(tmp_path, ADULT + ADULT.replace("39", "41"))
    assert len(table) == 6
    assert reading(table)["header"] == "made"


def test_header_can_be_overruled(tmp_path):
    path = write(tmp_path, "1,x\n2,x\n3,x\n")
    assert len(read(path)) == 3
    assert list(read(path, header="yes")) == ["1", "x"]
    named = write(tmp_path, "a,b\n1,2\n3,4\n", "named.csv")
    assert read(named, header="no").iloc[0].tolist() == ["a", "b"]
    with pytest.raises(TableError, match="none of 'auto', 'yes' and 'no'"):
        read(named, header="maybe")


@pytest.mark.parametrize(
    "header",
    ["region,2019,2020,2021", "sample,400.5,401.0,401.5", "age,kg,cm,mm", ",a,b,c", "150,4,se,vi"],
)
def test_header_above_numbers_is_a_header(tmp_path, header):
    table = read_text(tmp_path, f"{header}\nN,1.4,2.2,7.1\nS,3.3,1.2,6.4\nN,2.5,0.3,9.9\n")
    assert len(table) == 3
    assert reading(table)["header"] == "line 1"


def test_years_as_names_are_text():
    assert list(read(CASES / "n04_years.csv")) == ["region", "2019", "2020", "no", "spend"]


@pytest.mark.parametrize(
    "rows",
    [
        "2020-01-01,a\n2020-01-02,b\n2020-01-05,c",
        "K01,x\nK02,y\nK03,x\nK04,y",
        "p,x\np,y\nx,x\nx,y\np,x",
    ],
)
def test_dates_codes_and_levels_in_the_first_line_are_a_row(tmp_path, rows):
    assert len(read_text(tmp_path, rows)) == len(rows.splitlines())


def test_header_of_texts_above_texts_is_a_header(tmp_path):
    table = read_text(tmp_path, "colour,size\nred,S\nblue,L\nred,L\nblue,S\n")
    assert list(table) == ["colour", "size"]


# Workbooks

_TYPES = "http://schemas.openxmlformats.org/package/2006/content-types"
_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_SHEET = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_PACKAGE = "http://schemas.openxmlformats.org/package/2006/relationships"


def cell(place, value):
    if isinstance(value, str):
        return f'<c r="{place}" t="inlineStr"><is><t>{value}</t></is></c>'
    return f'<c r="{place}"><v>{value}</v></c>'


def workbook(sheets):
    """Return an .xlsx with rows of cells by sheet, None for an empty one."""
    names = [f'<sheet name="{n}" sheetId="{i}" r:id="r{i}"/>' for i, n in enumerate(sheets, 1)]
    links = [
        f'<Relationship Id="r{i}" Type="{_OFFICE}/worksheet" Target="s{i}.xml"/>'
        for i in range(1, len(sheets) + 1)
    ]
    parts = {
        "[Content_Types].xml": f'<Types xmlns="{_TYPES}"/>',
        "_rels/.rels": f'<Relationships xmlns="{_PACKAGE}"><Relationship Id="r1" '
        f'Type="{_OFFICE}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
        "xl/workbook.xml": f'<workbook xmlns="{_SHEET}" xmlns:r="{_OFFICE}"><sheets>'
        f"{''.join(names)}</sheets></workbook>",
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{_PACKAGE}">{"".join(links)}'
        "</Relationships>",
    }
    for i, rows in enumerate(sheets.values(), 1):
        lines = [
            f'<row r="{y}">'
            + "".join(cell(f"{'ABCDEF'[x]}{y}", v) for x, v in enumerate(row) if v is not None)
            + "</row>"
            for y, row in enumerate(rows, 1)
        ]
        data = "".join(lines)
        parts[f"xl/s{i}.xml"] = (
            f'<worksheet xmlns="{_SHEET}"><sheetData>{data}</sheetData></worksheet>'
        )
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return buffer.getvalue()


SHEETS = {
    "Notes": [],
    "Data": [["Report"], [], ["id", "kg", "n"], ["a", 1.5, 3], ["b", None, 4], ["c", 2.5, 5]],
    "More": [["x", "y"], [1, 2], [3, 4], [5, 7]],
}


def test_first_sheet_that_holds_anything_is_read_and_the_others_named(tmp_path):
    table = read(write(tmp_path, workbook(SHEETS), "t.xlsx"))
    assert table.astype(object).where(table.notna(), None).to_dict("list") == {
        "id": ["a", "b", "c"],
        "kg": ["1.5", None, "2.5"],
        "n": ["3", "4", "5"],
    }
    assert reading(table)["sheet"] == "Data"
    assert reading(table)["header"] == "line 3"
    assert reading(table)["lines above"] == ["Report"]
    assert "not read: Notes, More" in notes(table)


def test_sheet_is_chosen_by_name(tmp_path):
    path = write(tmp_path, workbook(SHEETS), "t.xlsx")
    assert read(path, sheet="More")["y"].tolist() == ["2", "4", "7"]
    for sheet, words in {"Moer": "there are Notes, Data, More", "Notes": "is empty"}.items():
        with pytest.raises(TableError) as error:
            read(path, sheet=sheet)
        assert_one_line(error, "t.xlsx", words)


def test_text_called_xlsx_is_one_line(tmp_path):
    with pytest.raises(TableError) as error:
        read(write(tmp_path, "a,b\n1,2\n", "t.xlsx"))
    assert_one_line(error, "t.xlsx: not a readable workbook")


# Parquet


def stored(folder, table, **settings):
    table.to_parquet(folder / "t.parquet", **settings)
    return read(folder / "t.parquet")


def test_index_of_parquet_becomes_columns(tmp_path):
    named = pd.DataFrame({"a": [1, 2]}, index=pd.Index(["p", "q"], name="key"))
    assert list(stored(tmp_path, named)) == ["key", "a"]
    levels = pd.MultiIndex.from_tuples([("p", 1), ("q", 2)], names=["key", None])
    table = stored(tmp_path, pd.DataFrame({"a": [1, 2]}, index=levels))
    assert table.to_dict("list") == {"key": ["p", "q"], "index 2": [1, 2], "a": [1, 2]}
    assert "columns made of the index: key, index 2" in notes(table)


def test_integers_as_names_of_parquet_columns_become_text(tmp_path):
    table = stored(tmp_path, pd.DataFrame({2019: [1, 2], 2020: [3, 4]}))
    assert list(table) == ["2019", "2020"]


def test_types_of_parquet_stay(tmp_path):
    table = pd.DataFrame(
        {
            "count": pd.array([1, None], dtype="Int64"),
            "flag": pd.array([True, None], dtype="boolean"),
            "arrow": pd.array([1, None], dtype=pd.ArrowDtype(pa.int64())),
            "level": pd.Categorical(["a", "b"]),
            "stay": pd.to_timedelta([1, 2], "D"),
        }
    )
    back = stored(tmp_path, table)
    for name in ("count", "flag", "level"):
        assert back[name].dtype == table[name].dtype
    assert back["stay"].dt.days.tolist() == [1, 2]


def test_large_integers_of_parquet_with_gaps_stay_exact(tmp_path):
    large = pa.table({"id": pa.array([2**60 + 1, None]), "x": [1.0, 2.0]})
    pq.write_table(large, tmp_path / "t.parquet")
    assert read(tmp_path / "t.parquet")["id"][0] == 2**60 + 1


def test_lists_of_parquet_are_left_to_what_types_the_columns(tmp_path):
    table = stored(tmp_path, pd.DataFrame({"a": [1, 2], "tags": [["x"], []]}))
    assert [list(tags) for tags in table["tags"]] == [["x"], []]


def test_columns_of_one_name_in_parquet_are_told_apart(tmp_path):
    twice = pa.Table.from_arrays([pa.array([1, 2]), pa.array([3, 4])], ["a", "a"])
    pq.write_table(twice, tmp_path / "t.parquet")
    assert read(tmp_path / "t.parquet").to_dict("list") == {"a": [1, 2], "a (column 2)": [3, 4]}


def test_text_called_parquet(tmp_path):
    with pytest.raises(TableError) as error:
        read(write(tmp_path, "a,b\n1,2\n", "table.parquet"))
    assert_one_line(error, "table.parquet: not a readable Parquet file")


# Refused


def parquet():
    buffer = io.BytesIO()
    pd.DataFrame({"a": [1, 2], "b": [3, 4]}).to_parquet(buffer)
    return buffer.getvalue()


FILES = {
    "empty": (b"", ["table.csv is empty"]),
    "blank": (b"\n  \n", ["table.csv is empty"]),
    "mark only": ("\ufeff".encode(), ["table.csv is empty"]),
    "header only": (b"a,b\n", ["no rows"]),
    "one row": (b"a,b\n1,2\n", ["one row"]),
    "one column": (b"a\n1\n2\n", ["one column ('a')"]),
    "NUL bytes": (b"a,b\n1,2\n\0\0,3\n", ["not a text table", "NUL byte at position 8"]),
    "UTF-16 cut": ("a,b\n1,2\n".encode("utf-16")[:-1], ["cut in the middle of a character"]),
    "Parquet": (parquet(), ["table.csv", "Parquet", "rename it to .parquet"]),
    "zip, xlsx": (workbook(SHEETS), ["Excel workbook", "name it .xlsx"]),
    "old Excel": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", ["old Excel workbook"]),
    "broken gzip": (b"\x1f\x8b\x08\x00half", ["cannot be read"]),
    "short row": (b"a,b,c\n1,2,3\n4,5\n", ["line 3", "2 fields", "most lines have 3"]),
    "short row within": (b"a,b,c\n1,2,3\nfour\n5,6,7\n", ["line 3", "1 fields"]),
    "long row": (b"a,b\n1,2\n\n3,4,5\n", ["line 4", "3 fields", "most lines have 2"]),
    "short header": (b"a,b\n1,2,3,4\n5,6,7,8\n", ["line 1", "2 fields", "most lines have 4"]),
    "long header": (b"a,b,c\n1,2\n3,4\n5,6\n", ["line 1", "3 fields", "most lines have 2"]),
    "row after a line break": (b'a,b\n"x\ny",2\n3\n', ["line 4", "1 fields"]),
    "open quote": (b'a,b\n1,"2\n3,4\n', ["line 2", "quotation mark left open"]),
    "open quote in the header": (b'"a,b\n1,2\n3,4\n', ["line 1", "quotation mark left open"]),
}


@pytest.mark.parametrize("case", FILES)
def test_bad_file(tmp_path, case):
    content, words = FILES[case]
    with pytest.raises(TableError) as error:
        read(write(tmp_path, content))
    assert_one_line(error, "table.csv", *words)


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(TableError) as error:
        read(tmp_path / "tabel.csv")
    assert_one_line(error, "tabel.csv: no such file")
    with pytest.raises(TableError) as error:
        read(tmp_path)
    assert_one_line(error, "is a folder")
