"""Which code, with which versions, produced a run; and a report without the paths of a machine."""

import importlib.metadata
import os
import platform
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import nbformat
from papermill.translators import PythonTranslator

import whycluster

PACKAGES = (
    "torch",
    "numpy",
    "scipy",
    "scikit-learn",
    "pandas",
    "matplotlib",
    "shap",
    "captum",
    "papermill",
)
INJECTED = "injected-parameters"  # tag that papermill gives the cell of given parameters
SOURCES = ("lib", "notebooks", "parameters")


def versions() -> dict[str, str]:
    """Return the versions of Python, whycluster and the packages that results depend on."""
    found = {"python": platform.python_version(), "whycluster": whycluster.__version__}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def commit() -> dict[str, object]:
    """Return the git commit and whether the sources differ from it; None outside a repository."""
    head = _git("rev-parse", "HEAD")
    changes = _git("status", "--porcelain", "--", *SOURCES)
    return {"commit": head or None, "dirty": bool(changes) if head else None}


def last_change(notebook: Path) -> float:
    """Return when a notebook or the library was last changed, in seconds."""
    library = Path(whycluster.__file__).parent
    sources = (path for path in library.rglob("*") if "__pycache__" not in path.parts)
    return max(path.stat().st_mtime for path in (notebook, *sources) if path.is_file())


def _git(*arguments: str) -> str:
    """Run git here; an empty string where that fails."""
    try:
        done = subprocess.run(
            ["git", *arguments], capture_output=True, text=True, check=True, timeout=60
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


def anonymise(
    notebook: nbformat.NotebookNode, known: Mapping[str, str] | None = None
) -> nbformat.NotebookNode:
    """Take this machine's paths out of an executed notebook.

    Parameters
    ----------
    notebook : NotebookNode
        Changed in place: its outputs, its metadata and the cell of given parameters.
    known : mapping of str to str or None
        Further paths to hide, with what stands for each, such as a user's table.
    """
    notebook.metadata["kernelspec"] = {
        "display_name": "Python 3 (ipykernel)",
        "language": "python",
        "name": "python3",
    }
    executed = notebook.metadata.get("papermill", {})
    for key in ("environment_variables", "input_path", "output_path"):
        executed.pop(key, None)
    if "parameters" in executed:
        executed["parameters"] = nbformat.from_dict(shorten(executed["parameters"], known))
    for cell in notebook.cells:
        if INJECTED in cell.metadata.get("tags", []) and "parameters" in executed:
            cell.source = PythonTranslator.codify(executed["parameters"])
        if "outputs" in cell:
            cell.outputs = [nbformat.from_dict(shorten(output, known)) for output in cell.outputs]
    return notebook


def shorten(value, known: Mapping[str, str] | None = None):
    """Shorten local paths in every string of a JSON value; images stay untouched."""
    prefixes = [*sorted((known or {}).items(), key=lambda pair: -len(pair[0])), *_prefixes()]
    return _shorten(value, prefixes)


def _shorten(value, prefixes: list[tuple[str, str]]):
    if isinstance(value, dict):
        return {
            key: item if str(key).startswith(("image/p", "image/j")) else _shorten(item, prefixes)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [_shorten(item, prefixes) for item in value]
    return _shorten_text(value, prefixes) if isinstance(value, str) else value


def _shorten_text(text: str, prefixes: list[tuple[str, str]]) -> str:
    """Make paths relative to the repository, the data folder, the environment or the home."""
    text = re.sub(r"(?:/[\w.-]+)+/ipykernel_\d+/\d+\.py", "cell", text)
    for prefix, short in prefixes:
        end = r"(?=/|\b)/?" if short.endswith("/") or not short else r"(?![\w-])"
        text = re.sub(re.escape(prefix) + end, lambda _, short=short: short, text)  # type: ignore[misc]
    return text


def _prefixes() -> list[tuple[str, str]]:
    """List the folders to hide, longest first, with what stands for each."""
    known = {
        sys.base_prefix: ".../",
        tempfile.gettempdir(): "tmp/",
        os.path.expanduser("~"): "~/",
        sys.prefix: ".../",
        os.environ.get("WHYCLUSTER_DATA", "").rstrip("/"): "$WHYCLUSTER_DATA/",
        os.environ.get("WHYCLUSTER_OUTPUTS", "").rstrip("/"): "outputs/",
        os.path.realpath(Path.cwd()): "",
        str(Path.cwd()): "",
    }
    usable = [(path, short) for path, short in known.items() if path.count("/") > 0 and path != "/"]
    return sorted(usable, key=lambda pair: -len(pair[0]))
