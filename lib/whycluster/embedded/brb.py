"""BRB: breaking the reclustering barrier.

Deep clustering soon agrees with its own first clusters and stops to change. Every so many epochs,
BRB moves the encoder part of the way back to fresh weights (a soft reset), clusters the embedding
anew, and lets the optimiser forget how the old centres were moving.

Miklautz et al. (2025). Breaking the Reclustering Barrier in Centroid-based Deep Clustering. ICLR.

=========  =====================  =========================================================
paper      code                   meaning
=========  =====================  =========================================================
T          ``interval``           epochs between interventions
α          ``alpha``              share of the trained weights that is kept
θ, φ       ``encoder, fresh``     trained and freshly initialised weights
=========  =====================  =========================================================

Deviations from the paper
-------------------------
1. φ is drawn from the very distribution that the layer was initialised with, uniform in ±1/√n_in.
   The authors' code draws weights (not biases) from a √6 times wider one, uniform in ±√(6/n_in):
   `spread=6**0.5`. Accuracy on Optdigits without pre-training, three seeds, theirs in brackets:
   DEC 78.2 ± 4.0 % (75.8 ± 10.1), IDEC 72.0 ± 4.7 % (75.9 ± 0.5), DCN 84.2 ± 5.7 % (82.2 ± 0.2).
2. Before the embedding is clustered, the statistics of batch normalisation are set from the rows as
   the changed encoder now sees them. The authors' code clusters with those of the old weights.
3. Forgetting momentum means that Adam starts afresh for the centres: moments and number of steps.
   The authors' code keeps the number of steps, so that the first step afterwards is about
   0.1/√0.001, three times, as long as the learning rate. For DCN, whose centres have no optimiser,
   the counts behind its running means start afresh; the authors' code leaves them. On digits it
   makes no difference whether momentum is forgotten (72.9 %) or kept (73.3 %; notebook 31).
4. Rows for reclustering are a random sample; in the authors' code they are the first of the table.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import torch
from torch import nn

from whycluster.contract.wording import without_defaults
from whycluster.embedded.reclustering import METHODS
from whycluster.training.layers import StackedBatchNorm

NORMS = (StackedBatchNorm, nn.modules.batchnorm._BatchNorm)
INF = float("inf")


@dataclass(frozen=True, repr=False)
class BRB:
    """When and how training is interrupted: soft reset, reclustering, or both.

    Parameters
    ----------
    interval : int, at least 1, default=20
        T, epochs between interventions; the first comes after that many, the last before the end.
    alpha : float in [0, 1], default=0.8
        Share of the trained weights that a soft reset keeps: 1 changes nothing, 0 starts over.
    reset : bool, default=True
        Whether the encoder is reset. False: reclustering only.
    recluster : {"k-means", "em", "k-medoids", "k-means++", "random"} or None, default="k-means"
        How the embedding is clustered afterwards, see `whycluster.embedded.reclustering.recluster`.
        None: reset only; the centres stay.
    momentum : bool, default=True
        Whether the momentum of the centres is forgotten when they are replaced.
    embedding : bool, default=False
        Whether the last layer of the encoder is reset, too.
    batch_norm : bool, default=False
        Whether scale and shift of batch normalisation are reset, too.
    spread : float, at least 0, default=1
        Range that fresh weights are drawn from, over the range that the layer was initialised with.
    growth : float, at least 0, default=0
        Added to alpha for each block between a layer and the last one that is reset, up to 1:
        early blocks, which see simple features, can be kept more than late ones.
    n_rows : int, at least 1, default=10000
        Random rows of the embedding that are clustered.

    Raises
    ------
    ValueError
        Naming the setting that is out of range.

    Examples
    --------
    >>> reset_only, recluster_only = BRB(recluster=None), BRB(reset=False)
    >>> [epoch for epoch in range(100) if BRB(interval=30).is_due(epoch)]
    [30, 60, 90]
    """

    interval: int = 20
    alpha: float = 0.8
    reset: bool = True
    recluster: str | None = "k-means"
    momentum: bool = True
    embedding: bool = False
    batch_norm: bool = False
    spread: float = 1.0
    growth: float = 0.0
    n_rows: int = 10_000

    def __post_init__(self) -> None:
        """Check every setting."""
        for name in ("interval", "n_rows"):
            _check(name, getattr(self, name), Integral, 1, INF, "a whole number of 1 or more")
        _check("alpha", self.alpha, Real, 0, 1, "a number from 0 to 1")
        for name in ("spread", "growth"):
            _check(name, getattr(self, name), Real, 0, INF, "a number of 0 or more")
        for name in ("reset", "momentum", "embedding", "batch_norm"):
            _check(name, getattr(self, name), bool, False, True, "True or False")
        if self.recluster is not None and self.recluster not in METHODS:
            raise ValueError(f"recluster={self.recluster!r} is unknown; use {', '.join(METHODS)}")
        if not self.reset and self.recluster is None:
            raise ValueError("reset=False and recluster=None do nothing; set one of them")

    __repr__ = without_defaults

    def is_due(self, epoch: int) -> bool:
        """Whether to intervene before this epoch, counted from 0."""
        return epoch > 0 and epoch % self.interval == 0

    def keep(self, n_blocks: int) -> list[float]:
        """Return the share of its weights that each block keeps, from input to output.

        Examples
        --------
        >>> BRB(alpha=0.7, growth=0.1).keep(4)  # the embedding, last, is left alone
        [0.9, 0.8, 0.7, 1.0]
        """
        n_reset = n_blocks if self.embedding else n_blocks - 1
        steps = range(n_reset - 1, -1, -1)
        kept = [round(min(1.0, self.alpha + step * self.growth), 12) for step in steps]
        return kept + [1.0] * (n_blocks - n_reset)


@torch.no_grad()
def soft_reset(encoder: Any, fresh: Any, brb: BRB) -> None:
    """Move an encoder towards a fresh one in place: θ ← αθ + (1 - α)φ.

    Running statistics of batch normalisation are not touched.

    Parameters
    ----------
    encoder, fresh : Module
        Of one architecture, with `blocks`: a tuple of layers for each block, from input to output,
        the embedding layer last. `fresh` is newly initialised.
    brb : BRB
    """
    blocks = zip(encoder.blocks, fresh.blocks, brb.keep(len(encoder.blocks)), strict=True)
    for old_layers, new_layers, keep in blocks:
        for old, new in zip(old_layers, new_layers, strict=True):
            _mix(old, new, keep, brb)


def as_brb(brb: BRB | Mapping | None) -> BRB | None:
    """Return settings that may come as a mapping, as from a file, as BRB."""
    return BRB(**brb) if isinstance(brb, Mapping) else brb


def _mix(old: nn.Module, new: nn.Module, keep: float, brb: BRB) -> None:
    """Mix the parameters of two equal layers."""
    for old_part, new_part in zip(old.modules(), new.modules(), strict=True):
        is_norm = isinstance(old_part, NORMS)
        if is_norm and not brb.batch_norm:
            continue
        fresh = dict(new_part.named_parameters(recurse=False))
        for name, theta in old_part.named_parameters(recurse=False):
            spread = brb.spread if name == "weight" and not is_norm else 1.0
            theta.lerp_(spread * fresh[name].to(theta.device), 1 - keep)


def _check(name: str, value, kind: type, low, high, wanted: str) -> None:
    is_bool = isinstance(value, bool)
    if not isinstance(value, kind) or (is_bool and kind is not bool) or not low <= value <= high:
        raise ValueError(f"{name}={value!r} is not {wanted}")
