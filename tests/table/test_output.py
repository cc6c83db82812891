"""What goes back to the user: names that collide with none of theirs, and no formula cells."""

import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from whycluster.table import read
from whycluster.table.output import assignments, guard, is_ours, unguard, write_csv

CASES = Path(__file__).parent / "cases"
FOUND = pd.DataFrame({"cluster": [1, 0, 0], "confidence": [0.9, 0.5, 1.0]})


def test_our_columns_stand_around_theirs():
    ours = assignments(pd.DataFrame({"key": list("abc")}), {"k-means": FOUND, "IDC": FOUND})
    assert list(ours) == [
        "row",
        "key",
        "k-means cluster",
        "k-means confidence",
        "IDC cluster",
        "IDC confidence",
    ]
    assert ours["row"].tolist() == [1, 2, 3]


def test_columns_of_theirs_keep_our_names_and_ours_get_others():
    theirs = read(CASES / "t13_row_column.csv").head(3)
    ours = assignments(theirs, {"k-means": FOUND})
    assert not ours.columns.has_duplicates
    assert ours["row"].tolist() == theirs["row"].tolist()
    assert ours["k-means cluster"].tolist() == theirs["k-means cluster"].tolist()
    assert ours["row (2)"].tolist() == [1, 2, 3]
    assert ours["k-means cluster (2)"].tolist() == [1, 0, 0]


def test_our_own_file_clustered_again_and_again_keeps_every_column(tmp_path):
    table = pd.DataFrame({"key": ["=a", "b", "c"]})
    for number in (1, 2, 3):
        table = assignments(table, {"k-means": FOUND})
        write_csv(table, tmp_path / "assignments.csv")
        table = read(tmp_path / "assignments.csv")
        assert table.shape == (3, 1 + 3 * number)
        assert table["key"].tolist() == ["=a", "b", "c"]
    assert {"row", "row (2)", "row (3)", "k-means confidence (3)"} <= set(table)


def test_columns_of_ours_are_recognised_and_others_are_not():
    assert is_ours(assignments(pd.DataFrame({"key": list("abc")}), {"k-means": FOUND}))
    assert not is_ours(read(CASES / "t13_row_column.csv"))
    assert not is_ours([])


@pytest.mark.parametrize(
    ("cell", "written"),
    [
        ("=SUM(A1)", "'=SUM(A1)"),
        ("+49 30 123", "'+49 30 123"),
        ("-", "'-"),
        ("-1+cmd", "'-1+cmd"),
        ("@here", "'@here"),
        ("\t=1", "'\t=1"),
        ("\r=1", "'\r=1"),
        ("＝1", "'＝1"),
        ("'=1", "''=1"),
        ("-1.5", "-1.5"),
        ("-1.508,65", "-1.508,65"),
        ("+2e-3", "+2e-3"),
        ("-3%", "-3%"),
        ("'quoted'", "'quoted'"),
        ("red", "red"),
        ("", ""),
    ],
)
def test_formula_is_guarded_and_comes_back(cell, written):
    assert guard(cell) == written
    assert unguard(written) == cell


def test_cells_names_and_levels_are_guarded_and_counted(tmp_path):
    table = pd.DataFrame(
        {
            "=name": ["=1", "x", None],
            "level": pd.Categorical(["@a", "@a", "b"]),
            "amount": [-1.5, np.nan, 2.0],
            "day": pd.to_datetime(["2024-01-01", None, "2024-01-03"]),
        }
    )
    assert write_csv(table, tmp_path / "t.csv") == 4
    raw = list(csv.reader((tmp_path / "t.csv").open(newline="")))
    assert raw == [
        ["'=name", "level", "amount", "day"],
        ["'=1", "'@a", "-1.5", "2024-01-01"],
        ["x", "'@a", "", ""],
        ["", "b", "2.0", "2024-01-03"],
    ]


def test_carriage_return_within_a_cell_splits_no_record(tmp_path):
    write_csv(pd.DataFrame({"key": ["a\rb", "c"], "x": [1, 2]}), tmp_path / "t.csv")
    assert read(tmp_path / "t.csv")["key"].tolist() == ["a\rb", "c"]


def test_apostrophes_in_a_file_that_is_not_ours_stay(tmp_path):
    (tmp_path / "t.csv").write_text("a,b\n'=x,1\n'-y,2\n")
    assert read(tmp_path / "t.csv")["a"].tolist() == ["'=x", "'-y"]


def test_file_that_cannot_be_written_leaves_the_old_one(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("old")

    class Broken:
        def __str__(self):
            raise OSError("no space left")

    with pytest.raises(OSError, match="no space left"):
        write_csv(pd.DataFrame({"a": [Broken()]}), path)
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["t.csv"]


def test_reading_needs_no_torch():
    code = (
        "import sys, whycluster.table.input, whycluster.table.output; print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
