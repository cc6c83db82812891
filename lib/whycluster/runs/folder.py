"""The folder of a run: whose it is, what lies in it, and how all of it is replaced at once.

A run is made in a workshop beside its folder, ``.<run>.making/<run>/``. When it is complete, the
two folders change places in one step, so that report, record, tables and figures always belong to
one run. A record lists the files of its run, and only those are ever removed: whatever else a
user has put into the folder comes along.
"""

import contextlib
import filecmp
import itertools
import os
import shutil
import tempfile
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import filelock

from whycluster.contract import files
from whycluster.runs import exchange
from whycluster.runs.record import OUTPUTS_VARIABLE, RECORD, RecordError
from whycluster.runs.record import PARTIAL as PARTIAL_RECORD

REPORT, PAGE = "report.ipynb", "report.html"
PARTIAL, PARTIAL_PAGE = "report.partial.ipynb", "report.partial.html"
FAILED, LOG, LOCK = "failed.json", "kernel.log", ".lock"
PREVIOUS = "previous"  # where the last finished run lies while a later one has failed
KEPT = "kept"  # where a user's file goes whose name a run has taken
CHECKPOINT = "checkpoint"
RESUMABLE = (f"{CHECKPOINT}/*", "*.parquet", "*.db")  # phases, labels, trials
AFRESH = ("curves.parquet",)  # result of one run, never the start of the next
REMAINS = {LOCK, PARTIAL, PARTIAL_PAGE, PARTIAL_RECORD, "figures/.keep"}  # of a run cut off
MACHINERY = {RECORD, REPORT, PAGE, FAILED, LOG, *REMAINS}  # names that runs and the site use
LONGEST = 180  # bytes of a name; file systems allow 255, and provisional names are longer
RESERVE = 65_536  # bytes held until a run ends, so that its reason fits on a full disk


class RunFolder:
    """The folder of one run.

    Parameters
    ----------
    path : Path
        The folder; it need not exist.
    notebook : str
        Name of the notebook whose runs may use it.

    Attributes
    ----------
    path : Path
        The folder, a symbolic link followed.
    workshop : Path
        Folder beside it that exists while a run is made, and holds what a later one can use.
    attempt : Path
        Folder in the workshop that the run fills.
    """

    def __init__(self, path: Path, notebook: str):
        if path.is_symlink() or path.name in ("", ".."):
            path = Path(os.path.realpath(path))
        self.path = path
        self.notebook = notebook
        self.workshop = path.parent / f".{path.name}.making"
        self.attempt = self.workshop / path.name

    def check(self) -> None:
        """Make sure that a run may use the folder, without writing anything.

        Raises
        ------
        RecordError
            If it holds what no run of the notebook has made, or cannot be replaced as a whole.
        """
        if self.path.is_symlink():
            raise RecordError(f"cannot write to {self.path}: it is a link to itself")
        if self.path.exists() and not self.path.is_dir():
            raise RecordError(f"cannot write to {self.path}: it is a file; give a folder")
        if os.path.ismount(self.path):
            raise RecordError(f"{self.path} is where a disk is mounted; give a folder inside it")
        for name in sorted(MACHINERY):
            if (self.path / name).is_dir():
                raise RecordError(f"{self.path / name} is a folder, but a run writes a file there")
        facts = mark(self.path)
        if facts and facts["notebook"] != self.notebook:
            raise RecordError(
                f"{self.path} holds a run of {facts['notebook']}; give another folder"
            )
        others = [] if facts else strangers(self.path)
        if others:
            raise RecordError(
                f"{self.path} holds {others[0]}, which no run has made; give a new or empty folder"
            )

    def create(self) -> Path:
        """Create the folder, or put it back if a killed process had taken it away.

        Raises
        ------
        RecordError
            If that is not possible.
        """
        try:
            for new in (self.attempt, self.workshop / "failed"):
                if not self.path.exists():
                    exchange.undo(new, self.path)
            self.path.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=self.path).close()
        except OSError as error:
            raise self._unwritable(error) from None
        return self.path

    def open(self) -> None:
        """Create the workshop, put right what a killed run has left, and clear the way.

        Raises
        ------
        RecordError
            If something cannot be written.
        """
        try:
            self.recover()
            self.attempt.mkdir(parents=True, exist_ok=True)
            self._keep_resumable()
            files.write(self.workshop / "reserve", b"\0" * RESERVE)
            for stale in (PARTIAL, PARTIAL_PAGE, PARTIAL_RECORD, FAILED, LOG):
                (self.path / stale).unlink(missing_ok=True)
        except OSError as error:
            raise self._unwritable(error) from None

    def now(self) -> float:
        """Return the file system's own time of day, as seconds."""
        (self.path / LOCK).touch()
        return (self.path / LOCK).stat().st_mtime

    def _unwritable(self, error: OSError) -> RecordError:
        return RecordError(
            f"cannot write to {self.path}: {error.strerror}; "
            f"make it writable, or set {OUTPUTS_VARIABLE} to another folder"
        )

    def is_resumable(self) -> bool:
        """Say whether there is anything that the run can go on from."""
        return bool(_resumable(self.attempt))

    def publish(self, facts: dict, finish: Callable[[Path], object] | None = None) -> dict:
        """Write the record into the finished attempt and let it take the place of the folder.

        Parameters
        ----------
        facts : dict
            The record. It gets ``files``, the files of the run, and, where a run has taken the
            name of a user's files, ``kept``: those that went to ``kept/``.
        finish : callable or None
            Called with the complete folder before it takes its place.

        Returns
        -------
        dict
            The record as it was written.
        """
        self._tidy()
        made = sorted({*walk(self.attempt), RECORD, REPORT, PAGE})
        kept = self._carry(self.attempt)
        facts = {**facts, "files": made, **({"kept": kept} if kept else {})}
        files.write_json(self.attempt / RECORD, facts)
        if finish is not None:
            finish(self.attempt)
        self._take_place(self.attempt)
        shutil.rmtree(self.workshop, ignore_errors=True)
        return facts

    def _tidy(self) -> None:
        """Take out of the attempt what is not published."""
        _move(self.attempt, self.workshop, walk(self.attempt, CHECKPOINT))
        _remove(self.attempt, [LOG, *(name for name in walk(self.attempt) if _is_passing(name))])

    def _carry(self, target: Path) -> list[str]:
        """Bring what is a user's along, and list the files whose name the run has taken."""
        others = strangers(self.path)
        taken = [name for name in others if _is_taken(target / name, target)]
        for name in others:
            _bring(self.path / name, target, name)
        return taken

    def fail(self, facts: dict, finish: Callable[[Path], object] | None = None) -> None:
        """Leave the reason and the partial report; the last finished run moves to ``previous/``.

        What a later attempt can go on from stays in the workshop.

        Parameters
        ----------
        facts : dict
            What ``failed.json`` says.
        finish : callable or None
            As for :meth:`publish`; an error of it is no further failure.
        """
        failed = self.workshop / "failed"
        failed.mkdir(exist_ok=True)
        (self.workshop / "reserve").unlink(missing_ok=True)
        _move(self.attempt, failed, [LOG])
        _clear(self.attempt)
        files.write_json(failed / FAILED, facts)
        _link(self.path, failed, [PARTIAL])
        self._keep_previous(failed / PREVIOUS)
        if finish is not None:
            with contextlib.suppress(Exception):
                finish(failed)
        self._carry(failed)
        self._take_place(failed)
        if not self.is_resumable():
            shutil.rmtree(self.workshop, ignore_errors=True)

    def _keep_previous(self, target: Path) -> None:
        """Bring the last finished run to a folder of its own."""
        if (self.path / RECORD).exists():
            own = (owned(self.path) - {FAILED, LOG, *REMAINS}) & set(walk(self.path))
            _link(self.path, target, [name for name in own if not name.startswith(f"{PREVIOUS}/")])
        elif (self.path / PREVIOUS).exists():
            known = owned(self.path / PREVIOUS)
            _link(self.path / PREVIOUS, target, known & set(walk(self.path / PREVIOUS)))

    def _take_place(self, new: Path) -> None:
        """Exchange a complete folder with the present one, and remove what that held."""
        with contextlib.suppress(OSError):  # no lock is held, or the disk knows no hard links
            os.link(self.path / LOCK, new / LOCK)  # the very file that this process holds
        exchange.exchange(new, self.path)
        with contextlib.suppress(OSError):  # the run is published; the next one will tidy up
            self._discard(new)

    def _discard(self, old: Path) -> None:
        """Remove a folder that was replaced, once nothing of a user's is left in it."""
        for name in strangers(old):
            _bring(old / name, self.path, name)
        shutil.rmtree(old)

    def recover(self) -> None:
        """Finish or undo what a killed process was doing when it put a folder in its place."""
        for leftover in (self.attempt, self.workshop / "failed"):
            exchange.undo(leftover, self.path)
            self._rescue(leftover)
        shutil.rmtree(self.workshop / "failed", ignore_errors=True)
        _clear(self.attempt)
        _move(self.workshop, self.attempt, walk(self.workshop, CHECKPOINT))

    def _rescue(self, leftover: Path) -> None:
        """Remove a folder that was replaced; of one not yet in place, keep what can be used."""
        left, present = mark(leftover), mark(self.path)
        if left and present and str(left.get("started")) <= str(present.get("started")):
            self._discard(leftover)

    def _keep_resumable(self) -> None:
        """Start from the tables of labels and trials that the last finished run has left."""
        own = owned(self.path)
        for name in _resumable(self.path):
            if name in own and not (self.attempt / name).exists():
                _copy(self.path / name, self.attempt / name)


def check_name(run: str) -> None:
    """Make sure that a name is that of one folder.

    Raises
    ------
    RecordError
        If it has other characters than letters, digits, ``.``, ``-`` and ``_``, or begins with
        one that hides it or reads like an option.
    """
    if run != plain(run):
        raise RecordError(f"run name {run!r}: use letters, digits, '.', '_' and '-' only")


def plain(name: str) -> str:
    """Return a name as a folder can bear it: letters of every script, digits, ``.``, ``_``, ``-``.

    Examples
    --------
    >>> plain("../my table"), plain("客户"), plain("??")
    ('my-table', '客户', 'table')
    """
    characters = unicodedata.normalize("NFC", name)
    kept = [c if unicodedata.category(c)[0] in "LMN" or c in "._-" else " " for c in characters]
    name = "-".join("".join(kept).split()).strip(".-")
    return name.encode()[:LONGEST].decode(errors="ignore").strip(".-") or "table"


def is_running(folder: Path) -> bool:
    """Say whether a process is executing a run in this folder."""
    lock = filelock.FileLock(folder / LOCK, timeout=0)
    if not (folder / LOCK).is_file():
        return False
    try:
        with lock:
            return False
    except (filelock.Timeout, OSError):
        return True


def clean(outputs: Path, kept: Callable[[str, str], bool]) -> Iterator[str]:
    """Remove what runs and the site have made, and nothing else.

    Parameters
    ----------
    outputs : Path
        Folder of all runs, ``<notebook>/<run>/`` each.
    kept : callable
        Says of a notebook and a run whether its record and its report stay.

    Yields
    ------
    str
        What was left and why, one line a folder.
    """
    for name in ("index.html", LOCK):
        (outputs / name).unlink(missing_ok=True)
    for path in sorted(p for p in outputs.glob("*/*") if p.is_dir() and p.name[0] != "."):
        if is_running(path):
            yield f"{path}: left, a process is executing a run in it"
            continue
        _clean_run(RunFolder(path, path.parent.name), kept(path.parent.name, path.name))
        others = strangers(path) if path.exists() else []
        if others:
            yield f"{path}: {len(others)} files left that no run lists, such as {others[0]}"
        _remove_empty(path, outputs)


def _clean_run(place: RunFolder, keeps: bool) -> None:
    """Remove one run, all but its record and report if those are to be kept."""
    place.recover()
    shutil.rmtree(place.workshop, ignore_errors=True)
    stay = {RECORD, REPORT} if keeps else set()
    made = (owned(place.path) & set(walk(place.path))) - stay
    if not (place.path / RECORD).exists():
        _move(place.path / PREVIOUS, place.path, stay)
    _remove(place.path, sorted(made, key=lambda name: name == RECORD))  # the list itself last
    for folder in ("figures", PREVIOUS):
        _remove_empty(place.path / folder, place.path)


def mark(folder: Path) -> dict | None:
    """Return the facts of the run that a folder holds, None if no run has marked it."""
    for name in (RECORD, FAILED, f"{PREVIOUS}/{RECORD}"):
        facts = files.read_json(folder / name)
        if facts and isinstance(facts.get("notebook"), str):
            return facts
    return None


def owned(folder: Path) -> set[str]:
    """Name what runs have left in a folder, whether it is there or not."""
    if mark(folder) is None:
        return REMAINS
    previous = {f"{PREVIOUS}/{name}" for name in _listed(folder / PREVIOUS)}
    return MACHINERY | _listed(folder) | previous


def strangers(folder: Path) -> list[str]:
    """List the files in a folder that no run has made."""
    others = set(walk(folder)) - owned(folder)
    return sorted(name for name in others if not _is_passing(name))


def walk(folder: Path, *parts: str) -> list[str]:
    """List every file below a folder, or below one folder in it, relative to it.

    Links to folders are files here.
    """
    found = []
    for root, folders, names in os.walk(folder.joinpath(*parts)):
        links = [name for name in folders if os.path.islink(os.path.join(root, name))]
        found += [Path(root, name).relative_to(folder).as_posix() for name in (*names, *links)]
    return found


def _listed(folder: Path) -> set[str]:
    """Read which files a record claims; a record without a list claims what every run writes."""
    facts = files.read_json(folder / RECORD)
    if facts is None:
        return set()
    listed = facts.get("files")
    names = listed if isinstance(listed, list) else []
    return {name for name in names if isinstance(name, str)} | {RECORD, REPORT, PAGE}


def _resumable(folder: Path) -> list[str]:
    found = {path for pattern in RESUMABLE for path in folder.glob(pattern) if path.is_file()}
    return sorted(path.relative_to(folder).as_posix() for path in found if path.name not in AFRESH)


def _is_passing(name: str) -> bool:
    """Say whether a file is one that a process was writing, or that only a running run has."""
    parts = Path(name).parts
    return name in REMAINS or any(part.startswith(files.PROVISIONAL) for part in parts)


def _clear(folder: Path) -> None:
    """Remove everything but what `RESUMABLE` names."""
    _remove(folder, set(walk(folder)) - set(_resumable(folder)))


def _remove(folder: Path, names: Iterable[str]) -> None:
    """Remove files, and the folders that are empty then."""
    for name in names:
        (folder / name).unlink(missing_ok=True)
        _remove_empty((folder / name).parent, folder)


def _remove_empty(folder: Path, root: Path) -> None:
    """Remove empty folders from one upwards, the root excluded."""
    with contextlib.suppress(OSError):  # not empty
        while folder != root:
            folder.rmdir()
            folder = folder.parent


def _move(source: Path, target: Path, names: Iterable[str]) -> None:
    """Rename files from one folder to another of the same file system, if they are there."""
    for name in names:
        if (source / name).exists():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            os.replace(source / name, target / name)
            _remove_empty((source / name).parent, source)


def _link(source: Path, target: Path, names: Iterable[str]) -> None:
    """Let files appear in a second folder as well, if they are there."""
    for name in names:
        if os.path.lexists(source / name):
            _appear(source / name, target / name)


def _appear(source: Path, target: Path) -> None:
    """Let a file appear at a second place, without taking space where links can be made."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:
        _copy(source, target)


def _copy(source: Path, target: Path) -> None:
    with files.aside(target) as beside:
        shutil.copy2(source, beside, follow_symlinks=False)


def _bring(source: Path, root: Path, name: str) -> None:
    """Let a user's file appear in another folder, under ``kept/`` if its name is taken there."""
    for place in _places(root, name):
        if _is_same(source, place):
            return
        if not _is_taken(place, root):
            _appear(source, place)
            return


def _places(root: Path, name: str) -> Iterator[Path]:
    yield root / name
    yield root / KEPT / name
    yield from (root / f"{KEPT}-{number}" / name for number in itertools.count(2))


def _is_taken(place: Path, root: Path) -> bool:
    """Say whether something is at a place, or a file where one of its folders should be."""
    above = [folder for folder in place.parents if folder.is_relative_to(root)]
    return os.path.lexists(place) or any(os.path.lexists(f) and not f.is_dir() for f in above)


def _is_same(first: Path, second: Path) -> bool:
    """Say whether two files, or links, say the same."""
    if first.is_symlink() or second.is_symlink():
        return first.is_symlink() and second.is_symlink() and first.readlink() == second.readlink()
    return second.is_file() and filecmp.cmp(first, second, shallow=False)
