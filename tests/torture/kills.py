"""Kill the kernel, the runner and make, at random and in the windows that matter.

    python tests/torture/kills.py 200

A scratch project is run again and again, each time with another number of clusters, and killed.
After each kill the folder must hold one whole run, with every file of a user; no process may
survive; and every fifth time the next run must end well. Takes about five seconds a kill.
"""

import collections
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nbformat
import psutil

sys.path.insert(0, str(Path(__file__).parents[1]))
import scratch

from whycluster.runs.folder import RunFolder, is_running

PARAMETERS = "data = ''  # file\nn_clusters = None  # K\nn = 1  # n\nseeds = [0]  # seeds"
CELLS = (
    "import time\ntime.sleep(0.2)",
    "(run.folder / 'assignments.csv').write_text(str(n_clusters))",
    "(run.folder / 'explanations.csv').write_text(str(n_clusters))",
    "(run.figures / 'a.txt').write_text(str(n_clusters))",
    "(run.folder / 'model').mkdir()\n(run.folder / 'model/weights').write_text(str(n_clusters))",
)
USERS = {"figures/thesis.png": "mine", "notes/letter.txt": "mine, too"}
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
VICTIMS = ("kernel", "runner", "make", "all")
# What appears when: in the folder of a run (F), in its workshop (W), in the attempt (A).
WINDOWS = (
    "W/reserve",
    "F/report.partial.ipynb",
    "A/assignments.csv",
    "A/record.partial.json",
    "A/report.ipynb",
    "A/record.json",
    "W/failed/failed.json",
    "exchanged",
)


class Job:
    """One of the two ways to run: a table of a user's own, or a file of parameters."""

    def __init__(self, project, command, place):
        self.project, self.command, self.place = project, command, place

    def start(self, clusters):
        """Start make, in a process group of its own."""
        (self.project / "parameters/10-a/big.yaml").write_text(f"n_clusters: {clusters}\n")
        return subprocess.Popen(
            ["make", f"PYTHON={sys.executable}", *self.command, f"K={clusters}"],
            cwd=self.project,
            env=scratch.environment(self.project),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )


def main(count, seed):
    """Kill `count` times and print how often something was lost."""
    rng = random.Random(seed)
    failures, kinds = [], collections.Counter()
    with tempfile.TemporaryDirectory() as folder:
        jobs = prepare(Path(folder))
        for number in range(1, count + 1):
            job = rng.choice(jobs)
            kind = kill(job, number + 2, rng)
            kinds[kind] += 1
            problems = inspect(job) + (finish(job, number + 2) if number % 5 == 0 else [])
            failures += problems
            for problem in problems:
                print(f"kill {number} ({', '.join(kind)}): {problem}", flush=True)
    print(f"{count} kills, {len(failures)} failures")
    return bool(failures)


def prepare(project):
    """Make the project, and each run once, with a user's files in its folder."""
    scratch.library(project)
    shutil.copy(scratch.REPOSITORY / "Makefile", project)
    (project / "people.csv").write_text("a,b\n1,2\n")
    (project / "parameters/10-a").mkdir(parents=True)
    for name in ("00-your-table", "10-a"):
        scratch.add(project, name, *CELLS, parameters=PARAMETERS)
    jobs = [
        Job(
            project,
            ["cluster", "DATA=people.csv", "OUT=found"],
            RunFolder(project / "found", "00-your-table"),
        ),
        Job(project, ["run", "RUN=10-a/big"], RunFolder(project / "outputs/10-a/big", "10-a")),
    ]
    for job in jobs:
        assert finish(job, 2) == []
        for name, text in USERS.items():
            (job.place.path / name).parent.mkdir(exist_ok=True)
            (job.place.path / name).write_text(text)
    return jobs


def kill(job, clusters, rng):
    """Start a run and kill one of its processes; return which, how and when."""
    victim, number = rng.choice(VICTIMS), rng.choice(SIGNALS)
    window = rng.choice((*WINDOWS, "random", "random", "random"))
    process = job.start(clusters)
    wait(job, process, window, rng)
    with contextlib.suppress(psutil.Error, ProcessLookupError):
        if victim == "all":
            os.killpg(process.pid, number)
        else:
            for found in choose(process, victim):
                found.send_signal(number)
    process.communicate()
    return victim, signal.Signals(number).name, window


def wait(job, process, window, rng):
    """Wait until a window opens, or some time, or until the run is over."""
    if window == "random":
        time.sleep(rng.uniform(0, 4))
        return
    place = job.place
    before = place.path.stat().st_ino if place.path.exists() else None
    roots = {"F": place.path, "W": place.workshop, "A": place.attempt}
    started = time.time()
    while process.poll() is None:
        with contextlib.suppress(FileNotFoundError):
            if window == "exchanged" and place.path.stat().st_ino != before:
                break
            if window != "exchanged":
                file = roots[window[0]] / window[2:]
                if file.stat().st_ctime > started:
                    break
        time.sleep(0.0002)
    time.sleep(rng.choice((0, 0, 0.0005, 0.003)))


def choose(process, victim):
    """Find the processes of one kind below make."""
    make = psutil.Process(process.pid)
    marks = {"kernel": "ipykernel_launcher", "runner": "whycluster.runs"}
    if victim == "make":
        return [make]
    children = make.children(recursive=True)
    return [p for p in children if any(marks[victim] in word for word in p.cmdline())]


def inspect(job):
    """List what is wrong once all processes have ended."""
    problems = [] if is_quiet(job.project) else ["a process survives"]
    if is_running(job.place.path):
        problems.append("the run is said to be running")
    try:
        problems += check(job.place)
    except Exception as error:
        problems.append(f"{type(error).__name__}: {error}")
    return problems


def check(place):
    """List what does not belong together in the folder of a run."""
    path = place.path
    problems = [f"{n} is lost" for n, text in USERS.items() if (path / n).read_text() != text]
    if (path / "failed.json").exists() and (path / "report.ipynb").exists():
        problems.append("an old report beside failed.json")
    for root in (path, path / "previous"):
        if (root / "record.json").exists() or (root / "report.ipynb").exists():
            problems += [f"{root.name}: {text}" for text in check_whole(root)]
    for partial in path.glob("report.partial.ipynb"):
        nbformat.validate(nbformat.read(partial, as_version=4))
    return problems


def check_whole(root):
    """List which files are of another run than the record."""
    record = json.loads((root / "record.json").read_text())
    clusters = str(record["parameters"]["n_clusters"])
    report = nbformat.read(root / "report.ipynb", as_version=4)
    nbformat.validate(report)
    given = str(report.metadata.papermill.parameters.n_clusters)
    names = ("assignments.csv", "explanations.csv", "figures/a.txt", "model/weights")
    found = {name: (root / name).read_text() for name in names} | {"report.ipynb": given}
    return [f"{name} is of another run" for name, value in found.items() if value != clusters]


def finish(job, clusters):
    """Let a run end, and list what is wrong then."""
    process = job.start(clusters)
    said = process.communicate()[1]
    problems = [] if process.returncode == 0 else [f"the next run ends with {said.strip()!r}"]
    if job.place.workshop.exists():
        problems.append("the workshop stays behind")
    if list(job.place.path.glob("*partial*")):
        problems.append("something partial stays behind")
    return problems


def is_quiet(project, patience=30):
    """Wait until no process works in the project, and say whether that came true."""
    end = time.monotonic() + patience
    while any(map(lambda process: lives_in(process, project), psutil.process_iter())):
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True


def lives_in(process, project):
    with contextlib.suppress(psutil.Error):
        return process.cwd() == str(project) and process.status() != psutil.STATUS_ZOMBIE
    return False


if __name__ == "__main__":
    arguments = [int(text) for text in sys.argv[1:]]
    sys.exit(main(*(arguments + [200, 0][len(arguments) :])))
