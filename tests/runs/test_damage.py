"""One damaged file never stops the site: its page says what is wrong, the others are built."""

import copy
import json
import os
import re
import warnings

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_output
from test_site import PIXEL, executed, page, put, recorded, row, shown

from whycluster.contract import files
from whycluster.runs import entry, facts, report, results, site
from whycluster.runs.record import RecordError

RECORD = recorded(
    title="A title",
    sources="0123456789ab",
    peak_gpu_memory_mb=None,
    extra={"x": [1]},
    results=[row(), row(metric="F1", published=None)],
)
WRONG = (None, True, -1, 1.5, 10**400, "", "x", "\ud800", [], {}, [[1]], {"x": {"y": None}})


def places(value, path=()):
    """Yield the path of every entry of a JSON value."""
    if path:
        yield path
    items = enumerate(value) if isinstance(value, list) else ()
    for key, item in value.items() if isinstance(value, dict) else items:
        yield from places(item, (*path, key))


def altered(path, *replacement):
    """Return the record with one entry replaced, or removed."""
    record = copy.deepcopy(RECORD)
    holder = record
    for key in path[:-1]:
        holder = holder[key]
    if replacement:
        holder[path[-1]] = replacement[0]
    else:
        del holder[path[-1]]
    return record


ALTERED = [altered(path) for path in places(RECORD)]
ALTERED += [altered(path, value) for path in places(RECORD) for value in WRONG]


def test_a_record_that_is_not_refused_can_be_shown(tmp_path):
    file = tmp_path / "record.json"
    refused = []
    for record in ALTERED:
        file.write_text(json.dumps(record))
        try:
            known = facts.finished(file)
        except facts.DamagedError as error:
            refused.append(str(error))
        else:
            there = {"notebook_file": tmp_path / "report.ipynb"}
            run = site.Page("10-a", "big", known["title"], tmp_path, "done", known, **there)
            more = {"cells": "", "key": "0", "groups": (groups := entry.entries([run]))}
            for template in (*site.PAGES, "report.html"):
                more["findings"] = entry.findings(groups)
                assert site._render(template, tmp_path, [run], **more).encode()
    assert len(ALTERED) > 483
    assert 200 < len(refused) < len(ALTERED), "what is not shown may be anything"
    assert [reason for reason in refused if not re.fullmatch(r"record\.json.{5,300}", reason)] == []


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ("", "record.json is no strict JSON: Expecting value"),
        ('{"cut": ', "record.json is no strict JSON"),
        ("[1]", "record.json holds no JSON object but [1]"),
        ("[" * 100_000, "record.json is no strict JSON: maximum recursion depth"),
        (b"\xff\xfe", "record.json is no strict JSON: 'utf-8' codec"),
        ('{"x": NaN}', "record.json is no strict JSON: Out of range"),
        (altered(("git", "dirty")), "record.json: git is"),
        (altered(("started",), "yesterday"), 'record.json: started is "yesterday", not a time'),
        (altered(("wall_s",), "long"), 'record.json: wall_s is "long", not a number of seconds'),
        (altered(("results", 0, "values")), "record.json: results row 1 lacks 'values'"),
        (altered(("title",)), "record.json: title is missing"),
    ],
)
def test_a_damaged_record_is_named_on_the_page_and_in_the_index(tmp_path, record, reason):
    folder = put(tmp_path, cells=[new_markdown_cell("What was found.")])
    content = json.dumps(record) if isinstance(record, dict) else record
    (folder / "record.json").write_bytes(
        content if isinstance(content, bytes) else content.encode()
    )
    put(tmp_path, "10-a/sound")
    index, _ = page(site.build(tmp_path, tmp_path))
    text, _ = page(folder / "report.html")
    for shown_text in (index, text):
        plain = shown_text.replace("&#34;", '"').replace("&#39;", "'")
        assert f'<p class="reason">{reason}' in plain
        assert "<span>damaged</span>" in plain
    assert "What was found." in text, "its notebook is whole"
    assert "Is it?" in (tmp_path / "10-a/sound/report.html").read_text()
    with pytest.raises(RecordError, match=r"big: record\.json.*; run it again, or restore it"):
        results.full_records(tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        "null",
        '"text"',
        "{" * 1000,
        b"\x89PNG\xff",
        '{"cells": null, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}',
        '{"cells": {"a": 1}, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}',
        '{"cells": [1, "x", null], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}',
        '{"cells": [{"cell_type": "code"}], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}',
        '{"cells": [{"cell_type": "markdown", "source": 7, "metadata": {}}], "metadata": {},'
        ' "nbformat": 4, "nbformat_minor": 5}',
        '{"cells": [{"cell_type": "code", "source": "x", "outputs": [{"output_type": "stream"}],'
        ' "metadata": {}}], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}',
        '{"cells": [], "metadata": {}, "nbformat": 99}',
        '{"cells": [], "metadata": {}, "nbformat": "4"}',
        '{"nbformat": 3, "worksheets": 1}',
    ],
)
def test_a_damaged_notebook_is_named_and_its_results_are_kept(tmp_path, content):
    folder = put(tmp_path)
    data = content if isinstance(content, bytes) else content.encode()
    (folder / "report.ipynb").write_bytes(data)
    put(tmp_path, "10-a/sound", recorded("sound"))
    index, _ = page(site.build(tmp_path, tmp_path))
    text, _ = page(folder / "report.html")
    assert '<p class="reason">report.ipynb cannot be shown: ' in text
    assert "<span>damaged</span>" in index
    assert "<b>91.0 ± 1.4</b>" in (tmp_path / "numbers.html").read_text()
    assert "Is it?" in (tmp_path / "10-a/sound/report.html").read_text()
    page(site.build(tmp_path, tmp_path))  # and again, over what is there


def test_a_pipe_in_place_of_a_record_is_named_and_not_waited_for(tmp_path):
    folder = put(tmp_path)
    (folder / "record.json").unlink()
    os.mkfifo(folder / "record.json")
    assert files.read_json(folder / "record.json") is None
    index, _ = page(site.build(tmp_path, tmp_path))
    assert "record.json is a pipe, which would never end" in index


def test_a_missing_half_of_a_run_is_named(tmp_path):
    (put(tmp_path, "10-a/a") / "record.json").unlink()
    (put(tmp_path, "10-a/b") / "report.ipynb").unlink()
    index, _ = page(site.build(tmp_path, tmp_path))
    assert re.findall(r'<p class="reason">([\w. ]+)<', index) == [
        "record.json is missing",
        "report.ipynb is missing",
    ]
    assert "report.ipynb is missing" in (tmp_path / "10-a/b/report.html").read_text()


def test_a_failure_that_cannot_be_read_is_damage(tmp_path):
    folder = put(tmp_path, status="failed")
    (folder / "failed.json").write_text('{"reason": 7}')
    index, _ = page(site.build(tmp_path, tmp_path))
    assert "failed.json: reason is 7, not a text" in index


def test_a_damaged_source_leaves_the_site_whole(tmp_path):
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "10-a.ipynb").write_text("")
    put(tmp_path / "outputs", content=recorded(sources="0123456789ab"))
    index, _ = page(site.build(tmp_path / "outputs", tmp_path))
    assert "made by an earlier version" in index


def test_a_picture_pasted_into_a_markdown_cell_is_shown():
    cell = new_markdown_cell("![a map](attachment:image.png) and ![gone](attachment:other.png)")
    cell.attachments = {"image.png": {"image/png": PIXEL}}
    html = str(report.body(executed(cell)))
    assert f'<img alt="a map" src="data:image/png;base64,{PIXEL}">' in html
    assert "<em>gone (the attached picture is missing)</em>" in html


def test_a_page_is_rebuilt_by_content_and_not_by_time(tmp_path):
    folder = put(tmp_path)
    site.build(tmp_path, tmp_path)
    target = folder / "report.html"
    os.utime(target, (4e9, 4e9))  # by a clock that was wrong
    nbformat.write(executed(new_markdown_cell("Changed.")), folder / "report.ipynb")
    site.build(tmp_path, tmp_path)
    assert "Changed." in target.read_text()
    os.utime(target, (0, 0))
    site.build(tmp_path, tmp_path)
    assert target.stat().st_mtime == 0, "nothing changed, so nothing is written"
    (folder / "record.json").write_text(json.dumps(recorded(device="Another")))
    site.build(tmp_path, tmp_path)
    assert "Another" in target.read_text()


def test_an_output_of_an_odd_shape_is_damage_or_is_shown(tmp_path):
    outputs = [new_output("display_data", data={"text/plain": "x"}) for _ in range(4)]
    outputs[0].data = {"text/html": ["a", "b"]}
    outputs[1].metadata = {"image/png": "x"}
    outputs[2].data = {"image/png": {"x": 1}}
    outputs[3].data = None
    for number, output in enumerate(outputs):
        folder = put(tmp_path, f"10-a/r{number}", cells=[new_markdown_cell("Sound.")])
        cells = executed(new_markdown_cell("Sound."), new_code_cell("x", outputs=[]))
        cells.cells[-1].outputs = [output]
        (folder / "report.ipynb").write_text(json.dumps(cells))
    put(tmp_path, "10-a/sound", cells=[shown({"text/plain": "sound"})])
    site.build(tmp_path, tmp_path)
    assert len(list(tmp_path.glob("10-a/*/report.html"))) == 5


@pytest.mark.parametrize("ids", [("a", "a"), ("a", None)])
def test_cells_with_one_identifier_or_none_are_shown_without_a_warning(tmp_path, capsys, ids):
    notebook = executed(new_markdown_cell("First."), new_markdown_cell("Second."))
    for cell, name in zip(notebook.cells[1:], ids, strict=True):
        cell.pop("id") if name is None else cell.update(id=name)
    folder = put(tmp_path)
    (folder / "report.ipynb").write_text(json.dumps(notebook))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        index, _ = page(site.build(tmp_path, tmp_path))
    assert "<span>damaged</span>" not in index
    assert "Second." in (folder / "report.html").read_text()
    assert capsys.readouterr().err == ""


def test_what_is_said_of_a_damaged_notebook_is_said_once(tmp_path, capfd):
    notebook = executed(new_markdown_cell("First."))
    del notebook.cells[1]["metadata"]
    folder = put(tmp_path)
    (folder / "report.ipynb").write_text(json.dumps(notebook))
    index, _ = page(site.build(tmp_path, tmp_path))
    assert "report.ipynb cannot be shown: " in index
    assert capfd.readouterr().err == ""
