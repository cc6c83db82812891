"""Files and folders that are whole or absent, and JSON that is strict."""

import json

import pytest

from whycluster.contract import files


def test_a_file_is_replaced_when_the_block_ends(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("old")
    with files.aside(path) as beside:
        beside.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [OSError("No space left on device"), KeyboardInterrupt()])
def test_after_an_error_the_old_file_is_there_and_nothing_else(tmp_path, error):
    def fail():
        with files.aside(path) as beside:
            beside.write_text("half")
            raise error

    path = tmp_path / "table.csv"
    path.write_text("old")
    with pytest.raises(type(error)):
        fail()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_appears_as_a_whole(tmp_path):
    path = tmp_path / "model"
    with files.aside(path) as beside:
        beside.mkdir()
        (beside / "weights").write_text("all")
        assert not path.exists()
    assert (path / "weights").read_text() == "all"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_failed_is_removed(tmp_path):
    def fail():
        with files.aside(tmp_path / "model") as beside:
            beside.mkdir()
            (beside / "weights").write_text("half")
            raise OSError("No space left on device")

    with pytest.raises(OSError, match="No space"):
        fail()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["model", "weights"])
def test_what_a_killed_process_left_is_cleared(tmp_path, name):
    left = tmp_path / f".writing-{name}"
    if name == "model":
        left.mkdir()
        (left / "weights").write_text("half")
    else:
        left.write_text("half")
    with files.provisional(tmp_path / name) as beside:
        assert beside == left
        assert not left.exists()


def test_a_link_in_the_way_is_removed_and_what_it_leads_to_is_not(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    (tmp_path / ".writing-model").symlink_to(tmp_path / "mine")
    files.write(tmp_path / "model", "new")
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"


def test_json_comes_back_and_what_is_not_json_is_an_error(tmp_path):
    path = tmp_path / "record.json"
    files.write_json(path, {"größe": [1, 2.5, None]})
    assert files.read_json(path) == {"größe": [1, 2.5, None]}
    with pytest.raises(ValueError, match="not JSON compliant"):
        files.write_json(path, {"ari": float("nan")})
    assert json.loads(path.read_text()) == {"größe": [1, 2.5, None]}


@pytest.mark.parametrize("content", [b"", b"[1]", b'{"a": ', b"\xff", b"[" * 100_000])
def test_a_file_that_holds_no_json_object_reads_as_none(tmp_path, content):
    (tmp_path / "record.json").write_bytes(content)
    assert files.read_json(tmp_path / "record.json") is None
    assert files.read_json(tmp_path / "nowhere.json") is None
