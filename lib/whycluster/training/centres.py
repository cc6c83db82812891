"""Squared Euclidean distances of rows to centres, for stacks of models.

Fast ones come from a matrix product, whose rounding is that of the squared lengths of the rows;
exact ones from differences, at any float32 matmul precision, in the memory that these take.
"""

import numpy as np
import torch
from sklearn.cluster import MiniBatchKMeans
from torch import Tensor


def first_centres(rows: np.ndarray, n_clusters: int, seed: int) -> np.ndarray:
    """Return the centres of mini-batch k-means, float32 of shape (n_clusters, n_features)."""
    kmeans = MiniBatchKMeans(n_clusters, n_init=3, random_state=seed)
    return kmeans.fit(rows).cluster_centers_.astype(np.float32)


def fast_squared_distances(x: Tensor, centres: Tensor) -> Tensor:
    """Squared distance of each row to each centre, by a matrix product.

    Parameters
    ----------
    x : Tensor of shape (n_models, n_rows, n_features)
    centres : Tensor of shape (n_models, n_clusters, n_features)

    Returns
    -------
    Tensor of shape (n_models, n_rows, n_clusters)
        At least 0.
    """
    return (_but_for_lengths(x, centres) + x.square().sum(dim=2, keepdim=True)).clamp_min(0)


def exact_squared_distances(x: Tensor, centres: Tensor) -> Tensor:
    """Squared distance of each row to each centre, by differences.

    Parameters
    ----------
    x : Tensor of shape (n_models, n_rows, n_features)
    centres : Tensor of shape (n_models, n_clusters, n_features)

    Returns
    -------
    Tensor of shape (n_models, n_rows, n_clusters)
    """
    return (x[:, :, None] - centres[:, None]).square().sum(dim=3)


def nearest_centre(x: Tensor, centres: Tensor) -> tuple[Tensor, Tensor]:
    """Return the nearest centre of each row and the squared distance to it, by a matrix product.

    Parameters
    ----------
    x : Tensor of shape (n_models, n_rows, n_features)
    centres : Tensor of shape (n_models, n_clusters, n_features)

    Returns
    -------
    labels, distances : Tensor of shape (n_models, n_rows)
    """
    least, labels = _but_for_lengths(x, centres).min(dim=2)
    return labels, (least + x.square().sum(dim=2)).clamp_min(0)


def _but_for_lengths(x: Tensor, centres: Tensor) -> Tensor:
    """Squared distances less the squared length of the row, which all its distances share."""
    return torch.baddbmm(centres.square().sum(dim=2)[:, None], x, centres.mT, alpha=-2)
