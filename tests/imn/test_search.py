"""Search: it goes on where it was killed, ends the same, and never sees the rows set apart."""

import numpy as np
import pytest
from sklearn.datasets import make_classification

from whycluster import IMNClassifier, IMNRegressor, TabResNetClassifier
from whycluster.imn import search as search_module
from whycluster.imn.search import SPACE, search

MODEL = IMNClassifier(hidden_units=8, n_blocks=0, max_epochs=6, warmup_epochs=1, device="cpu")
RANGES = {"max_epochs": (5, 8), "learning_rate": (1e-3, 1e-1, "log"), "batch_size": [32, 64]}
X, y = make_classification(140, n_features=4, flip_y=0.2, random_state=0)


def run(n_trials, storage=None, **options):
    return search(MODEL, X, y, n_trials=n_trials, space=RANGES, storage=storage, **options)


@pytest.fixture(scope="module")
def unbroken():
    return run(4)


def test_the_first_trial_is_the_model_as_it_is(unbroken):
    first = unbroken.trials.iloc[0]
    assert (first["max_epochs"], first["learning_rate"], first["batch_size"]) == (6, 0.01, 64)


def test_settings_stay_in_their_ranges_and_the_best_is_told(unbroken):
    trials = unbroken.trials
    assert trials["max_epochs"].between(5, 8).all()
    assert trials["learning_rate"].between(1e-3, 1e-1).all()
    assert unbroken.score == trials["score"].max()
    best = trials.loc[trials["score"].idxmax()]
    assert {name: best[name] for name in RANGES} == unbroken.settings


def test_a_killed_search_ends_as_if_it_had_not_been(unbroken, tmp_path, monkeypatch):
    path = tmp_path / "search.db"
    run(2, path)
    score = search_module._score

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(search_module, "_score", killed)
    with pytest.raises(KeyboardInterrupt):
        run(4, path)
    monkeypatch.setattr(search_module, "_score", score)
    assert run(4, path).trials.equals(unbroken.trials)


def test_a_finished_search_trains_nothing(tmp_path, monkeypatch):
    path = tmp_path / "search.db"
    first = run(1, path)
    monkeypatch.setattr(search_module, "_score", None)
    assert run(1, path).settings == first.settings


@pytest.mark.parametrize("change", [{"random_state": 1}, {"valid_share": 0.5}])
def test_a_search_with_other_settings_is_not_mixed_in(tmp_path, change):
    path = tmp_path / "search.db"
    run(1, path)
    with pytest.raises(ValueError, match="holds a search with other data or settings"):
        run(1, path, **change)


def test_rows_set_apart_are_not_learnt_from(monkeypatch):
    seen = []

    def spy(self, X, seeds, *, y, rows):
        seen.extend(rows)
        return [self.fit(X[:20], y[:20]) for _ in rows]

    monkeypatch.setattr(IMNClassifier, "fit_seeds", spy)
    groups = [np.arange(70), np.arange(70, 140)]
    run(1, groups=groups)
    for own, group in zip(seen, groups, strict=True):
        assert set(own) < set(group)
        assert len(own) == 60


def test_settings_at_which_training_diverges_are_worst(monkeypatch):
    def diverge(*_, **__):
        raise FloatingPointError("training diverged")

    monkeypatch.setattr(IMNClassifier, "fit_seeds", diverge)
    with pytest.raises(ValueError, match="training diverged in every trial"):
        run(2)


def test_the_published_space_fits_each_model():
    assert search_module._space(IMNClassifier()) == SPACE
    for model in (TabResNetClassifier(), IMNRegressor()):
        assert set(search_module._space(model)) <= set(model.get_params())
    assert "weight_penalty" not in search_module._space(TabResNetClassifier())
