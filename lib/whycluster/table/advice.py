"""What the notes on the columns advise, taken at their word."""

import ast
import difflib
from collections.abc import Iterable

from whycluster.table.encoder import TableEncoder
from whycluster.table.forms import TableError


def options(advice: Iterable[str] = (), **given) -> dict:
    """Return settings of `TableEncoder`, overruled by what its notes advise.

    Parameters
    ----------
    advice : iterable of str
        As `TableEncoder.notes_` writes them.
    **given
        Settings to start from; lists and mappings are added to.

    Raises
    ------
    TableError
        If an advice is no `name=value`, or its name is no setting of `TableEncoder`.

    Examples
    --------
    >>> options(["codes={'income': []}", "drop=['note']"], drop=["key"], scale="robust")
    {'drop': ['key', 'note'], 'scale': 'robust', 'codes': {'income': []}}
    """
    merged = dict(given)
    for text in advice:
        name, value = _parse(text)
        merged[name] = _add(merged.get(name), value)
    return merged


def _parse(text):
    try:
        call = ast.parse(f"f({text})", mode="eval").body
        (keyword,) = call.keywords
        name, value = keyword.arg, ast.literal_eval(keyword.value)
    except (SyntaxError, ValueError, TypeError, AttributeError):
        raise TableError(f"{text!r} is no option; write it as drop=['note']") from None
    names = list(TableEncoder().get_params())
    if name not in names:
        close = difflib.get_close_matches(name, names, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else f"; there are {', '.join(names)}"
        raise TableError(f"no option {name!r}{hint}")
    return name, value


def _add(old, new):
    """Return a list or mapping with both, else what is new."""
    if isinstance(new, dict):
        return {**(old or {}), **new}
    return [*(old or ()), *new] if isinstance(new, list | tuple) else new
