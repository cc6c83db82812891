"""One training step of NeurCAM, batch 512, with soft gates: the size of Pendigits and of text.

Peer: the authors' code on two cores (31.8, 57.2, 381 and 861 ms at `highest` precision). Targets:
2.5, 2.5, 4 and 4 times faster. *Floor* is the arithmetic of the published network, every channel
through every layer, at the speed of a large product; merging the two linear layers at its end takes
less. Then five stacked models against five in turn.

    python tests/benchmarks/bench_neurcam.py
"""

from functools import partial

import torch
from timing import fastest, large_product, large_product_gflop, prepare

from whycluster.neurcam import NeurCAM, _Data, _Stages
from whycluster.streams import Streams
from whycluster.training import _run_epoch, matmul_precision

BATCH, HIDDEN, BASES, CLUSTERS = 512, 128, 64, 10
SIZES = {  # features, channels of one feature, of two, the peer's ms, target
    "pendigits": (16, 16, 0, 31.8, 2.5),
    "pendigits, pairs": (16, 16, 16, 57.2, 2.5),
    "text": (600, 128, 0, 381.0, 4),
    "text, pairs": (600, 128, 128, 861.0, 4),
}


def build_step(n_features, n_shapes, n_pairs, n_models=1):
    """Return one step of a stack with soft gates and both losses, as training takes it."""
    model = NeurCAM(CLUSTERS, n_shapes=n_shapes, n_pairs=n_pairs)
    X = torch.rand(BATCH, n_features).numpy()
    model.n_features_in_ = n_features
    streams = Streams(range(n_models))
    stages = _Stages(model, model._build(streams, n_features), _Data(X, X), streams)
    rows = torch.arange(BATCH).expand(n_models, -1)
    step = partial(stages._losses, temperatures=(1.0, 1.0), guided=True)
    optimizer = stages._adam()
    return lambda: _run_epoch(lambda rows, _: step(rows), optimizer, [rows], 0.0)


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


if __name__ == "__main__":
    prepare()
    time_sizes()
    time_stack()
