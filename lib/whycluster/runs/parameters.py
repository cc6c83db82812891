"""What a notebook declares in its ``parameters`` cell, and what a run may change of it.

Papermill only logs a parameter that the notebook does not know, and exits 0; its own
``inspect_notebook`` reads the cell line by line and loses every line with a second ``=`` (one in
the comment is enough). The cell is Python, so it is parsed as Python here.
"""

import ast
import difflib
import math
import reprlib
from pathlib import Path

import yaml

from whycluster.runs import notebooks

SCALARS = (bool, int, float, str)
LARGEST = 65_536  # bytes of a parameter file
BITS = 64  # of a whole number; Python cannot write one of more than 4,300 digits
DEEPEST = 4  # a mapping, its list, a list in it that is refused by its type, and what is in that


class ParameterError(ValueError):
    """A parameter that its notebook does not declare, or of another type than declared."""


def declared(notebook: Path) -> dict[str, object]:
    """Read the names and default values that a notebook declares.

    Parameters
    ----------
    notebook : Path
        A notebook with one code cell tagged ``parameters``: assignments of literals.

    Returns
    -------
    dict of str to object
        Default value of each parameter, in the order of the cell; empty without such a cell.

    Raises
    ------
    ParameterError
        If the file is not a notebook, or the cell holds anything but assignments of literals.
    """
    try:
        cells = notebooks.read(notebook).cells
    except FileNotFoundError:
        raise ParameterError(f"{notebook}: no such notebook") from None
    except Exception as error:
        raise ParameterError(f"{notebook}: not a notebook ({_first_line(error)})") from None
    tagged = [c.source for c in cells if "parameters" in c.metadata.get("tags", [])]
    return _assignments("\n".join(tagged[:1]), notebook)


def read(path: Path) -> dict[str, object]:
    """Read a parameter file: one flat YAML mapping of scalars and short lists.

    Raises
    ------
    ParameterError
        If the file is missing, too large, no UTF-8, no YAML, repeats a key, refers to another
        part of itself, or is not a flat mapping.
    """
    try:
        content = yaml.load(_text(path), Loader=_StrictLoader)
    except OSError as error:
        raise ParameterError(f"{path}: {error.strerror}") from None
    except Exception as error:  # of many kinds: YAML's tags and dates fail in their own ways
        raise ParameterError(f"{path}: {' '.join(str(error).split())[:300]}") from None
    if content is None:
        return {}
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise ParameterError(f"{path}: must be 'name: value' lines, one per parameter")
    return content


def merge(notebook: Path, given: dict[str, object], source: str = "given") -> dict[str, object]:
    """Overlay the parameters of one run on the defaults of its notebook.

    Parameters
    ----------
    notebook : Path
        The notebook that declares them.
    given : dict of str to object
        What the run changes.
    source : str
        Where ``given`` was read, for the error.

    Returns
    -------
    dict of str to object
        Every parameter of the notebook with the value that this run uses.

    Raises
    ------
    ParameterError
        For a name that the notebook does not declare, or a value of another type than its
        default. An integer may stand for a float; a default of None accepts any scalar; list
        elements are compared with the first element of the default.
    """
    defaults = declared(notebook)
    for name, value in given.items():
        if name not in defaults:
            raise ParameterError(f"{source}: {_unknown(name, defaults, notebook)}")
        if not _fits(value, defaults[name]):
            raise ParameterError(f"{source}: {_mistyped(name, value, defaults[name])}")
    return {name: given.get(name, default) for name, default in defaults.items()}


def _text(path: Path) -> str:
    """Read a parameter file as text."""
    content = path.read_bytes()
    if len(content) > LARGEST:
        raise yaml.YAMLError(f"is larger than {LARGEST} bytes; it should hold a few short lines")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise yaml.YAMLError("is not UTF-8 text; save it as that") from None


class _StrictLoader(yaml.SafeLoader):
    """A safe YAML loader of flat mappings: no repeated key, reference, nesting or huge number."""

    def compose_node(self, parent, index):
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError(f"refers to *{self.peek_event().anchor}; write the value out")
        self.depth = getattr(self, "depth", 0) + 1
        if self.depth > DEEPEST:
            raise yaml.YAMLError("is nested; it must be 'name: value' lines with short lists")
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node, deep=False):
        seen = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.YAMLError(f"{key.value!r} is given twice")
            seen.add(key.value)
        return super().construct_mapping(node, deep)

    def construct_object(self, node, deep=False):
        value = super().construct_object(node, deep)
        if isinstance(value, int) and value.bit_length() > BITS:
            raise yaml.YAMLError(f"{node.value[:20]}... is a whole number of more than {BITS} bits")
        return value


def _assignments(source: str, notebook: Path) -> dict[str, object]:
    """Evaluate ``name = literal`` statements without running them."""
    values = {}
    try:
        for statement in ast.parse(source).body:
            name, value = _assignment(statement)
            values[name] = ast.literal_eval(value)
    except SyntaxError as error:
        raise ParameterError(f"{notebook}: parameters cell: {error.msg}") from None
    except (ValueError, TypeError, RecursionError, MemoryError):
        line = source.splitlines()[statement.lineno - 1].strip()
        raise ParameterError(
            f"{notebook}: parameters cell: '{line}' is not an assignment of a literal"
        ) from None
    return values


def _assignment(statement: ast.stmt) -> tuple[str, ast.expr]:
    """Split an assignment to one name into that name and its value."""
    if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
        target, value = statement.targets[0], statement.value
    elif isinstance(statement, ast.AnnAssign) and statement.value is not None:
        target, value = statement.target, statement.value
    else:
        raise ValueError
    if not isinstance(target, ast.Name):
        raise ValueError
    return target.id, value


def _fits(value: object, default: object) -> bool:
    """Say whether a value may replace a default."""
    if isinstance(value, float) and not math.isfinite(value):
        return False
    if default is None:
        return value is None or isinstance(value, SCALARS)
    if isinstance(default, list):
        element = default[0] if default else None
        return isinstance(value, list) and all(_fits(item, element) for item in value)
    if isinstance(default, float) and type(value) is int:
        return True
    return type(value) is type(default) and isinstance(value, SCALARS)


def _unknown(name: str, defaults: dict, notebook: Path) -> str:
    """Say that a name is not declared, and which one was probably meant."""
    close = difflib.get_close_matches(name, defaults, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"it has {', '.join(defaults) or 'none'}"
    return f"{notebook.name} has no parameter {name!r}; {hint}"


def _mistyped(name: str, value: object, default: object) -> str:
    """Say which type was expected, with YAML's own trap spelled out."""
    wanted = f"{type(default).__name__}, as in {default!r}"
    if default is None:
        wanted = "a finite scalar"
    shown = reprlib.repr(value)
    message = f"parameter {name!r} is {shown} ({type(value).__name__}), but must be {wanted}"
    if isinstance(value, str) and isinstance(default, float) and _is_float(value):
        return f"{message}; in YAML write {float(value)!r}"
    return message


def _is_float(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
