"""Five clusters, five seeds: 25 IMN as one stack against one after another.

Sizes of a real study: 41 features, width 128, two blocks, batch 64, clusters of 800 to 3,400 rows,
a few epochs of each. Target: the stack takes at most a quarter of the time. By processor time,
which other work disturbs least, beside the products of matrices alone, which no stacking can save.

Then what numbers below 1e-38 cost where training does not count them as zero, once weights have
decayed for some epochs.

    python tests/benchmarks/bench_imn.py
"""

import time
from unittest import mock

import numpy as np
from timing import fastest, large_product, large_product_gflop, prepare

from whycluster import IMNClassifier

SIZES = (3400, 1600, 1500, 1200, 800)
N_SEEDS = 5
N_FEATURES = 41
EPOCHS = 2
LONG = 60  # epochs, until weights have decayed


def data():
    """Return rows, targets, and the rows of each model."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(sum(SIZES), N_FEATURES)).astype(np.float32)
    y = (X[:, 0] * np.sign(X[:, 1]) + rng.normal(size=len(X)) > 0).astype(int)
    clusters = np.split(np.arange(len(X)), np.cumsum(SIZES)[:-1])
    return X, y, [rows for rows in clusters for _ in range(N_SEEDS)]


def seconds(fit) -> float:
    """Return the processor time of a fit."""
    start = time.process_time()
    fit()
    return time.process_time() - start


def products(model) -> float:
    """Return the GFLOP of matrix products in one step of one model, forward and backward."""
    width = model.hidden_units
    n_weights = N_FEATURES * width + 2 * model.n_blocks * width**2 + width * (N_FEATURES + 1)
    return 3 * 2 * model.batch_size * n_weights / 1e9


def main() -> None:
    """Print the seconds of both and their ratio, interleaved so that load falls on both."""
    prepare()
    X, y, rows = data()
    seeds = [seed for _ in SIZES for seed in range(N_SEEDS)]
    model = IMNClassifier(max_epochs=EPOCHS, warmup_epochs=0, n_cycles=1, device="cpu")
    model.fit_seeds(X, seeds[:1], y=y, rows=[rows[-1]])  # warm

    def one_after_another():
        for seed, own in zip(seeds, rows, strict=True):
            model.fit_seeds(X, [seed], y=y, rows=[own])

    pairs = [
        (seconds(lambda: model.fit_seeds(X, seeds, y=y, rows=rows)), seconds(one_after_another))
        for _ in range(3)
    ]
    n_steps = EPOCHS * sum(-(-len(own) // model.batch_size) for own in rows)
    (large,) = fastest(large_product(), seconds=2)
    floor = n_steps * products(model) * large / large_product_gflop()
    print(f"{len(seeds)} models, {EPOCHS} epochs   seconds  ms a step  times the stack")
    stack, loop = np.min(pairs, axis=0)
    for name, took in {"one stack": stack, "one after another": loop, "products": floor}.items():
        print(f"{name:22}{took:9.2f}{1e3 * took / n_steps:11.2f}{took / stack:17.2f}")
    subnormals(X[: SIZES[0]], y[: SIZES[0]])


def subnormals(X, y) -> None:
    """Print the seconds of a long training with subnormal numbers as zero, and as they are."""
    model = IMNClassifier(max_epochs=LONG, weight_decay=0.1, random_state=0, device="cpu")
    zero = seconds(lambda: model.fit(X, y))
    with mock.patch("torch.set_flush_denormal"):
        kept = seconds(lambda: model.fit(X, y))
    print(f"{LONG} epochs: {zero:.1f} s, with subnormal numbers {kept:.1f} s")


if __name__ == "__main__":
    main()
