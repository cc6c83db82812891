"""The folder of a run: nothing of a user's is lost, and what is in it belongs to one run."""

import errno
import itertools
import json
import os
from pathlib import Path

import pytest
import scratch

from whycluster.contract import files
from whycluster.runs import exchange, folder, record
from whycluster.runs.__main__ import main
from whycluster.runs.folder import RunFolder, plain
from whycluster.runs.record import RecordError

NOTEBOOK = "10-a"


@pytest.fixture
def place(tmp_path):
    """Return the folder of a run that was never made."""
    return RunFolder(tmp_path / "outputs/10-a/quick", NOTEBOOK)


def facts(started, **more):
    return {
        "notebook": NOTEBOOK,
        "run": "quick",
        "started": f"2026-01-01T00:00:{started:02}",
        **more,
    }


def make(place, started, **contents):
    """Make a run of some files, named with ``__`` for ``/`` and ``_`` for ``.``, and publish it."""
    place.check()
    place.create()
    place.open()
    for name, text in {"report_ipynb": "{}", **contents}.items():
        write(place.attempt / name.replace("__", "/").replace("_", "."), text)
    return place.publish(facts(started, status="done"))


def fail(place, started, reason="no such gene"):
    place.check()
    place.create()
    place.open()
    write(place.attempt / "half.csv", "x")
    write(place.path / folder.PARTIAL, "{}")
    place.fail(facts(started, status="failed", reason=reason))


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def tree(root):
    """Read every file below a folder but the lock."""
    names = sorted(folder.walk(root))
    return {name: (root / name).read_text() for name in names if Path(name).name != ".lock"}


@pytest.fixture(params=["at once", "in steps"])
def ways(request, monkeypatch):
    """Exchange folders in both ways: with the system's own call, and without."""
    if request.param == "in steps":
        monkeypatch.setattr(exchange, "_at_once", lambda *_: errno.ENOSYS)


# Whose folder it is


@pytest.mark.parametrize(
    "name",
    ["figures/thesis.png", "checkpoint/a", "report.html", "report.ipynb", "record.json", ".hidden"],
)
def test_a_folder_with_a_users_file_is_refused_before_the_first_write(place, name):
    write(place.path / name, "mine")
    with pytest.raises(RecordError, match=f"holds {name}, which no run has made"):
        place.check()
    assert tree(place.path.parent) == {f"quick/{name}": "mine"}


def test_an_empty_folder_and_the_remains_of_a_killed_run_may_be_used(place):
    (place.path / "figures").mkdir(parents=True)
    place.check()
    write(place.path / folder.PARTIAL, "{}")
    place.check()


def test_the_run_of_another_notebook_is_not_replaced(place):
    make(place, 1)
    with pytest.raises(RecordError, match="holds a run of 10-a"):
        RunFolder(place.path, "11-b").check()


def test_a_file_in_place_of_the_folder_is_refused(place):
    write(place.path, "mine")
    with pytest.raises(RecordError, match="it is a file"):
        place.check()


@pytest.mark.parametrize("name", [".lock", "record.json", "report.ipynb", "failed.json"])
def test_a_folder_in_place_of_a_file_of_the_run_is_refused(place, name):
    (place.path / name).mkdir(parents=True)
    with pytest.raises(RecordError, match=f"{name} is a folder, but a run writes a file there"):
        place.check()
    assert not folder.is_running(place.path)


def test_a_link_to_itself_is_refused(tmp_path):
    (tmp_path / "big").symlink_to("big")
    with pytest.raises(RecordError, match="big: it is a link to itself"):
        RunFolder(tmp_path / "big", "10-a").check()


def test_a_mount_point_is_refused(place, monkeypatch):
    monkeypatch.setattr(folder.os.path, "ismount", lambda path: path == place.path)
    with pytest.raises(RecordError, match="where a disk is mounted"):
        place.check()


def test_a_link_to_a_folder_is_followed(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "found").symlink_to("disk")
    make(RunFolder(tmp_path / "found", NOTEBOOK), 1, a_csv="1")
    assert (tmp_path / "found").is_symlink()
    assert (tmp_path / "disk/a.csv").read_text() == "1"


# What is replaced


def test_only_what_the_last_record_lists_is_removed(place, ways):
    make(place, 1, old_csv="1", figures__old_png="1")
    write(place.path / "figures/thesis.png", "mine")
    write(place.path / "checkpoint/mine", "mine")
    (place.path / "link").symlink_to("figures")
    made = make(place, 2, figures__new_png="2")
    assert made["files"] == [
        "figures/new.png",
        "record.json",
        "report.html",
        "report.ipynb",
    ]
    assert set(folder.walk(place.path)) - {".lock"} == {
        "figures/new.png",
        "figures/thesis.png",
        "checkpoint/mine",
        "link",
        "record.json",
        "report.ipynb",
    }
    assert (place.path / "figures/thesis.png").read_text() == "mine"
    assert not place.workshop.exists()


def test_a_users_file_whose_name_a_run_takes_is_kept_and_said(place):
    make(place, 1)
    write(place.path / "figures/a.png", "mine")
    write(place.path / "model", "mine")
    made = make(place, 2, figures__a_png="2", model__weights="2")
    assert made["kept"] == ["figures/a.png", "model"]
    assert (place.path / "figures/a.png").read_text() == "2"
    assert (place.path / "kept/figures/a.png").read_text() == "mine"
    assert (place.path / "kept/model").read_text() == "mine"
    write(place.path / "figures/b.png", "mine, too")
    again = make(place, 3, figures__b_png="3", kept__figures__b_png="3")
    assert "figures/b.png" in again["kept"]
    assert (place.path / "kept-2/figures/b.png").read_text() == "mine, too"
    assert (place.path / "kept/figures/a.png").read_text() == "mine"


def test_a_record_cannot_claim_files_outside_its_folder(place, tmp_path):
    make(place, 1)
    write(tmp_path / "outputs/10-a/thesis.png", "mine")
    altered = json.loads((place.path / "record.json").read_text())
    altered["files"] = ["../thesis.png", "/etc/passwd", 3, None, "figures/../../thesis.png"]
    files.write_json(place.path / "record.json", altered)
    make(place, 2)
    list(folder.clean(tmp_path / "outputs", kept=lambda *_: False))
    assert (tmp_path / "outputs/10-a/thesis.png").read_text() == "mine"


@pytest.mark.parametrize("listed", [None, 3, "report.ipynb"])
def test_a_record_without_a_list_claims_report_and_record_only(place, listed):
    made = facts(1) | ({} if listed is None else {"files": listed})
    for name, text in {"record.json": json.dumps(made), "report.ipynb": "{}", "a.csv": "?"}.items():
        write(place.path / name, text)
    make(place, 2)
    assert (place.path / "a.csv").read_text() == "?"


# After a failure


def test_no_old_report_lies_beside_a_reason(place, ways):
    make(place, 1, a_csv="1")
    write(place.path / "thesis.pdf", "mine")
    fail(place, 2)
    fail(place, 3, "no such tissue")
    left = tree(place.path)
    assert json.loads(left.pop("failed.json"))["reason"] == "no such tissue"
    assert left.keys() == {
        "report.partial.ipynb",
        "thesis.pdf",
        "previous/a.csv",
        "previous/record.json",
        "previous/report.ipynb",
    }
    assert left["previous/a.csv"] == "1"
    make(place, 4, a_csv="4")
    assert tree(place.path).keys() == {"a.csv", "record.json", "report.ipynb", "thesis.pdf"}


def test_a_later_attempt_goes_on_from_what_a_failed_one_has_left(place):
    place.create()
    place.open()
    write(place.attempt / "checkpoint/first", "1")
    write(place.attempt / "labels.parquet", "1")
    write(place.attempt / "figures/half.png", "1")
    place.fail(facts(1, status="failed", reason="x"))
    place.open()
    assert place.is_resumable()
    assert tree(place.attempt).keys() == {"checkpoint/first", "labels.parquet"}
    write(place.attempt / "curves.parquet", "1")
    place.publish(facts(2))
    assert {"labels.parquet", "curves.parquet"} <= tree(place.path).keys()
    assert "checkpoint/first" not in tree(place.path)
    place.open()
    assert tree(place.attempt).keys() == {"labels.parquet"}, "curves are results"


def test_the_space_for_the_reason_is_held_until_a_run_ends(place, monkeypatch):
    place.create()
    place.open()
    write(place.attempt / "big.csv", "x")
    written = []

    def full(path, content):
        if (place.workshop / "reserve").exists() or (place.attempt / "big.csv").exists():
            raise OSError(errno.ENOSPC, "No space left on device")
        written.append(path.name)

    monkeypatch.setattr(files, "write_json", full)
    place.fail(facts(1))
    assert written == ["failed.json"]


# Killed in the midst of it


class Killed(BaseException):
    """Stands for the end of the process."""


STEPS = [
    (module, name)
    for module, names in (
        (os, ("replace", "link")),
        (files, ("write_json",)),
        (exchange, ("exchange",)),
    )
    for name in names
] + [(folder.shutil, "rmtree"), (Path, "unlink")]


def _is_killed(step, call):
    """Let the process end before its n-th change to the file system; return whether it did."""
    left = itertools.chain(range(step, 0, -1), itertools.repeat(0))

    def wrap(function):
        def changed(*arguments, **options):
            if not next(left):
                raise Killed
            return function(*arguments, **options)

        return changed

    with pytest.MonkeyPatch.context() as patch:
        for module, name in STEPS:
            patch.setattr(module, name, wrap(getattr(module, name)))
        try:
            call()
        except Killed:
            return True
    return False


@pytest.mark.parametrize("outcome", [make, fail])
def test_a_kill_leaves_the_old_run_or_the_new_one_and_every_file_of_a_user(tmp_path, ways, outcome):
    contents = {"number_csv": "2", "figures__b_png": "2"} if outcome is make else {}
    for step in itertools.count():
        place = RunFolder(tmp_path / f"{step}/quick", NOTEBOOK)
        make(place, 1, number_csv="1", figures__a_png="1")
        write(place.path / "figures/thesis.png", "mine")
        write(place.path / "figures/b.png", "mine")
        if not _is_killed(step, lambda place=place: outcome(place, 2, **contents)):
            break
        if place.path.exists():  # else it was killed between two renames
            _check(place)
        place.create()
        place.open()
        _check(place)
        make(place, 3, number_csv="3")
        assert (place.path / "number.csv").read_text() == "3"
        assert not place.workshop.exists()
    assert step > 10


def _check(place):
    """Check that what is there is of one run, and that a user's files are all there."""
    left = tree(place.path)
    started = {"1": "2026-01-01T00:00:01", "2": "2026-01-01T00:00:02"}
    for root in ("", "previous/"):
        if f"{root}record.json" in left:
            now = json.loads(left[f"{root}record.json"])["started"]
            assert started[left[f"{root}number.csv"]] == now
    assert not ("failed.json" in left and "report.ipynb" in left)
    assert left["figures/thesis.png"] == "mine"
    assert "mine" in (left["figures/b.png"], left.get("kept/figures/b.png"))


# Cleaning


def test_clean_removes_what_runs_made_and_nothing_else(tmp_path):
    outputs = tmp_path / "outputs"
    quick, full = (RunFolder(outputs / "10-a" / run, NOTEBOOK) for run in ("quick", "big"))
    make(quick, 1, figures__a_png="1")
    make(full, 1, figures__a_png="1", model__weights="1")
    write(full.path / "report.html", "page")
    write(quick.path / "figures/thesis.png", "mine")
    write(outputs / "notes/mine/record.json", "{}")
    write(outputs / "letter.txt", "mine")
    write(outputs / "index.html", "site")
    said = list(folder.clean(outputs, kept=lambda _, run: run == "big"))
    assert tree(outputs).keys() == {
        "10-a/big/record.json",
        "10-a/big/report.ipynb",
        "10-a/quick/figures/thesis.png",
        "notes/mine/record.json",
        "letter.txt",
    }
    assert len(said) == 2
    assert said[0].endswith("quick: 1 files left that no run lists, such as figures/thesis.png")


def test_clean_puts_back_the_report_of_a_full_run_that_failed_later(tmp_path):
    place = RunFolder(tmp_path / "outputs/10-a/big", NOTEBOOK)
    make(place, 1, a_csv="1")
    fail(place, 2)
    list(folder.clean(tmp_path / "outputs", kept=lambda *_: True))
    assert tree(place.path).keys() == {"record.json", "report.ipynb"}


# Names


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("customers", "customers"),
        ("客户", "客户"),
        ("ग्राहक सूची", "ग्राहक-सूची"),
        ("Ürün_2.1", "Ürün_2.1"),
        ("a'; rm -rf b", "a-rm--rf-b"),
        ("../../etc", "etc"),
        ("🙂", "table"),
        ("", "table"),
        ("字" * 100, "字" * 60),
    ],
)
def test_a_run_is_named_by_the_letters_of_its_table_in_any_script(name, expected):
    assert plain(name) == expected


@pytest.mark.parametrize("run", ["../../x", "/x", ".", "", "a/b", "-x", "a b", "a;b", ".hidden"])
def test_a_run_name_is_that_of_one_folder(tmp_path, monkeypatch, capsys, run):
    scratch.add(scratch.library(tmp_path), "10-a")
    monkeypatch.chdir(tmp_path)
    assert main(["execute", "notebooks/10-a.ipynb", f"--run={run}"]) == 2
    assert "use letters, digits, '.', '_' and '-' only" in capsys.readouterr().err
    assert not (tmp_path / "outputs").exists()


def test_an_interactive_record_lists_what_was_saved_through_the_run(tmp_path, monkeypatch):
    from matplotlib.figure import Figure

    monkeypatch.setenv("WHYCLUSTER_OUTPUTS", str(tmp_path))
    monkeypatch.delenv(record.FOLDER_VARIABLE, raising=False)
    run = record.start("10-a")
    run.save_figure(Figure(), "a")
    run.record(results=[], seeds=[])
    assert folder.owned(run.folder) >= {"figures/a.png", "record.json"}
    assert folder.strangers(run.folder) == []
