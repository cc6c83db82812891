"""Clusters around centres: from an embedding to logits, and how the centres move.

Each class maps embeddings (n_models, batch, n_latent) to logits (n_models, batch, n_clusters) that
are largest for the cluster of a row. `place` puts the centres where a clustering found them,
`reorder` renumbers them, `follow` moves them after a batch, `forget` drops what they remember of
their own movement.
"""

import torch
from torch import Tensor, nn

from whycluster.embedded.reclustering import Clusters
from whycluster.training.centres import exact_squared_distances


class StudentCentres(nn.Module):
    """Student's t kernel with one degree of freedom, Eq. (1) of DEC, around trained centres."""

    def __init__(self, n_models: int, n_clusters: int, n_latent: int):
        super().__init__()
        self.centres = nn.Parameter(torch.zeros(n_models, n_clusters, n_latent))

    def forward(self, z: Tensor) -> Tensor:
        """Return logits (n_models, batch, n_clusters), whose softmax is q."""
        return _student(z, self.centres)

    @torch.no_grad()
    def place(self, found: Clusters) -> None:
        """Put the centres where a clustering found them."""
        self.centres.copy_(found.centres)

    @torch.no_grad()
    def reorder(self, order: Tensor) -> None:
        """Put centre ``order[i, k]`` of model i in place k; `order` is (n_models, n_clusters)."""
        self.centres.copy_(_reordered(self.centres, order))

    def follow(self, z: Tensor, labels: Tensor) -> None:
        """Do nothing: the optimiser moves these centres."""

    def forget(self, optimizer: torch.optim.Optimizer) -> None:
        """Drop Adam's moments of the centres and their number of steps."""
        optimizer.state.pop(self.centres, None)


class GaussianCentres(StudentCentres):
    """Responsibilities of a mixture of Gaussians with trained means."""

    whitening: Tensor
    offset: Tensor

    def __init__(self, n_models: int, n_clusters: int, n_latent: int):
        super().__init__(n_models, n_clusters, n_latent)
        eye = torch.eye(n_latent).expand(n_models, n_clusters, -1, -1).clone()
        self.register_buffer("whitening", eye)
        self.register_buffer("offset", torch.zeros(n_models, n_clusters))

    def forward(self, z: Tensor) -> Tensor:
        """Return log π + log N(z | μ, Σ) up to a constant, (n_models, batch, n_clusters)."""
        difference = (
            z[:, None] - self.centres[:, :, None]
        )  # (n_models, n_clusters, batch, n_latent)
        squared = (difference @ self.whitening).square().sum(dim=3).mT
        return self.offset[:, None] - 0.5 * squared

    @torch.no_grad()
    def place(self, found: Clusters) -> None:
        """Keep means, covariances and weights of a mixture."""
        if found.covariances is None or found.weights is None:
            raise ValueError(
                "assignment='gaussian' needs covariances, which this clustering does not give; "
                "use BRB(recluster='em')"
            )
        super().place(found)
        lower = torch.linalg.cholesky(found.covariances.double())
        inverse = torch.linalg.inv(lower).mT  # whitening @ whitening.mT is the precision
        log_det = inverse.diagonal(dim1=2, dim2=3).log().sum(dim=2)
        self.whitening.copy_(inverse)
        self.offset.copy_(found.weights.double().log() + log_det)

    @torch.no_grad()
    def reorder(self, order: Tensor) -> None:
        """Reorder covariances and weights, too."""
        super().reorder(order)
        self.whitening.copy_(_reordered(self.whitening, order))
        self.offset.copy_(_reordered(self.offset, order))


class RunningMeans(nn.Module):
    """Centres of DCN: the mean of all rows that ever went to them."""

    centres: Tensor
    counts: Tensor

    def __init__(self, n_models, n_clusters, n_latent, first_count: int, max_count: float):
        super().__init__()
        self.first_count, self.max_count = first_count, max_count
        self.register_buffer("centres", torch.zeros(n_models, n_clusters, n_latent))
        self.register_buffer("counts", torch.full((n_models, n_clusters, 1), float(first_count)))

    def forward(self, z: Tensor) -> Tensor:
        """Return logits (n_models, batch, n_clusters), largest for the nearest centre."""
        return _student(z, self.centres)

    def place(self, found: Clusters) -> None:
        """Put the centres where a clustering found them."""
        self.centres = found.centres

    def reorder(self, order: Tensor) -> None:
        """Put centre ``order[i, k]`` of model i in place k, with its count."""
        self.centres = _reordered(self.centres, order)
        self.counts = _reordered(self.counts, order)

    def follow(self, z: Tensor, labels: Tensor) -> None:
        """Take rows into the means: each in turn by 1/count, Eq. (8) of DCN, in closed form."""
        member = nn.functional.one_hot(labels, self.centres.shape[1]).to(z.dtype).mT
        kept = self.counts.clamp_max(self.max_count)
        self.counts = kept + member.sum(dim=2, keepdim=True)
        self.centres = (kept * self.centres + member @ z) / self.counts

    def forget(self, optimizer: torch.optim.Optimizer) -> None:
        """Count from the start again."""
        self.counts = torch.full_like(self.counts, float(self.first_count))


Centres = StudentCentres | RunningMeans


def _student(z: Tensor, centres: Tensor) -> Tensor:
    """Logarithm of the kernel 1 / (1 + ‖z - μ‖²)."""
    return -exact_squared_distances(z, centres).log1p()


def _reordered(tensor: Tensor, order: Tensor) -> Tensor:
    """Return ``tensor[i, order[i, k]]`` at (i, k)."""
    return tensor[torch.arange(len(tensor), device=tensor.device)[:, None], order]
