"""NeurCAM finds planted clusters in planted features, adds up exactly, and names bad input."""

import numpy as np
import pandas as pd
import pytest
import torch
from planted import OWN, own_features

from whycluster import NeurCAM
from whycluster.metrics import clustering_accuracy
from whycluster.neurcam import additive, estimator, network, phases
from whycluster.training.centres import fast_squared_distances
from whycluster.training.losses import fuzzy_clustering_loss, fuzzy_memberships

PLANTED = {"left", "right", "high"}
SMALL = dict(hidden_units=24, n_bases=12, device="cpu")
TINY = SMALL | dict(
    warmup_epochs=8, anneal_epochs=4, max_epochs=20, n_init=1, random_state=0, batch_size=50
)


@pytest.fixture(scope="module")
def planted():
    return own_features(160, seed=0)


@pytest.fixture(scope="module")
def X(planted):
    return planted[0]


@pytest.fixture(scope="module")
def models(X):
    """Ten seeds as one stack, none of them picked."""
    settings = SMALL | dict(warmup_epochs=150, anneal_epochs=50, max_epochs=240, n_init=7)
    return NeurCAM(4, n_shapes=3, learning_rate=1e-2, **settings).fit_seeds(X, range(10))


@pytest.fixture(scope="module")
def paired(X):
    """One model with pairs, on features of which some have few values."""
    rounded = X.assign(left=X["left"].round(), right=X["right"].round(1))
    return NeurCAM(4, n_shapes=2, n_pairs=4, **TINY).fit(rounded), rounded


class TestTruth:
    def test_the_planted_features_are_selected_by_name(self, models):
        found = [set(model.selected_features_) for model in models]
        assert sum(names == PLANTED for names in found) >= 9

    def test_planted_clusters_are_found(self, models, planted):
        scores = [clustering_accuracy(planted[1], model.labels_) for model in models]
        assert np.median(scores) >= 0.98

    def test_rows_never_seen_are_put_in_their_cluster(self, models):
        X_new, y_new = own_features(200, seed=1)
        best = min(models, key=lambda model: model.inertia_)
        assert clustering_accuracy(y_new, best.predict(X_new)) >= 0.98

    def test_noise_changes_nothing(self, models, X):
        best = min(models, key=lambda model: model.inertia_)
        noise = [name for name in OWN if name not in PLANTED]
        other = X.assign(**dict.fromkeys(noise, 7.0))
        np.testing.assert_array_equal(best.transform(other), best.transform(X))
        importance = best.explain(X).to_frame("overall")["contribution"]
        assert (importance[noise] == 0).all()
        assert set(best.importances_) == PLANTED

    def test_a_pair_finds_what_no_single_feature_shows(self):
        """Clusters of a chessboard: each feature alone is the same in both."""
        rng = np.random.default_rng(0)
        X = rng.uniform(-1, 1, size=(300, 3))
        side = (X[:, 0] * X[:, 1] > 0).astype(int)
        representation = side[:, None] * 4 + rng.normal(scale=0.3, size=(300, 2))
        settings = SMALL | dict(warmup_epochs=200, anneal_epochs=80, max_epochs=320, n_init=2)
        model = NeurCAM(2, n_shapes=0, n_pairs=1, learning_rate=5e-3, random_state=0, **settings)
        model.fit(X, representation=representation)
        assert model.selected_pairs_.tolist() == [["x0", "x1"]]
        assert clustering_accuracy(side, model.labels_) >= 0.95
        assert next(iter(model.importances_)) == "x0 × x1"


class TestAdditivity:
    @pytest.mark.parametrize("fixture", ["models", "paired"])
    def test_terms_and_intercept_are_the_logits(self, fixture, request, X):
        found = request.getfixturevalue(fixture)
        model, rows = found if fixture == "paired" else (found[0], X)
        for some in (rows, 3 * rows + 1):  # also far outside the data
            total = model.contributions(some).sum(axis=1) + model.intercept_
            logits = model.transform(some)
            np.testing.assert_allclose(total, logits, atol=1e-5 * np.abs(logits).max())

    def test_terms_are_centred(self, paired):
        model, rows = paired
        np.testing.assert_allclose(model.contributions(rows).mean(axis=0), 0, atol=1e-6)

    def test_explained_contributions_are_those_of_the_rows_cluster(self, paired):
        model, rows = paired
        own = model.transform(rows)[np.arange(len(rows)), model.labels_]
        expected = own - model.intercept_[model.labels_]
        np.testing.assert_allclose(model.explain(rows).sample.sum(axis=1), expected, atol=1e-4)

    def test_importance_is_the_mean_absolute_area(self, models, X):
        model = models[0]
        area = np.abs(model.contributions(X)).mean(axis=(0, 2))
        found = [model.importances_[name] for name in model.term_names()]
        np.testing.assert_allclose(found, area, rtol=1e-5)
        assert list(model.importances_.values()) == sorted(found, reverse=True)

    def test_shape_functions_are_what_rows_get(self, paired):
        model, rows = paired
        graph = model.shape_functions()
        terms = dict(zip(model.term_names(), model.contributions(rows).swapaxes(0, 1), strict=True))
        left = graph[(graph["term"] == "left") & (graph["cluster"] == 2)].set_index("value")
        if "left" in terms:
            seen = left.loc[rows["left"].astype(np.float32), "contribution"]
            np.testing.assert_allclose(seen, terms["left"][:, 2], atol=1e-5)
        np.testing.assert_allclose(graph.groupby(["term", "cluster"])["density"].sum(), 1)
        assert graph["term"].unique().tolist() == model.term_names()


def evaluate_table(table, X):
    """Evaluate an exported table as a spreadsheet would, with no part of whycluster."""
    clusters = [name for name in table if name.startswith("cluster ")]
    intercept = table.loc[table["term"] == "intercept", clusters].to_numpy()
    logits = np.repeat(intercept, len(X), axis=0)
    for _, part in table[table["term"] != "intercept"].groupby("term"):
        first = X[part["feature"].iloc[0]].to_numpy(dtype=float)
        if part["feature_2"].isna().all():
            for k, name in enumerate(clusters):
                logits[:, k] += np.interp(first, part["value"], part[name])
            continue
        second = X[part["feature_2"].iloc[0]].to_numpy(dtype=float)
        for k, name in enumerate(clusters):
            grid = part.pivot(index="value", columns="value_2", values=name)
            across = [np.interp(second, grid.columns, row) for row in grid.to_numpy()]
            columns = np.transpose(across)
            logits[:, k] += [
                np.interp(x, grid.index, c) for x, c in zip(first, columns, strict=True)
            ]
    return logits


class TestTable:
    def test_evaluated_without_torch_it_gives_the_same_clusters(self, models, X, tmp_path):
        model = models[0]
        model.export_table(tmp_path / "model.csv", tolerance=1e-3)
        table = pd.read_csv(tmp_path / "model.csv")
        assert len(table) < 400
        for rows in (X, own_features(300, seed=2)[0]):
            logits = evaluate_table(table, rows)
            np.testing.assert_allclose(logits, model.transform(rows), atol=5e-3)
            np.testing.assert_array_equal(logits.argmax(axis=1), model.predict(rows))

    def test_pairs_too(self, paired, tmp_path):
        model, rows = paired
        model.export_table(tmp_path / "model.csv")
        logits = evaluate_table(pd.read_csv(tmp_path / "model.csv"), rows)
        np.testing.assert_allclose(logits, model.transform(rows), atol=0.02)
        assert (logits.argmax(axis=1) == model.labels_).mean() >= 0.99


class TestObjective:
    def test_distances_and_loss_by_hand(self):
        x = torch.tensor([[[0.0, 0.0], [3.0, 4.0]]])
        centres = torch.tensor([[[0.0, 0.0], [0.0, 4.0]]])
        distances = fast_squared_distances(x, centres)
        torch.testing.assert_close(distances, torch.tensor([[[0.0, 16], [25, 9]]]))
        w = torch.tensor([[[0.5, 0.5], [0.2, 0.8]]])
        loss = fuzzy_clustering_loss(w.log(), distances, 2.0)
        torch.testing.assert_close(loss, torch.tensor([(0.25 * 16 + 0.04 * 25 + 0.64 * 9) / 2]))

    @pytest.mark.parametrize("fuzziness", [1.0, 1.05, 2.0])
    def test_no_memberships_have_a_lower_loss_than_the_fuzzy_ones(self, fuzziness):
        rng = np.random.default_rng(0)
        distances = torch.from_numpy(rng.uniform(0.1, 4, (1, 50, 5)))
        best = fuzzy_memberships(distances, fuzziness)
        torch.testing.assert_close(best.sum(dim=-1), torch.ones(1, 50, dtype=torch.double))
        others = torch.from_numpy(rng.dirichlet(np.ones(5), (20, 50)))
        others = torch.cat([others, 0.99 * best + 0.01 * others])
        at_best = fuzzy_clustering_loss(best.log(), distances, fuzziness)
        assert (fuzzy_clustering_loss(others.log(), distances, fuzziness) > at_best).all()

    def test_clusters_near_each_other_are_all_kept(self):
        rng = np.random.default_rng(0)
        y = np.arange(600) % 12
        X = rng.normal(size=(12, 8))[y] + rng.normal(scale=0.3, size=(600, 8))
        pairs = np.eye(12)[np.arange(12) // 2] + 0.3 * np.eye(12)
        representation = pairs[y] + rng.normal(scale=0.01, size=(600, 12))
        settings = SMALL | dict(warmup_epochs=60, anneal_epochs=20, max_epochs=120, batch_size=100)
        found = NeurCAM(12, n_init=1, learning_rate=1e-2, **settings).fit_seeds(
            X, range(5), representation=representation
        )
        assert [len(np.unique(model.labels_)) for model in found] == [12] * 5

    def test_inertia_is_to_the_learnt_centres_in_the_representation(self, X):
        representation = 10 + 5 * X.to_numpy()[:, [2, 6]]
        model = NeurCAM(4, **TINY).fit(X, representation=representation)
        assert model.cluster_centers_.shape == (4, 2)
        apart = representation - model.cluster_centers_[model.labels_]
        np.testing.assert_allclose(model.inertia_, (apart**2).sum(), rtol=1e-4)
        np.testing.assert_allclose(model.restart_inertia_, [model.inertia_], rtol=1e-4)

    def test_the_unit_of_the_representation_does_not_matter(self, X):
        one, other = (
            NeurCAM(4, **TINY).fit(X, representation=scale * X[["left", "right"]] + 5 * scale)
            for scale in (1.0, 64.0)
        )
        np.testing.assert_array_equal(one.labels_, other.labels_)
        np.testing.assert_allclose(64 * one.cluster_centers_, other.cluster_centers_, rtol=1e-4)

    def test_values_that_rows_share_are_evaluated_once(self, X, monkeypatch):
        rounded, evaluated = X.round(), []
        real = additive._tabulate
        with monkeypatch.context() as patch:
            patch.setattr(
                additive, "_tabulate", lambda *args: evaluated.append(args) or real(*args)
            )
            shared = NeurCAM(4, **TINY).fit(rounded)
            assert len(evaluated) >= 8 * 4  # each step of the final phase
            logits = shared.transform(rounded)
        monkeypatch.setattr(additive, "_distinct", lambda s: None)
        np.testing.assert_allclose(shared.transform(rounded), logits, atol=1e-5)
        alone = NeurCAM(4, **TINY).fit(rounded)
        assert_equal_fits(shared, alone, rtol=1e-3, atol=1e-4)

    def test_the_restart_of_lowest_inertia_is_kept(self, models):
        for model in models:
            assert model.restart_inertia_.shape == (7,)
            np.testing.assert_allclose(model.inertia_, model.restart_inertia_.min(), rtol=1e-4)
        assert len(np.unique(models[0].restart_inertia_.round(6))) > 1

    def test_after_the_warm_up_memberships_are_followed(self, X):
        free, tied = (NeurCAM(4, **TINY | {"kl_weight": w}).fit(X) for w in (0.0, 1.0))
        assert (free.history_["gates/divergence"] == 0).all()
        assert tied.history_["gates/divergence"][0] > 0
        ablated = NeurCAM(4, **TINY | {"clustering_weight": 0.0}).fit(X)
        assert (ablated.history_["final/clustering"] == 0).all()

    def test_pairs_are_annealed_first(self, X, monkeypatch):
        seen = []
        real = network.Network.logits

        def spy(self, x, temperatures):
            seen.append(temperatures)
            return real(self, x, temperatures)

        monkeypatch.setattr(network.Network, "logits", spy)
        NeurCAM(4, n_pairs=2, **TINY | {"batch_size": 200}).fit(X)
        found = list(dict.fromkeys(seen))
        assert found[:2] == [(1.0, 1.0), (1.0, phases.COLDEST ** (1 / 4))]
        assert found[4:6] == [(1.0, 0.0), (phases.COLDEST ** (1 / 4), 0.0)]
        assert found[-1] == (0.0, 0.0)


def assert_equal_fits(first, second, **tolerance):
    """Compare all that was learnt: to the bit, unless a tolerance is given."""
    tolerance = {"rtol": 0, "atol": 0} | tolerance
    np.testing.assert_array_equal(first.labels_, second.labels_)
    np.testing.assert_array_equal(first.selected_features_, second.selected_features_)
    for name in ("cluster_centers_", "inertia_", "intercept_", "restart_inertia_"):
        np.testing.assert_allclose(getattr(first, name), getattr(second, name), **tolerance)


class TestSeeds:
    def test_a_stack_equals_single_fits(self, X):
        stack = NeurCAM(4, n_pairs=2, **TINY | {"n_init": 2}).fit_seeds(X, [5, 6])
        for seed, stacked in zip([5, 6], stack, strict=True):
            settings = TINY | {"random_state": seed, "n_init": 2}
            single = NeurCAM(4, n_pairs=2, **settings).fit(X)
            assert_equal_fits(stacked, single, rtol=1e-3, atol=1e-4)

    def test_one_restart_is_the_first_of_many(self, X):
        one, many = (NeurCAM(4, **TINY | {"n_init": n}).fit(X) for n in (1, 3))
        np.testing.assert_allclose(many.restart_inertia_[0], one.inertia_, rtol=1e-4)

    def test_early_stopping_cuts_the_history(self, X):
        model = NeurCAM(4, **TINY | dict(max_epochs=300, patience=3, learning_rate=0.05)).fit(X)
        assert 20 < model.n_iter_ < 300
        assert len(model.history_["final/clustering"]) < 288
        n_epochs = {name.split("/")[0]: len(loss) for name, loss in model.history_.items()}
        assert sum(n_epochs.values()) == model.n_iter_


class Killed(BaseException):
    """Stands for SIGKILL: nothing catches it."""


@pytest.mark.parametrize("phase", ["warm_up", "anneal_pairs", "finish"])
def test_a_fit_that_was_cut_off_resumes(X, tmp_path, monkeypatch, phase):
    model = NeurCAM(4, n_pairs=1, **TINY)
    expected = NeurCAM(4, n_pairs=1, **TINY).fit(X)

    def killed(*_, **__):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(phases.NeurCAMPhases, phase, killed)
        with pytest.raises(Killed):
            model.set_params(checkpoint=tmp_path).fit(X)
    with monkeypatch.context() as patch:
        patch.setattr(phases.NeurCAMPhases, "start", killed)
        assert_equal_fits(model.fit(X), expected)


class TestPrediction:
    def test_all_answers_come_back_from_a_file(self, paired, tmp_path):
        model, rows = paired
        model.save(tmp_path)
        loaded = NeurCAM.load(tmp_path)
        np.testing.assert_array_equal(loaded.contributions(rows), model.contributions(rows))
        pd.testing.assert_frame_equal(loaded.shape_functions(), model.shape_functions())
        assert loaded.importances_ == model.importances_
        assert loaded.selected_pairs_.tolist() == model.selected_pairs_.tolist()

    def test_many_rows_pass_a_few_at_a_time_with_a_bar(self, paired, monkeypatch, capsys):
        model, rows = paired
        expected = model.transform(rows)
        sizes = []
        real = network.Network.forward
        monkeypatch.setattr(estimator, "ROWS_AT_ONCE", 7)
        monkeypatch.setattr(
            network.Network, "forward", lambda self, x: sizes.append(x.shape[1]) or real(self, x)
        )
        assert capsys.readouterr().err == ""
        model.set_params(verbose=1)
        np.testing.assert_allclose(model.transform(rows), expected, atol=1e-4)
        model.set_params(verbose=0)
        assert max(sizes) == 7
        assert "160/160" in capsys.readouterr().err


class TestBadInput:
    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"n_shapes": 14}, "n_shapes=14 exceeds the 13 features of X"),
            ({"n_pairs": 79}, "n_pairs=79 exceeds the 78 pairs of n_features=13"),
            ({"n_shapes": 0}, "n_shapes=0 and n_pairs=0 leave no shape function"),
            ({"n_shapes": -1}, "'n_shapes' .* Got -1"),
            ({"n_shapes": 0.5}, "'n_shapes' .* Got 0.5"),
            ({"fuzziness": 0.9}, "'fuzziness' .* Got 0.9"),
            ({"max_epochs": 11}, "max_epochs=11 is less than the 12 epochs of warm-up"),
            ({"n_pairs": 1, "max_epochs": 15}, "max_epochs=15 is less than the 16 epochs"),
        ],
    )
    def test_bad_settings_are_named_in_one_line(self, X, settings, message):
        with pytest.raises(ValueError, match=message) as error:
            NeurCAM(4, **TINY | settings).fit(X)
        assert "\n" not in str(error.value)

    def test_every_setting_is_checked(self):
        free = {"n_clusters", "random_state", "device", "checkpoint"}
        assert NeurCAM._parameter_constraints.keys() == NeurCAM().get_params().keys() - free

    @pytest.mark.parametrize(
        ("spoil", "message"),
        [
            (lambda R: R[:99], "representation has 99 rows and X 160"),
            (
                lambda R: R.assign(left=np.nan),
                "representation contains NaN in column 'left', row 0",
            ),
            (lambda R: R["left"].to_numpy(), "1D array"),
        ],
    )
    def test_bad_representations(self, X, spoil, message):
        with pytest.raises(ValueError, match=message):
            NeurCAM(4, **TINY).fit(X, representation=spoil(X))
