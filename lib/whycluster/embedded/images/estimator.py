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
from numbers import Integral, Real

import numpy as np
import torch
from sklearn.utils._param_validation import Interval, StrOptions
from torch import Tensor, nn

from whycluster.embedded.base import SOURCES, Embedded
from whycluster.embedded.brb import BRB, as_brb
from whycluster.embedded.centres import RunningMeans, StudentCentres
from whycluster.embedded.images import resnet, views
from whycluster.embedded.images.network import Head, Network, SimCLR
from whycluster.embedded.images.phases import IMAGES_AT_ONCE, ImagePhases
from whycluster.embedded.images.resnet import StackedResNet18
from whycluster.embedded.images.views import Views, as_views
from whycluster.training import losses
from whycluster.training.checkpoint import Checkpoint, binding_settings, fingerprint
from whycluster.training.device import resolve_device
from whycluster.training.layers import StackedMLP
from whycluster.training.loop import History
from whycluster.training.stack import evaluate
from whycluster.training.streams import Streams

WEIGHTS = {"dec": 1.0, "idec": 0.5, "dcn": 1e-5}  # of the clustering loss, see deviation 1
CENTER_COUNT = 100  # rows that each centre of DCN counts for, as in BRB's experiments
EXPLAINED_AT_ONCE = 16


class ContrastiveClustering(Embedded):
    """Clusters of images in an embedding learnt by contrast.

    Parameters
    ----------
    n_clusters : int, default=8
    method : {"dcn", "idec", "dec"}, default="dcn"
        How embedding and clusters improve together: DCN and IDEC beside the contrastive loss, DEC
        alone.
    image_shape : (channels, height, width) or None, default=None
        How a row of X becomes an image: one plane per channel, row by row. None: a square of one
        channel or of three where the number of features allows, else one row of pixels.
    width : int, default=64
        Channels of the first stage of the residual network.
    hidden_layers : sequence of int, default=(512, 256)
        Widths between the residual network and the embedding.
    n_latent : int, default=128
        Width of the embedding.
    projection_units : int, default=2048
        Hidden units of the projection head that the contrastive loss sees.
    temperature : float, default=0.5
        τ of the contrastive loss.
    views : Views, dict of its settings, or None, default=None
        How views are drawn; None: SimCLR's recipe for CIFAR-10.
    pretrain_epochs : int, default=1000
        Epochs of the contrastive loss alone.
    max_epochs : int, default=1000
        Epochs of clustering; 0: k-means of the pre-trained embedding.
    self_label_epochs : int, default=0
        Epochs of self-labelling; 0: the nearest centre answers.
    cluster_weight : float or None, default=None
        Weight of the clustering loss: of DEC's divergence (γ), or twice that of DCN's squared
        distance (λ). None: that of BRB's experiments, see the deviations in the module.
    confidence : float in (0, 1), default=0.99
        Membership above which a row teaches in self-labelling.
    batch_size : int, default=512
        Images per step; each is seen in two views.
    pretrain_learning_rate : float, default=3e-3
        AdamW, in pre-training.
    weight_decay : float, default=1e-4
        Of AdamW, in pre-training; for matrices and kernels outside the projection head.
    learning_rate : float, default=1e-3
        Adam, while clustering. BRB's experiments: 1e-3 for DEC, 3e-3 for IDEC, 1e-2 for DCN.
    warmup_epochs : int, default=20
        Epochs of clustering in which the learning rate rises from a hundredth of it.
    self_label_learning_rate : float, default=1e-4
        Adam, in self-labelling.
    brb : BRB, dict of its settings, or None, default=None
        Interventions while clustering. BRB's experiments: `BRB(interval=10, alpha=0.7,
        growth=0.2)`, which resets the perceptron and, less, the last stage of the network.
    n_init : int, default=10
        Restarts of every k-means; the one with the lowest inertia is kept.
    random_state : int, RandomState or None, default=None
    device : str, default="auto"
        Also where `predict` and `transform` compute.
    precision : {"highest", "high", "medium"}, default="highest"
        Float32 matrix products, see `torch.set_float32_matmul_precision`; convolutions on a GPU
        use TF32 unless it is "highest".
    checkpoint : path or None, default=None
        Folder for finished phases: a fit that was cut off resumes after the last of them. Fits with
        one folder share what their settings have in common: pre-training, then clustering.
    verbose : int, default=0
        1: a progress bar.

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

    _parameter_constraints = {  # noqa: RUF012
        "method": [StrOptions(set(WEIGHTS))],
        "image_shape": ["array-like", None],
        "width": [Interval(Integral, 1, None, closed="left")],
        "hidden_layers": ["array-like"],
        "n_latent": [Interval(Integral, 1, None, closed="left")],
        "projection_units": [Interval(Integral, 1, None, closed="left")],
        "temperature": [Interval(Real, 0, None, closed="neither")],
        "views": [Views, dict, None],
        "pretrain_epochs": [Interval(Integral, 0, None, closed="left")],
        "max_epochs": [Interval(Integral, 0, None, closed="left")],
        "self_label_epochs": [Interval(Integral, 0, None, closed="left")],
        "cluster_weight": [Interval(Real, 0, None, closed="left"), None],
        "confidence": [Interval(Real, 0, 1, closed="neither")],
        "batch_size": [Interval(Integral, 3, None, closed="left")],
        "pretrain_learning_rate": [Interval(Real, 0, None, closed="neither")],
        "weight_decay": [Interval(Real, 0, None, closed="left")],
        "learning_rate": [Interval(Real, 0, None, closed="neither")],
        "warmup_epochs": [Interval(Integral, 0, None, closed="left")],
        "self_label_learning_rate": [Interval(Real, 0, None, closed="neither")],
        "brb": [BRB, dict, None],
        "n_init": [Interval(Integral, 1, None, closed="left")],
        "precision": [StrOptions({"highest", "high", "medium"})],
    }
    _explained_at_once = EXPLAINED_AT_ONCE

    def __init__(
        self,
        n_clusters=8,
        *,
        method="dcn",
        image_shape=None,
        width=64,
        hidden_layers=(512, 256),
        n_latent=128,
        projection_units=2048,
        temperature=0.5,
        views=None,
        pretrain_epochs=1000,
        max_epochs=1000,
        self_label_epochs=0,
        cluster_weight=None,
        confidence=0.99,
        batch_size=512,
        pretrain_learning_rate=3e-3,
        weight_decay=1e-4,
        learning_rate=1e-3,
        warmup_epochs=20,
        self_label_learning_rate=1e-4,
        brb=None,
        n_init=10,
        random_state=None,
        device="auto",
        precision="highest",
        checkpoint=None,
        verbose=0,
    ):
        self.n_clusters = n_clusters
        self.method = method
        self.image_shape = image_shape
        self.width = width
        self.hidden_layers = hidden_layers
        self.n_latent = n_latent
        self.projection_units = projection_units
        self.temperature = temperature
        self.views = views
        self.pretrain_epochs = pretrain_epochs
        self.max_epochs = max_epochs
        self.self_label_epochs = self_label_epochs
        self.cluster_weight = cluster_weight
        self.confidence = confidence
        self.batch_size = batch_size
        self.pretrain_learning_rate = pretrain_learning_rate
        self.weight_decay = weight_decay
        self.learning_rate = learning_rate
        self.warmup_epochs = warmup_epochs
        self.self_label_learning_rate = self_label_learning_rate
        self.brb = brb
        self.n_init = n_init
        self.random_state = random_state
        self.device = device
        self.precision = precision
        self.checkpoint = checkpoint
        self.verbose = verbose

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

    # The phases, for a stack of models

    def _check_settings(self) -> None:
        super()._check_settings()
        as_views(self.views)

    def _validate(self, X, on_epoch=None):
        rows, on_epoch = super()._validate(X, on_epoch)
        self.image_shape_ = _image_shape(self.image_shape, rows.shape[1])
        return rows, on_epoch

    def _train(self, data, seeds: list[int]) -> tuple["Network", History]:
        X, on_epoch = data
        device = resolve_device(self.device)
        streams = Streams(seeds, device)
        network = self._build(streams).to(device)
        phases = self._new_phases(network, torch.as_tensor(X, device=device), streams, on_epoch)
        network.encoder.calibrate(phases.data)
        plan = [
            ("pretraining", self.pretrain_epochs, phases.pretrain, network.simclr),
            ("clustering", self.max_epochs, phases.cluster, network.core),
            ("labelling", self.self_label_epochs, phases.label, network),
        ]
        history = {}
        keeps = self._checkpoints(X, seeds, with_labels=on_epoch is not None)
        with _convolutions(self.precision):
            for (name, n_epochs, run, module), keep in zip(plan, keeps, strict=True):
                if name == "clustering" or n_epochs:
                    history |= self._run_phases([(name, n_epochs, run)], module, streams, keep)
        phases.replay(history.pop("clustering/labels", ()))
        return network.cpu().eval(), history

    def _checkpoints(self, X, seeds, with_labels: bool) -> list[Checkpoint]:
        """Return those of the three phases; each depends on what has been done until then, only."""
        settings = binding_settings(self) | {"brb": as_brb(self.brb), "views": as_views(self.views)}
        settings["image_shape"] = self.image_shape_
        first = {name: settings[name] for name in _PRETRAINING}
        second = {name: v for name, v in settings.items() if name not in _SELF_LABELLING}
        second["labels"] = with_labels
        sources = (*SOURCES, resnet.__file__, views.__file__, __file__)
        return [
            Checkpoint(self.checkpoint, fingerprint(part, X, seeds, sources))
            for part in (first, second, second | settings)
        ]

    def _resume(self, weights: dict[str, Tensor]) -> None:
        if isinstance(self.views, dict):
            self.views = as_views(self.views)
        super()._resume(weights)

    def _new_phases(self, network, data: Tensor, streams: Streams, on_epoch=None) -> "ImagePhases":
        return ImagePhases(self, network, data, streams, on_epoch)

    def _new_encoder(self, streams: Streams) -> StackedResNet18:
        widths = tuple(self.hidden_layers)
        return StackedResNet18(self.image_shape_, self.width, widths, self.n_latent, streams)

    def _new_clusters(self, n_models: int) -> nn.Module:
        shape = (n_models, self.n_clusters, self.n_latent)
        if self.method == "dcn":
            return RunningMeans(*shape, CENTER_COUNT, CENTER_COUNT)
        return StudentCentres(*shape)

    def _build(self, streams: Streams) -> "Network":
        n_models = len(streams)
        units = (self.n_latent, self.projection_units, self.n_latent)
        simclr = SimCLR(self._new_encoder(streams), StackedMLP(units, streams))
        head = Head(n_models, self.n_clusters, self.n_latent) if self.self_label_epochs else None
        return Network(simclr, self._new_clusters(n_models), head)

    def _objective(self, network: "Network", views: Tensor):
        """Return the losses of two views of a batch, embedding and logits of the second."""
        z = network.encoder(views)
        other, own = z.chunk(2, dim=1)
        logits = network.clusters(own)
        weight = WEIGHTS[self.method] if self.cluster_weight is None else self.cluster_weight
        clustering = _distance if self.method == "dcn" else _divergence
        parts = {"clustering": weight * clustering(network.clusters, own, other, logits)}
        if self.method != "dec":
            parts["contrast"] = losses.nt_xent(network.simclr.projector(z), self.temperature)
        return parts, own, logits

    def _answer(self, X: np.ndarray) -> dict[str, np.ndarray]:
        network = self.network_.to(resolve_device(self.device))
        try:
            return evaluate(network, X, IMAGES_AT_ONCE)
        finally:
            network.cpu()


def _divergence(clusters, own: Tensor, other: Tensor, logits: Tensor) -> Tensor:
    """Mean of both views' divergence from the targets of the second."""
    log_q = logits.log_softmax(dim=2)
    p = losses.dec_target(log_q.exp())
    log_other = clusters(other).log_softmax(dim=2)
    both = [losses.assignment_divergence(p, each) for each in (log_q, log_other)]
    return sum(both) / 2


def _distance(clusters, own: Tensor, other: Tensor, logits: Tensor) -> Tensor:
    """Half of the mean squared distance of both views to the centre of the second."""
    labels = logits.argmax(dim=2)
    both = [losses.centre_distance(z, clusters.centres, labels) for z in (own, other)]
    return 0.5 * sum(both) / 2


def _convolutions(precision: str):
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
    is_whole = all(isinstance(n, Integral) and n > 0 for n in shape)
    if len(shape) != 3 or not is_whole or math.prod(shape) != n_features:
        raise ValueError(
            f"image_shape={image_shape!r} does not hold {n_features} features; "
            "pass (channels, height, width) whose product they are"
        )
    return tuple(int(n) for n in shape)


_PRETRAINING = (
    "image_shape",
    "width",
    "hidden_layers",
    "n_latent",
    "projection_units",
    "temperature",
    "views",
    "pretrain_epochs",
    "batch_size",
    "pretrain_learning_rate",
    "weight_decay",
    "precision",
)
_SELF_LABELLING = ("self_label_epochs", "confidence", "self_label_learning_rate")
