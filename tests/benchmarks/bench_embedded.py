"""Training on Optdigits: batch 256, widths 64-1024-512-256-10, against ClustPy, by the epoch.

Targets: one seed at `highest` precision takes at most 1/1.3 of ClustPy's time, five stacked seeds
at most half of that of five of theirs. Beside both, the floor: what the arithmetic of an epoch
takes at the speed of a large product. Then: that cost grows linearly in rows, and how much memory
an epoch on a million rows takes.

    python tests/benchmarks/bench_embedded.py [--seconds 20] [--rows 1000000]

ClustPy is no dependency of the project: `pip install --no-deps clustpy`. It imports torchvision,
which this benchmark replaces by an empty module. Without ClustPy its columns are left out.
"""

import argparse
import resource
import sys
import time
import types
from itertools import pairwise

import numpy as np
import torch
from timing import fastest, large_product, large_product_gflop, prepare

from whycluster import DCN, DEC, IDEC, datasets
from whycluster.embedded.phases import EmbeddedPhases, Watch
from whycluster.embedded.reclustering import Clusters
from whycluster.training.streams import Streams

WIDTHS = (1024, 512, 256)
BATCH = 256
METHODS = {"pre-training": DEC, "DEC": DEC, "IDEC": IDEC, "DCN": DCN}


def main() -> None:
    """Print seconds per epoch, ours and theirs, then what a large table takes."""
    arguments = _arguments()
    prepare()
    X = datasets.load("optdigits").features.to_numpy(np.float32)
    X = (X - X.mean()) / X.std()
    print("seconds per epoch    floor  ours, 1   ours, 5  ClustPy, 1  ratio 1  ratio 5")
    for name in METHODS:
        _compare(name, X, arguments.seconds)
    _grow(arguments.rows)


def _compare(name: str, X: np.ndarray, seconds: float) -> None:
    theirs = clustpy_epoch(name, X)
    runs = [our_epoch(name, X, n) for n in (1, 5)] + ([theirs] if theirs else [])
    one, five, *other = fastest(*runs, seconds=seconds)
    (product,) = fastest(large_product(), seconds=1)
    floor = epoch_gflop(name, X) * product / large_product_gflop()
    line = f"{name:<18} {floor:7.2f} {one:8.2f} {five:9.2f}"
    if other:
        line += f" {other[0]:11.2f} {other[0] / one:8.2f} {5 * other[0] / five:8.2f}"
    print(line, flush=True)


def epoch_gflop(name: str, X: np.ndarray) -> float:
    """Count 6 operations per weight and row: forward, and backward to weights and inputs."""
    widths = (X.shape[1], *WIDTHS, 10)
    weights = sum(a * b for a, b in pairwise(widths))
    return 6 * weights * (1 if name == "DEC" else 2) * len(X) / 1e9


def our_epoch(name: str, X: np.ndarray, n_models: int):
    """Return a function that trains one epoch of a phase, all that an epoch does included."""
    model = METHODS[name](10, hidden_layers=WIDTHS, pretrain_epochs=1, max_epochs=1)
    model.n_features_in_ = X.shape[1]
    streams = Streams(range(n_models))
    network = model._build(streams)
    phases = EmbeddedPhases(model, network, torch.from_numpy(X), streams)
    if name == "pre-training":
        return lambda: phases.pretrain(1, None)
    network.clusters.place(Clusters(torch.randn(n_models, 10, 10)))
    return clustering_epoch(model, phases)


def clustering_epoch(model, phases):
    """Return an epoch of clustering without the first k-means, which comes once per fit."""
    network = phases.network
    optimizer = torch.optim.Adam(network.parameters(), lr=model.learning_rate, fused=True)
    labels = torch.zeros(len(phases.streams), len(phases.data), dtype=torch.int64)

    def epoch():
        watch = Watch(labels, network.clusters, None)
        phases.train(network, phases.step(watch), optimizer, 1, watch.closing(None))

    return epoch


def clustpy_epoch(name: str, X: np.ndarray):
    """Return the same epoch in ClustPy, None where it is not installed."""
    try:
        autoencoders, data, dec, dcn = _clustpy()
    except ImportError:
        return None
    loader = data.get_dataloader(X, BATCH, shuffle=True)
    network = autoencoders.FeedforwardAutoencoder([X.shape[1], *WIDTHS, 10], batch_norm=True)
    error = torch.nn.functional.mse_loss
    if name == "pre-training":
        rate = {"lr": 1e-3}
        return lambda: network.fit(1, rate, dataloader=loader, ssl_loss_fn=error)
    centres = np.random.default_rng(0).normal(size=(10, 10)).astype(np.float32)
    if name == "DCN":
        module = dcn._DCN_Module(np.zeros(len(X), dtype=np.int32), centres)
        loaders = (loader, data.get_dataloader(X, BATCH, shuffle=False))
        weights = (0.025, 1.0)
    else:
        module, loaders = dec._DEC_Module(centres, 1.0), (loader,)
        weights = (1.0, 0.0) if name == "DEC" else (0.1, 1.0)
    optimizer = torch.optim.Adam([*network.parameters(), *module.parameters()], lr=1e-3)
    network.fitted = True
    return lambda: module.fit(network, *loaders, 1, torch.device("cpu"), optimizer, error, *weights)


def _clustpy():
    for name in ("torchvision", "torchvision.models", "torchvision.models._api"):
        module = sys.modules.setdefault(name, types.ModuleType(name))
        module.Weights = module.WeightsEnum = object
    from clustpy.deep import _data_utils, dcn, dec, neural_networks

    return neural_networks, _data_utils, dec, dcn


def _grow(most: int) -> None:
    """Train one epoch of DEC on ever more rows of 64 features."""
    print("\nrows       seconds per 1,000 rows  largest memory so far (GiB)")
    for n_rows in (most // 100, most // 10, most):
        X = torch.randn(n_rows, 64).numpy()
        epoch = our_epoch("DEC", X, 1)
        started = time.perf_counter()
        epoch()
        seconds = time.perf_counter() - started
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(f"{n_rows:<10} {1000 * seconds / n_rows:22.4f} {memory:28.2f}", flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=20.0, help="for each line of the table")
    parser.add_argument("--rows", type=int, default=1_000_000, help="of the largest table")
    return parser.parse_args()


if __name__ == "__main__":
    main()
