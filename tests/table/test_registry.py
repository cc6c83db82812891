"""The report on a user's own table follows the registry of methods."""

import json
import re
from functools import partial
from pathlib import Path

import matplotlib
import pandas as pd
import pytest
from planted import triangle
from sklearn.cluster import BisectingKMeans

from whycluster.contract.attribution import attribute
from whycluster.table import methods

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "00-your-table.ipynb"


@pytest.mark.slow
def test_a_fifth_method_joins_the_report_by_one_line(tmp_path, monkeypatch):
    fifth = methods.Method(
        "halves",
        "Clusters are halved until there are enough.",
        lambda k, seed, n_samples, n_features: BisectingKMeans(k, random_state=seed),
        partial(attribute, method="shap", n_permutations=1, background=10),
        methods.margin,
    )
    monkeypatch.setattr(methods, "METHODS", [*methods.METHODS, fifth])
    monkeypatch.setenv("WHYCLUSTER_OUTPUTS", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    matplotlib.use("Agg")
    table, _ = triangle(60, seed=0)
    table.to_csv("table.csv", index=False)
    given = {"data": "table.csv", "n_clusters": 3, "seeds": [0]}
    cells = [c for c in json.loads(NOTEBOOK.read_text())["cells"] if c["cell_type"] == "code"]
    names = {}
    for number, cell in enumerate(cells):
        exec("".join(cell["source"]), names)
        names |= given if number == 0 else {}
    folder = tmp_path / "00-your-table" / "interactive"
    assigned = pd.read_csv(folder / "assignments.csv")
    assert set(assigned["halves cluster"]) == {0, 1, 2}
    assert "halves" in set(pd.read_csv(folder / "explanations.csv")["method"])
    record = json.loads((folder / "record.json").read_text())
    assert any(row["method"] == "halves" for row in record["results"])


def test_the_report_names_no_method_but_by_the_registry():
    cells = [c for c in json.loads(NOTEBOOK.read_text())["cells"] if c["cell_type"] == "code"]
    text = "".join("".join(cell["source"]) for cell in cells)
    quoted = set(re.findall(r"[\"\']([\w-]+)[\"\']", text))
    assert quoted & {method.name for method in methods.METHODS} <= {"tree"}  # for its rules
