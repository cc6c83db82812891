"""ClusterwiseIMN: one interpretable network per cluster, and one on the whole.

The rows of a table are clustered without their target; then a model is trained in each cluster and
one on all rows, all of them, for all seeds, as one stack. What drives the target in one cluster can
so be compared with what drives it in another, and with what the model of the whole says of both.

After the study "Clustering Analysis of Datasets Using Mesomorphic Networks", which see for its
question; of its code nothing is kept.

Deviations from the study
-------------------------
1. Names travel with the columns. Its features bore the names of other columns, since its encoder
   puts numbers first and its names stayed in the order of the table: the "gender" of its figures is
   tenure, "SeniorCitizen" MonthlyCharges, "Partner" TotalCharges.
2. Importance is the mean absolute value of weight times input. The study takes the signed mean,
   which cancels between rows that a feature pushes up and rows that it pushes down.
3. Base rates are put back. A model trained with class weights w_c (the study: balanced ones, on the
   rows of its cluster) learns p'(c | x), proportional to w_c p(c | x). Its logits lack the base
   rate of its cluster, and pooled with those of other clusters they rank rows as if all clusters
   had the same one. Here log(1 / w_c) is added to the logit of class c, so that

       p(c | x) = p'(c | x) / w_c, divided by its sum over classes.

   With balanced classes w_c = n / (n_classes n_c), hence log n_c is added, up to a constant;
   without class weights nothing is. n_c are rows learned from. Explanations stay as they are: a
   base rate is the same for all rows of a cluster, and the work of no column.
"""

from collections.abc import Sequence
from copy import copy as shallow_copy
from typing import Annotated, Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.special import softmax
from sklearn.base import (
    BaseEstimator,
    ClassifierMixin,
    MetaEstimatorMixin,
    RegressorMixin,
    clone,
    is_classifier,
)
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import get_scorer
from sklearn.utils import (
    _safe_indexing,
    check_array,
    check_random_state,
    column_or_1d,
    get_tags,
)
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_consistent_length, check_is_fitted

from whycluster.contract import persistence
from whycluster.contract.explanation import Explanation
from whycluster.contract.intact import reading
from whycluster.contract.settings import (
    Count,
    CountOrZero,
    Declared,
    RandomState,
    fitting,
    setting,
)
from whycluster.gower import GowerClustering
from whycluster.imn.estimators import IMNClassifier

WHOLE = "whole"
FROZEN = "frozen"  # in a file: a setting that is the fitted estimator itself


class _Plan(NamedTuple):
    """Who is trained on what: for one seed, the rows of the whole and of each cluster."""

    whole: np.ndarray
    clusters: list[np.ndarray | None]  # None: the cluster has no model of its own
    report: pd.DataFrame
    log_rates: np.ndarray | None  # of a regressor None


class _Rated(ClassifierMixin, BaseEstimator):
    """A fitted classifier, with the base rate of the rows it learned from put back."""

    def __init__(self, model, log_rates):
        self.model = model
        self.log_rates = log_rates
        self.classes_ = model.classes_

    def predict(self, X) -> np.ndarray:
        best = self.predict_proba(X).argmax(axis=1)
        return self.classes_[best]

    def predict_proba(self, X) -> np.ndarray:
        logits = self.model.decision_function(X)
        if logits.ndim == 1:  # of the second of two classes; that of the first is 0
            logits = np.column_stack([np.zeros_like(logits), logits])
        return softmax(logits + self.log_rates, axis=1)


class ClusterwiseIMN(Declared, MetaEstimatorMixin, BaseEstimator):
    """A predictor that asks a row for its cluster, and the model of that cluster for its target.

    It is a classifier or a regressor, as `model` is.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Of a classifier.
    log_rates_ : ndarray of shape (n_clusters + 1, n_classes)
        Of a classifier: what is added to the logits of the model of the whole (first) and of the
        one that answers each cluster, to put the base rate of its rows back; -inf for a class that
        none of them has. See deviation 3 of the module.
    clusterer_, encoder_ : fitted copies
    whole_ : fitted model of all rows
    models_ : list of fitted models, one per cluster
        `whole_` itself for a cluster without a model of its own. Asked directly, models that were
        trained with class weights answer without the base rate of their rows.
    clusters_ : ndarray of shape (n_samples,)
        Cluster of each row of X; -1 where the clusterer says so, which `whole_` answers.
    report_ : DataFrame of shape (n_clusters + 1, n_classes + 2)
        For the whole and each cluster: rows of each class learned from (of a regressor: rows),
        which model answers, and why it is that of the whole.
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

    clusterer: Annotated[Any, "clusterer with predict, or None"] = setting(
        None, "Sees X as it is given. None: `GowerClustering`.", positional=True
    )
    model: Annotated[
        Any,
        "IMNClassifier, IMNRegressor, TabResNetClassifier, TabResNetRegressor or None",
    ] = setting(
        None,
        "None: `IMNClassifier` with weighted classes, as in the study.",
        positional=True,
    )
    encoder: Annotated[Any, "transformer or None"] = setting(
        None,
        """Turns X into numbers for the models: `TableEncoder` for a mixed table, whose features are
        then explained column by column. None: X is numbers of comparable scale.""",
    )
    min_rows: Count = setting(50, "A cluster with fewer rows has no model of its own.")
    min_class_rows: CountOrZero = setting(
        5,
        """Nor has one with fewer rows of any class that the table has, or with one class only. A
        regressor has no classes, and this no effect.""",
    )
    random_state: RandomState = setting(None, "Of the models; the clusterer has its own.")

    def fit(self, X, y):
        """Find the clusters of X, then learn y in each of them and on the whole.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_columns)
        y : array-like of shape (n_samples,)
            Classes, or numbers for a regressor.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If `y` cannot be learned, or a class weighs nothing.
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

    def predict(self, X, by: str = "cluster") -> np.ndarray:
        """Return the most probable class of each row, or its number: shape (n_samples,).

        `by` is as in `predict_proba`.
        """
        return self._route(X, lambda k, rows: self._rated(k).predict(rows), by)

    @available_if(is_classifier)
    def predict_proba(self, X, by: str = "cluster") -> np.ndarray:
        """Return the probability of each class, base rates included: comparable between clusters.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_columns)
        by : {"cluster", "whole"}, default="cluster"
            Who answers: the model of the row's cluster, or that of the whole.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            Each row sums to 1.
        """
        return self._route(X, lambda k, rows: self._rated(k).predict_proba(rows), by)

    def score(self, X, y, sample_weight=None) -> float:
        """Return the accuracy of a classifier, or the R² of a regressor."""
        kind = ClassifierMixin if is_classifier(self) else RegressorMixin
        return kind.score(self, X, y, sample_weight)

    def predict_cluster(self, X) -> np.ndarray:
        """Return the cluster of each row, int of shape (n_samples,); -1: none."""
        check_is_fitted(self)
        return np.asarray(self.clusterer_.predict(_as_table(X)))

    def contributions(self, X, by: str = "cluster") -> np.ndarray:
        """Return what each column adds to the logit of the row's class, by its own model.

        Measured from the mean of the rows that the model learned from, as `IMNClassifier` does:
        what sets a whole cluster apart is no reason within it. Nor is the base rate. The class
        explained is that of the model's own logits, which is the one that the row speaks for: with
        weighted classes it may be rarer than the one that `predict` names. Of a regressor, what
        each column adds to the prediction.

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
        values = self._route(X, lambda k, rows: self._model(k).explain(rows).sample, by)
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
            Of kind "contribution": logits of the class as in `contributions`, or the unit of the
            target; clusters and overall are means of absolute values over rows.
        """
        values, clusters = self.contributions(X, by), self.predict_cluster(X)
        return Explanation.from_samples(
            values, clusters, len(self.models_), self._column_names(), "contribution"
        )

    def transfer(self, X, y, scoring: str | None = None) -> pd.DataFrame:
        """Score every model, with the base rate of the rows it knows, on the rows of every cluster.

        Parameters
        ----------
        X : DataFrame or array-like of shape (n_samples, n_columns)
            Rows that no model learned from.
        y : array-like of shape (n_samples,)
        scoring : str or None, default=None
            A name that scikit-learn knows. None: "roc_auc", which takes two classes, or "r2" of a
            regressor.

        Returns
        -------
        DataFrame of shape (n_clusters + 1, n_clusters + 1)
            Rows: the models of the whole and of the clusters; columns: the rows scored. NaN where
            these rows have one class, or one number, and for a cluster without a model of its own.
        """
        encoded, clusters, y = self._encode(X), self.predict_cluster(X), np.asarray(y)
        score = get_scorer(scoring or ("roc_auc" if is_classifier(self) else "r2"))
        models: dict[str | int, Any] = {WHOLE: self._rated(-1)}
        models |= {k: self._rated(k) for k, m in enumerate(self.models_) if m is not self.whole_}
        places: dict[str | int, np.ndarray] = {WHOLE: np.full(len(y), True)}
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
            if is_classifier(own) and not hasattr(own, "log_rates_"):  # saved before they were kept
                own.log_rates_ = _log_rates(own.report_, own.classes_, own.whole_.class_weight)
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
        if is_classifier(self):
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
            with fitting(copy) as twin:
                vars(twin).update(shared)
                twin._keep(X, plan, trained)

    def _plan(self, clusters, y, rows) -> _Plan:
        """Decide which clusters get a model of their own, and say why the others do not."""
        n_clusters = clusters.max() + 1
        classes = np.unique(y) if is_classifier(self) else None
        members = [rows[clusters[rows] == k] for k in range(n_clusters)]
        reasons = [self._why_not(y[own], classes, n_clusters) for own in members]
        report = _count_rows([y[own] for own in (rows, *members)], classes)
        report["answered by"] = [WHOLE, *(WHOLE if r else "itself" for r in reasons)]
        report["because"] = ["", *reasons]
        own = [None if r else own for own, r in zip(members, reasons, strict=True)]
        if classes is None:
            return _Plan(rows, own, report, None)
        return _Plan(rows, own, report, _log_rates(report, classes, self._template().class_weight))

    def _why_not(self, y, classes, n_clusters: int) -> str:
        """Return why rows with targets `y` get no model of their own, "" if they do."""
        if n_clusters == 1:
            return "it is the only cluster"
        if len(y) < self.min_rows:
            return f"{len(y)} rows, fewer than min_rows={self.min_rows}"
        return "" if classes is None else self._why_not_classes(y, classes)

    def _why_not_classes(self, y, classes) -> str:
        """Return which class is too rare among `y`, "" if none is."""
        counts = {c: int((y == c).sum()) for c in classes}
        rarest = min(counts, key=counts.__getitem__)
        if max(counts.values()) == len(y):
            return f"all rows are of class {max(counts, key=counts.__getitem__)}"
        if counts[rarest] < self.min_class_rows:
            return f"{counts[rarest]} rows of {rarest}, below min_class_rows={self.min_class_rows}"
        return ""

    def _template(self):
        return IMNClassifier(class_weight="balanced") if self.model is None else self.model

    def __sklearn_tags__(self):
        tags, template = super().__sklearn_tags__(), get_tags(self._template())
        for name in ("estimator_type", "target_tags", "classifier_tags", "regressor_tags"):
            setattr(tags, name, getattr(template, name))
        return tags

    def _train(self, encoded, y, plans: list[_Plan], copies) -> list:
        """Train all models of all copies as one stack; in the order of plans, the whole first."""
        template, models, rows = self._template(), [], []
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
        self.report_ = plan.report
        if plan.log_rates is not None:
            self.classes_, self.log_rates_ = self.whole_.classes_, plan.log_rates
        self.n_features_in_ = X.shape[1]
        if isinstance(X, pd.DataFrame) and all(isinstance(name, str) for name in X.columns):
            self.feature_names_in_ = X.columns.to_numpy(dtype=object)

    # Answers

    def _encode(self, X):
        check_is_fitted(self)
        return _as_table(X) if self.encoder_ is None else self.encoder_.transform(X)

    def _route(self, X, answer, by: str = "cluster") -> np.ndarray:
        """Return ``answer(k, rows)`` for all rows, k the cluster of the rows or -1, the whole."""
        if by not in ("cluster", WHOLE):
            raise ValueError(f"by={by!r} is neither 'cluster' nor 'whole'")
        encoded = self._encode(X)
        if by == WHOLE:
            return answer(-1, encoded)
        clusters = self.predict_cluster(X)
        parts = {k: np.flatnonzero(clusters == k) for k in np.unique(clusters)}
        answers = [answer(k, _safe_indexing(encoded, own)) for k, own in parts.items()]
        back = np.argsort(np.concatenate([*parts.values()]), kind="stable")
        return np.concatenate(answers)[back]

    def _model(self, k: int):
        """Return the model that answers cluster `k`; -1: that of the whole."""
        return self.whole_ if k < 0 else self.models_[k]

    def _rated(self, k: int):
        """Return the same with its base rate put back, if it has classes."""
        model = self._model(k)
        return _Rated(model, self.log_rates_[k + 1]) if is_classifier(self) else model

    def _column_names(self):
        if self.encoder_ is not None:
            return self.encoder_.used_
        return getattr(self, "feature_names_in_", None)


def _as_table(X):
    """Return a DataFrame as it is, anything else as an array of numbers."""
    return X if isinstance(X, pd.DataFrame) else check_array(X, dtype=np.float64)


def _count_rows(targets, classes) -> pd.DataFrame:
    """Count the targets of the whole and of each cluster, by class if there are classes."""
    index = [WHOLE, *range(len(targets) - 1)]
    if classes is None:
        return pd.DataFrame({"rows": [len(y) for y in targets]}, index=index)
    counts = [[(y == c).sum() for c in classes] for y in targets]
    return pd.DataFrame(counts, index=index, columns=[f"rows of {c}" for c in classes])


def _log_rates(report: pd.DataFrame, classes: np.ndarray, class_weight) -> np.ndarray:
    """Return log(1 / weight) of each class, by the rows of the model that answers each line."""
    counts = report.iloc[:, : len(classes)].to_numpy(dtype=int)
    counts = np.where((report["answered by"] == WHOLE).to_numpy()[:, None], counts[0], counts)
    rates = np.full(counts.shape, -np.inf)
    for rate, count in zip(rates, counts, strict=True):
        rate[count > 0] = -np.log(_weights(classes[count > 0], count[count > 0], class_weight))
    return rates


def _weights(classes, counts, class_weight) -> np.ndarray:
    """Return the weights with which classes of so many rows were learned; raise if one is 0."""
    target = np.repeat(classes, counts)
    weights = compute_class_weight(class_weight, classes=classes, y=target)
    if weights.min() <= 0:
        raise ValueError(
            f"class_weight gives {classes.tolist()[weights.argmin()]!r} the weight "
            f"{weights.min():g}, which leaves no probability to tell; give every class one above 0"
        )
    return weights


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
