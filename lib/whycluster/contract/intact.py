"""Saved files that may be damaged, altered or a stranger's: read as they were saved, or refused.

No file is trusted with its own size: what a header asks for is compared with the bytes that are
there before memory is taken. Nothing that is read is run.
"""

import hashlib
import io
import json
import math
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from whycluster.contract.wording import short

_REMEDY = "load an intact copy of the folder, or fit and save again"
_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


class Damaged(ValueError):
    """A saved file is not as it was saved.

    Parameters
    ----------
    path : path
        The file, or the folder if it cannot be told which.
    reason : str
        What is wrong with it.
    """

    def __init__(self, path, reason: str):
        line = " ".join(f"{path} is damaged or altered: {reason}".splitlines())
        super().__init__(f"{line}; {_REMEDY}")


@contextmanager
def reading(path) -> Iterator[None]:
    """Turn whatever the content of `path` makes go wrong into `Damaged`, one line.

    The content may be anything, so that the errors it causes are of any class.
    """
    try:
        yield
    except (Damaged, FileNotFoundError):
        raise
    except Exception as error:
        reason = " ".join(str(error).split())
        if not isinstance(error, ValueError):
            reason = f"{type(error).__name__} {reason}"
        raise Damaged(path, short(reason, 300)) from error


def locate(folder: Path, name: str) -> Path:
    """Return the path of the file `name` of `folder`.

    Raises
    ------
    Damaged
        If there is none, or the name or a link leads out of the folder.
    """
    path = folder / name
    with reading(path):
        if not path.resolve().is_relative_to(folder.resolve()):
            raise ValueError(f"it leads out of {folder}")
        if not path.is_file():
            raise ValueError("it is missing")
    return path


def read_object(path: Path) -> dict:
    """Read a JSON object; raises `Damaged` as all that follow do."""
    with reading(path):
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError("it holds no JSON object")
    return content


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Read an archive of `numpy.savez`; arrays of objects are refused."""
    with reading(path), zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        if any(member.compress_type != zipfile.ZIP_STORED for member in members):
            raise ValueError("its entries are compressed")
        if sum(member.file_size for member in members) > path.stat().st_size:
            raise ValueError("its entries are larger than the file")
        return {m.filename.removesuffix(".npy"): _read_array(archive.read(m)) for m in members}


def read_array(path: Path) -> np.ndarray:
    """Read a file of `numpy.save`; one of objects is refused."""
    with reading(path):
        return _read_array(path.read_bytes())


def _read_array(content: bytes) -> np.ndarray:
    stream = io.BytesIO(content)
    shape, _, dtype = _HEADERS[np.lib.format.read_magic(stream)](stream)
    if dtype.hasobject:
        raise ValueError("it holds objects, which could run code")
    size: int = math.prod(shape)
    n_bytes = size * dtype.itemsize
    if n_bytes != len(content) - stream.tell() or (size and not dtype.itemsize):
        raise ValueError(f"an entry is not of the shape {shape} in its header")
    stream.seek(0)
    return np.lib.format.read_array(stream, allow_pickle=False)


def seal(content: dict, folder: Path) -> dict:
    """Add to `content` the sha256 of each file in `folder`, and of the whole.

    Parameters
    ----------
    content : dict
        As JSON has it.
    folder : Path

    Returns
    -------
    dict
        With "files", path to sha256, and "checksum", over everything else.
    """
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    listed = {path.relative_to(folder).as_posix(): _digest(path) for path in paths}
    sealed = content | {"files": listed}
    return sealed | {"checksum": _checksum(sealed)}


def check_seal(content: dict, description: Path) -> None:
    """Raise `Damaged` unless `content`, read from `description`, and its files are as sealed."""
    with reading(description):
        if not isinstance(content.get("files"), dict) or "checksum" not in content:
            raise ValueError("its checksums are missing")
        unsealed = {name: value for name, value in content.items() if name != "checksum"}
        if content["checksum"] != _checksum(unsealed):
            raise ValueError("its content is not what its checksum was taken of")
    for name, digest in content["files"].items():
        path = locate(description.parent, name)
        if _digest(path) != digest:
            raise Damaged(path, f"its checksum is not that in {description.name}")


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _checksum(content: dict) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
