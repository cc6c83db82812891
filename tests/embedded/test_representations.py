"""Representations: scikit-learn's checks, the mathematics of each part, what they are good for."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.cluster import KMeans
from sklearn.datasets import make_moons
from sklearn.metrics import adjusted_rand_score
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from whycluster.embedded.representations import (
    DenoisingAutoencoder,
    SpectralNet,
    _SpectralMap,
    neighbour_affinity,
)
from whycluster.training import losses
from whycluster.training.streams import Streams

DAE = DenoisingAutoencoder(
    2, hidden_layers=(16,), max_epochs=5, batch_size=32, random_state=0, device="cpu"
)
SPECTRAL = SpectralNet(
    2,
    hidden_layers=(16,),
    n_neighbors=3,
    siamese_epochs=2,
    max_epochs=3,
    random_state=0,
    device="cpu",
)


@parametrize_with_checks([DAE, SPECTRAL])
def test_scikit_learn_checks(estimator, check):
    check(estimator)


@pytest.fixture(scope="module")
def moons():
    X, y = make_moons(300, noise=0.05, random_state=0)
    return StandardScaler().fit_transform(X).astype(np.float32), y


@pytest.fixture(scope="module")
def table():
    """Return ten features that are noisy copies of two."""
    rng = np.random.default_rng(0)
    plane = rng.normal(size=(200, 2))
    X = plane @ rng.normal(size=(2, 10)) + 0.05 * rng.normal(size=(200, 10))
    return pd.DataFrame(StandardScaler().fit_transform(X)).add_prefix("x")


class TestBoth:
    @pytest.fixture(params=[DAE, SPECTRAL], ids=["autoencoder", "spectral"])
    def net(self, request):
        return clone(request.param)

    def test_seeds_of_a_stack_equal_single_fits(self, net, table):
        for model, state in zip(net.fit_seeds(table, [3, 4]), [3, 4], strict=True):
            alone = clone(net).set_params(random_state=state).fit(table)
            np.testing.assert_allclose(model.transform(table), alone.transform(table), atol=0.02)

    def test_rows_are_mapped_one_by_one(self, net, table):
        whole = net.fit(table).transform(table)
        alone = np.vstack([net.transform(table.iloc[[i]]) for i in range(5)])
        np.testing.assert_allclose(alone, whole[:5], rtol=1e-4, atol=1e-5)

    def test_saved_and_loaded(self, net, table, tmp_path):
        net.fit(table).save(tmp_path)
        loaded = type(net).load(tmp_path)
        np.testing.assert_array_equal(loaded.transform(table), net.transform(table))

    def test_a_frame_on_request(self, net, table):
        frame = net.set_output(transform="pandas").fit_transform(table)
        assert list(frame.columns) == list(net.get_feature_names_out())

    @pytest.mark.parametrize("widths", [(0,), (2.5,), ("8",)])
    def test_impossible_widths_are_refused(self, net, table, widths):
        with pytest.raises(ValueError, match="hidden_layers holds"):
            net.set_params(hidden_layers=widths).fit(table)

    def test_missing_values_are_named(self, net, table):
        with pytest.raises(ValueError, match="NaN in column 'x3', row 1"):
            net.fit(table.assign(x3=table["x3"].where(table.index != 1)))

    def test_checkpoint_is_restored(self, net, table, tmp_path):
        net.set_params(checkpoint=tmp_path).fit(table)
        before = net.transform(table)
        files = sorted(tmp_path.glob("*.safetensors"))
        assert files
        np.testing.assert_array_equal(net.fit(table).transform(table), before)
        assert sorted(tmp_path.glob("*.safetensors")) == files


class TestAutoencoder:
    def test_two_dimensions_repair_a_plane(self, table):
        net = clone(DAE).set_params(max_epochs=60, hidden_layers=(64,)).fit(table)
        assert net.history_["denoise/reconstruction"][-1] < 0.15
        with torch.no_grad():
            rows = torch.as_tensor(np.array(table, np.float32))[None]
            whole = net.network_.decoder(net.network_.encoder(rows))[0]
        assert losses.reconstruction_error(whole[None], rows).item() < 0.1

    def test_corruption_makes_it_use_other_features(self, table):
        """A network that never saw damage repairs a missing entry worse."""
        damaged = table.assign(x0=0.0)
        errors = []
        for corruption in (0.0, 0.3):
            net = clone(DAE).set_params(max_epochs=60, hidden_layers=(64,), corruption=corruption)
            network = net.fit(table).network_
            rows = torch.as_tensor(np.array(damaged, np.float32))[None]
            with torch.no_grad():
                repaired = network.decoder(network.encoder(rows))[0, :, 0].numpy()
            errors.append(np.mean((repaired - table["x0"]) ** 2))
        assert errors[1] < 0.7 * errors[0]


class TestSpectralNet:
    def test_moons_that_kmeans_cannot_tell_apart_are_told_apart(self, moons):
        X, y = moons
        net = SpectralNet(2, n_neighbors=8, siamese_epochs=0, max_epochs=250, learning_rate=3e-3)
        net.set_params(hidden_layers=(128, 128), random_state=0, device="cpu")
        Z = net.fit_transform(X)
        found = [KMeans(2, n_init=5, random_state=0).fit_predict(rows) for rows in (X, Z)]
        plain, spectral = (adjusted_rand_score(y, labels) for labels in found)
        assert plain < 0.7
        assert spectral > 0.95

    def test_training_rows_are_orthonormal(self, moons):
        X, _ = moons
        Z = clone(SPECTRAL).fit_transform(X)
        np.testing.assert_allclose(Z.T @ Z / len(X), np.eye(2), atol=1e-4)

    def test_the_siamese_network_brings_neighbours_near_and_keeps_others_away(self, moons):
        X, _ = moons
        net = clone(SPECTRAL).set_params(siamese_epochs=60).fit(X)
        with torch.no_grad():
            z = net.network_.siamese(torch.as_tensor(X)[None])[0]
        gaps = torch.cdist(z, z).numpy()
        plane = ((X[:, None] - X) ** 2).sum(axis=2)
        near = np.argsort(plane, axis=1)[:, 1]
        assert gaps[np.arange(len(X)), near].mean() < 0.3 * gaps.mean()

    def test_loss_by_hand(self):
        y = torch.tensor([[[0.0], [1.0], [3.0]]])
        affinity = torch.tensor([[[0.0, 1.0, 0.0], [1.0, 0.0, 0.5], [0.0, 0.5, 0.0]]])
        # pairs: 1 * 1 + 0.5 * 4 = 3, over three rows
        torch.testing.assert_close(losses.spectral_loss(y, affinity), torch.tensor([1.0]))

    def test_loss_gradient_matches_finite_differences(self):
        generator = torch.Generator().manual_seed(0)
        y = torch.randn(2, 4, 2, dtype=torch.float64, generator=generator, requires_grad=True)
        affinity = torch.rand(2, 4, 4, dtype=torch.float64, generator=generator)
        affinity = affinity + affinity.mT
        assert torch.autograd.gradcheck(lambda t: losses.spectral_loss(t, affinity), y)

    def test_affinity_links_neighbours_only(self):
        x = torch.tensor([[[0.0], [1.0], [1.5], [10.0]]])
        affinity = neighbour_affinity(x, 1)[0]
        # nearest: 0-1, 1-2, 2-1, 3-2; scale: median of 1, 0.25, 0.25, 72.25 (lower) = 0.25
        expected = torch.zeros(4, 4)
        for i, j, square in ((0, 1, 1), (1, 2, 0.25), (2, 3, 72.25)):
            expected[i, j] = expected[j, i] = np.exp(-square / 0.5)
        torch.testing.assert_close(affinity, expected)

    def test_whitening_is_exact_for_any_product(self):
        network = _SpectralMap(2, (4,), 3, Streams([0]))
        y = (
            torch.randn(1, 50, 3, dtype=torch.float64)
            @ torch.diag(torch.tensor([1, 50, 1e3])).double()
        )
        network.whiten(y.mT @ y / 50)
        z = y.float() @ network.whitening
        torch.testing.assert_close(z.mT @ z / 50, torch.eye(3)[None], atol=1e-4, rtol=0)

    def test_too_few_rows_for_a_batch_are_refused(self, moons):
        with pytest.raises(ValueError, match=r"batches of 10 rows are too few .* at least 13"):
            clone(SPECTRAL).set_params(n_components=12).fit(moons[0][:10])

    def test_history_of_both_phases(self, moons):
        history = clone(SPECTRAL).fit(moons[0]).history_
        assert {name: len(values) for name, values in history.items()} == {
            "siamese/near": 2,
            "siamese/far": 2,
            "spectral/affinity": 3,
        }
