"""`make cluster DATA=table.csv`: from an analyst's file to the report, the clusters and the why."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import adjusted_rand_score

ROOT = Path(__file__).parents[2]
SCRIPT = "<script>alert(1)</script>"


def cluster(data, outputs, *options):
    return subprocess.run(
        [sys.executable, "-m", "whycluster.runs", "cluster", str(data), *options],
        cwd=ROOT,
        env=os.environ | {"WHYCLUSTER_OUTPUTS": str(outputs), "PYTHONPATH": str(ROOT / "lib")},
        capture_output=True,
        text=True,
        timeout=280,
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Cluster a small mixed table whose column and category names are markup."""
    folder = tmp_path_factory.mktemp("cluster")
    rng = np.random.default_rng(0)
    group = np.repeat([0, 1], 40)
    table = pd.DataFrame(
        {
            "height, cm": rng.normal(160 + 30 * group, 3),
            f"weight {SCRIPT}": rng.normal(60 + 30 * group, 3),
            "colour": np.where(group == 0, SCRIPT, "blue"),
            "noise": rng.normal(size=80),
        }
    )
    table.loc[3, "height, cm"] = np.nan
    table.to_csv(folder / "people.csv", index=False)
    done = cluster(folder / "people.csv", folder / "outputs", "--k", "2", "--out", folder / "found")
    assert done.returncode == 0, done.stderr
    return group, folder / "found"


def test_every_row_gets_its_cluster(finished):
    group, found = finished
    assignments = pd.read_csv(found / "assignments.csv")
    assert len(assignments) == 80
    kmeans = assignments["k-means cluster"]
    assert adjusted_rand_score(group, kmeans) > 0.9


def test_explanations_name_the_features_of_the_file(finished):
    explanations = pd.read_csv(finished[1] / "explanations.csv").astype(str)
    text = explanations.to_csv()
    assert "height, cm" in text
    assert f"weight {SCRIPT}" in text


def test_markup_in_the_file_is_escaped_in_the_report(finished):
    html = (finished[1] / "report.html").read_text()
    assert SCRIPT not in html
    assert "&lt;script&gt;" in html


@pytest.mark.parametrize(
    ("content", "line"),
    [(None, "people.csv"), ("a,b\n", "no rows")],
    ids=["no file", "header only"],
)
def test_a_bad_file_ends_in_one_line(tmp_path, content, line):
    data = tmp_path / "people.csv"
    if content is not None:
        data.write_text(content)
    done = cluster(data, tmp_path / "outputs")
    assert done.returncode != 0
    last = done.stderr.strip().splitlines()
    assert len(last) == 1, done.stderr
    assert line in last[0]
