"""IMN: interpretable mesomorphic networks, linear in each row and deep over all of them.

A residual network reads a row and writes the weights of a linear model for that row: what each
feature adds to the answer is its weight times its value, and no more is needed to explain it.
TabResNet is the same residual network with an answer of its own, and without an explanation.

Kadra, Pineda Arango, Grabocka (2024). Interpretable Mesomorphic Networks for Tabular Data. NeurIPS.
The constants are those of the released code.

=============  ===================  ===========================================================
paper          code                 shape
=============  ===================  ===========================================================
x - μ          ``x``                (n_models, batch, n_features), see deviation 8
w(x; θ)        ``w``                (n_models, batch, n_outputs, n_features + 1), intercept last
z(x)           ``output``           (n_models, batch, n_outputs): logits, or predictions
λ ‖w(x; θ)‖₁   ``weight_penalty``   one value per model
=============  ===================  ===========================================================

The objective is the loss of z(x) = Σ_m w_m (x_m - μ_m) + w_0 plus λ times the mean absolute
weight.

Deviations from the paper and its code
--------------------------------------
1. Snapshots are averaged in logits, not in probabilities, so that the averaged weights are an exact
   explanation of what is predicted; the code explains the last snapshot alone. On Telco churn, 24
   epochs, three splits, test AUROC is the same to the fourth decimal: 0.8461, 0.8169, 0.8540.
2. The cosine cycles share the epochs after the warm-up, so each snapshot is taken where its rate is
   lowest. In the code the warm-up delays the cycles and not the snapshots, which are taken five
   epochs before.
3. The learning rate changes once per epoch, to its value in the middle of the epoch.
4. Every batch is full: the last one of an epoch is filled up with rows from its beginning. Models
   with different numbers of rows then train as one stack, and no batch is so small that its
   statistics mean nothing.
5. Contributions leave the intercept apart; the code drops it and then calls the rest the weights.
6. Two classes have one output. Weights of classes (the code's fork: the ratio of the classes) have
   mean 1 over rows, so that λ keeps its meaning.
7. Targets of a regression are standardised within.
8. Each model measures features from their mean μ over its own rows. In the paper μ is 0, which is
   the same where features were standardised on these rows. In a cluster they were not: a column
   that sets the cluster apart lies far from 0 and hardly varies. It serves as the intercept, more
   cheaply under the L1 penalty than w_0, and its weight bears what other columns drive. Measured
   with and without (`center`):

   - Where one column decides and another lies at 4, weight times input puts the other one first
     in 5 seeds of 5; here in none.
   - Rank correlation with SHAP: 0.23 and -0.15 in two clusters with planted drivers, here 0.98 and
     0.94; 0.53 to 0.70 in the four clusters of Telco churn, here 0.79 to 0.98.
   - Share of the logit's variance that w_0 bears, and no feature: at most 2.2 % on Telco churn.
     Without, it is small too, but 16 to 37 % where only the explanation is centred and not the
     model, which is why the model is.
   - Test AUROC of the whole and by clusters: Telco churn 0.846 and 0.803, here 0.846 and 0.812
     (3 seeds); German credit 0.780 and 0.718, here 0.785 and 0.711 (3 seeds); heart disease 0.888
     and 0.897, here 0.885 and 0.881 (4 seeds).
9. The last layer of a regressor starts at zero, and so do all weights of the linear models. Random
   ones err by many times the target's spread where features are collinear, since their errors add
   up, and dropout makes new ones in every step. One column of scikit-learn's breast cancer from the
   29 others, three columns, two splits, 40 epochs: test R² -0.20 to 0.59, here 0.54 to 0.77; 160
   epochs, 0.86 to 0.90 (two columns), here 0.93 to 0.98; 40 epochs without dropout, 0.50 to 0.85,
   here 0.88 to 0.98. Small tables want many epochs, a lower learning rate or less dropout.
"""

from numbers import Integral, Real
from typing import NamedTuple

import numpy as np
import torch
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.utils import column_or_1d
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _num_samples, check_consistent_length, check_is_fitted
from torch import Tensor, nn
from torch.nn import functional as F

from whycluster.contract import validation
from whycluster.contract.explanation import Explanation
from whycluster.contract.mixins import Differentiable
from whycluster.imn import augmentation as augmentations
from whycluster.imn import network, phases
from whycluster.imn.network import Contributing, Direct, Ensemble, Mesomorphic
from whycluster.imn.phases import Task, Training
from whycluster.training import losses
from whycluster.training.device import resolve_device
from whycluster.training.loop import History
from whycluster.training.stack import StackedEstimator, evaluate
from whycluster.training.streams import Streams


class Contributions(NamedTuple):
    """What each feature adds to each output of each row.

    Attributes
    ----------
    values : ndarray of shape (n_samples, n_outputs, n_features)
        Weight times input, from the mean of the rows learned from: logits, or the unit of the
        target. Two classes have one output, the logit of the second.
    intercept : ndarray of shape (n_samples, n_outputs)
        The sum of the values and the intercept is the output. It differs between rows.
    """

    values: np.ndarray
    intercept: np.ndarray


class _ResidualNet(Differentiable, StackedEstimator):
    """What IMN and TabResNet share: settings, rows, training. Subclasses say what is answered."""

    _parameter_constraints = {  # noqa: RUF012
        "hidden_units": [Interval(Integral, 1, None, closed="left")],
        "n_blocks": [Interval(Integral, 0, None, closed="left")],
        "dropout": [Interval(Real, 0, 1, closed="left")],
        "max_epochs": [Interval(Integral, 1, None, closed="left")],
        "warmup_epochs": [Interval(Integral, 0, None, closed="left")],
        "n_cycles": [Interval(Integral, 1, None, closed="left")],
        "cycle_multiplier": [Interval(Integral, 1, None, closed="left")],
        "batch_size": [Interval(Integral, 2, None, closed="left")],
        "learning_rate": [Interval(Real, 0, None, closed="neither")],
        "weight_decay": [Interval(Real, 0, None, closed="left")],
        "augmentation": [Interval(Real, 0, 1, closed="both")],
        "precision": [StrOptions({"highest", "high", "medium"})],
    }
    _sources = tuple(part.__file__ for part in (augmentations, network, phases))
    _is_mesomorphic = False
    _decided_by = "output"
    _is_centered = True
    _starts_at_zero = False

    def fit(self, X, y):
        """Learn to predict `y`.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_samples, n_features)
            Numbers of comparable scale.
        y : array-like of shape (n_samples,)
            Classes, or numbers for a regressor.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If `X` or `y` has missing or infinite values, or `y` has one class.
        """
        self._fit_stack(X, [self], y=y)
        return self

    # Training, for a stack of models

    def _fit_stack(self, X, models, y=None, rows=None) -> None:
        """Train `models` on their own `rows`: index arrays, one for each; None: all rows."""
        n_samples = _num_samples(X)
        rows = [np.arange(n_samples)] * len(models) if rows is None else list(rows)
        if len(rows) != len(models):
            raise ValueError(f"rows has {len(rows)} entries for {len(models)} models")
        order = sorted(range(len(models)), key=lambda i: -len(rows[i]))
        super()._fit_stack(X, [models[i] for i in order], y=y, rows=[rows[i] for i in order])

    def _check_settings(self) -> None:
        super()._check_settings()
        n_epochs = self.max_epochs - self.warmup_epochs
        if n_epochs < self.n_cycles:
            raise ValueError(
                f"max_epochs={self.max_epochs} leaves {max(n_epochs, 0)} epochs after the warm-up "
                f"for {self.n_cycles} cycles; lower warmup_epochs or n_cycles, or train longer"
            )

    def _validate(self, X, y, rows) -> Task:
        if y is None:
            name = type(self).__name__
            raise ValueError(f"{name} requires y to be passed, but the target y is None")
        X_ = validation.check_rows(self, X)
        check_consistent_length(X, y)
        return Task(X_, self._encode_target(column_or_1d(y, warn=True), rows), rows)

    def _train(self, data: Task, seeds: list[int]) -> tuple[Ensemble, History]:
        """Train one model per seed, as one phase."""
        device = resolve_device(self.device)
        streams = Streams(seeds, device)
        network = self._build(streams).to(device)
        run = Training(self, network, data, streams).run
        content = np.concatenate([np.ravel(part) for part in (data.X, data.target, *data.rows)])
        keep = self._checkpoint(content, seeds)
        rows = [("training", self.max_epochs, run)]
        history = self._run_phases(rows, network, streams, keep)
        return network.cpu().eval(), history

    def _build(self, streams: Streams) -> Ensemble:
        sizes = (self.n_features_in_, self._n_outputs, self.hidden_units, self.n_blocks)
        kind = Mesomorphic if self._is_mesomorphic else Direct
        network = kind(*sizes, self.dropout, streams)
        if self._starts_at_zero:
            nn.init.zeros_(network.exit.weight)
            nn.init.zeros_(network.exit.bias)
        return Ensemble(network, self.n_cycles)

    def _describe(self, data: Task) -> None:
        """Nothing to add: what describes the result was learnt from y."""

    def _explanation(self, X, values: np.ndarray, kind: str) -> Explanation:
        """Explain rows by the values (n_samples, n_outputs, n_features) of their own class."""
        values = self._by_class(values)
        sample = values[np.arange(len(values)), self._own_class(X)]
        names = getattr(self, "feature_names_in_", None)
        cluster, overall = np.abs(values).mean(axis=0), np.abs(sample).mean(axis=0)
        return Explanation(sample, cluster, overall, names, kind)

    def _output(self, X) -> np.ndarray:
        """Return logits or predictions, (n_samples, n_outputs)."""
        return self._evaluate(X)["output"]


class _Explained:
    """What the linear models of the rows tell; for estimators whose network is mesomorphic."""

    _is_mesomorphic = True

    def contributions(self, X) -> Contributions:
        """Return what each feature adds to each output of each row.

        The mean over snapshots of weight times what the input differs from its mean over the rows
        learned from (from 0 unless `center`). The sum with the intercept is exactly what
        `decision_function`, or `predict` of a regressor, returns.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_samples, n_features)

        Returns
        -------
        Contributions
        """
        check_is_fitted(self)
        parts = evaluate(Contributing(self.network_), validation.check_predict(self, X))
        return Contributions(parts["values"], parts["intercept"])

    def explain(self, X) -> Explanation:
        """Say which features drive the answer for each row, each class and all rows.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_samples, n_features)

        Returns
        -------
        Explanation
            Of kind "contribution". `sample`: what each feature adds to the logit of the predicted
            class, or to the prediction. `cluster`: for each class (a regressor has one line), the
            mean over rows of what it adds to the logit of that class, as an absolute value.
            `overall`: the mean absolute value of `sample`.
        """
        return self._explanation(X, self.contributions(X).values, "contribution")

    @property
    def _is_centered(self) -> bool:
        return self.center


class _Attributed:
    """An explanation after the fact, for estimators whose network is not mesomorphic."""

    def explain(self, X, n_steps: int = 50) -> Explanation:
        """Attribute the answer to features by integrated gradients.

        The path starts at the mean of the rows learned from, where IMN too has nothing to explain.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_samples, n_features)
        n_steps : int, at least 1
            Points on the path.

        Returns
        -------
        Explanation
            Of kind "attribution"; levels as in `IMNClassifier.explain`.
        """
        from captum.attr import IntegratedGradients  # here, since predictions do without

        check_is_fitted(self)
        rows = torch.from_numpy(validation.check_predict(self, X))
        attribute = IntegratedGradients(self.decision_module()).attribute
        start, options = self.network_.center[0], {"n_steps": n_steps, "internal_batch_size": 4096}
        columns = [
            attribute(rows, start, target=j, **options).numpy() for j in range(self._n_outputs)
        ]
        return self._explanation(X, np.stack(columns, axis=1), "attribution")


class _Classifier(ClassifierMixin):
    """Classes: logits, cross-entropy, weights."""

    def predict(self, X) -> np.ndarray:
        """Return the class of each row, shape (n_samples,)."""
        own = self._own_class(X)
        return self.classes_[own]

    def predict_proba(self, X) -> np.ndarray:
        """Return the probability of each class, shape (n_samples, n_classes)."""
        logits = torch.from_numpy(self._output(X))
        logits = F.pad(logits, (1, 0)) if self._n_outputs == 1 else logits
        return torch.softmax(logits, dim=1).numpy()

    def decision_function(self, X) -> np.ndarray:
        """Return logits: (n_samples,) of the second of two classes, else (n_samples, n_classes)."""
        output = self._output(X)
        return output if self._n_outputs > 1 else output[:, 0]

    @property
    def _n_outputs(self) -> int:
        return 1 if len(self.classes_) == 2 else len(self.classes_)

    def _encode_target(self, y, rows) -> np.ndarray:
        check_classification_targets(y)
        self.classes_, codes = np.unique(y, return_inverse=True)
        for own in rows:
            present = np.unique(codes[own])
            if len(present) < 2:
                name = self.classes_.tolist()[present[0]]
                raise ValueError(
                    f"y has one class, {name!r}, in the {len(own)} rows to learn from; "
                    "a classifier needs two classes or more"
                )
        return np.eye(len(self.classes_), dtype=np.float32)[codes]

    def _own_class(self, X) -> np.ndarray:
        output = self._output(X)
        return (output[:, 0] > 0).astype(int) if self._n_outputs == 1 else output.argmax(axis=1)

    def _by_class(self, values: np.ndarray) -> np.ndarray:
        """Return (n_samples, n_classes, ...); of two classes the first is minus the second."""
        return np.concatenate([-values, values], axis=1) if self._n_outputs == 1 else values

    def _scale_of(self, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return offset and scale of the outputs: logits are as they are."""
        return np.zeros(1), np.ones(1)

    def _weights_of(self, target: np.ndarray) -> np.ndarray:
        """Return the weight of each class among rows; classes that are absent weigh nothing."""
        codes = target.argmax(axis=1)
        present = np.unique(codes)
        weights = np.zeros(len(self.classes_), dtype=np.float32)
        weights[present] = compute_class_weight(
            self.class_weight, classes=self.classes_[present], y=self.classes_[codes]
        )
        return weights

    def _loss(self, output: Tensor, target: Tensor, weight: Tensor) -> dict[str, Tensor]:
        logits = F.pad(output, (1, 0)) if self._n_outputs == 1 else output
        return {"cross-entropy": losses.cross_entropy(logits, target, weight)}


class _Regressor(RegressorMixin):
    """Numbers: standardised within, squared error."""

    _n_outputs = 1

    def predict(self, X) -> np.ndarray:
        """Return the prediction for each row, float32 of shape (n_samples,)."""
        return self._output(X)[:, 0]

    def _encode_target(self, y, rows) -> np.ndarray:
        target = np.array(y, dtype=np.float64)  # a copy: pandas lends read-only memory
        if not np.isfinite(target).all():
            row = int(np.argmin(np.isfinite(target)))
            raise ValueError(f"y contains {target[row]} in row {row}; drop such rows first")
        return target[:, None]

    def _own_class(self, X) -> np.ndarray:
        return np.zeros(_num_samples(X), dtype=int)

    def _by_class(self, values: np.ndarray) -> np.ndarray:
        return values

    def _scale_of(self, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        spread = target.std(axis=0)
        return target.mean(axis=0), np.where(spread > 0, spread, 1.0)

    def _weights_of(self, target: np.ndarray) -> np.ndarray:
        return np.ones(1, dtype=np.float32)

    def _loss(self, output: Tensor, target: Tensor, weight: Tensor) -> dict[str, Tensor]:
        return {"squared error": losses.reconstruction_error(output, target)}


class IMNClassifier(_Classifier, _Explained, _ResidualNet):
    """A linear model for every row, written by a residual network: classes and why.

    Expects features of comparable scale: standardise them first, and encode categories as 0 and 1.

    Parameters
    ----------
    weight_penalty : float, default=0.1
        λ, the weight of the mean absolute weight (L1).
    center : bool, default=True
        Measure features from their mean over the rows learned from. False: from 0, as published;
        the same where features have mean 0 in these rows.
    class_weight : {"balanced"}, dict or None, default=None
        As in scikit-learn; "balanced" weighs classes by the inverse of their number of rows, as
        the per-cluster study does.
    hidden_units : int, default=128
        Width of the residual network.
    n_blocks : int, default=2
        Residual blocks of two layers.
    dropout : float in [0, 1), default=0.25
        In steps of 1/256.
    max_epochs : int, default=500
        Warm-up included.
    warmup_epochs : int, default=5
        Over which the learning rate rises from 0.
    n_cycles : int, default=3
        Cosine cycles of the learning rate; a snapshot is kept at the end of each.
    cycle_multiplier : int, default=2
        Length of a cycle in lengths of the one before.
    batch_size : int, default=64
    learning_rate, weight_decay : float, default=0.01, 0.01
        Adam.
    augmentation : float in [0, 1], default=0
        Probability with which a batch is changed, see `whycluster.imn.augmentation`.
    random_state : int, RandomState or None, default=None
    device : str, default="auto"
    precision : {"highest", "high", "medium"}, default="highest"
        Float32 matrix products, see `torch.set_float32_matmul_precision`.
    checkpoint : path or None, default=None
        Folder for finished fits: one that was finished is not repeated.
    verbose : int, default=0
        1: a progress bar.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    history_ : dict of str to ndarray of shape (max_epochs,)
        "training/loss": mean of each loss per epoch.
    fit_seconds_ : float
        Time that training took, for all models of the stack together.

    References
    ----------
    Kadra, Pineda Arango, Grabocka (2024); Huang et al. (2017), Snapshot Ensembles.

    Examples
    --------
    >>> from sklearn.datasets import make_classification
    >>> X, y = make_classification(200, n_features=4, random_state=0)
    >>> imn = IMNClassifier(max_epochs=20, random_state=0).fit(X, y)
    >>> parts = imn.contributions(X)
    >>> parts.values.shape
    (200, 1, 4)
    >>> logits = parts.values.sum(axis=2) + parts.intercept
    >>> bool(np.allclose(logits[:, 0], imn.decision_function(X), atol=1e-5))
    True
    """

    _parameter_constraints = _ResidualNet._parameter_constraints | {
        "weight_penalty": [Interval(Real, 0, None, closed="left")],
        "center": ["boolean"],
        "class_weight": [StrOptions({"balanced"}), dict, None],
    }

    def __init__(
        self,
        *,
        weight_penalty=0.1,
        center=True,
        class_weight=None,
        hidden_units=128,
        n_blocks=2,
        dropout=0.25,
        max_epochs=500,
        warmup_epochs=5,
        n_cycles=3,
        cycle_multiplier=2,
        batch_size=64,
        learning_rate=0.01,
        weight_decay=0.01,
        augmentation=0.0,
        random_state=None,
        device="auto",
        precision="highest",
        checkpoint=None,
        verbose=0,
    ):
        _assign(self, locals())


class IMNRegressor(_Regressor, _Explained, _ResidualNet):
    """A linear model for every row, written by a residual network: a number and why.

    Parameters
    ----------
    weight_penalty, center, hidden_units, n_blocks, dropout, max_epochs, warmup_epochs, n_cycles, \
    cycle_multiplier, batch_size, learning_rate, weight_decay, augmentation, random_state, device, \
    precision, checkpoint, verbose
        As in `IMNClassifier`.

    Attributes
    ----------
    history_, fit_seconds_
        As in `IMNClassifier`.

    Examples
    --------
    >>> from sklearn.datasets import make_regression
    >>> X, y = make_regression(200, n_features=4, random_state=0)
    >>> imn = IMNRegressor(max_epochs=20, random_state=0).fit(X, y)
    >>> parts = imn.contributions(X)
    >>> sums = (parts.values.sum(axis=2) + parts.intercept)[:, 0]
    >>> bool(np.allclose(sums, imn.predict(X), rtol=1e-4, atol=1e-3))
    True
    """

    _starts_at_zero = True
    _parameter_constraints = _ResidualNet._parameter_constraints | {
        "weight_penalty": [Interval(Real, 0, None, closed="left")],
        "center": ["boolean"],
    }

    def __init__(
        self,
        *,
        weight_penalty=0.1,
        center=True,
        hidden_units=128,
        n_blocks=2,
        dropout=0.25,
        max_epochs=500,
        warmup_epochs=5,
        n_cycles=3,
        cycle_multiplier=2,
        batch_size=64,
        learning_rate=0.01,
        weight_decay=0.01,
        augmentation=0.0,
        random_state=None,
        device="auto",
        precision="highest",
        checkpoint=None,
        verbose=0,
    ):
        _assign(self, locals())


class TabResNetClassifier(_Classifier, _Attributed, _ResidualNet):
    """The residual network of IMN with class logits of its own: as deep, and not interpretable.

    `explain` answers after the fact, by integrated gradients.

    Parameters
    ----------
    class_weight, hidden_units, n_blocks, dropout, max_epochs, warmup_epochs, n_cycles, \
    cycle_multiplier, batch_size, learning_rate, weight_decay, augmentation, random_state, device, \
    precision, checkpoint, verbose
        As in `IMNClassifier`.

    Attributes
    ----------
    classes_, history_, fit_seconds_
        As in `IMNClassifier`.
    """

    _parameter_constraints = _ResidualNet._parameter_constraints | {
        "class_weight": [StrOptions({"balanced"}), dict, None],
    }

    def __init__(
        self,
        *,
        class_weight=None,
        hidden_units=128,
        n_blocks=2,
        dropout=0.25,
        max_epochs=500,
        warmup_epochs=5,
        n_cycles=3,
        cycle_multiplier=2,
        batch_size=64,
        learning_rate=0.01,
        weight_decay=0.01,
        augmentation=0.0,
        random_state=None,
        device="auto",
        precision="highest",
        checkpoint=None,
        verbose=0,
    ):
        _assign(self, locals())


class TabResNetRegressor(_Regressor, _Attributed, _ResidualNet):
    """The residual network of IMN with a number as its answer: as deep, and not interpretable.

    `explain` answers after the fact, by integrated gradients.

    Parameters
    ----------
    hidden_units, n_blocks, dropout, max_epochs, warmup_epochs, n_cycles, cycle_multiplier, \
    batch_size, learning_rate, weight_decay, augmentation, random_state, device, precision, \
    checkpoint, verbose
        As in `IMNClassifier`.

    Attributes
    ----------
    history_, fit_seconds_
        As in `IMNClassifier`.
    """

    def __init__(
        self,
        *,
        hidden_units=128,
        n_blocks=2,
        dropout=0.25,
        max_epochs=500,
        warmup_epochs=5,
        n_cycles=3,
        cycle_multiplier=2,
        batch_size=64,
        learning_rate=0.01,
        weight_decay=0.01,
        augmentation=0.0,
        random_state=None,
        device="auto",
        precision="highest",
        checkpoint=None,
        verbose=0,
    ):
        _assign(self, locals())


def _assign(estimator, settings: dict) -> None:
    """Keep the arguments of a constructor, as they are."""
    for name, value in settings.items():
        if name not in ("self", "__class__"):
            setattr(estimator, name, value)
