"""Soft resets keep what they promise; reclustering finds clusters and answers per model."""

import inspect

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans
from sklearn.datasets import make_blobs
from sklearn.mixture import GaussianMixture
from torch import nn

from whycluster import BRB
from whycluster.embedded import reclustering
from whycluster.embedded.brb import as_brb, soft_reset
from whycluster.embedded.reclustering import draw_rows, recluster, seed_apart
from whycluster.training.centres import nearest_centre
from whycluster.training.layers import StackedAutoencoder
from whycluster.training.streams import Streams

SEEDS = [3, 4]


def build(seeds=SEEDS, train=0.0):
    """An autoencoder 5-8-6-2, its weights (not its scales) moved away from fresh ones."""
    network = StackedAutoencoder(5, (8, 6), 2, Streams(seeds))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(train)
    return network


def state(module):
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def reset(brb, seeds=(8, 9)):
    """Reset a moved autoencoder; return it, its state before, and the fresh encoder."""
    network = build(train=0.7)
    before, fresh = state(network), build(seeds).encoder
    soft_reset(network.encoder, fresh, brb)
    return network, before, state(fresh)


class TestSoftReset:
    def test_alpha_1_changes_nothing(self):
        brb = BRB(alpha=1, embedding=True, batch_norm=True)
        network, before, _ = reset(brb)
        for name, tensor in network.state_dict().items():
            assert torch.equal(tensor, before[name]), name

    def test_alpha_0_is_a_fresh_initialisation_of_the_reset_layers(self):
        network, before, fresh = reset(BRB(alpha=0))
        now = network.encoder.state_dict()
        for name in ("linears.0.weight", "linears.0.bias", "linears.1.weight", "linears.1.bias"):
            assert torch.equal(now[name], fresh[name]), name
        for name in ("linears.2.weight", "norms.0.weight", "norms.1.bias", "norms.0.running_mean"):
            assert torch.equal(now[name], before[f"encoder.{name}"]), name

    def test_alpha_0_of_everything_is_a_fresh_encoder(self):
        network, before, fresh = reset(BRB(alpha=0, embedding=True, batch_norm=True))
        for name, parameter in network.encoder.named_parameters():
            assert torch.equal(parameter, fresh[name]), name
        assert torch.equal(
            network.encoder.norms[0].running_var, before["encoder.norms.0.running_var"]
        )

    @pytest.mark.parametrize("alpha", [0, 0.3])
    def test_the_decoder_is_never_touched(self, alpha):
        network, before, _ = reset(BRB(alpha=alpha, embedding=True, batch_norm=True))
        for name, tensor in network.decoder.state_dict().items():
            assert torch.equal(tensor, before[f"decoder.{name}"]), name

    def test_weights_are_mixed_in_proportion(self):
        network, before, fresh = reset(BRB(alpha=0.8))
        expected = 0.8 * before["encoder.linears.1.weight"] + 0.2 * fresh["linears.1.weight"]
        torch.testing.assert_close(network.encoder.linears[1].weight.detach(), expected)

    def test_early_blocks_are_kept_more_on_request(self):
        network, before, fresh = reset(BRB(alpha=0, growth=0.25))
        expected = 0.25 * before["encoder.linears.0.weight"] + 0.75 * fresh["linears.0.weight"]
        torch.testing.assert_close(network.encoder.linears[0].weight.detach(), expected)
        assert torch.equal(network.encoder.linears[1].weight, fresh["linears.1.weight"])

    def test_fresh_weights_can_be_wider_and_biases_are_not(self):
        network, _, fresh = reset(BRB(alpha=0, spread=2, batch_norm=True))
        now = network.encoder.state_dict()
        assert torch.equal(now["linears.1.weight"], 2 * fresh["linears.1.weight"])
        for name in ("linears.1.bias", "norms.1.weight"):
            assert torch.equal(now[name], fresh[name]), name

    def test_shares_kept_by_block(self):
        assert BRB(alpha=0.7).keep(3) == [0.7, 0.7, 1]
        assert BRB(alpha=0.7, embedding=True, growth=0.2).keep(3) == [1, 0.9, 0.7]

    def test_plain_convolutional_blocks_are_reset_and_their_normalisation_is_not(self):
        def blocks():
            layers = [(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)), (nn.Linear(4, 2),)]
            encoder = nn.ModuleList(nn.ModuleList(block) for block in layers)
            encoder.blocks = layers
            return encoder

        encoder, fresh = blocks(), blocks()
        nn.init.constant_(encoder[0][1].weight, 3.0)
        last = encoder[1][0].weight.clone()
        soft_reset(encoder, fresh, BRB(alpha=0))
        assert torch.equal(encoder[0][0].weight, fresh[0][0].weight)
        assert (encoder[0][1].weight == 3).all()
        assert torch.equal(encoder[1][0].weight, last)


class TestSettings:
    def test_interventions_come_every_so_many_epochs_but_not_first(self):
        assert [e for e in range(9) if BRB(interval=3).is_due(e)] == [3, 6]

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"interval": 0}, "interval=0 is not a whole number of 1 or more"),
            ({"interval": 2.5}, "interval=2.5"),
            ({"alpha": 1.1}, "alpha=1.1 is not a number from 0 to 1"),
            ({"alpha": float("nan")}, "alpha=nan"),
            ({"spread": -1}, "spread=-1 is not a number of 0 or more"),
            ({"growth": -1}, "growth=-1"),
            ({"n_rows": True}, "n_rows=True"),
            ({"reset": 1}, "reset=1 is not True or False"),
            ({"recluster": "spectral"}, "recluster='spectral' is unknown; use random, k-means"),
            ({"reset": False, "recluster": None}, "do nothing"),
        ],
    )
    def test_bad_settings_are_named(self, settings, message):
        with pytest.raises(ValueError, match=message):
            BRB(**settings)

    def test_only_what_differs_is_shown(self):
        assert repr(BRB(interval=5, recluster="em")) == "BRB(interval=5, recluster='em')"

    def test_a_mapping_will_do(self):
        assert as_brb({"interval": 5}) == BRB(interval=5)
        assert as_brb(None) is None


@pytest.fixture(scope="module")
def blobs():
    """Two models of five well separated clusters, at different places."""
    rows = [make_blobs(200, 3, centers=5, cluster_std=0.4, random_state=s)[0] for s in SEEDS]
    return torch.tensor(np.stack(rows), dtype=torch.float32)


def inertia(z, centres):
    return torch.cdist(z, centres).min(dim=2).values.square().sum(dim=1)


class TestReclustering:
    def test_kmeans_is_as_good_as_that_of_scikit_learn(self):
        rng = np.random.default_rng(0)
        z = torch.tensor(rng.normal(size=(2, 150, 4)), dtype=torch.float32)
        ours = inertia(z, recluster(z, 4, "k-means", Streams([0, 1])).centres)
        theirs = [KMeans(4, n_init=10, random_state=0).fit(points).inertia_ for points in z.numpy()]
        np.testing.assert_allclose(ours, theirs, rtol=0.02)

    @pytest.mark.parametrize("method", sorted({*reclustering.METHODS} - {"random", "k-means++"}))
    def test_clusters_are_found_by_each_model(self, blobs, method):
        found = recluster(blobs, 5, method, Streams([0, 1]))
        best = [
            KMeans(5, n_init=10, random_state=0).fit(points).inertia_ for points in blobs.numpy()
        ]
        np.testing.assert_allclose(inertia(blobs, found.centres), best, rtol=0.1)

    @pytest.mark.parametrize("method", ["random", "k-means++", "k-medoids"])
    def test_centres_are_rows(self, blobs, method):
        centres = recluster(blobs, 5, method, Streams([0, 1])).centres
        for points, found in zip(blobs.tolist(), centres.tolist(), strict=True):
            assert all(centre in points for centre in found)
            assert len({tuple(centre) for centre in found}) == 5

    def test_seeding_spreads_centres_more_than_chance(self, blobs):
        spread = [inertia(blobs, seed_apart(blobs, 5, Streams([s, s]))) for s in range(10)]
        random = [
            inertia(blobs, recluster(blobs, 5, "random", Streams([s, s])).centres)
            for s in range(10)
        ]
        assert torch.stack(spread).mean() < 0.5 * torch.stack(random).mean()

    def test_a_mixture_keeps_covariances_and_weights(self, blobs):
        found = recluster(blobs, 5, "em", Streams([0, 1]))
        reference = GaussianMixture(5, means_init=found.centres[0], reg_covar=1e-5).fit(blobs[0])
        np.testing.assert_allclose(found.covariances[0], reference.covariances_, atol=1e-3)
        np.testing.assert_allclose(found.weights[0], reference.weights_, atol=1e-3)

    @pytest.mark.parametrize("method", sorted(reclustering.METHODS))
    def test_a_model_is_clustered_alike_alone_and_in_a_stack(self, blobs, method):
        stack = recluster(blobs, 5, method, Streams([5, 6])).centres
        alone = recluster(blobs[1:], 5, method, Streams([6])).centres
        torch.testing.assert_close(stack[1:], alone)

    @pytest.mark.parametrize("method", sorted(reclustering.METHODS))
    def test_every_reclustering_is_documented(self, method):
        assert f'"{method}"' in inspect.getdoc(BRB)
        assert f'"{method}"' in inspect.getdoc(recluster)

    def test_empty_clusters_are_filled(self):
        z = torch.tensor([[[0.0], [0.1], [5.0], [9.0]]])
        labels, distance = nearest_centre(z, torch.tensor([[[0.0], [-50.0], [-60.0]]]))
        means = reclustering._means(z, labels, distance, torch.zeros(1, 3, 1))
        assert sorted(means.flatten().tolist()[1:]) == [5, 9]

    def test_repeated_rows_are_no_obstacle(self):
        z = torch.zeros(1, 20, 2)
        assert recluster(z, 3, "k-means", Streams([0])).centres.abs().max() == 0

    def test_rows_are_drawn_at_random_and_without_repetition(self):
        z = torch.arange(50.0).view(1, 50, 1).expand(2, -1, -1)
        drawn = draw_rows(z, 20, Streams([0, 1]))
        assert drawn.shape == (2, 20, 1)
        assert all(len(set(model.flatten().tolist())) == 20 for model in drawn)
        assert not torch.equal(drawn[0], drawn[1])
        assert draw_rows(z, 50, Streams([0, 1])) is z

    def test_medoids_of_many_rows_are_those_of_a_sample(self, blobs, monkeypatch):
        monkeypatch.setattr(reclustering, "MOST_MEDOID_ROWS", 60)
        centres = recluster(blobs, 5, "k-medoids", Streams([0, 1])).centres
        assert inertia(blobs, centres).max() < 2 * 200 * 0.4**2 * 3
