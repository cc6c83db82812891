"""ClustRecNet: labelling, a training step, memory, and a recommendation.

Targets on two cores: fast labelling at 1,000 x 10 at least 3 times the throughput of the plain way
(100 starts, OPTICS of scikit-learn); a training step of the published network (batch 32) at least 5
times faster than 3.66 s, and than one that forms the attention matrix; a recommendation for a table
of 10,000 x 30 in under 2 s; training on 34,000 data sets in under 4 GiB.

    python tests/benchmarks/bench_recommender.py [--memory N]

`--memory N` makes the inputs of N data sets on the fly and trains on them for one epoch.
"""

import argparse
import resource
import sys

import numpy as np
import torch
from timing import fastest, prepare

from whycluster import ClustRecNet
from whycluster.recommender.algorithms import ALGORITHMS, NAMES, THOROUGH, reach
from whycluster.recommender.generation import DataSets, generate, manifest
from whycluster.recommender.inputs import Images
from whycluster.recommender.networks import NETWORKS, StackedAttention
from whycluster.training.streams import Streams

BATCH = 32
PUBLISHED_STEP = 3.66  # seconds, measured for the authors' network on two cores


class PlainAttention(StackedAttention):
    """The same attention with the matrix of all pairs of positions."""

    def forward(self, x):
        query, key, value = (self._rows(part(x)) for part in (self.query, self.key, self.value))
        found = torch.softmax(query @ key.mT, dim=-1) @ value
        return found.mT.reshape(x.shape) + x


def labelling() -> None:
    """Print seconds per algorithm, fast and plain, on a table of 1,000 x 10."""
    settings = {"scenario": "factor", "seed": 1, "n_clusters": 5, "n_features": 10}
    X, _ = generate(settings | {"cluster_size": 200, "alpha": 2.0})
    Z = (X - X.mean(axis=0)) / X.std(axis=0)
    distances = reach(Z)
    print("algorithm         fast s  plain s")
    totals = np.zeros(2)
    for name in NAMES:
        runs = [
            lambda a=table[name]: a.cluster(Z, distances, 5, 0) for table in (ALGORITHMS, THOROUGH)
        ]
        seconds = fastest(*runs, seconds=1.0)
        totals += seconds
        print(f"{name:<16}  {seconds[0]:6.3f}  {seconds[1]:7.3f}")
    print(f"{'all':<16}  {totals[0]:6.3f}  {totals[1]:7.3f}  ratio {totals[1] / totals[0]:.1f}\n")


def training_step() -> None:
    """Print the time of a step of the published network, with and without the full matrix."""
    x, target = torch.randn(1, BATCH, 2000, 50), torch.rand(1, BATCH, 10).round()

    def build(attention):
        network = NETWORKS["cnn-residual-attention"](10, Streams([0]))
        network.blocks[-1].__class__ = attention
        optimizer = torch.optim.Adam(network.parameters(), fused=True)

        def step():
            optimizer.zero_grad()
            torch.nn.functional.binary_cross_entropy_with_logits(network(x), target).backward()
            optimizer.step()

        return step

    fused, plain = fastest(build(StackedAttention), build(PlainAttention), seconds=15.0)
    print(f"training step, batch {BATCH}: {fused:.2f} s, with the full matrix {plain:.2f} s")
    print(
        f"ratio to the matrix {plain / fused:.1f}, to the authors' {PUBLISHED_STEP / fused:.1f}\n"
    )


def recommendation() -> None:
    """Print the time of a recommendation for a large table."""
    model = ClustRecNet.pretrained()
    X = np.random.default_rng(0).standard_normal((10_000, 30))
    X[:5000] += 2
    (seconds,) = fastest(lambda: model.recommend(X), seconds=5.0)
    print(f"recommendation for 10,000 x 30: {seconds:.2f} s (target 2 s)\n")


def memory(n_datasets: int) -> None:
    """Print the peak memory of one epoch on many data sets that are never all in memory."""
    datasets = DataSets(manifest(n_datasets))
    scores = np.random.default_rng(0).uniform(size=(n_datasets, len(NAMES)))
    ClustRecNet(n_folds=2, max_epochs=1, verbose=1, random_state=0).fit(datasets, scores)
    source = Images(datasets)
    for rows in torch.arange(n_datasets).split(BATCH)[:20]:
        source.batch(rows[None], "cpu")
    unit = 2**30 if sys.platform == "darwin" else 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
    print(f"{n_datasets} data sets: peak memory {peak:.2f} GiB (target 4 GiB)\n")


def main() -> None:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--memory", type=int, default=0, metavar="N")
    options = parser.parse_args()
    prepare()
    labelling()
    training_step()
    recommendation()
    if options.memory:
        memory(options.memory)


if __name__ == "__main__":
    main()
