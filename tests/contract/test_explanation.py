"""Explanation: shapes, tables, text, and what it refuses."""

import re
from html.parser import HTMLParser

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from whycluster.contract.explanation import Explanation

NAMES = ["age", "income", "height"]
SAMPLE = np.array([[1.0, 0.0, 0.5], [0.5, 0.0, 0.0], [0.0, 0.25, 0.0]])


@pytest.fixture
def gates():
    return Explanation.from_samples(SAMPLE, [0, 0, 1], 2, NAMES)


class TestFromSamples:
    def test_gates_are_averaged(self, gates):
        assert gates.cluster.tolist() == [[0.75, 0, 0.25], [0, 0.25, 0]]
        np.testing.assert_allclose(gates.overall, [0.5, 0.25 / 3, 0.5 / 3])

    def test_contributions_are_averaged_by_magnitude(self):
        signed = Explanation.from_samples([[2, -1], [-2, -1]], [0, 0], 1, kind="contribution")
        assert signed.cluster.tolist() == [[2, 1]]
        assert signed.overall.tolist() == [2, 1]
        assert signed.sample.tolist() == [[2, -1], [-2, -1]]

    def test_cluster_without_rows_is_zero_and_said(self):
        with pytest.warns(UserWarning, match="clusters without rows are explained by zeros: 1, 3"):
            why = Explanation.from_samples(SAMPLE, [0, 0, 2], 4, NAMES)
        assert why.cluster[[1, 3]].tolist() == [[0, 0, 0]] * 2
        assert "cluster 1: no feature" in str(why)

    def test_rows_without_a_cluster_count_overall_only(self):
        why = Explanation.from_samples(SAMPLE, [0, -1, -1], 1, NAMES)
        assert why.cluster.tolist() == [[1, 0, 0.5]]
        assert why.overall[0] == 0.5

    @pytest.mark.parametrize(
        ("labels", "message"),
        [
            ([0, 0], r"labels have shape \(2,\)"),
            ([0.0, 0.0, 1.0], "type float64; give one integer for each of the 3 rows"),
            ([0, 0, 2], "label 2 is outside 0 to 1"),
            ([0, 0, -2], "label -2 is outside 0 to 1"),
        ],
    )
    def test_bad_labels_are_named(self, labels, message):
        with pytest.raises(ValueError, match=message):
            Explanation.from_samples(SAMPLE, labels, 2, NAMES)


class TestChecks:
    @pytest.mark.parametrize(
        ("fields", "message"),
        [
            (dict(kind="saliency"), "kind is 'saliency'; choose one of gate, contribution"),
            (dict(overall=[0.5] * 2), "overall has 2 features and cluster has 3"),
            (dict(sample=[[0.5] * 2]), "sample has 2 features and cluster has 3"),
            (dict(cluster=[0.5] * 3), r"cluster has shape \(3,\); expected 2 non-empty dimensions"),
            (dict(cluster=np.empty((0, 3))), "expected 2 non-empty dimensions"),
            (dict(cluster=[[0, np.nan, 0]]), r"cluster is not finite at \(0, 1\)"),
            (dict(overall=[0, 0, 1.5]), r"overall holds a gate of 1\.5; gates lie in \[0, 1\]"),
            (dict(feature_names=["a"]), "1 feature names for 3 features"),
            (dict(feature_names=["a", "b", "a"]), "feature name 'a' is repeated"),
        ],
    )
    def test_bad_fields_are_named_in_one_line(self, fields, message):
        good = dict(sample=SAMPLE, cluster=SAMPLE, overall=SAMPLE[0], feature_names=NAMES)
        with pytest.raises(ValueError, match=message) as error:
            Explanation(**{**good, "kind": "gate", **fields})
        assert "\n" not in str(error.value)

    def test_it_is_immutable_and_owns_its_arrays(self):
        cluster = SAMPLE.copy()
        why = Explanation(None, cluster, [0, 0, 0], None, "gate")
        cluster[0, 0] = 0.125
        assert why.cluster[0, 0] == 1
        with pytest.raises(ValueError, match="read-only"):
            why.cluster[0, 0] = 0
        with pytest.raises(AttributeError):
            why.kind = "attribution"

    def test_default_names_follow_scikit_learn(self):
        why = Explanation(None, SAMPLE, SAMPLE[0], None, "gate")
        assert why.feature_names == ("x0", "x1", "x2")
        assert (why.n_clusters, why.n_features) == (3, 3)

    def test_single_precision_is_kept(self):
        assert (
            Explanation(SAMPLE.astype("f4"), SAMPLE, SAMPLE[0], None, "gate").sample.dtype == "f4"
        )


class TestTables:
    def test_frames_carry_names(self, gates):
        assert gates.to_frame("sample").shape == (3, 3)
        cluster = gates.to_frame()
        assert list(cluster.columns) == NAMES
        assert cluster.loc[1, "income"] == 0.25
        assert cluster.index.name == "cluster"

    def test_overall_is_sorted(self, gates):
        overall = gates.to_frame("overall")
        assert list(overall.index) == ["age", "height", "income"]
        assert list(overall.columns) == ["gate"]

    def test_top_is_tidy_and_ranked(self, gates):
        expected = pd.DataFrame(
            {
                "cluster": [0, 0, 1, 1],
                "rank": [1, 2, 1, 2],
                "feature": ["age", "height", "income", "age"],
                "value": [0.75, 0.25, 0.25, 0.0],
            }
        )
        pd.testing.assert_frame_equal(gates.top(2), expected, check_dtype=False)

    def test_top_ranks_by_magnitude_and_keeps_the_sign(self):
        why = Explanation(None, [[1, -3, 2]], [1, -3, 2], NAMES, "contribution")
        top = why.top(2, "overall")
        assert list(top.columns) == ["rank", "feature", "value"]
        assert list(top["feature"]) == ["income", "height"]
        assert list(top["value"]) == [-3, 2]

    def test_top_of_rows_and_more_than_there_are(self, gates):
        top = gates.top(99, "sample")
        assert len(top) == 9
        assert list(top.columns) == ["row", "rank", "feature", "value"]

    def test_what_cannot_be_answered_is_said(self, gates):
        with pytest.raises(ValueError, match="k is 0; ask for at least 1 feature"):
            gates.top(0)
        with pytest.raises(ValueError, match="level is 'row'; choose one of sample, cluster"):
            gates.to_frame("row")
        without = Explanation(None, SAMPLE, SAMPLE[0], NAMES, "gate")
        with pytest.raises(ValueError, match="explains no single rows; use level='cluster'"):
            without.to_frame("sample")


class Text(HTMLParser):
    """Collects tags and text, as a browser would see them."""

    def __init__(self, source):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(source)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)

    def handle_data(self, data):
        self.text += data


class TestDisplay:
    def test_it_prints_its_interpretation(self, gates):
        assert str(gates).splitlines() == [
            "Explanation by gate: 3 rows, 2 clusters, 3 features",
            "  cluster 0: age 0.75, height 0.25",
            "  cluster 1: income 0.25",
            "  overall: age 0.50, height 0.17, income 0.083",
        ]

    def test_notebook_names_each_cluster_with_its_features(self, gates):
        page = Text(gates._repr_html_())
        assert page.tags.count("table") == 3
        assert re.search("cluster 0age0.75height0.25cluster 1income0.25", page.text)

    @pytest.mark.parametrize(
        ("value", "text"),
        [(0.5, "0.50"), (25, "25"), (1234.5, "1.23e+03"), (0.0001, "0.0001"), (-2, "-2.0")],
    )
    def test_numbers_are_short(self, value, text):
        why = Explanation(None, [[value]], [value], ["a"], "attribution")
        assert f"cluster 0: a {text}\n" in str(why)

    def test_names_are_escaped(self):
        names = ["<script>alert(1)</script>", "a & b", '"><img src=x>']
        page = Text(Explanation(None, SAMPLE, SAMPLE[0], names, "gate")._repr_html_())
        assert not {"script", "img"} & set(page.tags)
        assert "<script>alert(1)</script>" in page.text
        assert "a & b" in page.text

    def test_endless_names_are_cut_in_displays_only(self):
        names = ["x" * 100_000, "two\nlines", "c"]
        why = Explanation(None, SAMPLE, SAMPLE[0], names, "gate")
        assert len(str(why)) < 1000
        assert len(why._repr_html_()) < 10_000
        assert "two\nlines" not in str(why)
        assert why.to_frame().columns[0] == names[0]

    def test_many_clusters_end_in_a_pointer(self):
        why = Explanation(None, np.ones((30, 2)), [1, 1], None, "gate")
        assert str(why).splitlines()[-1] == "  and 10 more clusters: see to_frame()"
        assert "and 10 more clusters" in why._repr_html_()

    def test_plot_names_the_features(self, gates):
        ax = gates.plot(k=2)
        names = [text.get_text() for text in ax.get_xticklabels()]
        assert names == ["age", "income"]
        plt.close(ax.figure)
