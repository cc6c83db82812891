"""What a fitted NeurCAM says: its terms, their graphs, and the table of a spreadsheet."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from sklearn.utils.validation import check_is_fitted

from whycluster.contract.files import aside
from whycluster.contract.validation import check_predict
from whycluster.neurcam.terms import N_KNOTS, N_VALUES, Terms, knots, shares, tabulate

_READ_ROWS = 20_000  # rows that centring, purification and importance are measured on, at most
_PAIR_POINTS = 33  # evenly spaced points along each side of an exported pair, beside its knots


class ShapeReading:
    """The answers of an estimator with `network_`: terms, shape graphs, importances."""

    network_: Any
    labels_: np.ndarray
    n_clusters: int
    n_features_in_: int
    hidden_units: int

    def contributions(self, X) -> np.ndarray:
        """Return every term of every row: with `intercept_` they add up to the logits.

        Returns
        -------
        ndarray of shape (n_samples, n_terms, n_clusters)
            Terms in the order of `term_names`.
        """
        check_is_fitted(self)
        return np.concatenate([part for _, part in self._read(check_predict(self, X))])

    def term_names(self) -> list[str]:
        """Return names of the terms: features in the order of the table, then pairs "a × b"."""
        check_is_fitted(self)
        return [self._name(features) for features in self._terms.terms]

    def shape_functions(self) -> pd.DataFrame:
        """Return all shape graphs as a tidy table.

        Returns
        -------
        DataFrame
            term; feature, value; feature_2, value_2 (missing for one feature); cluster;
            contribution (logits, centred); density (share of the training rows nearest to the
            value or pair of values). Values are all that occur, or 256 quantiles (up to 32
            along each side of a pair).
        """
        check_is_fitted(self)
        frames = [self._graph(features) for features in self._terms.terms]
        return pd.concat(frames, ignore_index=True)

    def export_table(self, path=None, *, tolerance: float = 1e-3) -> pd.DataFrame:
        """Write the fitted model as a table that a spreadsheet can evaluate.

        The logit of a cluster is the sum over terms of its column, interpolated linearly between
        the two values that enclose the row's (in both directions for a pair), plus the row
        "intercept"; the row is in the cluster of the largest. A feature's table reaches beyond the
        training values by their range on either side, a pair's ends with them; further out the
        last value holds.

        Parameters
        ----------
        path : path, optional
            A CSV file to write.
        tolerance : float, default=1e-3
            Largest error in the term of one feature, in logits. A term of two features is tabulated
            at 33 even points and up to 32 quantiles along each side.

        Returns
        -------
        DataFrame
            term, feature, value, feature_2, value_2, and one column per cluster.
        """
        check_is_fitted(self)
        intercept = pd.DataFrame([self.intercept_], columns=self._cluster_columns())
        intercept.insert(0, "term", "intercept")
        terms = self._terms.terms
        frames = [self._table(features, tolerance) for features in terms]
        columns = ["term", "feature", "value", "feature_2", "value_2", *self._cluster_columns()]
        table = pd.concat([intercept, *frames], ignore_index=True).reindex(columns=columns)
        if path is not None:
            with aside(Path(path)) as provisional:
                table.to_csv(provisional, index=False)
        return table

    def _describe_terms(self, X: np.ndarray) -> None:
        rows = _spread(len(X), _READ_ROWS)
        X = X[rows]
        channels = self.network_.channels()
        terms = Terms(channels, self.n_clusters).fit(self._channel_contributions(X), X)
        self._knots_ = {str(i): values for i, values in terms.knots.items()}
        self._moved_ = {_key(key): table for key, table in terms.moved.items()}
        self._offset_ = terms.offset
        self.intercept_ = self.network_.centred_intercept() + terms.intercept
        names = self._feature_names()
        single = {i for features in channels for i in features if len(set(features)) == 1}
        self.selected_features_ = names[sorted(single)]
        self.selected_pairs_ = names[np.array(terms.pairs, dtype=int).reshape(-1, 2)]
        self._describe_density(terms, X)
        self._describe_importance(terms, X, self.labels_[rows])

    def _describe_importance(self, terms: Terms, X: np.ndarray, labels: np.ndarray) -> None:
        area = sum(np.abs(part).sum(axis=(0, 2)) for _, part in self._read(X))
        area /= len(X) * self.n_clusters
        order = np.argsort(-area, kind="stable")
        self.importances_ = {self._name(terms.terms[t]): float(area[t]) for t in order}
        sample = np.abs(self._own_contributions(X, labels))
        self._by_cluster_ = np.zeros((self.n_clusters, self.n_features_in_))
        for k in np.unique(labels):
            self._by_cluster_[k] = sample[labels == k].mean(axis=0)

    def _describe_density(self, terms: Terms, X: np.ndarray) -> None:
        """Keep where the training rows are: the values of graphs and tables, and their shares."""
        self._values_, self._shares_ = {}, {}
        side = int(np.clip(len(X) // 10, 8, N_KNOTS))
        for features in terms.terms:
            size = N_VALUES if len(features) == 1 else side
            columns = [X[:, i] for i in features]
            grids = [knots(column, size) for column in columns]
            self._shares_[_key(features)] = shares(columns, grids)
            for i, grid in zip(features, grids, strict=True):
                self._values_[_key((i, len(features)))] = grid

    @property
    def _terms(self) -> Terms:
        terms = Terms(self.network_.channels(), self.n_clusters)
        knots_, moved = getattr(self, "_knots_", {}), getattr(self, "_moved_", {})  # no pairs
        terms.knots = {int(i): values for i, values in knots_.items()}
        terms.moved = {tuple(map(int, key.split())): table for key, table in moved.items()}
        terms.offset = self._offset_
        return terms

    def _feature_names(self) -> np.ndarray:
        unnamed = [f"x{i}" for i in range(self.n_features_in_)]
        return np.array(getattr(self, "feature_names_in_", unnamed), dtype=str)

    def _name(self, features: tuple[int, ...]) -> str:
        return " × ".join(self._feature_names()[list(features)])

    def _cluster_columns(self) -> list[str]:
        return [f"cluster {k}" for k in range(self.n_clusters)]

    def _read(self, X: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        """Yield the first row of each block of rows and its terms, in bounded memory."""
        terms = self._terms
        n_rows = max(1, 2**22 // (len(terms.of_channel) * max(self.n_clusters, self.hidden_units)))
        for start in range(0, len(X), n_rows):
            block = X[start : start + n_rows]
            yield start, terms.read(self._channel_contributions(block), block)

    @torch.no_grad()
    def _channel_contributions(self, X: np.ndarray) -> np.ndarray:
        parts = [self.network_.contributions(x[None])[0] for x in torch.from_numpy(X).split(1024)]
        return torch.cat(parts).numpy()

    def _own_contributions(self, X: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Return what each feature adds to the logit of the row's cluster, pairs split evenly."""
        terms, parts = self._terms.terms, []
        for start, contributions in self._read(X):
            own = labels[start : start + len(contributions), None, None]
            parts.append(np.take_along_axis(contributions, own, axis=2)[..., 0])
        split = np.zeros((len(terms), self.n_features_in_))
        for t, features in enumerate(terms):
            split[t, list(features)] = 1 / len(features)
        return np.concatenate(parts) @ split

    def _evaluate_term(self, features: tuple[int, ...], *values: np.ndarray) -> np.ndarray:
        """Return the term of these features at given values, (n_values, n_clusters)."""
        X = np.zeros((len(values[0]), self.n_features_in_), dtype=np.float32)
        for feature, column in zip(features, values, strict=True):
            X[:, feature] = column
        t = self._terms.terms.index(features)
        return np.concatenate([part[:, t] for _, part in self._read(X)])

    def _graph(self, features: tuple[int, ...]) -> pd.DataFrame:
        grids = [self._values_[_key((i, len(features)))] for i in features]
        frame = self._frame(features, *_mesh(grids))
        wide = frame.assign(density=self._shares_[_key(features)].ravel())
        tidy = wide.melt(
            [c for c in wide if c not in self._cluster_columns()],
            var_name="cluster",
            value_name="contribution",
        )
        tidy["cluster"] = tidy["cluster"].str.removeprefix("cluster ").astype(int)
        order = ["term", "feature", "value", "feature_2", "value_2"]
        return tidy.reindex(columns=[*order, "cluster", "contribution", "density"])

    def _table(self, features: tuple[int, ...], tolerance: float) -> pd.DataFrame:
        if len(features) == 1:
            values = self._values_[_key((*features, 1))]
            kept = tabulate(lambda x: self._evaluate_term(features, x), values, tolerance)[0]
            return self._frame(features, kept)
        grids = []
        for i in features:
            known = [self._values_[_key((i, 2))], self._knots_[str(i)]]
            fine = np.linspace(known[0][0], known[0][-1], _PAIR_POINTS, dtype=np.float32)
            grids.append(np.unique(np.concatenate([fine, *known])))
        return self._frame(features, *_mesh(grids))

    def _frame(self, features: tuple[int, ...], *values: np.ndarray) -> pd.DataFrame:
        """Return a term at given values, one column per cluster."""
        contributions = self._evaluate_term(features, *values)
        frame = pd.DataFrame(contributions, columns=self._cluster_columns())
        for i, (feature, column) in enumerate(zip(features, values, strict=True), start=1):
            suffix = "" if i == 1 else f"_{i}"
            frame[f"feature{suffix}"] = self._feature_names()[feature]
            frame[f"value{suffix}"] = column
        return frame.assign(term=self._name(features))


def _spread(n_rows: int, n_most: int) -> np.ndarray:
    """Return at most `n_most` rows, evenly spread."""
    return np.unique(np.linspace(0, n_rows - 1, min(n_rows, n_most)).astype(int))


def _key(numbers: tuple[int, ...]) -> str:
    """Return numbers as the key of a fitted dict, which files keep as text."""
    return " ".join(map(str, numbers))


def _mesh(grids: list[np.ndarray]) -> list[np.ndarray]:
    """Return the coordinates of all points of a grid, the last running fastest."""
    return [axis.ravel() for axis in np.meshgrid(*grids, indexing="ij")]
