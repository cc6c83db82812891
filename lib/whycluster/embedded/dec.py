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

from numbers import Integral, Real

from sklearn.utils._param_validation import Interval, StrOptions
from torch import nn

from whycluster.embedded.base import Embedded, with_shared_settings
from whycluster.embedded.brb import as_brb
from whycluster.embedded.centres import GaussianCentres, RunningMeans, StudentCentres
from whycluster.training import losses


@with_shared_settings
class DEC(Embedded):
    """Deep embedded clustering: assignments pulled towards their sharpened selves.

    Expects features of comparable scale: standardise them first.

    Parameters
    ----------
    n_clusters : int, default=8
    assignment : {"student", "gaussian"}, default="student"
        Soft assignments: Student's t kernel around the centres, Eq. (1) of DEC; or the
        responsibilities of a mixture of Gaussians, whose reclustering must be "em".
    shared

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

    _parameter_constraints = {  # noqa: RUF012
        **Embedded._parameter_constraints,
        "assignment": [StrOptions({"student", "gaussian"})],
    }

    def __init__(
        self,
        n_clusters=8,
        *,
        assignment="student",
        hidden_layers=(1024, 512, 256),
        n_latent=None,
        pretrain_epochs=250,
        pretrain_mask=0.0,
        max_epochs=400,
        batch_size=256,
        learning_rate=1e-3,
        brb=None,
        n_init=10,
        random_state=None,
        device="auto",
        precision="highest",
        checkpoint=None,
        verbose=0,
    ):
        self.n_clusters = n_clusters
        self.assignment = assignment
        self.hidden_layers = hidden_layers
        self.n_latent = n_latent
        self.pretrain_epochs = pretrain_epochs
        self.pretrain_mask = pretrain_mask
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.brb = brb
        self.n_init = n_init
        self.random_state = random_state
        self.device = device
        self.precision = precision
        self.checkpoint = checkpoint
        self.verbose = verbose

    @property
    def _first_clusters(self) -> str:
        return "em" if self.assignment == "gaussian" else "k-means"

    def _check_settings(self) -> None:
        super()._check_settings()
        brb = as_brb(self.brb)
        if self.assignment == "gaussian" and brb and brb.recluster not in ("em", None):
            raise ValueError(
                f"assignment='gaussian' needs covariances, which recluster={brb.recluster!r} does "
                "not give; use BRB(recluster='em')"
            )

    def _new_clusters(self, n_models: int) -> nn.Module:
        kind = GaussianCentres if self.assignment == "gaussian" else StudentCentres
        return kind(n_models, self.n_clusters, self._latent())

    def _objective(self, network, x):
        z = network.autoencoder.encoder(x)
        logits = network.clusters(z)
        log_q = logits.log_softmax(dim=2)
        p = losses.dec_target(log_q.exp())
        return {"divergence": losses.assignment_divergence(p, log_q)}, z, logits


@with_shared_settings
class IDEC(DEC):
    """Improved deep embedded clustering: DEC that still has to reconstruct the rows.

    Expects features of comparable scale: standardise them first.

    Parameters
    ----------
    n_clusters : int, default=8
    cluster_weight : float, default=0.1
        γ, weight of the loss of DEC beside the reconstruction error.
    assignment : {"student", "gaussian"}, default="student"
        See `DEC`.
    shared

    Notes
    -----
    The loss is Eq. (5) of Guo et al. (2017): reconstruction error plus γ KL(P || Q).

    References
    ----------
    Guo, Gao, Liu and Yin (2017); Miklautz et al. (2025).
    """

    _parameter_constraints = {  # noqa: RUF012
        **DEC._parameter_constraints,
        "cluster_weight": [Interval(Real, 0, None, closed="left")],
    }

    def __init__(
        self,
        n_clusters=8,
        *,
        cluster_weight=0.1,
        assignment="student",
        hidden_layers=(1024, 512, 256),
        n_latent=None,
        pretrain_epochs=250,
        pretrain_mask=0.0,
        max_epochs=400,
        batch_size=256,
        learning_rate=1e-3,
        brb=None,
        n_init=10,
        random_state=None,
        device="auto",
        precision="highest",
        checkpoint=None,
        verbose=0,
    ):
        super().__init__(
            n_clusters,
            assignment=assignment,
            hidden_layers=hidden_layers,
            n_latent=n_latent,
            pretrain_epochs=pretrain_epochs,
            pretrain_mask=pretrain_mask,
            max_epochs=max_epochs,
            batch_size=batch_size,
            learning_rate=learning_rate,
            brb=brb,
            n_init=n_init,
            random_state=random_state,
            device=device,
            precision=precision,
            checkpoint=checkpoint,
            verbose=verbose,
        )
        self.cluster_weight = cluster_weight

    def _objective(self, network, x):
        parts, z, logits = super()._objective(network, x)
        error = losses.reconstruction_error(network.autoencoder.decoder(z), x)
        divergence = self.cluster_weight * parts["divergence"]
        return {"reconstruction": error, "divergence": divergence}, z, logits


@with_shared_settings
class DCN(Embedded):
    """Deep clustering network: k-means in an embedding that is trained to suit it.

    Expects features of comparable scale: standardise them first.

    Parameters
    ----------
    n_clusters : int, default=8
    cluster_weight : float, default=0.05
        λ, twice the weight of the mean squared distance to the own centre.
    center_count : int, at least 1, default=100
        Rows that each first centre counts for in the running mean that it becomes.
    max_center_count : int or None, default=None
        Where that count stops to grow, so that centres keep following. None: nowhere.
    shared

    Notes
    -----
    The loss is Eq. (3) of Yang et al. (2017): reconstruction error plus λ/2 ‖z - μ_s‖². Memberships
    of DCN are hard; `predict_proba` gives those of DEC's kernel around the same centres.

    References
    ----------
    Yang, Fu, Sidiropoulos and Hong (2017); Miklautz et al. (2025).
    """

    _parameter_constraints = {  # noqa: RUF012
        **Embedded._parameter_constraints,
        "cluster_weight": [Interval(Real, 0, None, closed="left")],
        "center_count": [Interval(Integral, 1, None, closed="left")],
        "max_center_count": [Interval(Integral, 1, None, closed="left"), None],
    }

    def __init__(
        self,
        n_clusters=8,
        *,
        cluster_weight=0.05,
        center_count=100,
        max_center_count=None,
        hidden_layers=(1024, 512, 256),
        n_latent=None,
        pretrain_epochs=250,
        pretrain_mask=0.0,
        max_epochs=400,
        batch_size=256,
        learning_rate=1e-3,
        brb=None,
        n_init=10,
        random_state=None,
        device="auto",
        precision="highest",
        checkpoint=None,
        verbose=0,
    ):
        self.n_clusters = n_clusters
        self.cluster_weight = cluster_weight
        self.center_count = center_count
        self.max_center_count = max_center_count
        self.hidden_layers = hidden_layers
        self.n_latent = n_latent
        self.pretrain_epochs = pretrain_epochs
        self.pretrain_mask = pretrain_mask
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.brb = brb
        self.n_init = n_init
        self.random_state = random_state
        self.device = device
        self.precision = precision
        self.checkpoint = checkpoint
        self.verbose = verbose

    def _new_clusters(self, n_models: int) -> nn.Module:
        counts = (self.center_count, self.max_center_count or float("inf"))
        return RunningMeans(n_models, self.n_clusters, self._latent(), *counts)

    def _objective(self, network, x):
        z = network.autoencoder.encoder(x)
        logits = network.clusters(z)
        distance = losses.centre_distance(z, network.clusters.centres, logits.argmax(dim=2))
        parts = {
            "reconstruction": losses.reconstruction_error(network.autoencoder.decoder(z), x),
            "distance": 0.5 * self.cluster_weight * distance,
        }
        return parts, z, logits
