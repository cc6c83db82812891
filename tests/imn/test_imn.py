"""IMN: its explanation is its prediction, a stack equals its members, and bad input is named."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.datasets import load_breast_cancer, make_classification
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split

from whycluster import IMNClassifier, IMNRegressor, TabResNetClassifier, TabResNetRegressor
from whycluster.imn import phases
from whycluster.imn.heads import Classes
from whycluster.training.streams import Streams

SMALL = dict(hidden_units=16, n_blocks=1, max_epochs=12, warmup_epochs=1, device="cpu")
NAMES = ["age", "income", "height", "noise_a", "noise_b"]


def table(n_samples=240, n_classes=2, seed=0):
    """Income decides, age turns its sign around; the rest is noise."""
    rng = np.random.default_rng(seed)
    X = pd.DataFrame(rng.normal(size=(n_samples, 5)), columns=NAMES)
    score = X["income"] * np.sign(X["age"])
    return X, np.digitize(score, np.linspace(-1, 1, n_classes - 1) if n_classes > 2 else [0])


@pytest.fixture(scope="module", params=[2, 3], ids=["two classes", "three classes"])
def classified(request):
    X, y = table(n_classes=request.param)
    return X, y, IMNClassifier(random_state=0, **SMALL).fit(X, y)


class TestExplanation:
    def test_contributions_and_intercept_are_the_logit(self, classified):
        X, _, model = classified
        parts = model.contributions(X)
        logits = parts.values.sum(axis=2) + parts.intercept
        np.testing.assert_allclose(
            logits.squeeze(), model.decision_function(X), rtol=1e-5, atol=1e-5
        )

    @pytest.mark.parametrize("center", [True, False])
    def test_contributions_are_weight_times_input(self, center):
        X, y = table()
        X += 2
        model = IMNClassifier(center=center, random_state=0, **SMALL).fit(X, y)
        x = X - X.mean() if center else X
        rows = torch.tensor(x.to_numpy(), dtype=torch.float32)[None]
        with torch.no_grad():
            weights = torch.stack([m(rows)["w"] for m in model.network_.members]).mean(dim=0)[0]
        expected = weights[..., :-1].numpy() * x.to_numpy()[:, None]
        np.testing.assert_allclose(model.contributions(X).values, expected, rtol=1e-3, atol=1e-5)

    @pytest.mark.parametrize("center", [True, False])
    def test_the_mean_or_zero_contributes_nothing(self, center):
        X, y = table()
        X += 2
        model = IMNClassifier(center=center, random_state=0, **SMALL).fit(X, y)
        height = X["height"].mean() if center else 0.0
        values = model.contributions(X.assign(height=height)).values
        assert np.abs(values[:, :, NAMES.index("height")]).max() < 1e-6

    def test_each_model_of_a_stack_is_centred_on_its_own_rows(self):
        X, y = table()
        rows = [np.arange(150), np.arange(100, 240)]
        for model, own in zip(
            IMNClassifier(**SMALL).fit_seeds(X, [0, 1], y=y, rows=rows), rows, strict=True
        ):
            center = model.network_.center[0, 0].numpy()
            np.testing.assert_allclose(center, X.iloc[own].mean(), atol=1e-6)

    def test_sample_explains_the_logit_of_the_predicted_class(self, classified):
        X, _, model = classified
        why, parts = model.explain(X), model.contributions(X)
        own = model.predict(X)
        if parts.values.shape[1] == 1:
            expected = np.where(own[:, None] == 1, 1, -1) * parts.values[:, 0]
        else:
            expected = parts.values[np.arange(len(X)), own]
        np.testing.assert_allclose(why.sample, expected)
        assert why.feature_names == tuple(NAMES)
        assert why.cluster.shape == (len(model.classes_), 5)

    def test_probabilities_are_the_softmax_of_the_logits(self, classified):
        X, _, model = classified
        logits = model.decision_function(X)
        logits = np.stack([0 * logits, logits], axis=1) if logits.ndim == 1 else logits
        expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        np.testing.assert_allclose(model.predict_proba(X), expected, rtol=1e-5)


def offset(n_samples, seed):
    """Income alone decides, and few rows are of class 1; height lies at 4."""
    rng = np.random.default_rng(seed)
    X = pd.DataFrame(rng.normal(size=(n_samples, 5)), columns=NAMES)
    X["height"] += 4
    return X, rng.uniform(size=n_samples) < 1 / (1 + np.exp(1.5 - 1.5 * X["income"]))


@pytest.fixture(scope="module")
def trained():
    X, y = table(600)
    settings = dict(hidden_units=32, max_epochs=60, weight_penalty=0.01, device="cpu")
    return IMNClassifier(random_state=0, **settings).fit(X, y)


class TestTruth:
    def test_a_column_far_from_zero_is_not_credited_with_what_another_drives(self):
        (X, y), (new, _) = offset(400, seed=0), offset(300, seed=1)
        tops = {}
        for center in (True, False):
            model = IMNClassifier(center=center, max_epochs=30, hidden_units=32, device="cpu")
            fits = model.fit_seeds(X, range(3), y=y)
            tops[center] = [fit.explain(new).top(1, "overall")["feature"].item() for fit in fits]
        assert tops[True] == 3 * ["income"]
        assert tops[False] == 3 * ["height"]  # as published

    def test_what_drives_the_logit_is_not_hidden_in_the_intercept(self):
        (X, y), (new, _) = offset(400, seed=0), offset(300, seed=1)
        model = IMNClassifier(max_epochs=30, hidden_units=32, random_state=0, device="cpu")
        logits = model.fit(X, y).decision_function(new)
        assert model.contributions(new).intercept.var() < 0.25 * logits.var()

    def test_what_no_linear_model_can_learn_is_learnt(self, trained):
        X, y = table(300, seed=1)
        assert roc_auc_score(y, trained.decision_function(X)) > 0.95

    def test_the_informative_feature_is_on_top_by_name(self, trained):
        X, _ = table(300, seed=1)
        assert trained.explain(X).top(1, "overall")["feature"].item() == "income"

    def test_the_weight_of_a_feature_follows_the_row(self, trained):
        X, _ = table(300, seed=1)
        clear = X[(X["age"].abs() > 0.5) & (X["income"].abs() > 0.2)]
        income = trained.contributions(clear).values[:, 0, NAMES.index("income")]
        weight = income / clear["income"]
        assert (np.sign(weight) == np.sign(clear["age"])).mean() > 0.9

    def test_tabresnet_learns_it_too_and_is_explained_after_the_fact(self):
        X, y = table(600)
        model = TabResNetClassifier(random_state=0, hidden_units=32, max_epochs=40).fit(X, y)
        X, y = table(300, seed=1)
        assert model.score(X, y) > 0.85
        why = model.explain(X)
        assert why.kind == "attribution"
        assert set(why.top(2, "overall")["feature"]) == {"income", "age"}

    def test_integrated_gradients_add_up_to_the_logit(self):
        X, y = table(80)
        model = TabResNetClassifier(random_state=0, **SMALL).fit(X, y)
        sums = model.explain(X, n_steps=400).sample.sum(axis=1)
        gain = model.decision_function(X) - model.decision_function(X.mean().to_frame().T)
        expected = np.where(model.predict(X) == 1, gain, -gain)
        np.testing.assert_allclose(sums, expected, atol=0.02 * np.abs(expected).max())


class TestRegression:
    @pytest.mark.parametrize("kind", [IMNRegressor, TabResNetRegressor])
    def test_targets_of_any_scale_are_learnt(self, kind):
        X, _ = table(300)
        y = 1e4 + 1e3 * X["income"]
        model = kind(random_state=0, hidden_units=32, max_epochs=40).fit(X, y)
        assert model.score(X, y) > 0.85

    def test_contributions_and_intercept_are_the_prediction(self):
        X, _ = table(100)
        model = IMNRegressor(random_state=0, **SMALL).fit(X, 50 + 9 * X["age"])
        parts = model.contributions(X)
        sums = (parts.values.sum(axis=2) + parts.intercept)[:, 0]
        np.testing.assert_allclose(sums, model.predict(X), rtol=1e-4)

    def test_collinear_columns_are_learnt(self):
        data = load_breast_cancer(as_frame=True).data
        data = (data - data.mean()) / data.std()
        X, y = data.drop(columns="mean radius"), data["mean radius"]
        train, test = train_test_split(np.arange(len(X)), random_state=0)
        model = IMNRegressor(max_epochs=40, dropout=0, hidden_units=32, device="cpu")
        for fit in model.fit_seeds(X, [0, 1], y=y, rows=[train, train]):
            assert fit.score(X.iloc[test], y.iloc[test]) > 0.92

    def test_constant_target(self):
        X, _ = table(60)
        np.testing.assert_allclose(
            IMNRegressor(random_state=0, **SMALL).fit(X, np.full(60, 7.0)).predict(X), 7, atol=1.5
        )


class TestStack:
    """Models with rows of their own train together as they would alone."""

    ROWS = (np.arange(90), np.arange(60, 240), np.arange(30, 60), np.arange(100, 200))
    SEEDS = (4, 7, 1, 4)

    @pytest.mark.parametrize("augmentation", [0.0, 0.6])
    def test_a_model_of_a_stack_equals_the_model_alone(self, augmentation):
        X, y = table()
        template = IMNClassifier(class_weight="balanced", augmentation=augmentation, **SMALL)
        stack = template.fit_seeds(X, self.SEEDS, y=y, rows=self.ROWS)
        for model, seed, rows in zip(stack, self.SEEDS, self.ROWS, strict=True):
            (alone,) = template.fit_seeds(X, [seed], y=y, rows=[rows])
            np.testing.assert_allclose(
                model.decision_function(X), alone.decision_function(X), rtol=1e-3, atol=2e-3
            )
            for name, history in model.history_.items():
                np.testing.assert_allclose(history, alone.history_[name], rtol=1e-3, atol=1e-4)

    def test_any_augmentation_may_come_in_the_first_step(self):
        X, y = table(60)
        settings = SMALL | {"augmentation": 1.0, "max_epochs": 4}
        for model in IMNClassifier(**settings).fit_seeds(X, range(8), y=y):
            assert np.isfinite(model.decision_function(X)).all()

    def test_a_stack_leaves_whole_parameters_behind(self):
        X, y = table()
        for model in IMNClassifier(**SMALL).fit_seeds(X, self.SEEDS, y=y, rows=self.ROWS):
            assert all(p.is_leaf and len(p) == 1 for p in model.network_.parameters())

    def test_rows_outside_are_never_seen(self):
        X, y = table()
        spoiled = X.copy()
        spoiled.iloc[90:] *= 100
        fits = [
            IMNClassifier(**SMALL).fit_seeds(data, [0], y=y, rows=[self.ROWS[0]])[0]
            for data in (X, spoiled)
        ]
        np.testing.assert_array_equal(*(fit.decision_function(X) for fit in fits))

    def test_rows_for_each_model_are_demanded(self):
        X, y = table()
        with pytest.raises(ValueError, match="rows has 1 entries for 2 models"):
            IMNClassifier(**SMALL).fit_seeds(X, [0, 1], y=y, rows=[self.ROWS[0]])

    def test_class_weights_are_those_of_the_own_rows(self):
        y = np.r_[np.zeros(30, int), np.ones(10, int)]
        head = Classes(np.array([0, 1]), "balanced")
        target = head.encode(y, [np.arange(40)])
        np.testing.assert_allclose(head.weights_of(target), [40 / 60, 40 / 20])

    def test_weighing_classes_moves_the_threshold(self):
        X, _ = table(400)
        y = (X["income"] + np.random.default_rng(0).normal(size=400) > 1.5).astype(int)
        plain, weighed = (
            IMNClassifier(class_weight=w, random_state=0, **SMALL).fit(X, y)
            for w in (None, "balanced")
        )
        assert weighed.predict(X).mean() > plain.predict(X).mean() + 0.1


class TestSchedule:
    @pytest.mark.parametrize("n_epochs", range(4, 40))
    def test_cycles_fill_the_epochs_after_the_warm_up(self, n_epochs):
        ends = phases.cycle_ends(n_epochs, 1, 3, 2)
        assert ends[-1] == n_epochs
        assert (np.diff([1, *ends]) >= 1).all()

    def test_the_rate_warms_up_and_falls_to_nothing_in_each_cycle(self):
        X, y = table(20)
        model = IMNClassifier(max_epochs=75, warmup_epochs=5, device="cpu").set_params(
            hidden_units=2, n_blocks=0
        )
        task = model._validate(X, y, [np.arange(20)])
        streams = Streams([0])
        plan = phases.IMNPhases(model, model._build(streams), task, streams)
        plan.plan(75)
        rates = np.array([plan.rate(epoch / 75) for epoch in range(75)])
        np.testing.assert_allclose(rates[:5], [0.1, 0.3, 0.5, 0.7, 0.9])
        assert plan.ends == [15, 35, 75]
        assert (rates[[14, 34, 74]] < 0.03).all()
        assert (rates[[5, 15, 35]] > 0.97).all()

    def test_a_snapshot_is_kept_at_the_end_of_each_cycle(self):
        X, y = table(60)
        whole = IMNClassifier(random_state=0, **SMALL).fit(X, y)
        members = [m.exit.weight for m in whole.network_.members]
        assert len(members) == 3
        assert not torch.equal(members[0], members[1])
        assert not torch.equal(members[1], members[2])

    def test_too_few_epochs_are_refused(self):
        X, y = table(20)
        with pytest.raises(ValueError, match="max_epochs=6 leaves 1 epochs after the warm-up"):
            IMNClassifier(max_epochs=6).fit(X, y)


class TestBadInput:
    @pytest.mark.parametrize(
        ("spoil", "message"),
        [
            (lambda X, y: (X.assign(age=np.nan), y), "NaN in column 'age', row 0"),
            (lambda X, y: (X.assign(age="old"), y), "column 'age' is not numeric"),
            (lambda X, y: (X, np.zeros(len(X))), "y has one class"),
            (lambda X, y: (X, y[:-1]), "inconsistent numbers of samples"),
            (lambda X, y: (X, X["age"]), "Unknown label type"),
        ],
    )
    def test_fit_names_the_offender(self, spoil, message):
        with pytest.raises(ValueError, match=message):
            IMNClassifier(**SMALL).fit(*spoil(*table(30)))

    @pytest.mark.parametrize("kind", [IMNClassifier, TabResNetClassifier])
    def test_one_class_in_the_rows_of_one_model_is_named_in_one_line(self, kind):
        X, y = table(60)
        rows = [np.arange(60), np.flatnonzero(y == 1)]
        with pytest.raises(
            ValueError, match=rf"y has one class, 1, in the {len(rows[1])} rows"
        ) as e:
            kind(**SMALL).fit_seeds(X, [0, 1], y=y, rows=rows)
        assert "\n" not in str(e.value)

    def test_a_missing_target_of_a_regression_is_named(self):
        X, _ = table(30)
        with pytest.raises(ValueError, match="y contains nan in row 4"):
            IMNRegressor(**SMALL).fit(X, X["age"].where(X.index != 4))


class TestFiles:
    @pytest.mark.parametrize(
        "kind", [IMNClassifier, IMNRegressor, TabResNetClassifier, TabResNetRegressor]
    )
    def test_saved_and_loaded(self, kind, tmp_path):
        X, y = table(60)
        model = kind(random_state=0, **SMALL).fit(X, y)
        model.save(tmp_path)
        loaded = kind.load(tmp_path)
        np.testing.assert_array_equal(loaded.predict(X), model.predict(X))
        np.testing.assert_array_equal(loaded.explain(X).sample, model.explain(X).sample)

    def test_a_finished_fit_is_not_repeated(self, tmp_path):
        X, y = table(60)
        model = IMNClassifier(random_state=0, checkpoint=tmp_path, **SMALL)
        first = model.fit(X, y).decision_function(X)
        (kept,) = tmp_path.glob("*.safetensors")
        written = kept.stat().st_mtime_ns
        np.testing.assert_array_equal(model.fit(X, y).decision_function(X), first)
        assert kept.stat().st_mtime_ns == written
        model.fit(X, 1 - y)
        assert len(list(tmp_path.glob("*.safetensors"))) == 2


def test_same_seed_same_answer():
    X, y = make_classification(60, n_features=5, random_state=0)
    a, b = (IMNClassifier(random_state=3, **SMALL).fit(X, y).decision_function(X) for _ in "ab")
    np.testing.assert_array_equal(a, b)
