"""The networks of contrastive clustering: encoder, projection head, clusters, labels."""

import math

import torch
from torch import Tensor, nn

from whycluster.embedded.centres import Centres
from whycluster.embedded.images.resnet import StackedResNet18
from whycluster.training.centres import exact_squared_distances
from whycluster.training.layers import StackedMLP


class SimCLR(nn.Module):
    """An encoder and the projection head of the contrastive loss."""

    def __init__(self, encoder: StackedResNet18, projector: StackedMLP):
        super().__init__()
        self.encoder = encoder
        self.projector = projector

    def forward(self, views: Tensor) -> Tensor:
        """Return projections (n_models, 2 * batch, n_latent)."""
        return self.projector(self.encoder(views))


class Head(nn.Module):
    """Memberships linear in the embedding, at first those of equal Gaussians around centres."""

    def __init__(self, n_models: int, n_clusters: int, n_latent: int):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(n_models, n_latent, n_clusters))
        self.bias = nn.Parameter(torch.zeros(n_models, 1, n_clusters))

    @torch.no_grad()
    def start(self, centres: Tensor, z: Tensor, confidence: float) -> None:
        """Answer by the nearest centre, so that half of the rows `z` are above `confidence`.

        -s ‖z - μ‖² is, but for what all clusters share, linear in z: 2s μ·z - s ‖μ‖².
        """
        scale = sharpness(exact_squared_distances(z, centres), confidence)
        self.weight.copy_(2 * scale * centres.mT)
        self.bias.copy_(-scale * centres.square().sum(dim=2)[:, None])

    def forward(self, z: Tensor) -> Tensor:
        """Return logits (n_models, batch, n_clusters)."""
        return torch.baddbmm(self.bias, z, self.weight)


class Network(nn.Module):
    """SimCLR, the clusters in its embedding, and what self-labelling trains, if it does."""

    def __init__(self, simclr: SimCLR, clusters: Centres, head: Head | None):
        super().__init__()
        self.simclr = simclr
        self.clusters = clusters
        self.head = head

    @property
    def encoder(self) -> StackedResNet18:
        """The map from images to embeddings."""
        return self.simclr.encoder

    @property
    def core(self) -> nn.ModuleDict:
        """All but the head: what clustering trains, with or without self-labelling to come."""
        return nn.ModuleDict({"simclr": self.simclr, "clusters": self.clusters})

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Return the embedding ``z`` and ``logits`` of (n_models, batch, n_features)."""
        z = self.encoder(x)
        return {"z": z, "logits": (self.head or self.clusters)(z)}


def sharpness(distances: Tensor, confidence: float) -> Tensor:
    """Return s of shape (n_models, 1, 1) at which the median largest membership is `confidence`.

    Memberships are a softmax of -s times squared distances (n_models, n_rows, n_clusters), which
    grows with s: halving an interval of twelve orders of magnitude finds it.
    """
    scale = distances.mean(dim=(1, 2), keepdim=True).clamp_min(1e-12)
    low, high = (torch.full_like(scale, math.log(bound)) for bound in (1e-6, 1e6))
    for _ in range(40):
        middle = (low + high) / 2
        membership = (-middle.exp() / scale * distances).softmax(dim=2).amax(dim=2)
        is_enough = membership.median(dim=1).values.view_as(scale) >= confidence
        low, high = torch.where(is_enough, low, middle), torch.where(is_enough, middle, high)
    return high.exp() / scale
