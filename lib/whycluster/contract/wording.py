"""Names, values and settings as people read them: on one line, and no longer than need be."""

from dataclasses import fields

import numpy as np


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


def as_text(value) -> str:
    """Return a value as trimmed text, a whole number without its decimals."""
    if isinstance(value, float | np.floating) and value.is_integer():
        value = int(value)
    return str(value).strip()


def as_number(value: float) -> str:
    """Return a number for the eye: three digits, or whole from a thousand on."""
    return f"{value:,.0f}" if 1000 <= abs(value) < 1e9 else f"{value:.3g}"
