"""Plots return their Axes, label them, name real features and leave nothing behind."""

import importlib
import inspect
import pkgutil

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex, to_rgb

from whycluster import plots

RNG = np.random.default_rng(0)
NAMES = ["petal width", "petal length", "cost in $", "<b>"]
GATES = np.array([[1, 0.5, 0.25, 0], [0, 0.5, 0.75, 0]])
HIERARCHY = np.array([[0, 1, 0.1, 2], [2, 3, 0.2, 2], [4, 5, 0.9, 4]])

DRAWINGS = {
    "embedding": lambda ax: plots.embedding(RNG.normal(size=(9, 2)), [0, 1, -1] * 3, ax=ax),
    "gates": lambda ax: plots.gates(GATES, NAMES, ax=ax),
    "top_features": lambda ax: plots.top_features(GATES, NAMES, ax=ax),
    "faithfulness_curve": lambda ax: plots.faithfulness_curve([3, 2], [1, 2], baseline=2, ax=ax),
    "history": lambda ax: plots.history({"loss": [3, 2, 1]}, ax=ax),
    "image_gates": lambda ax: plots.image_gates(GATES, (2, 2), ax=ax),
    "seed_scores": lambda ax: plots.seed_scores({"IDC": [1, 2]}, {"IDC": 3}, ax=ax),
    "score_matrix": lambda ax: plots.score_matrix([[0.5, np.nan]], ["a"], ["b", "c"], ax=ax),
    "compare_importance": lambda ax: plots.compare_importance({"IMN": GATES[0]}, NAMES, ax=ax),
    "tree": lambda ax: plots.tree([-1, 0, 0], ["a ≤ 1", "", ""], [-1, 0, 1], [9, 4, 5], ax=ax),
    "shape_function": lambda ax: plots.shape_function(
        [0, 1, 3], [[1, -1], [0, 0], [-2, 2]], [0.2, 0.5, 0.3], "petal width", ax=ax
    ),
    "pair_shape": lambda ax: plots.pair_shape(
        [0, 1, 3], [0, 1], [[1, -1], [0, 0], [-2, 2]], NAMES[:2], density=np.eye(3, 2), ax=ax
    ),
    "cost_ratio": lambda ax: plots.cost_ratio({"iris": [2, 1.1]}, [1, 2], ax=ax),
    "reliability": lambda ax: plots.reliability({"IMN": ([0.1, 0.9], [0.2, 0.7])}, ax=ax),
    "silhouette_over_k": lambda ax: plots.silhouette_over_k([2, 3], [0.1, 0.2], ax=ax),
    "dendrogram": lambda ax: plots.dendrogram(HIERARCHY, [0, 0, 1, 1], ax=ax),
    "cluster_profile": lambda ax: plots.cluster_profile(GATES, GATES.astype(str), NAMES, ax=ax),
    "embedding_3d": lambda ax: plots.embedding_3d(np.eye(3), [0, 1, -1], ax=ax),
    "stacked_counts": lambda ax: plots.stacked_counts(pd.DataFrame({"hit": [3, 1]}), ax=ax),
    "learning_curve": lambda ax: plots.learning_curve([10, 100], {"test": [0.5, 0.7]}, ax=ax),
    "over_epochs": lambda ax: plots.over_epochs({"DEC": [[3, 2]]}, interventions=[1], ax=ax),
    "voronoi": lambda ax: plots.voronoi(RNG.normal(size=(9, 2)), np.eye(2), [0, 1, 1] * 3, ax=ax),
    "uncertainty": lambda ax: plots.uncertainty(RNG.normal(size=(9, 2)), [0, 0.5, 1] * 3, ax=ax),
}


@pytest.fixture(autouse=True)
def _close():
    plt.close("all")
    yield
    plt.close("all")


def texts(artists):
    return [artist.get_text() for artist in artists]


def test_every_public_drawing_is_tested():
    names = {module.name for module in pkgutil.iter_modules(plots.__path__)} - {"style"}
    modules = [importlib.import_module(f"{plots.__name__}.{name}") for name in names]
    own = ((n, f) for m in modules for n, f in vars(m).items() if inspect.getmodule(f) is m)
    public = {name for name, _ in own if name[0] != "_"}
    assert public == set(DRAWINGS)
    assert public | {"cluster_colours"} == set(filter(str.islower, plots.__all__))


@pytest.mark.parametrize("name", DRAWINGS)
def test_the_given_axes_come_back_and_no_figure_is_made(name):
    projection = "3d" if name.endswith("_3d") else None
    figure, ax = plt.subplots(subplot_kw={"projection": projection})
    assert DRAWINGS[name](ax) is ax
    figure.canvas.draw()
    assert plt.get_fignums() == [figure.number]


@pytest.mark.parametrize("name", DRAWINGS)
def test_one_figure_is_made_where_none_is_given_and_settings_stay(name):
    before = dict(mpl.rcParams)
    ax = DRAWINGS[name](None)
    ax.figure.canvas.draw()
    assert plt.get_fignums() == [ax.figure.number]
    assert dict(mpl.rcParams) == before


@pytest.mark.parametrize("name", sorted(set(DRAWINGS) - {"image_gates", "tree"}))
def test_axes_are_labelled(name):
    ax = DRAWINGS[name](None)
    assert ax.get_xlabel()
    assert ax.get_ylabel() or any(texts(ax.get_yticklabels()))


def test_axis_labels_carry_units():
    assert DRAWINGS["silhouette_over_k"](None).get_ylabel() == "mean silhouette (-1 to 1)"
    assert DRAWINGS["seed_scores"](None).get_xlabel() == "ACC (%)"
    assert DRAWINGS["history"](None).get_xlabel() == "epoch"


class TestColours:
    def test_a_cluster_keeps_its_colour(self):
        assert plots.cluster_colours(3) == plots.cluster_colours(40)[:3]
        assert plots.cluster_colours(0) == []

    def test_forty_clusters_have_forty_colours(self):
        assert len(set(plots.cluster_colours(40))) == 40

    def test_every_colour_stands_out_from_white(self):
        for colour in plots.cluster_colours(40):
            red, green, blue = to_rgb(colour)
            assert 0.2126 * red + 0.7152 * green + 0.0722 * blue < 0.8, colour

    def test_figures_share_them(self):
        bars = DRAWINGS["top_features"](None).patches
        assert to_hex(bars[0].get_facecolor()) == plots.cluster_colours(1)[0]
        ticks = DRAWINGS["gates"](None).get_yticklabels()
        assert [tick.get_color() for tick in ticks] == plots.cluster_colours(2)


class TestFeatureNames:
    def test_heat_map_shows_the_strongest_under_their_names(self):
        ax = plots.gates(GATES, NAMES, max_features=2)
        assert texts(ax.get_xticklabels()) == ["petal width", r"cost in \$"]
        assert ax.get_xlabel() == "feature (2 strongest shown)"

    def test_bars_are_ordered_within_each_cluster(self):
        ax = plots.top_features(GATES, NAMES, k=2)
        names = texts(ax.get_yticklabels())
        assert names == ["petal width", "petal length", r"cost in \$", "petal length"]
        assert [bar.get_width() for bar in ax.patches] == [1, 0.5, 0.75, 0.5]

    def test_a_dollar_or_an_endless_name_draws(self):
        ax = plots.gates(GATES, ["$x^{", "y" * 100_000, "z", "w"])
        ax.figure.canvas.draw()
        assert max(map(len, texts(ax.get_xticklabels()))) <= plots.NAME_LENGTH + 1

    def test_names_must_fit(self):
        with pytest.raises(ValueError, match="2 feature names for 4 features"):
            plots.gates(GATES, ["a", "b"])
        with pytest.raises(ValueError, match="2 feature names for 4 features"):
            plots.top_features(GATES, ["a", "b"])


class TestScales:
    def test_gates_span_zero_to_one(self):
        assert plots.gates(GATES / 2, NAMES).collections[0].get_clim() == (0, 1)
        assert plots.gates(GATES / 2, NAMES, vmax=None).collections[0].get_clim() == (0, 0.5)

    def test_larger_values_are_not_clipped(self):
        assert plots.gates(3 * GATES, NAMES).collections[0].get_clim() == (0, 3)

    def test_signed_values_are_centred_on_zero(self):
        assert plots.gates(GATES - 0.25, NAMES).collections[0].get_clim() == (-0.75, 0.75)

    def test_all_closed_gates_draw(self):
        plots.gates(0 * GATES, NAMES, vmax=None).figure.canvas.draw()


def test_embedding_counts_the_rows_of_each_cluster():
    ax = plots.embedding(np.zeros((5, 2)), [0, 0, 2, 2, -1])
    legend = texts(ax.get_legend().get_texts())
    assert legend == ["no cluster (1)", "cluster 0 (2)", "cluster 2 (2)"]
    with pytest.raises(ValueError, match="give two columns and one label per point"):
        plots.embedding(np.zeros((5, 3)), [0] * 5)


def test_embedding_names_classes_after_their_levels():
    ax = plots.embedding(np.zeros((3, 2)), [0, 1, 1], names=["$ setosa", 7])
    assert texts(ax.get_legend().get_texts()) == [r"\$ setosa (1)", "7 (2)"]
    with pytest.raises(ValueError, match="1 names for labels up to 1"):
        plots.embedding(np.zeros((3, 2)), [0, 1, 1], names=["setosa"])


def test_history_takes_epochs_or_curves_and_many_models():
    by_epoch = plots.history([{"a": 3, "b": 1}, {"a": 2}])
    assert [line.get_ydata().tolist() for line in by_epoch.lines] == [[3, 2], [1]]
    assert texts(by_epoch.get_legend().get_texts()) == ["a", "b"]
    many = plots.history({"a": np.ones((4, 3))}, log=True)
    assert len(many.lines) == 3
    assert texts(many.get_legend().get_texts()) == ["a"]
    with pytest.raises(ValueError, match="history is empty"):
        plots.history([])
    with pytest.raises(ValueError, match="not positive; draw them with log=False"):
        plots.history({"a": [1, 0]}, log=True)


def test_images_are_titled_and_keep_their_pixels():
    ax = plots.image_gates(GATES, (2, 2))
    assert texts(ax.texts) == ["cluster 0", "cluster 1"]
    assert ax.images[1].get_array().tolist() == [[0, 0.5], [0.75, 0]]
    with pytest.raises(ValueError, match=r"does not hold images of shape \(3, 3\)"):
        plots.image_gates(GATES, (3, 3))
    with pytest.raises(ValueError, match="1 titles for 2 images"):
        plots.image_gates(GATES, (2, 2), titles=["a"])


def test_seed_scores_draw_every_seed_and_the_published_value():
    ax = plots.seed_scores({"A": [1, 2, 3], "B": [4, 4]}, {"B": 5})
    assert ax.collections[0].get_offsets()[:, 0].tolist() == [1, 2, 3, 4, 4]
    assert ax.collections[-1].get_offsets().tolist() == [[5, 1]]
    assert texts(ax.get_legend().get_texts()) == ["one seed", "mean", "published"]
    ax = plots.seed_scores({"A": [1.0, 2.0]}, dot_name="one table")
    assert texts(ax.get_legend().get_texts()) == ["one table", "mean"]
    with pytest.raises(ValueError, match="published value without scores: C"):
        plots.seed_scores({"A": [1]}, {"C": 1})


TREE = (
    [-1, 0, 1, 1, 0],
    ["cost in $ ≤ 1", "b ≤ 2", "", "", ""],
    [-1, -1, 1, 0, 1],
    [9, 5, 2, 3, 4],
)


def test_a_tree_shows_questions_leaves_and_rows_from_left_to_right():
    ax = plots.tree(*TREE)
    ax.figure.canvas.draw()
    assert texts(ax.texts)[0] == r"cost in \$ ≤ 1?"
    leaves = sorted((t.get_position()[0], t.get_text()) for t in ax.texts if "rows" in t.get_text())
    expected = ["cluster 1\n2 rows", "cluster 0\n3 rows", "cluster 1\n4 rows"]
    assert [text for _, text in leaves] == expected
    assert [x for x, _ in leaves] == [0, 1, 2]


def test_a_tree_is_cut_below_the_depth_asked_for():
    ax = plots.tree(*TREE, max_depth=1)
    assert [t for t in texts(ax.texts) if "rows" in t] == ["…\n5 rows", "cluster 1\n4 rows"]


def test_silhouette_marks_the_choice():
    best = plots.silhouette_over_k([2, 3, 4], [0.1, 0.3, 0.2])
    assert texts(best.texts) == ["3 clusters: 0.30"]
    assert texts(plots.silhouette_over_k([2, 3], [0.1, 0.2], chosen=2).texts) == [
        "2 clusters: 0.10"
    ]
    with pytest.raises(ValueError, match="5 clusters were not tried"):
        plots.silhouette_over_k([2, 3], [0.1, 0.2], chosen=5)


def test_silhouette_shows_the_least_accepted():
    ax = plots.silhouette_over_k([2, 3], [0.1, 0.2], minimum=0.25)
    assert ax.lines[-1].get_ydata() == [0.25, 0.25]
    assert texts(ax.get_legend().get_texts()) == ["least accepted"]


def test_points_in_space_are_counted_and_need_room():
    ax = DRAWINGS["embedding_3d"](None)
    assert texts(ax.get_legend().get_texts()) == [
        "no cluster (1)",
        "cluster 0 (1)",
        "cluster 1 (1)",
    ]
    assert ax.get_zlabel() == "component 3"
    with pytest.raises(ValueError, match="ax is flat; make it with projection='3d'"):
        plots.embedding_3d(np.eye(3), [0, 1, 1], ax=plt.subplots()[1])
    with pytest.raises(ValueError, match="give three columns"):
        plots.embedding_3d(np.zeros((5, 2)), [0] * 5)


def test_branches_have_the_colour_of_their_cluster_mixed_ones_none():
    ax = plots.dendrogram(HIERARCHY, [0, 0, 1, 1])
    drawn = {to_hex(c.get_edgecolor()[0]): len(c.get_paths()) for c in ax.collections}
    assert drawn == dict.fromkeys([*plots.cluster_colours(2), plots.NEUTRAL], 1)
    ticks = {t.get_text(): t.get_color() for t in ax.get_xticklabels()}
    blue, orange = plots.cluster_colours(2)
    assert ticks == {"0": blue, "1": blue, "2": orange, "3": orange}
    cut = plots.dendrogram(HIERARCHY, [0, 0, 0, 1], max_leaves=2).get_xticklabels()
    assert [(t.get_text(), t.get_color()) for t in cut] == [("(2)", blue), ("(2)", plots.NEUTRAL)]
    with pytest.raises(ValueError, match=r"a tree of 4 rows and labels of shape \(3,\)"):
        plots.dendrogram(HIERARCHY, [0, 0, 1])


def test_profile_shows_what_matters_first_in_words():
    words = np.array([["a", "b", "c", "d"], ["e", "f", "g", "h"]])
    ax = plots.cluster_profile(GATES, words, NAMES, max_features=2)
    assert texts(ax.get_yticklabels()) == ["petal width", r"cost in \$"]
    assert texts(ax.texts) == ["a", "e", "c", "g"]
    assert texts(ax.get_xticklabels()) == ["cluster 0", "cluster 1"]
    with pytest.raises(ValueError, match=r"texts have shape \(2, 3\) and values \(2, 4\)"):
        plots.cluster_profile(GATES, words[:, :3], NAMES)


def test_faithfulness_curve_refuses_unequal_lengths():
    with pytest.raises(ValueError, match=r"importance has shape \(2,\) and score \(1,\)"):
        plots.faithfulness_curve([1, 2], [1])


class TestClusteringInThePlane:
    def test_the_mean_over_seeds_is_drawn_and_interventions_are_marked_once(self):
        ax = plots.over_epochs({"DEC": [[1, 3], [5, 7]]}, interventions=[1, 2], score_name="ARI")
        (curve,) = [line for line in ax.lines if line.get_label() == "DEC"]
        assert list(curve.get_ydata()) == [2, 6]
        marks = [line.get_xdata()[0] for line in ax.lines if line is not curve]
        assert marks == [1.5, 2.5]
        assert texts(ax.get_legend().get_texts()) == ["intervention", "DEC"]
        assert ax.get_ylabel() == "ARI"

    def test_regions_belong_to_the_nearest_centre(self):
        ax = plots.voronoi([[0, 0], [9, 0]], [[0, 0], [8, 0]], [0, 1])
        mesh = ax.collections[-2]
        region = mesh.get_array().reshape(240, 240)[0]
        assert set(region) == {0, 1}
        assert np.abs(np.diff(region)).sum() == 1
        x = np.linspace(-0.45, 9.45, 240)
        assert x[region.argmax()] == pytest.approx(4, abs=0.05)

    def test_doubt_is_drawn_dark_on_top(self):
        ax = plots.uncertainty([[0, 0], [1, 1], [2, 2]], [0.9, 0.1, 0.5])
        dots = ax.collections[0]
        assert dots.get_array().tolist() == [0.1, 0.5, 0.9]
        assert dots.get_offsets().tolist() == [[1, 1], [2, 2], [0, 0]]

    @pytest.mark.parametrize(
        ("draw", "message"),
        [
            (lambda: plots.voronoi([[0, 0]], [[0, 0, 0]], [0]), "centres have shape"),
            (lambda: plots.uncertainty([[0, 0]], [0.1, 0.2]), "points have shape"),
            (lambda: plots.uncertainty([[0, 0]], [1.5]), "doubt runs from 1.5 to 1.5"),
            (lambda: plots.over_epochs({}), "history is empty"),
        ],
    )
    def test_what_cannot_be_drawn_is_refused(self, draw, message):
        with pytest.raises(ValueError, match=message):
            draw()


def test_stacked_counts_end_where_the_sum_of_the_line_is():
    table = pd.DataFrame({"hit": [3, 1], "miss": [2, 0]}, index=["a", "b"])
    ax = plots.stacked_counts(table)
    assert [bar.get_x() + bar.get_width() for bar in ax.containers[1]] == [5, 1]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["hit", "miss"]
    with pytest.raises(ValueError, match="counts hold -1"):
        plots.stacked_counts(-table.loc[["b"]])


def test_a_learning_curve_has_a_point_per_size():
    ax = plots.learning_curve([10, 100], {"test": [0.5, 0.7]}, published=0.8)
    assert [text.get_text() for text in ax.get_xticklabels()] == ["10", "100"]
    curve, line = ax.get_lines()
    assert list(curve.get_ydata()) == [0.5, 0.7]
    assert set(line.get_ydata()) == {0.8}
    with pytest.raises(ValueError, match="1 scores of 'test' for 2 sizes"):
        plots.learning_curve([10, 100], {"test": [0.5]})


def test_reliability_stands_beside_the_diagonal():
    ax = plots.reliability({"IMN": ([0.1, 0.9], [0.2, 0.7])})
    diagonal, curve = ax.get_lines()
    assert list(diagonal.get_xdata()) == list(diagonal.get_ydata()) == [0, 1]
    np.testing.assert_array_equal(curve.get_xydata(), [[0.1, 0.2], [0.9, 0.7]])
    with pytest.raises(ValueError, match="IMN: 1 probabilities, 2 frequencies"):
        plots.reliability({"IMN": ([0.1], [0.2, 0.7])})
    with pytest.raises(ValueError, match=r"IMN runs from -1 to 0\.5"):
        plots.reliability({"IMN": ([-1, 0.5], [0.2, 0.7])})


class TestShapes:
    def test_each_cluster_has_its_line_and_the_density_stays_below(self):
        ax = DRAWINGS["shape_function"](None)
        lines = {line.get_label(): line for line in ax.lines}
        colours = [lines[f"cluster {k}"].get_color() for k in range(2)]
        assert colours == plots.cluster_colours(2)
        np.testing.assert_array_equal(lines["cluster 1"].get_ydata(), [-1, 0, 2])
        (below,) = (other for other in ax.figure.axes if other is not ax)
        heights = [bar.get_height() for bar in below.patches]
        assert heights == [0.2, 0.5, 0.3]
        assert below.get_ylim()[1] == 2.5

    def test_of_many_clusters_those_that_a_feature_moves_most_are_named(self):
        contributions = np.outer([-1, 0, 1], np.arange(26))
        ax = plots.shape_function([0, 1, 3], contributions, [0.2, 0.5, 0.3])
        named = [f"cluster {k}" for k in range(16, 26)]
        assert texts(ax.get_legend().get_texts()) == [*named, "16 others"]
        lines = {line.get_label(): line.get_color() for line in ax.lines}
        assert [lines[name] for name in named] == plots.cluster_colours(26)[16:]

    def test_pairs_without_rows_are_blank(self):
        ax = DRAWINGS["pair_shape"](None)
        shown = ax.collections[0].get_array()
        np.testing.assert_array_equal(shown.mask, np.eye(3, 2).T == 0)
        assert (ax.get_xlabel(), ax.get_ylabel()) == ("petal width", "petal length")

    def test_arrays_that_do_not_fit_are_refused(self):
        with pytest.raises(ValueError, match="2 values, contributions of shape"):
            plots.shape_function([0, 1], [[1, 2]], [0.5, 0.5])
        with pytest.raises(ValueError, match=r"shape \(1, 2\) for 2 and 2 values"):
            plots.pair_shape([0, 1], [0, 1], [[1, 2]], ("a", "b"))
        with pytest.raises(ValueError, match="1 ratios of iris for 2 numbers"):
            plots.cost_ratio({"iris": [1]}, [1, 2])


def test_a_long_legend_stands_in_columns():
    points = RNG.normal(size=(40, 2))
    short, long = (plots.embedding(points, np.arange(40) % n).get_legend() for n in (20, 26))
    assert (short._ncols, long._ncols) == (1, 2)


def test_a_score_matrix_writes_its_numbers_and_leaves_gaps_blank():
    ax = plots.score_matrix([[0.512, np.nan], [0.9, 0.7]], ["whole", "a"], ["b", "c"])
    assert texts(ax.texts) == ["0.51", "0.90", "0.70"]
    assert texts(ax.get_yticklabels()) == ["whole", "a"]
    with pytest.raises(ValueError, match=r"shape \(1, 2\) for 1 rows and 1 columns"):
        plots.score_matrix([[1, 2]], ["a"], ["b"])


def test_importances_are_compared_as_shares_of_their_totals():
    ax = plots.compare_importance({"IMN": [1, 0, 3, 0], "SHAP": [20, 20, 60, 100]}, NAMES, k=2)
    imn, shap = (points.get_offsets()[:, 0] for points in ax.collections[1:])
    np.testing.assert_allclose(imn, [0.75, 0.25])
    np.testing.assert_allclose(shap, [0.3, 0.1])
    assert texts(ax.get_yticklabels()) == [r"cost in \$", "petal width"]


@pytest.mark.parametrize(
    ("values", "message"),
    [([1, 2], "4 feature names"), ([1, -1, 0, 0], "at least 0"), ([0] * 4, "not all 0")],
)
def test_importances_that_cannot_be_shares_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        plots.compare_importance({"IMN": values}, NAMES)
