"""What the benchmarks share: how time is taken, and how fast this machine multiplies."""

import os
import time
from collections.abc import Callable

import torch

THREADS = int(os.environ.get("OMP_NUM_THREADS", 2))
SIDE = 2048  # of the large product


def prepare() -> None:
    """Use two threads unless OMP_NUM_THREADS says otherwise, and say what the numbers mean."""
    torch.set_num_threads(THREADS)
    torch.manual_seed(0)
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
    print(
        f"torch {torch.__version__}, {THREADS} thread(s) on {os.cpu_count()} cores, "
        f"load {load:.1f} before the start (trust these numbers if it is well below 1).\n"
        "Times are minima over many repetitions: other work on the machine only adds.\n"
    )


def fastest(*runs: Callable[[], object], seconds: float = 15.0) -> list[float]:
    """Run each in turn until `seconds` have passed; return the shortest time of each."""
    best = [float("inf")] * len(runs)
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        for i, run in enumerate(runs):
            start = time.perf_counter()
            run()
            best[i] = min(best[i], time.perf_counter() - start)
    return best


def large_product() -> Callable[[], torch.Tensor]:
    """Return a large float32 product, the most arithmetic that a step could hope for."""
    a, b = torch.randn(2, SIDE, SIDE).unbind()
    return lambda: a @ b


def large_product_gflop() -> float:
    return 2 * SIDE**3 / 1e9
