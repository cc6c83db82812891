"""Explanation: what every method answers when asked why a row is in its cluster.

One form for gates, additive contributions and post-hoc attributions, at three levels: each row,
each cluster, the whole table. Because every method answers in it, the interpretability metrics of
`whycluster.metrics` and the plots of `whycluster.plots` apply to all of them.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from whycluster.contract import display
from whycluster.contract.display import KINDS, SHOWN_CHARACTERS, descending
from whycluster.contract.wording import short

LEVELS = ("sample", "cluster", "overall")


@dataclass(frozen=True, eq=False, repr=False)
class Explanation:
    """Which features drive each row, each cluster and the whole clustering.

    Immutable: the arrays are copied and read-only.

    Parameters
    ----------
    sample : array-like of shape (n_samples, n_features) or None
        One explanation per row. None only for a method that cannot explain single rows.
    cluster : array-like of shape (n_clusters, n_features)
        One explanation per cluster.
    overall : array-like of shape (n_features,)
        One explanation of the whole clustering.
    feature_names : sequence of str of length n_features, or None
        Unique names; None gives x0, x1, ...
    kind : {"gate", "contribution", "attribution"}
        What the values are: gates lie in [0, 1]; contributions are signed and in logits;
        attributions are signed, in the unit of whatever output was attributed.

    Raises
    ------
    ValueError
        Shapes that do not fit together, values that are not finite, gates outside [0, 1],
        repeated feature names or an unknown kind.

    Examples
    --------
    >>> why = Explanation(None, [[1, 0], [0, 0.5]], [0.5, 0.25], ["age", "income"], "gate")
    >>> print(why)
    Explanation by gate: 2 clusters, 2 features
      cluster 0: age 1.0
      cluster 1: income 0.50
      overall: age 0.50, income 0.25
    """

    sample: np.ndarray | None
    cluster: np.ndarray
    overall: np.ndarray
    feature_names: Sequence[str] | None
    kind: str

    def __post_init__(self) -> None:
        """Check and freeze every field."""
        if self.kind not in KINDS:
            raise ValueError(f"kind is {self.kind!r}; choose one of {', '.join(KINDS)}")
        cluster = _frozen(self.cluster, "cluster", 2, self.kind)
        n_features = cluster.shape[1]
        overall = _frozen(self.overall, "overall", 1, self.kind)
        sample = None if self.sample is None else _frozen(self.sample, "sample", 2, self.kind)
        names = _names(self.feature_names, n_features)
        for name, array in (("overall", overall), ("sample", sample)):
            if array is not None and array.shape[-1] != n_features:
                raise ValueError(
                    f"{name} has {array.shape[-1]} features and cluster has {n_features}; "
                    "all levels must describe the same features"
                )
        fields = {"cluster": cluster, "overall": overall, "sample": sample, "feature_names": names}
        for name, value in fields.items():
            object.__setattr__(self, name, value)

    @classmethod
    def from_samples(
        cls,
        sample,
        labels,
        n_clusters: int,
        feature_names: Sequence[str] | None = None,
        kind: str = "gate",
    ) -> "Explanation":
        """Average row explanations over each cluster and over all rows.

        Gates are averaged as they are; contributions and attributions by their absolute value,
        since a feature that pushes half of the rows one way and half the other does matter
        although its signed mean is zero.

        Parameters
        ----------
        sample : array-like of shape (n_samples, n_features)
            One explanation per row.
        labels : array-like of int of shape (n_samples,)
            Cluster of each row, 0 to n_clusters - 1; -1 for a row in no cluster, which counts
            towards `overall` only.
        n_clusters : int, at least 1
            A cluster without rows is explained by zeros, with a warning.
        feature_names : sequence of str, optional
            As in the class.
        kind : {"gate", "contribution", "attribution"}, default="gate"
            As in the class.

        Returns
        -------
        Explanation

        Raises
        ------
        ValueError
            Labels that are not one integer per row in the stated range.
        """
        sample = _array(sample, "sample", 2)
        labels = _labels(labels, len(sample), n_clusters)
        magnitude = sample if kind == "gate" else np.abs(sample)
        sizes = np.bincount(labels[labels >= 0], minlength=n_clusters)
        if not sizes.all():
            empty = ", ".join(map(str, np.flatnonzero(sizes == 0)))
            warnings.warn(f"clusters without rows are explained by zeros: {empty}", stacklevel=2)
        cluster = np.zeros((n_clusters, sample.shape[1]))
        for k in np.flatnonzero(sizes):
            cluster[k] = magnitude[labels == k].mean(axis=0, dtype=float)
        return cls(sample, cluster, magnitude.mean(axis=0, dtype=float), feature_names, kind)

    @property
    def n_features(self) -> int:
        """Number of features explained."""
        return self.cluster.shape[1]

    @property
    def n_clusters(self) -> int:
        """Number of clusters explained."""
        return self.cluster.shape[0]

    def to_frame(self, level: str = "cluster") -> pd.DataFrame:
        """Explanations as a table with feature names.

        Parameters
        ----------
        level : {"sample", "cluster", "overall"}, default="cluster"
            What to describe.

        Returns
        -------
        DataFrame
            "sample": rows by features; "cluster": clusters by features; "overall": features by
            one column named after `kind`, largest absolute value first.

        Raises
        ------
        ValueError
            Unknown level, or "sample" where the method explains no single rows.
        """
        values = self._level(level)
        if level == "overall":
            frame = pd.DataFrame({self.kind: values}, index=self._feature_index())
            return frame.iloc[descending(values)]
        rows = pd.RangeIndex(len(values), name="row" if level == "sample" else "cluster")
        return pd.DataFrame(values, index=rows, columns=self._feature_index())

    def top(self, k: int = 5, level: str = "cluster") -> pd.DataFrame:
        """The k features of largest absolute value, as a tidy table.

        Parameters
        ----------
        k : int, at least 1, default=5
            Features for each row, each cluster or overall; all of them where there are fewer.
        level : {"sample", "cluster", "overall"}, default="cluster"
            What to describe.

        Returns
        -------
        DataFrame
            Columns row or cluster (absent for "overall"), rank (from 1), feature, value. Equal
            values keep the order of the features.

        Raises
        ------
        ValueError
            k below 1, an unknown level, or "sample" where there are no row explanations.
        """
        if k < 1:
            raise ValueError(f"k is {k}; ask for at least 1 feature")
        values = np.atleast_2d(self._level(level))
        k = min(k, self.n_features)
        order = descending(values)[:, :k]
        frame = pd.DataFrame(
            {
                "row" if level == "sample" else "cluster": np.repeat(np.arange(len(values)), k),
                "rank": np.tile(np.arange(1, k + 1), len(values)),
                "feature": np.asarray(self.feature_names, dtype=object)[order].ravel(),
                "value": np.take_along_axis(values, order, axis=1).ravel(),
            }
        )
        return frame.drop(columns="cluster") if level == "overall" else frame

    def plot(self, ax=None, k: int = 15):
        """Clusters by their k strongest features, as a heat map.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Where to draw; a new figure where it is None.
        k : int, at least 1, default=15
            Features shown: those with the largest absolute value in any cluster.

        Returns
        -------
        matplotlib Axes
        """
        from whycluster import plots  # here, since most explanations are read, not drawn

        vmax = 1.0 if self.kind == "gate" else None
        return plots.gates(
            self.cluster, self.feature_names, max_features=k, label=self.kind, vmax=vmax, ax=ax
        )

    def __repr__(self) -> str:
        """Text of the explanation: it prints its interpretation."""
        return display.as_text(self)

    def _repr_html_(self) -> str:
        """One small table per cluster, with bars; every name is escaped."""
        return display.as_html(self)

    def _level(self, level: str) -> np.ndarray:
        if level not in LEVELS:
            raise ValueError(f"level is {level!r}; choose one of {', '.join(LEVELS)}")
        values = getattr(self, level)
        if values is None:
            raise ValueError("this method explains no single rows; use level='cluster'")
        return values

    def _feature_index(self) -> pd.Index:
        return pd.Index(self.feature_names, name="feature")


def _array(values, name: str, n_dims: int) -> np.ndarray:
    array = np.asarray(values)
    if not np.issubdtype(array.dtype, np.floating):
        array = array.astype(float)
    if array.ndim != n_dims or 0 in array.shape:
        raise ValueError(f"{name} has shape {array.shape}; expected {n_dims} non-empty dimensions")
    if not np.isfinite(array).all():
        where = np.argwhere(~np.isfinite(array))[0]
        raise ValueError(
            f"{name} is not finite at {tuple(map(int, where))}; explain with finite values only"
        )
    return array


def _frozen(values, name: str, n_dims: int, kind: str) -> np.ndarray:
    array = np.array(_array(values, name, n_dims))
    if kind == "gate" and (array.min() < 0 or array.max() > 1):
        offender = array.min() if array.min() < 0 else array.max()
        raise ValueError(f"{name} holds a gate of {offender:.4g}; gates lie in [0, 1]")
    array.flags.writeable = False
    return array


def _names(feature_names, n_features: int) -> tuple[str, ...]:
    if feature_names is None:
        return tuple(f"x{j}" for j in range(n_features))
    names = tuple(map(str, feature_names))
    if len(names) != n_features:
        raise ValueError(f"{len(names)} feature names for {n_features} features; give one for each")
    index = pd.Index(names)
    if not index.is_unique:
        repeated = short(index[index.duplicated()][0], SHOWN_CHARACTERS)
        raise ValueError(f"feature name {repeated!r} is repeated; make the names unique")
    return names


def _labels(labels, n_samples: int, n_clusters: int) -> np.ndarray:
    labels = np.asarray(labels)
    if labels.shape != (n_samples,) or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(
            f"labels have shape {labels.shape} and type {labels.dtype}; "
            f"give one integer for each of the {n_samples} rows"
        )
    if labels.min() < -1 or labels.max() >= n_clusters:
        offender = labels.max() if labels.max() >= n_clusters else labels.min()
        raise ValueError(f"label {offender} is outside 0 to {n_clusters - 1} (-1: no cluster)")
    return labels
