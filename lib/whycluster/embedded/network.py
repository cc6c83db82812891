"""The network of DEC, IDEC and DCN: an autoencoder and clusters in its embedding."""

from torch import Tensor, nn

from whycluster.embedded.centres import Centres
from whycluster.training.layers import StackedAutoencoder


class Network(nn.Module):
    """An autoencoder and the clusters in its embedding."""

    def __init__(self, autoencoder: StackedAutoencoder, clusters: Centres):
        super().__init__()
        self.autoencoder = autoencoder
        self.clusters = clusters

    @property
    def encoder(self) -> nn.Module:
        """The map from rows to embeddings."""
        return self.autoencoder.encoder

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Return the embedding ``z`` and ``logits`` of (n_models, batch, n_features)."""
        z = self.autoencoder.encoder(x)
        return {"z": z, "logits": self.clusters(z)}
