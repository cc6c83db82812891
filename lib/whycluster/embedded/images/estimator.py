"""Deep clustering of images: SimCLR, then DEC, IDEC or DCN with BRB, then self-labelling.

A residual network learns to recognise two random views of an image as the same image. Its embedding
is clustered as in `whycluster.embedded`, with the contrastive loss in place of the reconstruction
error. At last, confident rows teach the others: their cluster is the label of a view of them that
is harder to read.

Miklautz et al. (2025). Breaking the Reclustering Barrier in Centroid-based Deep Clustering. ICLR.
Chen, Kornblith, Norouzi, Hinton (2020). A Simple Framework for Contrastive Learning of Visual
Representations. ICML. (SimCLR)
Van Gansbeke, Vandenhende, Georgoulis, Proesmans, Van Gool (2020). SCAN: Learning to Classify Images
without Labels. ECCV. (self-labelling)

=========  =====================  ===========================================================
paper      code                   shape
=========  =====================  ===========================================================
x          ``x``                  images (n_models, batch, channels * height * width)
x̃_i, x̃_j   ``views``              two of them, (n_models, 2 * batch, n_features)
f(x)       ``z``                  embedding (n_models, batch, n_latent)
g(f(x))    ``projector(z)``       (n_models, 2 * batch, n_latent)
τ          ``temperature``
μ, M       ``centres``            (n_models, n_clusters, n_latent)
q          ``log_q``              soft assignments, Eq. (1) of DEC
=========  =====================  ===========================================================

Deviations from the papers
--------------------------
1. The loss of SimCLR is a mean over views; the code behind BRB's results adds the means of both
   views. Weights of the clustering loss are therefore half of its: 1 for DEC, 0.5 for IDEC, and for
   DCN 1e-5, since that code divides its 1e-4 by ten clusters once more (see `DCN`).
2. The projection head has batch normalisation, as in SimCLR's own code.
3. First convolutional weights are those of He et al. (2015), and so are the fresh ones of a soft
   reset; the code behind BRB's results starts from narrower ones and resets towards uniform ones.
4. Batch statistics are set from the images themselves, not from views, whenever all are embedded.
5. The head that self-labelling trains starts as the nearest centre, with a temperature at which
   half of the rows are confident (ours): centres have no confidence of their own that would mean
   the same at every scale of the embedding. A batch without a confident row teaches nothing.
6. Views that are harder to read are SimCLR's, with a quarter hidden, instead of RandAugment's.
7. On one GPU seeds are best trained in turn, see `whycluster.embedded.images.resnet`; `fit_seeds`
   trains a stack.
"""

import math
from collections.abc import Callable
from numbers import Integral
from typing import Annotated, Any, Literal

import numpy as np
import torch
from torch import Tensor

from whycluster.contract.settings import (
    Count,
    CountOrZero,
    NotNegative,
    Positive,
    Precision,
    Widths,
    at_least,
    between,
    setting,
)
from whycluster.embedded.base import Embedded
from whycluster.embedded.brb import BRB
from whycluster.embedded.images.network import Head, Network, SimCLR
from whycluster.embedded.images.phases import IMAGES_AT_ONCE, ImagePhases
from whycluster.embedded.images.resnet import StackedResNet18
from whycluster.embedded.images.views import Views, as_views
from whycluster.embedded.objectives import Distance, Divergence
from whycluster.training.device import resolve_device
from whycluster.training.layers import StackedMLP
from whycluster.training.phases import Phase
from whycluster.training.stack import evaluate
from whycluster.training.streams import Streams

WEIGHTS = {"dec": 1.0, "idec": 0.5, "dcn": 1e-5}  # of the clustering loss, see deviation 1
CENTER_COUNT = 100  # rows that each centre of DCN counts for, as in BRB's experiments
EXPLAINED_AT_ONCE = 16


class ContrastiveClustering(Embedded):
    """Clusters of images in an embedding learnt by contrast.

    Attributes
    ----------
    labels_ : ndarray of shape (n_samples,)
    cluster_centers_ : ndarray of shape (n_clusters, n_latent)
        Learnt centres, in the embedding; after self-labelling, the means of the clusters.
    embedding_ : ndarray of shape (n_samples, n_latent)
    inertia_ : float
        Mean squared distance of embedded rows to their centre.
    image_shape_ : tuple of int
        Channels, height and width.
    interventions_ : ndarray of int
        Epochs before which BRB intervened, from 0.
    background_ : ndarray of shape (at most 100, n_features)
        Training rows that explanations compare with.
    history_ : dict of str to ndarray of shape (n_epochs,)
        "phase/loss": means per row. While clustering also "inertia", "intra", "inter" and
        "changed", as in `DEC`, of the views that the steps of the epoch saw.
    fit_seconds_ : float
        Time that the phases took, for all models of the stack together, also when they were
        restored from a checkpoint.

    Notes
    -----
    Pre-training minimises Eq. (1) of Chen et al. (2020). Of the two views of a batch the second one
    gives DEC's targets and DCN's clusters, for both views. `predict_proba` gives Student's kernel
    around the centres, after self-labelling the memberships of its head.

    References
    ----------
    Miklautz et al. (2025); Chen et al. (2020); Van Gansbeke et al. (2020).

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> X = load_digits().data[:60]  # 8x8 pixels
    >>> model = ContrastiveClustering(
    ...     3, width=4, hidden_layers=(16,), n_latent=8, projection_units=16, views={"flip": 0.0},
    ...     pretrain_epochs=2, max_epochs=2, self_label_epochs=1, random_state=0).fit(X)
    >>> model.image_shape_, model.embedding_.shape
    ((1, 8, 8), (60, 8))
    """

    method: Literal["dcn", "idec", "dec"] = setting(
        "dcn",
        """How embedding and clusters improve together: DCN and IDEC beside the contrastive loss,
        DEC alone.""",
    )
    image_shape: Annotated[Any, "(channels, height, width)", "array-like"] | None = setting(
        None,
        """How a row of X becomes an image: one plane per channel, row by row. None: a square of
        one channel or of three where the number of features allows, else one row of pixels.""",
    )
    views: Views | dict | None = setting(
        None, "How views are drawn; None: SimCLR's recipe for CIFAR-10."
    )
    # Network
    width: Count = setting(64, "Channels of the first stage of the residual network.")
    hidden_layers: Widths = setting(
        (512, 256), "Widths between the residual network and the embedding."
    )
    n_latent: Count = setting(128, "Width of the embedding.")
    projection_units: Count = setting(
        2048, "Hidden units of the projection head that the contrastive loss sees."
    )
    # Pre-training
    temperature: Positive = setting(0.5, "τ of the contrastive loss.")
    pretrain_epochs: CountOrZero = setting(1000, "Epochs of the contrastive loss alone.")
    pretrain_learning_rate: Positive = setting(3e-3, "AdamW, in pre-training.")
    weight_decay: NotNegative = setting(
        1e-4,
        "Of AdamW, in pre-training; for matrices and kernels outside the projection head.",
    )
    # Clustering
    max_epochs: CountOrZero = setting(
        1000, "Epochs of clustering; 0: k-means of the pre-trained embedding."
    )
    cluster_weight: NotNegative | None = setting(
        None,
        """Weight of the clustering loss: of DEC's divergence (γ), or twice that of DCN's squared
        distance (λ). None: that of BRB's experiments, see the deviations in the module.""",
    )
    batch_size: Annotated[int, at_least(3)] = setting(
        512, "Images per step; each is seen in two views."
    )
    learning_rate: Positive = setting(
        1e-3,
        """Adam, while clustering. BRB's experiments: 1e-3 for DEC, 3e-3 for IDEC, 1e-2 for
        DCN.""",
    )
    warmup_epochs: CountOrZero = setting(
        20, "Epochs of clustering in which the learning rate rises from a hundredth of it."
    )
    brb: BRB | dict | None = setting(
        None,
        """Interventions while clustering. BRB's experiments: `BRB(interval=10, alpha=0.7,
        growth=0.2)`, which resets the perceptron and, less, the last stage of the network.""",
    )
    # Self-labelling
    self_label_epochs: CountOrZero = setting(
        0, "Epochs of self-labelling; 0: the nearest centre answers."
    )
    confidence: Annotated[float, between(0, 1, "neither")] = setting(
        0.99, "Membership above which a row teaches in self-labelling."
    )
    self_label_learning_rate: Positive = setting(1e-4, "Adam, in self-labelling.")
    # Where and how
    device: str = setting("auto", "Also where `predict` and `transform` compute.")
    precision: Precision = setting(
        "highest",
        """Float32 matrix products, see `torch.set_float32_matmul_precision`; convolutions on a GPU
        use TF32 unless it is "highest".""",
    )
    _explained_at_once = EXPLAINED_AT_ONCE
    _run_of = ImagePhases

    def fit(self, X, y=None, on_epoch: Callable[[int, np.ndarray], None] | None = None):
        """Pre-train by contrast, find and improve clusters, let confident rows teach the others.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_samples, n_features)
            Flattened images, see `image_shape`, of one scale for all pixels.
        y : None
            Ignored.
        on_epoch : callable or None
            Called after each epoch of clustering with its number from 0 and the clusters of the
            views that the steps of this epoch saw, int of shape (n_models, n_samples). When
            training is restored from a checkpoint, called for each epoch then.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If `X` has missing or infinite values, too few distinct rows, only constant columns, or
            a number of features that is not that of `image_shape`.
        """
        return super().fit(X, on_epoch=on_epoch)

    def _phases(self, network: Network, data, streams: Streams) -> list[Phase]:
        """Return pre-training by contrast, clustering, and self-labelling if there is any."""
        X, on_epoch = data
        rows = torch.as_tensor(X, device=streams.device)
        network.encoder.calibrate(rows)
        run, labels = ImagePhases(self, network, rows, streams, on_epoch), on_epoch is not None
        phases = [
            Phase("pretraining", self.pretrain_epochs, run.pretrain, network.simclr),
            Phase("clustering", self.max_epochs, run.cluster, network.core, labels, run.replay),
            Phase("labelling", self.self_label_epochs, run.label),
        ]
        return [phase for phase in phases if phase.n_epochs or phase.name == "clustering"]

    def intervene(self, X, brb: BRB | None = None, random_state=0):
        """Return a copy as an intervention of BRB would leave it, see `DEC.intervene`.

        Raises
        ------
        ValueError
            After self-labelling, which leaves no centres to intervene at.
        """
        if self.self_label_epochs:
            raise ValueError("BRB intervenes at centres; fit with self_label_epochs=0 to see it")
        return super().intervene(X, brb, random_state)

    @property
    def _objective(self) -> Divergence | Distance:
        return Distance(CENTER_COUNT, CENTER_COUNT) if self.method == "dcn" else Divergence()

    @property
    def _weight(self) -> float:
        given = self.cluster_weight
        return WEIGHTS[self.method] if given is None else given

    def _check_settings(self) -> None:
        super()._check_settings()
        as_views(self.views)

    def _validate(self, X, on_epoch=None):
        rows, on_epoch = super()._validate(X, on_epoch)
        self.image_shape_ = _image_shape(self.image_shape, rows.shape[1])
        return rows, on_epoch

    def _run(self, *args):
        with convolutions(self.precision):
            return super()._run(*args)

    def _resume(self, weights: dict[str, Tensor]) -> None:
        if isinstance(self.views, dict):
            self.views = as_views(self.views)
        super()._resume(weights)

    def _new_encoder(self, streams: Streams) -> StackedResNet18:
        widths = tuple(self.hidden_layers)
        return StackedResNet18(self.image_shape_, self.width, widths, self.n_latent, streams)

    def _build(self, streams: Streams) -> "Network":
        n_models = len(streams)
        units = (self.n_latent, self.projection_units, self.n_latent)
        simclr = SimCLR(self._new_encoder(streams), StackedMLP(units, streams))
        head = Head(n_models, self.n_clusters, self.n_latent) if self.self_label_epochs else None
        clusters = self._objective.centres(n_models, self.n_clusters, self.n_latent)
        return Network(simclr, clusters, head)

    def _answer(self, X: np.ndarray) -> dict[str, np.ndarray]:
        network = self.network_.to(resolve_device(self.device))
        try:
            return evaluate(network, X, IMAGES_AT_ONCE)
        finally:
            network.cpu()


def convolutions(precision: str):
    """Return a context in which convolutions on a GPU repeat themselves, in this precision."""
    is_tf32 = precision != "highest"
    return torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=is_tf32)


def _image_shape(image_shape, n_features: int) -> tuple[int, int, int]:
    """Return (channels, height, width) of rows of so many features."""
    if image_shape is None:
        sides = {c: math.isqrt(n_features // c) for c in (1, 3)}
        squares = [(c, side, side) for c, side in sides.items() if c * side**2 == n_features]
        return squares[0] if squares else (1, 1, n_features)
    shape = tuple(image_shape)
    is_whole = all(isinstance(n, Integral) and int(n) > 0 for n in shape)
    if len(shape) != 3 or not is_whole or math.prod(shape) != n_features:
        raise ValueError(
            f"image_shape={image_shape!r} does not hold {n_features} features; "
            "pass (channels, height, width) whose product they are"
        )
    channels, height, width = map(int, shape)
    return channels, height, width
