"""Two folders that change places in one step."""

import contextlib
import ctypes
import errno
import os
import sys
from pathlib import Path

_SWAP = 2  # RENAME_EXCHANGE of Linux, RENAME_SWAP of macOS
_HERE = -100  # AT_FDCWD of Linux: paths are relative to the working directory
_CANNOT = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP)  # said by file systems without this


def exchange(first: Path, second: Path) -> None:
    """Let two folders of one file system change places, in one step where the system has one.

    Linux and macOS have it on their usual file systems. Elsewhere (some network file systems) it
    takes three renames; a process killed between them leaves no folder `second`, and
    :func:`undo` puts back the one that was there.

    Raises
    ------
    OSError
        If either is missing, is a mount point, or lies on another file system.
    """
    error = _at_once(first, second)
    if error in _CANNOT:
        _in_steps(first, second)
    elif error:
        raise OSError(error, os.strerror(error), str(second))


def undo(first: Path, second: Path) -> None:
    """Put back `second` if an exchange with `first` was cut off before it was done."""
    spare = _spare(first)
    if spare.exists() and not second.exists():
        os.replace(spare, second)
    elif spare.exists():
        os.replace(spare, first)


def _at_once(first: Path, second: Path) -> int:
    """Return 0 if done, else the number of the error."""
    libc = ctypes.CDLL(None, use_errno=True)
    paths = os.fsencode(first), os.fsencode(second)
    with contextlib.suppress(AttributeError):  # a system or a C library without it
        if sys.platform == "darwin":
            return libc.renamex_np(*paths, _SWAP) and ctypes.get_errno()
        return libc.renameat2(_HERE, paths[0], _HERE, paths[1], _SWAP) and ctypes.get_errno()
    return errno.ENOSYS


def _in_steps(first: Path, second: Path) -> None:
    os.replace(second, _spare(first))
    os.replace(first, second)
    os.replace(_spare(first), first)


def _spare(first: Path) -> Path:
    """Return the name under which a folder waits for its new place."""
    return first.with_name(f".leaving-{first.name}")
