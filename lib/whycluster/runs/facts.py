"""The facts of a run, read from its folder and checked before anything is made of them.

A file may have been cut off, edited by hand, or written by something else: whoever reads facts
here gets either all of them in their right types, or one line that says what is wrong.
"""

import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from whycluster.runs import record

LIMIT = 1e15  # beyond it, no number is a measurement
LONGEST = 60  # characters of a value that is quoted


class DamagedError(record.RecordError):
    """A file of a run that cannot be used; the message is one line that names it."""


def finished(path: Path) -> dict:
    """Read the ``record.json`` of a finished run.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    dict
        What it holds; every row of its results has all entries.

    Raises
    ------
    DamagedError
        If it cannot be read, or an entry is missing or of the wrong type.
    """
    facts = _read(path)
    _check(facts, path, [name for name in KINDS if name not in MAY_LACK])
    try:
        record.check(facts)
        rows = [record.OPTIONAL | row for row in facts["results"]]
    except (record.RecordError, RecursionError) as error:
        raise DamagedError(f"{path.name}: {_one_line(error)}") from None
    values = [v for row in rows for v in (*row["values"], row["published"], row["published_sd"])]
    for value in values:
        if value is not None and not _is_number(value):
            raise DamagedError(f"{path.name}: {_quoted(value)} is no result")
    return facts | {"results": rows}


def failed(path: Path) -> dict:
    """Read the ``failed.json`` of a run, which may have failed before much was known of it.

    Raises
    ------
    DamagedError
        If it cannot be read, lacks the reason, or an entry is of the wrong type.
    """
    facts = _read(path)
    _check(facts, path, ["reason"])
    return facts


def describe(error: Exception) -> str:
    """Write an exception of any kind on one line."""
    return f"{type(error).__name__}: {_one_line(error)}"


def _read(path: Path) -> dict:
    """Read a JSON object that can be written again as strict JSON in UTF-8."""
    if path.is_fifo():
        raise DamagedError(f"{path.name} is a pipe, which would never end")
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        json.dumps(facts, allow_nan=False, ensure_ascii=False).encode()
    except FileNotFoundError:
        raise DamagedError(f"{path.name} is missing") from None
    except OSError as error:
        raise DamagedError(f"{path.name} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise DamagedError(f"{path.name} is no strict JSON: {_one_line(error)}") from None
    if not isinstance(facts, dict):
        raise DamagedError(f"{path.name} holds no JSON object but {_quoted(facts)}")
    return facts


def _check(facts: dict, path: Path, required: list[str]) -> None:
    """Refuse facts that lack an entry, or have one of another kind than is shown."""
    for name in required:
        if name not in facts:
            raise DamagedError(f"{path.name}: {name} is missing")
    for name, (kind, is_kind) in KINDS.items():
        if name in facts and not is_kind(facts[name]):
            raise DamagedError(f"{path.name}: {name} is {_quoted(facts[name])}, not {kind}")


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < LIMIT


def _is_span(value: Any) -> bool:
    return _is_number(value) and value >= 0


def _is_count(value: Any) -> bool:
    return type(value) is int and _is_span(value)


def _is_moment(value: Any) -> bool:
    try:
        return bool(datetime.fromisoformat(value))
    except (TypeError, ValueError):
        return False


def _is_commit(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and isinstance(value.get("commit", 0), str | None)
        and isinstance(value.get("dirty", 0), bool | None)
    )


def _are_texts(value: Any) -> bool:
    return isinstance(value, dict) and all(map(_is_text, value.values()))


def _or_none(is_kind: Callable) -> Callable:
    return lambda value: value is None or is_kind(value)


KINDS = {
    "notebook": ("a text", _is_text),
    "run": ("a text", _is_text),
    "title": ("a text", _is_text),
    "status": ("a text", _is_text),
    "reason": ("a text", _is_text),
    "sources": ("a text", _is_text),
    "started": ("a time", _is_moment),
    "parameters": ("an object", lambda value: isinstance(value, dict)),
    "git": ("a commit and whether it is dirty", _is_commit),
    "versions": ("an object of texts", _are_texts),
    "device": ("a text", _is_text),
    "threads": ("a whole number", _is_count),
    "resumed": ("true or false", lambda value: isinstance(value, bool)),
    "wall_s": ("a number of seconds", _is_span),
    "peak_memory_mb": ("a number of MB", _is_span),
    "peak_gpu_memory_mb": ("a number of MB", _or_none(_is_span)),
    "extra": ("an object", lambda value: isinstance(value, dict)),
}
MAY_LACK = {"reason", "sources", "resumed", "peak_gpu_memory_mb", "extra"}


def _quoted(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} …"


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= 3 * LONGEST else f"{text[: 3 * LONGEST]} …"
