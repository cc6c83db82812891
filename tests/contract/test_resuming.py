"""No setting slips past a checkpoint: with one folder for all, every fit is as without it."""

import warnings

import numpy as np
import pytest
from sklearn.datasets import make_blobs
from sklearn.preprocessing import StandardScaler

from whycluster import (
    BRB,
    DCN,
    DEC,
    IDC,
    IDEC,
    ContrastiveClustering,
    IMNClassifier,
    NeurCAM,
    SoftClusteringTree,
)
from whycluster.embedded.representations import DenoisingAutoencoder, SpectralNet
from whycluster.training.stack import StackedEstimator

EMBEDDED = dict(hidden_layers=(4,), pretrain_epochs=2, max_epochs=3, n_init=2, batch_size=10)
SMALL = {
    IDC: dict(
        n_clusters=3,
        hidden_layers=(4,),
        gate_units=4,
        head_units=4,
        warmup_epochs=1,
        pretrain_epochs=3,
        max_epochs=3,
        global_epochs=2,
        n_init=2,
        batch_size=10,
        n_projections=2,
    ),
    DEC: dict(n_clusters=3, brb=BRB(interval=2), **EMBEDDED),
    IDEC: dict(n_clusters=3, **EMBEDDED),
    DCN: dict(n_clusters=3, brb=BRB(interval=2), **EMBEDDED),
    ContrastiveClustering: dict(
        n_clusters=3,
        width=1,
        n_latent=3,
        projection_units=4,
        self_label_epochs=1,
        confidence=0.4,
        **EMBEDDED | {"pretrain_epochs": 1, "max_epochs": 1},
    ),
    SoftClusteringTree: dict(n_clusters=3, depth=2, max_epochs=5, n_init=2, batch_size=10),
    NeurCAM: dict(
        n_clusters=3,
        n_shapes=2,
        n_pairs=1,
        hidden_units=4,
        n_bases=3,
        warmup_epochs=4,
        anneal_epochs=1,
        max_epochs=8,
        patience=3,
        decay_patience=1,
        n_init=2,
        batch_size=10,
    ),
    IMNClassifier: dict(
        hidden_units=4, n_blocks=1, max_epochs=4, warmup_epochs=1, n_cycles=2, batch_size=10
    ),
    DenoisingAutoencoder: dict(n_components=2, hidden_layers=(4,), max_epochs=2, batch_size=10),
    SpectralNet: dict(
        n_components=2,
        hidden_layers=(4,),
        n_neighbors=3,
        siamese_epochs=1,
        max_epochs=2,
        batch_size=10,
    ),
}
# Another value of every setting whose other value is not simply a little more or less.
OTHERS = {
    "brb": {"interval": 1, "alpha": 0.5},
    "views": {"flip": 0.0, "crop": 0.9},
    "image_shape": (1, 2, 2),
    "hidden_layers": (5,),
    "method": "dec",
    "assignment": "gaussian",
    "class_weight": {0: 1.0, 1: 5.0},
    "precision": "medium",
    "penalty_noise": 1.0,
    "weight_std": 0.1,
    "n_latent": 4,
    "max_center_count": 5,
    "cluster_weight": 3.0,
    "n_projections": None,
    "augmentation": 1.0,
    "corruption": 0.5,
    "pretrain_mask": 0.5,
    "mask_fraction": 0.2,
    "confidence": 0.35,
    "reconstruction_order": 1,
}
FREE = {"random_state", "device", "checkpoint", "verbose"}


def other(name, value):
    """Return another value that a setting can have."""
    if name in OTHERS:
        return OTHERS[name]
    if isinstance(value, bool):
        return not value
    assert isinstance(value, int | float), f"give {name} another value in OTHERS"
    return value + 1 if isinstance(value, int) else value * 1.5 + 0.5


def fit(cls, X, settings, folder=None):
    y = {"y": (X[:, 0] > 0).astype(int)} if cls is IMNClassifier else {}
    model = cls(**settings, random_state=0, device="cpu", checkpoint=folder)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of empty clusters, at this size
        return model.fit(X, **y)


@pytest.fixture(scope="module")
def X():
    rows, _ = make_blobs(40, n_features=4, centers=3, random_state=0)
    return StandardScaler().fit_transform(rows).astype(np.float32)


def test_every_stacked_estimator_is_here():
    def leaves(cls):
        below = [leaf for child in cls.__subclasses__() for leaf in leaves(child)]
        return below or [cls]

    ours = {c.__name__ for c in leaves(StackedEstimator) if c.__module__.startswith("whycluster.")}
    same = {"IMNRegressor", "TabResNetClassifier", "TabResNetRegressor"}  # as IMNClassifier
    assert ours - same <= {cls.__name__ for cls in SMALL} | {"IDEC"}


@pytest.mark.parametrize("cls", SMALL, ids=lambda cls: cls.__name__)
def test_a_fit_that_finds_phases_of_other_settings_is_the_fit_without_them(cls, X, tmp_path):
    base = SMALL[cls]
    fit(cls, X, base, tmp_path)
    for name, value in cls(**base).get_params().items():
        if name in FREE:
            continue
        settings = base | {name: other(name, value)}
        try:
            expected = fit(cls, X, settings)
        except ValueError:  # settings that do not go together
            continue
        found = fit(cls, X, settings, tmp_path)
        weights, same = expected.network_.state_dict(), found.network_.state_dict()
        assert all((weights[key] == same[key]).all() for key in weights), name
        for key, values in expected.history_.items():
            np.testing.assert_array_equal(found.history_[key], values, err_msg=f"{name}: {key}")
