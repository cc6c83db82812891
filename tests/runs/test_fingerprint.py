"""The fingerprint of a run: changed by code that the notebook uses, and by nothing else."""

import json
import sys

import nbformat
import pytest
import scratch

from whycluster.runs import fingerprint, results

INIT = '_PUBLIC = {"Mean": "whycluster.means"}\n_MODULES = {"rows": "whycluster.table.rows"}\n'
MEAN = """'Means.'
from whycluster.shared import loop


class Mean:
    k = 1
"""
FILES = {
    "__init__.py": INIT,
    "means/__init__.py": "from whycluster.means.estimator import Mean\n",
    "means/estimator.py": MEAN,
    "shared/__init__.py": "",
    "shared/loop.py": "def run():\n    from whycluster.plots import draw\n    return 1\n",
    "shared/other.py": "x = 1\n",
    "table/__init__.py": "",
    "table/rows.py": "x = 1\n",
    "trees/__init__.py": "x = 1\n",
    "plots/__init__.py": "def draw(): pass\n",
    "runs/__init__.py": "x = 1\n",
}


@pytest.fixture
def library(tmp_path):
    for name, text in FILES.items():
        path = tmp_path / "library" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "library"


@pytest.fixture
def taken(tmp_path, library):
    """Return what takes the fingerprint of a notebook with the given cells."""

    def take(*cells, parameters="n = 1"):
        path = tmp_path / "notebooks" / "10-a.ipynb"
        path.parent.mkdir(exist_ok=True)
        nbformat.write(scratch.notebook(*cells, parameters=parameters), path)
        return fingerprint.of(path, library)

    return take


USES = "from whycluster import Mean, plots, runs\nMean()"


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("means/estimator.py", MEAN.replace("Means.", "The mean of rows.")),
        ("means/estimator.py", MEAN + "\n# A comment.\n"),
        ("means/estimator.py", MEAN.replace("\n\n\n", "\n")),
        ("trees/__init__.py", "x = 2\n"),
        ("shared/other.py", "x = 2\n"),
        ("table/rows.py", "x = 2\n"),
        ("plots/__init__.py", "def draw(): return 2\n"),
        ("runs/__init__.py", "x = 2\n"),
    ],
)
def test_words_and_code_that_is_not_used_leave_it(library, taken, file, text):
    before = taken(USES)
    (library / file).write_text(text)
    assert taken(USES) == before


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("means/estimator.py", MEAN.replace("k = 1", "k = 2")),
        ("means/__init__.py", FILES["means/__init__.py"] + "x = 1\n"),
        ("shared/loop.py", FILES["shared/loop.py"].replace("return 1", "return 2")),
        ("shared/__init__.py", "x = 1\n"),
    ],
)
def test_code_that_is_used_changes_it_however_far_down(library, taken, file, text):
    before = taken(USES)
    (library / file).write_text(text)
    assert taken(USES) != before


def test_the_manual_of_a_setting_leaves_it_and_its_default_changes_it():
    before = fingerprint.shape('k: int = setting(1, "How many.")')
    assert fingerprint.shape('k: int = setting(1, "How many there are.")') == before
    assert fingerprint.shape('k: int = setting(2, "How many.")') != before


@pytest.mark.parametrize(
    ("cell", "file"),
    [
        ("from whycluster import Mean", "means/estimator.py"),
        ("import whycluster\nwhycluster.Mean()", "means/estimator.py"),
        ("import whycluster.means.estimator as m", "means/estimator.py"),
        ("def later():\n    from whycluster.means import Mean", "means/estimator.py"),
        ("from whycluster import rows", "table/rows.py"),
        ("from whycluster.shared.other import x", "shared/other.py"),
        ("%matplotlib inline\nfrom whycluster.trees import x", "trees/__init__.py"),
    ],
)
def test_every_way_to_import_is_followed(library, taken, cell, file):
    before = taken(cell)
    (library / file).write_text("y = 3\n")
    assert taken(cell) != before


def test_of_a_notebook_the_code_counts_and_not_its_parameters_and_prose(taken):
    before = taken("x = 1")
    assert taken("x = 1  # one", "# nothing") != taken("x = 2")
    assert taken("x = 1  # one") == before
    assert taken("x = 1", parameters="n = 100  # many") == before
    assert taken("x = 2") != before
    assert taken("x = ") not in (before, taken("x = 2")), "what is no Python counts as text"


def test_it_is_twelve_digits_and_the_same_under_every_python(taken):
    assert taken("def f[T](x: T): pass" if sys.version_info >= (3, 12) else "x") != taken("y")
    assert fingerprint.shape("def f(): pass") == (
        "('Module', ('body', (('FunctionDef', ('name', 'f'), ('args', ('arguments',)), "
        "('body', (('Pass',),))),)))"
    )
    assert len(taken("x = 1")) == 12


def test_a_run_is_of_an_earlier_version_unless_its_fingerprint_is_todays(tmp_path, library, taken):
    today = taken(USES)
    runs = {"10-a/new": today, "10-a/old": "0123456789ab", "10-a/none": None, "99-gone/x": today}
    records = [
        dict(zip(("notebook", "run"), name.split("/"), strict=True), sources=sources)
        for name, sources in runs.items()
    ]
    found = fingerprint.earlier(records, tmp_path, library)
    assert found == {"10-a/old", "10-a/none", "99-gone/x"}
    del records[0]["sources"]
    assert "10-a/new" in fingerprint.earlier(records, tmp_path, library)


def test_the_readme_marks_runs_of_an_earlier_version_with_one_footnote(tmp_path):
    notebook = tmp_path / "notebooks" / "10-a.ipynb"
    notebook.parent.mkdir()
    nbformat.write(scratch.notebook("x = 1"), notebook)
    row = {"table": "T", "method": "m", "metric": "ACC", "unit": "", "values": [0.5], "note": ""}
    row |= {"published": 0.5, "published_sd": None}
    records = [
        {"notebook": "10-a", "run": run, "sources": sources, "results": [row | {"dataset": run}]}
        for run, sources in {"new": fingerprint.of(notebook), "old": "0123456789ab"}.items()
    ]
    lines = results.markdown(records, tmp_path).splitlines()
    assert [line.split(" | ")[0] for line in lines if " | m |" in line] == ["| new", "| old †"]
    assert lines.count("† made by an earlier version") == 1
    assert "†" not in results.markdown(records[:1], tmp_path)


def test_a_finished_run_records_its_fingerprint(tmp_path, monkeypatch):
    from whycluster.runs import execution

    scratch.library(tmp_path)
    notebook = scratch.add(tmp_path, "10-a")
    monkeypatch.setenv("WHYCLUSTER_OUTPUTS", str(tmp_path / "outputs"))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "lib"))
    report = execution.execute(notebook, "quick")
    record = json.loads((report.parent / "record.json").read_text())
    assert record["sources"] == fingerprint.of(notebook) == fingerprint.of(report)
