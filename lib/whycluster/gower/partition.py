"""Partitions of rows by their distances: cuts, the best of them, splitting and merging.

Arrays in, labels out. Distances are an ndarray of shape (n_rows, n_rows), symmetric; labels are
whole numbers from 0 without gaps.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.cluster.hierarchy import linkage
from scipy.spatial.distance import squareform

from whycluster.metrics import silhouette_of_distances


@dataclass(frozen=True)
class Split:
    """An attempt to split a group of rows.

    Parameters
    ----------
    silhouettes : dict of int to float
        Mean silhouette by number of parts.
    labels : ndarray of int, shape (n_rows,)
        The parts of the best.
    """

    silhouettes: dict[int, float]
    labels: np.ndarray

    @property
    def score(self) -> float:
        """The best mean silhouette."""
        return max(self.silhouettes.values())


def average_linkage(distances: np.ndarray) -> np.ndarray:
    """Merge the two clusters of least mean distance until one is left.

    Returns
    -------
    ndarray of shape (n_rows - 1, 4)
        The tree, as `scipy.cluster.hierarchy.linkage` has it.
    """
    halves = squareform(distances, checks=False).astype(np.float64, copy=False)
    return linkage(halves, "average")


def cut_tree(tree: np.ndarray, n_clusters: int) -> np.ndarray:
    """Cut a tree at its highest merges into exactly so many clusters, ties or not.

    Parameters
    ----------
    tree : ndarray of shape (n_rows - 1, 4)
    n_clusters : int from 1 to n_rows

    Returns
    -------
    ndarray of int, shape (n_rows,)
    """
    n_rows = len(tree) + 1
    children = tree[:, :2].astype(int)
    merges = children[: n_rows - n_clusters]  # those below the cut
    owner = np.full(2 * n_rows - 1, -1)
    roots = np.setdiff1d(np.arange(n_rows + len(merges)), merges)
    owner[roots] = np.arange(len(roots))
    for merge in range(len(merges) - 1, -1, -1):
        owner[merges[merge]] = owner[n_rows + merge]
    return owner[:n_rows]


def cut_medoids(
    distances: np.ndarray, candidates: Sequence[int], n_init: int, random: np.random.RandomState
) -> dict[int, np.ndarray]:
    """Cluster around k medoids for every k, by FasterPAM.

    Parameters
    ----------
    distances : ndarray of shape (n_rows, n_rows)
    candidates : sequence of int
    n_init : int
        Restarts; the one with the least sum of distances to the medoids is kept.
    random : RandomState

    Returns
    -------
    dict of int to ndarray of int, shape (n_rows,)
        Labels by number of clusters.
    """
    from kmedoids import fasterpam  # here, since only this method needs the library

    cuts = {}
    for k in candidates:
        seeds = random.randint(2**31 - 1, size=n_init)
        runs = [fasterpam(distances, int(k), random_state=int(seed), n_cpu=1) for seed in seeds]
        cuts[k] = min(runs, key=lambda run: run.loss).labels.astype(int)
    return cuts


def best_split(distances: np.ndarray, cuts: dict[int, np.ndarray]) -> Split:
    """Return the cut of the highest mean silhouette, of equal ones that with the fewest parts."""
    scores = {k: silhouette_of_distances(distances, labels) for k, labels in cuts.items()}
    return Split(scores, cuts[max(scores, key=scores.__getitem__)])


def split_recursively(
    n_rows: int,
    split: Callable[[np.ndarray], Split | None],
    min_silhouette: float,
    max_share: float,
) -> tuple[np.ndarray, list[dict]]:
    """Split all rows, then every part that is still too large.

    Parameters
    ----------
    n_rows : int
    split : callable
        From positions of rows, ndarray of int, to a Split; None where they cannot be split.
    min_silhouette : float
        A split of a lower score is rejected.
    max_share : float
        Share of all rows above which a part is split again.

    Returns
    -------
    labels : ndarray of int, shape (n_rows,)
    log : list of dict
        rows, silhouettes (by number of parts), sizes, accepted; in the order of the attempts.
    """
    labels, log = np.zeros(n_rows, dtype=int), []
    waiting = [0]
    while waiting:
        rows = np.flatnonzero(labels == waiting.pop(0))
        found = split(rows)
        if found is None:
            continue
        is_accepted = found.score >= min_silhouette
        sizes = np.bincount(found.labels)
        log.append(
            {
                "rows": len(rows),
                "silhouettes": {str(k): score for k, score in found.silhouettes.items()},
                "sizes": sizes.tolist(),
                "accepted": is_accepted,
            }
        )
        if is_accepted:  # the first part keeps the number, the others get new ones
            numbers = np.r_[labels[rows[0]], labels.max() + np.arange(1, len(sizes))]
            labels[rows] = numbers[found.labels]
            waiting += numbers[sizes > max_share * n_rows].tolist()
    return labels, log


def merge_small(distances: np.ndarray, labels: np.ndarray, least: float) -> np.ndarray:
    """Merge clusters of fewer than `least` rows, the smallest first, into the nearest large one.

    The nearest is that of least mean distance; where all are small, any other one will do.

    Parameters
    ----------
    distances : ndarray of shape (n_rows, n_rows)
    labels : ndarray of int, shape (n_rows,)
    least : float

    Returns
    -------
    ndarray of int, shape (n_rows,)
    """
    sizes = np.bincount(labels)
    sums = _sums(distances, labels)
    into = np.arange(len(sizes))
    while (sizes[sizes > 0] < least).any() and (sizes > 0).sum() > 1:
        small = np.where(sizes > 0, sizes, len(labels) + 1).argmin()
        is_open = (sizes >= least) if (sizes >= least).any() else (sizes > 0)
        is_open[small] = False
        gap = np.full(len(sizes), np.inf)
        gap[is_open] = sums[small, is_open] / sizes[is_open]
        near = gap.argmin()
        into[into == small] = near
        sizes[near], sizes[small] = sizes[near] + sizes[small], 0
        sums[near] += sums[small]
        sums[:, near] += sums[:, small]
    return np.unique(into[labels], return_inverse=True)[1]


def medoids(distances: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the row of each cluster with the least sum of distances to it, (n_clusters,)."""
    found = []
    for k in range(labels.max() + 1):
        rows = np.flatnonzero(labels == k)
        found.append(rows[distances[np.ix_(rows, rows)].sum(axis=0, dtype=float).argmin()])
    return np.array(found)


def _sums(distances, labels) -> np.ndarray:
    """Return the sums of distances between clusters, (n_clusters, n_clusters)."""
    one_hot = np.eye(labels.max() + 1, dtype=distances.dtype)[labels]
    return (one_hot.T @ (distances @ one_hot)).astype(float)
