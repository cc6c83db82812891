"""IDC's synthetic table, in which each cluster is explained by a known pair of features.

Svirsky and Lindenbaum (2024), Interpretable Deep Clustering for Tabular Data, Section 6.2.1 and
Appendix I. The text there leaves out how three Gaussian blobs become four clusters; those steps
follow the authors' description of their generator and are listed in `make_idc_synthetic`.

Deviations from the paper and from the authors' generator:

- Nuisance features have standard deviation 0.1 as in Appendix I. The authors' generator draws them
  with 0.01: `noise_scale=0.01`.
- x1 to x3 lie in [-1, 1] as in the paper. The authors' generator gives them zero mean and unit
  variance: `scaling="standard"`.
- Everything depends on `random_state`; there, x3 and the nuisance features were not seeded.
- The rows are shuffled and the clusters differ by at most one row; there, the rows are sorted by
  cluster and every cluster is cut to the size of the smallest, about 833.
- Clusters 0 and 1 draw x1 from the same distribution; there, they share the very same values.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from sklearn.utils import check_random_state

N_CLUSTERS = 4
N_NUISANCE = 10
BLOB_SCALE = 0.5
# Where make_blobs(centers=3, random_state=0) puts its centres: (right, top), (right, bottom) after
# the first has been moved above the second, and (left, middle).
RIGHT, LEFT = 2.055, -1.527
TOP, MIDDLE, BOTTOM = 4.304, 2.918, 0.898


def make_idc_synthetic(
    n_samples: int = 3200,
    *,
    noise_scale: float = 0.1,
    scaling: str = "range",
    random_state: int | np.random.RandomState | None = None,
) -> tuple[pd.DataFrame, pd.Series, np.ndarray]:
    """Four clusters in three informative and ten nuisance features.

    Clusters 0 and 1 are two blobs with the same x1, one above the other in x2. Clusters 2 and 3 are
    one blob, left of them in x1, stretched over the whole range of x2 and cut in two by a gap in
    x3; clusters 0 and 1 fill the whole range of x3. So x1 and x2 tell 0, 1 and {2, 3} apart, x1 and
    x3 tell {0, 1}, 2 and 3 apart, and only the three features together tell all four.

    Parameters
    ----------
    n_samples : int, at least 8, default 3200
        Rows, divided evenly among the clusters; the paper has about 800 in each.
    noise_scale : float, at least 0, default 0.1
        Standard deviation of the nuisance features, in the units of the scaled informative ones.
    scaling : {"range", "standard"}, default "range"
        Whether x1 to x3 are scaled to [-1, 1] or to zero mean and unit variance.
    random_state : int, RandomState or None, default None
        Seed of everything that is drawn.

    Returns
    -------
    X : DataFrame of shape (n_samples, 13)
        x1, x2, x3, noise_01 to noise_10.
    y : Series of shape (n_samples,)
        Cluster of each row, 0 to 3.
    informative : bool ndarray of shape (4, 13)
        Features that explain each cluster: x1 and x2 for 0 and 1, x1 and x3 for 2 and 3.

    Raises
    ------
    ValueError
        If an argument is out of range.

    Examples
    --------
    >>> X, y, informative = make_idc_synthetic(random_state=0)
    >>> [list(X.columns[features]) for features in informative]
    [['x1', 'x2'], ['x1', 'x2'], ['x1', 'x3'], ['x1', 'x3']]

    """
    _check(n_samples, noise_scale, scaling)
    random = check_random_state(random_state)
    y = random.permutation(np.arange(n_samples) % N_CLUSTERS)
    points = _scaled(_informative_features(y, random), scaling)
    noise = random.normal(0, noise_scale, (n_samples, N_NUISANCE))
    X = pd.DataFrame(np.column_stack([points, noise]), columns=_names())
    return X, pd.Series(y, name="cluster"), _explanations()


def _informative_features(y: np.ndarray, random: np.random.RandomState) -> np.ndarray:
    """Unscaled x1, x2, x3 of each row, shape (n_samples, 3)."""
    left = y >= 2
    x1 = np.where(left, LEFT, RIGHT) + BLOB_SCALE * random.standard_normal(len(y))
    x2 = np.choose(y, [TOP, BOTTOM, MIDDLE, MIDDLE]) + BLOB_SCALE * random.standard_normal(len(y))
    x2[left] = np.interp(x2[left], _extent(x2[left]), _extent(x2))
    # Halves [0, 0.5] and [1, 1.5] for clusters 2 and 3, all of [0, 1.5] for 0 and 1.
    start, width = np.choose(y, [0, 0, 0, 1]), np.choose(y, [1.5, 1.5, 0.5, 0.5])
    x3 = start + width * random.uniform(size=len(y))
    return np.column_stack([x1, x2, x3])


def _extent(values: np.ndarray) -> tuple[float, float]:
    return values.min(), values.max()


def _scaled(points: np.ndarray, scaling: str) -> np.ndarray:
    if scaling == "standard":
        return (points - points.mean(axis=0)) / points.std(axis=0)
    low, high = points.min(axis=0), points.max(axis=0)
    return 2 * (points - low) / (high - low) - 1


def _names() -> list[str]:
    return ["x1", "x2", "x3", *(f"noise_{index:02d}" for index in range(1, N_NUISANCE + 1))]


def _explanations() -> np.ndarray:
    informative = np.zeros((N_CLUSTERS, 3 + N_NUISANCE), dtype=bool)
    informative[:, 0] = True
    informative[:2, 1] = True
    informative[2:, 2] = True
    return informative


def _check(n_samples: int, noise_scale: float, scaling: str) -> None:
    if n_samples < 2 * N_CLUSTERS:
        raise ValueError(f"n_samples={n_samples} is too few for {N_CLUSTERS} clusters; give 8+")
    if not noise_scale >= 0:
        raise ValueError(f"noise_scale={noise_scale} is not a standard deviation; give 0 or more")
    if scaling not in ("range", "standard"):
        raise ValueError(f"scaling={scaling!r} is unknown; choose 'range' or 'standard'")
