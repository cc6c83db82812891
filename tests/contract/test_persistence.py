"""Saved estimators: what comes back, what is refused, and that no code is ever loaded."""

import io
import json
import os
import pickle
import struct
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from sklearn.base import BaseEstimator
from torture import models

from whycluster import IDC, ClusterwiseIMN, TAOClusteringTree
from whycluster.contract import persistence
from whycluster.contract.persistence import Savable

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
    models.seal_anew(tmp_path)
    with pytest.raises(ValueError, match=r"fitted\.npz.*holds objects, which could run code"):
        persistence.load(Toy, tmp_path)
    assert not trap.exists()
    pickle.loads(pickle.dumps(Bomb(trap)))  # the trap works
    assert trap.exists()


def test_missing_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere holds no saved estimator"):
        persistence.load(Toy, tmp_path / "nowhere")


def test_another_class_is_refused(toy, tmp_path):
    persistence.save(toy, tmp_path, WEIGHTS)
    with pytest.raises(ValueError, match="holds a Toy, not an Other"):
        persistence.load(Other, tmp_path)
    change(tmp_path, lambda content: content.update({"class": "IDC\n" * 99}))
    with pytest.raises(ValueError, match="holds an IDC IDC") as error:
        persistence.load(Toy, tmp_path)
    assert "\n" not in str(error.value)


def test_another_format_is_refused(toy, tmp_path):
    persistence.save(toy, tmp_path, WEIGHTS)
    change(tmp_path, lambda content: content.update(format=99))
    with pytest.raises(ValueError, match="has format 99, this version of whycluster reads 1 and 2"):
        persistence.load(Toy, tmp_path)


# --- saving where something is ---------------------------------------------------------------


def disk_is_full(*_args, **_kwargs):
    raise OSError("No space left on device")


def test_a_save_that_fails_leaves_nothing(toy, tmp_path, monkeypatch):
    monkeypatch.setattr(np, "savez", disk_is_full)
    with pytest.raises(OSError, match="No space"):
        persistence.save(toy, tmp_path / "model", WEIGHTS)
    assert not list(tmp_path.iterdir())


def test_a_save_that_fails_leaves_the_estimator_saved_before(toy, tmp_path, monkeypatch):
    persistence.save(toy, tmp_path, WEIGHTS)
    toy.labels_ = np.array([1, 1, 1])
    monkeypatch.setattr(np, "savez", disk_is_full)
    with pytest.raises(OSError, match="No space"):
        persistence.save(toy, tmp_path, WEIGHTS)
    assert persistence.load(Toy, tmp_path)[0].labels_.tolist() == [0, 2, 1]
    assert {p.name for p in tmp_path.iterdir()} == {
        "estimator.json",
        "fitted.npz",
        "weights.safetensors",
    }


def test_a_save_cut_off_between_two_renames_is_refused(toy, tmp_path, monkeypatch):
    persistence.save(toy, tmp_path, WEIGHTS)
    toy.labels_ = np.array([1, 1, 1])
    rename = os.replace

    def killed_at_the_description(source, target):
        if os.fspath(target) == os.fspath(tmp_path / "estimator.json"):
            raise KeyboardInterrupt
        rename(source, target)

    monkeypatch.setattr(os, "replace", killed_at_the_description)
    with pytest.raises(KeyboardInterrupt):
        persistence.save(toy, tmp_path, WEIGHTS)
    with pytest.raises(ValueError, match=r"fitted\.npz is damaged or altered: its checksum"):
        persistence.load(Toy, tmp_path)


def test_what_a_killed_save_left_is_cleared_by_the_next(toy, tmp_path):
    for place in (tmp_path / "model", tmp_path / "model" / "estimator.json"):
        place.parent.mkdir(exist_ok=True)
        left = place.with_name(f".writing-{place.name}")
        left.mkdir()
        (left / "weights.safetensors").write_text("half")
        persistence.save(toy, tmp_path / "model", WEIGHTS)
        assert not left.exists()
    persistence.load(Toy, tmp_path / "model")


def test_a_folder_with_other_things_is_refused_and_left_alone(toy, tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(FileExistsError, match=r"holds 'thesis\.txt' and no saved") as error:
        persistence.save(toy, tmp_path, WEIGHTS)
    assert "\n" not in str(error.value)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]
    with pytest.raises(FileExistsError, match=r"thesis\.txt is a file; save to a folder"):
        persistence.save(toy, tmp_path / "thesis.txt", WEIGHTS)


def test_files_beside_a_saved_estimator_survive_a_save(toy, tmp_path):
    persistence.save(toy, tmp_path, WEIGHTS)
    (tmp_path / "notes.txt").write_text("mine")
    persistence.save(toy, tmp_path, WEIGHTS)
    assert (tmp_path / "notes.txt").read_text() == "mine"
    persistence.load(Toy, tmp_path)


@pytest.mark.parametrize("name", ["../mine.txt", "", "link/mine.txt"])
def test_a_description_of_a_stranger_makes_a_save_remove_nothing_of_ours(toy, tmp_path, name):
    (tmp_path / "mine.txt").write_text("mine")
    persistence.save(toy, tmp_path / "model", WEIGHTS)
    (tmp_path / "model" / "link").symlink_to(tmp_path)
    change(tmp_path / "model", lambda content: content["files"].update({name: "0"}))
    persistence.save(toy, tmp_path / "model", WEIGHTS)
    assert (tmp_path / "mine.txt").read_text() == "mine"
    persistence.load(Toy, tmp_path / "model")


def test_parts_that_are_no_longer_there_are_removed(toy, tmp_path):
    part = TAOClusteringTree(2, depth=1).fit(np.arange(6.0)[:, None])
    persistence.save(toy, tmp_path, WEIGHTS, {"first": part, "second": part})
    persistence.save(toy, tmp_path, WEIGHTS, {"first": part})
    assert (tmp_path / "first" / "estimator.json").exists()
    assert not (tmp_path / "second").exists()
    persistence.load(Toy, tmp_path)


# --- loading what was altered ----------------------------------------------------------------


class Linear(Savable, BaseEstimator):
    """An estimator with a network of `width` columns."""

    _parameter_constraints = {"width": [int]}  # noqa: RUF012

    def __init__(self, width=3):
        self.width = width

    def fit(self):
        self.network_, self.names_ = torch.nn.Linear(self.width, 2), np.array(["a", "b"])
        return self

    def _resume(self, weights):
        self.network_ = torch.nn.Linear(self.width, 2)
        self.network_.load_state_dict(weights)


def change(folder, edit, *, sealed=False):
    """Edit the description of a saved estimator; sealed: by one who takes checksums anew."""
    path = folder / "estimator.json"
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))
    if sealed:
        models.seal_anew(folder)


@pytest.fixture
def saved(tmp_path):
    Linear().fit().save(tmp_path / "model")
    return tmp_path / "model"


def refusal(folder, cls=Linear):
    with pytest.raises(ValueError, match="is damaged or altered") as error:
        cls.load(folder)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_what_was_saved_is_loaded(saved):
    assert Linear.load(saved).network_.weight.shape == (2, 3)


@pytest.mark.parametrize("name", ["fitted.npz", "weights.safetensors"])
def test_a_flipped_bit_is_seen(saved, name):
    content = bytearray((saved / name).read_bytes())
    content[-1] ^= 1
    (saved / name).write_bytes(content)
    assert f"{name} is damaged or altered: its checksum" in refusal(saved)


def test_an_edited_description_is_seen(saved):
    change(saved, lambda content: content["settings"].update(width=4))
    assert "estimator.json is damaged or altered: its content" in refusal(saved)


def test_a_description_without_its_checksums_is_refused(saved):
    change(saved, lambda content: content.pop("checksum"))
    assert "its checksums are missing" in refusal(saved)


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (lambda c: c.pop("class"), "its 'class' is missing or no str"),
        (lambda c: c.update(settings=[1]), "its 'settings' is missing or no dict"),
        (lambda c: c["settings"].update(depth=3), "Linear has no setting 'depth'"),
        (lambda c: c["settings"].update(width="x"), "'width' parameter of Linear must be"),
        (lambda c: c["settings"].update(width=10**13), "ask for more than its weights hold"),
        (lambda c: c["settings"].update(width=4), "size mismatch for weight"),
        (lambda c: c["fitted"].update(load=3), "'load' is no fitted attribute"),
        (lambda c: c["fitted"].update({"n_": 3, "n_|x": 3}), "does not support item assignment"),
    ],
)
def test_a_description_of_a_stranger_is_refused_by_its_content(saved, edit, reason):
    change(saved, edit, sealed=True)
    assert reason in refusal(saved)


@pytest.mark.parametrize("text", ["", "[]", '{"format": 1', "[" * 10_000, "\udc80"])
def test_a_description_that_is_no_json_object_is_refused(saved, text):
    (saved / "estimator.json").write_text(text, errors="surrogateescape")
    assert "estimator.json is damaged or altered" in refusal(saved)


def test_an_array_that_asks_for_more_than_its_file_holds_is_refused_before_memory_is_taken(saved):
    with zipfile.ZipFile(saved / "fitted.npz", "w") as archive:
        archive.writestr("names_.npy", models.header_of(10**13) + bytes(80))
    models.seal_anew(saved)
    assert "fitted.npz is damaged or altered: an entry is not of the shape" in refusal(saved)


def test_an_archive_that_grows_when_it_is_unpacked_is_refused(saved):
    content = io.BytesIO()
    np.save(content, np.zeros(10**6))
    with zipfile.ZipFile(saved / "fitted.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("names_.npy", content.getvalue())
    models.seal_anew(saved)
    assert "fitted.npz is damaged or altered: its entries are compressed" in refusal(saved)


def test_weights_that_ask_for_more_than_their_file_holds_are_refused(saved):
    entry = {"weight/weight": {"dtype": "F32", "shape": [10**13], "data_offsets": [0, 4 * 10**13]}}
    text = json.dumps(entry).encode()
    (saved / "weights.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + bytes(80))
    models.seal_anew(saved)
    assert "weights.safetensors is damaged or altered" in refusal(saved)


def test_weights_of_another_type_are_refused(saved):
    tensors = load_file(saved / "weights.safetensors")
    save_file({name: t.half() for name, t in tensors.items()}, saved / "weights.safetensors")
    models.seal_anew(saved)
    assert "weight weight is torch.float16, not torch.float32" in refusal(saved)


@pytest.mark.parametrize("name", ["estimator.json", "fitted.npz", "weights.safetensors"])
def test_a_link_that_leads_out_of_the_folder_is_refused(saved, name):
    (saved / name).rename(saved.parent / name)
    (saved / name).symlink_to(saved.parent / name)
    assert f"{name} is damaged or altered: it leads out of" in refusal(saved)


def test_a_folder_that_is_reached_by_a_link_is_loaded(saved):
    (saved.parent / "link").symlink_to(saved)
    Linear.load(saved.parent / "link")


def test_a_file_that_is_missing_is_named(saved):
    (saved / "fitted.npz").unlink()
    assert "fitted.npz is damaged or altered: it is missing" in refusal(saved)


# --- what earlier versions saved, and what is done to saved models -----------------------------


@pytest.fixture(scope="module")
def old(tmp_path_factory):
    """Models of version 0.1.0, with their answers to the same rows."""
    folder = tmp_path_factory.mktemp("saved")
    models.unpack(folder)
    return folder


ANSWERS = json.loads(zipfile.ZipFile(models.SAVED).read("answers.json"))


@pytest.mark.parametrize("name", sorted(set(ANSWERS) - {"ClusterwiseIMN"}))
def test_models_of_version_0_1_answer_as_they_did(old, name):
    found = models.answer(models.load(name, old / name), models.rows(old))
    found = found[:, 1] if found.ndim > np.ndim(ANSWERS[name]) else found
    np.testing.assert_allclose(found, ANSWERS[name], atol=1e-5)


def test_a_clusterwise_model_of_version_0_1_has_its_clusters_and_models(old):
    model, X = ClusterwiseIMN.load(old / "ClusterwiseIMN"), models.rows(old)
    expected = ANSWERS["ClusterwiseIMN"]
    assert model.predict_cluster(X).tolist() == expected["clusters"]
    whole = model.whole_.predict_proba(model.encoder_.transform(X))[:, 1]
    np.testing.assert_allclose(whole, expected["whole"], atol=1e-5)


def test_a_part_that_leads_out_of_the_folder_is_refused(old, tmp_path):
    ClusterwiseIMN.load(old / "ClusterwiseIMN").save(tmp_path / "model")
    outside = [str(old / "IMNClassifier"), "../model/whole"]
    change(tmp_path / "model", lambda c: c["fitted"].update(models_=outside), sealed=True)
    assert "leads out of" in refusal(tmp_path / "model", ClusterwiseIMN)


def test_a_part_of_no_class_of_ours_is_refused(old, tmp_path):
    ClusterwiseIMN.load(old / "ClusterwiseIMN").save(tmp_path)
    change(tmp_path / "clusterer", lambda content: content.update({"class": "Popen"}))
    models.seal_anew(tmp_path)
    with pytest.raises(ValueError, match="'Popen' is no estimator of whycluster") as error:
        ClusterwiseIMN.load(tmp_path)
    assert "\n" not in str(error.value)


def test_altered_models_are_refused_in_a_line_or_answer_as_before(old, tmp_path):
    for cls in (IDC, ClusterwiseIMN):
        cls.load(old / cls.__name__).save(tmp_path / cls.__name__)
    names = ["IDC", "ClusterwiseIMN"]
    assert not models.alter_and_judge(tmp_path, names, 60, models.rows(old))
