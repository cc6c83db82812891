"""Executing one notebook: checked parameters in, a finished report or a one-line reason out.

Everything is written under a provisional name and renamed when the run has finished and its
record is complete, the record first and ``report.ipynb`` last. So whoever sees a report (make,
the site, a reader) sees a finished run, and a run that was cut off is simply not there.
"""

import contextlib
import logging
import os
import shutil
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import filelock
import nbformat
import papermill
from papermill.exceptions import PapermillExecutionError
from papermill.iorw import papermill_io

from whycluster.contract import files
from whycluster.runs import fingerprint, notebooks, parameters, provenance, record, resources
from whycluster.runs.kernel import Kernel, Watch, ends_on_signals

REPORT, PARTIAL, FAILED, LOCK = "report.ipynb", "report.partial.ipynb", "failed.json", ".lock"
RESUMABLE = ("checkpoint/*", "*.parquet", "*.db")  # phases, labels, trials
MAX_REPORT = 500_000  # bytes; executed reports of full-scale runs are committed
START_TIMEOUT = 120  # seconds; loaded machines start kernels slowly


class RunError(RuntimeError):
    """A run that did not finish; the message is one line."""


class CellError(RunError):
    """A run that ended with an exception in a cell.

    Attributes
    ----------
    reason : str
        First line of the exception's own message.
    """

    def __init__(self, error: PapermillExecutionError):
        lines = str(error.evalue).strip().splitlines() or [""]
        self.reason = lines[0] or error.ename
        super().__init__(f"{error.ename}: {lines[0]} (cell {error.exec_count})")


def execute(
    notebook: Path,
    run: str,
    given: dict | None = None,
    *,
    source: str = "given",
    timeout: float | None = None,
    folder: Path | None = None,
) -> Path:
    """Execute a notebook in a kernel of its own and publish its report and record.

    Parameters
    ----------
    notebook : Path
        Notebook to execute, with the working directory as it is.
    run : str
        Name of the run.
    given : dict or None
        Parameters that differ from the notebook's defaults.
    source : str
        Where they were read, for errors.
    timeout : float or None
        Seconds that the whole run may take; None for no limit.
    folder : Path or None
        Where everything goes; by default ``outputs/<notebook>/<run>``.

    Returns
    -------
    Path
        The executed ``report.ipynb``, with ``record.json`` and ``figures/`` beside it.

    Raises
    ------
    ParameterError
        For an unknown or mistyped parameter, before anything starts.
    RecordError
        If the folder cannot be written.
    RunError
        If the run fails for whatever reason. ``failed.json`` says why, and the partial report
        stays beside it.
    """
    values = parameters.merge(notebook, given or {}, source)
    folder = record.prepare(folder or record.outputs() / notebook.stem / run)
    with _occupied(folder), resources.gpu() as visible:
        facts = _facts(notebook, run, values, folder)
        marker = _clear(folder)
        try:
            _execute(notebook, folder, given or {}, facts, visible, timeout)
            finished = _finished_record(folder, facts)
        except RunError as error:
            _fail(folder, facts, error)
            raise
        return _publish(folder, finished, marker)


def is_running(folder: Path) -> bool:
    """Say whether a process is executing a run in this folder."""
    lock = filelock.FileLock(folder / LOCK, timeout=0)
    if not (folder / LOCK).exists():
        return False
    try:
        with lock:
            return False
    except (filelock.Timeout, OSError):
        return True


@contextlib.contextmanager
def _occupied(folder: Path) -> Iterator[None]:
    """Keep a second run out of the folder; the lock vanishes with this process."""
    try:
        with filelock.FileLock(folder / LOCK, timeout=2):  # the site holds it for a moment
            yield
    except filelock.Timeout:
        raise RunError(f"another process is executing a run in {folder}") from None


def _facts(notebook: Path, run: str, values: dict, folder: Path) -> dict:
    """Collect what is known of a run before it starts."""
    return {
        "notebook": notebook.stem,
        "run": run,
        "title": notebooks.title(notebooks.read(notebook)),
        "status": "running",
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "parameters": record.plain(values, "parameters"),
        "git": provenance.commit(),
        "sources": fingerprint.of(notebook),
        "versions": provenance.versions(),
        "threads": resources.threads(),
        "resumed": any(any(folder.glob(pattern)) for pattern in RESUMABLE),
    }


def _clear(folder: Path) -> float:
    """Remove what an earlier attempt left, and return the file system's time of day.

    What `RESUMABLE` names stays, so that a run can go on from there.
    """
    for stale in (PARTIAL, FAILED, record.PARTIAL):
        (folder / stale).unlink(missing_ok=True)
    for figure in (folder / "figures").iterdir():
        figure.unlink()
    (folder / LOCK).touch()
    return (folder / LOCK).stat().st_mtime


def _execute(notebook, folder, given, facts, visible, timeout) -> None:
    """Run the cells, adding the measured time and memory to the facts."""
    kernel = Kernel(_environment(facts, folder, visible), folder / "kernel.log")
    watch = Watch(kernel, timeout, lambda reason: _fail(folder, facts, RunError(reason)))
    began = time.monotonic()
    watch.start()
    try:
        with ends_on_signals(watch):
            _run_cells(notebook, folder / PARTIAL, given, kernel)
    except Exception as error:
        raise _explain(error, kernel, watch, folder / PARTIAL) from None
    finally:
        kernel.close()
        watch.close()
        facts["wall_s"] = round(time.monotonic() - began, 1)
        facts["peak_memory_mb"] = round(watch.peak_memory / 1e6)
    if watch.reason:
        raise RunError(watch.reason)


def _environment(facts: dict, folder: Path, visible: dict[str, str]) -> dict[str, str]:
    """Return what the kernel finds in its environment beyond the runner's own."""
    return {
        **dict.fromkeys(resources.THREAD_VARIABLES, str(facts["threads"])),
        "OMP_WAIT_POLICY": "PASSIVE",  # spinning threads stall each other where cores are shared
        record.FOLDER_VARIABLE: str(folder),
        record.NOTEBOOK_VARIABLE: facts["notebook"],
        **visible,
    }


def _run_cells(notebook: Path, partial: Path, given: dict, kernel: Kernel) -> None:
    """Hand the notebook to papermill, which saves it after every cell."""
    logging.getLogger("papermill").setLevel(logging.CRITICAL)  # the reason is given once, here
    papermill_io.register(str(partial), _WholeFiles())
    papermill.execute_notebook(
        str(notebook),
        str(partial),
        parameters=given,
        kernel_name="python3",
        language="python",
        progress_bar=False,
        start_timeout=START_TIMEOUT,
        iopub_timeout=60,  # the default of 4 s fails runs on a loaded machine
        km=kernel,
    )


class _WholeFiles:
    """Papermill's writer, replacing the file as a whole each time."""

    def write(self, text: str, path: str) -> None:
        files.write(Path(path), text)

    def pretty_path(self, path: str) -> str:
        return path


def _explain(error: Exception, kernel: Kernel, watch: Watch, partial: Path) -> RunError:
    """Turn whatever ended the execution into one line."""
    if isinstance(error, PapermillExecutionError):
        return CellError(error)
    cell = _last_cell(partial)
    where = f" in cell {cell}" if cell else " while the kernel was starting"
    if watch.reason:
        return RunError(watch.reason + where)
    if not cell:
        words = kernel.last_words() or str(error)
        return RunError(f"the kernel did not start ({kernel.exit_reason()}): {words}")
    if kernel.process.poll() is not None:
        return RunError(f"kernel died ({kernel.exit_reason()}){where}")
    return RunError(f"{type(error).__name__}: {' '.join(str(error).split())}{where}")


def _last_cell(partial: Path) -> int:
    """Count the code cells that were started; the last is the one that was running."""
    if not partial.exists():
        return 0
    cells = notebooks.code_cells(notebooks.read(partial))
    return sum(bool(cell.metadata.get("papermill", {}).get("start_time")) for cell in cells)


def _finished_record(folder: Path, facts: dict) -> dict:
    """Join what the notebook recorded with the facts of the run."""
    if not (folder / record.PARTIAL).exists():
        raise RunError("the notebook finished without calling run.record(...)")
    recorded = files.read_json(folder / record.PARTIAL)
    try:
        return {**facts, **record.check(recorded or {}), "status": "done"}
    except record.RecordError as error:
        raise RunError(f"record: {error}") from None


def _fail(folder: Path, facts: dict, error: RunError) -> None:
    """Leave the reason and an anonymous partial report; never a provisional record."""
    files.write_json(
        folder / FAILED, {**facts, "status": "failed", "reason": provenance.shorten(str(error))}
    )
    (folder / record.PARTIAL).unlink(missing_ok=True)
    with contextlib.suppress(FileNotFoundError):
        partial = provenance.anonymise(notebooks.read(folder / PARTIAL))
        files.write(folder / PARTIAL, nbformat.writes(partial))


def _publish(folder: Path, finished: dict, marker: float) -> Path:
    """Give the record and then the report their final names.

    The report is dated back to the start of the run: what was edited meanwhile is newer than it,
    and make will run it again. Checkpoints have served their purpose and are removed.
    """
    report = notebooks.shrink_figures(provenance.anonymise(notebooks.read(folder / PARTIAL)))
    files.write(folder / PARTIAL, nbformat.writes(report))
    files.write_json(folder / "record.json", finished)
    (folder / record.PARTIAL).unlink()
    os.utime(folder / PARTIAL, (marker, marker))
    os.replace(folder / PARTIAL, folder / REPORT)
    shutil.rmtree(folder / "checkpoint", ignore_errors=True)
    return folder / REPORT
