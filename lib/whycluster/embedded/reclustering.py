"""Clustering the embeddings of a stack of models: where centres come from.

K-means runs on the device for all models at once; k-medoids (the kmedoids library) and the mixture
of Gaussians (scikit-learn) run on the CPU, one model after another. Random numbers come from the
stream of each model, so a model finds the same centres alone or in a stack.
"""

from typing import NamedTuple

import numpy as np
import torch
from sklearn.mixture import GaussianMixture
from torch import Tensor

from whycluster.training.centres import nearest_centre
from whycluster.training.device import matmul_precision
from whycluster.training.streams import Streams

MOST_MEDOID_ROWS = 5000  # k-medoids keeps all distances: 100 MB here, growing with the square
MAX_ITER = 300  # of k-means and of expectation maximisation
TOLERANCE = 1e-4  # of k-means: movement of the centres, in variances of the rows
REG_COVAR = 1e-5  # added to the diagonal of covariances, in squared units of the embedding


class Clusters(NamedTuple):
    """What a clustering of the embedding leaves behind.

    Attributes
    ----------
    centres : Tensor of shape (n_models, n_clusters, n_latent)
    covariances : Tensor of shape (n_models, n_clusters, n_latent, n_latent) or None
        Only from expectation maximisation.
    weights : Tensor of shape (n_models, n_clusters) or None
        Shares of the components, likewise.
    """

    centres: Tensor
    covariances: Tensor | None = None
    weights: Tensor | None = None


def recluster(z: Tensor, n_clusters: int, method: str, streams: Streams, n_init=10) -> Clusters:
    """Cluster the rows of each model.

    Parameters
    ----------
    z : Tensor of shape (n_models, n_rows, n_latent)
        Without gradient.
    n_clusters : int, at most n_rows
    method : {"random", "k-means++", "k-means", "k-medoids", "em"}
        Random rows; rows drawn far from each other (Arthur and Vassilvitskii, 2007); Lloyd's
        k-means from there; medoids under Euclidean distance (FasterPAM of Schubert and Rousseeuw,
        2021), of at most 5,000 random rows; a mixture of Gaussians with full covariances, by
        expectation maximisation from the clusters of k-means.
    streams : Streams
        One generator per model.
    n_init : int
        Restarts of k-means, of which the one with the lowest inertia is kept.

    Returns
    -------
    Clusters
    """
    with matmul_precision("highest"):  # distances are differences of products
        return METHODS[method](z, n_clusters, streams, n_init)


def draw_rows(z: Tensor, n_rows: int, streams: Streams) -> Tensor:
    """Return that many random rows of each model, all of them in their order if there are fewer."""
    if z.shape[1] <= n_rows:
        return z
    rows = streams.permutation(z.shape[1])[:, :n_rows]
    return z.gather(1, rows[..., None].expand(-1, -1, z.shape[2]))


def seed_apart(z: Tensor, n_clusters: int, streams: Streams) -> Tensor:
    """Draw centres by k-means++: each row with chance in proportion to its squared distance."""
    draws = streams.uniform(n_clusters)
    weights = torch.ones(z.shape[:2], device=z.device)
    nearest = torch.full_like(weights, torch.inf)
    centres = []
    for k in range(n_clusters):
        cumulated = weights.double().cumsum(dim=1)
        target = draws[:, k, None].double() * cumulated[:, -1:]
        row = torch.searchsorted(cumulated, target, right=True).clamp_max(z.shape[1] - 1)
        centres.append(z.gather(1, row[..., None].expand(-1, -1, z.shape[2])))
        nearest = torch.minimum(nearest, (z - centres[-1]).square().sum(dim=2))
        weights = nearest
    return torch.cat(centres, dim=1)


def _random(z, n_clusters, streams, n_init) -> Clusters:
    return Clusters(draw_rows(z, n_clusters, streams))


def _seed_apart(z, n_clusters, streams, n_init) -> Clusters:
    return Clusters(seed_apart(z, n_clusters, streams))


def _kmeans(z, n_clusters, streams, n_init) -> Clusters:
    """Run k-means `n_init` times on all models at once; keep the lowest inertia of each model."""
    mean = z.mean(dim=1, keepdim=True)
    z = z - mean  # keeps the products in `nearest_centre` small
    runs = [_lloyd(z, seed_apart(z, n_clusters, streams)) for _ in range(n_init)]
    best = torch.stack([inertia for _, inertia in runs]).argmin(dim=0).tolist()
    return Clusters(torch.stack([runs[b][0][i] for i, b in enumerate(best)]) + mean)


def _lloyd(z: Tensor, centres: Tensor) -> tuple[Tensor, Tensor]:
    """Return centres and inertia (n_models,) of k-means from given centres."""
    tolerance = TOLERANCE * z.var(dim=1, correction=0).mean(dim=1)
    is_moving = torch.ones(len(z), dtype=torch.bool, device=z.device)
    for _ in range(MAX_ITER):
        labels, distance = nearest_centre(z, centres)
        moved = torch.where(is_moving[:, None, None], _means(z, labels, distance, centres), centres)
        is_moving = (moved - centres).square().sum(dim=(1, 2)) > tolerance
        centres = moved
        if not is_moving.any():
            break
    return centres, nearest_centre(z, centres)[1].sum(dim=1)


def _means(z: Tensor, labels: Tensor, distance: Tensor, centres: Tensor) -> Tensor:
    """Return the mean of each cluster; an empty one moves to a row far from its centre."""
    n_clusters = centres.shape[1]
    member = (labels[:, None] == torch.arange(n_clusters, device=z.device)[:, None]).to(z.dtype)
    sizes = member.sum(dim=2, keepdim=True)  # (n_models, n_clusters, 1)
    means = member @ z / sizes.clamp_min(1)
    far = distance.topk(n_clusters, dim=1).indices[..., None].expand(-1, -1, z.shape[2])
    is_empty = sizes == 0
    rank = (is_empty.cumsum(dim=1) - 1).clamp_min(0).expand_as(far)
    return torch.where(is_empty, z.gather(1, far.gather(1, rank)), means)


def _kmedoids(z, n_clusters, streams, n_init) -> Clusters:
    import kmedoids  # here, since the other methods do without

    rows = draw_rows(z, MOST_MEDOID_ROWS, streams).cpu()
    first = streams.permutation(rows.shape[1])[:, :n_clusters].cpu()
    found = []
    for points, start in zip(rows, first.numpy().astype(np.uint64), strict=True):
        medoids = kmedoids.fasterpam(torch.cdist(points, points).numpy(), start).medoids
        found.append(points[torch.as_tensor(medoids.astype(np.int64))])
    return Clusters(torch.stack(found).to(z.device))


def _em(z, n_clusters, streams, n_init) -> Clusters:
    start = _kmeans(z, n_clusters, streams, n_init).centres.cpu()
    seeds = (streams.uniform(1)[:, 0].double() * 2**24).long().tolist()
    mixtures = [
        GaussianMixture(
            n_clusters,
            reg_covar=REG_COVAR,
            max_iter=MAX_ITER,
            means_init=means.double().numpy(),
            random_state=seed,
        ).fit(points.double().numpy())
        for points, means, seed in zip(z.cpu(), start, seeds, strict=True)
    ]
    names = ("means_", "covariances_", "weights_")
    parts = (np.stack([getattr(mixture, name) for mixture in mixtures]) for name in names)
    return Clusters(*(torch.as_tensor(part, dtype=z.dtype, device=z.device) for part in parts))


METHODS = {
    "random": _random,
    "k-means++": _seed_apart,
    "k-means": _kmeans,
    "k-medoids": _kmedoids,
    "em": _em,
}
