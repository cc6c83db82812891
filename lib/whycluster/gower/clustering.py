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

from numbers import Integral, Real

import numpy as np
import pandas as pd
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    ClusterMixin,
    TransformerMixin,
)
from sklearn.cluster import KMeans
from sklearn.preprocessing import StandardScaler
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted, validate_data
from tqdm.auto import tqdm

from whycluster.contract import validation
from whycluster.contract.explanation import Explanation
from whycluster.contract.persistence import Savable
from whycluster.gower import partition
from whycluster.gower.columns import GowerColumn
from whycluster.gower.distances import GowerSpace, as_frame
from whycluster.metrics import external, silhouette_of_distances

ROWS_AT_ONCE = 4096
BYTES_PER_PAIR = 16  # the matrix, a part of it, and average linkage's two half matrices of doubles
TIE = 9  # decimals to which distances are compared


class GowerClustering(
    ClassNamePrefixFeaturesOutMixin, TransformerMixin, ClusterMixin, Savable, BaseEstimator
):
    """Clusters of a mixed table by Gower's distance.

    Takes a DataFrame of numbers, text, booleans and categoricals, with missing values, or an array.

    Parameters
    ----------
    n_clusters : int or "auto", default="auto"
        "auto": the number up to `k_max` with the best silhouette, then `max_share` and `min_share`.
        A number is met exactly, by one cut.
    method : {"average", "k-medoids", "k-means"}, default="average"
        Average linkage; FasterPAM (Schubert and Rousseeuw, 2021); Lloyd's k-means on standardised
        numbers and ranks and 0/1 levels, which admits no missing value. The silhouette is that of
        Gower distances for all three.
    k_max : int, at least 2, default=7
        Largest number of parts of one split.
    min_silhouette : float in [-1, 1], default=0.25
        Mean silhouette below which a split is no split; see deviation 1.
    max_share, min_share : float in [0, 1], default=0.5, 0.1
        Clusters of more than this share of the rows are split again; those of less are merged into
        the nearest one. 1 and 0 do neither.
    rescale : bool, default=False
        Learn the ranges of numbers anew in each cluster that is split; see deviation 5.
    weights : mapping of column to float, or array-like of shape (n_features,), optional
    categories : collection of str, default=()
        Columns whose numbers are codes.
    assign : {"medoid", "neighbour"}, default="medoid"
        New rows go to the cluster of the nearest medoid, or of the nearest row learned from.
    sample_size : int or None, default=None
        Learn from so many rows drawn at random, and assign the others as if they were new.
    max_memory : float, default=8
        GiB that `fit` may take for distances; more is refused.
    n_init : int, default=3
        Restarts of k-medoids and k-means; the one with the lowest objective is kept.
    random_state : int, RandomState or None, default=None
        Of the sample and the restarts; average linkage needs none.
    device : str, default="auto"
        Where distances are computed; results are kept in memory.
    verbose : int, default=0
        1: a progress bar.

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
    >>> X = pd.DataFrame({"age": [20, 22, 24, 61, 63, 65], "pet": list("cccddd")})
    >>> model = GowerClustering().fit(X)
    >>> model.verdict_
    '2 clusters, mean silhouette 0.97'
    >>> model.predict(pd.DataFrame({"age": [30], "pet": ["c"]}))
    array([0])
    >>> model.explain(X).overall.round(2).tolist()
    [0.44, 0.5]
    """

    # n_clusters is checked against the data
    _parameter_constraints = {  # noqa: RUF012
        "method": [StrOptions({"average", "k-medoids", "k-means"})],
        "k_max": [Interval(Integral, 2, None, closed="left")],
        "min_silhouette": [Interval(Real, -1, 1, closed="both")],
        "max_share": [Interval(Real, 0, 1, closed="right")],
        "min_share": [Interval(Real, 0, 1, closed="left")],
        "rescale": ["boolean"],
        "assign": [StrOptions({"medoid", "neighbour"})],
        "sample_size": [Interval(Integral, 2, None, closed="left"), None],
        "max_memory": [Interval(Real, 0, None, closed="neither")],
        "n_init": [Interval(Integral, 1, None, closed="left")],
    }

    def __init__(
        self,
        n_clusters="auto",
        *,
        method="average",
        k_max=7,
        min_silhouette=0.25,
        max_share=0.5,
        min_share=0.1,
        rescale=False,
        weights=None,
        categories=(),
        assign="medoid",
        sample_size=None,
        max_memory=8.0,
        n_init=3,
        random_state=None,
        device="auto",
        verbose=0,
    ):
        self.n_clusters = n_clusters
        self.method = method
        self.k_max = k_max
        self.min_silhouette = min_silhouette
        self.max_share = max_share
        self.min_share = min_share
        self.rescale = rescale
        self.weights = weights
        self.categories = categories
        self.assign = assign
        self.sample_size = sample_size
        self.max_memory = max_memory
        self.n_init = n_init
        self.random_state = random_state
        self.device = device
        self.verbose = verbose

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
        table = self._check(X, reset=True)
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
        return self

    def predict(self, X) -> np.ndarray:
        """Return the cluster of each row, int of shape (n_samples,).

        Warns of levels never seen, which lie at 1 from all others, and raises a ValueError for a
        column that changed its type.
        """
        return self._answer(self._encode(X))

    def transform(self, X) -> np.ndarray:
        """Return the Gower distance of each row to each medoid, (n_samples, n_clusters_)."""
        return self._to_medoids(self._encode(X))

    def explain(self, X) -> Explanation:
        """Say which columns make each row lie nearer to its own medoid than to the others.

        Column j contributes `mean_{k != a} d_j(x, m_k) - d_j(x, m_a)`, in units of Gower distance,
        where a is the cluster of the row and d_j the share of the column in the distance. The
        contributions of a row add up, exactly, to its mean distance to the other medoids minus that
        to its own. It is negative for a row that other rows than the medoid hold in its cluster.

        Parameters
        ----------
        X : DataFrame or array of shape (n_samples, n_features)

        Returns
        -------
        Explanation
            Of kind "contribution"; all zeros where there is one cluster. Clusters are explained by
            `contributions_`, the whole by their mean over the rows learned from.
        """
        rows = self._encode(X)
        sample = self._contributions(rows, self._answer(rows))
        sizes = np.bincount(self._own_labels, minlength=self.n_clusters_)
        overall = sizes @ self.contributions_ / sizes.sum()
        return Explanation(sample, self.contributions_, overall, self._space.names, "contribution")

    def _resume(self, weights) -> None:
        columns = [column | {"levels": tuple(column["levels"])} for column in self.columns_]
        self._space = GowerSpace(tuple(GowerColumn(**column) for column in columns))

    @property
    def medoids_(self) -> pd.DataFrame:
        """Medoids as rows of the table, (n_clusters_, n_features)."""
        return self._space.decode(self._medoid_rows).set_axis(self.medoid_indices_)

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
        self.linkage_ = None
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
        candidates = [self.n_clusters]
        if self.n_clusters == "auto":
            n_distinct = len(np.unique(_keys(self.rows_[members])))
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
        first = self.splits_[0]["silhouettes"]
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

    # Answers

    @property
    def _own_labels(self) -> np.ndarray:
        return self.labels_[self.sample_indices_]

    @property
    def _medoid_rows(self) -> np.ndarray:
        return self.rows_[np.searchsorted(self.sample_indices_, self.medoid_indices_)]

    def _answer(self, rows) -> np.ndarray:
        """Return the cluster of encoded rows: as learned if they were, else by `assign`."""
        keys, first = np.unique(_keys(self.rows_), return_index=True)
        asked = _keys(rows)
        place = np.minimum(np.searchsorted(keys, asked), len(keys) - 1)
        labels = self._own_labels[first[place]]
        is_new = keys[place] != asked
        if is_new.any():
            labels[is_new] = self._assign(rows[is_new])
        return labels

    def _assign(self, rows) -> np.ndarray:
        if self.assign == "medoid":
            return self._to_medoids(rows).round(TIE).argmin(axis=1)
        options = {"device": self.device, "dtype": np.float64, "max_gib": np.inf}
        step = max(1, 2**24 // len(self.rows_))
        nearest = np.empty(len(rows), dtype=int)
        for start in range(0, len(rows), step):
            some = slice(start, start + step)
            distances = self._space.pairwise(rows[some], self.rows_, **options)
            nearest[some] = distances.round(TIE).argmin(axis=1)
        return self._own_labels[nearest]

    def _to_medoids(self, rows) -> np.ndarray:
        """Sum over columns, so that a row is answered the same alone and among others."""
        parts = [part.sum(axis=2) for part in self._parts(rows)]
        return np.concatenate([np.empty((0, self.n_clusters_)), *parts])

    def _contributions(self, rows, labels) -> np.ndarray:
        """Return what each column adds to the margin of each row, (n_rows, n_features)."""
        if self.n_clusters_ == 1:
            return np.zeros(rows.shape)
        values, start = np.empty(rows.shape), 0
        for part in self._parts(rows):
            own_label = labels[start : start + len(part)]
            own = part[np.arange(len(part)), own_label]
            others = (part.sum(axis=1) - own) / (self.n_clusters_ - 1)
            values[start : start + len(part)] = others - own
            start += len(part)
        return values

    def _parts(self, rows):
        """Yield the distances to the medoids by column, (some rows, n_clusters_, n_features)."""
        for start in range(0, len(rows), ROWS_AT_ONCE):
            yield self._space.by_column(rows[start : start + ROWS_AT_ONCE], self._medoid_rows)

    @property
    def _n_features_out(self) -> int:
        return self.n_clusters_

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = self.method != "k-means"
        tags.input_tags.categorical = True
        return tags


def _keys(rows) -> np.ndarray:
    """Return a hash of each encoded row, uint64 of shape (n_rows,); equal rows, equal hashes."""
    return pd.util.hash_pandas_object(pd.DataFrame(rows + 0.0), index=False).to_numpy()


def _alike(labels, rows) -> np.ndarray:
    """Give equal rows the cluster of the first of them.

    With missing values a row may lie at 0 from rows that lie apart, and so may its twins.
    """
    _, first, inverse = np.unique(_keys(rows), return_index=True, return_inverse=True)
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
