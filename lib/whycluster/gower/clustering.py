"""GowerClustering: clusters of a mixed table by Gower's distance, and what sets each row apart.

After the published study "Clustering Analysis of Datasets Using Mesomorphic Networks": average
linkage on Gower distances, as many clusters as the silhouette prefers, clusters that hold more than
half of the rows split again, those below a tenth merged; or k-means on encoded columns.

Deviations from the study
-------------------------
1. A split is accepted if its *silhouette* reaches ``min_silhouette``, by default 0.25, the end of
   "no substantial structure" in Kaufman and Rousseeuw (1990). The released code compares the
   *number of clusters* with 0.3, which every number passes; the score was meant.
2. Where no split is accepted the answer is one cluster, "no clusters found"; the released code
   stops with an error.
3. Every part of a split gets a number of its own. In the released recursion a part that cannot be
   split is stored under a fixed number, over what was there before.
4. Small clusters are merged once, at the end, the smallest first, into the cluster of least mean
   Gower distance. The released code merges within each split, compares means of label-encoded
   categories, which depend on the spelling of the levels, and keeps a small part where it has no
   sibling of fitting size: on Telco churn 679 rows, 9.7 %, remain, as with ``min_share=0.09``.
5. One distance matrix serves the whole recursion. The study learns the ranges of numbers anew from
   the rows of each cluster that it splits; ``rescale=True`` does so too. On Telco churn a part of
   4,833 rows then splits into 1,391 and 3,442, as published, instead of 1,300 and 3,533.
6. k-means encodes all columns; the study's sees numbers only, a yes/no coded 0 and 1 among them,
   which becomes a cluster of its own. Hand over such columns alone to repeat it.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import numpy as np
import pandas as pd
from sklearn.base import (
    BaseEstimator,
    ClusterMixin,
)
from sklearn.cluster import KMeans
from sklearn.preprocessing import StandardScaler
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data
from tqdm.auto import tqdm

from whycluster.contract import validation
from whycluster.contract.persistence import Savable
from whycluster.contract.settings import (
    Count,
    Declared,
    Positive,
    RandomState,
    at_least,
    between,
    fitting,
    setting,
)
from whycluster.gower import partition
from whycluster.gower.distances import GowerSpace, as_frame
from whycluster.gower.reading import MedoidReading, row_keys
from whycluster.metrics import external, silhouette_of_distances

BYTES_PER_PAIR = 16  # the matrix, a part of it, and average linkage's two half matrices of doubles


class GowerClustering(
    Declared,
    MedoidReading,
    ClusterMixin,
    Savable,
    BaseEstimator,
):
    """Clusters of a mixed table by Gower's distance.

    Takes a DataFrame of numbers, text, booleans and categoricals, with missing values, or an array.

    Attributes
    ----------
    labels_ : ndarray of shape (n_samples,)
        Clusters by size, the largest 0.
    n_clusters_ : int
        1 if no clusters were found.
    verdict_ : str
        What was found, in a sentence.
    silhouette_ : float
        Mean silhouette of the rows learned from, NaN for one cluster.
    candidates_, silhouettes_ : ndarray of shape (n_candidates,)
        Numbers of clusters tried for all rows, and their silhouettes.
    splits_ : list of dict
        Every split tried, in order: its rows, silhouette by number of parts, sizes of the parts,
        and whether it was accepted.
    linkage_ : ndarray of shape (n_learned - 1, 4)
        Average linkage of all rows, as SciPy has it; None with other methods.
    medoid_indices_ : ndarray of shape (n_clusters_,)
        Rows of X with the least mean distance to their cluster.
    medoids_ : DataFrame of shape (n_clusters_, n_features)
        These rows.
    medoid_agreement_ : float
        Share of the rows learned from that lie nearest to the medoid of their own cluster.
    contributions_ : ndarray of shape (n_clusters_, n_features)
        Mean contributions of the rows of each cluster, see `explain`. Signed: a column in which
        rows lie as often nearer to another medoid as to their own sets no cluster apart.
    sample_indices_ : ndarray of shape (n_learned,)
        Rows of X that were learned from.
    rows_ : ndarray of shape (n_learned, n_features)
        These rows, encoded as by `GowerSpace.encode`; they are saved along.
    columns_ : list of dict
        What each column was taken for: name, kind, share of the weight, range, levels.

    Notes
    -----
    `predict` answers a row that was learned from with its cluster, so that `fit(X).predict(X)` is
    `labels_`, and any other by `assign`. Average linkage makes clusters that are no balls around a
    medoid: where half of Telco churn's rows keep their four clusters, 86 % of the others go where
    they belong by the nearest medoid, 97 % by the nearest neighbour (notebook 50).

    References
    ----------
    Gower (1971); Kaufman and Rousseeuw (1990), Finding Groups in Data; Rousseeuw (1987),
    Silhouettes; Schubert and Rousseeuw (2021), Fast and Eager k-Medoids Clustering.

    Examples
    --------
    >>> import pandas as pd
    >>> X = pd.DataFrame({"age": [20, 22, 24, 61, 63, 65], "pet": list("cccddd")})
    >>> model = GowerClustering().fit(X)
    >>> model.verdict_
    '2 clusters, mean silhouette 0.97'
    >>> model.predict(pd.DataFrame({"age": [30], "pet": ["c"]}))
    array([0])
    >>> model.explain(X).overall.round(2).tolist()
    [0.44, 0.5]
    """

    n_clusters: Annotated[int, 'int or "auto"'] = setting(
        "auto",
        """"auto": the number up to `k_max` with the best silhouette, then `max_share` and
        `min_share`. A number is met exactly, by one cut.""",
        positional=True,
    )
    n_init: Count = setting(
        3, "Restarts of k-medoids and k-means; the one with the lowest objective is kept."
    )
    # Distance
    weights: Annotated[Any, "mapping of column to float, or array-like of shape (n_features,)"] = (
        setting(None)
    )
    categories: Annotated[Any, "collection of str"] = setting(
        (), "Columns whose numbers are codes."
    )
    rescale: bool = setting(
        False, "Learn the ranges of numbers anew in each cluster that is split; see deviation 5."
    )
    # Clusters
    method: Literal["average", "k-medoids", "k-means"] = setting(
        "average",
        """Average linkage; FasterPAM (Schubert and Rousseeuw, 2021); Lloyd's k-means on
        standardised numbers and ranks and 0/1 levels, which admits no missing value. The silhouette
        is that of Gower distances for all three.""",
    )
    k_max: Annotated[int, at_least(2)] = setting(7, "Largest number of parts of one split.")
    min_silhouette: Annotated[float, between(-1, 1)] = setting(
        0.25, "Mean silhouette below which a split is no split; see deviation 1."
    )
    max_share: Annotated[float, between(0, 1, "right")] = setting(
        0.5, "Clusters of more than this share of the rows are split again. 1: none is."
    )
    min_share: Annotated[float, between(0, 1, "left")] = setting(
        0.1, "Clusters of less than this share are merged into the nearest one. 0: none is."
    )
    # Rows
    assign: Literal["medoid", "neighbour"] = setting(
        "medoid",
        "New rows go to the cluster of the nearest medoid, or of the nearest row learned from.",
    )
    sample_size: Annotated[int, at_least(2)] | None = setting(
        None, "Learn from so many rows drawn at random, and assign the others as if they were new."
    )
    max_memory: Positive = setting(8.0, "GiB that `fit` may take for distances; more is refused.")
    random_state: RandomState = setting(
        None, "Of the sample and the restarts; average linkage needs none."
    )
    device: str = setting("auto", "Where distances are computed; results are kept in memory.")
    verbose: int = setting(0, "1: a progress bar.")

    def fit(self, X, y=None):
        """Find clusters.

        Parameters
        ----------
        X : DataFrame or array of shape (n_samples, n_features)
        y : None
            Ignored.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            Naming a column that cannot be used, rows without a common value, constant data, or a
            number of clusters above that of distinct rows.
        MemoryError
            If distances need more than `max_memory`; a `sample_size` is the remedy.
        """
        self._validate_params()
        with fitting(self) as twin:
            twin._fit(twin._check(X, reset=True))
        return self

    def _fit(self, table: pd.DataFrame) -> None:
        self._space = GowerSpace.learn(table, weights=self.weights, categories=self.categories)
        self.columns_ = [vars(column) for column in self._space.columns]
        [rows] = self._space.encode(table)
        random = check_random_state(self.random_state)
        self.sample_indices_ = self._draw(len(rows), random)
        self.rows_ = rows[self.sample_indices_]
        self._check_rows()
        distances = self._space.pairwise(self.rows_, device=self.device, max_gib=np.inf)
        labels = _alike(self._partition(distances, random), self.rows_)
        labels = external.by_size(pd.factorize(labels)[0])  # of equal ones the first in the table
        self._describe(distances, labels)
        self.labels_ = np.empty(len(rows), dtype=int)
        self.labels_[self.sample_indices_] = labels
        others = np.setdiff1d(np.arange(len(rows)), self.sample_indices_)
        self.labels_[others] = self._answer(rows[others])

    # Input

    def _check(self, X, reset: bool) -> pd.DataFrame:
        """Return X as a DataFrame with text as names."""
        least = 2 if reset else 1
        if not isinstance(X, pd.DataFrame):
            options = {"dtype": None, "ensure_all_finite": False, "ensure_min_samples": least}
            return as_frame(validate_data(self, X, reset=reset, **options))
        frame = as_frame(X)
        validate_data(self, X, reset=reset, skip_check_array=True)
        if len(frame) < least:
            raise ValueError(
                f"Found array with {len(frame)} sample(s) (shape={frame.shape}) while a minimum of "
                f"{least} is required by {type(self).__name__}."
            )
        return frame

    def _encode(self, X) -> np.ndarray:
        check_is_fitted(self)
        [rows] = self._space.encode(self._check(X, reset=False))
        return rows

    def _draw(self, n_rows: int, random) -> np.ndarray:
        """Return the sorted positions of the rows to learn from."""
        n_learned = min(n_rows, self.sample_size or n_rows)
        gib = BYTES_PER_PAIR * n_learned**2 / 2**30
        if gib > self.max_memory:
            raise MemoryError(
                f"clustering {n_learned:,} rows takes {gib:.1f} GiB, more than "
                f"max_memory={self.max_memory:g}; learn from fewer with sample_size=5000, or raise "
                "max_memory"
            )
        if n_learned == n_rows:
            return np.arange(n_rows)
        return np.sort(random.choice(n_rows, n_learned, replace=False))

    def _check_rows(self) -> None:
        """Check the number of clusters against the rows learned from."""
        filled = np.nan_to_num(self.rows_, nan=np.nanmax(self.rows_) + 1)
        is_auto = isinstance(self.n_clusters, str) and self.n_clusters == "auto"
        validation.check_n_clusters(2 if is_auto else self.n_clusters, filled)
        if self.method == "k-means" and np.isnan(self.rows_).any():
            column = np.isnan(self.rows_).any(axis=0).argmax()
            raise ValueError(
                f"column {self._space.names[column]!r} has missing values, which k-means cannot "
                "use; impute them first or choose another method"
            )

    # Clusters

    def _partition(self, distances, random) -> np.ndarray:
        """Return the clusters of the rows learned from, numbered as they come."""
        self.linkage_: np.ndarray | None = None
        self.splits_: list[dict] = []
        if self.n_clusters == 1:
            return np.zeros(len(distances), dtype=int)
        is_auto = self.n_clusters == "auto"
        bounds = (self.min_silhouette, self.max_share) if is_auto else (-1, 1)
        with tqdm(unit="split", disable=not self.verbose) as bar:

            def split(members):
                bar.update()
                return self._split(distances, members, random)

            labels, self.splits_ = partition.split_recursively(len(distances), split, *bounds)
        least = self.min_share * len(distances) if is_auto else 0
        return partition.merge_small(distances, labels, least)

    def _split(self, distances, members, random) -> partition.Split | None:
        """Return the best split of some rows, None where they are all equal."""
        candidates: Sequence[int] = [self.n_clusters]
        if self.n_clusters == "auto":
            n_distinct = len(np.unique(row_keys(self.rows_[members])))
            candidates = range(2, min(self.k_max, n_distinct) + 1)
        if not candidates:
            return None
        if len(members) < len(distances):
            distances = self._part(distances, members)
        return partition.best_split(distances, self._cuts(distances, members, candidates, random))

    def _part(self, distances, members) -> np.ndarray:
        """Return the distances within some of the rows."""
        if not self.rescale:
            return distances[np.ix_(members, members)]
        rows = self.rows_[members]
        space = self._space.narrowed(rows)
        return space.pairwise(rows, device=self.device, max_gib=np.inf)

    def _cuts(self, distances, members, candidates, random) -> dict[int, np.ndarray]:
        """Return the labels of these rows for every number of clusters."""
        if self.method == "average":
            tree = partition.average_linkage(distances)
            self.linkage_ = tree if self.linkage_ is None else self.linkage_
            return {k: partition.cut_tree(tree, k) for k in candidates}
        if self.method == "k-medoids":
            return partition.cut_medoids(distances, candidates, self.n_init, random)
        points = _points(self._space.columns, self.rows_[members])
        seed = random.randint(2**31 - 1)
        return {
            k: KMeans(k, n_init=self.n_init, random_state=seed).fit_predict(points)
            for k in candidates
        }

    def _describe(self, distances, labels) -> None:
        """Set the fitted attributes from the clusters of the rows learned from."""
        first = self.splits_[0]["silhouettes"] if self.splits_ else {1: np.nan}
        self.candidates_ = np.array([int(k) for k in first])
        self.silhouettes_ = np.array(list(first.values()))
        self.n_clusters_ = int(labels.max()) + 1
        self.silhouette_ = silhouette_of_distances(distances, labels)
        self.verdict_ = self._judge()
        positions = partition.medoids(distances, labels)
        self.medoid_indices_ = self.sample_indices_[positions]
        nearest = distances[:, positions].argmin(axis=1)
        self.medoid_agreement_ = float((nearest == labels).mean())
        values = self._contributions(self.rows_, labels)
        groups = [values[labels == k].mean(axis=0) for k in range(self.n_clusters_)]
        self.contributions_ = np.array(groups)

    def _judge(self) -> str:
        if self.n_clusters_ > 1:
            return f"{self.n_clusters_} clusters, mean silhouette {self.silhouette_:.2f}"
        if not self.splits_:
            return "1 cluster, as asked for"
        best = int(self.silhouettes_.argmax())
        if not self.splits_[0]["accepted"]:
            return (
                f"no clusters found: the best mean silhouette, {self.silhouettes_[best]:.2f} for "
                f"{self.candidates_[best]} clusters, is below min_silhouette="
                f"{self.min_silhouette:g}"
            )
        return (
            f"no clusters found: of the parts of {len(self.rows_)} rows all but one hold less than "
            f"min_share={self.min_share:g} of them"
        )

    @property
    def _n_features_out(self) -> int:
        return self.n_clusters_

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = self.method != "k-means"
        tags.input_tags.categorical = True
        return tags


def _alike(labels, rows) -> np.ndarray:
    """Give equal rows the cluster of the first of them.

    With missing values a row may lie at 0 from rows that lie apart, and so may its twins.
    """
    _, first, inverse = np.unique(row_keys(rows), return_index=True, return_inverse=True)
    return labels[first[inverse]]


def _points(columns, rows) -> np.ndarray:
    """Return rows for k-means: standardised numbers and ranks, 0/1 levels; root weights."""
    blocks = []
    for column, values in zip(columns, rows.T, strict=True):
        if column.kind == "category":
            block = values[:, None] == np.arange(len(column.levels))
        else:
            block = StandardScaler().fit_transform(values[:, None])
        blocks.append(np.sqrt(column.weight * len(columns)) * block)
    return np.concatenate(blocks, axis=1)
