"""Published tables: each is cited, each loads, and known cells are as printed."""

from importlib.resources import files

import pytest

from whycluster.runs import published


def test_every_table_is_cited_and_every_citation_has_a_table():
    found = {path.name[:-4] for path in files(published).iterdir() if path.name.endswith(".csv")}
    assert found == set(published.NAMES)


@pytest.mark.parametrize("name", published.NAMES)
def test_every_table_loads_with_its_source(name):
    table = published.load(name)
    assert len(table) > 1
    assert table.columns.is_unique
    assert table.attrs["source"] == published.SOURCES[name]


def test_cells_are_as_printed():
    biomedical = published.load("idc_biomedical").set_index("dataset")
    assert biomedical.loc["SRBCT", "IDC"] == 55.4
    quality = published.load("idc_interpretability").set_index("method")
    assert quality.loc["IDC", "uniqueness"] == 0.69
    assert quality.loc["K-means + SHAP", "diversity"] == 100


def test_an_unknown_table_lists_the_known():
    with pytest.raises(
        ValueError, match=r"no published table 'idc'; choose one of .*idc_synthetic"
    ):
        published.load("idc")
