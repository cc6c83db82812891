"""ClusterwiseIMN: one interpretable network per cluster, and one on the whole.

The rows of a table are clustered without their target; then a model is trained in each cluster and
one on all rows, all of them, for all seeds, as one stack. What drives the target in one cluster can
so be compared with what drives it in another, and with what the model of the whole says of both.

After the study "Clustering Analysis of Datasets Using Mesomorphic Networks", which see for its
question; of its code nothing is kept. Its features bore the names of other columns, since its
encoder puts numbers first and its names stayed in the order of the table: the "gender" of its
figures is tenure, "SeniorCitizen" MonthlyCharges, "Partner" TotalCharges. Here names travel with
the columns. Its importance is the signed mean of weight times input, which cancels between rows
that a feature pushes up and rows that it pushes down; here it is the mean absolute value.
"""

from collections.abc import Sequence
from copy import copy as shallow_copy
from typing import NamedTuple

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin, clone
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import get_scorer
from sklearn.utils import _safe_indexing, check_array, check_random_state, column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_consistent_length, check_is_fitted

from whycluster.contract import persistence
from whycluster.contract.explanation import Explanation
from whycluster.contract.intact import reading
from whycluster.gower import GowerClustering
from whycluster.imn.estimators import IMNClassifier

WHOLE = "whole"
FROZEN = "frozen"  # in a file: a setting that is the fitted estimator itself


class _Plan(NamedTuple):
    """Who is trained on what: for one seed, the rows of the whole and of each cluster."""

    whole: np.ndarray
    clusters: list[np.ndarray | None]  # None: the cluster has no model of its own
    report: pd.DataFrame


class ClusterwiseIMN(MetaEstimatorMixin, ClassifierMixin, BaseEstimator):
    """A classifier that asks a row for its cluster, and the model of that cluster for its class.

    Parameters
    ----------
    clusterer : clusterer with predict, or None, default=None
        Sees X as it is given. None: `GowerClustering`.
    model : IMNClassifier, TabResNetClassifier or None, default=None
        None: `IMNClassifier` with weighted classes, as in the study.
    encoder : transformer or None, default=None
        Turns X into numbers for the models: `TableEncoder` for a mixed table, whose features are
        then explained column by column. None: X is numbers of comparable scale.
    min_rows : int, default=50
        A cluster with fewer rows has no model of its own.
    min_class_rows : int, default=5
        Nor has one with fewer rows of any class that the table has, or with one class only.
    random_state : int, RandomState or None, default=None
        Of the models; the clusterer has its own.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    clusterer_, encoder_ : fitted copies
    whole_ : fitted model of all rows
    models_ : list of fitted models, one per cluster
        `whole_` itself for a cluster without a model of its own.
    clusters_ : ndarray of shape (n_samples,)
        Cluster of each row of X; -1 where the clusterer says so, which `whole_` answers.
    report_ : DataFrame of shape (n_clusters + 1, n_classes + 2)
        For the whole and each cluster: rows of each class learned from, which model answers, and
        why it is that of the whole.
    n_features_in_ : int
    feature_names_in_ : ndarray of str
        Where X has names.

    Examples
    --------
    >>> from sklearn.cluster import KMeans
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(300, 3)) + np.repeat([[-4], [4]], 150, axis=0) * [0, 0, 1]
    >>> y = np.where(X[:, 2] < 0, X[:, 0] > 0, X[:, 1] > 0)  # x0 decides here, x1 there
    >>> model = IMNClassifier(max_epochs=30)
    >>> both = ClusterwiseIMN(KMeans(2, random_state=0), model, random_state=0).fit(X, y)
    >>> both.score(X, y) > 0.95, len(both.models_)
    (True, 2)
    """

    def __init__(
        self,
        clusterer=None,
        model=None,
        *,
        encoder=None,
        min_rows=50,
        min_class_rows=5,
        random_state=None,
    ):
        self.clusterer = clusterer
        self.model = model
        self.encoder = encoder
        self.min_rows = min_rows
        self.min_class_rows = min_class_rows
        self.random_state = random_state

    def fit(self, X, y):
        """Find the clusters of X, then learn y in each of them and on the whole.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_columns)
        y : array-like of shape (n_samples,)
            Classes.

        Returns
        -------
        self
        """
        self._fit_stack(X, y, [self], None)
        return self

    def fit_seeds(self, X, random_states: Sequence[int], *, y, rows=None) -> list["ClusterwiseIMN"]:
        """Fit one copy per random state; all models of all copies are one stack.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_columns)
            Clusters, and the scales of columns, are found once, on all rows; neither sees y.
        random_states : sequence of int
        y : array-like of shape (n_samples,)
        rows : sequence of int arrays, optional
            For each random state, the rows that its models learn from. None: all.

        Returns
        -------
        list of ClusterwiseIMN
        """
        copies = [clone(self).set_params(random_state=state) for state in random_states]
        if not copies:
            raise ValueError("random_states is empty; give one for each copy to fit")
        self._fit_stack(X, y, copies, rows)
        return copies

    def predict(self, X) -> np.ndarray:
        """Return the class of each row, shape (n_samples,)."""
        best = self.predict_proba(X).argmax(axis=1)
        return self.classes_[best]

    def predict_proba(self, X) -> np.ndarray:
        """Return the probability of each class by the model of the row's cluster."""
        return self._route(X, lambda model, rows: model.predict_proba(rows))

    def predict_cluster(self, X) -> np.ndarray:
        """Return the cluster of each row, int of shape (n_samples,); -1: none."""
        check_is_fitted(self)
        return np.asarray(self.clusterer_.predict(_as_table(X)))

    def contributions(self, X, by: str = "cluster") -> np.ndarray:
        """Return what each column adds to the logit of the row's class, by its own model.

        Measured from the mean of the rows that the model learned from, as `IMNClassifier` does:
        what sets a whole cluster apart is no reason within it.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_columns)
        by : {"cluster", "whole"}, default="cluster"
            Who explains: the model of the row's cluster, or that of the whole.

        Returns
        -------
        ndarray of shape (n_samples, n_columns)
            The features of one column are added up; columns that the encoder left out are absent.
        """
        values = self._route(X, lambda model, rows: model.explain(rows).sample, by)
        return values if self.encoder_ is None else self.encoder_.group_by_source(values)

    def explain(self, X, by: str = "cluster") -> Explanation:
        """Say which columns drive the class of each row, in each cluster, and over all rows.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_columns)
        by : {"cluster", "whole"}, default="cluster"
            Who explains: the model of the row's cluster, or that of the whole.

        Returns
        -------
        Explanation
            Of kind "contribution": logits of the predicted class; clusters and overall are means of
            absolute values over rows.
        """
        values, clusters = self.contributions(X, by), self.predict_cluster(X)
        return Explanation.from_samples(
            values, clusters, len(self.models_), self._column_names(), "contribution"
        )

    def transfer(self, X, y, scoring: str = "roc_auc") -> pd.DataFrame:
        """Score every model on the rows of every cluster.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_columns)
            Rows that no model learned from.
        y : array-like of shape (n_samples,)
        scoring : str, default="roc_auc"
            A name that scikit-learn knows.

        Returns
        -------
        DataFrame of shape (n_clusters + 1, n_clusters + 1)
            Rows: the models of the whole and of the clusters; columns: the rows scored. NaN where
            these rows have one class, and for a cluster without a model of its own.
        """
        encoded, clusters, y = self._encode(X), self.predict_cluster(X), np.asarray(y)
        score = get_scorer(scoring)
        models = {WHOLE: self.whole_}
        models |= {k: m for k, m in enumerate(self.models_) if m is not self.whole_}
        places = {WHOLE: np.full(len(y), True)}
        places |= {k: clusters == k for k in range(len(self.models_))}
        found = {
            name: {
                place: score(model, _safe_indexing(encoded, own), y[own])
                for place, own in places.items()
                if len(np.unique(y[own])) > 1
            }
            for name, model in models.items()
        }
        return pd.DataFrame(found).T.reindex(index=[*places], columns=[*places])

    # Files

    def save(self, path) -> None:
        """Write the fitted estimator to the folder `path`, and each part to a folder inside.

        Raises
        ------
        TypeError
            If the clusterer or the encoder is none of whycluster's, or a setting is not plain data.
        """
        check_is_fitted(self)
        parts, own = self._parts(), shallow_copy(self)
        own.clusterer = _describe(self.clusterer, self.clusterer_)
        own.encoder = _describe(self.encoder, self.encoder_)
        own.model = persistence.describe(self.model)
        own.report_ = self.report_.to_dict("split")
        own.models_ = self._names_of_models()
        for name in ("clusterer_", "encoder_", "whole_"):
            delattr(own, name)
        persistence.save(own, path, {}, parts)

    @classmethod
    def load(cls, path) -> "ClusterwiseIMN":
        """Read an estimator that `save` wrote. Runs no code from the files."""
        own, _ = persistence.load(cls, path)
        with reading(path):
            names = {WHOLE, "clusterer", *own.models_} | ({"encoder"} if own.encoder else set())
            parts = {name: persistence.load_part(path, name) for name in sorted(names)}
            own.whole_, own.models_ = parts[WHOLE], [parts[name] for name in own.models_]
            own.clusterer, own.clusterer_ = _revive(own.clusterer, parts["clusterer"])
            own.encoder, own.encoder_ = _revive(own.encoder, parts.get("encoder"))
            own.model, own.report_ = persistence.rebuild(own.model), pd.DataFrame(**own.report_)
        return own

    def _parts(self) -> dict:
        """Return the fitted estimators inside, by the name of their folder."""
        models = dict(zip(self._names_of_models(), self.models_, strict=True))
        parts = models | {WHOLE: self.whole_, "clusterer": _thawed(self.clusterer_)}
        return parts if self.encoder_ is None else parts | {"encoder": _thawed(self.encoder_)}

    def _names_of_models(self) -> list[str]:
        return [WHOLE if m is self.whole_ else f"model {k}" for k, m in enumerate(self.models_)]

    # Training

    def _fit_stack(self, X, y, copies: list["ClusterwiseIMN"], rows) -> None:
        """Fit `copies`, which differ in random state and rows."""
        if y is None:
            raise ValueError("ClusterwiseIMN requires y to be passed, but the target y is None")
        X = _as_table(X)
        check_consistent_length(X, y)
        y = column_or_1d(y, warn=True)
        check_classification_targets(y)
        clusterer = clone(GowerClustering() if self.clusterer is None else self.clusterer).fit(
            X, None
        )
        encoder = None if self.encoder is None else clone(self.encoder).fit(X)
        encoded = X if encoder is None else encoder.transform(X)
        clusters = np.asarray(clusterer.predict(X))
        rows = [np.arange(len(y))] * len(copies) if rows is None else list(rows)
        plans = [self._plan(clusters, y, own) for own in rows]
        shared = {"clusterer_": clusterer, "encoder_": encoder, "clusters_": clusters}
        trained = iter(self._train(encoded, y, plans, copies))
        for copy, plan in zip(copies, plans, strict=True):
            vars(copy).update(shared)
            copy._keep(X, plan, trained)

    def _plan(self, clusters, y, rows) -> _Plan:
        """Decide which clusters get a model of their own, and say why the others do not."""
        n_clusters = clusters.max() + 1
        members = [rows[clusters[rows] == k] for k in range(n_clusters)]
        classes = np.unique(y)
        reasons = [self._why_not(y[own], classes, n_clusters) for own in members]
        counts = [[(y[own] == c).sum() for c in classes] for own in (rows, *members)]
        report = pd.DataFrame(
            counts, index=[WHOLE, *range(n_clusters)], columns=[f"rows of {c}" for c in classes]
        )
        report["answered by"] = [WHOLE, *(WHOLE if r else "itself" for r in reasons)]
        report["because"] = ["", *reasons]
        own = [None if r else own for own, r in zip(members, reasons, strict=True)]
        return _Plan(rows, own, report)

    def _why_not(self, y, classes, n_clusters: int) -> str:
        """Return why rows with targets `y` get no model of their own, "" if they do."""
        counts = {c: int((y == c).sum()) for c in classes}
        rarest = min(counts, key=counts.get)
        if n_clusters == 1:
            return "it is the only cluster"
        if len(y) < self.min_rows:
            return f"{len(y)} rows, fewer than min_rows={self.min_rows}"
        if max(counts.values()) == len(y):
            return f"all rows are of class {max(counts, key=counts.get)}"
        if counts[rarest] < self.min_class_rows:
            return f"{counts[rarest]} rows of {rarest}, below min_class_rows={self.min_class_rows}"
        return ""

    def _train(self, encoded, y, plans: list[_Plan], copies) -> list:
        """Train all models of all copies as one stack; in the order of plans, the whole first."""
        template = IMNClassifier(class_weight="balanced") if self.model is None else self.model
        models, rows = [], []
        for copy, plan in zip(copies, plans, strict=True):
            own = [plan.whole, *(r for r in plan.clusters if r is not None)]
            seed = check_random_state(copy.random_state).randint(2**31 - 1)
            models += [clone(template).set_params(random_state=seed) for _ in own]
            rows += own
        models[0]._fit_stack(encoded, models, y=y, rows=rows)
        return models

    def _keep(self, X, plan: _Plan, trained) -> None:
        """Take the models of this copy from those that were trained."""
        self.whole_ = next(trained)
        self.models_ = [self.whole_ if r is None else next(trained) for r in plan.clusters]
        self.classes_, self.report_ = self.whole_.classes_, plan.report
        self.n_features_in_ = X.shape[1]
        if isinstance(X, pd.DataFrame) and all(isinstance(name, str) for name in X.columns):
            self.feature_names_in_ = X.columns.to_numpy(dtype=object)

    # Answers

    def _encode(self, X):
        check_is_fitted(self)
        return _as_table(X) if self.encoder_ is None else self.encoder_.transform(X)

    def _route(self, X, answer, by: str = "cluster") -> np.ndarray:
        """Return ``answer(model, rows)`` for all rows, each from its own model or the whole's."""
        if by not in ("cluster", WHOLE):
            raise ValueError(f"by={by!r} is neither 'cluster' nor 'whole'")
        encoded = self._encode(X)
        if by == WHOLE:
            return answer(self.whole_, encoded)
        clusters = self.predict_cluster(X)
        parts = {k: np.flatnonzero(clusters == k) for k in np.unique(clusters)}
        answers = [
            answer(self.whole_ if k < 0 else self.models_[k], _safe_indexing(encoded, own))
            for k, own in parts.items()
        ]
        back = np.argsort(np.concatenate([*parts.values()]), kind="stable")
        return np.concatenate(answers)[back]

    def _column_names(self):
        if self.encoder_ is not None:
            return self.encoder_.used_
        return getattr(self, "feature_names_in_", None)


def _as_table(X):
    """Return a DataFrame as it is, anything else as an array of numbers."""
    return X if isinstance(X, pd.DataFrame) else check_array(X, dtype=np.float64)


def _thawed(estimator):
    return estimator.estimator if isinstance(estimator, FrozenEstimator) else estimator


def _describe(setting, fitted):
    """Return a setting that is an estimator as JSON has it; raise if `fitted` cannot be stored."""
    persistence.describe(_thawed(fitted))
    return FROZEN if isinstance(setting, FrozenEstimator) else persistence.describe(setting)


def _revive(description, fitted):
    """Return a setting that was described, and the fitted estimator that goes with it."""
    if description == FROZEN:
        setting = FrozenEstimator(fitted)
        return setting, setting
    return persistence.rebuild(description), fitted
