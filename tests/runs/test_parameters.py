"""Parameter files and parameters cells: every key is known, well typed, different and used."""

import ast

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
