"""Files and folders that are either whole or absent, whatever happens to the process that writes.

Whatever the library writes, it writes through here; `tests/project/test_writing.py` keeps it so.
"""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PROVISIONAL = ".writing-"  # before the name of a file or folder that is not yet whole


@contextmanager
def provisional(path: Path) -> Iterator[Path]:
    """Yield a path beside `path` that is free to be written; what is left of it is removed.

    So is what a process that was killed has left there, and a full disk gets its space back.
    """
    beside = path.with_name(PROVISIONAL + path.name)
    _remove(beside)
    try:
        yield beside
    finally:
        _remove(beside)


@contextmanager
def aside(path: Path) -> Iterator[Path]:
    """Yield a provisional path beside `path`, which it replaces when the block ends well.

    A folder may be written there too, if there is none at `path` yet.

    Examples
    --------
    >>> with aside(Path("table.csv")) as provisional:  # doctest: +SKIP
    ...     frame.to_csv(provisional)
    """
    with provisional(path) as beside:
        yield beside
        os.replace(beside, path)


def write(path: Path, content: str | bytes) -> None:
    """Write a file under a provisional name beside it, then rename it."""
    with aside(path) as beside:
        beside.write_bytes(content.encode() if isinstance(content, str) else content)


def write_json(path: Path, content: dict) -> None:
    """Write strict JSON: a NaN or an infinity is an error, never a non-standard token."""
    write(path, json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> dict | None:
    """Read a JSON object; None if the file is missing or is not one."""
    if not path.is_file():  # reading a pipe would wait for ever
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
