"""Methods side by side: what they find, how it is compared, and what is doubted."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.cluster import KMeans

from whycluster import TAOClusteringTree
from whycluster.contract.explanation import Explanation
from whycluster.table import TableEncoder, methods, read, summary, write_example

N_ROWS = 400


SIGNALS = {"signal a", "signal b", "signal c", "signal d"}


@pytest.fixture(scope="module")
def planted():
    """Three groups of unequal size, told apart by four signals beside three weaker noises."""
    rng = np.random.default_rng(0)
    group = np.sort(rng.choice(3, N_ROWS, p=[0.5, 0.3, 0.2]))
    X = pd.DataFrame(rng.normal(size=(N_ROWS, 7)), columns=["v", *sorted(SIGNALS), "w", "x"])
    X[["signal a", "signal b"]] += 12 * (group == 1)[:, None]
    X[["signal c", "signal d"]] += 12 * (group == 2)[:, None]
    X = (X - X.mean()) / X.std()
    X[["v", "w", "x"]] *= 0.3
    return X, group


@pytest.fixture(scope="module")
def found(planted):
    return methods.cluster(planted[0], 3, seeds=[0, 1])


def test_every_method_finds_planted_groups_numbered_by_size(planted, found):
    assert list(found) == [method.name for method in methods.METHODS]
    assert found["k-means"].labels[0].tolist() == planted[1].tolist()
    agreement = {name: (c.labels[0] == planted[1]).mean() for name, c in found.items()}
    assert min(agreement.values()) > 0.75, agreement


@pytest.mark.parametrize("name", [method.name for method in methods.METHODS])
def test_every_method_names_planted_features(found, name):
    top = found[name].explanation.top(3, "overall").query("value > 0")["feature"]
    assert len(top) >= 2  # a tree needs no more
    assert set(top) <= SIGNALS


@pytest.mark.parametrize("name", [method.name for method in methods.METHODS])
def test_assign_agrees_with_labels_and_is_sure_of_them(planted, found, name):
    assigned = found[name].assign(planted[0].iloc[::-1])
    assert assigned["cluster"].tolist() == found[name].labels[0][::-1].tolist()
    assert assigned["confidence"].between(0, 1).all()
    assert assigned.index.tolist() == list(range(N_ROWS))[::-1]


def test_a_row_nearer_to_another_centre_has_no_margin():
    X = pd.DataFrame({"asked": [0.0, 0.1, 3.0, 3.1], "other": [0.0, 9.0, 0.0, 0.1]})
    tree = TAOClusteringTree(2, depth=1, random_state=0).fit(X)
    own, other = (
        np.linalg.norm(X - tree.cluster_centers_[labels], axis=1)
        for labels in (tree.labels_, 1 - tree.labels_)
    )
    assert methods.margin(tree, X) == pytest.approx(np.maximum(0, 1 - own / other))
    tree.cluster_centers_ = tree.cluster_centers_[::-1]
    assert (methods.margin(tree, X) == 0).all()


def test_explanation_follows_the_numbering_of_the_clusters(planted, found):
    why = found["k-means"].explanation
    means = [np.abs(why.sample[found["k-means"].labels[0] == k]).mean(axis=0) for k in range(3)]
    assert why.cluster == pytest.approx(np.array(means))


def test_seeds_are_numbered_alike(found):
    assert (found["k-means"].labels[0] == found["k-means"].labels[1]).all()


def test_score_peaks_at_the_planted_number_and_skips_impossible_ones(planted):
    assert methods.score_n_clusters(planted[0]).idxmax() == 3
    few = pd.DataFrame({"a": [0, 0, 1, 5.0], "b": [0, 0, 1, 2.0]})
    assert methods.score_n_clusters(few).index.tolist() == [2]


def test_score_of_many_rows_uses_a_seeded_sample(monkeypatch, planted):
    monkeypatch.setattr(methods, "MANY_ROWS", 50)
    seen = []
    monkeypatch.setattr(methods, "silhouette", lambda X, labels: seen.append(len(X)) or 0.0)
    methods.score_n_clusters(planted[0], [2, 3])
    assert seen == [50, 50]


def test_confidence_of_centres_is_one_minus_the_ratio_of_distances():
    kmeans = KMeans(2, n_init=1, random_state=0).fit([[0.0], [4.0]])
    assert methods.margin(kmeans, [[0.0], [1.0], [2.0]]) == pytest.approx([1, 2 / 3, 0])


def test_summary_of_planted_groups_raises_no_doubt_about_kmeans(planted, found):
    said = summary.summarise(found, planted[0])
    assert said.loc["k-means"].iloc[:2].tolist() == [3, (planted[1] == 2).sum()]
    assert said.loc["k-means", ["seeds agree", "agrees with the first"]].tolist() == [1, 1]
    clear = said.assign(silhouette=0.8).loc[["k-means"]]
    assert summary.caveats(clear, 3, N_ROWS) == []


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        ("clusters found", 2, "filled only 2 of 3 clusters"),
        ("silhouette", 0.3, "weak structure. Its mean silhouette of 0.30 is not above 0.5"),
        ("silhouette", 0.1, "no substantial structure"),
        ("silhouette", np.nan, "undefined"),
        ("seeds agree", 0.2, "another seed gives other clusters (agreement 0.20"),
        ("smallest", 1, "one cluster is a single row"),
        ("smallest", 19, "holds only 19 rows"),
    ],
)
def test_each_doubt_is_spelt_out(column, value, words):
    fine = {"clusters found": 3, "smallest": 30, "silhouette": 0.8, "seeds agree": 1.0}
    said = pd.DataFrame({"IDC": {**fine, column: value}}).T
    doubts = summary.caveats(said, 3, 1000)
    assert len(doubts) == 1
    assert words in doubts[0]


CLEAR = {
    "clusters found": 2,
    "smallest": 30,
    "silhouette": 0.8,
    "seeds agree": 1.0,
    "agrees with the first": 1.0,
}


def clear(**changes):
    """The summary of a clustering that nothing speaks against, but for what is changed."""
    return pd.DataFrame({"k-means": CLEAR, "IDC": {**CLEAR, **changes}}).T


def test_nothing_speaks_against_a_clear_clustering():
    assert summary.caveats(clear(), 2, 100) == []


def test_few_rows_are_doubted_however_clear_the_clusters():
    assert "5 rows are few for 2 clusters" in summary.caveats(clear(), 2, 5)[0]


def test_methods_that_disagree_are_doubted():
    doubts = summary.caveats(clear(**{"agrees with the first": 0.1}), 2, 100)
    assert len(doubts) == 1
    assert "IDC (0.10): other clusters than those of k-means" in doubts[0]


def test_more_columns_than_rows_are_doubted():
    X = pd.DataFrame(np.zeros((100, 120)))
    assert "120 features are more than 100 rows" in summary.caveats(clear(), 2, 100, X=X)[0]


def test_columns_left_out_that_may_tell_something_are_doubted():
    table = pd.DataFrame(
        {
            "age": np.random.default_rng(0).normal(50, 9, 60),
            "amount": [f"{i}k" for i in range(60)],
            "id": range(60),
        }
    )
    doubts = summary.caveats(clear(), 2, 100, encoder=TableEncoder().fit(table))
    assert doubts[0] == "The clusters rest on one column, 'age', alone."
    assert doubts[1] == "Left out, although it may tell something: 'amount' (identifier)."


def test_a_cluster_that_is_one_value_of_one_column_is_doubted():
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"days": rng.integers(1, 20, 90), "age": rng.integers(20, 60, 90)})
    table.loc[:29, "days"] = -1
    encoder = TableEncoder().fit(table)
    X = encoder.transform(table)
    kmeans = methods.cluster(X, 2, methods=methods.METHODS[:1])["k-means"]
    for labels, said in [(table["days"] == -1, True), (table["age"] > 40, False)]:
        found = {"k-means": replace(kmeans, labels=labels.to_numpy(int)[None])}
        doubts = summary.caveats(clear().head(1), 2, 90, found=found, X=X)
        assert ["'days'" in doubt for doubt in doubts] == [True] * said


def test_confidence_is_doubted_where_seeds_disagree(planted, found):
    X = planted[0]
    sure = replace(found["k-means"].method, confidence=lambda estimator, X: np.ones(len(X)))
    idc = replace(found["IDC"], method=sure)
    said = clear(**{"seeds agree": 0.02})
    doubts = summary.caveats(said, 2, N_ROWS, found={**found, "IDC": idc}, X=X)
    assert any("agreement 0.02" in d and "confidence of 1.00" in d for d in doubts)


def test_noise_is_doubted():
    X = pd.DataFrame(np.random.default_rng(0).normal(size=(300, 8))).add_prefix("x")
    found = methods.cluster(X, 3, [0, 1], methods.METHODS[:1])
    doubts = summary.caveats(summary.summarise(found, X), 3, 300)
    assert any("no substantial structure" in doubt for doubt in doubts)


def test_collapsed_clustering_has_no_silhouette(planted, found):
    collapsed = replace(found["k-means"], labels=np.zeros((1, N_ROWS), int))
    assert np.isnan(summary.seed_silhouettes(collapsed, planted[0])).all()


def test_explanation_table_is_tidy_and_complete(planted, found):
    source = [name[:6] for name in planted[0]]
    table = summary.explanation_table(found, source, [0, 5], np.arange(N_ROWS) + 1)
    assert len(table) == len(found) * (1 + 3 + 2) * planted[0].shape[1]
    row = table.query("method == 'k-means' and level == 'row' and which == 6")
    assert row["value"].to_numpy() == pytest.approx(found["k-means"].explanation.sample[5])
    assert row["source column"].tolist() == source


def test_telling_rows_are_the_surest_the_most_doubtful_and_a_dispute(planted, found):
    kmeans = found["k-means"]
    labels = kmeans.labels.copy()
    labels[0, [3, 300]] = 2
    other = replace(kmeans, labels=labels)
    sure = kmeans.confidence(planted[0])
    rows = summary.telling_rows(kmeans, other, planted[0])
    assert rows["clearest"] == sure.argmax()
    assert rows["most doubtful"] == sure.argmin()
    assert rows["clearest in dispute"] == max([3, 300], key=lambda row: sure[row])
    assert "clearest in dispute" not in summary.telling_rows(kmeans, kmeans, planted[0])


def test_reasons_stand_beside_values_and_profile():
    table = pd.DataFrame({"age": [20.5, 60.5, 61.5], "colour": ["red", "blue", "blue"]})
    encoder = TableEncoder().fit(table)
    profile = encoder.profile(table, [1, 0, 0])
    sample = np.array([[1.0, 3.0], [0, 0], [0, 0]])
    why = Explanation(sample, sample[:2], sample[0], encoder.used_, "contribution")
    reasons = summary.reasons(why, table, profile, row=0, k=2)
    assert reasons.index.tolist() == ["colour", "age"]
    assert reasons["this row"].tolist() == ["red", 20.5]
    assert reasons["cluster 0"].tolist() == ["blue 100%", "61"]
    assert reasons["contribution"].tolist() == [3.0, 1.0]


def test_a_method_that_explains_no_rows_has_none_in_the_table(planted, found):
    why = found["k-means"].explanation
    coarse = replace(why, sample=None)
    kinds = {"k-means": replace(found["k-means"], explanation=coarse)}
    source = list(planted[0])
    table = summary.explanation_table(kinds, source, [0, 5], np.arange(N_ROWS) + 1)
    assert table["level"].unique().tolist() == ["overall", "cluster"]
    assert len(table) == (1 + 3) * len(source)
    with pytest.raises(ValueError, match="has no rows"):
        summary.reasons(coarse, planted[0], planted[0].T, row=0)


def test_no_seed_is_an_error(planted):
    with pytest.raises(ValueError, match="seeds is empty"):
        methods.cluster(planted[0], 3, [])


def test_example_table_has_three_clusters(tmp_path):
    table = read(write_example(tmp_path / "wines.csv")).drop(columns="cultivar")
    X = TableEncoder().fit_transform(table)
    assert methods.score_n_clusters(X).idxmax() == 3
