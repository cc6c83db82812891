"""Search for settings of IMN and TabResNet by Optuna, on rows set apart, and resumable.

The spaces are the published ones (Kadra et al., 2024). Every trial trains one model per group of
rows, all of them as one stack, on seven eighths or so of the group, and is worth the mean score on
the rest. What is found should then be trained on all rows of the group.

Deviations from the released code
---------------------------------
1. A killed search goes on where it stopped, and ends as if it had never been killed: finished
   trials are in an SQLite file, trial n draws from a sampler seeded with n, and a trial that was
   cut off is run again.
2. Explanations are not computed in every trial.
3. Where a study is resumed with other data or settings, it says so; it does not mix them.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from sklearn.base import clone, is_classifier
from sklearn.metrics import get_scorer
from sklearn.model_selection import train_test_split
from sklearn.utils import _safe_indexing

from whycluster.training.checkpoint import binding_settings, digest

SPACE = {
    "max_epochs": (10, 500),
    "learning_rate": (1e-5, 1e-1, "log"),
    "batch_size": [32, 64, 128, 256, 512],
    "weight_decay": (1e-5, 1e-1, "log"),
    "weight_penalty": (1e-5, 1e-1, "log"),
    "dropout": (0.0, 0.5),
}
FINGERPRINT = "fingerprint"


class Found(NamedTuple):
    """What a search found.

    Attributes
    ----------
    settings : dict
        Of the best trial; ``model.set_params(**settings)``.
    score : float
        Mean over groups on rows set apart.
    trials : DataFrame
        One line per finished trial: score and settings.
    """

    settings: dict
    score: float
    trials: pd.DataFrame


def search(
    model,
    X,
    y,
    *,
    groups: Sequence[np.ndarray] | None = None,
    n_trials: int = 100,
    space: Mapping | None = None,
    valid_share: float = 1 / 7,
    scoring: str | None = None,
    storage: str | Path | None = None,
    random_state: int = 0,
) -> Found:
    """Try settings; the first trial is `model` as it is.

    Parameters
    ----------
    model : IMNClassifier, IMNRegressor, TabResNetClassifier or TabResNetRegressor
        Settings outside the space stay as they are.
    X : DataFrame or array of shape (n_samples, n_features)
    y : array-like of shape (n_samples,)
    groups : sequence of int arrays, optional
        Rows of each group, such as the training rows of each cluster; None: one group of all rows.
        One setting is sought for all.
    n_trials : int, at least 1, default=100
        Trials in all, those of earlier calls included.
    space : mapping, optional
        Setting to (low, high), (low, high, "log"), both ends whole for whole numbers, or a list of
        choices. None: `SPACE`, without what `model` does not have.
    valid_share : float in (0, 1), default=1/7
        Of each group, set apart; the published 12.5 % of all rows where the group is 87.5 %.
    scoring : str, optional
        A name that scikit-learn knows. None: "roc_auc", or "r2" of a regressor.
    storage : path, optional
        SQLite file in which trials are kept; None: memory.
    random_state : int, default=0
        Of the splits, the models and the sampler.

    Returns
    -------
    Found

    Raises
    ------
    ValueError
        If the file holds a search with other data or settings, or all trials failed.
    """
    import optuna  # here, since it takes a second and only a search needs it

    space = _space(model) if space is None else dict(space)
    groups = [np.arange(len(y))] if groups is None else list(groups)
    splits = _split(np.asarray(y), groups, valid_share, is_classifier(model), random_state)
    scorer = get_scorer(scoring or ("roc_auc" if is_classifier(model) else "r2"))
    start = {name: getattr(model, name) for name in space}
    study = _open(storage, _identity(model, X, y, splits, space, scoring, random_state), start)
    while (number := len(_finished(study))) < n_trials:
        study.sampler = optuna.samplers.TPESampler(seed=random_state + number)
        trial = study.ask()
        settings = {name: _suggest(trial, name, values) for name, values in space.items()}
        tried = clone(model).set_params(**settings)
        study.tell(trial, _score(tried, X, y, splits, scorer, random_state))
    return _summary(study)


def _space(model) -> dict:
    """Return the published space, without what `model` does not have."""
    known = model.get_params()
    return {name: values for name, values in SPACE.items() if name in known}


def _split(y, groups, valid_share, is_stratified, random_state) -> list[tuple]:
    """Return (training rows, rows set apart) of each group."""
    return [
        train_test_split(
            own,
            test_size=valid_share,
            stratify=y[own] if is_stratified else None,
            random_state=random_state,
        )
        for own in groups
    ]


def _score(model, X, y, splits, scorer, random_state: int) -> float:
    """Return the mean score of one model per split on the rows set apart."""
    y = np.asarray(y)
    rows = [train for train, _ in splits]
    try:
        models = model.fit_seeds(X, [random_state] * len(rows), y=y, rows=rows)
    except FloatingPointError:
        return -np.inf  # settings at which training diverges are the worst, and are remembered
    judged = zip(models, (valid for _, valid in splits), strict=True)
    return float(np.mean([scorer(m, _safe_indexing(X, valid), y[valid]) for m, valid in judged]))


def _suggest(trial, name: str, values):
    if isinstance(values, list):
        return trial.suggest_categorical(name, values)
    low, high, *scale = values
    if isinstance(low, int) and isinstance(high, int):
        return trial.suggest_int(name, low, high, log=bool(scale))
    return trial.suggest_float(name, low, high, log=bool(scale))


# --- the study on disk -----------------------------------------------------------------------


def _open(storage, identity: str, start: dict):
    """Open or create a study; its next trials are those cut off, or `start` if it is new."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        storage=None if storage is None else f"sqlite:///{Path(storage)}",
        study_name="settings",
        direction="maximize",
        load_if_exists=True,
    )
    if study.user_attrs.get(FINGERPRINT, identity) != identity:
        raise ValueError(
            f"{storage} holds a search with other data or settings; name another file, or delete it"
        )
    if FINGERPRINT not in study.user_attrs:
        study.set_user_attr(FINGERPRINT, identity)
        study.enqueue_trial(start)
    _run_again(study)
    return study


def _run_again(study) -> None:
    """Close the trials that were cut off, and put their settings first in the queue."""
    from optuna.trial import TrialState

    for trial in study.get_trials(states=[TrialState.RUNNING]):
        study.tell(trial.number, state=TrialState.FAIL)
        if trial.params:
            study.enqueue_trial(trial.params)


def _finished(study) -> list:
    from optuna.trial import TrialState

    return study.get_trials(states=[TrialState.COMPLETE])


def _identity(model, X, y, splits, space, scoring, random_state: int) -> str:
    """Return what two calls must share to be one search."""
    settings = {name: v for name, v in binding_settings(model).items() if name not in space}
    rows = np.concatenate([np.ravel(rows) for split in splits for rows in split])
    content = pd.util.hash_array(np.concatenate([np.ravel(np.asarray(X, dtype=float)), rows]))
    targets = pd.util.hash_array(np.asarray(y, dtype=object))
    described = [type(model).__name__, settings, space, scoring]
    return digest((described, content, targets, random_state))


def _summary(study) -> Found:
    finished = _finished(study)
    if not any(np.isfinite(trial.value) for trial in finished):
        raise ValueError("training diverged in every trial; scale the features first")
    trials = pd.DataFrame([{"score": trial.value, **trial.params} for trial in finished])
    return Found(study.best_params, study.best_value, trials)
