"""The networks of IMN and TabResNet, and the ensemble of their snapshots."""

from collections.abc import Sequence
from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from whycluster.training.layers import StackedBatchNorm, StackedLinear
from whycluster.training.streams import Streams


class Block(nn.Module):
    """Residual block: two linear layers with batch normalisation around a skip with dropout."""

    def __init__(self, n_hidden: int, streams: Streams):
        super().__init__()
        self.linears = nn.ModuleList(StackedLinear(n_hidden, n_hidden, streams) for _ in range(2))
        norms = [StackedBatchNorm(len(streams), n_hidden) for _ in range(2)]
        nn.init.zeros_(norms[1].weight)  # the skip alone, at first
        self.norms = nn.ModuleList(norms)

    def forward(self, h: Tensor, drop_inner: Tensor | float, drop_skip: Tensor | float) -> Tensor:
        """Map (n_models, batch, n_hidden) to the same shape; factors of dropout multiply."""
        inner = F.gelu(self.norms[0](self.linears[0](h))) * drop_inner
        return F.gelu(h * drop_skip + self.norms[1](self.linears[1](inner)))


class Direct(nn.Module):
    """TabResNet: linear layer, residual blocks, outputs."""

    def __init__(self, n_features, n_outputs, n_hidden, n_blocks, dropout, streams, width=1):
        super().__init__()
        self.n_outputs = n_outputs
        self.kept = 1 - round(dropout * 256) / 256
        self.entry = StackedLinear(n_features, n_hidden, streams)
        self.norm = StackedBatchNorm(len(streams), n_hidden)
        self.blocks = nn.ModuleList(Block(n_hidden, streams) for _ in range(n_blocks))
        self.exit = StackedLinear(n_hidden, n_outputs * width, streams)

    def forward(self, x: Tensor, streams: Streams | None = None) -> dict[str, Tensor]:
        """Return "output"; `streams` draw dropout in training."""
        return {"output": self._read(x, streams)}

    def _read(self, x: Tensor, streams: Streams | None) -> Tensor:
        h = F.gelu(self.norm(self.entry(x)))
        first, *others = self._dropouts(h, streams)
        h = h * first
        for block, inner, skip in zip(self.blocks, others[::2], others[1::2], strict=True):
            h = block(h, inner, skip)
        return self.exit(h)

    def _dropouts(self, h: Tensor, streams: Streams | None) -> Sequence[Tensor | float]:
        """Return the factors of each dropout, 0 or 1 / share kept; one draw for all of them."""
        n = 1 + 2 * len(self.blocks)
        if not self.training or self.kept == 1:
            return [1.0] * n
        return streams.masks(self.kept, n, *h.shape[1:]).to(h.dtype).div_(self.kept).unbind(1)  # type: ignore[union-attr]


class Mesomorphic(Direct):
    """IMN: the network writes the weights of a linear model for each row."""

    def __init__(self, n_features, *sizes):
        super().__init__(n_features, *sizes, width=n_features + 1)

    def forward(self, x: Tensor, streams: Streams | None = None) -> dict[str, Tensor]:
        """Return "output" z = Σ_m w_m x_m + w_0, x centred, and the weights "w", intercept last."""
        w = self._read(x, streams).unflatten(2, (self.n_outputs, -1))
        output = (w[..., :-1] * x[:, :, None]).sum(dim=-1) + w[..., -1]
        return {"output": output, "w": w}


class Ensemble(nn.Module):
    """The snapshots of a network, one per cycle; the last is the one that is trained."""

    center: Tensor
    offset: Tensor
    scale: Tensor

    def __init__(self, network: Direct, n_cycles: int):
        super().__init__()
        self.members = nn.ModuleList([deepcopy(network) for _ in range(n_cycles - 1)] + [network])
        n_models, n_features, _ = network.entry.weight.shape
        self.register_buffer("center", torch.zeros(n_models, 1, n_features))
        self.register_buffer("offset", torch.zeros(n_models, 1, 1))
        self.register_buffer("scale", torch.ones(n_models, 1, 1))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Return the mean "output" of the snapshots, (n_models, batch, n_outputs)."""
        outputs = [member(x - self.center)["output"] for member in self.members]
        return {"output": self.offset + self.scale * torch.stack(outputs).mean(dim=0)}

    def explain(self, x: Tensor) -> dict[str, Tensor]:
        """Return "values" and "intercept" of `Contributions`, with a leading model axis."""
        x = x - self.center
        w = torch.stack([member(x)["w"] for member in self.members]).mean(dim=0)
        values = self.scale[..., None] * w[..., :-1] * x[:, :, None]
        return {"values": values, "intercept": self.offset + self.scale * w[..., -1]}


class Contributing(nn.Module):
    """The ensemble as a map from rows to contributions."""

    def __init__(self, network: Ensemble):
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Return "values" and "intercept", see `Ensemble.explain`."""
        return self.network.explain(x)
