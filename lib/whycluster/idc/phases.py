"""The phases of training IDC: warm-up, gates, head, global gates."""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from whycluster.idc.network import open_gates
from whycluster.training import losses
from whycluster.training.layers import set_statistics, take
from whycluster.training.loop import History, cosine
from whycluster.training.phases import Phases, adam
from whycluster.training.stack import ROWS_AT_ONCE


class IDCPhases(Phases):
    """The phases of training on one data set; each returns its history."""

    def warm_up(self, n_epochs: int, tick) -> History:
        """Reconstruct with all gates open (Sec. 4.2, App. G)."""
        return self._autoencode(self._step_open, n_epochs, tick)

    def select_features(self, n_epochs: int, tick) -> History:
        """Minimise Eq. (2) with Eqs. (3) and (4), then set the batch statistics (deviation 3)."""
        step = self._step_gated if self.settings.gated else self._step_open
        history = self._autoencode(step, n_epochs, tick, cosine(1e-3))
        self._set_statistics()
        return history

    def compress_clusters(self, n_epochs: int, tick) -> History:
        """Train heads on the fixed embedding by Eq. (8); keep the best of `n_init` per model."""
        n_init, h = self.settings.n_init, self._embed()
        self.network.radius = h.square().sum(dim=2).mean(dim=1).sqrt()[:, None, None]
        h = self.network.direct(h)
        runs = [self._train_head(h, n_epochs // n_init, tick) for _ in range(n_init)]
        loss = torch.stack([run["loss"] for run in runs])  # (n_init, n_models)
        best = loss.argmin(dim=0).tolist()
        chosen = [take(runs[b]["weights"], i) for i, b in enumerate(best)]
        self.network.head.load_state_dict({k: torch.cat([c[k] for c in chosen]) for k in chosen[0]})
        return {
            "coding": np.stack([runs[b]["coding"][:, i] for i, b in enumerate(best)], axis=1),
            "restart loss": loss.cpu().numpy(),
            "restart labels": torch.stack([run["labels"] for run in runs]).mT.cpu().numpy(),
        }

    def _train_head(self, h: Tensor, n_epochs: int, tick) -> dict:
        """Train one new head per model; return its weights, history, hard clusters and loss."""
        s = self.settings
        head = self.network.new_head(self.streams)

        def step(rows: Tensor, _progress: float) -> dict[str, Tensor]:
            batch = h.gather(1, rows[..., None].expand(-1, -1, h.shape[2]))
            logits = head(batch)
            noisy = logits.log_softmax(dim=-1) + self.streams.gumbel(*logits.shape[1:])
            membership = torch.softmax(noisy / s.temperature, dim=-1)  # Eq. (5)
            return {"coding": losses.cluster_coding_loss(batch, membership, s.cluster_eps)}

        optimizer = adam(head, lr=s.head_learning_rate)
        history = self.train(head, step, optimizer, n_epochs, tick, schedule=cosine(1e-4))
        labels = assign(head.eval(), h)
        membership = F.one_hot(labels, s.n_clusters).float()
        loss = losses.cluster_coding_loss(h, membership, s.cluster_eps)
        return history | {"weights": head.state_dict(), "labels": labels, "loss": loss}

    def explain_clusters(self, n_epochs: int, tick) -> History:
        """Train the global gates against the clusters that the head found (Sec. 4.3)."""
        s = self.settings
        labels = assign(self.network.head.eval(), self.network.direct(self._embed()))

        def step(rows: Tensor, _progress: float) -> dict[str, Tensor]:
            x = self.data[rows]
            x = x * open_gates(self.network.gate_means(x)).detach()
            mu = self.network.global_mu()
            logits = self._score_through_gates(x, mu)
            target = labels.gather(1, rows)
            cross_entropy = F.cross_entropy(logits.mT, target, reduction="none").mean(dim=1)
            penalty = losses.gate_penalty(mu, s.penalty_noise or s.gate_noise)
            return {"cross-entropy": cross_entropy, "open gates": s.global_weight * penalty}

        network = self.network
        optimizer = adam(
            (network.classifier, s.learning_rate), (network.global_logits, s.global_learning_rate)
        )
        return self.train(network.classifier, step, optimizer, n_epochs, tick)

    def _score_through_gates(self, x: Tensor, mu: Tensor) -> Tensor:
        """Score cluster k from the rows seen through global gates k (deviation 5)."""
        n_models, n_rows, n_features = x.shape
        n_clusters = mu.shape[1]
        noise = self.settings.gate_noise * self.streams.normal(n_rows, n_clusters, n_features)
        z = (0.5 + mu[:, None] + noise).clamp(0, 1)  # Eq. (1)
        seen = (x[:, :, None] * z).flatten(1, 2)  # (n_models, batch * n_clusters, n_features)
        scores = self.network.classifier(seen).view(n_models, n_rows, n_clusters, n_clusters)
        return scores.diagonal(dim1=2, dim2=3)

    def _step_open(self, rows: Tensor, _progress: float) -> dict[str, Tensor]:
        x = self.data[rows]
        return self._reconstruct(x, torch.ones_like(x))

    def _step_gated(self, rows: Tensor, progress: float) -> dict[str, Tensor]:
        s = self.settings
        x = self.data[rows]
        mu = self.network.gate_means(x)
        z = (0.5 + mu + s.gate_noise * self.streams.normal(*x.shape[1:])).clamp(0, 1)  # Eq. (1)
        penalty = losses.gate_penalty(mu, s.penalty_noise or s.gate_noise)
        coding = losses.gate_coding_loss(self._project(z), s.gate_eps)
        weight = s.gate_weight * (1 - cosine(0.0)(progress))  # λ_t
        return self._reconstruct(x, z) | {
            "open gates": weight * penalty,
            "gate coding": s.gate_coding_weight * coding,
        }

    def _reconstruct(self, x: Tensor, z: Tensor) -> dict[str, Tensor]:
        """Reconstruct four views of the batch in one pass: gated, clean, masked, latent noise."""
        s = self.settings
        shown = (self.streams.uniform(*x.shape[1:]) >= s.mask_fraction).to(x.dtype)
        h = self.network.encoder(torch.cat([x * z, x, x * shown], dim=1), n_views=3)
        own = h[:, : x.shape[1]]
        shaken = own * (1 + s.latent_noise * self.streams.normal(*own.shape[1:]))
        views = self.network.decoder(torch.cat([h, shaken], dim=1), n_views=4).chunk(4, dim=1)
        names = ("gated", "clean", "masked", "latent noise")
        error = losses.reconstruction_error
        return {n: error(v, x, s.reconstruction_order) for n, v in zip(names, views, strict=True)}

    def _project(self, z: Tensor) -> Tensor:
        """Project the gates of wide data onto fixed random directions."""
        n = self.settings.n_projections
        if n is None or n >= z.shape[2]:
            return z
        if not hasattr(self, "_directions"):
            self._directions = self.streams.normal(z.shape[2], n) / n**0.5
        return z @ self._directions

    def _autoencode(self, step, n_epochs: int, tick, schedule=None) -> History:
        module = self.network.autoencoder
        optimizer = adam(module, lr=self.settings.learning_rate)
        return self.train(module, step, optimizer, n_epochs, tick, schedule=schedule)

    @torch.no_grad()
    def _set_statistics(self) -> None:
        """Set batch statistics from the noiseless gated rows."""
        batches = (self._gate(self.data[rows]) for rows in self.rows())
        set_statistics(self.network.encoder, batches)

    def _embed(self) -> Tensor:
        """Embed all rows without noise: (n_models, n_samples, n_latent)."""
        encoder = self.network.encoder.eval()
        return self.over_rows(lambda x: encoder(self._gate(x)), ROWS_AT_ONCE)

    def _gate(self, x: Tensor) -> Tensor:
        return x * open_gates(self.network.gate_means(x))


@torch.no_grad()
def assign(head: nn.Module, h: Tensor) -> Tensor:
    """Return hard clusters (n_models, n_samples), a bounded number of rows at a time."""
    return torch.cat([head(part).argmax(dim=-1) for part in h.split(ROWS_AT_ONCE, dim=1)], dim=1)
