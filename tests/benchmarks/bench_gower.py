"""Gower distances and what follows from them, beside the gower package.

The table has the columns of Telco churn (3 numbers, 16 categories, 7,032 rows), drawn at random.
Targets: distances at least 100 times faster than the package; distances, average linkage and the
silhouettes of 2 to 7 clusters in 5 s; 20,000 rows within 8 GiB; 200,000 rows through a sample in
60 s.

    python tests/benchmarks/bench_gower.py           the package on a tenth of the rows of X
    python tests/benchmarks/bench_gower.py --whole   on all of them: a minute or two more
"""

import resource
import sys
import time

import gower as package
import numpy as np
import pandas as pd
from timing import prepare

from whycluster import GowerClustering
from whycluster.gower import gower_distances

LEVELS = (2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3, 3, 2, 4)  # of Telco churn's categories


def telco_like(n_rows):
    """Return three groups of rows that differ in half of the columns."""
    rng = np.random.default_rng(0)
    group = rng.choice(3, n_rows, p=[0.5, 0.3, 0.2])
    numbers = {f"number {j}": rng.gamma(2 + group, 100) for j in range(3)}
    levels = {
        f"category {j}": np.where(rng.random(n_rows) < 0.6, group % n, rng.integers(0, n, n_rows))
        for j, n in enumerate(LEVELS)
    }
    texts = pd.DataFrame(levels).astype(str).astype(object)
    return pd.concat([pd.DataFrame(numbers), texts], axis=1)


def seconds(run):
    """Return the result of a run, its seconds, and its seconds of processor time."""
    start, cpu = time.perf_counter(), time.process_time()
    result = run()
    return result, time.perf_counter() - start, time.process_time() - cpu


def report(name, wall, cpu, more=""):
    print(f"{name:<58} {wall:7.2f} s   {cpu:7.2f} s of processor   {more}", flush=True)


def against_the_package(X, whole):
    """Compare processor time; both compute one triangle of the square."""
    ours = min((seconds(lambda: gower_distances(X))[1:] for _ in range(5)), key=lambda t: t[1])
    report(f"ours, {len(X):,} rows", *ours)
    part = X if whole else X[::10]
    theirs, *times = seconds(lambda: package.gower_matrix(part, X))
    scale = 1 if whole else len(X) / 2 / len(part)  # a tenth of the square is a fifth of a triangle
    wall, cpu = (scale * t for t in times)
    report("gower package" + ("" if whole else f", {scale:.0f} times a part"), wall, cpu)
    difference = np.abs(theirs - gower_distances(part, X)).max()
    print(f"{cpu / ours[1]:.0f} times faster; largest difference {difference:.0e}\n")


def main() -> None:
    """Print the time of every target."""
    prepare()
    X = telco_like(7032)
    against_the_package(X, "--whole" in sys.argv)
    model, wall, cpu = seconds(lambda: GowerClustering(max_share=1, min_share=0).fit(X))
    report("distances, linkage, silhouettes of 2 to 7 clusters", wall, cpu, model.verdict_)
    large = telco_like(200_000)
    sampled, wall, cpu = seconds(
        lambda: GowerClustering(sample_size=5000, random_state=0).fit(large)
    )
    report("200,000 rows through a sample of 5,000", wall, cpu, sampled.verdict_)
    model, wall, cpu = seconds(lambda: GowerClustering().fit(telco_like(20_000)))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    report("20,000 rows, all of them", wall, cpu, f"peak {peak:.1f} GiB, {model.verdict_}")


if __name__ == "__main__":
    main()
