"""What one run may use of a machine: its share of the cores, and one GPU."""

import contextlib
import os
import re
import resource
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import filelock
import joblib

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMBA_NUM_THREADS",
)


OPEN_FILES = 64  # of a run and its sockets; with fewer, their library aborts the process
LONGEST_SOCKET = 107  # bytes of the path of a socket on Linux; macOS allows 103
SOCKET = "/whycluster-12345678/kernel.json-ipc-99999"  # below the folder of temporary files


class ResourceError(ValueError):
    """Something that a run needs of the machine and cannot have; the message is one line."""


def check() -> None:
    """Make sure that a kernel can be started here.

    Raises
    ------
    ResourceError
        If there is no home folder, or no usable folder of temporary files, or too few files may
        be open.
    """
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if 0 <= limit < OPEN_FILES:
        raise ResourceError(f"only {limit} files may be open, a run needs more: ulimit -n 1024")
    if not os.path.isdir(os.path.expanduser("~")):
        raise ResourceError("there is no home folder: set HOME to a folder that can be written to")
    try:
        folder = tempfile.gettempdir()
    except OSError:
        raise ResourceError("no folder of temporary files can be written to: set TMPDIR") from None
    if len(os.fsencode(folder + SOCKET)) > LONGEST_SOCKET:
        raise ResourceError(
            f"TMPDIR is too long for the sockets of a kernel ({folder}): set TMPDIR=/tmp"
        )


def threads() -> int:
    """Return the number of threads of this run: the cores, divided by the runs at a time.

    ``make -jN`` tells its N through ``MAKEFLAGS``. With ``LAUNCH`` each run has a machine (or a
    Slurm step) of its own, so nothing is divided.
    """
    cores = joblib.cpu_count()
    if os.environ.get("LAUNCH"):
        return cores
    return max(1, cores // jobs(os.environ.get("MAKEFLAGS", ""), cores))


def jobs(makeflags: str, cores: int) -> int:
    """Return the number of simultaneous jobs that a ``MAKEFLAGS`` allows.

    Parameters
    ----------
    makeflags : str
        The variable as make exports it, such as ``"k -j4 --jobserver-auth=3,4"``.
    cores : int
        Returned for ``-j`` without a number: no limit, or a make older than 4.2, which hides it.

    Returns
    -------
    int
        At least 1.

    Examples
    --------
    >>> jobs("k -j4 --jobserver-auth=3,4", cores=8)
    4
    >>> jobs("--jobserver-fds=3,4 -j", cores=8)
    8
    >>> jobs("", cores=8)
    1
    """
    options = re.split(r"(?:^|\s)--\s", makeflags)[0].split()
    found = [re.fullmatch(r"(?:-j|--jobs=?)(\d*)", option) for option in options]
    counts = [match.group(1) for match in found if match]
    if not counts:
        return 1
    return max(1, int(counts[-1])) if counts[-1] else cores


@contextlib.contextmanager
def gpu() -> Iterator[dict[str, str]]:
    """Hold one GPU of several for as long as the context lasts, waiting until one is free.

    Yields
    ------
    dict of str to str
        ``CUDA_VISIBLE_DEVICES`` for the run; empty where there is at most one GPU.
    """
    devices = _gpus()
    if len(devices) < 2:
        yield {}
        return
    lock, chosen = _take(devices)
    with lock:
        yield {"CUDA_VISIBLE_DEVICES": chosen}


def _gpus() -> list[str]:
    """List the GPUs that this process may see, without loading CUDA."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name.strip() for name in visible.split(",") if name.strip()]
    if not shutil.which("nvidia-smi"):
        return []
    listed = subprocess.run(
        ["nvidia-smi", "--list-gpus"], capture_output=True, text=True, check=False, timeout=60
    )
    count = sum(line.startswith("GPU ") for line in listed.stdout.splitlines())
    return [str(number) for number in range(count)]


def _take(devices: list[str]) -> tuple[filelock.FileLock, str]:
    """Acquire the lock of the first free GPU."""
    folder = Path(tempfile.gettempdir()) / f"whycluster-gpus-{os.getuid()}"
    folder.mkdir(exist_ok=True)
    while True:
        for name in devices:
            lock = filelock.FileLock(folder / f"{name.replace('/', '-')}.lock", timeout=0)
            with contextlib.suppress(filelock.Timeout):
                lock.acquire()
                return lock, name
        time.sleep(1)
