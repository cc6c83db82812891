"""Finished phases of training on disk, so that training that was cut off resumes.

A phase is a function of what it is given: its code, its rows, the weights and random numbers it
starts from, its number of epochs, and the settings that it reads while it runs. The first four are
hashed into the name of its file; the last are noted while it runs and stored with the result, to
be compared with today's. A setting that a phase does not read cannot change it, and one that it
reads decides what it reads next: so equal values of the settings that were read mean an equal
result, and nothing needs to be listed by hand.
"""

import ast
import hashlib
import json
import time
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import asdict, is_dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from whycluster.contract.files import aside
from whycluster.training.loop import History
from whycluster.training.phases import Phase

LIBRARY = Path(__file__).parents[1]
_FREE = {"random_state", "device", "checkpoint", "verbose"}  # settings that change no result


class Checkpoint:
    """Finished phases in a folder; each is one safetensors file, written aside and renamed.

    Parameters
    ----------
    folder : path or None
        None: nothing is kept.
    cls : type
        The estimator's, whose code trains.
    data : object
        The rows that it trains on: arrays, or containers of them.
    precision : str
        Of matrix products.
    """

    def __init__(self, folder, cls: type, data, precision: str = "highest"):
        self.folder = None if folder is None else Path(folder)
        self.cls = cls
        self.bound = digest((sources_of(cls), data, precision)) if self.folder else ""

    def phase(self, phase: Phase, network: nn.Module, streams, reader, tick=None) -> History:
        """Restore a phase into its module and `streams`, or run it and keep the result.

        The history also gets "seconds" of shape (n_models,): what the phase took for the whole
        stack when it ran.

        Parameters
        ----------
        phase : Phase
        network : Module
            What it trains, unless it names a part.
        streams : Streams
        reader : estimator made by `reading`
            What the phase reads its settings from.
        tick : callable or None
            Called after every epoch.
        """
        run = partial(_timed, phase, len(streams), tick)
        if self.folder is None:
            return run()
        module = network if phase.module is None else phase.module
        whose = self.cls.__name__ if phase.bound is None else phase.bound
        start = digest((self.bound, whose, phase.n_epochs, _content(module), streams.state()))
        for path in sorted(self.folder.glob(f"{phase.name}-{start}-*.safetensors")):
            tensors = self._read(path, reader)
            if tensors:
                history = _restore(tensors, module, streams)
                if phase.replay:
                    phase.replay(history)
                return history
        reader._noted.clear()
        history = run()
        read = {name: _plain(getattr(reader, name)) for name in sorted(reader._noted)}
        path = self.folder / f"{phase.name}-{start}-{digest(json.dumps(read))[:8]}.safetensors"
        self._keep(path, module, streams, history, read)
        return history

    def _keep(self, path: Path, module, streams, history: History, read: Mapping) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        tensors = {f"weight/{k}": v.contiguous() for k, v in module.state_dict().items()}
        tensors |= {f"history/{k}": torch.as_tensor(v).contiguous() for k, v in history.items()}
        with aside(path) as provisional:
            tensors["streams"] = streams.state()
            save_file(tensors, provisional, metadata={"settings": json.dumps(read)})

    def _read(self, path: Path, reader) -> dict[str, Tensor] | None:
        """Return the content of a checkpoint; None if other settings made it, or it is damaged."""
        try:
            with safe_open(path, "pt") as file:
                read = json.loads(file.metadata()["settings"])
            if any(_plain(getattr(reader, name, None)) != value for name, value in read.items()):
                return None
            return load_file(path)
        except (SafetensorError, KeyError, TypeError, ValueError) as error:
            warnings.warn(f"{path} is damaged ({error}); this phase runs again", stacklevel=4)
            return None


def reading(estimator):
    """Return a shallow copy of an estimator that notes in `_noted` which settings are read of it.

    Noted are also attributes that end in an underscore, which `fit` set from settings and rows.
    """
    cls = type(estimator)
    twin = object.__new__(_reader_of(cls))
    vars(twin).update(vars(estimator), _noted=set())
    return twin


def binding_settings(estimator) -> dict:
    """Return the settings that decide what training with given seeds comes to."""
    return {name: v for name, v in estimator.get_params().items() if name not in _FREE}


def sources_of(cls) -> str:
    """Return a hash of the code that trains `cls`: its method's folder and `training`.

    Syntax trees without docstrings count, so that words and layout do not.
    """
    root, room, *_ = f"{cls.__module__}.".split(".")
    return _hash_of_folders((room, "training") if root == "whycluster" else ("training",))


@cache
def _hash_of_folders(rooms: tuple[str, ...]) -> str:
    files = [path for room in rooms for path in sorted((LIBRARY / room).rglob("*.py"))]
    return digest([(path.name, syntax(path.read_text(encoding="utf-8"))) for path in files])


def syntax(source: str) -> str:
    """Return the syntax tree of Python source as text, without docstrings and positions."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and _is_text(body[0]):
            body[0].value.value = ""
    return ast.dump(tree)


def _content(module: nn.Module) -> tuple:
    """Return all that a module is: weights, classes of its parts, and their plain attributes."""
    parts = module.named_modules()
    described = [(name, type(part).__name__, _attributes(part)) for name, part in parts]
    return module.state_dict(), described


def _attributes(part: nn.Module) -> dict:
    plain = bool | int | float | str | tuple | None
    return {
        name: value
        for name, value in vars(part).items()
        if not name.startswith("_") and name != "training" and isinstance(value, plain)
    }


def _is_text(node) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def digest(value) -> str:
    """Return 16 hexadecimal digits that stand for arrays, texts, numbers or containers of these."""
    found = hashlib.sha256()
    _feed(found, value)
    return found.hexdigest()[:16]


def _feed(found, value) -> None:
    """Add a value, piece by piece, to a hash."""
    if isinstance(value, Tensor):
        value = value.detach().cpu().numpy()
    if isinstance(value, np.ndarray):
        found.update(f"{value.dtype}{value.shape}".encode())
        found.update(repr(value.tolist()).encode() if value.dtype == object else value.tobytes())
    elif isinstance(value, Mapping):
        _feed(found, list(value.items()))
    elif isinstance(value, Iterable) and not isinstance(value, str | bytes):
        found.update(b"(")
        for part in value:
            _feed(found, part)
        found.update(b")")
    elif not callable(value) and value is not None:
        found.update(f"{type(value).__name__} {value!r};".encode())


@cache
def _reader_of(cls):
    """Return a subclass of an estimator's class whose instances note what is read of them."""
    settings = {*cls._get_param_names()} - _FREE

    def __getattribute__(self, name):
        if name in settings or (name.endswith("_") and not name.startswith("_")):
            object.__getattribute__(self, "_noted").add(name)
        return object.__getattribute__(self, name)

    body = {"__getattribute__": __getattribute__, "__module__": cls.__module__}
    return type(cls)(cls.__name__, (cls,), body)


def _plain(value):
    """Return a setting or an attribute as JSON keeps it."""
    if is_dataclass(value) and not isinstance(value, type):
        return json.loads(json.dumps(asdict(value), default=str))
    if isinstance(value, np.ndarray | Tensor):
        return digest(value)
    return json.loads(json.dumps(value, default=str))


def _timed(phase: Phase, n_models: int, tick) -> History:
    started = time.perf_counter()
    history = phase.run(phase.n_epochs, tick)
    return history | {"seconds": np.full(n_models, time.perf_counter() - started)}


def _restore(tensors: dict[str, Tensor], module: nn.Module, streams) -> History:
    streams.restore(tensors.pop("streams"))
    split: dict[str, dict] = {"weight": {}, "history": {}}
    for key, tensor in tensors.items():
        kind, name = key.split("/", 1)
        split[kind][name] = tensor
    module.load_state_dict(split["weight"])
    return {name: tensor.numpy() for name, tensor in split["history"].items()}
