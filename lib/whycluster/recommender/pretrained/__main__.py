"""Label more data sets and train the model of the package; see --help."""

import argparse
import time

import numpy as np
import torch

from whycluster.contract.files import write_json
from whycluster.recommender.estimator import ClustRecNet, score
from whycluster.recommender.generation import DataSets, manifest
from whycluster.recommender.labelling import label, wide
from whycluster.recommender.pretrained import FOLDER, MODEL, SEEDS, load


def main(arguments=None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m whycluster.recommender.pretrained", description=__doc__
    )
    parser.add_argument("--training", type=int, default=0, metavar="N", help="label N data sets")
    parser.add_argument("--test", type=int, default=0, metavar="N", help="the same for the test")
    parser.add_argument("--train", action="store_true", help="train on all that are labelled")
    parser.add_argument("--jobs", type=int, default=1, help="processes; -1: one per core")
    options = parser.parse_args(arguments)
    for split, seed in SEEDS.items():
        if n_datasets := getattr(options, split):
            path, table = FOLDER / f"{split}.parquet", manifest(n_datasets, seed)
            kind = {"with_indices": split == "test", "n_jobs": options.jobs, "verbose": 1}
            label(table, path, **kind)
    if options.train:
        train(options.jobs)


def train(n_jobs: int = 1) -> dict:
    """Train the model on the training split, score it on the test split, write both."""
    settings, labels = load("training")
    start = time.perf_counter()
    model = ClustRecNet(random_state=0, device="cpu", n_jobs=n_jobs, verbose=1)
    model.fit(DataSets(settings), wide(labels)).set_params(n_jobs=1, verbose=0, device="auto")
    seconds = time.perf_counter() - start
    model.save(MODEL)
    record = {
        "n_training": len(settings),
        "manifest_seeds": SEEDS,
        "settings": model.get_params(),
        "seconds": round(seconds),
        "torch": torch.__version__,
        "folds": {name: values.mean() for name, values in model.fold_scores_.items()},
        "test": test_scores(model),
    }
    write_json(MODEL / "training.json", record)
    return record


def test_scores(model: ClustRecNet) -> dict[str, float]:
    """Score a model on the test split."""
    settings, labels = load("test")
    probability = np.stack([model.predict_proba(X) for X in DataSets(settings)])
    scores = score(probability, wide(labels).to_numpy(), model.threshold)
    return {"n_datasets": len(settings), **scores}


if __name__ == "__main__":
    main()
