"""README, ARCHITECTURE and CONTRIBUTING speak of what is there."""

import re
from pathlib import Path

import pytest

import whycluster

ROOT = Path(__file__).parents[2]
PAGES = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"]
PLACES = [ROOT, ROOT / "lib" / "whycluster", ROOT / "tests"]
TEXTS = {name: (ROOT / name).read_text() for name in PAGES}
TESTS = "".join(path.read_text() for path in (ROOT / "tests").rglob("*.py"))


@pytest.mark.parametrize("page", PAGES)
def test_files_that_are_linked_or_named_exist(page):
    linked = re.findall(r"\]\(([^)#:]+)\)", TEXTS[page])
    named = re.findall(r"`([a-z_/]+/(?:[\w.-]+)?)`", TEXTS[page])
    named += re.findall(r"`([\w/.-]+\.(?:py|toml|yaml|md))`", TEXTS[page])
    invented = re.compile(r"NAME|NN-|NOTEBOOK|^outputs/index|^https?")
    known = [name for name in {*linked, *named} if not invented.search(name)]
    assert known
    there = [*PLACES, ROOT / "lib" / "whycluster" / "datasets"]
    inside = ("estimator.py", "network.py", "phases.py", "__init__.py")  # of a room to be made
    missing = [
        name
        for name in known
        if name not in inside
        and not any((p / name).exists() or (p / f"{name}.py").exists() for p in there)
    ]
    assert missing == []


@pytest.mark.parametrize("page", PAGES)
def test_tests_that_are_named_exist(page):
    named = set(re.findall(r"`(test_[a-z_]+)`", TEXTS[page]))
    assert [name for name in named if f"def {name}(" not in TESTS] == []


def test_names_of_the_library_in_the_architecture_exist():
    text = TEXTS["ARCHITECTURE.md"]
    library = "".join(path.read_text() for path in (ROOT / "lib").rglob("*.py"))
    for names in re.findall(r"\.py`: ((?:`[\w.]+`(?:, )?)+)", text):
        for name in re.findall(r"[\w.]+", names):
            last = name.split(".")[-1]
            assert re.search(rf"(def|class) {last}\b|^{last} =", library + TESTS, re.M), name


def test_the_map_of_notebooks_is_complete():
    notebooks = {path.stem for path in (ROOT / "notebooks").glob("*.ipynb")}
    assert notebooks == set(re.findall(r"\| \[(\d\d-[\w-]+)\]", TEXTS["README.md"]))


def test_every_room_is_on_the_map_and_tested():
    rooms = {p.parent.name for p in (ROOT / "lib" / "whycluster").glob("*/__init__.py")}
    assert [room for room in rooms if f"`{room}`" not in TEXTS["ARCHITECTURE.md"]] == []
    assert [room for room in rooms if room not in whycluster.__doc__] == []
    assert [room for room in rooms if not any((ROOT / "tests" / room).glob("test_*.py"))] == []
