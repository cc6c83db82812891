"""Names, values and settings as people read them: on one line, and no longer than need be."""

from dataclasses import fields


def short(value, length: int = 60) -> str:
    """Return a value as one line of text that fits a message or a name.

    Parameters
    ----------
    value : object
        Its text counts; however long that is, no more than the beginning is looked at.
    length : int, at least 1, default=60
        Characters.

    Examples
    --------
    >>> short("one  two three", 9)
    'one two …'
    """
    text = " ".join(str(value)[: 4 * length].split())
    return text if len(text) <= length else text[: length - 1] + "…"


def without_defaults(settings) -> str:
    """Return a dataclass as one would write it, without the fields that have their default.

    Examples
    --------
    >>> from whycluster import BRB
    >>> without_defaults(BRB(interval=20, alpha=0.5))
    'BRB(alpha=0.5)'
    """
    pairs = ((field, getattr(settings, field.name)) for field in fields(settings))
    changed = (f"{field.name}={value!r}" for field, value in pairs if value != field.default)
    return f"{type(settings).__name__}({', '.join(changed)})"
