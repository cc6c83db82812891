"""Ten models trained as one stack against a loop over ten: 64 features, 128 wide, batch 100.

Each step is an autoencoder 64-128-128-64 with batch normalisation, forward, backward and Adam.
Target on two cores: the stack takes at most a quarter of the time of the plain loop.

Then the same step on one thread, which training chooses for steps as small as this, and on all,
while the cores are idle and while other processes use them.

    python tests/benchmarks/bench_stack.py
"""

import contextlib
import multiprocessing
import os
import time
from itertools import pairwise

import torch
from timing import THREADS, fastest, prepare
from torch import nn

from whycluster.training.layers import StackedMLP
from whycluster.training.loop import _run_epoch, _Steps
from whycluster.training.losses import reconstruction_error
from whycluster.training.streams import Streams

N_MODELS, BATCH, N_FEATURES, WIDTH = 10, 100, 64, 128
WIDTHS = (N_FEATURES, WIDTH, WIDTH, N_FEATURES)


def stacked_step(data):
    """Return a step of all models at once."""
    network = StackedMLP(WIDTHS, Streams(range(N_MODELS)))
    optimizer = torch.optim.Adam(network.parameters(), fused=True)
    rows = torch.arange(BATCH).expand(N_MODELS, -1)

    def step(rows, _progress):
        x = data[rows]
        return {"error": reconstruction_error(network(x), x)}

    take = _Steps(step, optimizer).take
    return lambda: _run_epoch(take, [rows], 0.0)


def plain_network():
    layers = []
    for n_in, n_out in pairwise(WIDTHS[:-1]):
        layers += [nn.Linear(n_in, n_out), nn.BatchNorm1d(n_out), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(*WIDTHS[-2:]))


def looped_step(data, fused):
    """Return a step of one model after another, in torch's own layers."""
    networks = [plain_network() for _ in range(N_MODELS)]
    optimizers = [torch.optim.Adam(n.parameters(), fused=fused) for n in networks]
    rows = torch.arange(BATCH)

    def step():
        for network, optimizer in zip(networks, optimizers, strict=True):
            x = data[rows]
            loss = nn.functional.mse_loss(network(x), x)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            loss.item()

    return step


@contextlib.contextmanager
def busy_cores():
    """Keep every core busy by another process."""
    spawn = multiprocessing.get_context("spawn")
    others = [spawn.Process(target=_count, daemon=True) for _ in range(os.cpu_count())]
    for other in others:
        other.start()
    time.sleep(2)
    yield
    for other in others:
        other.terminate()


def _count():
    n = 0
    while True:
        n += 1


def mean_time(step, seconds=5.0):
    """Return the mean time of a step: beside other processes, the shortest says little."""
    n, start = 0, time.perf_counter()
    while time.perf_counter() < start + seconds:
        step()
        n += 1
    return (time.perf_counter() - start) / n


def compare_threads(step) -> None:
    """Print the mean time of a step by number of threads and what else the machine does."""
    print("\nthreads  idle cores, ms  busy cores, ms")
    for n_threads in (1, THREADS):
        torch.set_num_threads(n_threads)
        idle = mean_time(step)
        with busy_cores():
            busy = mean_time(step)
        print(f"{n_threads:<7}  {1e3 * idle:14.2f}  {1e3 * busy:14.2f}")


def main() -> None:
    """Print the time of a step and the ratio to the stack."""
    prepare()
    data = torch.rand(BATCH, N_FEATURES)
    steps = {
        "stack": stacked_step(data),
        "loop, Adam": looped_step(data, fused=None),
        "loop, fused Adam": looped_step(data, fused=True),
    }
    seconds = dict(zip(steps, fastest(*steps.values()), strict=True))
    print(f"{N_MODELS} models       step ms  times the stack")
    for name, value in seconds.items():
        print(f"{name:<16}  {1e3 * value:6.2f}  {value / seconds['stack']:15.1f}")
    compare_threads(steps["stack"])


if __name__ == "__main__":
    main()
