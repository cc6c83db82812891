"""Hostile notebooks and faults of the system: a run is whole, or its folder says why not.

    python tests/torture/notebooks.py

Each of 29 notebooks and each of 24 faults is one run of a scratch project, in processes of its
own. It ends as a finished run, or with one line that is true, on the screen and, where the folder
can be written, in ``failed.json``; no process and no half folder stays. Takes some four minutes.
Where no disk can be mounted, the full disks are left out, and this is said.
"""

import contextlib
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import nbformat
import psutil
from nbformat.v4 import new_code_cell, new_markdown_cell

sys.path.insert(0, str(Path(__file__).parents[1]))
import scratch

from whycluster.runs.folder import is_running

SECONDS = 120  # for one run; a longer one is stuck
DONE = ""  # the reason of a run that must end well
EITHER = "."  # of one that may end well, or say anything in one line
MB = 2**20
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptV"
SHOW = "from IPython.display import display\n"
FORK = (
    "import os, time\nif os.fork() == 0:\n    {}\n    time.sleep(600)\n    os._exit(0)\n"
    "time.sleep(0.6)"
)
CHILD = "import subprocess\nsubprocess.Popen(['sleep', '600'], start_new_session=True)"
LIMIT = (
    "import resource\nresource.setrlimit(resource.RLIMIT_AS, (900 << 20, -1))\n"
    "x = bytearray(2 << 30)"
)
THREAD = "import threading, time\nthreading.Thread(target=time.sleep, args=[600]).start()"
STREAM = "import sys\nfor _ in range(50):\n    print('x' * 999_999)"


@dataclass
class Case:
    """One run, and how it must end.

    Attributes
    ----------
    name : str
        What is hostile about it.
    reason : str
        Pattern of the line that it must give, or ``DONE`` or ``EITHER``.
    cells : tuple of str
        Cells between ``runs.start`` and ``run.record``.
    change : callable
        Called with the notebook before it is written.
    prepare : callable
        Called with the project and the folder of the run before that starts.
    limit : callable
        Called in the runner's process before it starts.
    timeout : float
        Seconds that the run may take.
    disk : str
        Options of a disk that is mounted for the outputs.
    """

    name: str
    reason: str
    cells: tuple[str, ...] = ()
    change: Callable = lambda notebook: None
    prepare: Callable = lambda project, folder: None
    limit: Callable = lambda: None
    timeout: float = 60
    disk: str = ""
    environment: dict[str, str] = field(default_factory=dict)


# --- hostile notebooks -----------------------------------------------------------------------


def empty(notebook):
    """Take all cells out."""
    notebook.cells = []


def without_metadata(notebook):
    """Leave no word of a kernel or a language."""
    notebook.metadata = {}


def foreign_kernel(notebook):
    """Ask for a kernel that nobody has."""
    notebook.metadata = {"kernelspec": {"name": "gone", "display_name": "x", "language": "R"}}


def markup(notebook):
    """Write markup and odd letters into the title."""
    notebook.cells[0].source = "# <script>x</script> \u202e {{ 7 * 7 }} ' \" & `a`\n\nAn answer."


def picture(notebook):
    """Paste pictures into a Markdown cell, one of which is none."""
    cell = new_markdown_cell("![a](attachment:a.png) ![b](attachment:b.png) ![c](attachment:c)")
    cell.attachments = {"a.png": {"image/png": PIXEL}, "b.png": {"image/png": "no picture"}}
    notebook.cells.insert(1, cell)


def old_outputs(notebook):
    """Leave outputs of another time, and odd metadata."""
    stored = {"output_type": "display_data", "data": {"image/png": "!"}, "metadata": {}}
    notebook.cells[-1].outputs = [nbformat.from_dict(stored)]
    notebook.cells[-1].metadata = {"tags": ["remove_cell"], "papermill": {"status": "failed"}}


def raw_and_magic(notebook):
    """Add a raw cell, an empty one, and one of shell and magic."""
    notebook.cells.insert(2, nbformat.v4.new_raw_cell("\\x{"))
    notebook.cells.insert(2, new_code_cell(""))
    notebook.cells.insert(3, new_code_cell("%matplotlib inline\n!echo from a shell\n%time 1"))


def deep_title(notebook):
    """Write a title that fills a book."""
    notebook.cells[0].source = "# " + "long " * 40_000


RAISES = "class Odd(Exception):\n    def __str__(self):\n        raise ValueError\nraise Odd"
RECORDS = "(run.folder / 'record.partial.json').write_text({!r})\nrun.record = lambda *a, **k: None"
OUTPUT = SHOW + "display({{{!r}: {}}}, raw=True)"

NOTEBOOKS = (
    Case("no cells", "without calling run.record", change=empty),
    Case("no kernel spec", DONE, change=without_metadata),
    Case("a kernel that is not there", DONE, change=foreign_kernel),
    Case("os._exit", r"kernel died \(exit status 3\) in cell", ("import os\nos._exit(3)",)),
    Case("SystemExit", "SystemExit: 1", ("import sys\nsys.exit(1)",)),
    Case("KeyboardInterrupt", "interrupted from outside", ("raise KeyboardInterrupt",)),
    Case("an error that cannot be written", "ValueError", (RAISES,)),
    Case(
        "an error of many lines",
        "ValueError: first",
        ("raise ValueError('first\\nsecond\\n' * 99)",),
    ),
    Case("memory under a limit", "out of memory", (LIMIT,)),
    Case("a kernel that kills itself", "kernel died", ("import os\nos.kill(os.getpid(), 9)",)),
    Case("a crash", "kernel died .*SIGSEGV", ("import ctypes\nctypes.string_at(0)",)),
    Case("50 MB printed", DONE, (STREAM,)),
    Case("its folder removed", EITHER, ("import shutil\nshutil.rmtree(run.folder)",)),
    Case("a folder in figures", DONE, ("(run.figures / 'a/b.png').mkdir(parents=True)",)),
    Case("no valid image", DONE, (OUTPUT.format("image/png", "'no image'"),)),
    Case("an image of another type", DONE, (OUTPUT.format("image/svg+xml", "'<svg><script>'"),)),
    Case("a record that does not parse", "record", (RECORDS.format('{"seeds": [0'),)),
    Case("a record of odd values", "record", (RECORDS.format('{"seeds": 1, "results": []}'),)),
    Case("another working folder", "No such file", ("import os\nos.chdir('/')",)),
    Case("a closed stdout", DONE, ("import os\nos.close(1)\nos.close(2)\nprint('on')",)),
    Case("sys.stdout replaced", EITHER, ("import sys\nsys.stdout = None\nsys.stderr = 3",)),
    Case("a fork", DONE, (FORK.format("pass"),)),
    Case(
        "a fork that leaves its parents",
        DONE,
        (FORK.format("os.setsid()\n    if os.fork(): os._exit(0)"),),
    ),
    Case("a child in a session of its own", DONE, (CHILD,)),
    Case(
        "threads that do not end",
        DONE,
        (THREAD,),
    ),
    Case(
        "sleep beyond the limit",
        "timed out after 8 s in cell",
        ("import time\ntime.sleep(600)",),
        timeout=8,
    ),
    Case("markup in the title", DONE, change=markup),
    Case("pictures and attachments", DONE, change=picture),
    Case(
        "old outputs, raw cells, magic", DONE, change=lambda n: (raw_and_magic(n), old_outputs(n))
    ),
)


# --- faults of the system --------------------------------------------------------------------


def put(kind: str, name: str) -> Callable:
    """Return what puts a thing of a kind in the way, in the project."""

    def prepare(project, folder):
        path = project / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if kind == "fifo":
            os.mkfifo(path)
        elif kind == "nowhere":
            path.symlink_to(project / "gone/far")
        elif kind == "itself":
            path.symlink_to(path.name)
        elif kind == "file":
            path.write_text("mine")
        else:
            path.mkdir()

    return prepare


def at_most(what: int, value: int) -> Callable:
    """Return what sets a limit of the process."""
    return lambda: resource.setrlimit(what, (value, value))


def big(size: int) -> tuple[str]:
    """Return a cell that writes a file of `size` bytes into the folder of the run."""
    return (f"(run.folder / 'table.csv').write_bytes(b'x' * {size})",)


FOLDER, MAKING = "outputs/10-a/quick", "outputs/10-a/.quick.making"
FULL = "no space left|No space left|cannot write to"
FAULTS = (
    Case(
        "a file for outputs",
        "Not a directory|File exists|it is a file",
        prepare=put("file", "outputs"),
    ),
    Case(
        "a file for the notebook's folder",
        "cannot write|Not a directory",
        prepare=put("file", "outputs/10-a"),
    ),
    Case("a file for the folder", "it is a file", prepare=put("file", FOLDER)),
    Case(
        "a file for the workshop",
        "cannot write|Not a directory|File exists",
        prepare=put("file", MAKING),
    ),
    Case("a folder for failed.json", EITHER, prepare=put("folder", f"{FOLDER}/failed.json")),
    Case(
        "a folder for the partial report",
        EITHER,
        prepare=put("folder", f"{FOLDER}/report.partial.ipynb"),
    ),
    Case("a folder for the lock", EITHER, prepare=put("folder", f"{FOLDER}/.lock")),
    Case("a link to nowhere", EITHER, prepare=put("nowhere", FOLDER)),
    Case("outputs linked to nowhere", EITHER, prepare=put("nowhere", "outputs")),
    Case("a link to itself", EITHER, prepare=put("itself", FOLDER)),
    Case("a FIFO for the folder", "it is a file", prepare=put("fifo", FOLDER)),
    Case("a FIFO for the record", "record.json", prepare=put("fifo", f"{FOLDER}/record.json")),
    Case("a FIFO among the figures", EITHER, prepare=put("fifo", f"{FOLDER}/figures/a.png")),
    Case("a disk full at once", FULL, disk="size=16k"),
    Case("a disk nearly full", EITHER, disk="size=96k"),
    Case("a disk full in a cell", FULL, big(4 * MB), disk="size=1m"),
    Case(
        "a disk full when it is published",
        EITHER,
        (f"print('x' * {MB})",),
        disk="size=2500k",
    ),
    Case("no inode left", EITHER, disk="size=4m,nr_inodes=12"),
    Case("a read-only disk", "Read-only file system", disk="ro"),
    Case("few open files", "files may be open", limit=at_most(resource.RLIMIT_NOFILE, 24)),
    Case("hardly any open files", "files may be open", limit=at_most(resource.RLIMIT_NOFILE, 12)),
    Case("files of 20 kB at most", EITHER, big(MB), limit=at_most(resource.RLIMIT_FSIZE, 20_000)),
    Case("names at the limit of length", DONE, ("(run.folder / ('n' * 255)).write_text('x')",)),
    Case("no folder of temporary files", EITHER, environment={"TMPDIR": "/nowhere"}),
)


# --- how they end ----------------------------------------------------------------------------


def run(case: Case, project: Path) -> list[str]:
    """Run a case in a new project; list what is wrong with how it ends."""
    scratch.library(project)
    path = scratch.add(project, "10-a", *case.cells)
    notebook = nbformat.read(path, as_version=4)
    case.change(notebook)
    nbformat.write(notebook, path)
    with mounted(project / "outputs", case.disk):
        case.prepare(project, project / FOLDER)
        mine = {p: p.read_text() for p in project.glob("outputs/**/*") if p.is_file()}
        status, said = execute(case, project)
        problems = [f"{p.name} of a user is lost" for p in mine if not os.path.lexists(p)]
        problems += inspect(case, project, status, said)
    return problems


@contextlib.contextmanager
def mounted(outputs: Path, options: str):
    """Mount a small disk for the outputs."""
    if options:
        outputs.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", outputs], check=True)
    try:
        yield
    finally:
        if options:
            subprocess.run(["umount", "-l", outputs], check=True)


def execute(case: Case, project: Path) -> tuple[int | None, str]:
    """Execute the run; return its exit status, None if it does not end, and what it says."""
    arguments = [
        "execute",
        "notebooks/10-a.ipynb",
        "--run",
        "quick",
        "--timeout",
        str(case.timeout),
    ]
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(
            [*scratch.COMMAND, *arguments],
            cwd=project,
            env=scratch.environment(project) | case.environment,
            stdout=subprocess.DEVNULL,
            stderr=said,
            preexec_fn=case.limit,
            start_new_session=True,
        )
        try:
            status = process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            status = process.wait() and None
        said.seek(0)
        return status, said.read()


def inspect(case: Case, project: Path, status: int | None, said: str) -> list[str]:
    """List what is wrong once a run has ended."""
    problems = ["it does not end"] if status is None else []
    left = orphans(project)
    problems += [f"a process survives: {' '.join(p.cmdline())[:80]}" for p in left]
    for process in left:
        process.kill()
    if is_running(project / FOLDER):
        problems.append("the run is said to be running")
    if status == 0:
        return problems + check_done(case, project / FOLDER, said)
    return problems + check_failed(case, project / FOLDER, status, said)


def orphans(project: Path) -> list[psutil.Process]:
    """List the processes that a run has left, after a moment to end."""
    for _ in range(30):
        left = [p for p in psutil.process_iter() if belongs(p, project)]
        if not left:
            break
        time.sleep(0.1)
    return left


def belongs(process: psutil.Process, project: Path) -> bool:
    """Say whether a process has the environment of the project."""
    with contextlib.suppress(psutil.Error):
        is_alive = process.status() != psutil.STATUS_ZOMBIE
        return is_alive and process.environ().get("PYTHONPATH") == str(project / "lib")
    return False


def check_done(case: Case, folder: Path, said: str) -> list[str]:
    """List what a finished run lacks, or has too much."""
    problems = [f"it says {said.strip()!r}"] if said else []
    if case.reason not in (DONE, EITHER):
        problems.append("it ends well")
    try:
        record = json.loads((folder / "record.json").read_text())
        nbformat.validate(nbformat.read(folder / "report.ipynb", as_version=4))
        missing = [n for n in record["files"] if n[-5:] != ".html" and not (folder / n).exists()]
        problems += [f"{name} is missing" for name in missing]
    except Exception as error:
        problems.append(f"{type(error).__name__}: {error}")
    extra = [n for n in ("failed.json", "report.partial.ipynb") if (folder / n).is_file()]
    if (folder.parent / f".{folder.name}.making").exists():
        extra.append("the workshop")
    return problems + [f"{name} stays behind" for name in extra]


def check_failed(case: Case, folder: Path, status: int | None, said: str) -> list[str]:
    """List what is wrong with a run that gives a reason."""
    lines = said.strip().splitlines()
    problems = [] if len(lines) == 1 and lines[0].startswith("error: ") else [f"it says {said!r}"]
    if status not in (1, 2):
        problems.append(f"its exit status is {status}")
    if case.reason == DONE or not re.search(case.reason, said):
        problems.append(f"it fails with {said.strip()!r}")
    return problems + (check_reason(folder, said) if status == 1 else [])


def check_reason(folder: Path, said: str) -> list[str]:
    """Compare the reason in the folder with the one on the screen."""
    if "failed.json could not be written" in said:
        return []
    if (folder / "report.ipynb").exists() or (folder / "record.json").is_file():
        return ["a report or record lies beside the reason"]
    try:
        reason = json.loads((folder / "failed.json").read_text())["reason"]
    except (OSError, ValueError, KeyError) as error:
        return [f"no failed.json: {type(error).__name__}: {error}"]
    return [] if len(reason.splitlines()) == 1 else [f"failed.json says {reason!r}"]


def can_mount() -> bool:
    """Say whether this user may mount a disk."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["mount", "-t", "tmpfs", "tmpfs", folder]
        done = shutil.which("mount") and subprocess.run(command, check=False, capture_output=True)
        if done and done.returncode == 0:
            subprocess.run(["umount", folder], check=True)
        return bool(done) and done.returncode == 0


def main(words: list[str]) -> int:
    """Run every case, or those with one of the words in their names; 1 if any fails."""
    mounts = can_mount()
    chosen = [c for c in (*NOTEBOOKS, *FAULTS) if not words or any(w in c.name for w in words)]
    left_out = [case.name for case in chosen if case.disk and not mounts]
    failures = 0
    for case in chosen:
        if case.name not in left_out:
            with tempfile.TemporaryDirectory() as folder:
                problems = run(case, Path(folder))
            failures += bool(problems)
            if problems:
                print(f"{case.name}: {'; '.join(problems)}", flush=True)
    print(*(f"{name}: left out, no disk can be mounted" for name in left_out), sep="\n", end="")
    print(f"{len(chosen) - len(left_out)} runs, {failures} failures")
    return int(bool(failures))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
