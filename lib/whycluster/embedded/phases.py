"""The two phases of deep clustering on one data set, and how they are watched."""

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import torch
from torch import Tensor, nn

from whycluster.embedded.brb import BRB, as_brb, soft_reset
from whycluster.embedded.reclustering import draw_rows, recluster
from whycluster.metrics import match_clusters
from whycluster.training import losses
from whycluster.training.centres import exact_squared_distances
from whycluster.training.layers import set_statistics
from whycluster.training.loop import History, train
from whycluster.training.stack import ROWS_AT_ONCE

MOST_ROWS = 100_000  # rows of the first clustering; more are sampled


class Phases:
    """The phases of training on one data set; each returns its history."""

    rows_at_once = ROWS_AT_ONCE  # when all are embedded
    schedule = None  # of the learning rate while clustering

    def __init__(self, settings, network: nn.Module, data: Tensor, streams_, on_epoch=None):
        self.settings = settings
        self.network = network
        self.data = data
        self.streams = streams_
        self.on_epoch = on_epoch
        self.has_clustered = False
        self.labels: Tensor | None = None  # present clusters (n_models, n_samples)

    def pretrain(self, tick) -> History:
        """Reconstruct all rows."""
        s, autoencoder = self.settings, self.network.autoencoder

        def step(rows: Tensor, _progress: float) -> dict[str, Tensor]:
            x = self.data[rows]
            if s.pretrain_mask:
                shown = x * (self.streams.uniform(*x.shape[1:]) >= s.pretrain_mask)
            else:
                shown = x
            return {"reconstruction": losses.reconstruction_error(autoencoder(shown), x)}

        optimizer = torch.optim.Adam(autoencoder.parameters(), lr=s.learning_rate, fused=True)
        autoencoder.train()
        epochs = (self.rows() for _ in range(s.pretrain_epochs))
        return train(step, optimizer, epochs, s.pretrain_epochs, on_epoch=tick)

    def cluster(self, tick) -> History:
        """Find first clusters, then improve embedding and clusters together."""
        self.has_clustered = True
        s, network = self.settings, self.network
        self.place(s._first_clusters, MOST_ROWS)
        self.labels = self.assign()
        watch = Watch(self.labels, network.clusters, self.on_epoch)
        optimizer = torch.optim.Adam(network.parameters(), lr=s.learning_rate, fused=True)
        epochs = self.interrupted(optimizer)
        run = {"schedule": self.schedule, "on_epoch": watch.closing(tick)}
        history = train(self.step(watch), optimizer, epochs, s.max_epochs, **run)
        set_statistics(network.encoder, self.passes())
        return history | watch.history()

    def step(self, watch: "Watch") -> Callable[[Tensor, float], dict[str, Tensor]]:
        """Return a step of clustering for the training loop."""
        clusters = self.network.clusters

        def step(rows: Tensor, _progress: float) -> dict[str, Tensor]:
            parts, z, logits = self.settings._objective(self.network, self.batch(rows))
            z, labels = z.detach(), logits.argmax(dim=2)
            watch.see(rows, z, labels)
            clusters.follow(z, labels)
            return parts

        return step

    def batch(self, rows: Tensor) -> Tensor:
        """Return what a step of clustering sees of these rows."""
        return self.data[rows]

    def interrupted(self, optimizer) -> Iterator[Iterator[Tensor]]:
        """Yield the batches of each epoch; intervene before those that BRB names."""
        s, brb = self.settings, as_brb(self.settings.brb)
        for epoch in range(s.max_epochs):
            if brb and brb.is_due(epoch):
                self.intervene(brb, optimizer)
            self.network.train()
            yield self.rows()

    def intervene(self, brb: BRB, optimizer) -> None:
        """Reset the encoder softly, cluster anew, forget the momentum of the centres."""
        if brb.reset:
            soft_reset(self.network.encoder, self.settings._new_encoder(self.streams), brb)
        if brb.recluster:
            self.place(brb.recluster, brb.n_rows)
            self.renumber()
            if brb.momentum and optimizer:
                self.network.clusters.forget(optimizer)

    def place(self, method: str, n_rows: int) -> None:
        """Cluster the embedding of at most `n_rows` random rows and put the centres there."""
        s = self.settings
        set_statistics(self.network.encoder, self.passes())
        z = draw_rows(self.embed(), n_rows, self.streams)
        self.network.clusters.place(recluster(z, s.n_clusters, method, self.streams, s.n_init))

    def renumber(self) -> None:
        """Give new clusters the numbers of the old ones that they share most rows with."""
        pairs = zip(self.labels.cpu().numpy(), self.assign().cpu().numpy(), strict=True)
        numbers = [match_clusters(old, new, self.settings.n_clusters) for old, new in pairs]
        order = torch.as_tensor(np.argsort(numbers, axis=1), device=self.data.device)
        self.network.clusters.reorder(order)

    def rows(self) -> Iterator[Tensor]:
        """Yield the row numbers of one epoch."""
        return self.streams.batches(len(self.data), self.settings.batch_size)

    def passes(self) -> Iterator[Tensor]:
        """Yield all rows in random batches."""
        return (self.data[rows] for rows in self.rows())

    @torch.no_grad()
    def embed(self) -> Tensor:
        """Embed all rows as `predict` does: (n_models, n_samples, n_latent)."""
        encoder, n_models = self.network.encoder.eval(), len(self.streams)
        parts = [encoder(x.expand(n_models, -1, -1)) for x in self.data.split(self.rows_at_once)]
        return torch.cat(parts, dim=1)

    @torch.no_grad()
    def assign(self) -> Tensor:
        """Return the cluster of each row, (n_models, n_samples)."""
        parts = [self.network.clusters(z) for z in self.embed().split(ROWS_AT_ONCE, dim=1)]
        return torch.cat([logits.argmax(dim=2) for logits in parts], dim=1)

    def replay(self, labels: Iterable[np.ndarray]) -> None:
        """Tell `on_epoch` of epochs that were restored from a checkpoint instead of run."""
        if self.on_epoch and not self.has_clustered:
            for epoch, found in enumerate(labels):
                self.on_epoch(epoch, found.T)


class Watch:
    """What each epoch of clustering looked like to its own steps: costs no pass over the rows."""

    def __init__(self, labels: Tensor, clusters: nn.Module, on_epoch):
        self.labels = labels  # (n_models, n_samples)
        self.before = labels.clone()
        self.clusters = clusters
        self.on_epoch = on_epoch
        self.sums = torch.zeros(2, len(labels), device=labels.device)
        self.epochs: list[dict[str, list[float]]] = []
        self.kept: list[np.ndarray] = []

    def see(self, rows: Tensor, z: Tensor, labels: Tensor) -> None:
        """Note where a batch was, before the step."""
        own = self.clusters.centres.detach().gather(1, labels[..., None].expand_as(z))
        squared = (z - own).square().sum(dim=2)
        self.sums += torch.stack([squared.sum(dim=1), squared.sqrt().sum(dim=1)])
        self.labels.scatter_(1, rows, labels)

    def closing(self, tick: Callable | None) -> Callable:
        """Return an `on_epoch` for the training loop that closes the epoch, then calls `tick`."""

        def close(epoch: int, epoch_losses: dict) -> None:
            self._close(epoch)
            if tick:
                tick(epoch, epoch_losses)

        return close

    def _close(self, epoch: int) -> None:
        inertia, intra = self.sums / self.labels.shape[1]
        changed = (self.labels != self.before).float().mean(dim=1)
        values = {"inertia": inertia, "intra": intra, "inter": self._inter(), "changed": changed}
        self.epochs.append({name: value.tolist() for name, value in values.items()})
        self.sums.zero_()
        self.before.copy_(self.labels)
        if self.on_epoch:
            small = self.clusters.centres.shape[1] <= 256
            self.kept.append(self.labels.cpu().numpy().astype(np.uint8 if small else np.int32))
            self.on_epoch(epoch, self.kept[-1])

    def _inter(self) -> Tensor:
        """Mean distance between two different centres, (n_models,)."""
        centres = self.clusters.centres.detach()
        n_clusters = centres.shape[1]
        total = exact_squared_distances(centres, centres).sqrt().sum(dim=(1, 2))
        return total / (n_clusters * (n_clusters - 1))

    def history(self) -> History:
        """Return arrays (n_epochs, n_models); if told, labels (n_epochs, n_samples, n_models)."""
        names = self.epochs[0] if self.epochs else ()
        found = {name: np.array([e[name] for e in self.epochs]) for name in names}
        return found | ({"labels": np.stack(self.kept).swapaxes(1, 2)} if self.kept else {})
