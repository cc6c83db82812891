"""Committed reports can be run again: what they import from the library is still there."""

import ast
import sys
from importlib import import_module

import pytest
from scratch import REPOSITORY

from whycluster.runs import notebooks

REPORTS = sorted(
    path
    for path in REPOSITORY.glob("outputs/*/*/report.ipynb")
    if path.parent.name not in ("quick", "interactive") and path.parts[-3] != "00-your-table"
)
# Reports that import what has moved, until they are run again. This list only shrinks.
MOVED = "made before modules moved into rooms"
AWAITING = {
    "51-imn-clusters/telco-search": MOVED,
}


def name_of(path):
    return f"{path.parts[-3]}/{path.parts[-2]}"


def imports(source):
    """Yield (module, name) for each import of the library; name is None for a whole module."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, None) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.module, alias.name) for alias in node.names)


def exists(module, name):
    """Say whether an import would succeed."""
    try:
        found = import_module(module)
        return name is None or hasattr(found, name) or bool(import_module(f"{module}.{name}"))
    except ModuleNotFoundError:
        return False


def missing(report):
    """List the imports of a report that lead nowhere."""
    sources = [cell.source for cell in notebooks.code_cells(notebooks.read(report))]
    every = {found for source in sources for found in imports(source)}
    ours = sorted((m, n or "") for m, n in every if m.split(".")[0] == "whycluster")
    return [
        f"from {m} import {n}" if n else f"import {m}" for m, n in ours if not exists(m, n or None)
    ]


@pytest.mark.parametrize("report", REPORTS, ids=name_of)
def test_a_report_imports_what_exists(report):
    offending = missing(report)
    name = name_of(report)
    if name in AWAITING:
        assert offending, f"{name} imports what exists: take it off AWAITING"
    else:
        assert not offending, f"{name}: {'; '.join(offending)}: execute it again"


def test_only_reports_that_are_there_are_awaited():
    assert set(AWAITING) <= set(map(name_of, REPORTS))


def test_a_module_that_moved_is_found_and_says_where_it_is():
    sys.modules.pop("whycluster.attribution", None)
    with pytest.warns(DeprecationWarning, match="attribution is now whycluster.contract.attribu"):
        from whycluster.attribution import attribute
    assert attribute is import_module("whycluster.contract.attribution").attribute


def test_an_import_that_leads_nowhere_is_found():
    assert exists("whycluster", "IDC")
    assert exists("whycluster", "metrics")
    assert exists("whycluster.runs.published", None)
    assert not exists("whycluster.idc", "Nothing")
    assert not exists("whycluster.clusterwise", "ClusterwiseIMN")
    assert not exists("whycluster", "nothing")
