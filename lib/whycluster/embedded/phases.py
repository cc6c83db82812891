"""The phases of deep clustering, how soft resets interrupt them, and how they are watched."""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from whycluster.embedded.brb import BRB, as_brb, soft_reset
from whycluster.embedded.centres import Centres
from whycluster.embedded.reclustering import draw_rows, recluster
from whycluster.metrics import match_clusters
from whycluster.training import losses
from whycluster.training.centres import exact_squared_distances
from whycluster.training.layers import set_statistics
from whycluster.training.loop import History
from whycluster.training.phases import Phases, adam
from whycluster.training.stack import ROWS_AT_ONCE
from whycluster.training.streams import Streams

MOST_ROWS = 100_000  # rows of the first clustering; more are sampled


class EmbeddedPhases(Phases):
    """The phases of training on one data set; each returns its history."""

    rows_at_once = ROWS_AT_ONCE  # when all are embedded
    schedule: Callable[[float], float] | None = None  # of the learning rate while clustering

    def __init__(self, settings, network, data: Tensor, streams: Streams, on_epoch=None):
        super().__init__(settings, network, data, streams)
        self.on_epoch = on_epoch
        self.labels: Tensor  # present clusters (n_models, n_samples), once there are any

    def pretrain(self, n_epochs: int, tick) -> History:
        """Reconstruct all rows."""
        s, autoencoder = self.settings, self.network.autoencoder

        def step(rows: Tensor, _progress: float) -> dict[str, Tensor]:
            x = self.data[rows]
            if s.pretrain_mask:
                shown = x * (self.streams.uniform(*x.shape[1:]) >= s.pretrain_mask)
            else:
                shown = x
            return {"reconstruction": losses.reconstruction_error(autoencoder(shown), x)}

        return self.train(autoencoder, step, adam(autoencoder, lr=s.learning_rate), n_epochs, tick)

    def cluster(self, n_epochs: int, tick) -> History:
        """Find first clusters, then improve embedding and clusters together."""
        s, network = self.settings, self.network
        self.place(s._first_clusters, MOST_ROWS)
        self.labels = self.assign()
        watch = Watch(self.labels, network.clusters, self.on_epoch)
        optimizer = adam(network, lr=s.learning_rate)
        options = {"schedule": self.schedule, "before_epoch": self.interrupting(optimizer)}
        tick = watch.closing(tick)
        history = self.train(network, self.step(watch), optimizer, n_epochs, tick, **options)
        set_statistics(network.encoder, self.passes())
        return history | watch.history()

    def step(self, watch: "Watch") -> Callable[[Tensor, float], dict[str, Tensor]]:
        """Return a step of clustering for the training loop."""
        clusters = self.network.clusters

        def step(rows: Tensor, _progress: float) -> dict[str, Tensor]:
            parts, z, logits = self.losses(self.batch(rows))
            z, labels = z.detach(), logits.argmax(dim=2)
            watch.see(rows, z, labels)
            clusters.follow(z, labels)
            return parts

        return step

    def batch(self, rows: Tensor) -> Tensor:
        """Return what a step of clustering sees of these rows."""
        return self.data[rows]

    def losses(self, x: Tensor) -> tuple[dict[str, Tensor], Tensor, Tensor]:
        """Return the losses of a batch, its embedding and its logits."""
        s, network = self.settings, self.network
        z = network.encoder(x)
        logits, parts = network.clusters(z), {}
        if s._reconstructs:
            error = losses.reconstruction_error(network.autoencoder.decoder(z), x)
            parts["reconstruction"] = error
        objective = s._objective
        parts[objective.name] = s._weight * objective(network.clusters, logits, z)
        return parts, z, logits

    def interrupting(self, optimizer) -> Callable[[int], None]:
        """Return what happens before each epoch: BRB intervenes before those that it names."""
        brb = as_brb(self.settings.brb)

        def interrupt(epoch: int) -> None:
            if brb and brb.is_due(epoch):
                self.intervene(brb, optimizer)
            self.network.train()

        return interrupt

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

    def passes(self) -> Iterator[Tensor]:
        """Yield all rows in random batches."""
        return (self.data[rows] for rows in self.rows())

    def embed(self) -> Tensor:
        """Embed all rows as `predict` does: (n_models, n_samples, n_latent)."""
        return self.over_rows(self.network.encoder.eval(), self.rows_at_once)

    @torch.no_grad()
    def assign(self) -> Tensor:
        """Return the cluster of each row, (n_models, n_samples)."""
        parts = [self.network.clusters(z) for z in self.embed().split(ROWS_AT_ONCE, dim=1)]
        return torch.cat([logits.argmax(dim=2) for logits in parts], dim=1)

    def replay(self, history: History) -> None:
        """Tell `on_epoch` of epochs that were restored from a checkpoint instead of run."""
        for epoch, found in enumerate(history.get("labels", ())):
            self.on_epoch(epoch, found.T)


class Watch:
    """What each epoch of clustering looked like to its own steps: costs no pass over the rows."""

    def __init__(self, labels: Tensor, clusters: Centres, on_epoch):
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
        return total / max(1, n_clusters * (n_clusters - 1))

    def history(self) -> History:
        """Return arrays (n_epochs, n_models); if told, labels (n_epochs, n_samples, n_models)."""
        names = self.epochs[0] if self.epochs else ()
        found = {name: np.array([e[name] for e in self.epochs]) for name in names}
        return found | ({"labels": np.stack(self.kept).swapaxes(1, 2)} if self.kept else {})
