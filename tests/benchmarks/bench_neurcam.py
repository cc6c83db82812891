"""One training step of NeurCAM, batch 512, with soft and with one-hot gates; a million rows.

Peer: the authors' code on two cores (31.8, 57.2, 381 and 861 ms at `highest` precision). Targets:
2.5, 2.5, 4 and 4 times faster. *Floor* is the arithmetic of the published network, every channel
through every layer, at the speed of a large product; merging the two linear layers at its end takes
less. Then five stacked models against five in turn.

With one-hot gates, most of the epochs, each distinct value of a channel is evaluated once; *row by
row* is the same step without that. The tables have as few values as Pendigits, Letters and texts.

    python tests/benchmarks/bench_neurcam.py
"""

import resource
import time

import numpy as np
import torch
from timing import fastest, large_product, large_product_gflop, prepare

from whycluster.contract.validation import Represented
from whycluster.neurcam import NeurCAM, additive
from whycluster.neurcam.phases import NeurCAMPhases
from whycluster.training.device import matmul_precision
from whycluster.training.streams import Streams

BATCH, HIDDEN, BASES, CLUSTERS = 512, 128, 64, 10
SIZES = {  # features, channels of one feature, of two, the peer's ms, target
    "pendigits": (16, 16, 0, 31.8, 2.5),
    "pendigits, pairs": (16, 16, 16, 57.2, 2.5),
    "text": (600, 128, 0, 381.0, 4),
    "text, pairs": (600, 128, 128, 861.0, 4),
}


def tables():
    """Return what is clustered with one-hot gates: rows, number of clusters, size."""
    rng = np.random.default_rng(0)
    marks, strokes = rng.integers(0, 16, (BATCH, 16)), rng.integers(0, 101, (BATCH, 16))
    share = np.clip(0.3 / np.arange(1, 601) ** 0.6, 0.01, None)  # of the texts that hold a word
    counts = rng.poisson(-np.log1p(-share), (BATCH, 600)).astype(float)
    words = counts / np.linalg.norm(counts, axis=1, keepdims=True).clip(1)
    found = {
        name: (words if "text" in name else strokes, CLUSTERS, size) for name, size in SIZES.items()
    }
    return found | {"letters": (marks, 26, (16, 16, 0, np.nan, np.nan))}


def build_step(
    n_features, n_shapes, n_pairs, *, X=None, n_clusters=CLUSTERS, n_models=1, gates=1.0
):
    """Return one step of a stack with both losses, as training takes it."""
    model = NeurCAM(n_clusters, n_shapes=n_shapes, n_pairs=n_pairs)
    X = (torch.rand(BATCH, n_features).numpy() if X is None else X).astype(np.float32)
    model.n_features_in_ = model.n_dimensions_ = n_features
    streams = Streams(range(n_models))
    run = NeurCAMPhases(model, model._build(streams), Represented(X, X), streams)
    rows = torch.arange(BATCH).expand(n_models, -1)
    optimizer = run._adam()

    def step():
        losses = run._losses(rows, (gates, gates), run._weights)
        optimizer.zero_grad(set_to_none=True)
        sum(loss.sum() for loss in losses.values()).backward()
        optimizer.step()

    return step


def row_by_row(step):
    """Return the step without sharing values among rows."""

    def run():
        real, additive._distinct = additive._distinct, lambda s: None
        step()
        additive._distinct = real

    return run


def gflop(n_features, n_shapes, n_pairs):
    """Count the products of the published network, forward and backward."""
    basis = HIDDEN * HIDDEN + HIDDEN * BASES + BASES * CLUSTERS
    single = n_shapes * (n_features + HIDDEN + basis)
    pairs = n_pairs * (2 * n_features + 2 * HIDDEN + basis)
    return 3 * 2 * BATCH * (single + pairs) / 1e9


def time_sizes() -> None:
    print("size              precision  step ms  peer ms  faster  target  GFLOP  floor ms")
    product = large_product()
    for name, (*size, peer, target) in SIZES.items():
        step = build_step(*size)
        for precision in ("highest", "medium"):
            with matmul_precision(precision):
                seconds, floor = fastest(step, product, seconds=8)
            floor *= 1e3 * gflop(*size) / large_product_gflop()
            print(
                f"{name:<16}  {precision:<9}  {1e3 * seconds:7.1f}  {peer:7}  "
                f"{peer / seconds / 1e3:6.1f}  {target:6}  {gflop(*size):5.1f}  {floor:8.1f}"
            )


def time_stack() -> None:
    print("\nfive models       stack ms  in turn ms  ratio")
    for name, (*size, _, _) in list(SIZES.items())[:2]:
        stack, one = fastest(build_step(*size, n_models=5), build_step(*size), seconds=8)
        print(f"{name:<16}  {1e3 * stack:8.1f}  {5e3 * one:10.1f}  {5 * one / stack:5.2f}")


def time_one_hot() -> None:
    print("\none-hot gates     row by row ms  step ms  faster  peer ms  faster")
    for name, (X, n_clusters, (*size, peer, _)) in tables().items():
        step = build_step(*size, X=X, n_clusters=n_clusters, gates=0.0)
        seconds, before = fastest(step, row_by_row(step), seconds=8)
        print(
            f"{name:<16}  {1e3 * before:13.1f}  {1e3 * seconds:7.1f}  {before / seconds:6.1f}  "
            f"{peer:7}  {peer / seconds / 1e3:6.1f}"
        )


def predict_a_million() -> None:
    """Predict rows that share no value, which is the slower case."""
    X = np.random.default_rng(0).normal(size=(1_000_000, 16)).astype(np.float32)
    quick = {"warmup_epochs": 1, "anneal_epochs": 1, "max_epochs": 3, "n_init": 1}
    model = NeurCAM(CLUSTERS, n_pairs=16, **quick).fit(X[:BATCH]).set_params(verbose=1)
    before, start = peak_mib(), time.perf_counter()
    model.predict(X)
    seconds = time.perf_counter() - start
    grown = peak_mib() - before
    print(
        f"\n1,000,000 rows, 16 channels and 16 pairs: {seconds:.1f} s, {grown:.0f} MiB more at peak"
    )


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    prepare()
    time_sizes()
    time_stack()
    time_one_hot()
    predict_a_million()
