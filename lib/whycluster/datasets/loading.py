"""`load`: from the name of a data set to its features and target."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from whycluster.datasets import files, readers, registry


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """A data set in memory.

    Attributes
    ----------
    features : DataFrame of shape (n_samples, n_features)
        Numbers as numbers, categories as `category`, missing values as NaN; nothing is imputed,
        scaled or encoded. Identifiers are not features.
    target : Series of shape (n_samples,) or None
        Classes, as integers or categories. Never part of `features`, never meant for `fit`.
    name, description, source, licence : str
        One line each.

    """

    features: pd.DataFrame
    target: pd.Series | None
    name: str
    description: str
    source: str
    licence: str

    def __repr__(self) -> str:
        rows, columns = self.features.shape
        return f"Dataset({self.name}: {rows} rows, {columns} features; {self.description})"


def load(name: str, *, part: str = "all", random_state: int | None = 0) -> Dataset:
    """Find, verify and read a data set.

    Parameters
    ----------
    name : str
        A name or alias from `python -m whycluster.datasets`; case, blanks, dashes and underscores
        do not matter, so "TOX-171" and "tox_171" are the same.
    part : {"all", "train", "test"}, default "all"
        Which rows, for the sets that upstream splits (mnist, fashion-mnist, kmnist, gtsrb, cifar10,
        cifar100-20, pendigits, optdigits, shuttle, avila, adult); "all" is the training rows
        followed by the test rows.
    random_state : int or None, default 0
        Seed of the sets that are drawn (idc-synthetic, mnist10k); the others do not depend on it.

    Returns
    -------
    Dataset

    Raises
    ------
    ValueError
        If there is no such data set or part, or if a file is damaged.
    FileNotFoundError
        If a file is neither in `$WHYCLUSTER_DATA` nor in the cache and cannot be downloaded.

    Examples
    --------
    >>> iris = load("iris")
    >>> iris.features.shape, iris.target.name
    ((150, 4), 'species')

    """
    entry = registry.find(name)
    paths = [files.fetch(file) for file in entry.files_of(part)]
    seed = {"random_state": random_state} if entry.seeded else {}
    inside = {"members": entry.members_of(part)} if entry.members else {}
    features, target = readers.READERS[entry.format](paths, **entry.options, **seed, **inside)
    return Dataset(features, target, entry.name, entry.description, entry.source, entry.licence)
