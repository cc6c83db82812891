"""Reading notebooks: their cells and their title."""

from pathlib import Path

import nbformat


def read(path: Path) -> nbformat.NotebookNode:
    """Read a notebook as version 4 of its format."""
    return nbformat.read(path, as_version=4)


def code_cells(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    """List the cells that a kernel executes, in order."""
    return [c for c in notebook.cells if c.cell_type == "code" and c.source.strip()]


def title(notebook: nbformat.NotebookNode) -> str:
    """Return the first heading of a notebook, or an empty string."""
    prose = (cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    lines = (line for source in prose for line in source.splitlines())
    return next((line[2:].strip() for line in lines if line.startswith("# ")), "")
