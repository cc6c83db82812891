"""Scratch projects: notebooks small enough to be executed many times in a test."""

import os
import shutil
import sys
import time
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

PARAMETERS = (
    'n = 3  # a number\nrate = 0.5  # a share\nname = ""  # a text\nseeds = [0]  # states\n'
)
RECORD = (
    "run.record(results=[dict(table='T', dataset='d', method='m', metric='ACC', unit='%',"
    " values=[n] * len(seeds), published=4.0)], seeds=seeds)"
)
COMMAND = [sys.executable, "-m", "whycluster.runs"]
REPOSITORY = Path(__file__).parents[1]


def library(project):
    """Copy whycluster.runs and what it stands on; the rest of the library takes long to import."""
    package = project / "lib" / "whycluster"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text('__version__ = "0"\n')
    for room in ("runs", "contract"):
        source = REPOSITORY / "lib" / "whycluster" / room
        shutil.copytree(source, package / room, ignore=shutil.ignore_patterns("__pycache__"))
    (project / "notebooks").mkdir()
    return project


def notebook(*cells, title="# What is here?\n\nAn answer.", parameters=PARAMETERS):
    """Build a notebook of a title, a parameters cell and the given sources of code."""
    first = [new_markdown_cell(title)]
    tagged = [new_code_cell(parameters, metadata={"tags": ["parameters"]})]
    return new_notebook(cells=first + tagged + [new_code_cell(source) for source in cells])


def add(project, name, *cells, **options):
    """Write a notebook that opens its run, executes the cells, and records."""
    path = project / "notebooks" / f"{name}.ipynb"
    opening = f"from whycluster import runs\nrun = runs.start({name!r})"
    nbformat.write(notebook(opening, *cells, RECORD, **options), path)
    return path


def add_plain(project, name, *cells):
    """Write a notebook of the cells alone, which starts without importing whycluster."""
    path = project / "notebooks" / f"{name}.ipynb"
    nbformat.write(notebook(*cells), path)
    return path


def environment(project):
    """Return this process's environment without what make or a test session put there."""
    hidden = ("MAKE", "MFLAGS", "WHYCLUSTER", "PYTEST", "OMP_", "LAUNCH", "CUDA", "COV")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(hidden)}
    return kept | {"PYTHONPATH": str(project / "lib")}


def wait_for(condition, timeout=30):
    """Wait until a condition holds, and fail if it does not within some seconds."""
    end = time.monotonic() + timeout
    while not (value := condition()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)
    return value
