"""Runs: parameters are checked, reports are whole or absent, no kernel outlives its run."""

import base64
import errno
import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import nbformat
import numpy as np
import psutil
import pytest
import scratch
from PIL import Image
from scratch import COMMAND, add, add_plain, environment, notebook, wait_for

from whycluster import runs
from whycluster.contract import files
from whycluster.runs import (
    exchange,
    execution,
    kernel,
    notebooks,
    parameters,
    provenance,
    record,
    resources,
)
from whycluster.runs.__main__ import main
from whycluster.runs.parameters import ParameterError

ROW = {"table": "T", "dataset": "d", "method": "m", "metric": "ACC", "values": [1.0, 2.0]}


@pytest.fixture
def project(tmp_path):
    """Return an empty project."""
    return scratch.library(tmp_path)


@pytest.fixture
def interactive(tmp_path, monkeypatch):
    """Return a run opened outside the runner."""
    monkeypatch.setenv("WHYCLUSTER_OUTPUTS", str(tmp_path))
    monkeypatch.delenv(record.FOLDER_VARIABLE, raising=False)
    return runs.start("10-a")


@pytest.fixture
def cli(project, monkeypatch, capsys):
    """Return a function that runs a command in the project, without a process of its own."""
    monkeypatch.chdir(project)
    for name in ("MAKEFLAGS", "LAUNCH", "CUDA_VISIBLE_DEVICES", "WHYCLUSTER_OUTPUTS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PYTHONPATH", environment(project)["PYTHONPATH"])

    def call(*arguments):
        try:
            status = main([str(argument) for argument in arguments])
        except SystemExit as left:
            status = left.code
        stdout, stderr = capsys.readouterr()
        return SimpleNamespace(returncode=status, stdout=stdout, stderr=stderr)

    return call


@pytest.fixture
def execute(cli):
    """Return a function that executes a notebook of the project as its quick run."""

    def call(name, *arguments):
        return cli("execute", f"notebooks/{name}.ipynb", "--run", "quick", *arguments)

    return call


def read_json(path):
    """Read strict JSON."""

    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(path.read_text(), parse_constant=refuse)


def failure(project, name):
    """Return why a run failed, after checking that nothing else is left of it."""
    folder = project / "outputs" / name / "quick"
    assert not (folder / "report.ipynb").exists()
    assert not (folder / "record.json").exists()
    assert not (folder / "record.partial.json").exists()
    failed = read_json(folder / "failed.json")
    assert failed["status"] == "failed"
    assert "\n" not in failed["reason"]
    return failed["reason"]


# Parameters


@pytest.mark.parametrize(
    ("default", "value"),
    [
        ("3", 4),
        ("0.5", 0.25),
        ("0.5", 1),
        ("-1.0", -2.5),
        ("''", "text"),
        ("True", False),
        ("None", 3),
        ("None", "text"),
        ("None", None),
        ("[1, 2]", [5]),
        ("[1, 2]", []),
        ("[0.5]", [1, 2.5]),
        ("[]", ["anything"]),
    ],
)
def test_a_value_of_the_declared_type_is_accepted(tmp_path, default, value):
    nbformat.write(notebook(parameters=f"x = {default}  # K = 3"), tmp_path / "a.ipynb")
    assert parameters.merge(tmp_path / "a.ipynb", {"x": value}) == {"x": value}


@pytest.mark.parametrize(
    ("default", "value"),
    [
        ("3", 0.5),
        ("3", True),
        ("3", "4"),
        ("3", None),
        ("3", [3]),
        ("0.5", "1e-3"),
        ("0.5", float("nan")),
        ("''", 3),
        ("True", 1),
        ("None", [1]),
        ("[1, 2]", 3),
        ("[1, 2]", [1, 2.5]),
        ("[1, 2]", [[1]]),
    ],
)
def test_a_value_of_another_type_is_refused(tmp_path, default, value):
    nbformat.write(notebook(parameters=f"x = {default}"), tmp_path / "a.ipynb")
    with pytest.raises(ParameterError, match="parameter 'x' is"):
        parameters.merge(tmp_path / "a.ipynb", {"x": value})


def test_defaults_are_read_however_the_cell_is_written(tmp_path):
    source = "a = 1  # one = 1\nb: float = 2.0\nc = [\n    1,\n    2,  # two\n]\nd = 'x = #y'\n"
    nbformat.write(notebook(parameters=source), tmp_path / "a.ipynb")
    expected = {"a": 1, "b": 2.0, "c": [1, 2], "d": "x = #y"}
    assert parameters.declared(tmp_path / "a.ipynb") == expected


@pytest.mark.parametrize("source", ["a = b = 1", "a = max(1, 2)", "import os", "a, b = 1, 2"])
def test_a_parameters_cell_holds_literals_only(tmp_path, source):
    nbformat.write(notebook(parameters=f"ok = 1\n{source}"), tmp_path / "a.ipynb")
    with pytest.raises(ParameterError, match="is not an assignment of a literal"):
        parameters.declared(tmp_path / "a.ipynb")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("n: 1\nn: 2\n", "'n' is given twice"),
        ("- 1\n- 2\n", "one per parameter"),
        ("n: [1\n", "while parsing"),
        ("n: !!python/object/apply:os.getcwd []\n", "could not determine a constructor"),
    ],
)
def test_a_parameter_file_is_flat_yaml(tmp_path, text, message):
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(ParameterError, match=message) as caught:
        parameters.read(tmp_path / "a.yaml")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seed: [1]", "10-a.ipynb has no parameter 'seed'; did you mean 'seeds'?"),
        ("n: many", "parameter 'n' is 'many' (str), but must be int, as in 3"),
        ("rate: 1e-3", "but must be float, as in 0.5; in YAML write 0.001"),
    ],
)
def test_a_wrong_parameter_is_one_line_and_nothing_starts(project, execute, text, message):
    add(project, "10-a")
    (project / "big.yaml").write_text(text)
    done = execute("10-a", "--parameters", "big.yaml")
    assert done.returncode == 2
    assert done.stderr.startswith("error: big.yaml: ")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (project / "outputs").exists()


# Records


def test_an_interactive_run_has_a_folder_of_its_own(interactive, tmp_path):
    interactive.record(results=[ROW], seeds=[0, 1], note="kept")
    written = read_json(tmp_path / "10-a" / "interactive" / "record.json")
    assert written["results"][0]["values"] == [1.0, 2.0]
    assert written["extra"] == {"note": "kept"}


def test_a_notebook_finds_outputs_from_its_own_folder(project, monkeypatch):
    monkeypatch.delenv("WHYCLUSTER_OUTPUTS", raising=False)
    monkeypatch.chdir(project / "notebooks")
    assert runs.start("10-a").folder == Path("../outputs/10-a/interactive")


def test_numpy_numbers_become_json(interactive):
    values = np.array([1, 2], dtype=np.float32)
    row = ROW | {"values": values, "published": np.float64(1.5)}
    interactive.record(results=[row], seeds=list(np.arange(2)), matrix=np.eye(2), none=None)
    written = read_json(interactive.folder / "record.json")
    assert written["seeds"] == [0, 1]
    assert written["extra"]["matrix"] == [[1.0, 0.0], [0.0, 1.0]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"values": [1.0, float("nan")]}, r"results row 1\['values'\]\[1\] is nan; record None"),
        ({"published": float("inf")}, r"\['published'\] is inf"),
        ({"values": []}, "values must be a list"),
        ({"values": 3.0}, "values must be a list"),
        ({"values": ["high", 1]}, "'high' is not a number"),
        ({"values": [True, False]}, "True is not a number"),
        ({"values": [1.0, 2.0, 3.0]}, "has 3 values for 2 seeds"),
        ({"dataset": ""}, "dataset must be text, not ''"),
        ({"method": 3}, "method must be text, not 3"),
        ({"publishd": 3}, "has an unknown entry 'publishd'"),
    ],
)
def test_a_wrong_result_is_named(interactive, change, message):
    with pytest.raises(runs.RecordError, match=message) as caught:
        interactive.record(results=[ROW | change], seeds=[0, 1])
    assert "\n" not in str(caught.value)
    assert not (interactive.folder / "record.json").exists()


@pytest.mark.parametrize("missing", record.REQUIRED)
def test_a_result_needs_each_required_entry(interactive, missing):
    row = {key: value for key, value in ROW.items() if key != missing}
    with pytest.raises(runs.RecordError, match=f"row 1 lacks '{missing}'"):
        interactive.record(results=[row], seeds=[0, 1])


def test_a_seed_without_a_value_is_recorded_as_none(interactive):
    interactive.record(results=[ROW | {"values": [None, 1.0]}], seeds=[0, 1])
    assert read_json(interactive.folder / "record.json")["results"][0]["values"] == [None, 1.0]


def test_what_json_cannot_hold_is_refused(interactive):
    with pytest.raises(runs.RecordError, match=r"extra\['model'\]\[0\] is a object"):
        interactive.record(results=[], seeds=[], model=[object()])


def test_figures_are_saved_whole_and_named_plainly(interactive):
    from matplotlib.figure import Figure

    interactive.save_figure(Figure(), "seed-scores")
    assert (interactive.figures / "seed-scores.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(runs.RecordError, match="use letters, digits"):
        interactive.save_figure(Figure(), "../escape")


def test_an_unwritable_folder_is_one_line(tmp_path, monkeypatch):
    (tmp_path / "outputs").write_text("a file where a folder should be")
    monkeypatch.setenv("WHYCLUSTER_OUTPUTS", str(tmp_path / "outputs"))
    with pytest.raises(runs.RecordError, match=r"cannot write to .*10-a/interactive") as caught:
        runs.start("10-a")
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="permissions do not bind the superuser")
def test_a_read_only_outputs_folder_is_one_line(project, execute):
    add(project, "10-a")
    (project / "outputs").mkdir(mode=0o555)
    done = execute("10-a")
    assert done.returncode == 2
    assert done.stderr.startswith("error: cannot write to outputs/10-a/quick: Permission denied")


def test_a_folder_that_cannot_be_written_stops_a_run_before_it_starts(project, execute):
    add(project, "10-a")
    (project / "outputs").write_text("a file where a folder should be")
    done = execute("10-a")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith("error: cannot write to outputs/10-a/quick: ")


def test_a_file_is_replaced_as_a_whole(tmp_path, monkeypatch):
    files.write(tmp_path / "a.json", "old")
    monkeypatch.setattr(os, "replace", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        files.write(tmp_path / "a.json", "new")
    assert (tmp_path / "a.json").read_text() == "old"


# Shares of a machine


@pytest.mark.parametrize(
    ("makeflags", "expected"),
    [
        ("", 1),
        ("k", 1),
        (" -j3 --jobserver-auth=3,4", 3),
        ("k -j16 --jobserver-auth=fifo:/tmp/x -- PYTHON=-j9", 16),
        ("-- N=-j9", 1),
        ("--jobs=5", 5),
        ("--jobserver-fds=3,4 -j", 8),
    ],
)
def test_makeflags_tell_the_number_of_jobs(makeflags, expected):
    assert resources.jobs(makeflags, cores=8) == expected


def test_jobs_divide_the_cores(monkeypatch):
    monkeypatch.setattr(resources.joblib, "cpu_count", lambda: 8)
    monkeypatch.delenv("LAUNCH", raising=False)
    for flags, threads in [("", 8), ("-j3", 2), ("-j16", 1)]:
        monkeypatch.setenv("MAKEFLAGS", flags)
        assert resources.threads() == threads
    monkeypatch.setenv("LAUNCH", "srun")
    assert resources.threads() == 8


def test_each_run_takes_one_gpu_of_several(monkeypatch, tmp_path):
    monkeypatch.setattr(resources.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5")
    with resources.gpu() as first, resources.gpu() as second:
        assert [first, second] == [{"CUDA_VISIBLE_DEVICES": "2"}, {"CUDA_VISIBLE_DEVICES": "5"}]
    with resources.gpu() as again:
        assert again == {"CUDA_VISIBLE_DEVICES": "2"}
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5")
    with resources.gpu() as only:
        assert only == {}


def test_gpus_are_counted_without_loading_cuda(monkeypatch, tmp_path):
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'GPU 0: A (UUID: x)'\necho 'GPU 1: A (UUID: y)'\n")
    tool.chmod(0o755)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert resources._gpus() == ["0", "1"]


# Execution


def test_a_finished_run_is_complete_and_anonymous(project, execute, monkeypatch):
    home = project.parent / "home"
    spec = home / ".local/share/jupyter/kernels/python3/kernel.json"
    spec.parent.mkdir(parents=True)
    spec.write_text('{"argv": ["/bin/false"], "display_name": "mine", "language": "python"}')
    startup = home / ".ipython/profile_default/startup/00.py"
    startup.parent.mkdir(parents=True)
    startup.write_text("n = 99")
    add(
        project,
        "10-a",
        "import os, subprocess, sys, warnings\nwarnings.warn('careful')\nprint(os.getcwd() + '/x')",
        "code = \"x = b'x' * 200_000_000; print('ready', flush=True); input()\"\n"
        "child = subprocess.Popen([sys.executable, '-c', code], stdin=subprocess.PIPE,"
        " stdout=subprocess.PIPE)\nchild.stdout.readline()\nimport time; time.sleep(1)",
        f"assert sys.executable == {sys.executable!r}\nassert os.environ['OMP_NUM_THREADS'] == '1'",
    )
    (project / "big.yaml").write_text("n: 7\nrate: 1\nseeds: [3, 4]\n")
    before = set(psutil.pids())
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("MAKEFLAGS", "-j64 --jobserver-auth=3,4")
    done = execute("10-a", "--parameters", "big.yaml")
    assert (done.returncode, done.stderr) == (0, "")

    folder = project / "outputs/10-a/quick"
    assert not (folder / "report.partial.ipynb").exists()
    report = nbformat.read(folder / "report.ipynb", as_version=4)
    nbformat.validate(report)
    outputs = json.dumps([cell.get("outputs") for cell in report.cells] + [report.metadata])
    assert not any(path in outputs for path in (str(project), sys.prefix, "ipykernel_"))
    assert "careful" in outputs

    written = read_json(folder / "record.json")
    assert written["status"] == "done"
    assert (written["notebook"], written["run"]) == ("10-a", "quick")
    assert written["title"] == "What is here?"
    assert written["parameters"] == {"n": 7, "rate": 1, "name": "", "seeds": [3, 4]}
    assert written["seeds"] == [3, 4]
    assert written["results"][0]["values"] == [7, 7]
    assert written["threads"] == 1
    assert written["versions"]["python"] == ".".join(map(str, sys.version_info[:3]))
    assert {"torch", "numpy", "scikit-learn", "whycluster"} <= written["versions"].keys()
    assert written["device"]
    assert written["wall_s"] > 1
    assert not written["resumed"]
    assert written["peak_memory_mb"] > 200 + 30
    left = [p for p in map(_process, set(psutil.pids()) - before) if p and _is_ours(p, project)]
    assert left == []


def _process(pid):
    try:
        return psutil.Process(pid)
    except psutil.NoSuchProcess:
        return None


def _is_ours(process, project):
    try:
        return process.cwd() == str(project) and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def test_a_run_that_goes_on_from_earlier_work_says_so(project, execute):
    add(project, "10-a")
    phase = project / "outputs/10-a/.quick.making/quick/checkpoint/first.safetensors"
    phase.parent.mkdir(parents=True)
    phase.touch()
    assert execute("10-a").returncode == 0
    assert read_json(project / "outputs/10-a/quick/record.json")["resumed"]
    assert not phase.exists()


def test_a_cell_error_fails_the_run_in_one_line(project, execute):
    add_plain(project, "10-a", "raise ValueError('column x has 3 gaps\\nand more')")
    done = execute("10-a")
    assert done.returncode == 1
    assert done.stderr == "error: 10-a/quick: ValueError: column x has 3 gaps (cell 2)\n"
    assert failure(project, "10-a") == "ValueError: column x has 3 gaps (cell 2)"
    partial = (project / "outputs/10-a/quick/report.partial.ipynb").read_text()
    assert "column x has 3 gaps" in partial
    assert str(project) not in partial


def test_a_killed_kernel_fails_the_run(project, execute):
    add_plain(project, "10-a", "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)")
    assert execute("10-a").returncode == 1
    assert failure(project, "10-a") == "kernel died (killed: out of memory?) in cell 2"


def test_a_kernel_that_exits_fails_the_run(project, execute):
    add_plain(project, "10-a", "import os\nos._exit(7)")
    assert execute("10-a").returncode == 1
    assert failure(project, "10-a") == "kernel died (exit status 7) in cell 2"


def test_a_single_long_cell_times_out_and_takes_its_children_along(project, execute):
    sleeper = "import subprocess, time\np = subprocess.Popen(['sleep', '600'])\n"
    keep = "open('pids', 'w').write(f'{p.pid} {__import__(\"os\").getpid()}')\ntime.sleep(600)"
    add_plain(project, "10-a", sleeper + keep)
    assert execute("10-a", "--timeout", "6").returncode == 1
    assert failure(project, "10-a") == "timed out after 6 s in cell 2"
    _gone(project)


def test_a_process_that_left_its_parents_ends_with_the_run(project, execute):
    fork = "import os, time\nif os.fork() == 0:\n    os.setsid()\n    if os.fork():\n"
    fork += "        os._exit(0)\n    time.sleep(600)\nos.wait()"
    add(project, "10-a", fork)
    before = set(psutil.pids())
    assert execute("10-a").returncode == 0
    left = [p for p in map(_process, set(psutil.pids()) - before) if p and _is_ours(p, project)]
    assert left == []


def test_a_kernel_that_cannot_start_fails_with_its_own_words(project, execute, monkeypatch):
    add_plain(project, "10-a")
    (project / "ipykernel_launcher.py").write_text("raise ImportError('no zmq here')")
    monkeypatch.setenv("PYTHONPATH", str(project), prepend=os.pathsep)
    assert execute("10-a").returncode == 1
    reason = "the kernel did not start (exit status 1): ImportError: no zmq here"
    assert failure(project, "10-a") == reason


def test_a_run_without_a_record_fails(project, execute):
    add_plain(project, "10-a", "1 + 1")
    assert execute("10-a").returncode == 1
    assert failure(project, "10-a") == "the notebook finished without calling run.record(...)"


def test_a_run_under_the_name_of_another_notebook_fails(project, execute):
    add(project, "10-a").rename(project / "notebooks/11-b.ipynb")
    assert execute("11-b").returncode == 1
    assert "runs.start('10-a') was called in the notebook '11-b'" in failure(project, "11-b")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_runner_fails_its_run_and_ends_its_kernel(project, number):
    runner = _start_endless(project)
    runner.send_signal(number)
    _, errors = runner.communicate(timeout=20)
    assert runner.returncode == 1
    assert f"stopped by {number.name} in cell 2" in errors
    assert failure(project, "10-a") == f"stopped by {number.name} in cell 2"
    _gone(project)


def test_the_kernel_of_a_runner_that_was_killed_ends_by_itself(project, execute):
    runner = _start_endless(project)
    runner.kill()
    runner.communicate(timeout=20)
    kernel = int((project / "pids").read_text().split()[1])
    wait_for(lambda: not psutil.pid_exists(kernel), timeout=15)
    folder = project / "outputs/10-a/quick"
    nbformat.read(folder / "report.partial.ipynb", as_version=4)
    add(project, "10-a")
    assert execute("10-a").returncode == 0
    assert not (folder / "report.partial.ipynb").exists()


def test_an_output_that_is_no_image_and_a_folder_among_the_figures_fail_no_run(project, execute):
    showing = "from IPython.display import display\n"
    broken = ["no base64", "aGVsbG8=", "", "iVBORw0KGgo="]
    showing += "".join(f"display({{'image/png': {data!r}}}, raw=True)\n" for data in broken)
    path = "run.figures / 'more' / 'a.png'"
    writing = f"({path}).parent.mkdir()\n({path}).write_text('1')"
    add(project, "10-a", showing, writing)
    for _ in range(2):
        done = execute("10-a")
        assert (done.returncode, done.stderr) == (0, "")
    folder = project / "outputs/10-a/quick"
    assert (folder / "figures/more/a.png").read_text() == "1"
    assert "figures/more/a.png" in read_json(folder / "record.json")["files"]


def test_half_a_character_does_not_stop_the_writing_of_a_report(tmp_path):
    execution._WholeFiles().write("a\ud800b", str(tmp_path / "report.ipynb"))
    assert (tmp_path / "report.ipynb").read_text() == "a?b"


@pytest.mark.parametrize(
    ("raised", "reason"),
    [
        ("MemoryError", "out of memory (cell 2)"),
        ("KeyboardInterrupt", "interrupted from outside, or out of memory (cell 2)"),
    ],
)
def test_what_ends_a_cell_without_a_message_is_put_in_words(project, execute, raised, reason):
    add_plain(project, "10-a", f"raise {raised}")
    assert execute("10-a").returncode == 1
    assert failure(project, "10-a") == reason


def test_a_full_disk_is_called_by_its_name(project, execute, monkeypatch):
    add(project, "10-a")
    write = files.write

    def full(path, content):
        if path.name == "report.partial.ipynb" and b"start_time" in content:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(path, content)

    monkeypatch.setattr(files, "write", full)
    assert execute("10-a").returncode == 1
    assert failure(project, "10-a").startswith(
        "no space left on the disk of outputs/10-a/quick: free some, then run again"
    )


def test_a_reason_that_does_not_fit_on_the_disk_is_said_at_least(project, execute, monkeypatch):
    add_plain(project, "10-a", "1 / 0")

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files, "write_json", full)
    done = execute("10-a")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "ZeroDivisionError" in done.stderr
    assert "failed.json could not be written (No space left on device)" in done.stderr


def test_a_kernel_without_a_log_has_no_last_words(tmp_path):
    silent = kernel.Kernel({}, tmp_path / "kernel.log")
    assert silent.last_words() == ""
    (tmp_path / "kernel.log").write_text("MemoryError\nand then:\nEvent loop is closed\n")
    assert silent.last_words() == "out of memory"
    silent.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_while_the_kernel_closes_leaves_its_reason(project, execute, monkeypatch, number):
    add(project, "10-a")
    close = kernel.Kernel.close
    monkeypatch.setattr(
        kernel.Kernel, "close", lambda self: (os.kill(os.getpid(), number), close(self))
    )
    assert execute("10-a").returncode == 1
    assert failure(project, "10-a") == f"stopped by {number.name} after the last cell"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_a_run_is_published_finds_it_whole(project, execute, monkeypatch, number):
    add(project, "10-a")
    swap = exchange.exchange
    monkeypatch.setattr(
        exchange, "exchange", lambda *both: (os.kill(os.getpid(), number), swap(*both))
    )
    assert execute("10-a").returncode == 0
    folder = project / "outputs/10-a/quick"
    assert read_json(folder / "record.json")["status"] == "done"
    assert (folder / "report.ipynb").exists()


def test_a_kernel_interrupted_between_two_cells_does_not_hang_its_run(project, execute):
    later = "kill = lambda: os.kill(os.getpid(), signal.SIGINT)"
    between = "asyncio.get_event_loop().call_later(0.05, kill)"
    add(project, "10-a", f"import asyncio, os, signal\n{later}\n{between}", "n", "n", "n", "n")
    with_sleep = "import time; time.sleep(0.5)"  # the signal reaches an idle or a working kernel
    add_plain(project, "11-b", f"import asyncio, os, signal\n{later}\n{between}\n{with_sleep}")
    for name in ("10-a", "11-b"):
        done = execute(name, "--timeout", "60")
        assert "timed out" not in done.stderr


def test_an_interrupted_kernel_is_known_by_its_log(tmp_path):
    silent = kernel.Kernel({}, tmp_path / "kernel.log")
    assert not silent.was_interrupted()
    (tmp_path / "kernel.log").write_text(
        "[IPKernelApp] ERROR | KeyboardInterrupt caught in kernel."
    )
    assert silent.was_interrupted()
    silent.close()


def test_nothing_partial_stays_behind_a_finished_run(project, execute):
    add_plain(project, "10-a", "1 / 0")
    assert execute("10-a").returncode == 1
    folder = project / "outputs/10-a/quick"
    (folder / "report.partial.html").write_text("the page of the site")
    assert (folder / "report.partial.ipynb").exists()
    add(project, "10-a")
    assert execute("10-a").returncode == 0
    left = {path.name for path in folder.rglob("*")}
    assert left == {".lock", "figures", "record.json", "report.ipynb"}
    assert [path.name for path in folder.parent.iterdir()] == ["quick"]


def test_a_folder_of_temporary_files_too_long_for_sockets_is_one_line(
    project, execute, monkeypatch, tmp_path
):
    add(project, "10-a")
    monkeypatch.setattr(resources.tempfile, "gettempdir", lambda: "/tmp/" + "x" * 70)
    done = execute("10-a")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith("error: TMPDIR is too long for the sockets of a kernel")
    assert not (project / "outputs").exists()


@pytest.mark.parametrize("home", [None, "/nowhere/at-all"])
def test_a_user_without_a_home_is_one_line(project, execute, monkeypatch, home):
    if home is None:
        monkeypatch.setattr(resources.os.path, "expanduser", lambda path: path)
    else:
        monkeypatch.setenv("HOME", home)
    add(project, "10-a")
    done = execute("10-a")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "set HOME to a folder that can be written to" in done.stderr


def test_too_few_open_files_are_one_line(monkeypatch):
    monkeypatch.setattr(resources.resource, "getrlimit", lambda _: (24, 4096))
    with pytest.raises(resources.ResourceError, match="only 24 files may be open"):
        resources.check()


def test_who_reads_only_the_first_lines_is_not_told_of_a_broken_pipe(project):
    shown = subprocess.Popen(
        [*COMMAND, "table"],
        cwd=project,
        env=environment(project),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    shown.stdout.close()
    assert shown.stderr.read() == ""
    assert shown.wait(timeout=60) == 0


def test_what_is_edited_during_a_run_is_newer_than_its_report(project, execute):
    path = add(project, "10-a", "from pathlib import Path\nPath('notebooks/10-a.ipynb').touch()")
    assert execute("10-a").returncode == 0
    assert (project / "outputs/10-a/quick/report.ipynb").stat().st_mtime < path.stat().st_mtime


def _start_endless(project):
    """Start a run whose second cell sleeps, and wait until it does."""
    add_plain(
        project,
        "10-a",
        "import os, subprocess, time\np = subprocess.Popen(['sleep', '600'])\n"
        "open('pids', 'w').write(f'{p.pid} {os.getpid()}')\ntime.sleep(600)",
    )
    arguments = ["execute", "notebooks/10-a.ipynb", "--run", "quick"]
    runner = subprocess.Popen(
        [*COMMAND, *arguments],
        cwd=project,
        env=environment(project),
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_for(lambda: (project / "pids").exists() and (project / "pids").read_text())
    return runner


def _gone(project):
    """Check that the kernel and its child have ended."""
    pids = [int(pid) for pid in (project / "pids").read_text().split()]
    wait_for(lambda: not any(map(psutil.pid_exists, pids)), timeout=5)


def test_a_run_does_not_hang_when_nobody_notices_that_its_kernel_is_gone(monkeypatch):
    gone = subprocess.Popen(["true"])
    gone.wait()
    monkeypatch.setattr(kernel, "PATIENCE", 0)
    left, reasons = [], []
    monkeypatch.setattr(kernel.os, "_exit", left.append)
    watch = kernel.Watch(
        SimpleNamespace(
            process=gone, exit_reason=lambda: "x", was_interrupted=lambda: False, strays=list
        ),
        None,
        kernel.Stop(),
        reasons.append,
    )
    watch.start()
    wait_for(lambda: left)
    watch.close()
    assert left[0] == 1
    assert reasons[0] == "kernel died (x)"


def test_the_commit_and_its_changes_are_recorded(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert provenance.commit() == {"commit": None, "dirty": None}
    identity = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
    for arguments in (["init", "-q"], [*identity, "commit", "-qm", "x", "--allow-empty"]):
        subprocess.run(["git", *arguments], check=True)
    assert provenance.commit()["dirty"] is False
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "new.py").write_text("")
    assert provenance.commit()["dirty"] is True


def test_local_paths_are_shortened_and_images_left_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WHYCLUSTER_DATA", "/mnt/tables/")
    value = {
        "text/plain": f"{tmp_path}/a.csv {sys.prefix}/lib/x.py {Path.home()}/y /mnt/tables/z.mat",
        "text/html": f"<td>{tmp_path}</td>",
        "image/png": str(tmp_path),
    }
    short = provenance.shorten(value)
    assert short["text/plain"] == "a.csv .../lib/x.py ~/y $WHYCLUSTER_DATA/z.mat"
    assert short["text/html"] == "<td></td>"
    assert short["image/png"] == str(tmp_path)


def test_a_table_is_clustered_with_one_command(project, cli):
    table = project / "my table.csv"
    table.write_text("a\n1\n")
    add(
        project,
        "00-your-table",
        "for name in ('assignments', 'explanations'):\n"
        "    (run.folder / f'{name}.csv').write_text(f'{data},{n_clusters}')",
        parameters="data = ''  # file\nn_clusters = None  # K\nn = 1  # n\nseeds = [0]  # seeds",
    )
    done = cli("cluster", "my table.csv", "--k", "3")
    assert (done.returncode, done.stderr) == (0, "")
    written = [project / line for line in done.stdout.splitlines()]
    folder = project / "outputs/00-your-table/my-table"
    assert written == [
        folder / name for name in ("report.html", "assignments.csv", "explanations.csv")
    ]
    assert (folder / "assignments.csv").read_text() == "my table.csv,3"
    assert "What is here?" in (folder / "report.html").read_text()


def test_an_error_of_a_table_is_its_one_line(project, cli):
    add(
        project,
        "00-your-table",
        "raise ValueError(f'{data}: has one column')",
        parameters="data = ''  # file\nn_clusters = None  # K",
    )
    (project / "thin.csv").write_text("a\n1\n")
    done = cli("cluster", "thin.csv", "--out", "elsewhere")
    assert (done.returncode, done.stderr) == (1, "error: thin.csv: has one column\n")
    assert (project / "elsewhere" / "failed.json").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["gone.csv"], "gone.csv: no such file; check the name and the folder"),
        (["."], ". is a folder: give the file inside it"),
        (["empty.csv"], "empty.csv is empty: a table needs column names and rows"),
        ([""], "which table? make cluster DATA=table.csv"),
        (["a.csv", "--k", "three"], "'three' is no number of clusters; give 2 or more"),
        (["a.csv", "--k", "1"], "'1' is no number of clusters; give 2 or more"),
        (["a.csv", "--timeout", "nan"], "'nan' is no number of seconds"),
    ],
)
def test_a_wrong_table_or_option_is_one_line_before_anything_starts(
    project, cli, monkeypatch, arguments, message
):
    add(project, "00-your-table", parameters="data = ''  # file\nn_clusters = None  # K")
    (project / "a.csv").write_text("a,b\n1,2\n")
    (project / "empty.csv").write_text("")
    monkeypatch.delattr(execution, "Kernel")
    done = cli("cluster", *arguments)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.strip().endswith(message)
    assert not (project / "outputs").exists()


TABLE = {
    "name": "00-your-table",
    "parameters": "data = ''  # file\nn_clusters = None  # K\nn = 1  # n\nseeds = [0]  # seeds",
}
TELLING = (
    "if open(data).read() == 'bad': raise ValueError(f'{data} is bad')\nprint(data)",
    "(run.folder / 'assignments.csv').write_text(open(data).read())",
)


@pytest.fixture
def tables(project, cli):
    """Return a function that clusters a table with some content, anywhere below the project."""
    add(project, TABLE["name"], *TELLING, parameters=TABLE["parameters"])

    def call(path, content, *options):
        (project / path).parent.mkdir(parents=True, exist_ok=True)
        (project / path).write_text(content)
        done = cli("cluster", path, *options)
        return done, sorted(p.name for p in (project / "outputs/00-your-table").glob("[!.]*"))

    return call


def test_tables_of_one_name_do_not_replace_each_other(project, tables):
    done, made = tables("north/客户.csv", "north")
    assert (done.returncode, made) == (0, ["客户"])
    done, made = tables("south/客户.csv", "south")
    assert (done.returncode, len(made)) == (0, 2)
    done, again = tables("north/客户.csv", "north, new")
    assert again == made
    assert done.stdout.startswith("replaced: the run of ")
    assert "on 客户.csv\n" in done.stdout
    assert made[1].startswith("客户-")
    folder = project / "outputs/00-your-table"
    assert [(folder / name / "assignments.csv").read_text() for name in made] == [
        "north, new",
        "south",
    ]


def test_after_a_failing_call_no_old_answer_lies_beside_the_reason(project, tables):
    for options in ((), ("--out", "found")):
        folder = project / (options[1] if options else "outputs/00-your-table/people")
        assert tables("people.csv", "good", *options)[0].returncode == 0
        assert tables("people.csv", "bad", *options)[0].returncode == 1
        shown = {path.name for path in folder.iterdir()}
        assert "failed.json" in shown
        assert not {"report.html", "report.ipynb", "record.json", "assignments.csv"} & shown
        assert (folder / "previous/assignments.csv").read_text() == "good"
        assert (folder / "previous/report.html").exists()


def test_a_folder_for_the_results_that_holds_a_users_files_is_refused(project, tables, cli):
    thesis = project / "found/figures/thesis.png"
    thesis.parent.mkdir(parents=True)
    thesis.write_text("mine")
    done, _ = tables("people.csv", "good", "--out", "found")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "found holds figures/thesis.png, which no run has made" in done.stderr
    assert [path.name for path in (project / "found").rglob("*")] == ["figures", "thesis.png"]
    assert tables("people.csv", "good", "--out", "new")[0].returncode == 0
    thesis.rename(project / "new/figures/thesis.png")
    assert tables("people.csv", "better", "--out", "new")[0].returncode == 0
    (project / "new/drivers.png").write_text("mine")
    add(
        project,
        TABLE["name"],
        *TELLING,
        "run.folder.joinpath('drivers.png').touch()",
        parameters=TABLE["parameters"],
    )
    done = cli("cluster", "people.csv", "--out", "new")
    assert "kept: new/drivers.png, which no run had made, is in new/kept\n" in done.stdout
    assert (project / "new/figures/thesis.png").read_text() == "mine"
    assert (project / "new/kept/drivers.png").read_text() == "mine"
    assert (project / "new/assignments.csv").read_text() == "better"
    assert [path.name for path in project.glob(".*")] == []


def test_where_a_table_lies_stands_in_no_file_of_its_run(project, tables):
    private = project.parent / "o'brien & co" / "secret"
    for content, status in (("good", 0), ("bad", 1)):
        assert tables(private / "people.csv", content)[0].returncode == status
        for path in (project / "outputs").rglob("*.*"):
            if path.is_file():
                assert "secret" not in path.read_text(), path
                assert "brien" not in path.read_text(), path
    failed = read_json(project / "outputs/00-your-table/people/failed.json")
    assert failed["parameters"]["data"] == "people.csv"
    assert "people.csv is bad" in failed["reason"]


def test_figures_are_stored_with_few_colours_unless_they_can_be_seen_through():
    blurred = np.random.default_rng(0).normal(128, 20, (200, 300, 4)).astype(np.uint8)
    blurred[..., 3] = 255
    pictures = [Image.fromarray(blurred), Image.new("RGBA", (3, 2), (9, 9, 9, 0))]
    outputs = [
        nbformat.v4.new_output("display_data", data={"image/png": _png(p)}) for p in pictures
    ]
    cell = nbformat.v4.new_code_cell("show()", outputs=outputs)
    notebooks.shrink_figures(nbformat.v4.new_notebook(cells=[cell]))
    stored, clear = (output.data["image/png"] for output in cell.outputs)
    assert clear == _png(pictures[1])
    assert len(stored) < len(_png(pictures[0]))
    seen = np.asarray(Image.open(io.BytesIO(base64.b64decode(stored))).convert("RGB"), dtype=int)
    assert np.abs(seen - blurred[..., :3]).mean() < 8


def _png(picture):
    content = io.BytesIO()
    picture.save(content, "PNG")
    return base64.b64encode(content.getvalue()).decode()
