"""Augmentations of table rows: every model of a stack draws its own, all in one pass.

A batch is left alone, or changed in one of five ways:

- *mixup*: each row and its target move towards another row of the batch;
- *cutmix*: each row takes some features from another row, its target the same share;
- *cutout*: some features of each row become 0, the mean of a standardised feature;
- *noise*: normal noise is added;
- *FGSM*: half of the rows move against the model, along the sign of the gradient of its loss.

Zhang et al. (2018), mixup; Yun et al. (2019), CutMix; DeVries and Taylor (2017), cutout; Goodfellow
et al. (2015), FGSM. For tables: Kadra et al. (2021), Well-tuned Simple Nets Excel on Tabular
Datasets.

Deviations from the released code of IMN
----------------------------------------
1. A cutmix target counts the features that a row keeps. The code counts those that it gives away.
2. Cutout leaves targets alone. The code mixes in the target of a row that gave nothing.
3. Mixup moves all features. The code moves a random share of them, which it uses as the mixing
   weight of the targets too.
4. FGSM changes half of the rows, with the same expected loss as the code's mean of two passes.
5. Every kind is drawn. The code draws an index that never reaches the last one.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from whycluster.training.streams import Streams

KINDS = ("mixup", "cutmix", "cutout", "noise", "fgsm")
NOISE = 0.1  # standard deviations of a standardised feature
EPSILON = 0.007  # of FGSM, as published

Loss = Callable[[Tensor, Tensor], Tensor]


class Draws(NamedTuple):
    """The random numbers of one batch, the same for all kinds.

    A model so draws the same numbers whatever the other models of its stack do.

    Attributes
    ----------
    share : Tensor of shape (n_models, 1, 1)
        λ, uniform in [0, 1): Beta(1, 1), as published.
    order : Tensor of int of shape (n_models, batch)
        The other row of each row.
    uniform : Tensor of shape (n_models, batch, n_features)
    """

    share: Tensor
    order: Tensor
    uniform: Tensor


def draw(x: Tensor, streams: Streams) -> Draws:
    """Draw what the augmentations of a batch need, for all models."""
    return Draws(
        streams.uniform(1, 1), streams.permutation(x.shape[1]), streams.uniform(*x.shape[1:])
    )


def augment(
    x: Tensor,
    target: Tensor,
    streams: Streams,
    probability: float,
    loss: Loss,
    kinds: Sequence[str] = KINDS,
) -> tuple[Tensor, Tensor]:
    """Change the batch of each model with some probability, in a way drawn for that model.

    Parameters
    ----------
    x : Tensor of shape (n_models, batch, n_features)
    target : Tensor of shape (n_models, batch, n_outputs)
    streams : Streams
        One generator per model.
    probability : float in [0, 1]
        With which a batch is changed.
    loss : callable
        ``loss(x, target)`` of shape (n_models,), differentiable in x; only FGSM calls it.
    kinds : sequence of str
        Any of `KINDS`, equally likely.

    Returns
    -------
    x, target : Tensors of the shapes given
    """
    change, kind = streams.uniform(2).T
    choice = torch.where(change < probability, (kind * len(kinds)).long(), -1)[:, None, None]
    draws = draw(x, streams)
    out_x, out_target = x, target
    for i, name in enumerate(kinds):
        if (choice == i).any():
            own = (loss,) if name == "fgsm" else ()
            changed_x, changed_target = _CHANGES[name](x, target, draws, *own)
            out_x = torch.where(choice == i, changed_x, out_x)
            out_target = torch.where(choice == i, changed_target, out_target)
    return out_x, out_target


def mixup(x: Tensor, target: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
    """Return λ·row + (1 - λ)·other row, for rows and targets."""
    other_x, other_target = _others(x, draws), _others(target, draws)
    return torch.lerp(other_x, x, draws.share), torch.lerp(other_target, target, draws.share)


def cutmix(x: Tensor, target: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
    """Keep each feature with probability λ, take it from the other row otherwise.

    The target mixes in the share of features that the row did keep.
    """
    is_kept = draws.uniform < draws.share
    kept = is_kept.float().mean(dim=2, keepdim=True)
    return (
        torch.where(is_kept, x, _others(x, draws)),
        torch.lerp(_others(target, draws), target, kept),
    )


def cutout(x: Tensor, target: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
    """Keep each feature with probability λ, set it to 0 otherwise."""
    return x * (draws.uniform < draws.share), target


def noise(x: Tensor, target: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
    """Add normal noise of standard deviation `NOISE`."""
    normal = torch.special.ndtri(draws.uniform.clamp(1e-6, 1 - 1e-6))
    return x + NOISE * normal, target


def fgsm(x: Tensor, target: Tensor, draws: Draws, loss: Loss) -> tuple[Tensor, Tensor]:
    """Move half of the rows by `EPSILON` along the sign of the gradient of the loss."""
    with torch.enable_grad():
        probe = x.detach().requires_grad_()
        # Not autograd.grad, which torch's counter of operations does not allow.
        torch.autograd.backward(loss(probe, target).sum(), inputs=[probe])
    is_moved = draws.uniform[..., :1] < 0.5
    return x + EPSILON * probe.grad.sign() * is_moved, target  # type: ignore[union-attr]


_CHANGES: dict[str, Callable[..., tuple[Tensor, Tensor]]] = {
    "mixup": mixup,
    "cutmix": cutmix,
    "cutout": cutout,
    "noise": noise,
    "fgsm": fgsm,
}


def _others(values: Tensor, draws: Draws) -> Tensor:
    """Return the other row of each row."""
    return values.gather(1, draws.order[..., None].expand_as(values))
