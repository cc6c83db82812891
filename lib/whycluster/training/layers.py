"""Stacked layers: several models of one shape, trained as one.

Every parameter has a leading model axis, and activations have shape (n_models, batch, n_features).
One model is the case n_models = 1. Initial weights come from `Streams`, one generator per model, so
a model starts from the same weights alone or in a stack.

A layer may be passed the first models of the stack only: those whose rows are not used up.

A layer may see several *views* of the same batch at once (clean, gated, masked...), concatenated
along the batch axis: products then run once over all rows, while batch normalisation keeps to the
statistics of each view.
"""

from collections.abc import Iterable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from whycluster.training.streams import Streams


class StackedLinear(nn.Module):
    """One affine map per model, ``x @ weight + bias``.

    Parameters
    ----------
    n_in, n_out : int
        Widths.
    streams : Streams
        One generator per model; its length is n_models.
    weight_std : float or None
        Standard deviation of normal initial weights. None: uniform in ±1/sqrt(n_in), the
        initialisation of `torch.nn.Linear`, which is used for the biases in either case.

    Attributes
    ----------
    weight : Parameter of shape (n_models, n_in, n_out)
    bias : Parameter of shape (n_models, 1, n_out)

    Examples
    --------
    >>> layer = StackedLinear(3, 2, Streams([0, 1, 2, 3]))
    >>> layer(torch.zeros(4, 5, 3)).shape
    torch.Size([4, 5, 2])
    """

    def __init__(self, n_in: int, n_out: int, streams: Streams, weight_std: float | None = None):
        super().__init__()
        bound = n_in**-0.5
        if weight_std is None:
            weight = (2 * streams.uniform(n_in, n_out) - 1) * bound
        else:
            weight = streams.normal(n_in, n_out) * weight_std
        self.weight = nn.Parameter(weight)
        self.bias = nn.Parameter((2 * streams.uniform(1, n_out) - 1) * bound)

    def forward(self, x: Tensor) -> Tensor:
        """Map (n_models, batch, n_in) to (n_models, batch, n_out)."""
        return torch.baddbmm(_of(self.bias, x), x, _of(self.weight, x))


class StackedBatchNorm(nn.Module):
    """Batch normalisation per model and per view.

    In training each view is normalised by its own mean and variance, as if it had been passed
    alone. The running statistics follow the first view, the one that is seen at prediction.

    Parameters
    ----------
    n_models, n_features : int
    momentum : float in (0, 1]
        Weight of the newest batch in the running statistics.
    eps : float
        Added to the variance.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, n_models: int, n_features: int, momentum: float = 0.1, eps: float = 1e-5):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(n_models, n_features))
        self.bias = nn.Parameter(torch.zeros(n_models, n_features))
        self.register_buffer("running_mean", torch.zeros(n_models, n_features))
        self.register_buffer("running_var", torch.ones(n_models, n_features))
        self.momentum = momentum
        self.eps = eps

    def forward(self, x: Tensor, n_views: int = 1) -> Tensor:
        """Normalise (n_models, n_views * batch, n_features), the views one after another."""
        if n_views == 1:
            return self._normalise(x, track=True)
        views = x.chunk(n_views, dim=1)
        return torch.cat([self._normalise(v, track=i == 0) for i, v in enumerate(views)], dim=1)

    def _normalise(self, x: Tensor, track: bool) -> Tensor:
        n_models, n_rows, n_features = x.shape
        folded = x.transpose(0, 1).reshape(n_rows, -1)  # (batch, n_models * n_features)
        mean, var = (
            (_of(self.running_mean, x).view(-1), _of(self.running_var, x).view(-1))
            if track or not self.training
            else (None, None)
        )
        weight, bias = _of(self.weight, x).view(-1), _of(self.bias, x).view(-1)
        out = F.batch_norm(folded, mean, var, weight, bias, self.training, self.momentum, self.eps)
        return out.view(n_rows, n_models, n_features).transpose(0, 1)


class StackedMLP(nn.Module):
    """Linear, batch normalisation, ReLU for every hidden layer; a plain linear output layer.

    Parameters
    ----------
    widths : sequence of int
        (n_in, hidden..., n_out).
    streams : Streams
        One generator per model.
    weight_std : float or None
        See `StackedLinear`.

    Examples
    --------
    >>> network = StackedMLP([3, 8, 2], Streams([0, 1]))
    >>> network(torch.randn(2, 5, 3)).shape
    torch.Size([2, 5, 2])
    """

    def __init__(self, widths: Sequence[int], streams: Streams, weight_std: float | None = None):
        super().__init__()
        self.linears = nn.ModuleList(
            StackedLinear(n_in, n_out, streams, weight_std) for n_in, n_out in pairwise(widths)
        )
        self.norms = nn.ModuleList(StackedBatchNorm(len(streams), n) for n in widths[1:-1])

    @property
    def blocks(self) -> list[tuple[nn.Module, ...]]:
        """Layers from input to output, each linear layer with its normalisation."""
        return [*zip(self.linears, self.norms, strict=False), (self.linears[-1],)]

    def forward(self, x: Tensor, n_views: int = 1) -> Tensor:
        """Map (n_models, n_views * batch, n_in) to (n_models, n_views * batch, n_out)."""
        for linear, norm in zip(self.linears, self.norms, strict=False):
            x = F.relu(norm(linear(x), n_views))
        return self.linears[-1](x)


class StackedAutoencoder(nn.Module):
    """An encoder and its mirror image, both of them `StackedMLP`.

    Parameters
    ----------
    n_features : int
    hidden : sequence of int
        Widths of the encoder's hidden layers.
    n_latent : int
        Width of the embedding.
    streams : Streams
        One generator per model.

    Attributes
    ----------
    encoder, decoder : StackedMLP

    Examples
    --------
    >>> network = StackedAutoencoder(3, [8, 4], 2, Streams([0, 1]))
    >>> network.encoder(torch.randn(2, 5, 3)).shape, network(torch.randn(2, 5, 3)).shape
    (torch.Size([2, 5, 2]), torch.Size([2, 5, 3]))
    """

    def __init__(self, n_features: int, hidden: Sequence[int], n_latent: int, streams: Streams):
        super().__init__()
        self.encoder = StackedMLP((n_features, *hidden, n_latent), streams)
        self.decoder = StackedMLP((n_latent, *hidden[::-1], n_features), streams)

    def forward(self, x: Tensor) -> Tensor:
        """Reconstruct rows, (n_models, batch, n_features)."""
        return self.decoder(self.encoder(x))


class StackedGating(nn.Module):
    """A gate mean in (-1, 1) for every feature of every row: linear, tanh, linear, tanh.

    Parameters
    ----------
    n_features, n_hidden : int
    streams : Streams
        One generator per model.
    weight_std : float or None
        See `StackedLinear`.
    """

    def __init__(self, n_features: int, n_hidden: int, streams: Streams, weight_std=None):
        super().__init__()
        self.hidden = StackedLinear(n_features, n_hidden, streams, weight_std)
        self.output = StackedLinear(n_hidden, n_features, streams, weight_std)

    def forward(self, x: Tensor) -> Tensor:
        """Return gate means of the shape of `x`, (n_models, batch, n_features)."""
        return torch.tanh(self.output(torch.tanh(self.hidden(x))))


@torch.no_grad()
def set_statistics(network: nn.Module, batches: Iterable[Tensor]) -> None:
    """Set the running statistics of batch normalisation to their mean over batches.

    Parameters
    ----------
    network : Module
        Left in training mode.
    batches : iterable of Tensor of shape (n_models, batch, n_in)
        What `network` is called with.
    """
    norms = [module for module in network.modules() if isinstance(module, StackedBatchNorm)]
    before = [norm.momentum for norm in norms]
    network.train()
    for i, batch in enumerate(batches):
        for norm in norms:
            norm.momentum = 1 / (i + 1)
        network(batch)
    for norm, momentum in zip(norms, before, strict=True):
        norm.momentum = momentum


def take(state: dict[str, Tensor], index: int) -> dict[str, Tensor]:
    """Return the weights of one model of a stack, as those of a stack of one."""
    return {name: tensor[index : index + 1].clone() for name, tensor in state.items()}


def _of(tensor: Tensor, x: Tensor) -> Tensor:
    """Return the part of `tensor` that belongs to the models of `x`."""
    return tensor if len(tensor) == len(x) else tensor[: len(x)]
