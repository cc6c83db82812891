"""Notebooks: their structure, what they store, and the executed reports that git keeps."""

import re
import subprocess

import nbformat
import pytest
from nbformat.v4 import new_output
from scratch import REPOSITORY, notebook

from whycluster.contract import files
from whycluster.runs import execution, notebooks, parameters, record

NOTEBOOKS = sorted((REPOSITORY / "notebooks").glob("*.ipynb"))
CHECK = {"keep_output", "nbval-check-output"}
LONGEST_CELL = 25  # lines
MOST_PARAMETERS = 12
LOCAL_PATH = re.compile(
    r"(?<![\w.:/])/(?:home|root|Users|work|mnt|tmp|var|opt|private)/|[A-Z]:\\\\"
)


def committed(name):
    """List the files called so that git keeps in outputs/, or would keep."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", f"outputs/*/*/{name}"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    return [REPOSITORY / line for line in listed.stdout.splitlines()]


def complaints(path):
    """List what is wrong with the structure of a notebook."""
    content = notebooks.read(path)
    cells = notebooks.code_cells(content)
    return [
        *_title(content),
        *_parameters(path, cells),
        *_sources(cells),
        *_executions(cells),
        *_outputs(cells),
    ]


def _title(content):
    question = notebooks.title(content)
    if content.cells[0].cell_type != "markdown" or not question.endswith("?"):
        yield f"title is not a question: {question!r}"


def _parameters(path, cells):
    tagged = [cell for cell in cells if "parameters" in cell.metadata.get("tags", [])]
    if tagged != cells[:1]:
        yield "the first code cell, and only that, must be tagged 'parameters'"
        return
    if len(parameters.declared(path)) > MOST_PARAMETERS:
        yield f"more than {MOST_PARAMETERS} parameters"
    for line in tagged[0].source.splitlines():
        if re.match(r"\w+ *(:.*)?=", line) and "  # " not in line:
            yield f"parameter without a comment: {line}"


def _sources(cells):
    for cell in cells:
        lines = cell.source.splitlines()
        if len(lines) > LONGEST_CELL:
            yield f"cell of {len(lines)} lines: {lines[0]}"
        if re.search(r"sys\.path|^\s*[!%]\s*(pip|conda|git)\b|pip install", cell.source, re.M):
            yield f"installs or changes the path: {lines[0]}"


def _executions(cells):
    if [cell.execution_count for cell in cells] != list(range(1, len(cells) + 1)):
        yield "execution counts are not 1, 2, 3, ...: run it from top to bottom"


def _outputs(cells):
    checks = [cell for cell in cells if set(cell.metadata.get("tags", [])) >= CHECK]
    if not any(cell.outputs for cell in checks):
        yield f"no check cell (tags {sorted(CHECK)}) with a stored output"
    for cell in cells:
        if cell.outputs and cell not in checks:
            yield f"stored output outside a check cell: {cell.source.splitlines()[0]}"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_well_formed(path):
    assert complaints(path) == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_opens_the_run_that_bears_its_name(path):
    opened = re.findall(r'runs\.start\("([^"]+)"\)', path.read_text().replace('\\"', '"'))
    assert opened == [path.stem]


@pytest.fixture
def sound():
    """Return a notebook that nothing is wrong with."""
    content = notebook("print('ARI = 0.92')", title="# Is it sound?", parameters="n = 1  # rows")
    content.cells[2].metadata["tags"] = sorted(CHECK)
    content.cells[2].outputs = [new_output("stream", name="stdout", text="ARI = 0.92\n")]
    for count, cell in enumerate(content.cells[1:], start=1):
        cell.execution_count = count
    return content


def written(content, tmp_path):
    """Write a notebook and return its path."""
    nbformat.write(content, tmp_path / "a.ipynb")
    return tmp_path / "a.ipynb"


def test_a_sound_notebook_raises_no_complaint(sound, tmp_path):
    assert complaints(written(sound, tmp_path)) == []


def _change(cell, **values):
    def apply(content):
        for name, value in values.items():
            content.cells[cell][name] = value

    return apply


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (_change(0, source="# A title"), "title is not a question"),
        (_change(1, metadata={}), "must be tagged 'parameters'"),
        (_change(1, source="n = 1"), "parameter without a comment: n = 1"),
        (
            _change(1, source="\n".join(f"p{i} = 1  # x" for i in range(13))),
            "more than 12 parameters",
        ),
        (_change(2, source="x = 1\n" * 26), "cell of 26 lines"),
        (_change(2, source="import sys\nsys.path.append('..')"), "changes the path"),
        (_change(2, source="%pip install x"), "installs"),
        (_change(2, execution_count=7), "execution counts"),
        (_change(2, outputs=[]), "no check cell"),
        (_change(2, metadata={"tags": ["keep_output"]}), "stored output outside a check cell"),
    ],
)
def test_each_fault_of_a_notebook_is_noticed(sound, tmp_path, spoil, complaint):
    spoil(sound)
    assert any(complaint in line for line in complaints(written(sound, tmp_path)))


@pytest.mark.parametrize("path", committed("report.ipynb"), ids=lambda path: path.parent.name)
def test_a_committed_report_is_whole_small_and_without_local_paths(path):
    assert path.stat().st_size <= execution.MAX_REPORT
    outputs = [output for cell in notebooks.read(path).cells for output in cell.get("outputs", [])]
    assert not [output for output in outputs if output.output_type == "error"]
    assert LOCAL_PATH.findall(_text(outputs)) == []


@pytest.mark.parametrize("path", committed("record.json"), ids=lambda path: path.parent.name)
def test_a_committed_record_is_complete_and_has_its_report(path):
    content = record.check(files.read_json(path))
    assert content["status"] == "done"
    assert (content["notebook"], content["run"]) == (path.parent.parent.name, path.parent.name)
    assert {"parameters", "versions", "git", "device", "threads", "wall_s"} <= content.keys()
    assert (path.parent / "report.ipynb").exists()


def _text(outputs):
    """Join the text of outputs, images left out."""
    data = [
        value for o in outputs for key, value in o.get("data", {}).items() if "image" not in key
    ]
    return "\n".join([*(o.get("text", "") for o in outputs), *map(str, data)])


def test_local_paths_are_recognised():
    assert LOCAL_PATH.search("in /home/someone/whycluster/lib/x.py")
    assert LOCAL_PATH.search("'/root/x'")
    assert not LOCAL_PATH.search("https://example.org/home/x and outputs/tmp/x")
