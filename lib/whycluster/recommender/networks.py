"""The networks of ClustRecNet: the published one, its four ablations, and one on sets of rows.

All of them map tables to one logit per algorithm, and have a leading model axis: the folds of a
cross-validation train as one stack. Convolutions see the models as groups of channels, attention
sees them as heads.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from whycluster.recommender.descriptors import MAX_COLUMNS, MAX_ROWS, N_ROW, N_WHOLE
from whycluster.training.layers import StackedBatchNorm, StackedLinear, StackedMLP
from whycluster.training.streams import Streams


class StackedConv2d(nn.Module):
    """One convolution per model, all of them as one grouped convolution.

    Parameters
    ----------
    n_in, n_out : int
        Channels per model.
    size, stride : int
        Of the square kernel, an odd number; zeros are padded to keep the extent at stride 1.
    streams : Streams
        One generator per model. Weights are uniform in ±1/sqrt(fan in), as torch's own.

    Examples
    --------
    >>> layer = StackedConv2d(1, 3, 3, 2, Streams([0, 1]))
    >>> layer(torch.zeros(5, 2 * 1, 8, 6)).shape
    torch.Size([5, 6, 4, 3])
    """

    def __init__(self, n_in: int, n_out: int, size: int, stride: int, streams: Streams):
        super().__init__()
        bound = (n_in * size * size) ** -0.5
        self.weight = nn.Parameter((2 * streams.uniform(n_out, n_in, size, size) - 1) * bound)
        self.bias = nn.Parameter((2 * streams.uniform(n_out) - 1) * bound)
        self.stride, self.padding = stride, size // 2

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, n_models * n_in, rows, columns) to (batch, n_models * n_out, ...)."""
        weight, bias = self.weight.flatten(0, 1), self.bias.flatten()
        return F.conv2d(x, weight, bias, self.stride, self.padding, groups=len(self.weight))


class StackedChannelNorm(StackedBatchNorm):
    """Batch normalisation of (batch, n_models * n_channels, rows, columns)."""

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]  # of one view
        """Normalise each channel of each model."""
        mean, var = self.running_mean.view(-1), self.running_var.view(-1)
        weight, bias = self.weight.view(-1), self.bias.view(-1)
        return F.batch_norm(x, mean, var, weight, bias, self.training, self.momentum, self.eps)


class StackedResidual(nn.Module):
    """Two convolutions and a shortcut, halving the extent.

    Parameters
    ----------
    n_in, n_out : int
        Channels per model.
    streams : Streams
    """

    def __init__(self, n_in: int, n_out: int, streams: Streams):
        super().__init__()
        self.first = StackedConv2d(n_in, n_out, 3, 2, streams)
        self.second = StackedConv2d(n_out, n_out, 3, 1, streams)
        self.shortcut = StackedConv2d(n_in, n_out, 1, 2, streams)
        self.norms = nn.ModuleList(StackedChannelNorm(len(streams), n_out) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, n_models * n_in, h, w) to (batch, n_models * n_out, h / 2, w / 2)."""
        first, second, shortcut = self.norms
        inner = second(self.second(F.relu(first(self.first(x)))))
        return F.relu(inner + shortcut(self.shortcut(x)))


class StackedAttention(nn.Module):
    """Self-attention over all positions of an image, added to the image.

    Queries and keys have one channel and their products are not scaled, as published. The matrix of
    all pairs of positions is never formed.

    Parameters
    ----------
    n_channels : int
        Per model.
    streams : Streams
    """

    def __init__(self, n_channels: int, streams: Streams):
        super().__init__()
        self.query = StackedConv2d(n_channels, 1, 1, 1, streams)
        self.key = StackedConv2d(n_channels, 1, 1, 1, streams)
        self.value = StackedConv2d(n_channels, n_channels, 1, 1, streams)

    def forward(self, x: Tensor) -> Tensor:
        """Return the shape of `x`, (batch, n_models * n_channels, h, w)."""
        n_channels = self.value.weight.shape[1]
        # The fast kernels want equal widths above 1; zeros change no product.
        width = max(n_channels, 2)
        query, key, value = (
            F.pad(part, (0, width - part.shape[-1])).contiguous()
            for part in (self._rows(layer(x)) for layer in (self.query, self.key, self.value))
        )
        found = F.scaled_dot_product_attention(query, key, value, scale=1.0)[..., :n_channels]
        return found.mT.reshape(x.shape) + x

    def _rows(self, x: Tensor) -> Tensor:
        """Return (batch, n_models, positions, channels per model)."""
        return x.view(len(x), len(self.key.weight), -1, x[0, 0].numel()).mT


class ImageNetwork(nn.Module):
    """The published network, which takes a table for an image of 2,000 by 50 pixels.

    Parameters
    ----------
    n_algorithms : int
    streams : Streams
        One generator per model.
    convolution, residual, attention : bool, default=True
        The blocks; each ablation of the paper leaves out one, the plain network the last two.
    """

    def __init__(
        self, n_algorithms: int, streams: Streams, convolution=True, residual=True, attention=True
    ):
        super().__init__()
        n_channels = 3 if residual else 1
        blocks = []
        if convolution:
            norm = StackedChannelNorm(len(streams), 1)
            blocks += [StackedConv2d(1, 1, 3, 1, streams), norm, nn.ReLU(), nn.MaxPool2d(2)]
        if residual:
            blocks += [StackedResidual(1, 2, streams), StackedResidual(2, 3, streams)]
        elif attention:
            blocks += [nn.MaxPool2d(4)]  # published: 25,000 positions would be too many
        if attention:
            blocks += [StackedAttention(n_channels, streams)]
        self.blocks = nn.Sequential(*blocks)
        self.n_models = len(streams)
        with torch.no_grad():
            image = torch.zeros(1, len(streams), MAX_ROWS, MAX_COLUMNS, device=streams.device)
            n_values = self.blocks.to(streams.device)(image).numel() // len(streams)
        self.hidden = StackedLinear(n_values, 16, streams)
        self.output = StackedLinear(16, n_algorithms, streams)

    def forward(self, images: Tensor) -> Tensor:
        """Map (n_models, batch, 2000, 50) to logits (n_models, batch, n_algorithms)."""
        x = self.blocks(images.transpose(0, 1))
        x = x.reshape(len(x), self.n_models, -1).transpose(0, 1)
        return self.output(F.relu(self.hidden(x)))


class SetNetwork(nn.Module):
    """A network on `descriptors`: one map for all rows, their mean, spread and maximum, a head.

    Whatever the order of the rows, it sees the same set (Zaheer et al. 2017, Deep Sets).

    Parameters
    ----------
    n_algorithms : int
    streams : Streams
        One generator per model.
    n_hidden, n_pooled : int, default=64, 32
        Widths of the hidden layers, and of what is pooled over rows.
    """

    def __init__(self, n_algorithms: int, streams: Streams, n_hidden=64, n_pooled=32):
        super().__init__()
        n_models = len(streams)
        self.row_scale = StackedBatchNorm(n_models, N_ROW)
        self.whole_scale = StackedBatchNorm(n_models, N_WHOLE)
        self.rows = StackedMLP((N_ROW, n_hidden, n_pooled), streams)
        self.head = StackedMLP((3 * n_pooled + N_WHOLE, n_hidden, n_algorithms), streams)

    def forward(self, rows: Tensor, whole: Tensor) -> Tensor:
        """Map descriptors to logits (n_models, batch, n_algorithms).

        `rows` has shape (n_models, batch, N_SHOWN, N_ROW), `whole` (n_models, batch, N_WHOLE).
        """
        seen = F.relu(self.rows(self.row_scale(rows.flatten(1, 2))))
        seen = seen.unflatten(1, rows.shape[1:3])
        pooled = [seen.mean(dim=2), seen.std(dim=2), seen.amax(dim=2)]
        return self.head(torch.cat([*pooled, self.whole_scale(whole)], dim=2))


NETWORKS: dict[str, Callable[[int, Streams], nn.Module]] = {
    "set": SetNetwork,
    "cnn-residual-attention": ImageNetwork,
    "no cnn": lambda n, streams: ImageNetwork(n, streams, convolution=False),
    "no residual": lambda n, streams: ImageNetwork(n, streams, residual=False),
    "no attention": lambda n, streams: ImageNetwork(n, streams, attention=False),
    "plain cnn": lambda n, streams: ImageNetwork(n, streams, residual=False, attention=False),
}
