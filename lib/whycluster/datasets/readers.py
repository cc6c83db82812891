"""Readers: one per file format, from verified files to `(features, target)`.

The keyword arguments of a reader are the keys that registry.toml may set for its format.
"""

from __future__ import annotations

import contextlib
import csv
import gzip
import io
import lzma
import tarfile
import zipfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import rdata
import scipy.io
import sklearn.datasets
import xlrd
from PIL import Image, ImageOps
from sklearn.utils import check_random_state

from whycluster.datasets.files import opened_member
from whycluster.datasets.synthetic import make_idc_synthetic
from whycluster.datasets.topics import make_topic_texts
from whycluster.datasets.unix_compress import decompress

Table = tuple[pd.DataFrame, pd.Series]


def read_text(
    paths: Iterable[Path],
    *,
    target: str,
    separator: str = ",",
    columns: Sequence[str] | None = None,
    pixels: tuple[int, int] | None = None,
    drop: Sequence[str] = (),
    missing: str | None = None,
    comment: str | None = None,
    values: dict[str, dict[str, str]] | None = None,
) -> Table:
    """Delimited text, one file after the other.

    Without `columns` the first line of each file names them, unless `pixels` (rows, columns) says
    that they are pixels followed by the target. `missing` is the text that stands for a missing
    value, `comment` starts a line to skip, `values` spells out the codes of a column.
    """
    if pixels:
        columns = [*_pixel_names(pixels), target]
    tables = [
        pd.read_csv(
            _opened(path),
            sep=separator,
            names=columns,
            header=None if columns else 0,
            dtype={name: str for name in values or {}},
            na_values=[] if missing is None else [missing],
            keep_default_na=False,
            comment=comment,
            skipinitialspace=True,
        )
        for path in paths
    ]
    return _split(pd.concat(tables, ignore_index=True), target, drop, values)


def read_xls(
    paths: Sequence[Path],
    *,
    sheet: str,
    target: str,
    drop: Sequence[str] = (),
    values: dict[str, dict[str, str]] | None = None,
) -> Table:
    """One sheet of an Excel 97-2003 workbook whose first row names the columns."""
    cells = xlrd.open_workbook(paths[0]).sheet_by_name(sheet)
    header, *rows = (cells.row_values(row) for row in range(cells.nrows))
    return _split(pd.DataFrame(rows, columns=header), target, drop, values)


def read_mat(paths: Sequence[Path], *, pixels: tuple[int, int] | None = None) -> Table:
    """MATLAB 5 file with X (n_samples, n_features) and Y (n_samples, 1).

    Images are stored column by column there, and are put row by row here.
    """
    content = scipy.io.loadmat(paths[0])
    data = content["X"]
    if pixels:
        data = data.reshape(-1, *pixels[::-1]).transpose(0, 2, 1).reshape(len(data), -1)
    return _frame(data, pixels), _target(content["Y"].ravel(), "class")


def read_rda(paths: Sequence[Path], *, variable: str, classes: dict[str, str]) -> Table:
    """R list of X, Y and gene.names (image id and description), as in the package plsgenomics."""
    content = rdata.read_rda(paths[0], default_encoding="ascii")[variable]
    image_ids, descriptions = (column for _, column in content["gene.names"].items())
    genes = [
        f"{description} [IMAGE:{image_id}]".lstrip()
        for image_id, description in zip(image_ids, descriptions, strict=True)
    ]
    features = pd.DataFrame(np.asarray(content["X"]), columns=_distinct(genes))
    return features, _target(np.asarray(content["Y"]), "class", classes)


def read_cells(
    paths: Sequence[Path], *, labels: str, annotations: int, classes: dict[str, str]
) -> Table:
    """Expression matrix with genes in rows, below `annotations` rows of which one is `labels`."""
    table = pd.read_csv(paths[0], header=None, index_col=0).T.reset_index(drop=True)
    table.columns = table.columns.rename(None)
    return table.iloc[:, annotations:], _target(table[labels], "stage", classes)


def read_idx(
    paths: Sequence[Path],
    *,
    target: str,
    classes: Sequence[str] | None = None,
    rows_per_class: int | None = None,
    random_state: int | np.random.RandomState | None = None,
) -> Table:
    """Pairs of gzipped idx files, images then labels; optionally a sample of each class."""
    images = np.concatenate([_idx(path) for path in paths[::2]])
    labels = np.concatenate([_idx(path) for path in paths[1::2]])
    if rows_per_class:
        rows = _sample_rows(labels, rows_per_class, random_state)
        images, labels = images[rows], labels[rows]
    names = dict(enumerate(classes)) if classes else None
    pixels = images.shape[1:]
    return _frame(images.reshape(len(images), -1), pixels), _target(labels, target, names)


def read_hdf5(
    paths: Sequence[Path], *, groups: Sequence[str], target: str, pixels: tuple[int, int]
) -> Table:
    """HDF5 file whose groups each hold `data` (n_samples, n_features) and `target`."""
    with h5py.File(paths[0]) as file:
        data = np.concatenate([file[group]["data"][:] for group in groups])
        labels = np.concatenate([file[group]["target"][:] for group in groups])
    return _frame(data, pixels), _target(labels, target)


def read_sklearn(
    paths: Sequence[Path], *, function: str, target: str, pixels: tuple[int, int] | None = None
) -> Table:
    """One of the sets that scikit-learn ships with."""
    bunch = getattr(sklearn.datasets, function)()
    features = _frame(bunch.data, pixels)
    if pixels:
        return features, _target(bunch.target, target)
    features.columns = list(bunch.feature_names)
    return features, _target(bunch.target, target, dict(enumerate(bunch.target_names)))


def read_generated(
    paths: Sequence[Path], *, random_state: int | np.random.RandomState | None
) -> Table:
    """IDC's synthetic table, as its paper describes it."""
    features, target, _ = make_idc_synthetic(random_state=random_state)
    return features, target


def read_documents(
    paths: Sequence[Path],
    *,
    columns: Sequence[str],
    text: Sequence[str],
    target: str,
    separator: str = ",",
    member: str | None = None,
    is_quoted: bool = True,
    classes: Sequence[str] | None = None,
    rows_per_class: int | None = None,
    random_state: int | np.random.RandomState | None = None,
) -> Table:
    """Delimited text without a header, its `text` columns joined to one column of documents.

    `member` is the file inside a tar archive. `classes` names the labels in their order.
    """
    table = pd.read_csv(
        _member(paths[0], member) if member else paths[0],
        sep=separator,
        names=columns,
        usecols=range(len(columns)),
        header=None,
        quoting=csv.QUOTE_MINIMAL if is_quoted else csv.QUOTE_NONE,
        keep_default_na=False,
    )
    labels = table[target].to_numpy()
    if rows_per_class:
        table = table.iloc[_sample_rows(labels, rows_per_class, random_state)]
    named = dict(zip(np.unique(labels), classes, strict=True)) if classes else None
    first, *others = (table[column].astype(str) for column in text)
    documents = (first.str.cat(others, sep=" ") if others else first).str.strip()
    return _documents(documents), _target(table[target], target, named)


def read_folders(paths: Sequence[Path], *, folders: Sequence[str], encoding: str) -> Table:
    """Tar archive with a file per document, in FOLDER/CLASS/FILE; folder after folder."""
    found = []
    with tarfile.open(paths[0]) as archive:
        for member in archive:
            parts = member.name.split("/")
            if member.isfile() and parts[0] in folders:
                text = opened_member(archive, member).read().decode(encoding)
                found.append((folders.index(parts[0]), *parts[1:], text))
    found.sort(key=lambda entry: entry[:3])
    texts = pd.Series([text for *_, text in found], dtype=str)
    return _documents(texts), pd.Series(
        [name for _, name, *_ in found], name="group", dtype="category"
    )


def read_topics(
    paths: Sequence[Path], *, random_state: int | np.random.RandomState | None
) -> Table:
    """Texts about four topics, drawn word by word."""
    texts, topic, _ = make_topic_texts(random_state=random_state)
    return texts.to_frame(), topic


def read_signs(paths: Sequence[Path], *, classes: dict[str, str], side: int) -> Table:
    """Zip archives of photographed signs of many sizes; those of the chosen classes.

    The class of a training image is its folder, that of a test image is in a list of its own. Each
    image is scaled to `side` x `side` pixels, then the histogram of each colour is equalised, as in
    the experiments of BRB.
    """
    images, labels = [], []
    with contextlib.ExitStack() as stack:
        archives = [stack.enter_context(zipfile.ZipFile(path)) for path in paths]
        listed = _listed_signs(archives)
        for archive, name in ((a, n) for a in archives for n in sorted(a.namelist())):
            if not name.endswith(".ppm"):
                continue
            folder, file = name.split("/")[-2:]
            label = listed[file] if folder == "Images" else int(folder)
            if str(label) in classes:
                images.append(_sign(archive, name, side))
                labels.append(label)
    data = np.stack(images).transpose(0, 3, 1, 2).reshape(len(images), -1)
    return pd.DataFrame(data, columns=_colour_names(side)), _target(labels, "sign", classes)


def read_cifar(
    paths: Sequence[Path],
    *,
    target: str,
    classes: Sequence[str],
    n_labels: int = 1,
    members: Sequence[str] = (),
) -> Table:
    """Records of `n_labels` bytes, the first of them the class, and 32x32 pixels of each colour.

    From `members` of a tar archive, in their order, or from the files themselves.
    """
    contents = _tar_members(paths[0], members) if members else [_unpacked(path) for path in paths]
    records = np.frombuffer(b"".join(contents), np.uint8)
    records = records.reshape(-1, n_labels + _CIFAR_SIDE**2 * len(_COLOURS))
    names = dict(enumerate(classes))
    features = pd.DataFrame(records[:, n_labels:], columns=_colour_names(_CIFAR_SIDE))
    return features, _target(records[:, 0], target, names)


_COLOURS = ("red", "green", "blue")
_CIFAR_SIDE = 32  # pixels

READERS: dict[str, Callable[..., Table]] = {
    "text": read_text,
    "xls": read_xls,
    "mat": read_mat,
    "rda": read_rda,
    "cells": read_cells,
    "idx": read_idx,
    "signs": read_signs,
    "cifar": read_cifar,
    "hdf5": read_hdf5,
    "sklearn": read_sklearn,
    "generated": read_generated,
    "documents": read_documents,
    "folders": read_folders,
    "topics": read_topics,
}


def _documents(texts: pd.Series) -> pd.DataFrame:
    return texts.rename("text").reset_index(drop=True).to_frame()


def _member(path: Path, name: str) -> io.BytesIO:
    """Content of a file in a tar archive."""
    with tarfile.open(path) as archive:
        return io.BytesIO(opened_member(archive, name).read())


def _tar_members(path: Path, names: Sequence[str]) -> list[bytes]:
    """Contents of files in a tar archive, which is read once."""
    with tarfile.open(path) as archive:
        found = {m.name: opened_member(archive, m).read() for m in archive if m.name in names}
    return [found[name] for name in names]


def _unpacked(path: Path) -> bytes:
    return lzma.decompress(path.read_bytes()) if path.suffix == ".xz" else path.read_bytes()


def _listed_signs(archives: Sequence[zipfile.ZipFile]) -> dict[str, int]:
    """Classes of the test images, by file name."""
    for archive in archives:
        if "GT-final_test.csv" in archive.namelist():
            table = pd.read_csv(archive.open("GT-final_test.csv"), sep=";")
            return dict(zip(table["Filename"], table["ClassId"], strict=True))
    return {}


def _sign(archive: zipfile.ZipFile, name: str, side: int) -> np.ndarray:
    image = Image.open(io.BytesIO(archive.read(name))).convert("RGB")
    scaled = image.resize((side, side), Image.Resampling.BILINEAR)
    return np.asarray(ImageOps.equalize(scaled))  # (side, side, 3)


def _opened(path: Path) -> Path | io.BytesIO:
    return io.BytesIO(decompress(path.read_bytes())) if path.suffix == ".Z" else path


def _split(
    table: pd.DataFrame, target: str, drop: Sequence[str], values: dict[str, dict[str, str]] | None
) -> Table:
    """Features and target of a table, its codes spelled out and its texts made categories."""
    table = table.drop(columns=list(drop))
    for column, meanings in (values or {}).items():
        spelled_out = table[column].map(lambda code, of=meanings: of.get(code, code))
        table[column] = spelled_out.astype("category")
    texts = table.select_dtypes(exclude="number").columns
    table = table.astype({column: "category" for column in texts})
    return table.drop(columns=target), table[target]


def _frame(data: np.ndarray, pixels: tuple[int, int] | None) -> pd.DataFrame:
    n_features = data.shape[1]
    width = len(str(n_features))
    names = [f"feature_{index:0{width}d}" for index in range(1, n_features + 1)]
    return pd.DataFrame(data, columns=_pixel_names(pixels) if pixels else names)


def _pixel_names(pixels: tuple[int, int]) -> list[str]:
    rows, columns = pixels
    return [f"pixel_r{row}_c{column}" for row in range(rows) for column in range(columns)]


def _colour_names(side: int) -> list[str]:
    """Names of square colour images, plane by plane."""
    return [f"{colour}_{pixel}" for colour in _COLOURS for pixel in _pixel_names((side, side))]


def _target(
    labels: Sequence[int] | np.ndarray, name: str, classes: dict | None = None
) -> pd.Series:
    """Integer labels as a Series; as categories in the order of `classes`, if those have names."""
    codes = pd.Series(np.asarray(labels).astype(int), name=name)
    if classes is None:
        return codes
    names = {int(code): str(meaning) for code, meaning in classes.items()}
    return codes.map(names).astype(pd.CategoricalDtype(list(names.values())))


def _distinct(names: Sequence[str]) -> list[str]:
    """Names with (2), (3), ... added to those that occurred before."""
    given = pd.Series(names, dtype=object)
    occurrence = given.groupby(given).cumcount() + 1
    return list(given.where(occurrence == 1, given + " (" + occurrence.astype(str) + ")"))


def _idx(path: Path) -> np.ndarray:
    """Array of an idx file: magic number (type 8 = uint8, number of axes), sizes, values."""
    content = gzip.decompress(path.read_bytes())
    n_axes = content[3]
    shape = np.frombuffer(content, ">u4", count=n_axes, offset=4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * n_axes).reshape(shape)


def _sample_rows(
    labels: np.ndarray, rows_per_class: int, random_state: int | np.random.RandomState | None
) -> np.ndarray:
    """Rows of a sample with as many of each class, in file order."""
    random = check_random_state(random_state)
    chosen = [
        random.choice(np.flatnonzero(labels == label), rows_per_class, replace=False)
        for label in np.unique(labels)
    ]
    return np.sort(np.concatenate(chosen))
