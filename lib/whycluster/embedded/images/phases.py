"""The phases of training on images: contrast, clusters, labels."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from whycluster.embedded.images import resnet
from whycluster.embedded.images.network import Network, SimCLR
from whycluster.embedded.images.views import Views, as_views
from whycluster.embedded.phases import EmbeddedPhases
from whycluster.training import losses
from whycluster.training.layers import StackedLinear, set_statistics
from whycluster.training.loop import History
from whycluster.training.phases import adam
from whycluster.training.streams import Streams

FIRST_RATE = 0.01  # share of the learning rate in the first epoch of clustering
HIDDEN = 0.5  # side of the square hidden for self-labelling, as a share of the image
IMAGES_AT_ONCE = 1024  # when all are embedded


class ImagePhases(EmbeddedPhases):
    """The phases of training on one set of images; each returns its history."""

    rows_at_once = IMAGES_AT_ONCE

    def __init__(self, settings, network: Network, data: Tensor, streams: Streams, on_epoch=None):
        super().__init__(settings, network, data, streams, on_epoch)
        self.low, high = data.aminmax()
        self.span = high - self.low if high > self.low else torch.ones_like(high)

    def pretrain(self, n_epochs: int, tick) -> History:
        """Tell the views of an image from those of others."""
        s, simclr = self.settings, self.network.simclr

        def step(rows: Tensor, _progress: float) -> dict[str, Tensor]:
            return {"contrast": losses.nt_xent(simclr(self.two_views(rows)), s.temperature)}

        optimizer = adamw(simclr, s.pretrain_learning_rate, s.weight_decay)
        return self.train(simclr, step, optimizer, n_epochs, tick)

    def schedule(self, progress: float) -> float:
        """Rise to the full learning rate."""
        s = self.settings
        done = min(1.0, progress * s.max_epochs / s.warmup_epochs) if s.warmup_epochs else 1.0
        return FIRST_RATE + (1 - FIRST_RATE) * done

    def batch(self, rows: Tensor) -> Tensor:
        """Return what a step of clustering sees: two views of each image."""
        return self.two_views(rows)

    def losses(self, x: Tensor) -> tuple[dict[str, Tensor], Tensor, Tensor]:
        """Return the losses of two views of a batch, embedding and logits of the second."""
        s, network = self.settings, self.network
        z = network.encoder(x)
        other, own = z.chunk(2, dim=1)
        logits = network.clusters(own)
        parts = {"clustering": s._weight * s._objective(network.clusters, logits, own, other)}
        if s.method != "dec":
            parts["contrast"] = losses.nt_xent(network.simclr.projector(z), s.temperature)
        return parts, own, logits

    def label(self, n_epochs: int, tick) -> History:
        """Let confident rows teach a head that starts as the nearest centre."""
        s, network = self.settings, self.network
        network.head.start(network.clusters.centres, self.embed(), s.confidence)
        harder = replace(as_views(s.views), cutout=HIDDEN)

        def step(rows: Tensor, _progress: float) -> dict[str, Tensor]:
            with torch.no_grad():
                teacher = network(self.data[rows])["logits"]
            logits = network(self.view(rows, harder))["logits"]
            loss = losses.confident_cross_entropy(logits, teacher, s.confidence)
            return {"cross-entropy": loss}

        optimizer = adam(network, lr=s.self_label_learning_rate)
        history = self.train(network, step, optimizer, n_epochs, tick)
        set_statistics(network.encoder, self.passes())
        self._put_centres_at_means()
        return history

    def two_views(self, rows: Tensor) -> Tensor:
        """Return the first views of a batch, then the second ones."""
        kind = as_views(self.settings.views)
        return torch.cat([self.view(rows, kind), self.view(rows, kind)], dim=1)

    def view(self, rows: Tensor, kind: Views) -> Tensor:
        """Draw a view of each image of a batch, in the scale of the images."""
        shown = (self.data[rows] - self.low) / self.span
        shape = self.network.encoder.image_shape
        return self.low + self.span * kind.draw(shown, shape, self.streams)

    @torch.no_grad()
    def _put_centres_at_means(self) -> None:
        """Describe the clusters of the head by centres; one without rows keeps its own."""
        z, centres = self.embed(), self.network.clusters.centres
        labels = self.network.head(z).argmax(dim=2)
        member = nn.functional.one_hot(labels, centres.shape[1]).to(z.dtype).mT
        sizes = member.sum(dim=2, keepdim=True)
        centres.copy_(torch.where(sizes > 0, member @ z / sizes.clamp_min(1), centres))


def adamw(simclr: SimCLR, learning_rate: float, weight_decay: float) -> torch.optim.Optimizer:
    """Decay kernels and matrices of the encoder; no normalisation, bias or projection head."""
    kinds = (resnet.StackedConvolution, StackedLinear)
    decayed = [m.weight for m in simclr.encoder.modules() if isinstance(m, kinds)]
    known = {id(parameter) for parameter in decayed}
    others = [p for p in simclr.parameters() if id(p) not in known]
    groups: list[dict[str, Any]] = [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": others},
    ]
    return torch.optim.AdamW(groups, lr=learning_rate, weight_decay=0.0, fused=True)
