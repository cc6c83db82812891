"""The networks of IDC: gates, autoencoder, head, auxiliary classifier."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from whycluster.training.layers import StackedGating, StackedMLP
from whycluster.training.streams import Streams


class Network(nn.Module):
    """Gating network, autoencoder, clustering head, auxiliary classifier and global gates."""

    radius: Tensor

    def __init__(
        self,
        n_features,
        n_latent,
        n_clusters,
        hidden,
        gate_units,
        head_units,
        streams,
        weight_std,
        head_offset,
    ):
        super().__init__()
        build = (streams, weight_std)
        self.gating = StackedGating(n_features, gate_units, *build) if gate_units else None
        self.encoder = StackedMLP((n_features, *hidden, n_latent), *build)
        self.decoder = StackedMLP((n_latent, *hidden[::-1], n_features), *build)
        self.head_widths = (n_latent + 1, head_units, n_clusters)
        self.weight_std = weight_std
        self.head_offset = head_offset
        late = streams.fork()  # so that the first stage does not depend on what comes after it
        self.head = self.new_head(late)
        self.classifier = StackedMLP((n_features, head_units, n_clusters), late, weight_std)
        self.global_logits = nn.Parameter(0.01 * late.normal(n_clusters, n_features))
        self.register_buffer("radius", torch.ones(len(streams), 1, 1))

    @property
    def autoencoder(self) -> nn.ModuleDict:
        """What the first stage trains: the gating network, if there is one, encoder and decoder."""
        parts = {"gating": self.gating, "encoder": self.encoder, "decoder": self.decoder}
        return nn.ModuleDict({name: part for name, part in parts.items() if part is not None})

    def new_head(self, streams: Streams) -> StackedMLP:
        """Return an untrained head."""
        return StackedMLP(self.head_widths, streams, self.weight_std)

    def gate_means(self, x: Tensor) -> Tensor:
        """Return μ; without local gates a μ that opens every gate."""
        return self.gating(x) if self.gating is not None else torch.full_like(x, 0.5)

    def global_mu(self) -> Tensor:
        """Return μ of the global gates, (n_models, n_clusters, n_features)."""
        return torch.tanh(self.global_logits)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Evaluate without noise: gates ``z``, embedding ``h``, ``logits``."""
        z = open_gates(self.gate_means(x))
        h = self.encoder(x * z)
        return {"z": z, "h": h, "logits": self.head(self.direct(h))}

    def direct(self, h: Tensor) -> Tensor:
        """Append the offset to h, in units of its typical length; scale to unit length."""
        return F.normalize(F.pad(h / self.radius, (0, 1), value=self.head_offset), dim=-1)


def open_gates(mu: Tensor) -> Tensor:
    """Return gates without noise, Eq. (1) with ε = 0: closed for μ <= -0.5, open for μ >= 0.5."""
    return (0.5 + mu).clamp(0, 1)
