"""Saved estimators: what comes back, what is refused, and that no code is ever loaded."""

import json
import pickle

import numpy as np
import pytest
import torch
from sklearn.base import BaseEstimator

from whycluster.contract import persistence

WEIGHTS = {"layer.weight": torch.arange(6.0).view(1, 2, 3).mT, "layer.bias": torch.ones(1)}


class Toy(BaseEstimator):
    def __init__(self, n_clusters=2, widths=(4, 3), random_state=None, checkpoint=None):
        self.n_clusters = n_clusters
        self.widths = widths
        self.random_state = random_state
        self.checkpoint = checkpoint


class Other(BaseEstimator):
    pass


@pytest.fixture
def toy():
    toy = Toy(n_clusters=3)
    toy.labels_ = np.array([0, 2, 1])
    toy.gates_ = np.array([[0.5, 1.0]], dtype=np.float32)
    toy.history_ = {"head/coding": np.array([3.0, 2.0]), "head/n": 7}
    toy.n_selected_ = {"open": 2.0, "sum": 1.5}
    toy.coding_loss_ = 0.25
    toy.feature_names_in_ = np.array(["age", "größe <b>"], dtype=object)
    toy.network_ = torch.nn.Linear(1, 1)
    return toy


def test_settings_attributes_and_weights_come_back(toy, tmp_path):
    persistence.save(toy, tmp_path / "new" / "folder", WEIGHTS)
    loaded, weights = persistence.load(Toy, tmp_path / "new" / "folder")
    assert isinstance(loaded, Toy)
    assert loaded.n_clusters == 3
    assert list(loaded.widths) == [4, 3]
    assert loaded.labels_.tolist() == [0, 2, 1]
    assert loaded.labels_.dtype == toy.labels_.dtype
    assert loaded.gates_.dtype == np.float32
    assert loaded.history_["head/coding"].tolist() == [3.0, 2.0]
    assert loaded.history_["head/n"] == 7
    assert loaded.n_selected_ == toy.n_selected_
    assert loaded.coding_loss_ == 0.25
    assert loaded.feature_names_in_.tolist() == ["age", "größe <b>"]
    assert loaded.feature_names_in_.dtype == object
    assert not hasattr(loaded, "network_")
    assert weights.keys() == WEIGHTS.keys()
    assert all(torch.equal(weights[name], WEIGHTS[name]) for name in WEIGHTS)


def test_numpy_numbers_and_paths_are_plain_settings(tmp_path):
    toy = Toy(np.int64(3), np.array([4, 3]), np.int32(1), tmp_path / "checkpoint")
    persistence.save(toy, tmp_path, {})
    loaded, _ = persistence.load(Toy, tmp_path)
    assert loaded.get_params() == {
        "n_clusters": 3,
        "widths": [4, 3],
        "random_state": 1,
        "checkpoint": str(tmp_path / "checkpoint"),
    }


def test_setting_that_is_not_data_is_named_and_nothing_is_written(tmp_path):
    toy = Toy(random_state=np.random.RandomState(0))
    with pytest.raises(TypeError, match=r"cannot save the setting RandomState\(MT19937\)"):
        persistence.save(toy, tmp_path / "model", {})
    assert not (tmp_path / "model").exists()


def test_folder_holds_safetensors_json_and_plain_arrays_only(toy, tmp_path):
    persistence.save(toy, tmp_path, WEIGHTS)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"estimator.json", "fitted.npz", "weights.safetensors"}
    with np.load(tmp_path / "fitted.npz", allow_pickle=False) as arrays:
        assert all(arrays[name].dtype != object for name in arrays)


class Bomb:
    """Writes a file when unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_pickled_code_in_a_file_of_a_stranger_is_not_run(toy, tmp_path):
    persistence.save(toy, tmp_path, WEIGHTS)
    trap = tmp_path / "trap"
    payload = np.array([Bomb(trap)], dtype=object)
    np.savez(tmp_path / "fitted.npz", labels_=payload)
    with pytest.raises(ValueError, match="allow_pickle=False"):
        persistence.load(Toy, tmp_path)
    assert not trap.exists()
    pickle.loads(pickle.dumps(Bomb(trap)))  # the trap works
    assert trap.exists()


def test_save_that_was_cut_off_is_not_an_estimator(toy, tmp_path, monkeypatch):
    persistence.save(toy, tmp_path, WEIGHTS)

    def full(*_args, **_kwargs):
        raise OSError("No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(OSError, match="No space"):
        persistence.save(toy, tmp_path, WEIGHTS)
    with pytest.raises(FileNotFoundError, match="holds no saved estimator"):
        persistence.load(Toy, tmp_path)


def test_missing_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere holds no saved estimator"):
        persistence.load(Toy, tmp_path / "nowhere")


def test_another_class_is_refused(toy, tmp_path):
    persistence.save(toy, tmp_path, WEIGHTS)
    with pytest.raises(ValueError, match="holds a Toy, not a Other"):
        persistence.load(Other, tmp_path)


def test_another_format_is_refused(toy, tmp_path):
    persistence.save(toy, tmp_path, WEIGHTS)
    content = json.loads((tmp_path / "estimator.json").read_text())
    (tmp_path / "estimator.json").write_text(json.dumps(content | {"format": 99}))
    with pytest.raises(ValueError, match="has format 99, this version of whycluster reads 1"):
        persistence.load(Toy, tmp_path)
