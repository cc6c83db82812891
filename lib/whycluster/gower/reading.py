"""What fitted Gower clusters say of rows: where they belong, how far, and by which columns.

It knows medoids and the rows learned from, and not how the clusters were found.
"""

import numpy as np
import pandas as pd
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin

from whycluster.contract.explanation import Explanation
from whycluster.gower.columns import GowerColumn
from whycluster.gower.distances import GowerSpace

ROWS_AT_ONCE = 4096
TIE = 9  # decimals to which distances are compared


class MedoidReading(ClassNamePrefixFeaturesOutMixin, TransformerMixin):
    """The answers of an estimator with `_space`, medoids, and the rows that it learned from."""

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

    @property
    def _own_labels(self) -> np.ndarray:
        return self.labels_[self.sample_indices_]

    @property
    def _medoid_rows(self) -> np.ndarray:
        return self.rows_[np.searchsorted(self.sample_indices_, self.medoid_indices_)]

    def _answer(self, rows) -> np.ndarray:
        """Return the cluster of encoded rows: as learned if they were, else by `assign`."""
        keys, first = np.unique(row_keys(self.rows_), return_index=True)
        asked = row_keys(rows)
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


def row_keys(rows) -> np.ndarray:
    """Return a hash of each encoded row, uint64 of shape (n_rows,); equal rows, equal hashes."""
    return pd.util.hash_pandas_object(pd.DataFrame(rows + 0.0), index=False).to_numpy()
