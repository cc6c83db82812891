"""Parameter files and parameters cells: every key is known, well typed, different and used."""

import ast
import itertools
import re

import nbformat
import pytest
from scratch import REPOSITORY, notebook

from whycluster.runs import notebooks, parameters
from whycluster.runs.results import NOT_FULL

NOTEBOOKS = sorted((REPOSITORY / "notebooks").glob("*.ipynb"))
FILES = sorted((REPOSITORY / "parameters").glob("*/*.yaml"))


def run_name(path):
    """Name a parameter file as make does."""
    return f"{path.parent.name}/{path.stem}"


def unused(path):
    """List the parameters of a notebook that no later cell reads."""
    cells = notebooks.code_cells(notebooks.read(path))
    later = [cell for cell in cells if "parameters" not in cell.metadata.get("tags", [])]
    nodes = [node for cell in later for node in ast.walk(ast.parse(cell.source))]
    read = {n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
    return sorted(parameters.declared(path).keys() - read)


@pytest.mark.parametrize("path", FILES, ids=run_name)
def test_each_key_is_known_to_its_notebook_and_well_typed(path):
    source = REPOSITORY / "notebooks" / f"{path.parent.name}.ipynb"
    parameters.merge(source, parameters.read(path), run_name(path))


@pytest.mark.parametrize("path", FILES, ids=run_name)
def test_a_parameter_file_says_only_what_differs(path):
    defaults = parameters.declared(REPOSITORY / "notebooks" / f"{path.parent.name}.ipynb")
    given = parameters.read(path)
    assert given, "a run that changes nothing is the quick run"
    assert [key for key, value in given.items() if defaults.get(key, ...) == value] == []


@pytest.mark.parametrize("path", FILES, ids=run_name)
def test_no_full_run_takes_the_name_of_another_kind_of_run(path):
    assert path.stem not in NOT_FULL


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_each_parameter_is_used_after_its_cell(path):
    assert unused(path) == []


def test_an_unused_parameter_is_noticed(tmp_path):
    nbformat.write(notebook("print(n, seeds)\nname = rate"), tmp_path / "a.ipynb")
    assert unused(tmp_path / "a.ipynb") == ["name"]


BOMB = "a: &a [x]\n" + "".join(
    f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]\n" for a, b in itertools.pairwise("abcdefghij")
)
STRANGE = {
    "a date that is none": (b"n: 2026-13-45\n", "month must be in 1..12"),
    "a tag that does not fit": (b"n: !!int x\n", "invalid literal for int"),
    "another encoding": ("n: größe\n".encode("latin-1"), "not UTF-8"),
    "two bytes a letter": ("n: 3\n".encode("utf-16"), "not UTF-8"),
    "aliases in aliases": (BOMB.encode(), "refers to *a"),
    "an alias to itself": (b"n: &n [*n]\n", "refers to *n"),
    "deep nesting": (b"n: " + b"[" * 30_000, "is nested"),
    "nested mappings": (b"n: {a: {b: {c: {d: 1}}}}\n", "is nested"),
    "a large file": (b"n: 3\n" + b"#" * 10_000_000, "larger than 65536 bytes"),
    "many keys": (b"n: 1\n" * 10_000, "given twice"),
    "a list as a key": (b"[1]: 2\n", "unhashable"),
    "two documents": (b"n: 1\n---\nn: 2\n", "single document"),
    "a control character": (b"n: \x01\n", "special characters"),
    "a number too long": (b"n: " + b"9" * 10_000, "integer string conversion"),
    "a number too long in hexadecimal": (b"n: 0x" + b"f" * 5000, "more than 64 bits"),
    "an object": (b"n: !!python/object/new:os.system [ls]\n", "constructor"),
    "a binary": (b"n: !!binary abc\n", "base64"),
    "a merge of nothing": (b"<<: 3\nn: 1\n", "mapping"),
    "a scalar": (b"3\n", "one per parameter"),
}


@pytest.mark.parametrize(("content", "message"), STRANGE.values(), ids=STRANGE)
def test_a_strange_parameter_file_is_one_short_line(tmp_path, content, message):
    path = tmp_path / "big.yaml"
    path.write_bytes(content)
    with pytest.raises(parameters.ParameterError, match=re.escape(message)) as caught:
        parameters.read(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


def test_a_strange_value_is_named_in_short(tmp_path):
    nbformat.write(notebook(), tmp_path / "a.ipynb")
    for text in (
        "n: 2026-01-02",
        f"n: {'x' * 60_000}",
        "n: [" + "1, " * 9000 + "1]",
        "n: !!set {a}",
    ):
        (tmp_path / "a.yaml").write_text(text)
        given = parameters.read(tmp_path / "a.yaml")
        with pytest.raises(parameters.ParameterError, match="parameter 'n' is") as caught:
            parameters.merge(tmp_path / "a.ipynb", given)
        assert len(str(caught.value)) < 300


def test_a_file_with_a_byte_order_mark_is_read(tmp_path):
    (tmp_path / "a.yaml").write_bytes(b"\xef\xbb\xbfn: 3\n")
    assert parameters.read(tmp_path / "a.yaml") == {"n": 3}
