"""Executing one notebook: checked parameters in, a finished report or a one-line reason out.

Everything is written aside, in the workshop of the run (``folder.py``), and takes the place of
the run's folder in one step when it is complete. So whoever sees a report (make, the site, a
reader) sees a whole run, and a run that was cut off is simply not there.
"""

import contextlib
import errno
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import filelock
import nbformat
import papermill
from papermill.exceptions import PapermillExecutionError
from papermill.iorw import papermill_io

from whycluster.contract import files
from whycluster.runs import fingerprint, notebooks, parameters, provenance, record, resources
from whycluster.runs.folder import (
    FAILED,
    LOCK,
    LOG,
    PARTIAL,
    REPORT,
    RunFolder,
    check_name,
    is_running,
)
from whycluster.runs.kernel import Kernel, Stop, Watch, ends_on_signals

__all__ = ["FAILED", "LOCK", "PARTIAL", "REPORT", "CellError", "RunError", "execute", "is_running"]

MAX_REPORT = 500_000  # bytes; executed reports of full-scale runs are committed
IN_WORDS = {  # of exceptions whose name does not say enough
    "MemoryError": "out of memory",
    "KeyboardInterrupt": "interrupted from outside, or out of memory",
    "CellExecutionError": "ended without a message, as without enough memory",
}
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
        what = IN_WORDS.get(error.ename, error.ename)
        said = f"{what}: {lines[0]}" if lines[0] else what
        super().__init__(f"{said} (cell {error.exec_count})")


@dataclass(frozen=True)
class _Job:
    """One run: what is executed, with what, where, and what is known of it.

    Attributes
    ----------
    known : dict of str to str
        Paths that no report shall show, with what stands for each.
    """

    notebook: Path
    given: dict
    place: RunFolder
    facts: dict
    known: dict[str, str]
    timeout: float | None
    stop: Stop = field(default_factory=Stop)


def execute(
    notebook: Path,
    run: str,
    given: dict | None = None,
    *,
    source: str = "given",
    timeout: float | None = None,
    folder: Path | None = None,
    known: Mapping[str, str] | None = None,
    origin: str | None = None,
    finish: Callable[[Path], object] | None = None,
    on_wait: Callable[[], object] | None = None,
) -> Path:
    """Execute a notebook in a kernel of its own and publish its report and record.

    Parameters
    ----------
    notebook : Path
        Notebook to execute, with the working directory as it is.
    run : str
        Name of the run: letters, digits, ``.``, ``-`` and ``_``.
    given : dict or None
        Parameters that differ from the notebook's defaults.
    source : str
        Where they were read, for errors.
    timeout : float or None
        Seconds that the whole run may take; None for no limit.
    folder : Path or None
        Where everything goes; by default ``outputs/<notebook>/<run>``.
    known : mapping of str to str or None
        Paths to hide in the report and the record, with what stands for each.
    origin : str or None
        What tells this run from others of its name, for the record.
    finish : callable or None
        Called with the folder of the complete run before that takes its place.
    on_wait : callable or None
        Called if another process is executing a run in the folder; then this one waits, and takes
        over what the other has made if it is this very run. None: that is an error.

    Returns
    -------
    Path
        The executed ``report.ipynb``, with ``record.json`` and ``figures/`` beside it.

    Raises
    ------
    ParameterError
        For an unknown or mistyped parameter, before anything starts.
    RecordError
        If the folder cannot be written, or holds what no run has made, before anything starts.
    RunError
        If the run fails for whatever reason. ``failed.json`` says why, and the partial report
        stays beside it.
    """
    values = parameters.merge(notebook, given or {}, source)
    if folder is None:
        check_name(run)
    resources.check()
    place = RunFolder(folder or record.outputs() / notebook.stem / run, notebook.stem)
    place.check()
    with _occupied(place, on_wait) as has_waited, resources.gpu() as visible:
        facts = _facts(notebook, run, values, known, origin)
        if has_waited and _is_made(place, facts, notebook):
            return place.path / REPORT
        hidden = {str(place.attempt): str(place.path), **(known or {})}
        job = _Job(notebook, given or {}, place, facts, hidden, timeout)
        with ends_on_signals(job.stop):
            return _make(job, visible, finish)


@contextlib.contextmanager
def _occupied(place: RunFolder, on_wait: Callable[[], object] | None) -> Iterator[bool]:
    """Keep a second run out of the folder; the lock vanishes with this process.

    Yields whether another process had to be waited for.
    """
    lock = filelock.FileLock(place.create() / LOCK)
    has_waited = _acquire(lock, place, on_wait)
    try:
        yield has_waited
    finally:
        lock.release()


def _acquire(lock: filelock.FileLock, place: RunFolder, on_wait) -> bool:
    """Acquire the lock of a folder, and say whether that took waiting."""
    for seconds in (0, 2):  # the site holds it for a moment
        with contextlib.suppress(filelock.Timeout):
            lock.acquire(timeout=seconds)
            return seconds > 0
    if on_wait is None:
        raise RunError(f"another process is executing a run in {place.path}")
    on_wait()
    lock.acquire()
    return True


def _is_made(place: RunFolder, facts: dict, notebook: Path) -> bool:
    """Say whether the folder holds this very run, newer than the sources."""
    made = files.read_json(place.path / record.RECORD) or {}
    report = place.path / REPORT
    is_same = made.get("parameters") == facts["parameters"] and report.exists()
    return is_same and report.stat().st_mtime >= provenance.last_change(notebook)


def _facts(notebook: Path, run: str, values: dict, known, origin: str | None) -> dict:
    """Collect what is known of a run before it starts."""
    return {
        "notebook": notebook.stem,
        "run": run,
        **({"origin": origin} if origin else {}),
        "title": notebooks.title(notebooks.read(notebook)),
        "status": "running",
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "parameters": provenance.shorten(record.plain(values, "parameters"), known),
        "git": provenance.commit(),
        "sources": fingerprint.of(notebook),
        "versions": provenance.versions(),
        "threads": resources.threads(),
    }


def _make(job: _Job, visible: dict[str, str], finish: Callable[[Path], object] | None) -> Path:
    """Execute and publish the run, or leave the reason why not."""
    job.place.open()
    began = job.place.now()
    job.facts["resumed"] = job.place.is_resumable()
    try:
        _execute(job, visible)
        finished = _finished_record(job)
        _write_report(job, began)
        job.place.publish(finished, finish)
    except Exception as error:
        raise _fail(job, error) from None
    return job.place.path / REPORT


def _execute(job: _Job, visible: dict[str, str]) -> None:
    """Run the cells, adding the measured time and memory to the facts."""
    kernel = Kernel(_environment(job, visible), job.place.attempt / LOG)
    watch = Watch(kernel, job.timeout, job.stop, lambda reason: _leave(job, reason))
    began = time.monotonic()
    watch.start()
    try:
        _run_cells(job, kernel)
    except Exception as error:
        raise _explain(error, kernel, job) from None
    finally:
        kernel.close()
        watch.close()
        job.facts["wall_s"] = round(time.monotonic() - began, 1)
        job.facts["peak_memory_mb"] = round(watch.peak_memory / 1e6)
    if job.stop.reason:
        raise RunError(f"{job.stop.reason} after the last cell")


def _environment(job: _Job, visible: dict[str, str]) -> dict[str, str]:
    """Return what the kernel finds in its environment beyond the runner's own."""
    return {
        **dict.fromkeys(resources.THREAD_VARIABLES, str(job.facts["threads"])),
        "OMP_WAIT_POLICY": "PASSIVE",  # spinning threads stall each other where cores are shared
        record.FOLDER_VARIABLE: str(job.place.attempt),
        record.NOTEBOOK_VARIABLE: job.facts["notebook"],
        **visible,
    }


def _run_cells(job: _Job, kernel: Kernel) -> None:
    """Hand the notebook to papermill, which saves it after every cell."""
    logging.getLogger("papermill").setLevel(logging.CRITICAL)  # the reason is given once, here
    partial = str(job.place.path / PARTIAL)
    papermill_io.register(partial, _WholeFiles())
    papermill.execute_notebook(
        str(job.notebook),
        partial,
        parameters=job.given,
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
        files.write(Path(path), text.encode(errors="replace"))  # half a character can be printed

    def pretty_path(self, path: str) -> str:
        return path


def _explain(error: Exception, kernel: Kernel, job: _Job) -> RunError:
    """Turn whatever ended the execution into one line."""
    cell = _last_cell(job.place.path / PARTIAL)
    where = f" in cell {cell}" if cell else " while the kernel was starting"
    if job.stop.reason:
        return RunError(job.stop.reason + where)
    if isinstance(error, PapermillExecutionError):
        return CellError(error)
    if _is_full(error):
        return RunError(_describe(error, job) + where)
    if not cell:
        words = kernel.last_words() or " ".join(str(error).split())
        return RunError(f"the kernel did not start ({kernel.exit_reason()}): {words}")
    if kernel.process.poll() is not None:
        return RunError(f"kernel died ({kernel.exit_reason()}){where}")
    return RunError(_describe(error, job) + where)


def _describe(error: Exception, job: _Job) -> str:
    """Say in one line what went wrong outside of the notebook's own cells."""
    if _is_full(error):
        return f"no space left on the disk of {job.place.path}: free some, then run again"
    return f"{type(error).__name__}: {' '.join(str(error).split())}".removesuffix(": ")


def _is_full(error: Exception) -> bool:
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


def _last_cell(partial: Path) -> int:
    """Count the code cells that were started; the last is the one that was running."""
    if not partial.exists():
        return 0
    cells = notebooks.code_cells(notebooks.read(partial))
    return sum(bool(cell.metadata.get("papermill", {}).get("start_time")) for cell in cells)


def _finished_record(job: _Job) -> dict:
    """Join what the notebook recorded with the facts of the run."""
    file = job.place.attempt / record.PARTIAL
    if not file.exists():
        raise RunError("the notebook finished without calling run.record(...)")
    try:
        return {**job.facts, **record.check(files.read_json(file) or {}), "status": "done"}
    except record.RecordError as error:
        raise RunError(f"record: {error}") from None


def _write_report(job: _Job, began: float) -> None:
    """Write the report into the attempt, without this machine's paths and with small figures.

    It is dated back to the start of the run: what was edited meanwhile is newer than it, and make
    will run it again.
    """
    executed = notebooks.read(job.place.path / PARTIAL)
    report = notebooks.shrink_figures(provenance.anonymise(executed, job.known))
    files.write(job.place.attempt / REPORT, nbformat.writes(report))
    os.utime(job.place.attempt / REPORT, (began, began))


def _fail(job: _Job, error: Exception) -> RunError:
    """Leave the reason and an anonymous partial report, and return the reason as an error."""
    failure = error if isinstance(error, RunError) else RunError(_describe(error, job))
    reason = provenance.shorten(str(failure), job.known)
    facts = {**job.facts, "status": "failed", "reason": reason}
    try:
        job.place.fail(facts, lambda folder: _anonymise(folder / PARTIAL, job.known))
    except OSError as problem:
        return RunError(f"{failure}; and {FAILED} could not be written ({problem.strerror})")
    return failure


def _leave(job: _Job, reason: str) -> None:
    """Leave and say the reason of a run that cannot end by itself."""
    print(f"error: {_fail(job, RunError(reason))}", file=sys.stderr, flush=True)


def _anonymise(partial: Path, known: Mapping[str, str]) -> None:
    """Take this machine's paths out of a partial report, if there is one."""
    if partial.exists():
        notebook = provenance.anonymise(notebooks.read(partial), known)
        files.write(partial, nbformat.writes(notebook))
