"""The ten clustering algorithms that ClustRecNet chooses from, in one table, with their settings.

All of them see standardised columns. The settings are fixed, except that DBSCAN and BIRCH, which
need a length, take it from the distances between neighbouring rows. Nothing is tuned by labels: the
published settings of the ten UCI tables differ from table to table, from one linkage, metric and
covariance to another, and were chosen where the classes were known.

Faster than the plain way, with the same clusters in almost all cases:

- k-means and k-medians start 10 and 5 times from k-means++ centres, in place of 100 times.
- OPTICS orders the rows with one distance row per step; the clusters are then extracted by
  scikit-learn. The result is that of scikit-learn, whose ordering makes a radius query per row.

Bakhtyari et al. (2026), ClustRecNet, IEEE Access.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.spatial.distance import cdist
from sklearn.cluster import (
    DBSCAN,
    HDBSCAN,
    OPTICS,
    AgglomerativeClustering,
    Birch,
    KMeans,
    SpectralClustering,
    cluster_optics_xi,
    kmeans_plusplus,
)
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import NearestNeighbors, kneighbors_graph

MIN_SAMPLES = 5  # rows within reach that make a neighbourhood dense


@dataclass(frozen=True)
class Algorithm:
    """A clustering algorithm and how it is set.

    Parameters
    ----------
    name : str
    takes_n_clusters : bool
        Whether it must be told the number of clusters.
    run : callable
        ``run(Z, random_state, **settings)`` returns labels, -1 for noise; ``n_clusters`` is among
        the settings where it is needed.
    settings : dict
        What is fixed.
    scaled : dict of str to callable
        What follows from the data: ``scaled[name](reach)`` gets the sorted distances of the rows to
        their `MIN_SAMPLES`-th neighbour.
    """

    name: str
    takes_n_clusters: bool
    run: Callable[..., np.ndarray]
    settings: dict[str, Any]
    scaled: dict[str, Callable[[np.ndarray], float]]

    def settings_for(self, reach: np.ndarray) -> dict:
        """Return all settings but the number of clusters, for data with these distances."""
        return self.settings | {name: float(f"{f(reach):.4g}") for name, f in self.scaled.items()}

    def cluster(self, Z, reach, n_clusters: int | None, random_state: int) -> np.ndarray:
        """Cluster standardised rows.

        Parameters
        ----------
        Z : ndarray of shape (n_samples, n_features)
        reach : ndarray of shape (n_samples,)
            From `reach(Z)`.
        n_clusters : int
            Not used by algorithms that find the number themselves.
        random_state : int

        Returns
        -------
        ndarray of int of shape (n_samples,)
            Clusters from 0; -1 is noise.
        """
        given = {"n_clusters": n_clusters} if self.takes_n_clusters else {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # what they find is scored as it is
            for known in ("Graph is not fully connected", "the number of connected components"):
                warnings.filterwarnings("ignore", message=known)
            return self.run(Z, random_state, **given, **self.settings_for(reach))


def reach(Z: np.ndarray) -> np.ndarray:
    """Return the distance of each row to its `MIN_SAMPLES`-th neighbour, in rising order.

    Of more than 5,000 rows every so many-th is asked, about 2,000 in all.
    """
    asked = Z[:: len(Z) // 2000] if len(Z) > 5000 else Z
    neighbours = NearestNeighbors(n_neighbors=min(MIN_SAMPLES, len(Z) - 1) + 1).fit(Z)
    return np.sort(neighbours.kneighbors(asked)[0][:, -1])  # itself is the first


def knee(curve: np.ndarray) -> float:
    """Return the value where a rising curve bends most: the point farthest below its chord.

    The usual choice of DBSCAN's radius from the sorted distances to the k-th neighbour (Ester et
    al. 1996, Sec. 4.2), without looking at the figure.

    Parameters
    ----------
    curve : ndarray of shape (n,), in rising order

    Returns
    -------
    float
        Positive.
    """
    chord = np.linspace(curve[0], curve[-1], len(curve))
    value = curve[int((chord - curve).argmax())]
    return float(value if value > 0 else max(curve[-1], np.finfo(float).tiny))


def _k_means(Z, random_state, **settings):
    return KMeans(random_state=random_state, **settings).fit_predict(Z)


def _k_medians(Z, random_state, n_clusters, n_init, max_iter=100):
    """Minimise the sum of absolute differences to the nearest of n_clusters medians."""
    best_cost, best = np.inf, None
    for start in range(n_init):
        seeds, _ = kmeans_plusplus(Z, n_clusters, random_state=random_state + start)
        labels, cost = _descend(Z, seeds, max_iter)
        if cost < best_cost:
            best_cost, best = cost, labels
    return best


def _descend(Z, centres, max_iter):
    """Alternate between nearest centres and medians; return labels and the sum of distances."""
    labels = None
    for _ in range(max_iter):
        distances = cdist(Z, centres, "cityblock")
        nearest = distances.argmin(axis=1)
        if labels is not None and (nearest == labels).all():
            break
        labels = nearest
        for k in np.unique(labels):
            centres[k] = np.median(Z[labels == k], axis=0)
    return labels, distances.min(axis=1).sum()


def _spectral(Z, random_state, n_neighbors, **settings):
    n_neighbors = min(n_neighbors, len(Z) - 1)
    model = SpectralClustering(random_state=random_state, n_neighbors=n_neighbors, **settings)
    return model.fit_predict(Z)


def _agglomerative(Z, _random_state, n_neighbors, **settings):
    graph = kneighbors_graph(Z, min(n_neighbors, len(Z) - 1), include_self=False)
    return AgglomerativeClustering(connectivity=graph, **settings).fit_predict(Z)


def _dbscan(Z, _random_state, **settings):
    return DBSCAN(**settings).fit_predict(Z)


def _hdbscan(Z, _random_state, **settings):
    return HDBSCAN(copy=True, **settings).fit_predict(Z)


def _birch(Z, _random_state, **settings):
    return Birch(**settings).fit_predict(Z)


def _gaussian(Z, random_state, n_clusters, **settings):
    return GaussianMixture(n_clusters, random_state=random_state, **settings).fit_predict(Z)


def _optics(Z, _random_state, min_samples, xi, min_cluster_size):
    """Extract clusters from the reachability plot, which `order_rows` makes."""
    min_samples = min(min_samples, len(Z))
    order, reachability, predecessor = order_rows(Z, min_samples)
    labels, _ = cluster_optics_xi(
        reachability=reachability,
        predecessor=predecessor,
        ordering=order,
        min_samples=min_samples,
        min_cluster_size=max(2, int(min_cluster_size * len(Z))),
        xi=xi,
    )
    return labels


def _plain_optics(Z, _random_state, min_samples, xi, min_cluster_size):
    smallest = max(2, int(min_cluster_size * len(Z)))
    return OPTICS(min_samples=min_samples, xi=xi, min_cluster_size=smallest).fit_predict(Z)


def order_rows(Z: np.ndarray, min_samples: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Order rows so that each follows those it is most reachable from (OPTICS, unlimited radius).

    Parameters
    ----------
    Z : ndarray of shape (n_samples, n_features)
    min_samples : int
        Rows, itself included, within the core distance of a row.

    Returns
    -------
    order : ndarray of int of shape (n_samples,)
    reachability : ndarray of shape (n_samples,)
        By row, not in order; infinite for the first.
    predecessor : ndarray of int of shape (n_samples,)
        The row it was reached from; -1 for the first.

    References
    ----------
    Ankerst et al. (1999), OPTICS: ordering points to identify the clustering structure, Fig. 5.
    """
    n = len(Z)
    neighbours = NearestNeighbors(n_neighbors=min_samples).fit(Z)
    digits = np.finfo(float).precision  # as scikit-learn rounds, so that ties fall alike
    core = np.around(neighbours.kneighbors(Z)[0][:, -1], digits)
    reachability, predecessor = np.full(n, np.inf), np.full(n, -1)
    waiting = np.full(n, np.inf)  # reachability of rows not yet in order, for the argmin
    order, todo = np.empty(n, dtype=int), np.ones(n, dtype=bool)
    for step in range(n):
        row = int(waiting.argmin()) if step else 0
        order[step], todo[row], waiting[row] = row, False, np.inf
        distance = np.maximum(np.around(cdist(Z[row : row + 1], Z)[0], digits), core[row])
        nearer = todo & (distance < reachability)
        reachability[nearer] = waiting[nearer] = distance[nearer]
        predecessor[nearer] = row
    return order, reachability, predecessor


ALGORITHMS = {
    algorithm.name: algorithm
    for algorithm in (
        Algorithm("k-means", True, _k_means, {"n_init": 10}, {}),
        Algorithm("k-medians", True, _k_medians, {"n_init": 5}, {}),
        Algorithm(
            "spectral",
            True,
            _spectral,
            {"affinity": "nearest_neighbors", "n_neighbors": 10, "eigen_solver": "arpack"},
            {},
        ),
        Algorithm("Ward", True, _agglomerative, {"linkage": "ward", "n_neighbors": 5}, {}),
        Algorithm(
            "agglomerative",
            True,
            _agglomerative,
            {"linkage": "complete", "metric": "cosine", "n_neighbors": 7},
            {},
        ),
        Algorithm("DBSCAN", False, _dbscan, {"min_samples": MIN_SAMPLES}, {"eps": knee}),
        Algorithm("HDBSCAN", False, _hdbscan, {"min_samples": 5, "min_cluster_size": 15}, {}),
        Algorithm(
            "OPTICS", False, _optics, {"min_samples": 7, "xi": 0.05, "min_cluster_size": 0.05}, {}
        ),
        Algorithm("BIRCH", True, _birch, {}, {"threshold": lambda reach: np.median(reach) / 2}),
        Algorithm("Gaussian mixture", True, _gaussian, {"covariance_type": "full"}, {}),
    )
}
NAMES = tuple(ALGORITHMS)

# The plain way: as many starts as published, and scikit-learn's own ordering in OPTICS.
THOROUGH = ALGORITHMS | {
    "k-means": replace(ALGORITHMS["k-means"], settings={"n_init": 100}),
    "k-medians": replace(ALGORITHMS["k-medians"], settings={"n_init": 100}),
    "OPTICS": replace(ALGORITHMS["OPTICS"], run=_plain_optics),
}
