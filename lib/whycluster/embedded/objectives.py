"""What pulls an embedding to its clusters: a divergence (DEC, IDEC) or a distance (DCN).

An objective brings the centres that go with it, and is called with the clusters, the logits of the
rows and the embeddings of their views, their own first: the targets are those of the rows
themselves, the loss is a mean over the views.
"""

from dataclasses import dataclass

from torch import Tensor, nn

from whycluster.embedded.centres import GaussianCentres, RunningMeans, StudentCentres
from whycluster.training import losses


@dataclass(frozen=True)
class Divergence:
    """KL(P || Q), Eq. (2) of Xie et al. (2016): assignments towards their sharpened selves.

    Parameters
    ----------
    gaussian : bool, default=False
        Whether assignments are those of a mixture of Gaussians instead of Student's kernel.
    """

    gaussian: bool = False
    name = "divergence"

    def centres(self, n_models: int, n_clusters: int, n_latent: int) -> StudentCentres:
        """Return the module from embeddings to logits."""
        kind = GaussianCentres if self.gaussian else StudentCentres
        return kind(n_models, n_clusters, n_latent)

    def __call__(self, clusters: nn.Module, logits: Tensor, _own: Tensor, *others) -> Tensor:
        """Return one loss per model, (n_models,)."""
        log_q = logits.log_softmax(dim=2)
        p = losses.dec_target(log_q.exp())
        views = [log_q, *(clusters(z).log_softmax(dim=2) for z in others)]
        return sum(losses.assignment_divergence(p, view) for view in views) / len(views)  # type: ignore[return-value]


@dataclass(frozen=True)
class Distance:
    """Half of the squared distance to the own centre, Eq. (3) of Yang et al. (2017).

    Parameters
    ----------
    first_count : int
        Rows that each first centre counts for in the running mean that it becomes.
    max_count : float
        Where that count stops to grow.
    """

    first_count: int
    max_count: float
    name = "distance"

    def centres(self, n_models: int, n_clusters: int, n_latent: int) -> RunningMeans:
        """Return the module from embeddings to logits."""
        return RunningMeans(n_models, n_clusters, n_latent, self.first_count, self.max_count)

    def __call__(self, clusters: RunningMeans, logits: Tensor, *views: Tensor) -> Tensor:
        """Return one loss per model, (n_models,)."""
        labels = logits.argmax(dim=2)
        apart = [losses.centre_distance(z, clusters.centres, labels) for z in views]
        return 0.5 * sum(apart) / len(views)  # type: ignore[return-value]
