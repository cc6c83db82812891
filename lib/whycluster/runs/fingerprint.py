"""What made a run, as one short hash: the code that its notebook uses, without its words.

The hash covers the syntax trees of the notebook's cells and of the modules that they import,
followed through the imports. Comments, docstrings, what the manual says of a setting, layout and
the values of parameters leave it as it is, and so does code that the notebook does not reach.
Nothing is imported to find it.
"""

import ast
import contextlib
import functools
import hashlib
from collections.abc import Iterator
from importlib.util import resolve_name
from pathlib import Path

from nbformat import NotebookNode

from whycluster.runs import notebooks

ROOT = "whycluster"
LIBRARY = Path(__file__).parents[1]
LEFT_OUT = ("runs", "plots")  # rooms that show results and make none
PUBLIC = ("_PUBLIC", "_MODULES")  # where the package says what it hands out on first use
LENGTH = 12  # hexadecimal digits
PARAMETERS = {"parameters", "injected-parameters"}
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def of(notebook: Path, library: Path = LIBRARY) -> str:
    """Return the fingerprint of what a run of a notebook would be made by.

    Parameters
    ----------
    notebook : Path
        The notebook, executed or not.
    library : Path
        Folder of the package.

    Returns
    -------
    str
        Twelve hexadecimal digits.
    """
    cells = _cells(notebooks.read(notebook))
    names = [name for cell in cells for name in _parsed(cell, ROOT)[1]]
    modules = reached(names, library)
    shapes = [(name, _parsed(*modules[name])[0]) for name in sorted(modules)]
    content = repr((shapes, [_parsed(cell, ROOT)[0] for cell in cells]))
    return hashlib.sha256(content.encode()).hexdigest()[:LENGTH]


def earlier(records: list[dict], root: Path, library: Path = LIBRARY) -> set[str]:
    """Name the runs that were made by other code than there is today.

    Parameters
    ----------
    records : list of dict
        Records of finished runs. One without a fingerprint is of an earlier version.
    root : Path
        Repository with ``notebooks/``.
    library : Path
        Folder of the package.

    Returns
    -------
    set of str
        ``<notebook>/<run>`` each.
    """
    names = {record["notebook"] for record in records if record.get("sources")}
    today = {name: _today(root / "notebooks" / f"{name}.ipynb", library) for name in names}
    return {
        f"{record['notebook']}/{record['run']}"
        for record in records
        if not record.get("sources") or record["sources"] != today[record["notebook"]]
    }


def reached(names: list[str], library: Path) -> dict[str, tuple[str, str]]:
    """Follow imports from dotted names, such as ``whycluster.imn.search.search``.

    Returns
    -------
    dict
        Source and package of each module that is reached, by its name.
    """
    found, waiting = {}, list(names)
    public = _public(library)
    while waiting:
        parts = waiting.pop().split(".")
        if len(parts) > 1 and parts[1] in public:
            parts = [*public[parts[1]].split("."), *parts[2:]]
        for end in range(2, len(parts) + 1):
            name = ".".join(parts[:end])
            file = _file(parts[1:end], library)
            if file and name not in found and parts[1] not in LEFT_OUT:
                package = name if file.name == "__init__.py" else name.rpartition(".")[0]
                found[name] = (file.read_text(encoding="utf-8"), package)
                waiting += _parsed(*found[name])[1]
    return found


def shape(source: str) -> str:
    r"""Write the syntax tree of some code, without docstrings, alike under every Python.

    Examples
    --------
    >>> shape("def f(x):\n    '''Say it.'''\n    return x  # so") == shape("def f(x): return x")
    True
    >>> shape("x = 1") == shape("x = 2")
    False
    """
    return _parsed(source, ROOT)[0]


def _today(notebook: Path, library: Path) -> str | None:
    """Return the fingerprint of a notebook as it is; None if it is gone or cannot be read."""
    try:
        return of(notebook, library)
    except Exception:  # of many kinds; what cannot be read has not made the run
        return None


def _cells(notebook: NotebookNode) -> list[str]:
    """List the code of a notebook apart from its parameters."""
    cells = notebooks.code_cells(notebook)
    return [c.source for c in cells if not PARAMETERS & set(c.metadata.get("tags", []))]


def _file(parts: list[str], library: Path) -> Path | None:
    """Find the file of a module."""
    stem = library.joinpath(*parts)
    candidates = (stem / "__init__.py", stem.with_name(f"{stem.name}.py"))
    return next((path for path in candidates if path.is_file()), None)


def _public(library: Path) -> dict[str, str]:
    """Read where the package finds the names that it hands out on first use."""
    found: dict[str, str] = {}
    for node in ast.parse((library / "__init__.py").read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) in PUBLIC:
            found |= ast.literal_eval(node.value)
    return found


@functools.cache
def _parsed(source: str, package: str) -> tuple[str, tuple[str, ...]]:
    """Return the shape of some code, and the dotted names that it takes from the library."""
    tree = _tree(source)
    names = (name for node in ast.walk(tree) for name in _names(node, package))
    taken = {name for name in names if name.split(".")[0] == ROOT}
    return repr(_plain(tree)), tuple(sorted(taken))


def _tree(source: str) -> ast.AST:
    """Parse a module or a cell; a cell may hold magics."""
    with contextlib.suppress(SyntaxError):
        return ast.parse(source)
    from IPython.core.inputtransformer2 import TransformerManager

    try:
        return ast.parse(TransformerManager().transform_cell(source))
    except SyntaxError:  # the run will say so; until then the text counts as it stands
        return ast.Constant(source)


def _names(node: ast.AST, package: str) -> Iterator[str]:
    """Yield the dotted names that an import, or an attribute of the package, stands for."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        base = resolve_name("." * node.level + (node.module or ""), package)
        yield from (f"{base}.{alias.name}" for alias in node.names)
    elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        yield f"{node.value.id}.{node.attr}"


def _plain(node):
    """Turn a syntax tree into tuples without empty fields, whose number differs by version."""
    if isinstance(node, list):
        return tuple(_plain(item) for item in node)
    if not isinstance(node, ast.AST):
        return node
    fields = dict(ast.iter_fields(node))
    if isinstance(node, DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
        fields["body"] = fields["body"][1:]
    if isinstance(node, ast.Call) and ast.unparse(node.func) == "setting":  # its second is a manual
        fields["args"] = fields["args"][:1]
    kept = ((name, _plain(value)) for name, value in fields.items() if value not in (None, []))
    return type(node).__name__, *kept
