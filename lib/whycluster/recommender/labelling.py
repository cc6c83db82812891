"""How well each of the ten algorithms finds the known clusters of each data set of a manifest.

The labels of ClustRecNet: one adjusted Rand index per data set and algorithm. True clusters enter
here and only here, as the reference of that index and, for the seven algorithms that must be told
how many clusters to look for, as their number. The question put to the network is which algorithm
finds the clusters of a table, its number of clusters being a question of its own; recommending
knows neither.
"""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from sklearn.metrics import adjusted_rand_score, pairwise_distances
from sklearn.preprocessing import StandardScaler
from tqdm.auto import tqdm

from whycluster.contract.files import aside
from whycluster.contract.wording import short
from whycluster.metrics import validity_indices
from whycluster.recommender.algorithms import ALGORITHMS, Algorithm, reach
from whycluster.recommender.generation import generate


def label(
    manifest: pd.DataFrame,
    path=None,
    *,
    algorithms: Mapping[str, Algorithm] = ALGORITHMS,
    with_indices: bool = False,
    n_jobs: int = 1,
    save_every: float = 30.0,
    verbose: int = 0,
) -> pd.DataFrame:
    """Score every algorithm on every data set.

    Parameters
    ----------
    manifest : DataFrame
        From `generation.manifest`, or rows of it.
    path : path or None, default=None
        Parquet file that keeps the scores. Data sets that it holds already are not done again, so
        that a run that was cut off goes on, and a longer manifest adds to a shorter one.
    algorithms : mapping of str to Algorithm
    with_indices : bool, default=False
        Whether to score each clustering by `metrics.validity_indices` too.
    n_jobs : int, default=1
        Processes; -1: one per core. Through joblib, whose backend may be a cluster.
    save_every : float, default=30
        Seconds between two writes; what was not written is done again after a kill.
    verbose : int, default=0
        1: a progress bar.

    Returns
    -------
    DataFrame
        A row per data set and algorithm: dataset, seed, algorithm, ari (NaN if it failed), n_found
        (clusters, noise not counted), seconds, error (why it failed, else empty), and the indices.

    Raises
    ------
    ValueError
        If `path` holds scores of other data sets, or of algorithms with other settings.
    """
    terms = _terms(algorithms, with_indices)
    store = _Store(path, terms)
    todo = manifest.loc[~manifest.index.isin(store.done(manifest))]
    jobs = (
        delayed(label_one)(number, dict(row), algorithms, with_indices)
        for number, row in todo.iterrows()
    )
    found = Parallel(n_jobs=n_jobs, return_as="generator_unordered")(jobs)
    try:
        for rows in tqdm(found, total=len(todo), unit="data set", disable=not verbose):
            store.add(rows)
            store.save_after(save_every)
    finally:
        store.save_after(0)
    return store.table(manifest.index)


def label_one(number: int, settings: Mapping, algorithms, with_indices: bool) -> list[dict]:
    """Generate one data set and score every algorithm on it; see `label`."""
    X, y = generate(settings)
    Z = StandardScaler().fit_transform(X)
    given = _Given(Z, reach(Z), len(np.unique(y)), settings["seed"] % 2**31)
    distances = pairwise_distances(Z) if with_indices else None
    rows = []
    for name, algorithm in algorithms.items():
        labels, seconds, error = given.cluster(algorithm)
        row = {"dataset": number, "seed": settings["seed"], "algorithm": name}
        row["ari"] = np.nan if error else adjusted_rand_score(y, labels)
        row["n_found"] = len(set(labels) - {-1})
        row |= {"seconds": seconds, "error": error}
        if with_indices:
            row |= validity_indices(Z, labels, distances=distances)
        rows.append(row)
    return rows


def wide(labels: pd.DataFrame, column: str = "ari") -> pd.DataFrame:
    """Return one column of `label`'s table as data sets by algorithms, in the order of both."""
    order = labels["algorithm"].drop_duplicates()
    return labels.pivot(index="dataset", columns="algorithm", values=column)[list(order)]


@dataclass(frozen=True)
class _Given:
    """What an algorithm is told about a data set."""

    Z: np.ndarray
    reach: np.ndarray
    n_clusters: int
    random_state: int

    def cluster(self, algorithm: Algorithm) -> tuple[np.ndarray, float, str]:
        """Return labels, seconds and the error, if any; a failure is a result too."""
        start = time.perf_counter()
        labels, error = np.zeros(0, dtype=int), ""
        try:
            labels = algorithm.cluster(self.Z, self.reach, self.n_clusters, self.random_state)
        except Exception as reason:
            error = f"{type(reason).__name__}: {reason}".splitlines()[0]
        return labels, time.perf_counter() - start, error


def _terms(algorithms: Mapping[str, Algorithm], with_indices: bool) -> str:
    """Return on what terms scores can be compared, as text."""
    settings = {name: [*a.settings.items(), *a.scaled] for name, a in algorithms.items()}
    return json.dumps({"algorithms": settings, "indices": with_indices})


def _compact(rows: pd.DataFrame) -> pd.DataFrame:
    """Return five decimals of every number: 4,000 data sets then fit in half a megabyte."""
    floats = rows.select_dtypes("float").columns
    kinds = {"algorithm": "str", "error": "str"} | dict.fromkeys(floats, "float32")
    return rows.assign(**rows[floats].round(5)).astype(kinds)


def _read(path: Path) -> pd.DataFrame:
    try:
        return pd.read_parquet(path)
    except (OSError, ValueError) as error:  # pyarrow's are either
        raise ValueError(
            f"{path} cannot be read ({short(error)}); restore it, or delete it to label anew"
        ) from error


class _Store:
    """Scores in memory and in one Parquet file, which is replaced as a whole."""

    def __init__(self, path, terms: str):
        self.path = Path(path) if path is not None else None
        self.kept = pd.DataFrame({"dataset": [], "seed": []}).astype("int64")
        self.rows: list[dict] = []
        self.terms = terms
        self.saved = time.monotonic()
        if self.path and self.path.exists():
            self.kept = _read(self.path)
            if self.kept.attrs.get("terms") != terms:
                raise ValueError(
                    f"{self.path} was labelled with other settings; give another path or delete it"
                )

    def done(self, manifest: pd.DataFrame) -> np.ndarray:
        """Return the numbers of finished data sets."""
        seeds = self.kept.drop_duplicates("dataset").set_index("dataset")["seed"]
        known = seeds.index.intersection(manifest.index)
        if (seeds[known] != manifest.loc[known, "seed"]).any():
            raise ValueError(f"{self.path} holds scores of another manifest; give another path")
        return known.to_numpy()

    def add(self, rows: list[dict]) -> None:
        self.rows += rows

    def save_after(self, seconds: float) -> None:
        """Write what is new, if the last write is this long ago."""
        if not self.rows or time.monotonic() - self.saved < seconds:
            return
        new = _compact(pd.DataFrame(self.rows))
        self.kept = pd.concat([self.kept, new], ignore_index=True) if len(self.kept) else new
        self.kept.attrs["terms"] = self.terms
        self.rows, self.saved = [], time.monotonic()
        if self.path:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with aside(self.path) as provisional:
                self.kept.to_parquet(provisional, compression="zstd")

    def table(self, numbers: pd.Index) -> pd.DataFrame:
        """Return the scores of these data sets, in their order."""
        chosen = self.kept[self.kept["dataset"].isin(numbers)]
        return chosen.sort_values("dataset", kind="stable").reset_index(drop=True)
