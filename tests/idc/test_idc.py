"""IDC finds planted clusters and planted features, keeps its promises, and names bad input."""

import numpy as np
import pytest
import torch
from planted import TRIANGLE, triangle

from whycluster import IDC
from whycluster.idc import phases
from whycluster.metrics import clustering_accuracy
from whycluster.training import stack
from whycluster.training.streams import Streams

PLANTED = {"left", "right", "high"}
IS_PLANTED = np.array([name in PLANTED for name in TRIANGLE])
TINY = dict(
    hidden_layers=(16,),
    gate_units=8,
    head_units=16,
    warmup_epochs=1,
    pretrain_epochs=4,
    max_epochs=4,
    global_epochs=3,
    batch_size=60,
    n_init=1,
    random_state=0,
    device="cpu",
)
SMALL = dict(
    hidden_layers=(64,),
    gate_units=32,
    head_units=64,
    pretrain_epochs=100,
    max_epochs=100,
    global_epochs=60,
    batch_size=80,
    n_init=3,
    device="cpu",
)


@pytest.fixture(scope="module")
def planted():
    return triangle(240, seed=0)


@pytest.fixture(scope="module")
def X(planted):
    return planted[0]


@pytest.fixture(scope="module")
def models(X):
    """Three seeds of one setting, none of them picked."""
    return IDC(3, **SMALL).fit_seeds(X, [0, 1, 2])


@pytest.fixture(params=[0, 1, 2])
def model(request, models):
    return models[request.param]


def assert_equal_fits(first, second, **tolerance):
    """Compare all that was learnt: to the bit, unless a tolerance is given."""
    np.testing.assert_array_equal(first.labels_, second.labels_)
    for name in ("gates_", "global_gates_", "embedding_", "restart_coding_loss_"):
        a, b = getattr(first, name), getattr(second, name)
        np.testing.assert_allclose(a, b, **{"rtol": 0, "atol": 0} | tolerance)


class TestTruth:
    def test_planted_clusters_are_found(self, model, planted):
        assert clustering_accuracy(planted[1], model.labels_) >= 0.99

    def test_rows_never_seen_are_put_in_their_cluster(self, model):
        X_new, y_new = triangle(200, seed=1)
        assert clustering_accuracy(y_new, model.predict(X_new)) >= 0.99

    def test_planted_features_are_on_top_by_name(self, model, X):
        top = model.explain(X).top(3, "overall")["feature"]
        assert set(top) == PLANTED

    def test_local_gates_are_closed_on_noise(self, model):
        mean = model.gates_.mean(axis=0)
        assert mean[~IS_PLANTED].max() < 0.1
        assert mean[IS_PLANTED].min() > 0.2

    def test_global_gates_leave_their_initial_half_and_close_on_noise(self, model):
        gates = model.global_gates_
        assert np.median(abs(gates - 0.5)) > 0.45
        assert gates[:, ~IS_PLANTED].max() < 0.1
        assert gates[:, IS_PLANTED].max() > 0.9

    def test_clusters_are_explained_by_planted_features(self, model, X):
        top = model.explain(X).top(1, "cluster")
        assert set(top["feature"]) <= PLANTED
        assert top["value"].min() > 0.5

    def test_closed_gates_ignore_noise_features(self, model, X):
        other = X.copy()
        other.loc[:, ~IS_PLANTED] = np.random.default_rng(7).permutation(X.loc[:, ~IS_PLANTED])
        assert (model.predict(other) == model.labels_).mean() >= 0.99


def test_clusters_on_opposite_sides_of_the_mean_are_told_apart():
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1], 60)
    X = np.where(y[:, None] == 0, -1, 1) * [1.0, 1, 1, 0] + rng.normal(scale=0.2, size=(120, 4))
    for model in IDC(2, **SMALL).fit_seeds(X, [0, 1, 2]):
        assert clustering_accuracy(y, model.labels_) >= 0.99


@pytest.fixture(scope="module")
def ungated(X):
    return IDC(3, gated=False, **SMALL).fit_seeds(X, [0, 1, 2])


class TestWithoutGates:
    def test_most_seeds_find_the_planted_clusters(self, ungated, planted):
        scores = [clustering_accuracy(planted[1], model.labels_) for model in ungated]
        assert np.median(scores) >= 0.95

    def test_every_local_gate_is_open(self, ungated):
        assert (ungated[0].gates_ == 1).all()
        assert ungated[0].n_selected_ == {"open": 8, "sum": 8}

    def test_nothing_of_the_gates_is_trained(self, ungated):
        assert ungated[0].network_.gating is None
        trained = {name for name in ungated[0].history_ if name.startswith("gates/")}
        assert trained == {f"gates/{n}" for n in ("gated", "clean", "masked", "latent noise")}


class TestAttributes:
    def test_shapes(self, model):
        assert model.labels_.shape == (240,)
        assert model.gates_.shape == (240, 8)
        assert model.global_gates_.shape == (3, 8)
        assert model.embedding_.shape == (240, 3)
        assert model.restart_coding_loss_.shape == (3,)
        assert model.restart_labels_.shape == (3, 240)
        assert model.feature_names_in_.tolist() == TRIANGLE
        assert model.fit_seconds_ > 0

    def test_gates_are_within_their_range(self, model):
        for gates in (model.gates_, model.global_gates_):
            assert gates.min() >= 0
            assert gates.max() <= 1

    def test_selected_features_are_counted_both_ways(self, model):
        open_, total = 0, 0.0
        for row in model.gates_.tolist():
            open_ += sum(gate > 0 for gate in row)
            total += sum(row)
        assert model.n_selected_["open"] == pytest.approx(open_ / 240)
        assert model.n_selected_["sum"] == pytest.approx(total / 240)
        assert model.n_selected_["sum"] <= model.n_selected_["open"]

    def test_history_has_every_loss_of_every_epoch(self, model):
        reconstructions = ("gated", "clean", "masked", "latent noise")
        lengths = {f"warm-up/{name}": (10,) for name in reconstructions}
        lengths |= {f"gates/{name}": (90,) for name in reconstructions}
        lengths |= {"gates/open gates": (90,), "gates/gate coding": (90,), "head/coding": (100,)}
        lengths |= {"global gates/cross-entropy": (60,), "global gates/open gates": (60,)}
        assert {name: values.shape for name, values in model.history_.items()} == lengths
        assert all(np.isfinite(values).all() for values in model.history_.values())

    def test_gate_weight_rises_from_zero(self, model):
        assert model.history_["gates/open gates"][0] == 0
        assert model.history_["gates/open gates"][5] > 0


def coding_loss(h, labels, eps=0.1):
    """Eq. (8) from its definition, in double precision."""
    h = h.astype(float)
    total = 0.0
    for k in np.unique(labels):
        members = h[labels == k]
        d = h.shape[1]
        inner = np.eye(d) + d / (len(members) * eps) * members.T @ members
        total += len(members) / len(h) * 0.5 * np.linalg.slogdet(inner)[1]
    return total / d


class TestRestarts:
    def test_the_lowest_coding_loss_is_kept(self, model):
        best = model.restart_coding_loss_.argmin()
        assert model.coding_loss_ == model.restart_coding_loss_[best]
        np.testing.assert_array_equal(model.labels_, model.restart_labels_[best])

    def test_losses_are_those_of_the_hard_clusters(self, model, X):
        seen = []
        hook = model.network_.head.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
        model.predict(X)
        hook.remove()
        h = seen[0][0].numpy()
        np.testing.assert_allclose(np.linalg.norm(h, axis=1), 1, rtol=1e-5)
        expected = [coding_loss(h, labels) for labels in model.restart_labels_]
        np.testing.assert_allclose(model.restart_coding_loss_, expected, rtol=1e-4)

    def test_restarts_differ(self, X):
        many = IDC(3, **TINY | {"n_init": 4}).fit(X)
        assert len(set(many.restart_coding_loss_.tolist())) > 1

    def test_one_restart_is_the_first_of_many(self, X):
        one = IDC(3, **TINY).fit(X)
        many = IDC(3, **TINY | {"n_init": 4}).fit(X)
        assert many.restart_coding_loss_[0] == one.coding_loss_


class TestSeeds:
    def test_a_stack_equals_single_fits(self, X):
        """Seed by seed, up to rounding; the heads train until no row is left on a border."""
        settings = TINY | {"max_epochs": 20}
        stack = IDC(3, **settings).fit_seeds(X, [5, 6, 7])
        for seed, one in zip([5, 6, 7], stack, strict=True):
            single = IDC(3, **settings | {"random_state": seed}).fit(X)
            assert one.random_state == seed
            assert_equal_fits(one, single, atol=1e-4)
            for name, values in single.history_.items():
                np.testing.assert_allclose(one.history_[name], values, rtol=1e-4, atol=1e-5)

    def test_same_seed_same_bits(self, X):
        assert_equal_fits(IDC(3, **TINY).fit(X), IDC(3, **TINY).fit(X))

    def test_another_seed_differs(self, X):
        first, second = IDC(3, **TINY).fit_seeds(X, [0, 1])
        assert not np.array_equal(first.embedding_, second.embedding_)

    def test_refitting_forgets(self, X):
        model = IDC(3, **TINY).fit(X[:100])
        assert_equal_fits(model.fit(X), IDC(3, **TINY).fit(X))

    def test_random_state_objects_are_taken(self, X):
        first = IDC(3, **TINY | {"random_state": np.random.RandomState(3)}).fit(X)
        assert_equal_fits(first, IDC(3, **TINY | {"random_state": 3}).fit(X))
        IDC(3, **TINY | {"random_state": None}).fit(X)

    def test_global_random_state_is_not_touched(self, X):
        before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
        IDC(3, **TINY).fit(X).predict(X)
        assert torch.equal(torch.get_rng_state(), before[0])
        assert np.array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002

    def test_no_seeds_are_refused(self, X):
        with pytest.raises(ValueError, match="random_states is empty; give one for each model"):
            IDC(3, **TINY).fit_seeds(X, [])


class TestPrediction:
    def test_labels_are_predicted(self, model, X):
        np.testing.assert_array_equal(model.predict(X), model.labels_)

    def test_memberships_agree_with_labels(self, model, X):
        memberships = model.predict_proba(X)
        np.testing.assert_allclose(memberships.sum(axis=1), 1, rtol=1e-5)
        np.testing.assert_array_equal(memberships.argmax(axis=1), model.labels_)

    def test_embedding_is_transformed(self, model, X):
        np.testing.assert_array_equal(model.transform(X), model.embedding_)
        assert model.get_feature_names_out().tolist() == ["idc0", "idc1", "idc2"]

    def test_rows_pass_a_few_at_a_time(self, model, X, monkeypatch):
        monkeypatch.setattr(stack, "ROWS_AT_ONCE", 7)
        np.testing.assert_array_equal(model.predict(X), model.labels_)
        np.testing.assert_allclose(model.transform(X), model.embedding_, rtol=1e-4, atol=1e-5)

    def test_explanation_of_a_row_is_its_gates_within_those_of_its_cluster(self, model, X):
        why = model.explain(X[:50])
        expected = model.gates_[:50] * model.global_gates_[model.labels_[:50]]
        np.testing.assert_allclose(why.sample, expected, atol=1e-6)
        np.testing.assert_array_equal(why.cluster, model.global_gates_.astype(why.cluster.dtype))
        np.testing.assert_allclose(why.overall, expected.mean(axis=0), atol=1e-6)
        assert why.kind == "gate"
        assert why.feature_names == tuple(TRIANGLE)

    def test_decision_module_gives_logits_with_a_gradient(self, model, X):
        x = torch.tensor(X.to_numpy(), dtype=torch.float32, requires_grad=True)
        logits = model.decision_module()(x)
        np.testing.assert_array_equal(logits.argmax(dim=1), model.labels_)
        logits.sum().backward()
        assert x.grad.abs().sum() > 0


class TestData:
    def test_types_of_numbers_do_not_matter(self, X):
        expected = IDC(3, **TINY).fit(X.astype(np.float32))
        for same in (X.astype(np.float32).astype(float), X.astype(np.float32).to_numpy().tolist()):
            assert_equal_fits(IDC(3, **TINY).fit(same), expected)

    def test_whole_numbers(self):
        X = np.random.default_rng(0).integers(0, 5, size=(40, 6))
        assert_equal_fits(IDC(3, **TINY).fit(X), IDC(3, **TINY).fit(X.astype(float)))

    @pytest.mark.filterwarnings("error", "ignore:.*hold no rows")
    def test_read_only_rows_pass_without_warning_and_unchanged(self, X):
        rows = X.to_numpy(dtype=np.float32)
        before = rows.copy()
        IDC(3, **TINY).fit(rows).predict(rows)
        np.testing.assert_array_equal(rows, before)
        rows.flags.writeable = False
        IDC(3, **TINY).fit(rows).predict(rows)

    def test_true_labels_are_ignored(self, planted):
        X, y = planted
        assert_equal_fits(IDC(3, **TINY).fit(X, y), IDC(3, **TINY).fit(X))

    def test_few_rows_make_one_batch(self):
        X = np.random.default_rng(0).normal(size=(12, 40))
        large = IDC(2, **TINY | {"batch_size": 512}).fit(X)
        assert_equal_fits(large, IDC(2, **TINY | {"batch_size": 12}).fit(X))

    @pytest.mark.parametrize("n_samples", [2, 3, 61, 121])
    def test_no_number_of_rows_leaves_one_alone(self, n_samples):
        X = np.random.default_rng(0).normal(size=(n_samples, 3))
        assert IDC(2, **TINY).fit(X).labels_.shape == (n_samples,)

    def test_one_feature_and_constant_features(self):
        X = np.random.default_rng(0).normal(size=(30, 1))
        assert IDC(2, **TINY).fit(X).gates_.shape == (30, 1)
        assert IDC(2, **TINY).fit(np.hstack([X, np.ones_like(X)])).gates_.shape == (30, 2)


class TestSettings:
    @pytest.mark.parametrize("n_latent", [None, 1, 5])
    def test_latent_width(self, X, n_latent):
        model = IDC(3, **TINY, n_latent=n_latent).fit(X)
        assert model.embedding_.shape == (240, n_latent or 3)

    def test_projection_of_wide_gates(self):
        X = np.random.default_rng(0).normal(size=(20, 300))
        full, wide, narrow = (IDC(2, **TINY, n_projections=n).fit(X) for n in (None, 300, 16))
        assert_equal_fits(full, wide)
        coding = "gates/gate coding"
        assert np.isfinite(narrow.history_[coding]).all()
        assert not np.allclose(narrow.history_[coding], full.history_[coding])

    def test_projection_keeps_the_length_of_gates(self):
        streams = Streams([0, 1])
        run = phases.IDCPhases(IDC(n_projections=2000), None, None, streams)
        z = torch.rand(2, 5, 3000)
        projected = run._project(z)
        assert projected.shape == (2, 5, 2000)
        torch.testing.assert_close(projected.norm(dim=2), z.norm(dim=2), rtol=0.1, atol=0)
        assert torch.equal(run._project(z), projected)

    @pytest.mark.parametrize("precision", ["highest", "high", "medium"])
    def test_precision_is_put_back(self, X, precision):
        before = torch.get_float32_matmul_precision()
        IDC(3, **TINY, precision=precision).fit(X)
        assert torch.get_float32_matmul_precision() == before

    def test_verbose_shows_a_full_bar_and_changes_nothing_else(self, X, capsys):
        quiet = IDC(3, **TINY | {"n_init": 2}).fit(X)
        assert capsys.readouterr() == ("", "")
        assert_equal_fits(IDC(3, **TINY | {"n_init": 2}, verbose=1).fit(X), quiet)
        assert "15/15" in capsys.readouterr().err  # 4 + 2 · 4 + 3 epochs

    def test_head_without_global_gates(self, X):
        model = IDC(3, **TINY | {"global_epochs": 0}).fit(X)
        np.testing.assert_allclose(model.global_gates_, 0.5, atol=0.06)

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"n_clusters": 0}, "n_clusters=0 is below 1"),
            ({"n_clusters": 241}, "n_clusters=241 exceeds the 240 distinct rows"),
            ({"n_clusters": 2.5}, "n_clusters=2.5 is not a whole number"),
            ({"batch_size": 2}, "'batch_size' .* Got 2"),
            ({"n_init": 0}, "'n_init' .* Got 0"),
            ({"max_epochs": 0}, "'max_epochs' .* Got 0"),
            ({"pretrain_epochs": -1}, "'pretrain_epochs' .* Got -1"),
            ({"warmup_epochs": 9}, "warmup_epochs=9 exceeds pretrain_epochs=4"),
            ({"gate_noise": 0.0}, "'gate_noise' .* Got 0.0"),
            ({"penalty_noise": 0}, "'penalty_noise' .* Got 0"),
            ({"mask_fraction": 1.0}, "'mask_fraction' .* Got 1.0"),
            ({"reconstruction_order": 3}, "'reconstruction_order' .* Got 3"),
            ({"temperature": -1.0}, "'temperature' .* Got -1.0"),
            ({"n_latent": 0}, "'n_latent' .* Got 0"),
            ({"hidden_layers": 64}, "'hidden_layers' .* Got 64"),
            ({"hidden_layers": (64, 0)}, "hidden_layers holds 0; widths are ints of 1 or more"),
            ({"precision": "exact"}, "'precision' .* Got 'exact'"),
            ({"device": "abacus"}, "device='abacus' is unknown"),
        ],
    )
    def test_bad_settings_are_named_in_one_line(self, X, settings, message):
        with pytest.raises(ValueError, match=message) as error:
            IDC(**{"n_clusters": 3} | TINY | settings).fit(X)
        assert "\n" not in str(error.value)

    def test_every_setting_is_checked(self):
        free = {"n_clusters", "random_state", "device", "checkpoint"}
        assert IDC._parameter_constraints.keys() == IDC().get_params().keys() - free

    def test_divergence_is_an_error(self, X):
        with pytest.raises(FloatingPointError, match="training diverged: 'gated' is inf in epoch"):
            IDC(3, **TINY).fit(X * 1e25)


class Killed(BaseException):
    """Stands for SIGKILL: nothing catches it."""


class TestCheckpoint:
    @pytest.mark.parametrize("phase", ["select_features", "compress_clusters", "explain_clusters"])
    @pytest.mark.parametrize("n_projections", [None, 4])
    def test_a_fit_that_was_cut_off_resumes(self, X, tmp_path, monkeypatch, phase, n_projections):
        settings = TINY | {"n_projections": n_projections, "n_init": 2}
        expected = IDC(3, **settings).fit_seeds(X, [0, 1])

        def killed(*_):
            raise Killed

        with monkeypatch.context() as patch:
            patch.setattr(phases.IDCPhases, phase, killed)
            with pytest.raises(Killed):
                IDC(3, **settings, checkpoint=tmp_path).fit_seeds(X, [0, 1])
        with monkeypatch.context() as patch:  # what was finished does not run again
            patch.setattr(phases.IDCPhases, "warm_up", killed)
            resumed = IDC(3, **settings, checkpoint=tmp_path).fit_seeds(X, [0, 1])
        for first, second in zip(resumed, expected, strict=True):
            assert_equal_fits(first, second)
            for name, values in second.history_.items():
                np.testing.assert_array_equal(first.history_[name], values)

    def test_a_finished_fit_is_restored_with_its_seconds(self, X, tmp_path):
        first = IDC(3, **TINY, checkpoint=tmp_path).fit(X)
        second = IDC(3, **TINY, checkpoint=tmp_path).fit(X)
        assert_equal_fits(first, second)
        assert second.fit_seconds_ == first.fit_seconds_
        assert len(list(tmp_path.iterdir())) == 4

    def test_other_settings_start_over(self, X, tmp_path):
        IDC(3, **TINY, checkpoint=tmp_path).fit(X)
        other = IDC(3, **TINY | {"gate_weight": 2.0}, checkpoint=tmp_path).fit(X)
        assert_equal_fits(other, IDC(3, **TINY | {"gate_weight": 2.0}).fit(X))
        assert len(list(tmp_path.iterdir())) == 7  # the warm-up reads no weight of gates

    def test_settings_of_the_head_keep_the_first_stage(self, X, tmp_path, monkeypatch):
        IDC(3, **TINY, checkpoint=tmp_path).fit(X)
        changed = TINY | {"head_offset": 0.0, "temperature": 2.0, "head_units": 9, "max_epochs": 7}
        expected = IDC(3, **changed).fit(X)

        def repeated(*_):
            raise AssertionError("the first stage ran again")

        monkeypatch.setattr(phases.IDCPhases, "warm_up", repeated)
        monkeypatch.setattr(phases.IDCPhases, "select_features", repeated)
        assert_equal_fits(IDC(3, **changed, checkpoint=tmp_path).fit(X), expected)


class TestSaved:
    @pytest.mark.parametrize("gated", [True, False])
    def test_all_answers_come_back(self, X, tmp_path, gated):
        model = IDC(3, **TINY, gated=gated, checkpoint=tmp_path / "checkpoint").fit(X)
        model.save(tmp_path / "model")
        loaded = IDC.load(tmp_path / "model")
        assert_equal_fits(loaded, model)
        for method in ("predict", "predict_proba", "transform"):
            np.testing.assert_array_equal(getattr(loaded, method)(X), getattr(model, method)(X))
        np.testing.assert_array_equal(loaded.explain(X).sample, model.explain(X).sample)
        assert loaded.n_selected_ == model.n_selected_
        assert loaded.history_.keys() == model.history_.keys()
        assert loaded.get_feature_names_out().tolist() == ["idc0", "idc1", "idc2"]

    def test_names_are_still_checked(self, X, tmp_path):
        IDC(3, **TINY).fit(X).save(tmp_path)
        with pytest.raises(ValueError, match="Feature names unseen at fit time"):
            IDC.load(tmp_path).predict(X.rename(columns={"left": "Left"}))
