"""Which code, with which versions, produced a run; and a report without the paths of a machine."""

import importlib.metadata
import os
import platform
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import nbformat

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


def _git(*arguments: str) -> str:
    """Run git here; an empty string where that fails."""
    try:
        done = subprocess.run(
            ["git", *arguments], capture_output=True, text=True, check=True, timeout=60
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


def anonymise(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Take this machine's paths out of the outputs and the metadata of an executed notebook."""
    notebook.metadata["kernelspec"] = {
        "display_name": "Python 3 (ipykernel)",
        "language": "python",
        "name": "python3",
    }
    papermill = notebook.metadata.get("papermill", {})
    for key in ("environment_variables", "input_path", "output_path"):
        papermill.pop(key, None)
    for cell in notebook.cells:
        if "outputs" in cell:
            cell.outputs = [nbformat.from_dict(shorten(output)) for output in cell.outputs]
    return notebook


def shorten(value):
    """Shorten local paths in every string of a JSON value; images stay untouched."""
    if isinstance(value, dict):
        return {
            key: item if key.startswith("image/p") or key.startswith("image/j") else shorten(item)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [shorten(item) for item in value]
    return _shorten_text(value) if isinstance(value, str) else value


def _shorten_text(text: str) -> str:
    """Make paths relative to the repository, the data folder, the environment or the home."""
    text = re.sub(r"(?:/[\w.-]+)+/ipykernel_\d+/\d+\.py", "cell", text)
    for prefix, short in _prefixes():
        text = re.sub(re.escape(prefix) + r"(?=/|\b)/?", short, text)
    return text


def _prefixes() -> list[tuple[str, str]]:
    """List the folders to hide, longest first, with what stands for each."""
    known = {
        sys.base_prefix: ".../",
        tempfile.gettempdir(): "tmp/",
        str(Path.home()): "~/",
        sys.prefix: ".../",
        os.environ.get("WHYCLUSTER_DATA", "").rstrip("/"): "$WHYCLUSTER_DATA/",
        os.environ.get("WHYCLUSTER_OUTPUTS", "").rstrip("/"): "outputs/",
        os.path.realpath(Path.cwd()): "",
        str(Path.cwd()): "",
    }
    usable = [(path, short) for path, short in known.items() if path.count("/") > 0 and path != "/"]
    return sorted(usable, key=lambda pair: -len(pair[0]))
