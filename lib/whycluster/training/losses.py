"""Losses: pure functions of tensors that return one value per model, shape (n_models,).

Weights are applied by the estimators, never here.
"""

import torch
from torch import Tensor, nn


def reconstruction_error(x_hat: Tensor, x: Tensor, order: int = 2) -> Tensor:
    """Mean of ``|x_hat - x|**order`` over rows and features.

    Parameters
    ----------
    x_hat, x : Tensor of shape (n_models, batch, n_features)
    order : {1, 2}
        1: absolute error; 2: squared error.

    Returns
    -------
    Tensor of shape (n_models,)
    """
    difference = x_hat - x
    error = difference.abs() if order == 1 else difference.square()
    return error.mean(dim=(1, 2))


def gate_penalty(mu: Tensor, sigma: float) -> Tensor:
    """Expected fraction of open gates, Eq. (3) of IDC: the mean of Φ((μ + 0.5) / σ).

    The paper sums over features; the mean keeps the weight of this term independent of the number
    of features.

    Parameters
    ----------
    mu : Tensor of shape (n_models, ..., n_features)
        Gate means in (-1, 1).
    sigma : float
        Standard deviation of the gate noise, in the same unit as `mu`.

    Returns
    -------
    Tensor of shape (n_models,)
    """
    return torch.special.ndtr((mu + 0.5) / sigma).flatten(1).mean(dim=1)


def coding_rate(z: Tensor, scale: Tensor | float) -> Tensor:
    """Compute ½ logdet(I + scale · zᵀz) in the smaller of its two forms, by Cholesky.

    Parameters
    ----------
    z : Tensor of shape (..., n_rows, n_columns)
    scale : float or Tensor broadcastable to (...)
        Positive.

    Returns
    -------
    Tensor of shape (...)
        NaN where `z` is not finite, or so large that its product has no Cholesky factor.
    """
    gram = z @ z.mT if z.shape[-2] < z.shape[-1] else z.mT @ z
    scale = torch.as_tensor(scale, dtype=z.dtype, device=z.device)[..., None, None]
    eye = torch.eye(gram.shape[-1], device=z.device)
    factor, failed = torch.linalg.cholesky_ex(eye + scale * gram)  # does not wait for the device
    rate = factor.diagonal(dim1=-2, dim2=-1).log().sum(dim=-1)
    return rate.masked_fill(failed > 0, torch.nan)


def gate_coding_loss(z: Tensor, eps: float) -> Tensor:
    """Negative coding rate of the gates per row, Eqs. (4) and (7) of IDC.

    The lower, the more the gates of a batch differ from row to row.

    Parameters
    ----------
    z : Tensor of shape (n_models, batch, n_features)
        Gates in [0, 1], or their random projection.
    eps : float
        Squared coding error, positive.

    Returns
    -------
    Tensor of shape (n_models,)
    """
    batch, n_features = z.shape[-2:]
    return -coding_rate(z, n_features / (batch * eps)) / batch


def cluster_coding_loss(h: Tensor, membership: Tensor, eps: float) -> Tensor:
    """Mean coding rate of the clusters per embedding dimension, Eqs. (6) and (8) of IDC.

    Each cluster counts by its share of the batch, as in Yu et al. (2020). The lower, the more
    compact the clusters.

    Parameters
    ----------
    h : Tensor of shape (n_models, batch, n_latent)
        Embedding, rows of unit length.
    membership : Tensor of shape (n_models, batch, n_clusters)
        Rows sum to one.
    eps : float
        Squared coding error, positive.

    Returns
    -------
    Tensor of shape (n_models,)
    """
    n_latent = h.shape[-1]
    size = membership.sum(dim=1) + 1e-8  # (n_models, n_clusters)
    weighted = h[:, None] * membership.mT[..., None].clamp_min(0).add(1e-20).sqrt()
    rate = coding_rate(weighted, n_latent / (size * eps))
    return (size / size.sum(dim=1, keepdim=True) * rate).sum(dim=1) / n_latent


def dec_target(q: Tensor) -> Tensor:
    """Sharpened assignments, Eq. (3) of DEC: q² over the soft cluster sizes, rows summing to one.

    Parameters
    ----------
    q : Tensor of shape (n_models, batch, n_clusters)
        Soft assignments in [0, 1], rows sum to one.

    Returns
    -------
    Tensor of the shape of `q`
        A target: without gradient.
    """
    q = q.detach()
    sharp = q.square() / q.sum(dim=1, keepdim=True).clamp_min(torch.finfo(q.dtype).tiny)
    return sharp / sharp.sum(dim=2, keepdim=True)


def assignment_divergence(p: Tensor, log_q: Tensor) -> Tensor:
    """Kullback-Leibler divergence of soft assignments from their targets, Eq. (2) of DEC, per row.

    Parameters
    ----------
    p : Tensor of shape (n_models, batch, n_clusters)
        Targets, rows sum to one.
    log_q : Tensor of shape (n_models, batch, n_clusters)
        Logarithms of the soft assignments.

    Returns
    -------
    Tensor of shape (n_models,)
        The mean over rows of Σ p log(p / q), at least 0.
    """
    return (torch.xlogy(p, p) - p * log_q).sum(dim=2).mean(dim=1)


def centre_distance(z: Tensor, centres: Tensor, labels: Tensor) -> Tensor:
    """Mean squared distance of rows to the centre of their own cluster, as in Eq. (3) of DCN.

    Parameters
    ----------
    z : Tensor of shape (n_models, batch, n_latent)
    centres : Tensor of shape (n_models, n_clusters, n_latent)
    labels : Tensor of int of shape (n_models, batch)
        Cluster of each row.

    Returns
    -------
    Tensor of shape (n_models,)
    """
    own = centres.gather(1, labels[..., None].expand(-1, -1, z.shape[2]))
    return (z - own).square().sum(dim=2).mean(dim=1)


def cross_entropy(logits: Tensor, target: Tensor, class_weight: Tensor | float = 1.0) -> Tensor:
    """Mean over rows of ``-Σ_c weight_c · target_c · log softmax(logits)_c``.

    Linear in the target, so that mixed rows may have mixed targets.

    Parameters
    ----------
    logits : Tensor of shape (n_models, batch, n_classes)
    target : Tensor of shape (n_models, batch, n_classes)
        Rows sum to one.
    class_weight : float or Tensor broadcastable to `target`
        Positive.

    Returns
    -------
    Tensor of shape (n_models,)
    """
    row = (class_weight * target * logits.log_softmax(dim=-1)).sum(dim=-1)
    return -row.mean(dim=1)


def weight_penalty(w: Tensor) -> Tensor:
    """Mean absolute value of generated weights, the L1 term of IMN.

    The paper writes the norm, a sum; the released code takes the mean, so that the weight of this
    term does not depend on the numbers of features, classes and rows.

    Parameters
    ----------
    w : Tensor of shape (n_models, ...)

    Returns
    -------
    Tensor of shape (n_models,)
    """
    return w.abs().flatten(1).mean(dim=1)


def fuzzy_clustering_loss(log_w: Tensor, distances: Tensor, fuzziness: float) -> Tensor:
    """Mean over rows of Σ_k w_k^m ‖x - z_k‖², Eqs. (14) and (15) of NeurCAM.

    Parameters
    ----------
    log_w : Tensor of shape (n_models, batch, n_clusters)
        Logarithms of the memberships.
    distances : Tensor of shape (n_models, batch, n_clusters)
        Squared.
    fuzziness : float
        m, at least 1.

    Returns
    -------
    Tensor of shape (n_models,)
    """
    return ((fuzziness * log_w).exp() * distances).sum(dim=-1).mean(dim=-1)


def fuzzy_memberships(distances: Tensor, fuzziness: float) -> Tensor:
    """Memberships that minimise `fuzzy_clustering_loss`, those of fuzzy c-means (Bezdek, 1981).

    w_k is proportional to ‖x - z_k‖ to the power of -2 / (m - 1).

    Parameters
    ----------
    distances : Tensor of shape (n_models, n_rows, n_clusters)
        Squared.
    fuzziness : float
        m, at least 1; 1 gives each row to its nearest centre, as the limit does.

    Returns
    -------
    Tensor of shape (n_models, n_rows, n_clusters)
        Rows sum to one.

    Examples
    --------
    >>> fuzzy_memberships(torch.tensor([[[1.0, 4.0]]]), 2.0)
    tensor([[[0.8000, 0.2000]]])
    """
    log_distances = distances.clamp_min(torch.finfo(distances.dtype).tiny).log()
    return (-log_distances / max(fuzziness - 1, 1e-6)).softmax(dim=-1)


def spectral_loss(y: Tensor, affinity: Tensor) -> Tensor:
    """Mean over rows of ½ Σ_j W_ij ‖y_i - y_j‖², the loss of SpectralNet.

    Parameters
    ----------
    y : Tensor of shape (n_models, batch, n_components)
    affinity : Tensor of shape (n_models, batch, batch)
        W, symmetric, at least 0.

    Returns
    -------
    Tensor of shape (n_models,)
        At least 0; 0 if rows with an affinity coincide.
    """
    degree = affinity.sum(dim=2, keepdim=True)
    return (y * (degree * y - affinity @ y)).sum(dim=2).mean(dim=1)


def nt_xent(h: Tensor, temperature: float) -> Tensor:
    """Contrast of two views of each image with all other images, Eq. (1) of SimCLR.

    Parameters
    ----------
    h : Tensor of shape (n_models, 2 * batch, n_latent)
        Projections of the first views, then of the second ones in the same order; only their
        directions count.
    temperature : float
        τ, positive: the smaller, the more the nearest others count.

    Returns
    -------
    Tensor of shape (n_models,)
        The mean over views of -log softmax of the other view's cosine similarity over τ among all
        views but itself; log(2 * batch - 1) where nothing can be told apart.
    """
    h = nn.functional.normalize(h, dim=2)
    n_views = h.shape[1]
    itself = torch.eye(n_views, dtype=torch.bool, device=h.device)
    similarity = (h @ h.mT / temperature).masked_fill(itself, -torch.inf)
    other = torch.arange(n_views, device=h.device).roll(n_views // 2)
    rows = torch.arange(n_views, device=h.device)
    return -similarity.log_softmax(dim=2)[:, rows, other].mean(dim=1)


def confident_cross_entropy(logits: Tensor, teacher: Tensor, confidence: float) -> Tensor:
    """Cross-entropy with the clusters of confident rows, the self-labelling of SCAN.

    Parameters
    ----------
    logits : Tensor of shape (n_models, batch, n_clusters)
        Of views that are harder to read.
    teacher : Tensor of shape (n_models, batch, n_clusters)
        Logits of the rows themselves; without gradient.
    confidence : float in (0, 1)
        A row whose largest membership is not above it does not count.

    Returns
    -------
    Tensor of shape (n_models,)
        The mean over the clusters that have confident rows of their mean cross-entropy, so that
        large clusters do not swallow small ones; 0 where no row is confident.
    """
    membership, labels = teacher.detach().softmax(dim=2).max(dim=2)
    one_hot = nn.functional.one_hot(labels, teacher.shape[2]).to(logits.dtype)
    member = one_hot * (membership > confidence)[..., None]
    weight = (member / member.sum(dim=1, keepdim=True).clamp_min(1)).sum(dim=2)
    row = -(one_hot * logits.log_softmax(dim=2)).sum(dim=2)
    return (weight * row).sum(dim=1) / weight.sum(dim=1).clamp_min(1)
