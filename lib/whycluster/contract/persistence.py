"""Fitted estimators on disk: weights as safetensors, settings as JSON. Loading runs no code.

A saved estimator is a folder: ``estimator.json`` (class, settings, fitted attributes, and the
checksums of all files), ``fitted.npz`` (arrays), ``weights.safetensors``, and a folder for each
estimator inside of it.
"""

import json
import math
import os
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from safetensors.torch import save as to_safetensors
from sklearn.utils.validation import check_is_fitted
from torch import Tensor
from torch.overrides import TorchFunctionMode

import whycluster
from whycluster.contract import files, intact
from whycluster.contract.intact import Damaged
from whycluster.contract.wording import short

_FORMATS = (1, 2)  # 1, of version 0.1.0, had no checksums
_DESCRIPTION = "estimator.json"
_ARRAYS = "fitted.npz"
_WEIGHTS = "weights.safetensors"
_FACTORIES = (torch.empty, torch.zeros, torch.ones, torch.full, torch.eye)
_FREE_NUMBERS = 10**6  # what any network may take on top of its weights
_CONTENT = {"class": str, "settings": dict, "fitted": dict}


def save(estimator, path, weights: dict[str, Tensor], parts: Mapping | None = None) -> None:
    """Write `estimator` to the folder `path`: settings, fitted attributes and `weights`.

    Fitted attributes that are numbers, strings, dicts of them, or arrays are kept; modules are the
    business of `weights`, and fitted estimators inside of `parts`, name to estimator, each saved
    in a folder of its own. A new folder appears as a whole. In the folder of an estimator saved
    before, its files are replaced, the description last, and no others are touched.

    Raises
    ------
    TypeError
        If a setting is not plain data (a RandomState, for instance).
    FileExistsError
        If `path` is a file, or a folder that holds other things than a saved estimator.
    """
    fitted = {k: v for k, v in vars(estimator).items() if k.endswith("_") and k != "network_"}
    arrays, plain = _split(fitted)
    content = {
        "format": _FORMATS[-1],
        "class": type(estimator).__name__,
        "settings": estimator.get_params(),
        "fitted": plain,
    }
    content = json.loads(json.dumps(content, default=_to_plain))
    folder = Path(os.path.abspath(path))
    replaced = _own_files(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with files.provisional(folder / _DESCRIPTION if folder.exists() else folder) as staged:
        _write(staged, content, arrays, weights, parts or {})
        _publish(staged, folder, replaced)


def _own_files(folder: Path) -> set[str]:
    """Return the names of the files that a saved estimator has in `folder`."""
    if not folder.exists():
        return set()
    if not folder.is_dir():
        raise FileExistsError(f"{folder} is a file; save to a folder")
    names = {path.name for path in folder.iterdir() if not path.name.startswith(files.PROVISIONAL)}
    if names and _DESCRIPTION not in names:
        raise FileExistsError(
            f"{folder} holds {min(names)!r} and no saved estimator; save to a new or empty folder"
        )
    listed = (files.read_json(folder / _DESCRIPTION) or {}).get("files")
    return set(listed) if isinstance(listed, dict) else set()


def _write(staged: Path, content: dict, arrays: dict, weights: dict, parts: Mapping) -> None:
    """Write a whole saved estimator to the new folder `staged`."""
    staged.mkdir()
    tensors = {f"weight/{k}": v.contiguous() for k, v in weights.items()}
    files.write(staged / _WEIGHTS, to_safetensors(tensors))
    np.savez(staged / _ARRAYS, **arrays)
    for name, part in parts.items():
        part.save(staged / name)
    files.write(staged / _DESCRIPTION, json.dumps(intact.seal(content, staged), indent=1) + "\n")


def _publish(staged: Path, folder: Path, replaced: set[str]) -> None:
    """Move what is in `staged` to `folder`, and remove what was `replaced` by nothing."""
    if not folder.exists():
        os.replace(staged, folder)
        return
    names = {path.relative_to(staged).as_posix() for path in staged.rglob("*") if path.is_file()}
    for name in sorted(names, key=lambda name: (name == _DESCRIPTION, name)):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        os.replace(staged / name, folder / name)
    for path in (folder / name for name in sorted(replaced - names)):
        if path.is_file() and path.resolve().is_relative_to(folder.resolve()):
            path.unlink()
            if path.parent != folder and not any(path.parent.iterdir()):
                path.parent.rmdir()


def load(cls, path) -> tuple[Any, dict[str, Tensor]]:
    """Read what `save` wrote: an estimator of class `cls` and its weights.

    Raises
    ------
    FileNotFoundError
        If `path` holds no estimator.
    ValueError
        If it holds one of another class or in another format, or one that is damaged or altered;
        the message names the file.
    """
    folder, content = Path(path), _read(path)
    if content["class"] != cls.__name__:
        raise ValueError(f"{folder} holds {_one(content['class'])}, not {_one(cls.__name__)}")
    if content["format"] > 1 or "checksum" in content:
        intact.check_seal(content, folder / _DESCRIPTION)
    arrays = intact.read_arrays(intact.locate(folder, _ARRAYS))
    weights = _read_tensors(intact.locate(folder, _WEIGHTS))
    with intact.reading(folder / _DESCRIPTION):
        estimator = _unfitted(cls, content["settings"])
        for name, value in _join(content["fitted"] | arrays).items():
            setattr(estimator, _fitted_name(name), value)
    return estimator, {k.removeprefix("weight/"): v for k, v in weights.items()}


def _read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file, whose reader compares sizes before it takes memory."""
    with intact.reading(path):
        return load_file(path)


def _unfitted(cls, settings: dict):
    """Return an estimator with these settings, of which a stranger may have thought."""
    known = set(cls._get_param_names())
    if unknown := sorted(settings.keys() - known):
        raise ValueError(f"{cls.__name__} has no setting {unknown[0]!r}")
    estimator = cls(**settings)
    if hasattr(cls, "_parameter_constraints"):
        estimator._validate_params()
    return estimator


def _fitted_name(name: str) -> str:
    """Return the name of a fitted attribute; anything else could hide a method."""
    if not name.isidentifier() or name.startswith("__") or not name.endswith("_"):
        raise ValueError(f"{name!r} is no fitted attribute")
    return name


def _one(name: str) -> str:
    """Put the article before the name of a class, which may be a stranger's."""
    return f"{'an' if name[:1] in 'AEIO' else 'a'} {short(name)}"


def load_part(path, name: str):
    """Read an estimator of any class of whycluster, a part of the one in `path`.

    Raises as `load` does; also if `name` leads out of `path`.
    """
    intact.locate(Path(path), f"{name}/{_DESCRIPTION}")
    folder = Path(path) / name
    cls = _class_called(_read(folder)["class"])
    return cls.load(folder)


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
    """Return the description of a saved estimator, its parts of the right type."""
    if not (Path(path) / _DESCRIPTION).is_file():
        raise FileNotFoundError(f"{path} holds no saved estimator (no {_DESCRIPTION} in it)")
    description = intact.locate(Path(path), _DESCRIPTION)
    content = intact.read_object(description)
    if content.get("format") not in _FORMATS:
        raise ValueError(
            f"{path} has format {short(content.get('format'))}, this version of whycluster reads "
            f"{' and '.join(map(str, _FORMATS))}"
        )
    for name, kind in _CONTENT.items():
        if not isinstance(content.get(name), kind):
            raise Damaged(description, f"its {name!r} is missing or no {kind.__name__}")
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


def _check_types(estimator, weights: dict[str, Tensor]) -> None:
    """Raise if weights were of another type than the network's, to which torch turns them."""
    network = getattr(estimator, "network_", None)
    for name, tensor in network.state_dict().items() if network is not None else ():
        if weights[name].dtype != tensor.dtype:
            raise ValueError(f"weight {name} is {weights[name].dtype}, not {tensor.dtype}")


class _Allowance(TorchFunctionMode):
    """Within it, tensors are made only as large as saved weights can need.

    Parameters
    ----------
    weights : dict of str to Tensor
        What the network that is built is to hold; its settings may ask for any size.
    """

    def __init__(self, weights: dict[str, Tensor]):
        super().__init__()
        self.left = 4 * sum(tensor.numel() for tensor in weights.values()) + _FREE_NUMBERS

    def __torch_function__(self, func, types, args=(), kwargs=None):
        """Take what is asked for from what is left."""
        if func in _FACTORIES:
            self.left -= _numbers(args) ** (2 if func is torch.eye else 1)
            if self.left < 0:
                raise ValueError("its settings ask for more than its weights hold")
        return func(*args, **(kwargs or {}))


def _numbers(args: tuple) -> int:
    """Return how many numbers a factory of torch is asked for."""
    sizes = args[0] if args and not isinstance(args[0], int) else args
    return math.prod(int(size) for size in sizes)


class Savable:
    """An estimator that `save` writes and `load` reads; `network_`, if it has one, is torch's."""

    def save(self, path) -> None:
        """Write the fitted estimator to the folder `path` (safetensors and JSON)."""
        check_is_fitted(self)
        save(self, path, self.network_.state_dict() if hasattr(self, "network_") else {})

    @classmethod
    def load(cls, path):
        """Read an estimator that `save` wrote. Runs no code from the file.

        Raises
        ------
        FileNotFoundError
            If `path` holds no estimator.
        ValueError
            If it holds another one, or one that is damaged or altered.
        """
        estimator, weights = load(cls, path)
        with intact.reading(path):
            with _Allowance(weights):
                estimator._resume(weights)
            check_is_fitted(estimator)
            _check_types(estimator, weights)
        return estimator

    def _resume(self, weights: dict[str, Tensor]) -> None:
        """Set what is not kept in files from what is."""
