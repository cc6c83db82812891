"""Saved models, altered in seeded ways: each is refused in one line or answers as before.

``python tests/torture/models.py`` alters models of every estimator 1,248 times, which takes some
minutes; `tests/contract/test_persistence.py` does a small part of it.

An alteration is left as it is, or made by someone who knows the format and takes the checksums
anew, or made to a folder of version 0.1, which has no checksums. The last two may load and answer
otherwise, since nothing in them says what was there before.
"""

import io
import json
import os
import resource
import shutil
import signal
import struct
import sys
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from safetensors.numpy import load_file, save_file

from whycluster import ClustRecNet
from whycluster.contract import intact, persistence

SAVED = Path(__file__).parents[1] / "contract" / "saved-by-0.1.zip"
N_ALTERED = 1248
SECONDS = 60  # for one load; a longer one is stuck
MEGABYTES = 500  # for one load, none of which needs ten
FOREIGN = (None, True, -1, 0, 10**13, -(10**13), 1e308, float("nan"), "x", "", [], {}, [[]])
FOREIGN += ([1, "x", None], {"x": 1}, "../..", "é\n" * 9, [10**9], "__class__", 0.5)


# --- the models ------------------------------------------------------------------------------


def unpack(folder: Path) -> list[str]:
    """Write the models of version 0.1 to `folder`; return their names."""
    with zipfile.ZipFile(SAVED) as archive:
        archive.extractall(folder)
    return sorted(path.name for path in folder.iterdir() if path.is_dir())


def rows(folder: Path) -> pd.DataFrame:
    """Return the rows that the models of `folder` have answers for."""
    return pd.read_csv(folder / "rows.csv")


def load(name: str, path: Path):
    """Load a model of the class `name`."""
    return persistence._class_called(name).load(path)


def answer(model, X: pd.DataFrame) -> np.ndarray:
    """Return what a model says of the rows."""
    if type(model).__name__ == "TableEncoder":
        return model.transform(X.assign(town=["A", "B", "C"] * (len(X) // 3))).to_numpy()
    return model.predict_proba(X) if hasattr(model, "predict_proba") else model.predict(X)


def save_anew(old: Path, new: Path) -> list[str]:
    """Write every model of the folder `old`, and the one of the package, as they are saved now."""
    for name in (names := [path.name for path in sorted(old.iterdir()) if path.is_dir()]):
        load(name, old / name).save(new / name)
    ClustRecNet.pretrained().save(new / "ClustRecNet")
    return [*names, "ClustRecNet"]


# --- what is done to them --------------------------------------------------------------------


def any_file(folder: Path, random, suffix: str = "") -> Path:
    """Choose a file of a saved model."""
    return random.choice(sorted(p for p in folder.rglob(f"*{suffix}") if p.is_file()))


def flip(folder: Path, random) -> None:
    """Flip bits."""
    path = any_file(folder, random)
    content = bytearray(path.read_bytes())
    for place in random.integers(len(content), size=random.integers(1, 9)):
        content[place] ^= 1 << random.integers(8)
    path.write_bytes(content)


def cut(folder: Path, random) -> None:
    """Cut off the end of a file."""
    path = any_file(folder, random)
    os.truncate(path, random.integers(path.stat().st_size))


def lengthen(folder: Path, random) -> None:
    """Write on at the end of a file."""
    path = any_file(folder, random)
    path.write_bytes(path.read_bytes() + random.bytes(random.integers(1, 100)))


def remove(folder: Path, random) -> None:
    """Remove a file."""
    any_file(folder, random).unlink()


def swap_file(folder: Path, random) -> None:
    """Put another file of the same kind, of this or another model, in the place of one."""
    path = any_file(folder, random)
    shutil.copyfile(any_file(folder.parent, random, path.suffix), folder / "other")
    os.replace(folder / "other", path)


def link(folder: Path, random) -> None:
    """Move a file out of the folder and leave a link to it."""
    path = any_file(folder, random)
    outside = folder.parent / f"outside-{path.name}"
    shutil.move(path, outside)
    path.symlink_to(outside)


def places(content) -> Iterator[tuple]:
    """Yield (container, key) of every value in JSON."""
    pairs = content.items() if isinstance(content, dict) else enumerate(content)
    for key, value in list(pairs):
        yield content, key
        if isinstance(value, dict | list):
            yield from places(value)


def change_description(folder: Path, random, change: Callable) -> None:
    """Call `change` on a container of a description and one of its keys."""
    path = any_file(folder, random, "estimator.json")
    content = json.loads(path.read_text())
    found = list(places(content))
    change(*found[random.integers(len(found))])
    path.write_text(json.dumps(content))


def swap_value(folder: Path, random) -> None:
    """Put a value that is often of another type in the place of one."""
    new = FOREIGN[random.integers(len(FOREIGN))]
    change_description(folder, random, lambda container, key: container.__setitem__(key, new))


def remove_key(folder: Path, random) -> None:
    """Remove an entry of a description."""
    change_description(folder, random, lambda container, key: container.__delitem__(key))


def resize(folder: Path, random) -> None:
    """Give an array or a tensor another shape or type."""
    suffix = random.choice([".npz", ".safetensors"])
    path = any_file(folder, random, suffix)
    arrays = dict(np.load(path)) if suffix == ".npz" else load_file(path)
    if arrays:
        name = random.choice(sorted(arrays))
        arrays[name] = other_form(np.asarray(arrays[name]), random)
    np.savez(path, **arrays) if suffix == ".npz" else save_file(arrays, path)


def other_form(array: np.ndarray, random) -> np.ndarray:
    """Return an array with rows more or less, an axis more, or of another type."""
    forms = (
        lambda: np.concatenate([array, array]) if array.ndim else array[None],
        lambda: array[:-1] if array.ndim else array[None],
        lambda: array[..., None].copy(),
        lambda: array.ravel()[:0].copy(),
        lambda: np.zeros(array.shape, np.float16),
        lambda: np.zeros(array.shape, np.int64),
    )
    return forms[random.integers(len(forms))]()


def promise(folder: Path, random) -> None:
    """Let the header of an array or a tensor ask for more than there is."""
    n = int(10 ** random.integers(3, 14))
    if random.integers(2):
        path = any_file(folder, random, ".npz")
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("labels_.npy", header_of(n) + bytes(80))
    else:
        path = any_file(folder, random, ".safetensors")
        entry = {"weight/x": {"dtype": "F32", "shape": [n], "data_offsets": [0, 4 * n]}}
        text = json.dumps(entry).encode()
        size = len(text) if random.integers(2) else n
        path.write_bytes(struct.pack("<Q", size) + text + bytes(80))


def header_of(n: int) -> bytes:
    """Return the header of an .npy file of `n` numbers."""
    stream = io.BytesIO()
    description = {"descr": "<f8", "fortran_order": False, "shape": (n,)}
    np.lib.format.write_array_header_1_0(stream, description)
    return stream.getvalue()


ALTERATIONS = (flip, cut, lengthen, remove, swap_file, link, swap_value, swap_value, remove_key)
ALTERATIONS += (resize, promise)


def seal_anew(folder: Path) -> None:
    """Take all checksums anew, those of parts first."""
    for path in sorted(folder.rglob("estimator.json"), key=lambda path: -len(path.parts)):
        content = intact_object(path)
        if content is not None and not path.is_symlink():
            path.unlink()
            content = {k: v for k, v in content.items() if k not in ("files", "checksum")}
            path.write_text(json.dumps(intact.seal(content, path.parent)))


def without_seals(folder: Path) -> None:
    """Turn a folder into one of version 0.1."""
    for path in folder.rglob("estimator.json"):
        content = intact_object(path)
        if content is not None:
            content = {k: v for k, v in content.items() if k not in ("files", "checksum")}
            path.write_text(json.dumps(content | {"format": 1}))


def intact_object(path: Path) -> dict | None:
    """Return a description that can still be read."""
    try:
        return intact.read_object(path)
    except ValueError:
        return None


# --- what comes of it ------------------------------------------------------------------------


class Stuck(BaseException):
    """A load that does not end; no error of the content, so that nothing catches it."""


def is_stuck(*_signal) -> None:
    """Interrupt a load."""
    raise Stuck(f"still loading after {SECONDS} s")


def judge(name: str, folder: Path, X: pd.DataFrame, expected: np.ndarray | None) -> str:
    """Load an altered model; return what is wrong with how that went, or nothing.

    Parameters
    ----------
    name : str
        Its class.
    folder : Path
    X : DataFrame
    expected : ndarray or None
        What it must answer if it loads; None: anything.
    """
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        model = load(name, folder)
        same = expected is None or np.array_equal(answer(model, X), expected)
        wrong = "" if same else "loads and answers otherwise"
    except (ValueError, FileNotFoundError) as error:
        wrong = f"more than a line: {error}" if "\n" in str(error) else ""
    except (Exception, Stuck) as error:
        wrong = f"{type(error).__name__}: {error}"
    taken = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    return wrong or (f"took {taken:.0f} MB" if taken > MEGABYTES else "")


def alter_and_judge(
    saved: Path, names: list[str], n_altered: int, X: pd.DataFrame, before_each=lambda: None
) -> list[str]:
    """Alter the models `names` of the folder `saved` in turn; return a line for each failure."""
    expected = {name: answer(load(name, saved / name), X) for name in names}
    failures = []
    for seed in range(n_altered):
        name, random = names[seed % len(names)], np.random.default_rng(seed)
        before_each()
        with tempfile.TemporaryDirectory() as scratch:
            shutil.copytree(saved, scratch, dirs_exist_ok=True)
            done, is_sealed = alter(Path(scratch) / name, random)
            wrong = judge(name, Path(scratch) / name, X, expected[name] if is_sealed else None)
        if wrong:
            failures.append(f"{seed}, {name}, {done}: {wrong}")
    return failures


def alter(folder: Path, random) -> tuple[str, bool]:
    """Alter a saved model; return what was done, and whether its checksums are the old ones."""
    afterwards = (None, None, seal_anew, without_seals)[random.integers(4)]
    change = ALTERATIONS[random.integers(len(ALTERATIONS))]
    if afterwards is without_seals:
        without_seals(folder)
    change(folder, random)
    if afterwards is seal_anew:
        seal_anew(folder)
    done = change.__name__ if afterwards is None else f"{change.__name__}, {afterwards.__name__}"
    return done, afterwards is None


def main() -> int:
    """Alter models of every estimator; 1 if any of them fails."""
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as scratch:
        old, new = Path(scratch) / "old", Path(scratch) / "new"
        unpack(old)
        names = save_anew(old, new)
        signal.signal(signal.SIGALRM, is_stuck)
        alarm = partial(signal.alarm, SECONDS)
        failures = alter_and_judge(new, names, N_ALTERED, rows(old), alarm)
    print(*failures, f"{N_ALTERED} altered, {len(failures)} failures", sep="\n")
    return int(bool(failures))


if __name__ == "__main__":
    sys.exit(main())
