"""Planted tables: which clusters are there, and which features tell them, is known."""

import numpy as np
import pandas as pd
from sklearn.datasets import make_blobs

TRIANGLE = ["noise_a", "left", "noise_b", "noise_c", "right", "noise_d", "high", "noise_e"]
OWN = [f"noise_{i}" for i in range(10)]
OWN[2:2], OWN[6:6], OWN[11:11] = ["left"], ["right"], ["high"]


def triangle(n_samples, seed):
    """Three clusters in three columns of eight; the other five hold noise of a fifth their size."""
    rng = np.random.default_rng(seed)
    centres = [[-1, -1, 0], [1, -1, 0], [0, 1, 1.2]]
    blobs, y = make_blobs(n_samples, centers=centres, cluster_std=0.15, random_state=seed)
    X = pd.DataFrame(rng.normal(scale=0.2, size=(n_samples, 8)), columns=TRIANGLE)
    X[["left", "right", "high"]] = blobs
    return X, y


def own_features(n_samples, seed):
    """Four clusters, each but one high in its own feature; ten other features are noise."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 4, n_samples)
    X = pd.DataFrame(rng.normal(scale=0.5, size=(n_samples, 13)), columns=OWN)
    centres = np.array([[-1, -1, -1], [1.5, -1, -1], [-1, 1.5, -1], [-1, -1, 1.5]])
    X[["left", "right", "high"]] = centres[y] + rng.normal(scale=0.25, size=(n_samples, 3))
    return X, y


def square(n_samples, seed):
    """Four clusters in two columns of five."""
    rng = np.random.default_rng(seed)
    y = rng.integers(4, size=n_samples)
    X = rng.normal(scale=0.15, size=(n_samples, 5))
    X[:, 3] += np.where(y % 2, 1, -1)
    X[:, 4] += np.where(y // 2, 1, -1)
    return pd.DataFrame(X, columns=["noise_0", "noise_1", "noise_2", "left", "right"]), y


def corners():
    """Four clusters in the corners of (age, income), and three features of noise."""
    centres = [[-2, -2], [-2, 2], [2, -2], [2, 2]]
    rows, y = make_blobs([40, 45, 55, 60], centers=centres, cluster_std=0.4, random_state=0)
    noise = np.random.default_rng(0).normal(size=(200, 3))
    names = ["height", "age", "weight", "income", "size"]
    columns = np.column_stack([noise[:, 0], rows[:, 0], noise[:, 1], rows[:, 1], noise[:, 2]])
    return pd.DataFrame(columns, columns=names), y


def patterns(n_samples, seed):
    """Noisy 8x8 images of rows, columns or squares that start anywhere: no two are aligned."""
    rng = np.random.default_rng(seed)
    y = rng.integers(3, size=n_samples)
    images = rng.normal(60, 25, size=(n_samples, 8, 8))
    down, across = np.mgrid[:8, :8]
    for image, kind, (top, left) in zip(
        images, y, rng.integers(4, size=(n_samples, 2)), strict=True
    ):
        row, column = (down + top) // 2, (across + left) // 2
        image += 135 * ((row, column, row + column)[kind] % 2)
    names = [f"pixel_{i}" for i in range(64)]
    return pd.DataFrame(images.reshape(n_samples, -1), columns=names), y


def mixed(n_rows=120, seed=0, missing=0.0):
    """A mixed table whose clusters differ in income, job and owner."""
    rng = np.random.default_rng(seed)
    cluster = np.sort(rng.choice(3, n_rows, p=[0.45, 0.35, 0.2]))
    table = pd.DataFrame(
        {
            "income": rng.normal(1000 + 2000 * cluster, 150),
            "job": np.array(["clerk", "nurse", "cook"])[cluster],
            "owner": cluster == 1,
            "age": rng.integers(20, 60, n_rows),
            "height": rng.normal(170, 10, n_rows),
            "colour": pd.Categorical(rng.choice(["red", "blue"], n_rows, p=[0.9, 0.1])),
        }
    )
    hidden = rng.random(table.shape) < missing
    return table.astype({"owner": object}).mask(hidden) if missing else table, cluster
