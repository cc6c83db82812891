"""Reading notebooks: their cells, their title, their figures."""

import base64
import contextlib
import io
import warnings
from pathlib import Path

import nbformat
from nbformat.validator import normalize
from nbformat.warnings import DuplicateCellId, MissingIDFieldWarning
from PIL import Image

COLOURS = 256  # of a stored figure


def read(path: Path) -> nbformat.NotebookNode:
    """Read a notebook as version 4 of its format, with an identifier of its own for each cell."""
    with warnings.catch_warnings():  # no page shows identifiers, and these name no file
        for category in (DuplicateCellId, MissingIDFieldWarning):
            warnings.simplefilter("ignore", category)
        return normalize(nbformat.read(path, as_version=4))[1]


def code_cells(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    """List the cells that a kernel executes, in order."""
    return [c for c in notebook.cells if c.cell_type == "code" and c.source.strip()]


def title(notebook: nbformat.NotebookNode) -> str:
    """Return the first heading of a notebook, or an empty string."""
    prose = (cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    lines = (line for source in prose for line in source.splitlines())
    return next((line[2:].strip() for line in lines if line.startswith("# ")), "")


def shrink_figures(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Store figures with a palette: alike to the eye, and a third of the size."""
    outputs = (output for cell in notebook.cells for output in cell.get("outputs", []))
    for data in (output.get("data", {}) for output in outputs):
        if "image/png" in data:
            with contextlib.suppress(Exception):  # of many kinds; what is no image stays as it is
                data["image/png"] = _with_palette(data["image/png"])
    return notebook


def _with_palette(encoded: str) -> str:
    """Return a PNG in base64 with at most 256 colours; as it is if transparent, or smaller so."""
    image = Image.open(io.BytesIO(base64.b64decode(encoded)))
    if image.mode not in ("RGB", "RGBA") or image.getextrema()[3:] not in ((), ((255, 255),)):
        return encoded
    smaller = io.BytesIO()
    quantised = image.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    quantised.save(smaller, "PNG", optimize=True)
    return min(encoded, base64.b64encode(smaller.getvalue()).decode(), key=len)
