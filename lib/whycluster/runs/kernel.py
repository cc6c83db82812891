"""The kernel of one run: which interpreter it is, what it uses, and that it ends.

Three things that papermill and nbclient leave open are settled here. The kernel is the
interpreter that executes the run, not whatever kernelspec of a user is called ``python3``. One
thread watches its processes: it measures their memory, ends them at the deadline even within one
cell, and ends the run if nbclient does not notice that the kernel is gone. And when the run is
over, no process that the kernel started survives.
"""

import contextlib
import os
import signal
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
from ipykernel.kernelspec import get_kernel_dict
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from jupyter_core.utils import run_sync

PATIENCE = 60  # seconds for nbclient to notice that the kernel is gone
NO_MEMORY = (
    "MemoryError",
    "allocate memory",
    "out of memory",
    "bad_alloc",
    "failed to map segment",
)
INTERRUPTED, TAIL = b"KeyboardInterrupt caught in kernel", 4096  # ipykernel's words; bytes
POLL = 0.25  # seconds between two looks at the kernel's processes


class _ThisInterpreter(KernelSpecManager):
    """Knows one kernel, whatever its name: the running interpreter."""

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        return KernelSpec(**get_kernel_dict(python_arguments=["-Xfrozen_modules=off"]))


class Kernel(AsyncKernelManager):
    """A kernel that runs this interpreter and can be ended with all it started.

    It talks through sockets in a private folder rather than TCP ports, which runs started at the
    same time would compete for, and it reads no start-up file of the user's own IPython.

    Parameters
    ----------
    environment : dict of str to str
        Added to the environment of the kernel.
    log : Path
        Receives what the process itself writes, such as why it could not start.
    """

    def __init__(self, environment: dict[str, str], log: Path):
        self._private = tempfile.TemporaryDirectory(prefix="whycluster-")
        folder = self._private.name
        super().__init__(
            kernel_spec_manager=_ThisInterpreter(),
            transport="ipc",
            connection_file=f"{folder}/kernel.json",
            shutdown_wait_time=2.0,
        )
        self._log = log
        self._environment = {
            **os.environ,
            "IPYTHONDIR": folder,
            "MPLBACKEND": "module://matplotlib_inline.backend_inline",
            **environment,
        }
        self._is_closing = False
        self.process: Any = None

    async def start_kernel(self, **options) -> None:  # type: ignore[override]
        """Start the process, with its own environment and log."""
        with self._log.open("wb") as log:
            options.update(env=self._environment, stdout=log, stderr=log)
            await super().start_kernel(**options)
        self.process = self.provisioner.process  # type: ignore[union-attr]

    def close(self) -> None:
        """Ask the kernel to end, and give back its sockets and files."""
        self._is_closing = True
        with contextlib.suppress(Exception):  # one that is gone cannot be asked
            if self.process is not None and self.process.poll() is None:
                run_sync(self.shutdown_kernel)()
        self.cleanup_connection_file()
        self._private.cleanup()
        if self._log.exists() and not self._log.stat().st_size:
            self._log.unlink()

    def strays(self) -> list[psutil.Process]:
        """List the processes that the kernel started, whoever their parent is by now."""
        return [process for process in psutil.process_iter() if self._has_started(process)]

    def _has_started(self, process: psutil.Process) -> bool:
        with contextlib.suppress(psutil.Error):
            return process.environ().get("IPYTHONDIR") == self._private.name
        return False

    def exit_reason(self) -> str:
        """Say how the process ended, in words that help."""
        status = self.process.poll() if self.process is not None else None
        if status == -signal.SIGKILL:
            return "killed: out of memory?"
        if status is not None and status < 0:
            return f"killed by {signal.Signals(-status).name}"
        return f"exit status {status}" if status is not None else "no answer"

    def was_interrupted(self) -> bool:
        """Say whether a signal came between two cells; the kernel then forgets what was asked."""
        if self._is_closing or not self._log.exists():  # closing begins with such a signal
            return False
        return INTERRUPTED in self._log.read_bytes()[-TAIL:]

    def last_words(self) -> str:
        """Return the last line that the process itself wrote, or that it had no memory left."""
        text = self._log.read_text(errors="replace").strip() if self._log.exists() else ""
        if any(sign in text for sign in NO_MEMORY):
            return "out of memory"
        return text.splitlines()[-1].strip() if text else ""


class Stop:
    """The wish that a run ends.

    Attributes
    ----------
    reason : str or None
        The first reason that was given.
    """

    def __init__(self):
        self.reason = None

    def __call__(self, reason: str) -> None:
        """Ask for the end of the run, which then fails for this reason."""
        self.reason = self.reason or reason


class Watch(threading.Thread):
    """Watches the processes of a kernel until :meth:`close`.

    Parameters
    ----------
    kernel : Kernel
        The kernel, started or not.
    timeout : float or None
        Seconds that it may take in all.
    stop : Stop
        Says when the kernel is to be ended; told when its time is over.
    on_stuck : callable
        Called with a reason when the kernel is gone and the run has not noticed; the process
        then exits with status 1.

    Attributes
    ----------
    peak_memory : int
        Most bytes held at one time by the kernel and its descendants. Pages that they share are
        counted once per process.
    """

    def __init__(
        self,
        kernel: Kernel,
        timeout: float | None,
        stop: Stop,
        on_stuck: Callable[[str], object],
    ):
        super().__init__(daemon=True)
        self.peak_memory = 0
        self._kernel = kernel
        self._timeout = timeout
        self._ending = stop
        self._deadline = time.monotonic() + timeout if timeout else float("inf")
        self._on_stuck = on_stuck
        self._seen: set = set()
        self._gone_since: float | None = None
        self._closed = threading.Event()

    def run(self) -> None:
        """Look at the processes a few times a second."""
        while not self._closed.wait(POLL):
            self._look()
            if time.monotonic() > self._deadline:
                self._ending(f"timed out after {self._timeout:g} s")
            if self._kernel.was_interrupted():
                self._ending("the kernel was interrupted from outside")
            if self._ending.reason:
                self._kill()
            self._check_stuck()

    def close(self) -> None:
        """Stop watching, and end every process that is left."""
        self._closed.set()
        self.join()
        self._look()
        self._seen.update(self._kernel.strays())
        self._kill()
        psutil.wait_procs(self._seen, timeout=5)

    def _look(self) -> None:
        """Note the kernel and its descendants, and the memory they hold together."""
        if self._kernel.process is None:
            return
        with contextlib.suppress(psutil.NoSuchProcess):
            root = psutil.Process(self._kernel.process.pid)
            self._seen.update([root, *root.children(recursive=True)])
        self._seen = {process for process in self._seen if process.is_running()}
        self.peak_memory = max(self.peak_memory, sum(map(_memory, self._seen)))

    def _kill(self) -> None:
        """Kill every process seen that still runs, and whatever is left of the kernel's group."""
        if self._kernel.process is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._kernel.process.pid, signal.SIGKILL)
        for process in self._seen:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()

    def _check_stuck(self) -> None:
        """Leave, rather than hang, when the run does not notice that its kernel is gone."""
        process = self._kernel.process
        if process is None or process.poll() is None:
            return
        self._gone_since = self._gone_since or time.monotonic()
        if time.monotonic() - self._gone_since > PATIENCE:
            self._on_stuck(self._ending.reason or f"kernel died ({self._kernel.exit_reason()})")
            self._kill()
            os._exit(1)


def ends_on_signals(stop: Stop) -> contextlib.AbstractContextManager:
    """Let SIGINT, SIGTERM and SIGHUP end the kernel, and with it the run, in good order.

    A run that is being published when they come is finished first.
    """
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    stack = contextlib.ExitStack()
    for number in numbers:
        before = signal.signal(
            number, lambda got, _: stop(f"stopped by {signal.Signals(got).name}")
        )
        stack.callback(signal.signal, number, before)
    return stack


def _memory(process: psutil.Process) -> int:
    """Return the resident bytes of a process, 0 once it is gone."""
    try:
        return process.memory_info().rss
    except psutil.Error:
        return 0
