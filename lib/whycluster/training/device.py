"""Where and how exactly to compute: the device, and the precision of matrix products."""

import contextlib
import threading
from collections.abc import Iterator
from typing import ClassVar

import torch


class _Precision(threading.local):
    """The precisions that a thread has asked for, the innermost last.

    torch has one precision for the whole process. Threads that want the same share it; one that
    wants another waits until nobody computes, and holds none while it waits.
    """

    changed = threading.Condition()  # shared by all threads, as are the two below it
    users: ClassVar[list[str]] = []
    before: ClassVar[list[str]] = []

    def __init__(self):
        self.wanted: list[str] = []

    def enter(self, precision: str) -> None:
        self._release()
        self.wanted.append(precision)
        self._acquire()

    def leave(self) -> None:
        self._release()
        self.wanted.pop()
        self._acquire()

    def _acquire(self) -> None:
        if not self.wanted:
            return
        with self.changed:
            self.changed.wait_for(lambda: set(self.users) <= {self.wanted[-1]})
            if not self.users:
                self.before.append(torch.get_float32_matmul_precision())
                torch.set_float32_matmul_precision(self.wanted[-1])
            self.users.append(self.wanted[-1])

    def _release(self) -> None:
        if not self.wanted:
            return
        with self.changed:
            self.users.pop()
            if not self.users:
                torch.set_float32_matmul_precision(self.before.pop())
                self.changed.notify_all()


_PRECISION = _Precision()


@contextlib.contextmanager
def matmul_precision(precision: str) -> Iterator[None]:
    """Set torch's float32 matmul precision ("highest", "high", "medium") for a block.

    It holds for the whole process: a thread that wants another one waits until all others have
    left their blocks. Blocks can be nested.
    """
    _PRECISION.enter(precision)
    try:
        yield
    finally:
        _PRECISION.leave()


def resolve_device(device: str | torch.device) -> torch.device:
    """Return the torch device; "auto" is the GPU when there is one, else the CPU."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        resolved = torch.device(device)
    except RuntimeError:
        raise ValueError(f"device={device!r} is unknown; use 'cpu', 'cuda' or 'auto'") from None
    if resolved.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device={str(device)!r}: torch sees no GPU here; use 'cpu' or 'auto'")
    return resolved
