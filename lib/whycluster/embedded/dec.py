"""DEC, IDEC and DCN: clusters in the embedding of an autoencoder, learnt together with it.

DEC pulls soft assignments towards their sharpened selves; IDEC does so while the rows must still be
reconstructed; DCN pulls each embedded row to its centre and moves the centre as a running mean.
Each can be interrupted by BRB (`whycluster.embedded.brb`).

Xie, Girshick, Farhadi (2016). Unsupervised Deep Embedding for Clustering Analysis. ICML. (DEC)
Guo, Gao, Liu, Yin (2017). Improved Deep Embedded Clustering with Local Structure Preservation.
IJCAI. (IDEC)
Yang, Fu, Sidiropoulos, Hong (2017). Towards K-means-friendly Spaces. ICML. (DCN)
Miklautz et al. (2025). Breaking the Reclustering Barrier in Centroid-based Deep Clustering. ICLR.

=========  =====================  ===========================================================
paper      code                   shape
=========  =====================  ===========================================================
x          ``x``                  (n_models, batch, n_features)
z, f(x)    ``z``                  (n_models, batch, n_latent)
μ, M       ``centres``            (n_models, n_clusters, n_latent)
q          ``log_q``              soft assignments (n_models, batch, n_clusters); Eq. (1), DEC
p          `losses.dec_target`    shape of q; Eq. (3), DEC
s          ``labels``             (n_models, batch), hard assignments of DCN
γ, λ       ``cluster_weight``     of IDEC and of DCN
=========  =====================  ===========================================================

Deviations from the papers
--------------------------
1. The targets p are computed from each batch, as in the experiments of BRB; DEC and IDEC compute
   them from all rows every so many steps.
2. One autoencoder with batch normalisation, trained at once, as in the experiments of BRB; DEC and
   DCN pre-train theirs layer by layer.
3. Errors are means over rows and features. IDEC's γ = 0.1 is used with that mean in practice; DCN's
   λ belongs to the mean, too. The code behind BRB's results divides DCN's λ by the number of
   clusters once more: `cluster_weight=0.05 / n_clusters` is its setting.
4. DCN's centres are exact running means: after a batch, the old centre counts as often as rows went
   to it, from `center_count` on. In the code behind BRB's results the count stays at 100:
   `max_center_count=100`.
5. What was learnt answers `predict`: rows go to the nearest *learnt* centre. The code behind BRB's
   results clusters the final embedding anew by k-means: 72.5 % instead of 72.9 % of digits are in
   their class then, for IDEC with BRB and two seeds (notebook 31).
6. Batch statistics are set once more from all rows at the end, so that `predict` sees rows as the
   last epoch of training did on average.
7. With `assignment="gaussian"` (ours), soft assignments of DEC and IDEC are the responsibilities of
   a mixture of Gaussians found by expectation maximisation. Its means are then trained as centres
   are; covariances and weights stay until the next reclustering.
"""

from typing import Annotated, Literal

import torch
from torch import nn

from whycluster.contract.settings import Count, NotNegative, between, setting
from whycluster.embedded.base import Embedded
from whycluster.embedded.brb import as_brb
from whycluster.embedded.network import Network
from whycluster.embedded.objectives import Distance, Divergence
from whycluster.embedded.phases import EmbeddedPhases
from whycluster.training.layers import StackedAutoencoder
from whycluster.training.phases import Phase
from whycluster.training.streams import Streams


class Autoencoded(Embedded):
    """What DEC, IDEC and DCN share: an autoencoder, and the two phases."""

    pretrain_mask: Annotated[float, between(0, 1, "left")] = setting(
        0.0, "Share of the entries set to zero in pre-training (a denoising autoencoder)."
    )

    def _phases(self, network: Network, data, streams: Streams) -> list[Phase]:
        """Return the two phases; estimators of one folder share their pre-training."""
        X, on_epoch = data
        rows = torch.as_tensor(X, device=streams.device)
        run = EmbeddedPhases(self, network, rows, streams, on_epoch)
        whose = (type(self).__name__, on_epoch is not None)
        part = network.autoencoder
        return [
            Phase("pretraining", self.pretrain_epochs, run.pretrain, part, bound="autoencoder"),
            Phase("clustering", self.max_epochs, run.cluster, bound=whose, replay=run.replay),
        ]

    def _latent(self) -> int:
        return self.n_latent or self.n_clusters

    def _new_encoder(self, streams: Streams) -> nn.Module:
        return self._new_autoencoder(streams).encoder

    def _new_autoencoder(self, streams: Streams) -> StackedAutoencoder:
        widths = tuple(self.hidden_layers)
        return StackedAutoencoder(self.n_features_in_, widths, self._latent(), streams)

    def _build(self, streams: Streams) -> "Network":
        clusters = self._objective.centres(len(streams), self.n_clusters, self._latent())
        return Network(self._new_autoencoder(streams), clusters)


class DEC(Autoencoded):
    """Deep embedded clustering: assignments pulled towards their sharpened selves.

    Expects features of comparable scale: standardise them first.

    Notes
    -----
    The loss is KL(P || Q), Eq. (2) of Xie et al. (2016), a mean over rows.

    References
    ----------
    Xie, Girshick and Farhadi (2016); Miklautz et al. (2025).

    Examples
    --------
    >>> from sklearn.datasets import make_blobs
    >>> from whycluster import BRB
    >>> X, _ = make_blobs(90, n_features=4, centers=3, random_state=0)
    >>> dec = DEC(3, hidden_layers=(16,), pretrain_epochs=20, max_epochs=10,
    ...           brb=BRB(interval=5), random_state=0).fit(X)
    >>> dec.embedding_.shape, dec.cluster_centers_.shape, dec.interventions_
    ((90, 3), (3, 3), array([5]))
    """

    assignment: Literal["student", "gaussian"] = setting(
        "student",
        """Soft assignments: Student's t kernel around the centres, Eq. (1) of DEC; or the
        responsibilities of a mixture of Gaussians, whose reclustering must be "em".""",
    )
    _reconstructs = False
    _weight = 1.0

    @property
    def _objective(self) -> Divergence:
        return Divergence(gaussian=self.assignment == "gaussian")

    @property
    def _first_clusters(self) -> str:  # type: ignore[override]
        return "em" if self.assignment == "gaussian" else "k-means"

    def _check_settings(self) -> None:
        super()._check_settings()
        brb = as_brb(self.brb)
        if self.assignment == "gaussian" and brb and brb.recluster not in ("em", None):
            raise ValueError(
                f"assignment='gaussian' needs covariances, which recluster={brb.recluster!r} does "
                "not give; use BRB(recluster='em')"
            )


class IDEC(DEC):
    """Improved deep embedded clustering: DEC that still has to reconstruct the rows.

    Expects features of comparable scale: standardise them first.

    Notes
    -----
    The loss is Eq. (5) of Guo et al. (2017): reconstruction error plus γ KL(P || Q).

    References
    ----------
    Guo, Gao, Liu and Yin (2017); Miklautz et al. (2025).
    """

    cluster_weight: NotNegative = setting(
        0.1, "γ, weight of the loss of DEC beside the reconstruction error."
    )
    _reconstructs = True

    @property
    def _weight(self) -> float:  # type: ignore[override]
        return self.cluster_weight


class DCN(Autoencoded):
    """Deep clustering network: k-means in an embedding that is trained to suit it.

    Expects features of comparable scale: standardise them first.

    Notes
    -----
    The loss is Eq. (3) of Yang et al. (2017): reconstruction error plus λ/2 ‖z - μ_s‖². Memberships
    of DCN are hard; `predict_proba` gives those of DEC's kernel around the same centres.

    References
    ----------
    Yang, Fu, Sidiropoulos and Hong (2017); Miklautz et al. (2025).
    """

    cluster_weight: NotNegative = setting(
        0.05, "λ, twice the weight of the mean squared distance to the own centre."
    )
    center_count: Count = setting(
        100, "Rows that each first centre counts for in the running mean that it becomes."
    )
    max_center_count: Count | None = setting(
        None, "Where that count stops to grow, so that centres keep following. None: nowhere."
    )

    @property
    def _objective(self) -> Distance:
        return Distance(self.center_count, self.max_center_count or float("inf"))
