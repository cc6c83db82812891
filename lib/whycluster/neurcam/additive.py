"""Stacked additive networks: selection gates and shape functions on a shared basis.

A *channel* is one shape function. Its gate selects one feature (two for a pair channel); a basis
network that all channels share turns the selected values into basis functions, and the channel's
own weights combine these into one contribution per cluster. All channels of all models are
evaluated at once.

With one-hot gates a contribution depends on one or two values of the table, and rows share values:
of those that a channel sees in a batch, each distinct one is evaluated once, on the CPU, where that
leaves at most half of the work. Columns that are continuous are evaluated row by row.

Upadhya, Cohen (2024). NeurCAM: Interpretable Neural Clustering via Additive Models.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from whycluster.training.layers import StackedLinear

_CHUNK = {"cpu": 2**18}  # numbers of a hidden layer worked on at a time, to stay in a core's cache
_TILE = 16  # distinct values of one channel that meet its weights in one product


class _Entmax15(torch.autograd.Function):
    """entmax-1.5 over the last axis, by the exact algorithm of Peters et al. (2019)."""

    @staticmethod
    def forward(ctx, logits: Tensor) -> Tensor:
        z = (logits - logits.amax(dim=-1, keepdim=True)) / 2
        z = z.clamp_min(-1)  # lower entries are 0 whatever they are, and would cost precision
        p = (z - _threshold(z)).clamp_min(0).square()
        ctx.save_for_backward(p)
        return p

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tensor:
        (p,) = ctx.saved_tensors
        s = p.sqrt()
        mean = (grad * s).sum(dim=-1, keepdim=True) / s.sum(dim=-1, keepdim=True)
        return s * (grad - mean)


def _threshold(z: Tensor) -> Tensor:
    """Return τ with Σ max(z - τ, 0)² = 1: the root for the largest support that confirms it."""
    ordered = z.sort(dim=-1, descending=True).values
    size = torch.arange(1, z.shape[-1] + 1, dtype=z.dtype, device=z.device)
    mean = ordered.cumsum(dim=-1) / size
    scatter = ordered.square().cumsum(dim=-1) - size * mean.square()  # Σ (z - mean)²
    tau = mean - ((1 - scatter) / size).clamp_min(0).sqrt()
    support = ((tau <= ordered) & (ordered > -1)).sum(dim=-1, keepdim=True)  # τ is at least -1
    return tau.gather(-1, support - 1)


def entmax15(logits: Tensor) -> Tensor:
    """Sparse alternative to softmax: entmax with α = 1.5 over the last axis.

    Parameters
    ----------
    logits : Tensor of shape (..., n)

    Returns
    -------
    Tensor of shape (..., n)
        Non-negative, sums to one; exactly one-hot where one logit leads by at least 2.

    References
    ----------
    Peters, Niculae, Martins (2019), Sparse Sequence-to-Sequence Models, Algorithm 2; Eq. (9) of
    NeurCAM.

    Examples
    --------
    >>> entmax15(torch.tensor([[0.0, 0.0], [2.0, 0.0]]))
    tensor([[0.5000, 0.5000],
            [1.0000, 0.0000]])
    """
    return _Entmax15.apply(logits)


class _SumOfShapes(torch.autograd.Function):
    """Sum over channels of ``relu(relu(s w1 + b1) w2 + b2) v``, a few rows at a time.

    Written out because the hidden layers hold batch * n_channels * n_hidden numbers: worked on in
    pieces they stay in the cache, and the first of them is cheaper to compute again than to keep.
    """

    @staticmethod
    def forward(ctx, s, w1, b1, w2, b2, v) -> Tensor:
        hidden, logits = zip(*_in_pieces(s, w1, b1, w2, b2, v), strict=True)
        ctx.save_for_backward(s, w1, b1, w2, b2, v, *hidden)
        return torch.cat(logits, dim=1)

    @staticmethod
    def backward(ctx, grad):
        s, w1, b1, w2, b2, v, *hidden = ctx.saved_tensors
        dw1, db1, dw2, db2, dv = map(torch.zeros_like, (w1, b1, w2, b2, v))
        ds = []
        n_rows = _rows_at_once(s, w2)
        parts = zip(s.split(n_rows, 1), hidden, grad.split(n_rows, 1), strict=True)
        for part, h, g in parts:
            first = _first(part, w1, b1)
            dv.baddbmm_(h.view(len(s), part.shape[1], -1).mT, g)
            dh = _through_relu((g @ v.mT).view_as(h), h)
            dw2.baddbmm_(first.mT, dh)
            db2 += dh.sum(dim=1, keepdim=True)
            dh = _through_relu(dh @ w2.mT, first)
            dw1.baddbmm_(part.flatten(1, 2).mT, dh)
            db1 += dh.sum(dim=1, keepdim=True)
            ds.append((dh @ w1.mT).view_as(part))
        return torch.cat(ds, dim=1), dw1, db1, dw2, db2, dv


def _in_pieces(s, w1, b1, w2, b2, v) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the second hidden layer and the logits of a few rows at a time."""
    for part in s.split(_rows_at_once(s, w2), dim=1):
        h = torch.baddbmm(b2, _first(part, w1, b1), w2).relu_()
        yield h, h.view(len(s), part.shape[1], -1) @ v


def _rows_at_once(s: Tensor, w2: Tensor) -> int:
    per_row = s.shape[0] * s.shape[2] * w2.shape[-1]
    return max(1, _CHUNK.get(s.device.type, 2**28) // per_row)


def _first(part: Tensor, w1: Tensor, b1: Tensor) -> Tensor:
    """Return the first hidden layer, (n_models, batch * n_channels, n_hidden)."""
    return torch.baddbmm(b1, part.flatten(1, 2), w1).relu_()


def _through_relu(grad: Tensor, activation: Tensor) -> Tensor:
    return torch.ops.aten.threshold_backward(grad, activation, 0)


class _Distinct(NamedTuple):
    """The values that channels see in a batch, each distinct one once, and which rows have them.

    Values of a channel fill tiles of `_TILE`, so that all channels of all models, whatever their
    numbers of values, meet their weights in one batched product. What is left over in the last
    tile of a channel belongs to no row.
    """

    values: Tensor  # (n_models, n_tiles * _TILE, order)
    channel: Tensor  # (n_models, n_tiles), the channel of each tile
    place: Tensor  # (n_models * batch, n_channels), among the values of all models
    rows: Tensor  # (n_models * n_channels * batch,), rows of all models, sorted by place
    start: Tensor  # (n_models * n_tiles * _TILE,), of each value in `rows`


def _distinct(s: Tensor) -> _Distinct | None:
    """Find the distinct values of s (n_models, batch, n_channels, order).

    None where they would take more than half as many evaluations as all values. Values are told
    apart as float32: by their bits, which also makes one key of a pair.
    """
    n_models, batch, n_channels, order = s.shape
    model = torch.arange(n_models, device=s.device)[:, None]
    bits = s.transpose(1, 2).float().contiguous().view(torch.int32 if order == 1 else torch.int64)
    bits, rows = bits[..., 0].sort(dim=-1)
    rank = F.pad(bits[..., 1:] != bits[..., :-1], (1, 0)).cumsum(dim=-1)
    tiles = rank[..., -1] // _TILE + 1
    ends = tiles.cumsum(dim=-1)
    n_tiles = int(ends[:, -1].max())
    if 2 * n_tiles * _TILE > batch * n_channels:
        return None
    place = rank + _TILE * (ends - tiles + n_tiles * model)[..., None]
    every = torch.arange(n_models * n_tiles * _TILE, device=s.device)
    start = torch.searchsorted(place.flatten(), every)
    values = bits.flatten()[start.clamp_max(bits.numel() - 1)].view(torch.float32).to(s.dtype)
    each = torch.arange(n_tiles, device=s.device).expand(n_models, -1).contiguous()
    return _Distinct(
        values=values.view(n_models, -1, order),
        channel=torch.searchsorted(ends, each, right=True).clamp_max(n_channels - 1),
        place=place.scatter(2, rows, place).transpose(1, 2).flatten(0, 1),
        rows=(rows + batch * model[..., None]).flatten(),
        start=start,
    )


def _tabulate(distinct: _Distinct, w1, b1, w2, b2, v) -> Tensor:
    """Return the contributions of distinct values, (n_models * n_values, n_clusters)."""
    n_models, n_channels = len(v), v.shape[1] // w2.shape[-1]
    model = torch.arange(n_models, device=v.device)[:, None]
    by_channel = v.view(n_models * n_channels, -1, v.shape[-1])
    n_tiles = 1 + _CHUNK.get(v.device.type, 2**28) // (n_models * _TILE * w2.shape[-1])
    parts = distinct.values.split(n_tiles * _TILE, 1), distinct.channel.split(n_tiles, 1)
    tables = []
    for values, channel in zip(*parts, strict=True):
        h = torch.baddbmm(b1, values, w1).relu_()
        h = torch.baddbmm(b2, h, w2).relu_()
        own = by_channel.index_select(0, (channel + n_channels * model).flatten())
        tables.append((h.view(len(own), _TILE, -1) @ own).view(n_models, values.shape[1], -1))
    return torch.cat(tables, dim=1).flatten(0, 1)


class _SumOverChannels(torch.autograd.Function):
    """Sum the contributions that each row has, which is also how they gather their gradients."""

    @staticmethod
    def forward(ctx, contributions: Tensor, distinct: _Distinct) -> Tensor:
        ctx.distinct = distinct
        return F.embedding_bag(distinct.place, contributions, mode="sum")

    @staticmethod
    def backward(ctx, grad):
        rows, start = ctx.distinct.rows, ctx.distinct.start
        return F.embedding_bag(rows, grad.contiguous(), start, mode="sum"), None


class StackedShapes(nn.Module):
    """Channels that each select `order` features and add a shape function of them to the logits.

    Shape functions of one channel sum to zero over the clusters: a function added to all clusters
    alike would change no membership.

    Parameters
    ----------
    n_features, n_channels, n_clusters : int
    order : {1, 2}
        Features per channel.
    n_hidden, n_bases : int
        Widths of the two hidden layers of the basis network, and of its output.
    streams : Streams
        One generator per model.

    Attributes
    ----------
    selection : Parameter of shape (n_models, n_channels, order, n_features)
        F̃ of Eqs. (9) and (13).
    mixing : Parameter of shape (n_models, n_channels, n_bases, n_clusters)
        λ of Eq. (11).

    Examples
    --------
    >>> from whycluster.training.streams import Streams
    >>> shapes = StackedShapes(5, 3, 4, order=1, n_hidden=8, n_bases=6, streams=Streams([0, 1]))
    >>> shapes(torch.randn(2, 7, 5), temperature=1.0).shape
    torch.Size([2, 7, 4])
    """

    def __init__(self, n_features, n_channels, n_clusters, *, order, n_hidden, n_bases, streams):
        super().__init__()
        self.selection = nn.Parameter(streams.uniform(n_channels, order, n_features))
        self.first = StackedLinear(order, n_hidden, streams)
        self.second = StackedLinear(n_hidden, n_hidden, streams)
        self.bases = nn.Parameter((2 * streams.uniform(n_hidden, n_bases) - 1) * n_hidden**-0.5)
        mixing = 2 * streams.uniform(n_channels, n_bases, n_clusters) - 1
        self.mixing = nn.Parameter(mixing * n_bases**-0.5)

    def forward(self, x: Tensor, temperature: float) -> Tensor:
        """Map rows (n_models, batch, n_features) to logits (n_models, batch, n_clusters)."""
        s, weights = self.select(x, temperature), self._weights()
        may_share = temperature == 0 and s.device.type == "cpu" and not s.requires_grad
        if may_share and (distinct := _distinct(s)):
            logits = _SumOverChannels.apply(_tabulate(distinct, *weights), distinct)
            return logits.view(*x.shape[:2], -1)
        if torch.is_grad_enabled():
            return _SumOfShapes.apply(s, *weights)
        return torch.cat([logits for _, logits in _in_pieces(s, *weights)], dim=1)

    def select(self, x: Tensor, temperature: float) -> Tensor:
        """Return s(x) of shape (n_models, batch, n_channels, order): Eqs. (9), (13).

        At temperature 0 gates are exactly one-hot, Eq. (7).
        """
        shape = self.selection.shape[1:3]
        if temperature > 0:
            gates = entmax15(self.selection / temperature)
            return (x @ gates.flatten(1, 2).mT).unflatten(2, shape)
        chosen = self.chosen().flatten(1)[:, None]
        return x.gather(2, chosen.expand(-1, x.shape[1], -1)).unflatten(2, shape)

    def chosen(self) -> Tensor:
        """Return the selected features, int of shape (n_models, n_channels, order): Eq. (8)."""
        return self.selection.detach().argmax(dim=-1)

    def contributions(self, s: Tensor) -> Tensor:
        """Return f of Eq. (11) for selected values s (n_models, n, n_channels, order).

        Shape (n_models, n, n_channels, n_clusters); their sum over channels is the logits.
        """
        w1, b1, w2, b2, v = self._weights()
        h = torch.baddbmm(b2, _first(s, w1, b1), w2).relu_()
        n_models, n, n_channels = s.shape[:3]
        by_channel = h.view(n_models, n, n_channels, -1).transpose(1, 2)
        return (by_channel @ v.view(n_models, n_channels, h.shape[-1], -1)).transpose(1, 2)

    def _weights(self) -> tuple[Tensor, ...]:
        """Return the weights of the basis network, its linear output merged with the mixing."""
        n_models, n_channels, n_bases, n_clusters = self.mixing.shape
        mixing = self.mixing - self.mixing.mean(dim=-1, keepdim=True)
        merged = self.bases @ mixing.transpose(1, 2).reshape(n_models, n_bases, -1)
        by_channel = merged.view(n_models, -1, n_channels, n_clusters).transpose(1, 2)
        first, second = self.first, self.second
        return first.weight, first.bias, second.weight, second.bias, by_channel.flatten(1, 2)
