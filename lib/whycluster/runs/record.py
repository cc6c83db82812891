"""The record of a run: what a notebook reports, and the facts about how it was computed.

A notebook calls :func:`start` once and :meth:`Run.record` in its last cell. The notebook knows
the results, the seeds and the device; the runner adds the parameters, versions, commit, time and
memory (``execution.py``) and publishes both as ``record.json``.
"""

import io
import math
import os
import platform
import re
import sys
import tempfile
from pathlib import Path

import numpy as np

from whycluster.contract import files

FOLDER_VARIABLE = "WHYCLUSTER_RUN_FOLDER"
NOTEBOOK_VARIABLE = "WHYCLUSTER_NOTEBOOK"
OUTPUTS_VARIABLE = "WHYCLUSTER_OUTPUTS"
RECORD, PARTIAL = "record.json", "record.partial.json"

REQUIRED = ("table", "dataset", "method", "metric", "values")
OPTIONAL = {"unit": "", "published": None, "published_sd": None, "note": ""}


class RecordError(ValueError):
    """A record, a result or a run folder that cannot be used."""


def outputs() -> Path:
    """Return the folder of all runs: ``$WHYCLUSTER_OUTPUTS``, else the repository's outputs/."""
    if os.environ.get(OUTPUTS_VARIABLE):
        return Path(os.environ[OUTPUTS_VARIABLE])
    here = Path.cwd()
    roots = [p for p in (here, *here.parents) if (p / "notebooks").is_dir()]
    return Path(os.path.relpath(roots[0] if roots else here)) / "outputs"


def start(notebook: str) -> "Run":
    """Open the folder of the current run.

    Under ``make`` the runner chooses the folder. In JupyterLab, and under nbval, it is
    ``outputs/<notebook>/interactive/``.

    Parameters
    ----------
    notebook : str
        Name of the calling notebook without its extension, such as ``"10-idc-synthetic"``.

    Returns
    -------
    Run
        The folder, and what can be put into it.

    Raises
    ------
    RecordError
        If another notebook is being run, or the folder cannot be written.
    """
    chosen = os.environ.get(FOLDER_VARIABLE)
    if chosen and os.environ.get(NOTEBOOK_VARIABLE, notebook) != notebook:
        running = os.environ[NOTEBOOK_VARIABLE]
        raise RecordError(f"runs.start({notebook!r}) was called in the notebook {running!r}")
    folder = Path(chosen) if chosen else outputs() / notebook / "interactive"
    return Run(notebook, prepare(folder), is_interactive=not chosen)


def prepare(folder: Path) -> Path:
    """Create a folder and its ``figures/``, and make sure that files can be written there.

    Raises
    ------
    RecordError
        If they cannot.
    """
    try:
        (folder / "figures").mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder / "figures").close()
    except OSError as error:
        raise RecordError(
            f"cannot write to {folder}: {error.strerror}; "
            f"make it writable, or set {OUTPUTS_VARIABLE} to another folder"
        ) from None
    return folder


class Run:
    """One execution of a notebook and the folder that it fills.

    Attributes
    ----------
    notebook : str
        Name of the notebook.
    folder : Path
        Where files of this run belong, such as a saved model.
    figures : Path
        Where its figures belong.
    """

    def __init__(self, notebook: str, folder: Path, *, is_interactive: bool):
        self.notebook = notebook
        self.folder = folder
        self.figures = folder / "figures"
        self._is_interactive = is_interactive
        self._saved: set[str] = set()

    def __repr__(self) -> str:
        return f"Run({self.folder.as_posix()!r})"

    def save_figure(self, figure, name: str) -> None:
        """Save a Matplotlib figure as ``figures/<name>.png``, 150 dots per inch.

        Parameters
        ----------
        figure : matplotlib.figure.Figure
            The figure; it stays open.
        name : str
            File name without extension: letters, digits, ``-`` and ``_``.

        Raises
        ------
        RecordError
            If the name has other characters.
        """
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name):
            raise RecordError(f"figure name {name!r}: use letters, digits, '-' and '_' only")
        image = io.BytesIO()
        figure.savefig(image, format="png", dpi=150, bbox_inches="tight", facecolor="white")
        files.write(self.figures / f"{name}.png", image.getvalue())
        self._saved.add(f"figures/{name}.png")

    def record(self, results: list[dict], seeds: list[int], **extra) -> None:
        """Write the record of this run.

        Parameters
        ----------
        results : list of dict
            Rows of results tables. Each has ``table``, ``dataset``, ``method``, ``metric`` and
            ``values`` (one per seed, or a single one for a method without chance; None for a
            seed without a value), and may have ``unit``, ``published``, ``published_sd`` and
            ``note``.
        seeds : list of int
            Random states, in the order of ``values``.
        **extra
            Anything else worth keeping that JSON can hold.

        Raises
        ------
        RecordError
            For a row with a missing, unknown or ill-typed entry, or a number that is not finite.
        """
        content = {
            "notebook": self.notebook,
            "device": device(),
            "peak_gpu_memory_mb": _peak_gpu_memory(),
            "seeds": plain(list(seeds), "seeds"),
            "results": [_row(row, n, len(seeds)) for n, row in enumerate(results, start=1)],
            "extra": plain(extra, "extra"),
        }
        check(content)
        if self._is_interactive:  # no runner lists the files
            content["files"] = sorted({RECORD, *self._saved})
        files.write_json(self.folder / (RECORD if self._is_interactive else PARTIAL), content)


def check(content: dict) -> dict:
    """Return a notebook's record unchanged if it carries what every record must.

    Raises
    ------
    RecordError
        If an entry is missing or ill-typed.
    """
    seeds = content.get("seeds")
    if not isinstance(seeds, list) or not all(type(seed) is int for seed in seeds):
        raise RecordError(f"seeds must be a list of integers, not {seeds!r}")
    if not isinstance(content.get("results"), list):
        raise RecordError("results must be a list of rows")
    for n, row in enumerate(content["results"], start=1):
        _row(row, n, len(seeds))
    return content


def plain(value, where: str):
    """Turn NumPy values into Python's own, refusing what strict JSON cannot hold.

    Raises
    ------
    RecordError
        For a number that is not finite, or an object that is no JSON value; ``where`` names it.
    """
    if isinstance(value, dict):
        return {str(key): plain(item, f"{where}[{key!r}]") for key, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [plain(item, f"{where}[{n}]") for n, item in enumerate(value)]
    if isinstance(value, float) and not math.isfinite(value):
        raise RecordError(f"{where} is {value}; record None where there is no value")
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise RecordError(f"{where} is a {type(value).__name__}, which JSON cannot hold")


def device() -> str:
    """Name the processor that computed: the GPU if PyTorch used one in this process."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        return torch.cuda.get_device_name()
    return _processor()


def _processor() -> str:
    """Name the CPU."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _peak_gpu_memory() -> int | None:
    """Return the most GPU memory that PyTorch held, in MB; None without a GPU."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return None
    return round(torch.cuda.max_memory_allocated() / 1e6)


def _row(row: dict, number: int, n_seeds: int) -> dict:
    """Complete one results row and check each of its entries."""
    where = f"results row {number}"
    if not isinstance(row, dict):
        raise RecordError(f"{where} is a {type(row).__name__}, not a dict")
    missing = [key for key in REQUIRED if key not in row]
    unknown = [key for key in row if key not in (*REQUIRED, *OPTIONAL)]
    if missing or unknown:
        problem = f"lacks {missing[0]!r}" if missing else f"has an unknown entry {unknown[0]!r}"
        raise RecordError(f"{where} {problem}; entries are {', '.join((*REQUIRED, *OPTIONAL))}")
    row = plain({**OPTIONAL, **row}, where)
    _check_text(row, where)
    where = f"{where} ({row['dataset']}, {row['method']}, {row['metric']})"
    _check_numbers(row, where)
    if len(row["values"]) not in (1, n_seeds):
        raise RecordError(f"{where} has {len(row['values'])} values for {n_seeds} seeds")
    return row


def _check_text(row: dict, where: str) -> None:
    """Refuse labels that are not text, or empty."""
    for key in ("table", "dataset", "method", "metric", "unit", "note"):
        if not isinstance(row[key], str) or (key in REQUIRED and not row[key]):
            raise RecordError(f"{where}: {key} must be text, not {row[key]!r}")


def _check_numbers(row: dict, where: str) -> None:
    """Refuse values that are neither numbers nor None."""
    if not isinstance(row["values"], list) or not row["values"]:
        raise RecordError(f"{where}: values must be a list with one number per seed")
    for value in (*row["values"], row["published"], row["published_sd"]):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise RecordError(f"{where}: {value!r} is not a number")
