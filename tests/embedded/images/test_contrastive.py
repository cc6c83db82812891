"""Contrastive clustering of images: planted images are found, phases do what they say."""

import itertools
import math

import numpy as np
import pytest
import torch
from planted import patterns
from sklearn.cluster import KMeans

from whycluster import BRB
from whycluster.embedded import phases
from whycluster.embedded.images import phases as image_phases
from whycluster.embedded.images.estimator import ContrastiveClustering, _image_shape
from whycluster.embedded.images.network import Head, sharpness
from whycluster.embedded.images.views import Views
from whycluster.metrics import clustering_accuracy
from whycluster.training import losses
from whycluster.training.streams import Streams

METHODS = ("dec", "idec", "dcn")
NET = dict(width=4, hidden_layers=(16,), n_latent=8, projection_units=16, device="cpu", n_init=2)
TINY = NET | dict(
    pretrain_epochs=1, max_epochs=4, warmup_epochs=1, batch_size=32, random_state=0
)  # fmt: skip
TEXTURES = Views(crop=0.4)


@pytest.fixture(scope="module")
def planted():
    return patterns(150, seed=0)


@pytest.fixture(scope="module")
def X(planted):
    return planted[0][:60]


@pytest.fixture(scope="module")
def found(planted):
    net = dict(width=8, hidden_layers=(32,), n_latent=16, projection_units=64, device="cpu")
    rates = dict(pretrain_learning_rate=0.01, self_label_learning_rate=1e-3, warmup_epochs=1)
    epochs = dict(pretrain_epochs=20, max_epochs=5, self_label_epochs=2, batch_size=50)
    brb = BRB(interval=3, alpha=0.7, growth=0.2)
    model = ContrastiveClustering(3, **net, **rates, **epochs, temperature=0.2, views=TEXTURES)
    return model.set_params(brb=brb, random_state=0).fit(planted[0])


@pytest.fixture(params=METHODS)
def method(request):
    return request.param


def phases_of(X, on_epoch=None, seeds=(0,), **settings):
    """The phases of an estimator that has been built but not trained."""
    model = ContrastiveClustering(3, **TINY | settings)
    data, _ = model._validate(X)
    streams = Streams(seeds)
    return image_phases.ImagePhases(
        model, model._build(streams), torch.from_numpy(data), streams, on_epoch
    )


class TestTruth:
    def test_planted_textures_are_found_where_kmeans_of_pixels_is_lost(self, found, planted):
        X, y = planted
        assert clustering_accuracy(y, found.labels_) >= 0.95
        assert clustering_accuracy(y, KMeans(3, random_state=0).fit_predict(X)) < 0.6

    def test_images_never_seen_are_put_in_their_cluster(self, found):
        X_new, y_new = patterns(100, seed=1)
        assert clustering_accuracy(y_new, found.predict(X_new)) >= 0.95

    def test_attributions_add_up_to_the_logit(self, found, X):
        why = found.explain(X[:20], n_steps=200)
        module = found.decision_module()
        with torch.no_grad():
            logits = module(torch.tensor(X[:20].to_numpy(), dtype=torch.float32))
            start = module(torch.tensor(found.background_).mean(dim=0, keepdim=True))
        rise = (logits - start)[torch.arange(20), found.labels_[:20]].numpy()
        np.testing.assert_allclose(why.sample.sum(axis=1), rise, rtol=0.1, atol=0.1 * rise.std())
        assert why.feature_names == tuple(X.columns)

    def test_centres_describe_the_clusters_of_the_head(self, found, planted):
        for k in range(3):
            mean = found.transform(planted[0])[found.labels_ == k].mean(axis=0)
            np.testing.assert_allclose(found.cluster_centers_[k], mean, atol=1e-3)


class TestShapes:
    @pytest.mark.parametrize(
        ("n_features", "shape"),
        [(64, (1, 8, 8)), (3072, (3, 32, 32)), (192, (3, 8, 8)), (3, (3, 1, 1)), (5, (1, 1, 5))],
    )
    def test_squares_are_recognised(self, n_features, shape):
        assert _image_shape(None, n_features) == shape

    @pytest.mark.parametrize("shape", [(1, 8, 9), (64,), (8, 8), (1, 8, 8.0), (-1, -8, 8)])
    def test_impossible_shapes_are_named(self, shape):
        with pytest.raises(ValueError, match="does not hold 64 features"):
            _image_shape(shape, 64)

    def test_a_shape_can_be_given(self, X):
        model = ContrastiveClustering(3, **TINY | {"max_epochs": 1}, image_shape=[2, 4, 8]).fit(X)
        assert model.image_shape_ == (2, 4, 8)


class TestViews:
    def test_two_views_of_a_batch_follow_each_other(self, X):
        phases = phases_of(X, views=Views(crop=1.0, flip=0.0, jitter=0.0, grey=0.0))
        rows = torch.tensor([[4, 2, 9]])
        views = phases.two_views(rows)
        expected = phases.data[rows].repeat(1, 2, 1)
        torch.testing.assert_close(views, expected, atol=0.01, rtol=0)

    def test_views_keep_to_the_scale_of_the_images(self, X):
        phases = phases_of(X / 51 - 2)
        views = phases.two_views(torch.arange(60)[None])
        low, high = phases.data.aminmax()
        assert low - 1e-3 <= views.min() < low + 0.5
        assert high - 0.5 < views.max() <= high + 1e-3

    def test_views_differ(self, X):
        first, second = phases_of(X).two_views(torch.arange(20)[None]).chunk(2, dim=1)
        assert (first - second).abs().amax(dim=2).min() > 20


class TestObjective:
    def objective(self, X, method, **settings):
        phases = phases_of(X, method=method, **settings)
        network = phases.network
        with torch.no_grad():
            centres = torch.randn(1, 3, 8, generator=torch.Generator().manual_seed(0))
            network.clusters.centres.copy_(centres)
        views = phases.two_views(torch.arange(30)[None])
        parts, own, logits = phases.losses(views)
        other, second = network.encoder(views).detach().chunk(2, dim=1)
        torch.testing.assert_close(own.detach(), second)
        return parts, other, second, network, logits

    @pytest.mark.parametrize("method", ["dec", "idec"])
    def test_divergence_is_that_of_both_views_from_targets_of_the_second(self, X, method):
        parts, other, own, network, _ = self.objective(X, method, cluster_weight=0.3)
        q, r = (network.clusters(z).softmax(dim=2).double() for z in (own, other))
        p = losses.dec_target(q)
        kl = [(p * (p / each).log()).sum(dim=2).mean() for each in (q, r)]
        assert parts["clustering"].item() == pytest.approx(0.3 * sum(kl).item() / 2, rel=1e-4)

    def test_distance_is_that_of_both_views_to_the_centre_of_the_second(self, X):
        parts, other, own, network, logits = self.objective(X, "dcn", cluster_weight=0.4)
        centres = network.clusters.centres[0][logits[0].argmax(dim=1)]
        squared = [(z[0] - centres).square().sum(dim=1).mean() for z in (own, other)]
        expected = 0.4 / 2 * sum(squared).item() / 2
        assert parts["clustering"].item() == pytest.approx(expected, rel=1e-4)

    def test_contrast_is_left_out_by_dec_only(self, X):
        names = {m: set(self.objective(X, m)[0]) for m in METHODS}
        assert names["dec"] == {"clustering"}
        assert names["idec"] == names["dcn"] == {"clustering", "contrast"}

    def test_contrast_is_that_of_the_projections(self, X):
        parts, other, own, network, _ = self.objective(X, "idec", temperature=0.2)
        h = network.simclr.projector(torch.cat([other, own], dim=1))
        assert parts["contrast"].item() == pytest.approx(losses.nt_xent(h, 0.2).item(), rel=1e-4)

    def test_published_weights(self, X):
        for method, weight in (("dec", 1.0), ("idec", 0.5), ("dcn", 1e-5)):
            default = self.objective(X, method)[0]["clustering"]
            given = self.objective(X, method, cluster_weight=weight)[0]["clustering"]
            assert default.item() == pytest.approx(given.item())
            assert default.item() > 0


class TestPretraining:
    def test_contrast_falls(self, found):
        contrast = found.history_["pretraining/contrast"]
        assert contrast[-1] < 0.8 * contrast[0]

    def test_kernels_and_matrices_of_the_encoder_decay_and_nothing_else(self, X):
        simclr = phases_of(X).network.simclr
        decayed, others = image_phases.adamw(simclr, 0.1, 0.5).param_groups
        assert (decayed["weight_decay"], others["weight_decay"]) == (0.5, 0.0)
        names = {id(p): name for name, p in simclr.named_parameters()}
        kept = {names[id(p)] for p in others["params"]}
        assert {n for n in names.values() if n.startswith("projector")} <= kept
        assert {n for n in names.values() if n.endswith("bias")} <= kept
        assert all(p.dim() > 2 and n not in kept for p in decayed["params"] for n in [names[id(p)]])
        assert len(decayed["params"]) + len(others["params"]) == len(names)

    def test_the_learning_rate_rises_to_its_full_height(self, X):
        phases = phases_of(X, max_epochs=10, warmup_epochs=4)
        rates = [phases.schedule(epoch / 10) for epoch in range(10)]
        assert rates[0] == 0.01
        assert rates[2] == pytest.approx(0.505)
        assert rates[4:] == [1.0] * 6
        assert phases_of(X, warmup_epochs=0).schedule(0.0) == 1.0


class TestClustering:
    def test_no_epochs_leave_kmeans_of_the_pretrained_embedding(self, X):
        model = ContrastiveClustering(3, **TINY | {"max_epochs": 0}).fit(X)
        assert set(model.history_) == {"pretraining/contrast"}
        z = model.transform(X)
        distances = ((z[:, None] - model.cluster_centers_) ** 2).sum(axis=2)
        np.testing.assert_array_equal(model.labels_, distances.argmin(axis=1))
        means = [z[model.labels_ == k].mean(axis=0) for k in range(3)]
        np.testing.assert_allclose(model.cluster_centers_, means, atol=0.2)

    def test_interventions_happen_when_they_are_due(self, X, method, monkeypatch):
        seen = []
        monkeypatch.setattr(phases, "soft_reset", lambda *args: seen.append(args[2].alpha))
        brb = BRB(interval=3, alpha=0.7)
        model = ContrastiveClustering(3, method=method, **TINY, brb=brb).fit(X)
        assert seen == [0.7]
        assert model.interventions_.tolist() == [3]

    def test_an_intervention_can_be_looked_at(self, X):
        model = ContrastiveClustering(3, **TINY | {"max_epochs": 1}).fit(X)
        changed = model.intervene(X, BRB(alpha=0.5))
        assert not np.allclose(changed.embedding_, model.embedding_)
        same = model.intervene(X, BRB(alpha=1, recluster=None))
        np.testing.assert_array_equal(same.cluster_centers_, model.cluster_centers_)

    def test_epochs_are_told(self, X):
        seen = {}
        model = ContrastiveClustering(3, **TINY).fit(X, on_epoch=seen.__setitem__)
        assert list(seen) == [0, 1, 2, 3]
        assert {labels.shape for labels in seen.values()} == {(1, 60)}
        changed = [(a != b).mean() for a, b in itertools.pairwise(seen.values())]
        np.testing.assert_allclose(model.history_["clustering/changed"][1:], changed)

    def test_a_stack_equals_single_fits(self, X):
        settings = TINY | {"max_epochs": 2, "self_label_epochs": 1, "batch_size": 60}
        settings |= {"pretrain_learning_rate": 1e-4, "learning_rate": 1e-4}  # rounding stays small
        stack = ContrastiveClustering(3, **settings).fit_seeds(X, [5, 6])
        for seed, stacked in zip([5, 6], stack, strict=True):
            single = ContrastiveClustering(3, **settings | {"random_state": seed}).fit(X)
            np.testing.assert_allclose(stacked.embedding_, single.embedding_, atol=1e-3)
            np.testing.assert_allclose(stacked.cluster_centers_, single.cluster_centers_, atol=1e-3)


class TestSelfLabelling:
    def start(self, scale=1.0, confidence=0.9):
        generator = torch.Generator().manual_seed(0)
        z = scale * torch.randn(2, 200, 4, generator=generator)
        centres = scale * torch.randn(2, 3, 4, generator=generator)
        head = Head(2, 3, 4)
        head.start(centres, z, confidence)
        return head(z), torch.cdist(z, centres)

    @pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
    def test_the_head_starts_as_the_nearest_centre_and_half_of_the_rows_are_sure(self, scale):
        logits, distances = self.start(scale)
        assert torch.equal(logits.argmax(dim=2), distances.argmin(dim=2))
        sure = (logits.softmax(dim=2).amax(dim=2) >= 0.9).float().mean(dim=1)
        torch.testing.assert_close(sure, torch.tensor([0.5, 0.5]), atol=0.02, rtol=0)

    def test_memberships_of_the_head_sum_to_one_and_agree_with_labels(self, found, planted):
        memberships = found.predict_proba(planted[0])
        np.testing.assert_allclose(memberships.sum(axis=1), 1, rtol=1e-5)
        np.testing.assert_array_equal(memberships.argmax(axis=1), found.labels_)
        np.testing.assert_array_equal(found.predict(planted[0]), found.labels_)

    def test_equal_rows_are_no_obstacle(self):
        assert torch.isfinite(sharpness(torch.zeros(1, 5, 3), 0.99)).all()

    def test_the_embedding_is_trained_and_answers_change(self, X):
        settings = TINY | {"self_label_learning_rate": 0.01, "max_epochs": 1}
        plain = ContrastiveClustering(3, **settings).fit(X)
        taught = ContrastiveClustering(3, **settings, self_label_epochs=3).fit(X)
        assert not np.allclose(plain.embedding_, taught.embedding_)
        assert (taught.labels_ == taught.network_.head(torch.tensor(taught.embedding_)[None])[0]
                .argmax(dim=1).numpy()).all()  # fmt: skip
        with pytest.raises(ValueError, match="self_label_epochs=0"):
            taught.intervene(X)

    def test_harder_views_hide_a_square_and_are_normalised_by_their_batch(self, X, monkeypatch):
        seen = []

        def view(self, rows, kind):
            seen.append((kind.cutout, self.network.encoder.training))
            return self.data[rows]

        monkeypatch.setattr(image_phases.ImagePhases, "view", view)
        ContrastiveClustering(3, **TINY | {"max_epochs": 0}, self_label_epochs=1).fit(X)
        assert seen[0] == (0, True)
        assert seen[-1] == (0.5, True)


class Killed(Exception):
    pass


class TestCheckpoint:
    def test_phases_are_shared_as_far_as_settings_agree(self, X, tmp_path, monkeypatch):
        def fit(**settings):
            model = ContrastiveClustering(3, **TINY | settings, checkpoint=tmp_path)
            return model.fit(X, on_epoch=lambda *_: None)

        def killed(*_):
            raise Killed

        plain = fit()
        monkeypatch.setattr(image_phases.ImagePhases, "pretrain", killed)
        assert fit(method="dec").history_["clustering/clustering"].shape == (4,)
        monkeypatch.setattr(image_phases.ImagePhases, "cluster", killed)
        taught = fit(self_label_epochs=1)
        np.testing.assert_array_equal(
            taught.history_["clustering/inertia"], plain.history_["clustering/inertia"]
        )
        with pytest.raises(Killed):
            fit(cluster_weight=0.1)
        with pytest.raises(Killed):
            fit(views={"flip": 0.0})
        assert len(list(tmp_path.iterdir())) == 4

    def test_resuming_changes_nothing(self, X, tmp_path):
        settings = TINY | {"self_label_epochs": 1}
        ContrastiveClustering(3, **TINY, checkpoint=tmp_path).fit(X)
        resumed = ContrastiveClustering(3, **settings, checkpoint=tmp_path).fit(X)
        whole = ContrastiveClustering(3, **settings).fit(X)
        np.testing.assert_array_equal(resumed.embedding_, whole.embedding_)


class TestSettings:
    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"method": "kmeans"}, "'method' parameter"),
            ({"views": {"crop": 2}}, "crop=2 is not a number"),
            ({"brb": {"alpha": 2}}, "alpha=2"),
            ({"image_shape": (1, 8, 9)}, "does not hold 64 features"),
            ({"hidden_layers": (8, 0)}, "hidden_layers holds 0"),
            ({"confidence": 1.0}, "'confidence' parameter"),
            ({"temperature": 0}, "'temperature' parameter"),
        ],
    )
    def test_bad_settings_are_named(self, X, settings, message):
        with pytest.raises(ValueError, match=message):
            ContrastiveClustering(3, **TINY | settings).fit(X)

    def test_published_network_and_views_are_the_default(self):
        model = ContrastiveClustering(10)
        model.image_shape_ = (3, 32, 32)
        encoder = model._new_encoder(Streams([0]))
        widths = [tuple(layer.weight.shape[1:]) for layer in encoder.head.linears]
        assert widths == [(512, 512), (512, 256), (256, 128)]
        assert math.prod(encoder.stem[0].weight.shape) == 64 * 3 * 9

    def test_settings_come_back_from_a_file(self, found, X, tmp_path):
        found.save(tmp_path)
        loaded = ContrastiveClustering.load(tmp_path)
        assert loaded.views == TEXTURES
        assert loaded.brb == found.brb
        np.testing.assert_array_equal(loaded.predict_proba(X), found.predict_proba(X))
