"""Finished phases of training on disk, so that training that was cut off resumes."""

import hashlib
import json
import os
import time
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from whycluster.training import adam, loop, plateau
from whycluster.training.loop import History

_FREE = {"random_state", "device", "checkpoint", "verbose"}  # settings that change no result
_TRAINING = (__file__, loop.__file__, plateau.__file__, adam.__file__)


class Checkpoint:
    """Finished phases on disk, so that training that was cut off resumes at the last of them.

    Each phase is one safetensors file, written aside and renamed. A phase is reused only when its
    fingerprint (settings, data, seeds) is that of the present training.

    Parameters
    ----------
    folder : path or None
        None: nothing is kept.
    fingerprint : str
        See `fingerprint`.
    """

    def __init__(self, folder: str | os.PathLike | None, fingerprint: str):
        self.folder = Path(folder) if folder is not None else None
        self.fingerprint = fingerprint

    def phase(self, name: str, module: nn.Module, streams, run: Callable[[], History]) -> History:
        """Restore phase `name` into `module` and `streams`, or `run` it and keep the result.

        The history also gets "seconds" of shape (n_models,): what the phase took for the whole
        stack when it ran.
        """
        path = self.folder and self.folder / f"{name}-{self.fingerprint}.safetensors"
        tensors = self._read(path, streams) if path and path.exists() else None
        if tensors:
            return self._restore(tensors, module, streams)
        started = time.perf_counter()
        history = run()
        history["seconds"] = np.full(len(streams), time.perf_counter() - started)
        if path:
            self._keep(path, module, streams, history)
        return history

    def _keep(self, path: Path, module: nn.Module, streams, history: History) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        tensors = {f"weight/{k}": v.contiguous() for k, v in module.state_dict().items()}
        tensors |= {f"history/{k}": torch.as_tensor(v).contiguous() for k, v in history.items()}
        partial = path.with_suffix(".partial")
        save_file(tensors | {"streams": streams.state()}, partial)
        os.replace(partial, path)

    def _read(self, path: Path, streams) -> dict[str, Tensor] | None:
        """Return the content of a checkpoint, None with a warning if it cannot be used."""
        try:
            tensors = load_file(path)
        except SafetensorError as error:
            warnings.warn(f"{path} is damaged ({error}); this phase runs again", stacklevel=4)
            return None
        if tensors["streams"].shape != streams.state().shape:
            warnings.warn(
                f"{path} was written on another kind of device, whose random numbers cannot be "
                "continued here; this phase runs again",
                stacklevel=4,
            )
            return None
        return tensors

    def _restore(self, tensors: dict[str, Tensor], module: nn.Module, streams) -> History:
        streams.restore(tensors.pop("streams"))
        split = {"weight": {}, "history": {}}
        for key, tensor in tensors.items():
            kind, name = key.split("/", 1)
            split[kind][name] = tensor
        module.load_state_dict(split["weight"])
        return {name: tensor.numpy() for name, tensor in split["history"].items()}


def binding_settings(estimator) -> dict:
    """Return the settings that decide what training with given seeds comes to."""
    return {name: v for name, v in estimator.get_params().items() if name not in _FREE}


def fingerprint(
    settings: dict, data: np.ndarray, seeds: list[int], sources: Iterable[str] = ()
) -> str:
    """Return a short hash of settings, data, seeds and the source files that do the training."""
    digest = hashlib.sha256(np.ascontiguousarray(data).tobytes())
    for source in (*_TRAINING, *sources):
        digest.update(Path(source).read_bytes())
    digest.update(json.dumps([settings, data.shape, seeds], sort_keys=True, default=str).encode())
    return digest.hexdigest()[:16]
