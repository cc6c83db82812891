"""Fitted estimators on disk: weights as safetensors, settings as JSON. Loading runs no code."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from importlib import import_module
from pathlib import Path

import numpy as np
from safetensors.torch import load_file, save_file
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

import whycluster

_FORMAT = 1


def save(estimator, path, weights: dict[str, Tensor], parts: Mapping | None = None) -> None:
    """Write `estimator` to the folder `path`: settings, fitted attributes and `weights`.

    Fitted attributes that are numbers, strings, dicts of them, or arrays are kept; modules are the
    business of `weights`, and fitted estimators inside of `parts`, name to estimator, each saved
    in a folder of its own. The description is written last, so that a save that was cut off cannot
    be mistaken for an estimator.

    Raises
    ------
    TypeError
        If a setting is not plain data (a RandomState, for instance).
    """
    fitted = {k: v for k, v in vars(estimator).items() if k.endswith("_") and k != "network_"}
    arrays, plain = _split(fitted)
    content = {
        "format": _FORMAT,
        "class": type(estimator).__name__,
        "settings": estimator.get_params(),
        "fitted": plain,
    }
    text = json.dumps(content, indent=1, default=_to_plain)
    folder = Path(path)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "estimator.json").unlink(missing_ok=True)
    tensors = {f"weight/{k}": v.contiguous() for k, v in weights.items()}
    save_file(tensors, folder / "weights.safetensors")
    for name, part in (parts or {}).items():
        part.save(folder / name)
    np.savez(folder / "fitted.npz", **arrays)
    (folder / "estimator.partial").write_text(text)
    os.replace(folder / "estimator.partial", folder / "estimator.json")


def load(cls, path) -> tuple[object, dict[str, Tensor]]:
    """Read what `save` wrote: an estimator of class `cls` and its weights.

    Raises
    ------
    FileNotFoundError
        If `path` holds no estimator.
    ValueError
        If it holds one of another class, or in another format.
    """
    folder, content = Path(path), _read(path)
    if content["class"] != cls.__name__:
        raise ValueError(f"{folder} holds a {content['class']}, not a {cls.__name__}")
    estimator = cls(**content["settings"])
    with np.load(folder / "fitted.npz", allow_pickle=False) as arrays:
        fitted = content["fitted"] | dict(arrays)
    for name, value in _join(fitted).items():
        setattr(estimator, name, value)
    weights = load_file(folder / "weights.safetensors")
    return estimator, {k.removeprefix("weight/"): v for k, v in weights.items()}


def load_part(path):
    """Read an estimator of any class of whycluster; raises as `load` does."""
    return _class_called(_read(path)["class"]).load(path)


def describe(estimator) -> dict | None:
    """Return an estimator that is not fitted as JSON has it; `rebuild` takes it back.

    Raises
    ------
    TypeError
        If it is none of whycluster's, whose classes alone are known to run no code of a stranger.
    """
    if estimator is None:
        return None
    name = type(estimator).__name__
    if type(estimator) is not _class_called(name, missing_ok=True):
        raise TypeError(
            f"cannot save a {name} without pickle, which could run anything when it is loaded; use "
            "an estimator of whycluster, such as GowerClustering or TableEncoder, in its place"
        )
    return {"class": name, "settings": estimator.get_params(deep=False)}


def rebuild(description: dict | None):
    """Return the estimator that `describe` described."""
    if description is None:
        return None
    return _class_called(description["class"])(**description["settings"])


def _class_called(name: str, missing_ok: bool = False):
    """Return a class of whycluster that can be saved and loaded, and no other."""
    modules = {**whycluster._PUBLIC, "TableEncoder": "whycluster.table"}
    cls = getattr(import_module(modules[name]), name) if name in modules else None
    if hasattr(cls, "load"):
        return cls
    if missing_ok:
        return None
    raise ValueError(f"{name!r} is no estimator of whycluster that can be loaded")


def _read(path) -> dict:
    """Return the description of a saved estimator."""
    description = Path(path) / "estimator.json"
    if not description.is_file():
        raise FileNotFoundError(f"{path} holds no saved estimator (no estimator.json in it)")
    content = json.loads(description.read_text())
    if content["format"] != _FORMAT:
        raise ValueError(
            f"{path} has format {content['format']}, this version of whycluster reads {_FORMAT}"
        )
    return content


def _to_plain(value):
    """Return numbers, arrays, paths and dataclasses among the settings as JSON has them."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if is_dataclass(value):
        return asdict(value)
    raise TypeError(f"cannot save the setting {value!r}; use a number, a string or a list")


def _split(fitted: dict) -> tuple[dict, dict]:
    """Separate arrays (also those inside dicts, under "name/key") from plain values."""
    arrays, plain = {}, {}
    for name, value in fitted.items():
        entries = value.items() if isinstance(value, dict) else [(None, value)]
        for key, entry in entries:
            full = name if key is None else f"{name}|{key}"
            if isinstance(entry, np.ndarray):
                arrays[full] = entry.astype(str) if entry.dtype == object else entry
            else:
                plain[full] = entry
    return arrays, plain


def _join(flat: dict) -> dict:
    fitted: dict = {}
    for full, value in flat.items():
        name, _, key = full.partition("|")
        if key:
            fitted.setdefault(name, {})[key] = value
        else:
            fitted[name] = value.astype(object) if name == "feature_names_in_" else value
    return fitted


class Savable:
    """An estimator that `save` writes and `load` reads; `network_`, if it has one, is torch's."""

    def save(self, path) -> None:
        """Write the fitted estimator to the folder `path` (safetensors and JSON)."""
        check_is_fitted(self)
        save(self, path, self.network_.state_dict() if hasattr(self, "network_") else {})

    @classmethod
    def load(cls, path):
        """Read an estimator that `save` wrote. Runs no code from the file."""
        estimator, weights = load(cls, path)
        estimator._resume(weights)
        return estimator

    def _resume(self, weights: dict[str, Tensor]) -> None:
        """Set what is not kept in files from what is."""
