"""Ten models trained as one stack against a loop over ten: 64 features, 128 wide, batch 100.

Each step is an autoencoder 64-128-128-64 with batch normalisation, forward, backward and Adam.
Target on two cores: the stack takes at most a quarter of the time of the plain loop.

    python tests/benchmarks/bench_stack.py
"""

from itertools import pairwise

import torch
from timing import fastest, prepare
from torch import nn

from whycluster.losses import reconstruction_error
from whycluster.modules import StackedMLP
from whycluster.streams import Streams
from whycluster.training import _run_epoch, _Steps

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


if __name__ == "__main__":
    main()
