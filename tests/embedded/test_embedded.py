"""DEC, IDEC and DCN find planted clusters, keep to their equations, remember what they learnt."""

import inspect
import itertools

import numpy as np
import pytest
import torch
from planted import square
from scipy.stats import multivariate_normal
from sklearn.datasets import make_blobs

from whycluster import BRB, DCN, DEC, IDEC
from whycluster.embedded import phases
from whycluster.embedded.centres import GaussianCentres, RunningMeans, StudentCentres
from whycluster.embedded.phases import EmbeddedPhases
from whycluster.embedded.reclustering import Clusters, recluster
from whycluster.metrics import clustering_accuracy
from whycluster.training import losses
from whycluster.training.streams import Streams

METHODS = [DEC, IDEC, DCN]
TINY = dict(
    hidden_layers=(8,), pretrain_epochs=2, max_epochs=4, batch_size=32, n_init=2, random_state=0,
    device="cpu",
)  # fmt: skip
SMALL = dict(
    hidden_layers=(32,), pretrain_epochs=60, max_epochs=20, batch_size=60, n_init=5, device="cpu"
)


@pytest.fixture(scope="module")
def planted():
    return square(240, seed=0)


@pytest.fixture(scope="module")
def X(planted):
    return planted[0]


@pytest.fixture(scope="module")
def found(X):
    brb = BRB(interval=8, alpha=0.8)
    return {m: m(4, **SMALL, n_latent=3, brb=brb).fit_seeds(X, [0, 1]) for m in METHODS}


@pytest.fixture(params=METHODS, ids=lambda method: method.__name__)
def method(request):
    return request.param


@pytest.fixture
def model(found, method):
    return found[method][0]


class TestTruth:
    def test_planted_clusters_are_found_by_every_seed(self, found, method, planted):
        for model in found[method]:
            assert clustering_accuracy(planted[1], model.labels_) >= 0.98

    def test_rows_never_seen_are_put_in_their_cluster(self, model):
        X_new, y_new = square(200, seed=1)
        assert clustering_accuracy(y_new, model.predict(X_new)) >= 0.98

    def test_planted_features_are_on_top_by_name(self, model, X):
        top = model.explain(X[:60]).top(2, "overall")["feature"]
        assert set(top) == {"left", "right"}

    @pytest.mark.parametrize("recluster", ["random", "k-means++", "k-medoids", "em"])
    def test_other_reclusterings_do_no_harm_to_clear_clusters(self, planted, recluster):
        brb = BRB(interval=8, recluster=recluster)
        model = IDEC(4, **SMALL, n_latent=3, brb=brb, random_state=0).fit(planted[0])
        chance = 0.5 if recluster in ("random", "k-means++") else 0.95
        assert clustering_accuracy(planted[1], model.labels_) >= chance

    def test_responsibilities_of_a_mixture_find_them_too(self, planted):
        brb = BRB(interval=8, recluster="em")
        settings = SMALL | {"assignment": "gaussian", "brb": brb, "random_state": 0}
        model = IDEC(4, n_latent=3, **settings).fit(planted[0])
        assert clustering_accuracy(planted[1], model.labels_) >= 0.95


class TestCentres:
    def test_learnt_centres_answer(self, model, X):
        z = model.transform(X)
        distances = ((z[:, None] - model.cluster_centers_) ** 2).sum(axis=2)
        np.testing.assert_array_equal(model.predict(X), distances.argmin(axis=1))
        assert model.inertia_ == pytest.approx(distances.min(axis=1).mean(), rel=1e-4)

    def test_memberships_are_those_of_student(self, model, X):
        z = model.transform(X)
        kernel = 1 / (1 + ((z[:, None] - model.cluster_centers_) ** 2).sum(axis=2))
        expected = kernel / kernel.sum(axis=1, keepdims=True)
        np.testing.assert_allclose(model.predict_proba(X), expected, atol=1e-5)

    def test_centres_of_dcn_are_means_of_all_rows_that_went_to_them(self):
        centres = RunningMeans(1, 2, 1, first_count=2, max_count=float("inf"))
        centres.place(Clusters(torch.tensor([[[0.0], [10.0]]])))
        centres.follow(torch.tensor([[[3.0], [6.0], [4.0]]]), torch.tensor([[0, 0, 1]]))
        assert centres.centres.flatten().tolist() == [9 / 4, 24 / 3]
        assert centres.counts.flatten().tolist() == [4, 3]
        centres.follow(torch.tensor([[[1.0]]]), torch.tensor([[0]]))
        assert centres.centres.flatten().tolist() == [2, 8]

    def test_centres_of_dcn_are_stepped_as_by_one_row_after_another(self):
        rng = np.random.default_rng(0)
        z, labels = (
            torch.tensor(rng.normal(size=(1, 9, 2))),
            torch.tensor([[0, 1, 1, 0, 1, 1, 0, 1, 1]]),
        )
        centres = RunningMeans(1, 2, 2, first_count=3, max_count=float("inf")).double()
        expected, counts = np.zeros((2, 2)), np.array([3, 3])
        for row, k in zip(z[0].numpy(), labels[0].tolist(), strict=True):  # Eq. (8) of DCN
            counts[k] += 1
            expected[k] -= (expected[k] - row) / counts[k]
        centres.follow(z, labels)
        np.testing.assert_allclose(centres.centres[0], expected)

    def test_a_limited_count_keeps_centres_moving(self):
        centres = RunningMeans(1, 1, 1, first_count=1, max_count=1)
        for _ in range(30):
            centres.follow(torch.ones(1, 1, 1), torch.zeros(1, 1, dtype=torch.long))
        assert centres.centres.item() == pytest.approx(1, abs=1e-6)
        centres.forget(None)
        assert centres.counts.item() == 1

    def test_responsibilities_are_those_of_the_mixture(self):
        z = make_blobs(150, 3, centers=4, cluster_std=2.0, random_state=0)[0]
        rows = torch.tensor(z, dtype=torch.float32)[None]
        mixture = recluster(rows, 4, "em", Streams([0]))
        centres = GaussianCentres(1, 4, 3)
        centres.place(mixture)
        means, covariances, weights = (part[0].double().numpy() for part in mixture)
        parameters = zip(means, covariances, weights, strict=True)
        density = np.stack([w * multivariate_normal(m, c).pdf(z) for m, c, w in parameters], axis=1)
        q = centres(rows).softmax(dim=2)[0].detach()
        np.testing.assert_allclose(q, density / density.sum(axis=1, keepdims=True), atol=1e-4)

    def test_momentum_of_replaced_centres_is_forgotten(self):
        centres = StudentCentres(1, 2, 2)
        optimizer = torch.optim.Adam(centres.parameters(), lr=0.1, fused=True)
        centres(torch.ones(1, 3, 2)).sum().backward()
        optimizer.step()
        assert optimizer.state[centres.centres]["step"] == 1
        centres.forget(optimizer)
        assert centres.centres not in optimizer.state
        optimizer.step()
        assert optimizer.state[centres.centres]["step"] == 1


def losses_of(model, X, network=None):
    x = torch.tensor(X.to_numpy(), dtype=torch.float32)
    run = EmbeddedPhases(model, network or model.network_, x, Streams([0]))
    return run.losses(x[None])[0]


class TestLosses:
    def test_divergence_is_that_of_dec(self, X):
        model = DEC(3, **TINY).fit(X)
        value = losses_of(model, X)["divergence"]
        q = model.predict_proba(X).astype(float)
        p = q**2 / q.sum(axis=0)
        p /= p.sum(axis=1, keepdims=True)
        assert value.item() == pytest.approx((p * np.log(p / q)).sum(axis=1).mean(), rel=1e-3)

    def test_dcn_adds_half_its_weight_of_the_distance(self, X):
        model = DCN(3, cluster_weight=0.4, **TINY).fit(X)
        parts = losses_of(model, X)
        assert parts["distance"].item() == pytest.approx(0.2 * model.inertia_, rel=1e-3)

    def test_idec_weighs_the_divergence_and_reconstructs(self, X):
        model = IDEC(3, cluster_weight=0.5, **TINY).fit(X)
        x = torch.tensor(X.to_numpy(), dtype=torch.float32)[None]
        network = model.network_
        parts = losses_of(model, X)
        plain = losses_of(DEC(3, **TINY), X, network)["divergence"]
        error = losses.reconstruction_error(network.autoencoder(x), x)
        assert parts["divergence"].item() == pytest.approx(0.5 * plain.item())
        assert parts["reconstruction"].item() == pytest.approx(error.item())

    def test_dec_leaves_the_decoder_as_pretrained(self, X, tmp_path):
        DEC(3, **TINY, checkpoint=tmp_path).fit(X)
        more = DEC(3, **TINY | {"max_epochs": 9}, checkpoint=tmp_path).fit(X)
        less = DEC(3, **TINY, checkpoint=tmp_path).fit(X)
        for a, b in zip(
            *(m.network_.autoencoder.decoder.parameters() for m in (more, less)), strict=True
        ):
            assert torch.equal(a, b)


class TestInterventions:
    def test_they_happen_when_they_are_due(self, X, method, monkeypatch):
        seen = []
        monkeypatch.setattr(phases, "soft_reset", lambda *args: seen.append("reset"))
        monkeypatch.setattr(EmbeddedPhases, "place", lambda *args: seen.append(args[1]))
        model = method(3, **TINY | {"max_epochs": 7}, brb=BRB(interval=3)).fit(X)
        assert seen == ["k-means", "reset", "k-means", "reset", "k-means"]
        assert model.interventions_.tolist() == [3, 6]

    @pytest.mark.parametrize(
        ("brb", "expected"),
        [
            (BRB(interval=2, recluster=None), ["reset"]),
            (BRB(interval=2, reset=False, momentum=False), ["k-means"]),
            (BRB(interval=2, reset=False), ["k-means", "forget"]),
            (BRB(interval=2), ["reset", "k-means", "forget"]),
        ],
    )
    def test_reset_recluster_and_both_are_settings_of_one_thing(
        self, X, brb, expected, monkeypatch
    ):
        seen = []
        monkeypatch.setattr(phases, "soft_reset", lambda *args: seen.append("reset"))
        monkeypatch.setattr(EmbeddedPhases, "place", lambda *args: seen.append(args[1]))
        monkeypatch.setattr(StudentCentres, "forget", lambda *args: seen.append("forget"))
        DEC(3, **TINY | {"max_epochs": 3}, brb=brb).fit(X)
        assert seen[1:] == expected

    def test_an_intervention_that_keeps_everything_changes_nothing(self, X):
        settings = TINY | {"max_epochs": 3, "batch_size": 500}  # one batch: rows in their order
        plain = DEC(3, **settings).fit(X)
        kept = DEC(3, **settings, brb=BRB(interval=1, alpha=1, recluster=None)).fit(X)
        np.testing.assert_array_equal(kept.embedding_, plain.embedding_)
        np.testing.assert_array_equal(kept.cluster_centers_, plain.cluster_centers_)

    def test_running_statistics_follow_the_changed_encoder(self, model, X):
        changed = model.intervene(X, BRB(alpha=0, recluster=None))
        first = changed.network_.autoencoder.encoder.linears[0]
        x = torch.tensor(X.to_numpy(), dtype=torch.float32)[None]
        mean = changed.network_.autoencoder.encoder.norms[0].running_mean
        torch.testing.assert_close(mean, first(x).mean(dim=1), atol=1e-4, rtol=1e-3)

    def test_clusters_found_anew_keep_their_numbers(self, model, X):
        changed = model.intervene(X, BRB(alpha=0.9), random_state=1)
        assert (changed.labels_ == model.labels_).mean() >= 0.98

    def test_everything_of_a_cluster_is_renumbered(self):
        order = torch.tensor([[2, 0, 1]])
        means = RunningMeans(1, 3, 1, first_count=1, max_count=9)
        means.place(Clusters(torch.tensor([[[1.0], [2.0], [3.0]]])))
        means.counts = torch.tensor([[[4.0], [5.0], [6.0]]])
        means.reorder(order)
        assert means.centres.flatten().tolist() == [3, 1, 2]
        assert means.counts.flatten().tolist() == [6, 4, 5]
        rows = torch.tensor(make_blobs(60, 2, centers=3, random_state=0)[0])[None].float()
        mixture = GaussianCentres(1, 3, 2)
        mixture.place(recluster(rows, 3, "em", Streams([0])))
        before = mixture(rows)
        mixture.reorder(order)
        torch.testing.assert_close(mixture(rows), before[:, :, order[0]])

    def test_a_fitted_model_can_be_seen_after_an_intervention(self, model, X):
        before = model.embedding_.copy(), model.labels_.copy()
        changed = model.intervene(X, BRB(alpha=0.5))
        assert not np.allclose(changed.embedding_, model.embedding_)
        np.testing.assert_array_equal(changed.predict(X), changed.labels_)
        np.testing.assert_array_equal(model.transform(X), before[0])
        np.testing.assert_array_equal(model.predict(X), before[1])
        same = model.intervene(X, BRB(alpha=1, recluster=None))
        np.testing.assert_array_equal(same.cluster_centers_, model.cluster_centers_)

    def test_a_mixture_is_found_anew_as_a_mixture(self, X):
        model = DEC(3, **TINY, assignment="gaussian").fit(X)
        changed, asked = model.intervene(X), model.intervene(X, BRB(recluster="em"))
        np.testing.assert_array_equal(changed.cluster_centers_, asked.cluster_centers_)
        assert not np.allclose(changed.cluster_centers_, model.cluster_centers_)
        with pytest.raises(ValueError, match=r"needs covariances.*recluster='em'"):
            model.intervene(X, BRB())


class TestHistory:
    def test_every_epoch_of_both_phases_is_told(self, model):
        watched = {"inertia", "intra", "inter", "changed"}
        names = {name.split("/")[1] for name in model.history_ if name.startswith("clustering/")}
        assert watched < names
        for name, values in model.history_.items():
            assert values.shape == (60 if name.startswith("pretraining") else 20,)
            assert np.isfinite(values).all()

    def test_what_is_watched_is_what_it_says(self, X):
        seen = []
        settings = TINY | {"batch_size": 500, "max_epochs": 3}
        model = DCN(3, **settings).fit(
            X, on_epoch=lambda epoch, labels: seen.append(labels[0].copy())
        )
        changed = [(a != b).mean() for a, b in itertools.pairwise(seen)]
        np.testing.assert_allclose(model.history_["clustering/changed"][1:], changed)
        assert (
            model.history_["clustering/intra"] ** 2 <= model.history_["clustering/inertia"]
        ).all()
        centres = model.cluster_centers_
        between = [np.linalg.norm(centres[i] - centres[j]) for i, j in ((0, 1), (0, 2), (1, 2))]
        assert model.history_["clustering/inter"][-1] == pytest.approx(np.mean(between), rel=1e-4)

    def test_labels_of_each_epoch_are_told_to_whoever_asks(self, X, method):
        seen = {}
        method(3, **TINY).fit_seeds(X, [0, 1], on_epoch=seen.__setitem__)
        assert list(seen) == [0, 1, 2, 3]
        for labels in seen.values():
            assert labels.shape == (2, len(X))
            assert set(labels.flat) <= {0, 1, 2}

    def test_asking_changes_nothing(self, X, method):
        asked = method(3, **TINY).fit(X, on_epoch=lambda *_: None)
        np.testing.assert_array_equal(asked.embedding_, method(3, **TINY).fit(X).embedding_)


class TestSeeds:
    def test_a_stack_equals_single_fits(self, X, method):
        settings = TINY | {"brb": BRB(interval=2), "batch_size": 100}
        stack = method(3, **settings).fit_seeds(X, [5, 6])
        for seed, stacked in zip([5, 6], stack, strict=True):
            single = method(3, **settings | {"random_state": seed}).fit(X)
            np.testing.assert_allclose(stacked.embedding_, single.embedding_, atol=1e-3)
            np.testing.assert_allclose(stacked.cluster_centers_, single.cluster_centers_, atol=1e-3)


class Killed(Exception):
    pass


class TestCheckpoint:
    def test_pretraining_is_shared_by_the_methods(self, X, tmp_path, monkeypatch):
        expected = {m: m(3, **TINY).fit(X).embedding_ for m in METHODS}
        DEC(3, **TINY, checkpoint=tmp_path).fit(X)

        def killed(*_):
            raise Killed

        monkeypatch.setattr(EmbeddedPhases, "pretrain", killed)
        for method in METHODS:
            model = method(3, **TINY, checkpoint=tmp_path).fit(X)
            np.testing.assert_array_equal(model.embedding_, expected[method])
        with pytest.raises(Killed):
            DEC(3, **TINY | {"pretrain_epochs": 3}, checkpoint=tmp_path).fit(X)
        assert len(list(tmp_path.iterdir())) == 4

    def test_a_restored_fit_tells_its_epochs_again(self, X, tmp_path):
        first, second = {}, {}
        settings = TINY | {"checkpoint": tmp_path, "brb": {"interval": 2}}
        model = IDEC(3, **settings).fit_seeds(X, [0, 1], on_epoch=first.__setitem__)
        again = IDEC(3, **settings).fit_seeds(X, [0, 1], on_epoch=second.__setitem__)
        assert first.keys() == second.keys()
        for epoch, labels in first.items():
            np.testing.assert_array_equal(second[epoch], labels)
        np.testing.assert_array_equal(again[1].embedding_, model[1].embedding_)
        assert again[0].fit_seconds_ == model[0].fit_seconds_

    def test_other_interventions_start_over(self, X, tmp_path):
        settings = TINY | {"checkpoint": tmp_path}
        DEC(3, **settings, brb=BRB(interval=2)).fit(X)
        DEC(3, **settings, brb=BRB(interval=2, alpha=0.5)).fit(X)
        assert len(list(tmp_path.iterdir())) == 3


class TestSettings:
    def test_published_defaults(self):
        model = DEC(10, pretrain_epochs=250, max_epochs=400, brb=BRB(interval=20, alpha=0.8))
        assert model.get_params() == DEC(10, brb=BRB()).get_params()
        model.n_features_in_ = 64
        widths = [
            tuple(layer.weight.shape[1:])
            for layer in model._build(Streams([0])).autoencoder.encoder.linears
        ]
        assert widths == [(64, 1024), (1024, 512), (512, 256), (256, 10)]

    def test_no_pretraining(self, X, method):
        model = method(3, **TINY | {"pretrain_epochs": 0}).fit(X)
        assert not any(name.startswith("pretraining") for name in model.history_)

    def test_denoising_pretraining_is_another_one(self, X):
        plain, masked = (DEC(3, **TINY, pretrain_mask=m).fit(X) for m in (0.0, 0.5))
        assert not np.allclose(plain.embedding_, masked.embedding_)

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"hidden_layers": (8, 0)}, "hidden_layers holds 0"),
            ({"assignment": "gaussian", "brb": BRB()}, "recluster='k-means' does not give"),
            ({"brb": {"interval": 0}}, "interval=0"),
            ({"brb": 20}, "'brb' parameter"),
            ({"max_epochs": 0}, "'max_epochs' parameter"),
        ],
    )
    def test_bad_settings_are_named(self, X, settings, message):
        with pytest.raises(ValueError, match=message):
            DEC(3, **TINY | settings).fit(X)

    def test_settings_of_brb_come_back_from_a_file(self, X, tmp_path):
        model = DEC(3, **TINY, brb=BRB(interval=2, recluster="em"), assignment="gaussian").fit(X)
        model.save(tmp_path)
        loaded = DEC.load(tmp_path)
        assert loaded.brb == model.brb
        np.testing.assert_array_equal(loaded.predict_proba(X), model.predict_proba(X))

    def test_one_row_is_explained_as_among_others(self, model, X):
        many = model.explain(X[:5]).sample
        alone = model.explain(X[:1]).sample
        np.testing.assert_allclose(alone, many[:1], rtol=1e-3, atol=1e-5)
        assert np.abs(alone).max() > 0

    def test_gradient_shap_is_an_answer_too(self, model, X):
        why = model.explain(X[:40], method="gradient_shap", n_steps=20)
        assert set(why.top(2, "overall")["feature"]) == {"left", "right"}
        assert why.kind == "attribution"


@pytest.mark.parametrize("method", [DEC, IDEC, DCN])
def test_every_setting_is_documented(method):
    described = {line.split(" : ")[0] for line in inspect.getdoc(method).splitlines()}
    assert set(method().get_params()) <= described
