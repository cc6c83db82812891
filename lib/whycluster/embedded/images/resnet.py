"""ResNet-18 for small images, several models of one shape side by side.

He, Zhang, Ren and Sun (2016). Deep Residual Learning for Image Recognition. CVPR.

As in `whycluster.training.layers`, every parameter has a leading model axis. Between layers, images
have shape (batch, n_models * n_channels, height, width), and the convolutions of a stack are the
groups of one convolution; those of a single model are ordinary ones. A stack takes n_models times
the memory and saves no time where one model alone fills the device, as one of full width does: at
full size, train one seed after another.

Deviations from the paper
-------------------------
1. The first convolution is 3x3 with stride 1, and no pooling follows: images are small. So do Chen
   et al. (2020), SimCLR, Appendix B.9, for CIFAR-10.
2. Channels are standardised within the network, so that it takes images as they are.
3. The classifier is a perceptron with batch normalisation, whose output is the embedding.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from whycluster.training.layers import StackedBatchNorm, StackedMLP
from whycluster.training.streams import Streams

STRIDES = (1, 2, 2, 2)  # of the four stages, each twice as wide as the one before
BLOCKS = 2  # residual blocks of a stage


class StackedConvolution(nn.Module):
    """One convolution per model, square and without bias, as groups of one.

    Parameters
    ----------
    n_in, n_out : int
        Channels.
    side : int, odd
        Of the kernel, in pixels.
    stride : int
    streams : Streams
        One generator per model. Weights are normal with variance 2 / (n_out side²), He et al.
        (2015).

    Attributes
    ----------
    weight : Parameter of shape (n_models, n_out, n_in, side, side)
    """

    def __init__(self, n_in: int, n_out: int, side: int, stride: int, streams: Streams):
        super().__init__()
        self.stride, self.padding = stride, side // 2
        weight = streams.normal(n_out, n_in, side, side)
        self.weight = nn.Parameter(weight * (2 / (n_out * side**2)) ** 0.5)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, n_models * n_in, height, width) to (batch, n_models * n_out, ...)."""
        kernels, n_models = self.weight.flatten(0, 1), len(self.weight)
        return F.conv2d(x, kernels, stride=self.stride, padding=self.padding, groups=n_models)


class ImageBatchNorm(StackedBatchNorm):
    """Batch normalisation of every channel of (batch, n_models * n_channels, height, width)."""

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]  # of one view
        """Normalise by the statistics of the batch in training, by running ones otherwise."""
        mean, var, weight, bias = (
            part.view(-1) for part in (self.running_mean, self.running_var, self.weight, self.bias)
        )
        return F.batch_norm(x, mean, var, weight, bias, self.training, self.momentum, self.eps)


class NormedConvolution(nn.Sequential):
    """A convolution and its normalisation; arguments as for `StackedConvolution`."""

    def __init__(self, n_in: int, n_out: int, side: int, stride: int, streams: Streams):
        convolution = StackedConvolution(n_in, n_out, side, stride, streams)
        super().__init__(convolution, ImageBatchNorm(len(streams), n_out))


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut, Eqs. (1) and (2) of He et al. (2016).

    The shortcut is the identity, or a 1x1 convolution where the shape changes.
    """

    def __init__(self, n_in: int, n_out: int, stride: int, streams: Streams):
        super().__init__()
        self.first = NormedConvolution(n_in, n_out, 3, stride, streams)
        self.second = NormedConvolution(n_out, n_out, 3, 1, streams)
        is_same = stride == 1 and n_in == n_out
        self.shortcut = (
            nn.Identity() if is_same else NormedConvolution(n_in, n_out, 1, stride, streams)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return ReLU(F(x) + shortcut(x))."""
        return F.relu(self.second(F.relu(self.first(x))) + self.shortcut(x))


class StackedResNet18(nn.Module):
    """From images to embeddings: convolution, eight residual blocks, mean, perceptron.

    Parameters
    ----------
    image_shape : (channels, height, width)
    width : int
        Channels of the first stage; 64 in the paper. The last has eight times as many.
    hidden : sequence of int
        Widths of the perceptron's hidden layers, may be empty.
    n_latent : int
        Width of the embedding.
    streams : Streams
        One generator per model.

    Attributes
    ----------
    mean, std : Tensor of shape (n_models, channels)
        By which images are standardised, see `calibrate`.

    Examples
    --------
    >>> network = StackedResNet18((3, 8, 8), 4, [16], 5, Streams([0, 1]))
    >>> network(torch.rand(2, 7, 192)).shape
    torch.Size([2, 7, 5])
    """

    mean: Tensor
    std: Tensor

    def __init__(self, image_shape, width: int, hidden: Sequence[int], n_latent: int, streams):
        super().__init__()
        self.image_shape = tuple(image_shape)
        n_models, channels = len(streams), self.image_shape[0]
        self.register_buffer("mean", torch.zeros(n_models, channels))
        self.register_buffer("std", torch.ones(n_models, channels))
        self.stem = NormedConvolution(channels, width, 3, 1, streams)
        widths = [width] + [width * 2**i for i in range(len(STRIDES))]
        self.stages = nn.ModuleList(
            _stage(widths[i], widths[i + 1], stride, streams) for i, stride in enumerate(STRIDES)
        )
        self.head = StackedMLP((widths[-1], *hidden, n_latent), streams)

    @property
    def blocks(self) -> list[tuple[nn.Module, ...]]:
        """Layers from input to output: stem, stages, hidden layers of the head, embedding."""
        *hidden, embedding = self.head.blocks
        layers = tuple(layer for block in hidden for layer in block)
        convolutions = [(self.stem,), *((stage,) for stage in self.stages)]
        return [*convolutions, *([layers] if layers else []), embedding]

    @torch.no_grad()
    def calibrate(self, rows: Tensor) -> None:
        """Standardise by the channels of these images, (n_rows, n_features), from now on."""
        channels = rows.view(len(rows), self.image_shape[0], -1)
        std = channels.std(dim=(0, 2), correction=0)
        self.mean.copy_(channels.mean(dim=(0, 2)))
        self.std.copy_(torch.where(std > 0, std, 1.0))

    def forward(self, x: Tensor) -> Tensor:
        """Embed flattened images, (n_models, batch, n_features) to (n_models, batch, n_latent)."""
        n_models, n_rows, _ = x.shape
        x = x.reshape(n_models, n_rows, *self.image_shape).transpose(0, 1).flatten(1, 2)
        x = (x - self.mean.view(-1, 1, 1)) / self.std.view(-1, 1, 1)
        x = F.relu(self.stem(x))
        for stage in self.stages:
            x = stage(x)
        return self.head(x.mean(dim=(2, 3)).view(n_rows, n_models, -1).transpose(0, 1))


def _stage(n_in: int, n_out: int, stride: int, streams: Streams) -> nn.Sequential:
    first = ResidualBlock(n_in, n_out, stride, streams)
    return nn.Sequential(
        first, *(ResidualBlock(n_out, n_out, 1, streams) for _ in range(1, BLOCKS))
    )
