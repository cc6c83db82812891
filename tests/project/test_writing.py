"""Whatever the library writes is written aside and renamed, through `contract.files`."""

import ast
from pathlib import Path

import pytest

LIBRARY = Path(__file__).parents[2] / "lib" / "whycluster"
FILES = sorted(LIBRARY.rglob("*.py"))
# What may write elsewhere, file and function, and why.
ALLOWED = {
    ("contract/persistence.py", "_write"): "writes into the folder that `save` has aside",
    ("datasets/files.py", "_extract"): "pooch gives it a temporary file and renames that",
    ("runs/kernel.py", "start_kernel"): "a log is read while it grows",
}
WRITERS = {"write_text", "write_bytes", "save_file", "savez", "savez_compressed", "savetxt"}
WRITERS |= {"savefig", "copy2", "copyfile", "copyfileobj", "copytree", "tofile", "urlretrieve"}
OF_MODULES = {"np.save", "numpy.save", "torch.save", "json.dump", "pickle.dump", "joblib.dump"}
OF_MODULES |= {"shutil.copy", "shutil.move", "os.rename", "yaml.dump", "nbformat.write"}
EXPORTS = {"to_csv", "to_parquet", "to_json", "to_pickle", "to_excel", "to_feather", "to_html"}
ASIDE = {"aside", "provisional", "BytesIO", "StringIO"}


def name_of(call):
    """Return the last name of what is called: `write_text` of `path.write_text()`."""
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def opens_to_write(call):
    """Tell `open(path, "w")` and `path.open("w")` from `open(path)`."""
    if name_of(call) != "open":
        return False
    place = 1 if isinstance(call.func, ast.Name) else 0
    modes = [*call.args[place : place + 1], *(k.value for k in call.keywords if k.arg == "mode")]
    letters = [set(str(m.value)) for m in modes if isinstance(m, ast.Constant)]
    return any(mode <= set("rwaxbt+") and mode & set("wax+") for mode in letters)


def writes(call):
    name = name_of(call)
    if name in EXPORTS:  # without a path they return text
        return bool(call.args) or any(
            k.arg in ("path", "path_or_buf", "buf") for k in call.keywords
        )
    return name in WRITERS or ast.unparse(call.func) in OF_MODULES or opens_to_write(call)


def names_in(node):
    return {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}


def provisional_names(function):
    """Return the names that a function gives to provisional paths, and to what it opens there."""
    found = set()
    for node in ast.walk(function):
        if isinstance(node, ast.With):
            pairs = [(item.context_expr, item.optional_vars) for item in node.items]
        elif isinstance(node, ast.Assign):
            pairs = [(node.value, node.targets[0])]
        else:
            continue
        for value, target in pairs:
            is_aside = isinstance(value, ast.Call) and name_of(value) in ASIDE
            if isinstance(target, ast.Name) and (is_aside or names_in(value) & found):
                found.add(target.id)
    return found


def direct_writes(source):
    """Yield (function, line) of every call that writes to no provisional path."""
    tree = ast.parse(source)
    functions = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    outermost = {inner: f for f in reversed(functions) for inner in ast.walk(f)}
    for call in ast.walk(tree):
        if isinstance(call, ast.Call) and writes(call):
            scope = outermost.get(call, tree)
            if not names_in(call) & provisional_names(scope):
                yield getattr(scope, "name", ""), call.lineno


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(LIBRARY).as_posix())
def test_files_are_written_aside(path):
    place = path.relative_to(LIBRARY).as_posix()
    found = [(f, line) for f, line in direct_writes(path.read_text()) if (place, f) not in ALLOWED]
    assert not found, "writes in place; write through whycluster.contract.files"


def test_nothing_is_allowed_that_is_not_there():
    found = {
        (path.relative_to(LIBRARY).as_posix(), function)
        for path in FILES
        for function, _ in direct_writes(path.read_text())
    }
    assert set(ALLOWED) <= found


@pytest.mark.parametrize(
    "call",
    [
        'open(path, "w").write("")',
        'open(path, mode="ab")',
        'path.open("xb")',
        'path.write_text("")',
        "path.write_bytes(b'')",
        "np.save(path, rows)",
        "np.savez(path, rows=rows)",
        "table.to_csv(path, index=False)",
        "table.to_parquet(path)",
        "json.dump(content, file)",
        "save_file(tensors, path)",
        "figure.savefig(path)",
        "shutil.copy(path, other)",
    ],
)
def test_a_write_in_place_is_seen(call):
    assert list(direct_writes(f"def keep(path):\n    {call}")) == [("keep", 2)]
    aside = f"def keep(path):\n    with aside(path) as path:\n        {call}"
    if "path" in call:
        assert not list(direct_writes(aside))


@pytest.mark.parametrize("call", ["open(path)", 'path.open("rb")', "table.to_csv(index=False)"])
def test_reading_is_no_writing(call):
    assert not list(direct_writes(f"def read(path):\n    {call}"))
