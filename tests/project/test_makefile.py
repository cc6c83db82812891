"""The Makefile: what depends on what, and that a killed ``make reproduce`` can be repeated."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest
import scratch
from scratch import REPOSITORY, add, add_plain, environment

MAKEFILE = (REPOSITORY / "Makefile").read_text()
WITH = f"PYTHON={sys.executable}"
AN_HOUR_AGO = time.time() - 3600


@pytest.fixture
def project(tmp_path):
    """Return a project with the real Makefile and two notebooks that take no time."""
    scratch.library(tmp_path)
    shutil.copy(REPOSITORY / "Makefile", tmp_path)
    add(tmp_path, "10-a")
    add(tmp_path, "11-b")
    (tmp_path / "parameters/10-a").mkdir(parents=True)
    (tmp_path / "parameters/10-a/big.yaml").write_text("n: 7\n")
    return tmp_path


@pytest.fixture
def finished(project):
    """Return the project with all its runs made, as far as make can tell."""
    for path in project.rglob("*"):
        os.utime(path, (AN_HOUR_AGO, AN_HOUR_AGO))
    for run in ("10-a/quick", "11-b/quick", "10-a/big"):
        (project / "outputs" / run).mkdir(parents=True)
        (project / "outputs" / run / "report.ipynb").write_text("{}")
        made = {"notebook": run.split("/")[0], "run": run.split("/")[1], "files": ["figures/a.png"]}
        (project / "outputs" / run / "record.json").write_text(json.dumps(made))
    return project


def make(project, *arguments):
    """Run make in a project with this interpreter."""
    return subprocess.run(
        ["make", WITH, *arguments],
        cwd=project,
        env=environment(project),
        capture_output=True,
        text=True,
        timeout=200,
    )


def stale(project, *arguments):
    """List the runs that make would execute."""
    done = make(project, "--dry-run", "quick", "full", *arguments)
    assert done.returncode == 0, done.stderr
    return sorted(re.findall(r"execute notebooks/(\S+)\.ipynb --run (\S+)", done.stdout))


def reports(project):
    """Read every report of a project, which must be whole, with its time of change."""
    found = sorted(project.glob("outputs/*/*/report.ipynb"))
    for path in found:
        nbformat.validate(nbformat.read(path, as_version=4))
        assert json.loads((path.parent / "record.json").read_text())["status"] == "done"
    return {path.parent.parent.name: path.stat().st_mtime_ns for path in found}


def test_the_makefile_is_short_and_its_targets_are_declared():
    assert len(MAKEFILE.splitlines()) <= 60
    phony = set(re.search(r"\.PHONY: (.*)", MAKEFILE).group(1).split())
    assert phony == set(re.findall(r"^([a-z]+):", MAKEFILE, re.MULTILINE))


def test_help_is_the_default_and_lists_every_target(project):
    listed = re.findall(r"^make ([a-z]+) +\S", make(project).stdout, re.MULTILINE)
    named = "reproduce paper run report cluster test torture bench lint lab clean"
    assert listed == named.split()


def test_nothing_is_repeated_when_nothing_changed(finished):
    assert stale(finished) == []


@pytest.mark.parametrize(
    ("touched", "expected"),
    [
        ("notebooks/11-b.ipynb", [("11-b", "quick")]),
        ("notebooks/10-a.ipynb", [("10-a", "big"), ("10-a", "quick")]),
        ("parameters/10-a/big.yaml", [("10-a", "big")]),
        (
            "lib/whycluster/__init__.py",
            [("10-a", "big"), ("10-a", "quick"), ("11-b", "quick")],
        ),
    ],
)
def test_a_change_repeats_what_depends_on_it_and_no_more(finished, touched, expected):
    later = time.time() + 10
    os.utime(finished / touched, (later, later))
    assert stale(finished) == expected


def test_a_missing_run_is_made_without_the_others(finished):
    (finished / "outputs/11-b/quick/report.ipynb").unlink()
    assert stale(finished) == [("11-b", "quick")]


def test_launch_goes_before_each_run_and_time_is_limited(project):
    shown = make(project, "--dry-run", "quick", "full", "LAUNCH=srun --gpus=1").stdout
    assert shown.count('srun --gpus=1 "$WHYCLUSTER_PYTHON" -m whycluster.runs execute') == 3
    assert len(re.findall(r'--run quick --timeout "\${TIMEOUT:-900}"$', shown, re.MULTILINE)) == 2
    assert len(re.findall(r'big.yaml --timeout "\${TIMEOUT:-86400}"$', shown, re.MULTILINE)) == 1


def test_a_run_that_was_not_named_or_does_not_exist_is_an_error(project):
    unnamed = make(project, "run")
    assert unnamed.returncode == 2
    assert "which run?" in unnamed.stdout
    unknown = make(project, "run", "RUN=10-a/typo")
    assert unknown.returncode == 2
    assert "outputs/10-a/typo/report.ipynb" in unknown.stderr
    assert not (project / "outputs").exists()


def test_one_failed_run_stops_neither_the_others_nor_the_site(project):
    add_plain(project, "09-broken", "raise ValueError('no such gene')")
    before = set(os.listdir(project))
    done = make(project, "-j2", "reproduce")
    assert done.returncode == 2
    assert "error: 09-broken/quick: ValueError: no such gene (cell 2)" in done.stderr
    assert set(reports(project)) == {"10-a", "11-b"}
    threads = json.loads((project / "outputs/10-a/quick/record.json").read_text())["threads"]
    assert threads == max(1, len(os.sched_getaffinity(0)) // 2)
    assert "no such gene" in (project / "outputs/index.html").read_text()
    assert set(os.listdir(project)) - before == {"outputs"}, "PYTHON= creates nothing else"

    made = reports(project)
    add_plain(project, "09-broken", "1")
    done = make(project, "run", "RUN=10-a/big")
    assert done.returncode == 0, done.stderr
    record = json.loads((project / "outputs/10-a/big/record.json").read_text())
    assert record["results"][0]["values"] == [7]
    assert (project / "outputs/11-b/quick/report.ipynb").stat().st_mtime_ns == made["11-b"]


MOMENTS = (
    "10-a/quick/.lock",
    "10-a/quick/report.partial.ipynb",
    "10-a/.quick.making/quick/record.partial.json",
    "10-a/.quick.making/quick/report.ipynb",
    "10-a/quick/report.ipynb",
    "11-b/.quick.making/quick/record.partial.json",
    "11-b/quick/report.ipynb",
)


@pytest.mark.slow
def test_reproduce_can_be_killed_at_any_moment_and_repeated(project):
    for path in project.rglob("*"):
        os.utime(path, (AN_HOUR_AGO, AN_HOUR_AGO))
    finished = {}
    for moment in MOMENTS:
        _kill_when(project, project / "outputs" / moment)
        assert reports(project).items() >= finished.items(), "a finished run was repeated"
        finished = reports(project)
        for path in project.glob("outputs/*/*/*.json"):
            json.loads(path.read_text())
        for path in project.glob("outputs/*/*/*.ipynb"):
            nbformat.validate(nbformat.read(path, as_version=4))
    done = make(project, "reproduce")
    assert done.returncode == 0, done.stderr
    assert reports(project).items() >= finished.items()
    assert set(reports(project)) == {"10-a", "11-b"}
    assert not list(project.glob("outputs/*/*/*partial*"))


def _kill_when(project, path):
    """Start ``make reproduce``; when a file is written, kill it and all it started."""
    start = time.time_ns()
    process = subprocess.Popen(
        ["make", WITH, "reproduce"],
        cwd=project,
        env=environment(project),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    while process.poll() is None and not _is_written_since(path, start):
        time.sleep(0.002)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _is_written_since(path, start):
    with contextlib.suppress(FileNotFoundError):
        return path.stat().st_mtime_ns > start - 20_000_000  # file times lag the clock a little
    return False


PYTHON3 = """#!/bin/sh
echo "$0 $@" >> {log}
case "$1 $2" in
  "-m venv") mkdir -p "$3/bin" && cp "$0" "$3/bin/python" ;;
  "-m pip") test ! -e {log}.fail || exit 1 ;;
esac
"""


@pytest.fixture
def bare(project):
    """Return the project and the log of a fake ``python3``, first on the path."""
    log = project / "log"
    tool = project / "tools" / "python3"
    tool.parent.mkdir()
    tool.write_text(PYTHON3.format(log=log))
    tool.chmod(0o755)
    (project / "requirements.lock").write_text("")
    path = f"{tool.parent}{os.pathsep}{os.environ['PATH']}"
    variables = {k: v for k, v in environment(project).items() if k != "PYTHON"} | {"PATH": path}

    def bootstrap():
        log.write_text("")
        done = subprocess.run(
            ["make", "report"], cwd=project, env=variables, capture_output=True, timeout=60
        )
        return done.returncode, log.read_text()

    return project, bootstrap


def test_the_environment_is_made_once(bare):
    project, bootstrap = bare
    status, log = bootstrap()
    assert status == 0
    steps = ["-m venv .venv", "-r requirements.lock", "--no-build-isolation -e .", "runs report"]
    assert [line for step in steps for line in log.splitlines() if step in line] == [
        line for line in log.splitlines() if "-c" not in line.split()[1]
    ]
    assert (project / ".venv/.ready").exists()
    _, log = bootstrap()
    assert log == ".venv/bin/python -m whycluster.runs report\n"


def test_an_environment_that_was_cut_off_starts_over(bare):
    project, bootstrap = bare
    (project / "log.fail").write_text("")
    assert bootstrap()[0] != 0
    assert not (project / ".venv/.ready").exists()
    (project / ".venv/half-installed").write_text("")
    (project / "log.fail").unlink()
    assert bootstrap()[0] == 0
    assert not (project / ".venv/half-installed").exists()


def test_a_new_lock_updates_the_environment_in_place(bare):
    project, bootstrap = bare
    bootstrap()
    (project / ".venv/kept").write_text("")
    later = time.time() + 10
    os.utime(project / "requirements.lock", (later, later))
    _, log = bootstrap()
    assert "-r requirements.lock" in log
    assert (project / ".venv/kept").exists()


def test_clean_keeps_full_scale_reports_and_what_no_run_made(finished):
    for name in ("figures/a.png", "figures/thesis.png", "report.html"):
        path = finished / "outputs/10-a/big" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("")
    (finished / "outputs/index.html").write_text("")
    done = make(finished, "clean")
    assert done.returncode == 0, done.stderr
    left = {str(p.relative_to(finished)) for p in finished.glob("outputs/**/*") if p.is_file()}
    names = ("record.json", "report.ipynb", "figures/thesis.png")
    assert left == {f"outputs/10-a/big/{name}" for name in names}
    assert "outputs/10-a/big: 1 files left that no run lists" in done.stdout


# What a user writes is text


FAKE = """#!/bin/sh
for word in "$@"; do printf '%s\\n' "$word" >> words; done
"""
HOSTILE = (
    "a'; touch pwn; '",
    '"; touch pwn; "',
    "$(shell touch pwn)",
    "`touch pwn`",
    "$$(touch pwn)",
    "${SHELL}",
    "o'brien.csv",
    "cost$100.csv",
    "my table; touch pwn #.csv",
    "--out",
    "客户.csv",
)


@pytest.fixture
def words(project):
    """Return a function that runs make and lists the words that the interpreter was given."""
    (project / "fake").write_text(FAKE)
    (project / "fake").chmod(0o755)

    def call(*arguments, **variables):
        (project / "words").write_text("")
        before = set(os.listdir(project))
        given = [f"{key}={value}" for key, value in variables.items()]
        for way, extra in ((given, {}), ([], variables)):  # as arguments, and in the environment
            subprocess.run(
                ["make", "PYTHON=./fake", *arguments, *way],
                cwd=project,
                env=environment(project) | extra,
                capture_output=True,
                timeout=60,
            )
        assert set(os.listdir(project)) == before
        return (project / "words").read_text().splitlines()

    return call


@pytest.mark.parametrize("text", HOSTILE)
def test_a_variable_reaches_its_command_as_the_text_it_is(words, text):
    asked = words("cluster", DATA=text, K=text, OUT=text, TIMEOUT=text)
    expected = [
        *("-m", "whycluster.runs", "cluster"),
        *(f"--k={text}", f"--out={text}", f"--timeout={text}", "--", text),
    ]
    assert asked == expected * 2


@pytest.mark.parametrize("text", HOSTILE)
def test_no_variable_and_no_file_name_is_run_as_code(project, words, text):
    for path in (project / f"notebooks/{text}.ipynb", project / f"parameters/10-a/{text}.yaml"):
        with contextlib.suppress(OSError):
            shutil.copy(project / "notebooks/10-a.ipynb", path)
    for target in ("quick", "full", "run", "reproduce"):
        for run in (text, f"10-a/{text}"):
            words(target, RUN=run, TIMEOUT=text)
            assert words("--dry-run", target, RUN=run, TIMEOUT=text, LAUNCH=text) == []
    words("help", PYTHON=text)


def test_a_dry_run_writes_nothing(project):
    before = sorted(project.rglob("*"))
    for target in ("reproduce", "paper", "report", "clean", "run", "cluster"):
        make(project, "--dry-run", target, "RUN=10-a/big", "DATA=x.csv")
        make(project, "--question", target, "RUN=10-a/big", "DATA=x.csv")
    assert sorted(project.rglob("*")) == before


@pytest.mark.parametrize("name", ["my analysis", "a'b", "$(x)", "a;b"])
def test_a_notebook_whose_name_make_cannot_bear_is_refused_in_one_line(project, name):
    add(project, name)
    done = make(project, "PYTHON=true", "-k", "quick")
    assert done.returncode == 2
    assert done.stderr.splitlines()[0] == (
        f"notebooks/{name}.ipynb: rename it; use letters, digits, '.', '_' and '-' only"
    )
    assert make(project, "PYTHON=true", "full").returncode == 2


def test_letters_of_other_scripts_are_no_odd_names(finished):
    add(finished, "12-客户")
    assert stale(finished) == [("12-客户", "quick")]


# Two at a time


def test_two_reproduce_at_once_both_end_well_and_run_everything_once(project):
    add(project, "12-c", "open('count', 'a').write('x')")
    started = [
        subprocess.Popen(
            ["make", WITH, "reproduce"],
            cwd=project,
            env=environment(project),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for _ in range(2)
    ]
    said = [process.communicate(timeout=200)[0] for process in started]
    assert [process.returncode for process in started] == [0, 0], said
    assert set(reports(project)) == {"10-a", "11-b", "12-c"}
    assert (project / "count").read_text() == "x"
    assert "What is here?" in (project / "outputs/quick.html").read_text()
    assert not list(project.glob("outputs/*/.*.making"))


@pytest.mark.parametrize(
    ("reproduce", "test", "closing", "status"),
    [
        (0, 0, "=== 3 passed in 1.20s ===", 0),
        (0, 1, "=== 1 failed, 2 passed in 61.20s (0:01:01) ===", 1),
        (2, 0, "=== 3 passed in 1.20s ===", 1),
    ],
)
def test_ci_ends_with_the_closing_line_of_pytest(tmp_path, reproduce, test, closing, status):
    (tmp_path / ".ci").mkdir()
    shutil.copy(REPOSITORY / ".ci/run", tmp_path / ".ci")
    (tmp_path / "Makefile").write_text(
        f"reproduce:\n\t@exit {reproduce}\ntest:\n\t@echo '{closing}'; exit {test}\n"
    )
    done = subprocess.run(
        [tmp_path / ".ci/run"],
        env=environment(tmp_path),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
    )
    assert done.returncode == status
    assert done.stdout.splitlines()[-1] == closing
    assert Path(REPOSITORY / ".ci/run").stat().st_mode & 0o111
