"""What ClustRecNet was trained on, and the trained model.

``training.parquet`` and ``test.parquet`` hold the score of every algorithm on every data set, as
`labelling.label` writes them; the data sets themselves are rows of `generation.manifest`.
``python -m whycluster.recommender.pretrained`` labels more of them and trains the model anew.
"""

from pathlib import Path

import pandas as pd

from whycluster.recommender.generation import manifest

FOLDER = Path(__file__).parent
MODEL = FOLDER / "clustrecnet"
SEEDS = {"training": 0, "test": 1}  # of the manifests, which share no data set


def load(split: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return labelled data sets.

    Parameters
    ----------
    split : {"training", "test"}
        Scores of the test split come with four validity indices of every clustering.

    Returns
    -------
    settings : DataFrame
        A row of `generation.manifest` per data set.
    labels : DataFrame
        From `labelling.label`, a row per data set and algorithm.

    Raises
    ------
    ValueError
        If there is no such split.

    Examples
    --------
    >>> settings, labels = load("test")
    >>> len(labels) == 10 * len(settings)
    True
    """
    if split not in SEEDS:
        raise ValueError(f"no split {split!r}; choose {' or '.join(SEEDS)}")
    labels = pd.read_parquet(FOLDER / f"{split}.parquet")
    labels = labels.sort_values("dataset", kind="stable").reset_index(drop=True)
    numbers = labels["dataset"].unique()
    return manifest(numbers.max() + 1, SEEDS[split]).loc[numbers], labels
