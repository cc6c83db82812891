"""Representations of a table in which distances may mean more than in the table itself.

Scikit-learn transformers: a denoising autoencoder, whose bottleneck keeps what is needed to repair
a damaged row, and SpectralNet, which maps rows near to each other along the data to the same place.

Vincent, Larochelle, Bengio, Manzagol (2008). Extracting and Composing Robust Features with
Denoising Autoencoders. ICML.
Shaham, Stanton, Li, Nadler, Basri, Kluger (2018). SpectralNet: Spectral Clustering Using Deep
Neural Networks. ICLR.
Sizes follow Upadhya and Cohen (2024), NeurCAM, Section 5.2, as far as they are given there.

Deviations from the papers
--------------------------
1. SpectralNet's affinities keep a pair of a batch if either row is among the other's neighbours.
2. Each batch is made orthonormal by its own QR decomposition, through which gradients pass. The
   paper fixes the map from one batch and takes the step on another; with batches of 512 of two
   moons (600 rows), k-means on its embedding then reaches an ARI of 0.85, here of 1.
3. After training, outputs are made orthonormal over all rows, not over the last batch.
4. Hidden layers are 256 wide: the paper's 1,024 are for images.
"""

import itertools
from typing import Annotated

import numpy as np
import torch
from sklearn.neighbors import NearestNeighbors
from torch import Tensor, nn

from whycluster.contract import validation
from whycluster.contract.mixins import Float32Transformer
from whycluster.contract.settings import (
    Count,
    CountOrZero,
    Positive,
    Widths,
    at_least,
    between,
    setting,
)
from whycluster.training import losses
from whycluster.training.centres import fast_squared_distances
from whycluster.training.layers import StackedLinear, StackedMLP
from whycluster.training.loop import History, cosine
from whycluster.training.phases import Phase, Phases, adam
from whycluster.training.stack import ROWS_AT_ONCE, StackedEstimator
from whycluster.training.streams import Streams


class _Representation(Float32Transformer, StackedEstimator):
    """A transformer that trains as a stack; its network's forward gives "embedding"."""

    n_components: Count = setting(8, positional=True)
    hidden_layers: Widths = setting((256, 256), "Widths of the encoder.")
    learning_rate: Positive = setting(1e-3, "Adam; falls along half a cosine.")

    def fit(self, X, y=None):
        """Train the network.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_samples, n_features)
            Standardised.
        y : None
            Ignored.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If a value is missing or infinite, or rows are too few.
        """
        self._fit_stack(X, [self])
        return self

    def transform(self, X) -> np.ndarray:
        """Return the representation of rows, float32 of shape (n_samples, n_components)."""
        return self._evaluate(X)["embedding"]

    def _validate(self, X) -> np.ndarray:  # type: ignore[override]
        validation.check_hidden_layers(self.hidden_layers)
        return validation.check_rows(self, X)

    def _describe(self, data) -> None:
        pass

    @property
    def _n_features_out(self) -> int:
        return self.n_components


class DenoisingAutoencoder(_Representation):
    """Denoising autoencoder: reconstructs rows of which a random part was set to zero.

    Attributes
    ----------
    history_ : dict of str to ndarray
        "denoise/reconstruction": mean squared error per epoch.
    fit_seconds_ : float

    References
    ----------
    Vincent et al. (2008).

    Examples
    --------
    >>> X = np.random.default_rng(0).normal(size=(50, 4))
    >>> DenoisingAutoencoder(2, max_epochs=2, random_state=0).fit_transform(X).shape
    (50, 2)
    """

    n_components: Count = setting(8, "Width of the bottleneck; the paper's 8.", positional=True)
    hidden_layers: Widths = setting((256, 256), "Widths of the encoder, mirrored in the decoder.")
    corruption: Annotated[float, between(0, 1, "left")] = setting(
        0.2,
        "Probability with which an entry is set to zero, the mean of standardised features.",
    )
    max_epochs: CountOrZero = setting(200)
    batch_size: Annotated[int, at_least(3)] = setting(256)

    def _phases(self, network: "_Autoencoder", data: np.ndarray, streams: Streams) -> list[Phase]:
        rows = torch.as_tensor(data, device=streams.device)
        run = AutoencoderPhases(self, network, rows, streams)
        return [Phase("denoise", self.max_epochs, run.denoise)]

    def _build(self, streams: Streams) -> "_Autoencoder":
        return _Autoencoder(
            self.n_features_in_, tuple(self.hidden_layers), self.n_components, streams
        )


class SpectralNet(_Representation):
    """SpectralNet: a network that computes the embedding of spectral clustering for any row.

    Minimises Σ W_ij ‖y_i - y_j‖² for affinities W of near rows, among outputs y whose columns are
    orthonormal. Near is told by a siamese network, trained to bring each row close to its nearest
    neighbours and to keep it away from random rows.

    Attributes
    ----------
    history_ : dict of str to ndarray
        "siamese/near", "siamese/far", "spectral/affinity": per-epoch means.
    fit_seconds_ : float

    References
    ----------
    Shaham et al. (2018), Sections 3.1 to 3.3.

    Examples
    --------
    >>> X = np.random.default_rng(0).normal(size=(60, 4))
    >>> net = SpectralNet(2, siamese_epochs=1, max_epochs=2, random_state=0)
    >>> Y = net.fit_transform(X)
    >>> np.allclose(Y.T @ Y / 60, np.eye(2), atol=1e-4)
    True
    """

    hidden_layers: Widths = setting((256, 256), "Widths of both networks.")
    n_neighbors: Count = setting(20, "Rows of a batch that each row has an affinity to.")
    siamese_epochs: CountOrZero = setting(50, "0: distances are taken in the table.")
    siamese_neighbors: Count = setting(3, "Nearest rows of the table that count as the same.")
    max_epochs: CountOrZero = setting(100, "Of the spectral map.")
    batch_size: Annotated[int, at_least(3)] = setting(1024)

    def _phases(self, network: "_SpectralMap", data: np.ndarray, streams: Streams) -> list[Phase]:
        rows = torch.as_tensor(data, device=streams.device)
        run = SpectralPhases(self, network, rows, streams)
        near = Phase("siamese", self.siamese_epochs, run.compare, network.siamese)
        spectral = Phase("spectral", self.max_epochs, run.map)
        return [near, spectral] if self.siamese_epochs else [spectral]

    def _validate(self, X) -> np.ndarray:  # type: ignore[override]
        X_ = super()._validate(X)
        n_needed = max(self.n_components, self.n_neighbors, self.siamese_neighbors) + 1
        n_least = len(X_) // -(-len(X_) // self.batch_size)  # rows of the smallest batch
        if n_least < n_needed:
            raise ValueError(
                f"batches of {n_least} rows are too few for n_components={self.n_components}, "
                f"n_neighbors={self.n_neighbors} and siamese_neighbors={self.siamese_neighbors}; "
                f"at least {n_needed} are needed"
            )
        return X_

    def _build(self, streams: Streams) -> "_SpectralMap":
        return _SpectralMap(
            self.n_features_in_, tuple(self.hidden_layers), self.n_components, streams
        )


class AutoencoderPhases(Phases):
    """The one phase of a denoising autoencoder."""

    def denoise(self, n_epochs: int, tick) -> History:
        """Reconstruct rows of which a part was set to zero."""
        s, network = self.settings, self.network

        def step(rows: Tensor, _progress: float) -> dict[str, Tensor]:
            x = self.data[rows]
            kept = self.streams.uniform(*x.shape[1:]) >= s.corruption
            x_hat = network.decoder(network.encoder(x * kept))
            return {"reconstruction": losses.reconstruction_error(x_hat, x)}

        optimizer = adam(network, lr=s.learning_rate)
        return self.train(network, step, optimizer, n_epochs, tick, schedule=cosine(0.01))


class SpectralPhases(Phases):
    """The two phases of SpectralNet: what is near, and the map that keeps it near."""

    def compare(self, n_epochs: int, tick) -> History:
        """Train the siamese network on pairs of neighbours and of random rows."""
        k, data, network = self.settings.siamese_neighbors, self.data, self.network.siamese
        found = NearestNeighbors(n_neighbors=k + 1).fit(data.cpu().numpy())
        near = torch.as_tensor(found.kneighbors(return_distance=False), device=data.device)

        def step(rows: Tensor, _progress: float) -> dict[str, Tensor]:
            friend = (self.streams.uniform(rows.shape[1]) * k).long()
            stranger = (self.streams.uniform(rows.shape[1]) * len(data)).long()
            views = torch.cat([rows, near[rows, friend], stranger], dim=1)
            a, b, c = network(data[views]).chunk(3, dim=1)
            gap = (a - c).square().sum(dim=2).add(1e-12).sqrt()
            return {
                "near": (a - b).square().sum(dim=2).mean(dim=1),
                "far": (1 - gap).clamp_min(0).square().mean(dim=1),
            }

        optimizer = adam(network, lr=self.settings.learning_rate)
        return self.train(network, step, optimizer, n_epochs, tick, schedule=cosine(0.01))

    def map(self, n_epochs: int, tick) -> History:
        """Train the spectral map; make its output orthonormal over all rows at the end."""
        s, network = self.settings, self.network

        def step(rows: Tensor, _progress: float) -> dict[str, Tensor]:
            x = self.data[rows]
            with torch.no_grad():
                seen = network.siamese(x) if s.siamese_epochs else x
                affinity = neighbour_affinity(seen, s.n_neighbors)
            y, _ = torch.linalg.qr(network.spectral(x))
            return {"affinity": losses.spectral_loss(y * len(y[0]) ** 0.5, affinity)}

        optimizer, falling = adam(network.spectral, lr=s.learning_rate), cosine(0.01)
        history = self.train(network.spectral, step, optimizer, n_epochs, tick, schedule=falling)
        outputs = self.over_rows(lambda x: network.spectral(x).double(), ROWS_AT_ONCE)
        network.whiten(outputs.mT @ outputs / len(self.data))
        return history


class _Autoencoder(nn.Module):
    """Encoder and mirrored decoder."""

    def __init__(self, n_features, hidden, n_components, streams: Streams):
        super().__init__()
        self.encoder = StackedMLP((n_features, *hidden, n_components), streams)
        self.decoder = StackedMLP((n_components, *hidden[::-1], n_features), streams)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"embedding": self.encoder(x)}


class _SpectralMap(nn.Module):
    """Siamese network, spectral network and the linear map that makes its outputs orthonormal.

    Without batch normalisation: affinities and outputs belong to single rows.
    """

    whitening: Tensor

    def __init__(self, n_features, hidden, n_components, streams: Streams):
        super().__init__()
        widths = (n_features, *hidden, n_components)
        self.siamese = _plain(widths, streams)
        self.spectral = _plain(widths, streams)
        eye = torch.eye(n_components, device=streams.device)
        self.register_buffer("whitening", eye.repeat(len(streams), 1, 1))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"embedding": self.spectral(x) @ self.whitening}

    def whiten(self, product: Tensor) -> None:
        """Set the map for outputs with this mean product yᵀy, by its Cholesky factor."""
        eye = torch.eye(product.shape[-1], dtype=product.dtype, device=product.device)
        size = product.diagonal(dim1=1, dim2=2).mean(dim=1)[:, None, None]
        factor = torch.linalg.cholesky(product / size + 1e-10 * eye)
        inverse = torch.linalg.solve_triangular(factor.mT, eye.expand_as(factor), upper=True)
        self.whitening = (inverse / size.sqrt()).float()


def _plain(widths, streams: Streams) -> nn.Sequential:
    """Return linear layers with ReLU in between."""
    layers = []
    for n_in, n_out in itertools.pairwise(widths):
        layers += [StackedLinear(n_in, n_out, streams), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


@torch.no_grad()
def neighbour_affinity(x: Tensor, n_neighbors: int) -> Tensor:
    """Gaussian affinities of near rows, Section 3.1 of Shaham et al. (2018).

    The scale is the median distance to the neighbour in the middle of the list. A pair has an
    affinity if either row is among the other's `n_neighbors` nearest; none with itself.

    Parameters
    ----------
    x : Tensor of shape (n_models, batch, n_features)
    n_neighbors : int below batch

    Returns
    -------
    Tensor of shape (n_models, batch, batch)
        Symmetric, in [0, 1].
    """
    squares = fast_squared_distances(x, x)
    squares.diagonal(dim1=1, dim2=2).fill_(torch.inf)
    nearest, index = squares.topk(n_neighbors, dim=2, largest=False)
    scale = nearest[..., n_neighbors // 2].median(dim=1).values[:, None, None].clamp_min(1e-12)
    affinity = torch.zeros_like(squares).scatter_(2, index, torch.exp(-nearest / (2 * scale)))
    return torch.maximum(affinity, affinity.mT)
