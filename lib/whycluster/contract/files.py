"""Files and folders that are either whole or absent, whatever happens to the process that writes.

Whatever the library writes, it writes through here; `tests/project/test_writing.py` keeps it so.
"""

import contextlib
import ctypes
import errno
import json
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PROVISIONAL = ".writing-"  # before the name of a file or folder that is not yet whole
_SWAP = 2  # RENAME_EXCHANGE of Linux, RENAME_SWAP of macOS
_HERE = -100  # AT_FDCWD of Linux: paths are relative to the working directory
_CANNOT = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP)  # said by file systems without this


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
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def exchange(first: Path, second: Path) -> None:
    """Let two folders of one file system change places, in one step where the system has one.

    Linux and macOS have it on their usual file systems. Elsewhere (some network file systems) it
    takes three renames; a process killed between them leaves no folder `second`, and
    :func:`undo_exchange` puts back the one that was there.

    Raises
    ------
    OSError
        If either is missing, is a mount point, or lies on another file system.
    """
    error = _exchange_at_once(first, second)
    if error in _CANNOT:
        _exchange_in_steps(first, second)
    elif error:
        raise OSError(error, os.strerror(error), str(second))


def undo_exchange(first: Path, second: Path) -> None:
    """Put back `second` if an exchange with `first` was cut off before it was done."""
    spare = _spare(first)
    if spare.exists() and not second.exists():
        os.replace(spare, second)
    elif spare.exists():
        os.replace(spare, first)


def _exchange_at_once(first: Path, second: Path) -> int:
    """Return 0 if done, else the number of the error."""
    libc = ctypes.CDLL(None, use_errno=True)
    paths = os.fsencode(first), os.fsencode(second)
    with contextlib.suppress(AttributeError):  # a system or a C library without it
        if sys.platform == "darwin":
            return libc.renamex_np(*paths, _SWAP) and ctypes.get_errno()
        return libc.renameat2(_HERE, paths[0], _HERE, paths[1], _SWAP) and ctypes.get_errno()
    return errno.ENOSYS


def _exchange_in_steps(first: Path, second: Path) -> None:
    os.replace(second, _spare(first))
    os.replace(first, second)
    os.replace(_spare(first), first)


def _spare(first: Path) -> Path:
    """Return the name under which a folder waits for its new place."""
    return first.with_name(f".leaving-{first.name}")


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
