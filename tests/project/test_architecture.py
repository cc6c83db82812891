"""The rooms of the library: imports run one way, and nothing heavy is loaded for nothing."""

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

LIBRARY = Path(__file__).parents[2] / "lib" / "whycluster"
METHODS = ("idc", "neurcam", "trees", "embedded", "gower", "imn", "recommender")
# What each room may import: whole rooms, or single modules of one.
SHARED = {"contract.files", "contract.wording"}  # these need neither torch nor scikit-learn
ALLOWED = {
    "plots": set(),
    "metrics": set(),
    "datasets": SHARED,
    "runs": SHARED,
    "contract": {"plots", "metrics"},
    "training": {"contract", "metrics"},
    **{room: {"plots", "metrics", "contract", "training", *METHODS} for room in METHODS},
    "table": {"plots", "metrics", "contract", "training", "datasets", *METHODS},
}
FILES = sorted(LIBRARY.rglob("*.py"))


def module_of(path):
    parts = path.relative_to(LIBRARY.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in FILES}


def imports_of(path):
    """Return the modules of whycluster that a file imports, also within functions."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (a.name for a in node.names if a.name.split(".")[0] == "whycluster")
        elif isinstance(node, ast.ImportFrom) and node.module.split(".")[0] == "whycluster":
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if full in MODULES else node.module


def test_the_root_holds_the_rooms_and_nothing_else():
    entries = {p.name for p in LIBRARY.iterdir() if p.name != "__pycache__"}
    assert entries == {*ALLOWED, "__init__.py"}


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_imports_run_one_way(path):
    room = module_of(path).split(".")[1:2]
    if not room:  # the root hands out public names and imports a room only when asked
        return
    for target in imports_of(path):
        other = target.split(".")[1:]
        fits = not other or other[0] == room[0]
        assert fits or {other[0], ".".join(other)} & ALLOWED[room[0]], f"imports {target}"


def test_no_module_and_no_method_is_imported_in_a_circle():
    modules = {module_of(path): set(imports_of(path)) - {module_of(path)} for path in FILES}
    packages = {module_of(path) for path in FILES if path.name == "__init__.py"}
    plain = {m: targets - packages for m, targets in modules.items() if m not in packages}
    TopologicalSorter(plain).prepare()  # raises CycleError, naming the circle
    room_of = {m: m.split(".")[1] for m in modules if "." in m}
    rooms = {room: set() for room in ALLOWED}
    for module, targets in modules.items():
        if module in room_of:
            rooms[room_of[module]] |= {room_of[t] for t in targets if t in room_of}
    TopologicalSorter({room: others - {room} for room, others in rooms.items()}).prepare()


@pytest.mark.parametrize(
    ("code", "absent"),
    [
        ("from whycluster import DEC", ("captum", "shap", "matplotlib")),
        ("from whycluster import IDC, NeurCAM", ("captum", "shap", "matplotlib")),
        ("from whycluster import runs, published", ("torch", "sklearn", "matplotlib")),
        ("import whycluster.datasets", ("torch", "matplotlib")),
    ],
)
def test_what_is_not_needed_is_not_loaded(code, absent):
    script = f"import sys\n{code}\nprint([m for m in {absent} if m in sys.modules])"
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert shown.stdout.strip() == "[]", shown.stderr
