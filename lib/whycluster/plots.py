"""Functions that take a matplotlib Axes and return it; one palette for all figures.

Arrays in, drawings out: nothing here knows an estimator. `ax=None` makes a figure of a size that
suits the content. Nothing is set globally: every drawing styles the Axes it was given.
"""

import colorsys
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, ListedColormap, TwoSlopeNorm
from scipy.cluster import hierarchy

# Blue, orange, green, vermilion, pink, sky after Okabe and Ito (2008); wine, olive, indigo, teal
# after Tol's muted scheme: told apart with any common colour vision, each legible on white.
PALETTE = (
    "#0072b2",
    "#e69f00",
    "#009e73",
    "#d55e00",
    "#cc79a7",
    "#56b4e9",
    "#882255",
    "#999933",
    "#332288",
    "#44aa99",
)
INK = "#1f2933"  # text
NEUTRAL = "#6b7280"  # what belongs to no cluster: totals, reference lines, noise
GRID = "#e5e7eb"
SEQUENTIAL = LinearSegmentedColormap.from_list(
    "whycluster_sequential", ["#f4f6f8", "#d7e8f3", "#7fb5d8", "#2a84bd", "#0b4f86", "#08264a"]
)
DIVERGING = LinearSegmentedColormap.from_list(
    "whycluster_diverging",
    ["#8c3800", "#d55e00", "#f6c9a8", "#ffffff", "#a9d0e8", "#0072b2", "#063f63"],
)
FONT = 9.0  # points
HEADING = {"fontsize": FONT, "weight": "bold"}
NAME_LENGTH = 32  # characters of a feature name that a tick label shows


def cluster_colours(n_clusters: int) -> list[str]:
    """Colours of clusters 0 to n_clusters - 1, as hex codes.

    Cluster k has the same colour however many clusters there are. The first ten can be told apart
    with any common colour vision; later ones continue around the hue circle.

    Parameters
    ----------
    n_clusters : int, at least 0
        How many.

    Returns
    -------
    list of str

    Examples
    --------
    >>> cluster_colours(2)
    ['#0072b2', '#e69f00']
    """
    return [PALETTE[k] if k < len(PALETTE) else _further_colour(k) for k in range(n_clusters)]


def embedding(
    points,
    labels,
    *,
    axis_names: Sequence[str] = ("component 1", "component 2"),
    ax: Axes | None = None,
) -> Axes:
    """Rows as points in the plane, coloured by cluster.

    Parameters
    ----------
    points : array-like of shape (n_samples, 2)
        Coordinates.
    labels : array-like of int of shape (n_samples,)
        Clusters from 0; -1 is drawn grey as "no cluster".
    axis_names : pair of str
        What the coordinates are, with unit.
    ax : Axes, optional
        Where to draw; a new figure where it is None.

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        Points that are not two columns, or not one integer label per point.
    """
    points, labels = np.asarray(points, dtype=float), np.asarray(labels)
    if points.ndim != 2 or points.shape[1] != 2 or labels.shape != points.shape[:1]:
        raise ValueError(
            f"points have shape {points.shape} and labels {labels.shape}; "
            "give two columns and one label per point"
        )
    ax = _axes(ax, 5.6, 4.4)
    _scatter_clusters(ax, points, labels)
    return _finish(ax, *axis_names, grid=None)


def embedding_3d(
    points,
    labels,
    *,
    axis_names: Sequence[str] = ("component 1", "component 2", "component 3"),
    ax: Axes | None = None,
) -> Axes:
    """Rows as points in space, coloured by cluster.

    Parameters
    ----------
    points : array-like of shape (n_samples, 3)
        Coordinates.
    labels : array-like of int of shape (n_samples,)
        Clusters from 0; -1 is drawn grey as "no cluster".
    axis_names : three str
        What the coordinates are, with unit.
    ax : Axes, optional
        One with `projection="3d"`; a new figure where it is None.

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        Points that are not three columns, not one integer label per point, or flat Axes.
    """
    points, labels = np.asarray(points, dtype=float), np.asarray(labels)
    if points.ndim != 2 or points.shape[1] != 3 or labels.shape != points.shape[:1]:
        raise ValueError(
            f"points have shape {points.shape} and labels {labels.shape}; "
            "give three columns and one label per point"
        )
    if ax is None:
        ax = plt.figure(figsize=(6.4, 4.8), dpi=110).add_subplot(projection="3d")
    if ax.name != "3d":
        raise ValueError("ax is flat; make it with projection='3d'")
    _scatter_clusters(ax, points, labels)
    for axis, name in zip("xyz", axis_names, strict=True):
        getattr(ax, f"set_{axis}label")(name, fontsize=FONT, color=INK)
        ax.tick_params(axis=axis, labelsize=FONT - 2, labelcolor=INK)
    return ax


def gates(
    matrix,
    feature_names: Sequence[str] | None = None,
    *,
    max_features: int = 30,
    label: str = "gate",
    vmax: float | None = 1.0,
    ax: Axes | None = None,
) -> Axes:
    """Explanations of clusters as a heat map: one line per cluster, one column per feature.

    Parameters
    ----------
    matrix : array-like of shape (n_clusters, n_features)
        Gates or other explanations. Negative values give a two-sided colour scale.
    feature_names : sequence of str, optional
        x0, x1, ... where it is None.
    max_features : int, at least 1, default=30
        Columns shown: those of largest absolute value in any cluster, in the order of the table.
    label : str, default="gate"
        What the values are, written at the colour bar.
    vmax : float or None, default=1
        Upper end of the colour scale, as for gates; None, or a larger value in the matrix, ends it
        at the largest.
    ax : Axes, optional
        Where to draw; a new figure where it is None.

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        Names that do not fit the matrix.
    """
    matrix, names = _matrix_and_names(matrix, feature_names)
    shown = np.sort(_strongest(np.abs(matrix).max(axis=0), max_features))
    matrix, names = matrix[:, shown], [_short(names[j]) for j in shown]
    n_clusters, n_shown = matrix.shape
    room = 0.05 * max(map(len, names))  # inches below the axis for slanted names
    height = np.clip(0.9 + 0.32 * n_clusters + room, 2, 9)
    ax = _axes(ax, np.clip(2.4 + 0.34 * n_shown, 4.2, 13), height)
    scale = _colour_scale(matrix, vmax)
    image = ax.pcolormesh(matrix, edgecolors="white", linewidth=1.2, **scale)
    ax.invert_yaxis()
    _colour_bar(ax, image, label)
    hidden = f" ({n_shown} strongest shown)" if n_shown == max_features else ""
    _finish(ax, f"feature{hidden}", "", grid=None, ticks="", frame=False)
    _feature_ticks(ax, names)
    _cluster_ticks(ax, n_clusters)
    return ax


def top_features(
    values,
    feature_names: Sequence[str] | None = None,
    *,
    k: int = 5,
    label: str = "gate",
    ax: Axes | None = None,
) -> Axes:
    """The strongest features as bars: one block per cluster, or one block overall.

    Parameters
    ----------
    values : array-like of shape (n_clusters, n_features) or (n_features,)
        Explanations; those of clusters are drawn in cluster colours, one overall in grey.
    feature_names : sequence of str, optional
        x0, x1, ... where it is None.
    k : int, at least 1, default=5
        Features of each block, by absolute value.
    label : str, default="gate"
        What the values are, written at the axis.
    ax : Axes, optional
        Where to draw; a new figure where it is None.

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        Names that do not fit the values.
    """
    is_overall = np.ndim(values) == 1
    matrix, names = _matrix_and_names(np.atleast_2d(np.asarray(values, dtype=float)), feature_names)
    blocks = [_strongest(np.abs(row), k) for row in matrix]
    height = len(blocks[0]) + 1  # bars of a block and the gap below it
    colours = [NEUTRAL] if is_overall else cluster_colours(len(matrix))
    ax = _axes(ax, 5.4, 0.8 + 0.21 * height * len(blocks))
    places = [block * height + np.arange(height - 1) for block in range(len(blocks))]
    beside = {"transform": ax.get_yaxis_transform(), "va": "center"}
    for block, (place, shown) in enumerate(zip(places, blocks, strict=True)):
        ax.barh(place, matrix[block, shown], height=0.72, color=colours[block])
        if not is_overall:
            title = f"cluster {block}"
            ax.text(1.02, place.mean(), title, color=colours[block], **beside, **HEADING)
    ticks = [_short(names[j]) for shown in blocks for j in shown]
    ax.set_yticks(np.concatenate(places), ticks)
    ax.set_ylim(len(blocks) * height - 1.4, -0.6)
    if matrix.min() < 0:
        ax.axvline(0, color=INK, linewidth=0.8)
    return _finish(ax, label, "", grid="x", ticks="x")


def faithfulness_curve(
    importance,
    score,
    *,
    baseline: float | None = None,
    score_name: str = "ACC",
    ax: Axes | None = None,
) -> Axes:
    """Score after each removal against the importance of the feature removed.

    Left panel of Fig. 3 of Svirsky and Lindenbaum (2024): a faithful explanation gives points
    that rise to the right.

    Parameters
    ----------
    importance, score : array-like of shape (n_removed,)
        As in `whycluster.metrics.Removal`, in the order of removal.
    baseline : float, optional
        Score with all features, drawn as a dashed line.
    score_name : str, default="ACC"
        Name of the score, with unit.
    ax : Axes, optional
        Where to draw; a new figure where it is None.

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        Unequal lengths.
    """
    importance, score = np.asarray(importance, dtype=float), np.asarray(score, dtype=float)
    if importance.shape != score.shape or importance.ndim != 1:
        raise ValueError(f"importance has shape {importance.shape} and score {score.shape}")
    ax = _axes(ax, 5.2, 3.6)
    ax.plot(importance, score, color=PALETTE[0], linewidth=0.9, alpha=0.45)
    ax.scatter(
        importance,
        score,
        s=18,
        color=PALETTE[0],
        linewidths=0,
        label="one feature removed",
        zorder=3,
    )
    if baseline is not None:
        ax.axhline(
            baseline, color=NEUTRAL, linewidth=1, linestyle="--", label="all features present"
        )
    _legend(ax, outside=False)
    return _finish(ax, "importance of the feature removed", f"{score_name} after its removal")


def history(history, *, log: bool = False, ax: Axes | None = None) -> Axes:
    """Training curves: each loss over epochs.

    Parameters
    ----------
    history : mapping of str to array-like of shape (n_epochs,) or (n_epochs, n_models)
        Or a sequence of one mapping of names to values per epoch. Several models are drawn as
        thin lines of one colour.
    log : bool, default=False
        Draw the losses on a logarithmic axis; they must be positive.
    ax : Axes, optional
        Where to draw; a new figure where it is None.

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        Nothing to draw, or losses that are not positive on a logarithmic axis.
    """
    curves = _curves(history)
    if log and min(curve.min() for curve in curves.values()) <= 0:
        raise ValueError("some losses are not positive; draw them with log=False")
    ax = _axes(ax, 5.8, 3.6)
    for (name, curve), colour in zip(curves.items(), cluster_colours(len(curves)), strict=True):
        epochs = np.arange(1, len(curve) + 1)
        many = curve.shape[1] > 1
        lines = ax.plot(
            epochs, curve, color=colour, linewidth=0.9 if many else 1.6, alpha=0.6 if many else 1
        )
        lines[0].set_label(name)
    if log:
        ax.set_yscale("log")
    _legend(ax)
    return _finish(ax, "epoch", "loss per row")


def image_gates(
    matrix,
    shape: tuple[int, int],
    *,
    titles: Sequence[str] | None = None,
    n_columns: int = 5,
    label: str = "gate",
    vmax: float | None = 1.0,
    ax: Axes | None = None,
) -> Axes:
    """Explanations of image data, each drawn as an image, side by side.

    Parameters
    ----------
    matrix : array-like of shape (n_images, height * width)
        One explanation per cluster or per row.
    shape : pair of int
        Height and width of an image, in pixels.
    titles : sequence of str, optional
        Above each image; "cluster 0", "cluster 1", ... in cluster colours where it is None.
    n_columns : int, at least 1, default=5
        Images side by side.
    label : str, default="gate"
        What the values are, written at the colour bar.
    vmax : float or None, default=1
        Upper end of the colour scale, as for gates; None, or a larger value in the matrix, ends it
        at the largest.
    ax : Axes, optional
        Where to draw; a new figure where it is None.

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        A shape or titles that do not fit the matrix.
    """
    matrix = np.asarray(matrix, dtype=float)
    height, width = shape
    if matrix.ndim != 2 or matrix.shape[1] != height * width:
        raise ValueError(f"matrix of shape {matrix.shape} does not hold images of shape {shape}")
    if titles is not None and len(titles) != len(matrix):
        raise ValueError(f"{len(titles)} titles for {len(matrix)} images; give one for each")
    colours = cluster_colours(len(matrix)) if titles is None else [INK] * len(matrix)
    titles = [f"cluster {k}" for k in range(len(matrix))] if titles is None else titles
    n_columns = min(n_columns, len(matrix))
    n_rows = -(-len(matrix) // n_columns)
    ax = _axes(ax, 1.35 * n_columns + 0.8, 1.55 * n_rows * height / width)
    scale = _colour_scale(matrix, vmax)
    gap, head = 0.08 * width, 0.24 * height
    for i, image in enumerate(matrix.reshape(-1, height, width)):
        left, top = (i % n_columns) * (width + gap), (i // n_columns) * (height + head)
        picture = _image(ax, image, left, top, scale)
        ax.text(left, top - 0.05 * height, titles[i], color=colours[i], **HEADING)
    ax.set_xlim(-0.02 * width, n_columns * (width + gap) - gap + 0.02 * width)
    ax.set_ylim(n_rows * (height + head) - head + 0.02 * height, -head)
    _colour_bar(ax, picture, label)
    ax.set_axis_off()
    return ax


def seed_scores(
    values: Mapping[str, Sequence[float]],
    published: Mapping[str, float] | None = None,
    *,
    score_name: str = "ACC (%)",
    ax: Axes | None = None,
) -> Axes:
    """Scores of every seed beside the published value.

    Parameters
    ----------
    values : mapping of str to sequence of float
        Scores of each seed, by data set or method.
    published : mapping of str to float, optional
        Published values of some of them.
    score_name : str, default="ACC (%)"
        Name of the score, with unit.
    ax : Axes, optional
        Where to draw; a new figure where it is None.

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        A published value of something that has no scores.
    """
    published = dict(published or {})
    if unknown := set(published) - set(values):
        raise ValueError(f"published value without scores: {', '.join(sorted(unknown))}")
    ax = _axes(ax, 5.8, 1.3 + 0.42 * len(values))
    scores = [np.asarray(seeds, dtype=float) for seeds in values.values()]
    heights = np.concatenate([_spread(seeds, line) for line, seeds in enumerate(scores)])
    dots = {"s": 24, "color": PALETTE[0], "alpha": 0.55, "linewidths": 0}
    ax.scatter(np.concatenate(scores), heights, label="one seed", **dots)
    lines = np.arange(len(scores))
    means = [seeds.mean() for seeds in scores]
    ax.vlines(means, lines - 0.3, lines + 0.3, color=PALETTE[0], linewidth=2.2, label="mean")
    known = [line for line, name in enumerate(values) if name in published]
    if known:
        at = [published[name] for name in values if name in published]
        diamond = {"marker": "D", "s": 42, "facecolor": "none", "edgecolor": PALETTE[3]}
        ax.scatter(at, known, linewidths=1.6, label="published", zorder=3, **diamond)
    ax.set_yticks(range(len(values)), [_short(name) for name in values])
    ax.set_ylim(len(values) - 0.5, -0.5)
    _legend(ax)
    return _finish(ax, score_name, "", grid="x", ticks="x")


def silhouette_over_k(
    n_clusters: Sequence[int],
    scores: Sequence[float],
    *,
    chosen: int | None = None,
    minimum: float | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Silhouette against the number of clusters, the chosen number marked.

    Parameters
    ----------
    n_clusters : sequence of int
        Numbers of clusters tried.
    scores : sequence of float of the same length
        Mean silhouette of each, in [-1, 1].
    chosen : int, optional
        The number to mark; the one with the best score where it is None.
    minimum : float, optional
        Score below which there are no clusters, drawn as a dashed line.
    ax : Axes, optional
        Where to draw; a new figure where it is None.

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        Unequal lengths, or a choice that was not tried.
    """
    tried, scores = list(n_clusters), np.asarray(scores, dtype=float)
    if len(tried) != len(scores) or not tried:
        raise ValueError(
            f"{len(tried)} numbers of clusters and {len(scores)} scores; give one for each"
        )
    chosen = tried[int(scores.argmax())] if chosen is None else chosen
    if chosen not in tried:
        raise ValueError(f"{chosen} clusters were not tried; tried {tried}")
    best = scores[tried.index(chosen)]
    ax = _axes(ax, 4.8, 3.0)
    ax.plot(tried, scores, color=PALETTE[0], linewidth=1.4, marker="o", markersize=4.5)
    ring = {"s": 110, "facecolor": "none", "edgecolor": PALETTE[3], "linewidths": 1.8}
    ax.scatter(chosen, best, zorder=3, **ring)
    above = {"xytext": (9, 7), "textcoords": "offset points", "color": PALETTE[3]}
    ax.annotate(f"{chosen} clusters: {best:.2f}", (chosen, best), **above, **HEADING)
    if minimum is not None:
        ax.axhline(minimum, color=NEUTRAL, linewidth=1, linestyle="--", label="least accepted")
        _legend(ax, outside=False)
    ax.set_xticks(tried)
    ax.margins(x=0.12, y=0.18)
    return _finish(ax, "number of clusters", "mean silhouette (-1 to 1)", grid="y")


def dendrogram(tree, labels, *, max_leaves: int = 40, ax: Axes | None = None) -> Axes:
    """The merges of a hierarchy, the branches of each cluster in its colour.

    Parameters
    ----------
    tree : array-like of shape (n_rows - 1, 4)
        As `scipy.cluster.hierarchy.linkage` returns it.
    labels : array-like of int of shape (n_rows,)
        Clusters from 0; branches with rows of several are grey.
    max_leaves : int, at least 2, default=40
        Branches drawn at the bottom; what lies below them is counted in parentheses.
    ax : Axes, optional
        Where to draw; a new figure where it is None.

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        Not one label per row of the tree.
    """
    tree, labels = np.asarray(tree, dtype=float), np.asarray(labels)
    if labels.shape != (len(tree) + 1,):
        raise ValueError(f"a tree of {len(tree) + 1} rows and labels of shape {labels.shape}")
    ax = _axes(ax, 8.0, 3.6)
    owner = _branch_owner(tree, labels)
    colours = [*cluster_colours(labels.max() + 1), NEUTRAL]  # -1, the last, owns mixed branches
    cut = {"p": max_leaves, "truncate_mode": "lastp"}
    shown = hierarchy.dendrogram(
        tree, **cut, link_color_func=lambda node: colours[owner[node]], ax=ax
    )
    _finish(ax, "row, or number of rows in parentheses", "mean distance merged", grid="y")
    ax.tick_params(axis="x", length=0, labelrotation=90, labelsize=FONT - 2)
    for text, node in zip(ax.get_xticklabels(), shown["leaves"], strict=True):
        text.set_color(colours[owner[node]])
    return ax


def cluster_profile(
    values,
    texts,
    feature_names: Sequence[str],
    *,
    max_features: int = 20,
    label: str = "contribution",
    ax: Axes | None = None,
) -> Axes:
    """What is typical of each cluster, on a ground that says how much it matters.

    Parameters
    ----------
    values : array-like of shape (n_clusters, n_features)
        How much each feature matters to each cluster.
    texts : array-like of str of shape (n_clusters, n_features)
        What is typical: a median, the most frequent level.
    feature_names : sequence of str
        One line each, the one of largest value in any cluster on top.
    max_features : int, at least 1, default=20
        Lines shown.
    label : str, default="contribution"
        What the values are, written at the colour bar.
    ax : Axes, optional
        Where to draw; a new figure where it is None.

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        Names or texts that do not fit the values.
    """
    values, names = _matrix_and_names(values, feature_names)
    texts = np.asarray(texts, dtype=object)
    if texts.shape != values.shape:
        raise ValueError(f"texts have shape {texts.shape} and values {values.shape}")
    shown = _strongest(np.abs(values).max(axis=0), max_features)
    values, texts = values[:, shown].T, texts[:, shown].T
    ax = _axes(ax, 2.6 + 1.7 * values.shape[1], 1.0 + 0.27 * len(values))
    image = ax.pcolormesh(values, edgecolors="white", linewidth=1.2, **_colour_scale(values, None))
    _write_cells(ax, texts, image.to_rgba(values))
    ax.invert_yaxis()
    _colour_bar(ax, image, label)
    _finish(ax, "what is typical of each cluster", "", grid=None, ticks="", frame=False)
    ax.set_yticks(np.arange(len(shown)) + 0.5, [_short(names[j]) for j in shown])
    _cluster_ticks(ax, values.shape[1], axis="x")
    return ax


def tree(
    parents: Sequence[int],
    questions: Sequence[str],
    clusters: Sequence[int],
    n_rows: Sequence[int],
    *,
    max_depth: int | None = None,
    ax: Axes | None = None,
) -> Axes:
    """A decision tree that assigns clusters, its first question on top.

    Parameters
    ----------
    parents : sequence of int
        Position of the node above, -1 for the first; parents come before their children, and the
        child that a "yes" leads to before its sibling.
    questions : sequence of str
        What each node asks; empty for a leaf.
    clusters : sequence of int
        Cluster of each leaf; -1 for a question.
    n_rows : sequence of int
        Rows that come to each node.
    max_depth : int, at least 1, or None
        Levels of questions drawn; what is below is an ellipsis. None: all.
    ax : Axes, optional
        Where to draw; a new figure where it is None.

    Returns
    -------
    Axes
    """
    depth, is_drawn, is_cut = _tree_levels(parents, questions, max_depth)
    across = _tree_columns(parents, is_drawn)
    n_leaves = sum(1 for i in np.flatnonzero(is_drawn) if not questions[i] or is_cut[i])
    height = 0.9 + 0.85 * depth[is_drawn].max()
    ax = _axes(ax, np.clip(1.15 * n_leaves, 4, 16), height)
    colours = cluster_colours(max(clusters) + 1)
    for i in np.flatnonzero(is_drawn):
        if parents[i] >= 0:
            xs, ys = (across[parents[i]], across[i]), (-depth[parents[i]], -depth[i])
            ax.plot(xs, ys, color=NEUTRAL, linewidth=1, zorder=1)
        if questions[i] and not is_cut[i]:
            text, face, ink = f"{_short(questions[i])}?", "white", INK
        else:
            text = "…" if is_cut[i] else f"cluster {clusters[i]}"
            face, ink = (GRID, INK) if is_cut[i] else (colours[clusters[i]], "white")
            text = f"{text}\n{n_rows[i]} rows"
        box = {"boxstyle": "round,pad=0.35", "facecolor": face, "edgecolor": NEUTRAL}
        place = {"ha": "center", "va": "center", "fontsize": FONT - 1, "zorder": 2}
        ax.text(across[i], -depth[i], text, color=ink, bbox=box, **place)
    ax.set(xlim=(-0.6, n_leaves - 0.4), ylim=(-depth[is_drawn].max() - 0.5, 0.5))
    ax.set_axis_off()
    ax.set_title("yes: left, no: right", fontsize=FONT - 1, color=NEUTRAL, loc="right")
    return ax


def over_epochs(
    curves: Mapping[str, Sequence],
    *,
    interventions: Sequence[int] = (),
    score_name: str = "ACC (%)",
    ax: Axes | None = None,
) -> Axes:
    """A score in every epoch: the mean over seeds as a line, their range as a band.

    Parameters
    ----------
    curves : mapping of str to array-like of shape (n_epochs,) or (n_epochs, n_seeds)
        Scores by method.
    interventions : sequence of int
        Epochs, counted from 0, before which training was interrupted: dotted lines.
    score_name : str, default="ACC (%)"
        Name of the score, with unit.
    ax : Axes, optional
        Where to draw; a new figure where it is None.

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        Nothing to draw.
    """
    curves = _curves(curves)
    ax = _axes(ax, 5.8, 3.6)
    for i, epoch in enumerate(interventions):
        label = "intervention" if i == 0 else None
        ax.axvline(epoch + 0.5, color=NEUTRAL, linewidth=0.8, linestyle=":", label=label)
    for (name, curve), colour in zip(curves.items(), cluster_colours(len(curves)), strict=True):
        epochs = np.arange(1, len(curve) + 1)
        ax.plot(epochs, curve.mean(axis=1), color=colour, linewidth=1.4, label=name)
        ax.fill_between(epochs, curve.min(axis=1), curve.max(axis=1), color=colour, alpha=0.18)
    _legend(ax)
    return _finish(ax, "epoch", score_name)


def voronoi(points, centres, labels, *, ax: Axes | None = None) -> Axes:
    """Rows in the plane over the regions in which each centre is the nearest.

    Parameters
    ----------
    points : array-like of shape (n_samples, 2)
        Coordinates; a projection where the embedding has more than two columns. A row whose colour
        is not that of its region is in another cluster for what the projection hides.
    centres : array-like of shape (n_clusters, 2)
        Projected likewise; drawn as crosses.
    labels : array-like of int of shape (n_samples,)
        Clusters from 0.
    ax : Axes, optional
        Where to draw; a new figure where it is None.

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        Points or centres that are not two columns, or not one integer label per point.
    """
    points, centres = np.asarray(points, dtype=float), np.asarray(centres, dtype=float)
    if centres.ndim != 2 or centres.shape[1] != 2:
        raise ValueError(f"centres have shape {centres.shape}; give two columns")
    ax = embedding(points, labels, ax=ax)
    everything = np.concatenate([points, centres])
    low, high = everything.min(axis=0), everything.max(axis=0)
    room = 0.05 * (high - low)
    x, y = (np.linspace(a, b, 240) for a, b in zip(low - room, high + room, strict=True))
    grid = np.stack(np.meshgrid(x, y), axis=-1)
    nearest = ((grid[:, :, None] - centres) ** 2).sum(axis=3).argmin(axis=2)
    colours = ListedColormap(cluster_colours(len(centres)))
    limits = {"vmin": -0.5, "vmax": len(centres) - 0.5}
    ax.pcolormesh(x, y, nearest, cmap=colours, alpha=0.16, zorder=0, rasterized=True, **limits)
    ax.scatter(*centres.T, marker="x", s=60, color=INK, linewidths=1.8, zorder=4)
    return ax


def uncertainty(
    points, doubt, *, label: str = "1 - largest membership", ax: Axes | None = None
) -> Axes:
    """Rows in the plane, the darker the less sure their cluster.

    Parameters
    ----------
    points : array-like of shape (n_samples, 2)
        Coordinates.
    doubt : array-like of shape (n_samples,)
        In [0, 1], such as one minus the largest membership.
    label : str
        What doubt is, written at the colour bar.
    ax : Axes, optional
        Where to draw; a new figure where it is None.

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        Points that are not two columns, or not one doubt in [0, 1] per point.
    """
    points, doubt = np.asarray(points, dtype=float), np.asarray(doubt, dtype=float)
    if points.ndim != 2 or points.shape[1] != 2 or doubt.shape != points.shape[:1]:
        raise ValueError(f"points have shape {points.shape} and doubt {doubt.shape}")
    if doubt.min() < 0 or doubt.max() > 1:
        raise ValueError(f"doubt runs from {doubt.min():.3g} to {doubt.max():.3g}; give 0 to 1")
    ax = _axes(ax, 5.6, 4.4)
    order = np.argsort(doubt)  # the most doubtful on top
    size = float(np.clip(6000 / len(points), 4, 28))
    dots = {"s": size, "linewidths": 0, "rasterized": len(points) > 2000}
    image = ax.scatter(*points[order].T, c=doubt[order], cmap=SEQUENTIAL, vmin=0, **dots)
    _colour_bar(ax, image, label)
    return _finish(ax, "component 1", "component 2", grid=None)


def score_matrix(
    matrix,
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    axis_names: Sequence[str] = ("scored on", "model of"),
    label: str = "AUROC",
    ax: Axes | None = None,
) -> Axes:
    """Scores as a heat map with the numbers written in: one line per model, one column per place.

    Parameters
    ----------
    matrix : array-like of shape (n_rows, n_columns)
        NaN is left blank.
    rows, columns : sequence of str
        Names of the lines and columns.
    axis_names : pair of str
        What columns and lines are.
    label : str, default="AUROC"
        What the numbers are.
    ax : Axes, optional
        Where to draw; a new figure where it is None.

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        Names that do not fit the matrix.
    """
    matrix = np.asarray(matrix, dtype=float)
    if matrix.shape != (len(rows), len(columns)):
        raise ValueError(
            f"matrix has shape {matrix.shape} for {len(rows)} rows and {len(columns)} columns"
        )
    ax = _axes(ax, 1.6 + 0.75 * len(columns), 1.2 + 0.45 * len(rows))
    image = ax.imshow(matrix, cmap=SEQUENTIAL, aspect="auto")
    _colour_bar(ax, image, label)
    middle = np.nanmean([np.nanmin(matrix), np.nanmax(matrix)])
    for (i, j), value in np.ndenumerate(matrix):
        if np.isfinite(value):
            text = {"color": "white" if value > middle else INK, "fontsize": FONT - 0.5}
            ax.text(j, i, f"{value:.2f}", ha="center", va="center", **text)
    ax.set_xticks(range(len(columns)), [_short(name) for name in columns])
    ax.set_yticks(range(len(rows)), [_short(name) for name in rows])
    return _finish(ax, *axis_names, grid=None, ticks="", frame=False)


def compare_importance(
    importances: Mapping[str, Sequence[float]],
    feature_names: Sequence[str],
    *,
    k: int = 12,
    ax: Axes | None = None,
) -> Axes:
    """Importance of features by several explanations, each as a share of its own total.

    Parameters
    ----------
    importances : mapping of name to array-like of shape (n_features,)
        At least 0. The first one orders the features.
    feature_names : sequence of str of length n_features
    k : int, at least 1, default=12
        Features shown.
    ax : Axes, optional
        Where to draw; a new figure where it is None.

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        Importances that are negative, sum to 0, or do not fit the names.
    """
    shares = {name: _share(values, feature_names) for name, values in importances.items()}
    shown = _strongest(next(iter(shares.values())), k)
    ax = _axes(ax, 5.4, 0.9 + 0.26 * len(shown))
    places = np.arange(len(shown))
    stacked = np.array([share[shown] for share in shares.values()])
    ax.hlines(places, stacked.min(axis=0), stacked.max(axis=0), color=GRID, linewidth=2)
    for colour, (name, share) in zip(cluster_colours(len(shares)), shares.items(), strict=True):
        ax.scatter(share[shown], places, color=colour, s=28, label=name, zorder=3)
    ax.set_yticks(places, [_short(feature_names[j]) for j in shown])
    ax.invert_yaxis()
    ax.set_xlim(left=0)
    _legend(ax)
    return _finish(ax, "share of all importance", "", grid="x", ticks="x")


def stacked_counts(table, *, label: str = "data sets", ax: Axes | None = None) -> Axes:
    """How often each thing happened, line by line: one bar per line, one colour per column.

    Parameters
    ----------
    table : DataFrame of shape (n_lines, n_kinds)
        Counts, at least 0; the index names the lines, the columns what is counted.
    label : str, default="data sets"
        What is counted.
    ax : Axes, optional
        Where to draw; a new figure where it is None.

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        Negative counts.
    """
    counts = np.asarray(table, dtype=float)
    if counts.min() < 0:
        raise ValueError(f"counts hold {counts.min():g}; they are at least 0")
    ax = _axes(ax, 6.4, 0.9 + 0.28 * len(counts))
    lines = np.arange(len(counts))
    ends = counts.cumsum(axis=1)
    for kind, colour in enumerate(cluster_colours(counts.shape[1])):
        width, left = counts[:, kind], ends[:, kind] - counts[:, kind]
        ax.barh(lines, width, 0.7, left, color=colour, label=str(table.columns[kind]))
    ax.set_yticks(lines, [_short(name) for name in table.index])
    ax.invert_yaxis()
    _legend(ax)
    return _finish(ax, label, "", grid="x", ticks="x")


def learning_curve(
    sizes: Sequence[int],
    scores: Mapping[str, Sequence],
    published: float | None = None,
    *,
    size_name: str = "training data sets",
    score_name: str = "micro F1",
    ax: Axes | None = None,
) -> Axes:
    """Scores against the number of examples learnt from, on a logarithmic axis.

    Parameters
    ----------
    sizes : sequence of int, length n_sizes
    scores : mapping of str to array-like of shape (n_sizes,)
        By what was scored.
    published : float, optional
        A published score, as a dashed line.
    size_name, score_name : str
        Names of the axes.
    ax : Axes, optional
        Where to draw; a new figure where it is None.

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        Scores that do not fit the sizes.
    """
    ax = _axes(ax, 5.4, 3.4)
    for (name, values), colour in zip(scores.items(), cluster_colours(len(scores)), strict=True):
        if len(values) != len(sizes):
            raise ValueError(f"{len(values)} scores of {name!r} for {len(sizes)} sizes")
        ax.plot(sizes, values, color=colour, marker="o", markersize=4, linewidth=1.4, label=name)
    if published is not None:
        ax.axhline(published, color=NEUTRAL, linewidth=1.0, linestyle="--", label="published")
    ax.set_xscale("log")
    ax.set_xticks(sizes, [str(size) for size in sizes])
    ax.minorticks_off()
    _legend(ax)
    return _finish(ax, size_name, score_name)


def _share(importance, feature_names) -> np.ndarray:
    """Importances over their sum."""
    importance = np.asarray(importance, dtype=float)
    if importance.shape != (len(feature_names),):
        raise ValueError(
            f"importances have shape {importance.shape} for {len(feature_names)} feature names"
        )
    if importance.min() < 0 or importance.sum() == 0:
        raise ValueError("importances must be at least 0, and not all 0")
    return importance / importance.sum()


def shape_function(
    values,
    contributions,
    density,
    feature_name: str = "value",
    *,
    term: str = "contribution (logits)",
    ax: Axes | None = None,
) -> Axes:
    """What a feature adds to each cluster, over its values, with the density of the data below.

    Fig. 3 of Upadhya and Cohen (2024).

    Parameters
    ----------
    values : array-like of shape (n_values,)
        Increasing.
    contributions : array-like of shape (n_values, n_clusters)
        In logits; drawn as one line per cluster.
    density : array-like of shape (n_values,)
        Share of the rows at each value, drawn as grey bars on a scale of its own.
    feature_name : str
        Written at the axis.
    term : str
        What is added, with unit.
    ax : Axes, optional
        Where to draw; a new figure where it is None.

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        Arrays that do not fit together.
    """
    values, density = np.asarray(values, dtype=float), np.asarray(density, dtype=float)
    contributions = np.asarray(contributions, dtype=float)
    if contributions.ndim != 2 or not len(values) == len(contributions) == len(density):
        raise ValueError(
            f"{len(values)} values, contributions of shape {contributions.shape} and "
            f"{len(density)} densities; give one line of each per value"
        )
    ax = _axes(ax, 4.6, 3.2)
    ax.axhline(0, color=GRID, linewidth=1)
    for k, colour in enumerate(cluster_colours(contributions.shape[1])):
        marker = {"marker": "o", "markersize": 3} if len(values) <= 12 else {}
        ax.plot(values, contributions[:, k], color=colour, label=f"cluster {k}", **marker)
    _density(ax, values, density)
    _legend(ax)
    return _finish(ax, _short(feature_name), term, grid=None)


def pair_shape(
    values,
    values_2,
    contributions,
    feature_names: tuple[str, str],
    *,
    density=None,
    label: str = "contribution (logits)",
    ax: Axes | None = None,
) -> Axes:
    """What a pair of features adds to one cluster beyond what each adds alone, as a heat map.

    Parameters
    ----------
    values, values_2 : array-like of shape (n_values,), (n_values_2,)
        Increasing; along the axis to the right and upwards.
    contributions : array-like of shape (n_values, n_values_2)
        In logits.
    feature_names : pair of str
        Written at the axes.
    density : array-like of shape (n_values, n_values_2), optional
        Share of the rows at each pair of values; pairs without rows are left blank.
    label : str
        What is added, with unit, written at the colour bar.
    ax : Axes, optional
        Where to draw; a new figure where it is None.

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        Arrays that do not fit together.
    """
    contributions = np.asarray(contributions, dtype=float)
    if contributions.shape != (len(values), len(values_2)):
        raise ValueError(
            f"contributions have shape {contributions.shape} for {len(values)} and "
            f"{len(values_2)} values"
        )
    ax = _axes(ax, 4.4, 3.4)
    empty = (
        np.zeros(contributions.shape, dtype=bool) if density is None else np.asarray(density) == 0
    )
    largest = float(np.abs(contributions).max()) or 1.0
    norm = TwoSlopeNorm(0, -largest, largest)
    shown = np.ma.array(contributions, mask=empty).T
    image = ax.pcolormesh(values, values_2, shown, cmap=DIVERGING, norm=norm, shading="nearest")
    _colour_bar(ax, image, label)
    return _finish(ax, *map(_short, feature_names), grid=None)


def cost_ratio(
    ratios: Mapping[str, Sequence[float]],
    n_shapes: Sequence[int],
    *,
    x_name: str = "shape functions of two features",
    ax: Axes | None = None,
) -> Axes:
    """Inertia relative to k-means against the number of shape functions.

    Fig. 2 of Upadhya and Cohen (2024).

    Parameters
    ----------
    ratios : mapping of str to sequence of float
        By data set; 1 is the inertia of k-means.
    n_shapes : sequence of int
        Numbers of shape functions, increasing.
    x_name : str
        What was counted.
    ax : Axes, optional
        Where to draw; a new figure where it is None.

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        Not one ratio per number.
    """
    ax = _axes(ax, 4.8, 3.2)
    ax.axhline(1, color=NEUTRAL, linewidth=1, linestyle="--", label="mini-batch k-means")
    for (name, values), colour in zip(ratios.items(), cluster_colours(len(ratios)), strict=True):
        if len(values) != len(n_shapes):
            raise ValueError(f"{len(values)} ratios of {name} for {len(n_shapes)} numbers")
        ax.plot(n_shapes, values, color=colour, marker="o", markersize=4.5, label=_short(name))
    ax.set_xticks(list(n_shapes))
    _legend(ax)
    return _finish(ax, x_name, "inertia / inertia of k-means", grid="y")


def _further_colour(k: int) -> str:
    """Colour number k beyond the palette: golden-angle steps in hue, two lightnesses."""
    hue = (k * 0.61803398875) % 1
    red, green, blue = colorsys.hls_to_rgb(hue, 0.36 if k % 2 else 0.58, 0.55)
    return f"#{round(255 * red):02x}{round(255 * green):02x}{round(255 * blue):02x}"


def _scatter_clusters(ax, points, labels) -> None:
    """Dots in the colours of their clusters, with a legend that counts them."""
    colours = cluster_colours(labels.max() + 1)
    size = float(np.clip(6000 / len(points), 4, 28))
    dots = {"s": size, "alpha": 0.75, "linewidths": 0, "rasterized": len(points) > 2000}
    for k in np.unique(labels):
        rows = points[labels == k]
        name, colour = (f"cluster {k}", colours[k]) if k >= 0 else ("no cluster", NEUTRAL)
        ax.scatter(*rows.T, color=colour, label=f"{name} ({len(rows)})", **dots)
    _legend(ax, markerscale=float(np.sqrt(28 / size)), title="rows in parentheses")


def _branch_owner(tree, labels) -> np.ndarray:
    """The cluster of every row and merge of a tree, -1 where rows of several meet."""
    owner = np.full(2 * len(tree) + 1, -1)
    owner[: len(labels)] = labels
    for merge, (left, right) in enumerate(tree[:, :2].astype(int), start=len(labels)):
        owner[merge] = owner[left] if owner[left] == owner[right] else -1
    return owner


def _axes(ax: Axes | None, width: float, height: float) -> Axes:
    """The Axes given, or that of a new figure of this size in inches."""
    return (
        plt.subplots(figsize=(width, height), dpi=110, layout="constrained")[1]
        if ax is None
        else ax
    )


def _finish(ax, x_name, y_name, *, grid="both", ticks="xy", frame=True) -> Axes:
    ax.set_xlabel(x_name, fontsize=FONT, color=INK)
    ax.set_ylabel(y_name, fontsize=FONT, color=INK)
    ax.tick_params(labelsize=FONT - 0.5, color=NEUTRAL, labelcolor=INK, length=3)
    for axis in set("xy") - set(ticks):
        ax.tick_params(axis=axis, length=0)
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_visible(frame)
    ax.spines[["left", "bottom"]].set_color(NEUTRAL)
    ax.set_axisbelow(True)
    if grid:
        ax.grid(axis=grid, color=GRID, linewidth=0.8)
    return ax


def _legend(ax, *, outside: bool = True, **options) -> None:
    place = {"loc": "upper left", "bbox_to_anchor": (1.01, 1.0)} if outside else {"loc": "best"}
    legend = ax.legend(frameon=False, fontsize=FONT - 0.5, labelcolor=INK, **place, **options)
    legend.get_title().set(fontsize=FONT - 1, color=NEUTRAL)


def _colour_bar(ax, image, label: str) -> None:
    bar = ax.figure.colorbar(image, ax=ax, fraction=0.05, pad=0.02)
    bar.set_label(label, fontsize=FONT, color=INK)
    bar.ax.tick_params(labelsize=FONT - 1, color=NEUTRAL, labelcolor=INK, length=3)
    bar.outline.set_visible(False)


def _colour_scale(matrix, vmax: float | None) -> dict:
    """Two-sided around 0 for signed values, else from 0 to at least vmax."""
    largest = float(np.abs(matrix).max()) or 1.0
    if matrix.min() < -1e-9 * largest:  # beyond rounding
        return {"cmap": DIVERGING, "norm": TwoSlopeNorm(0, -largest, largest)}
    return {"cmap": SEQUENTIAL, "vmin": 0, "vmax": max(largest, vmax or 0)}


def _image(ax, image, left: float, top: float, scale: dict):
    """One image with a frame, its upper left corner at (left, top)."""
    height, width = image.shape
    extent = (left, left + width, top + height, top)
    frame = {"fill": False, "edgecolor": GRID, "linewidth": 0.8}
    ax.add_patch(plt.Rectangle((left, top), width, height, **frame))
    return ax.imshow(image, extent=extent, interpolation="nearest", **scale)


def _feature_ticks(ax, names) -> None:
    ax.set_xticks(np.arange(len(names)) + 0.5, names)
    if max(map(len, names)) > 3:
        plt.setp(ax.get_xticklabels(), rotation=40, ha="right", rotation_mode="anchor")


def _write_cells(ax, texts, colours) -> None:
    """Text in the middle of every cell of a heat map, dark on light cells and light on dark."""
    luminance = colours[..., :3] @ (0.2126, 0.7152, 0.0722)
    for (i, j), text in np.ndenumerate(texts):
        ink = INK if luminance[i, j] > 0.45 else "white"
        ax.text(j + 0.5, i + 0.5, _short(text), ha="center", va="center", fontsize=7, color=ink)


def _cluster_ticks(ax, n_clusters: int, axis: str = "y") -> None:
    side = ax.yaxis if axis == "y" else ax.xaxis
    side.set_ticks(np.arange(n_clusters) + 0.5, [f"cluster {k}" for k in range(n_clusters)])
    for text, colour in zip(side.get_ticklabels(), cluster_colours(n_clusters), strict=True):
        text.set(color=colour, weight="bold")


def _matrix_and_names(matrix, feature_names) -> tuple[np.ndarray, list[str]]:
    matrix = np.asarray(matrix, dtype=float)
    if matrix.ndim != 2 or 0 in matrix.shape:
        raise ValueError(f"matrix has shape {matrix.shape}; expected (n_clusters, n_features)")
    n_features = matrix.shape[1]
    names = (
        [f"x{j}" for j in range(n_features)]
        if feature_names is None
        else list(map(str, feature_names))
    )
    if len(names) != n_features:
        raise ValueError(f"{len(names)} feature names for {n_features} features; give one for each")
    return matrix, names


def _strongest(magnitudes, k: int) -> np.ndarray:
    """Features of largest magnitude, largest first; ties in the order of the features."""
    return np.argsort(-magnitudes, kind="stable")[:k]


def _short(name: str) -> str:
    """A name fit for a tick label; `$` would start a formula."""
    name = " ".join(str(name)[: 4 * NAME_LENGTH].split())
    name = name if len(name) <= NAME_LENGTH else name[: NAME_LENGTH - 1] + "…"
    return name.replace("$", r"\$")


def _tree_levels(parents, questions, max_depth) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Depth of each node, whether it is drawn, and whether its questions below are cut off."""
    depth = np.zeros(len(parents), int)
    for i, parent in enumerate(parents):
        depth[i] = depth[parent] + 1 if parent >= 0 else 0
    deepest = depth.max() if max_depth is None else max_depth
    is_cut = (depth == deepest) & np.array([question != "" for question in questions])
    return depth, depth <= deepest, is_cut


def _tree_columns(parents, is_drawn) -> np.ndarray:
    """Horizontal place of each node: leaves one apart, from left to right, parents in between."""
    below = {i: [] for i in np.flatnonzero(is_drawn)}
    for i in np.flatnonzero(is_drawn)[1:]:
        below[parents[i]].append(i)
    across = np.zeros(len(parents))
    column = 0
    for i in _depth_first(below):
        if not below[i]:
            across[i], column = column, column + 1
    for i in reversed(list(below)):
        if below[i]:
            across[i] = np.mean(across[below[i]])
    return across


def _depth_first(below: dict[int, list[int]]) -> list[int]:
    """Nodes in the order in which they are met from left to right, parents first."""
    met, waiting = [], [0]
    while waiting:
        met.append(waiting.pop())
        waiting += below[met[-1]][::-1]
    return met


def _density(ax, values, density) -> None:
    """Grey bars below the lines, a fifth of the height, on a scale of their own."""
    below = ax.twinx()
    edges = np.concatenate([values[:1], (values[1:] + values[:-1]) / 2, values[-1:]])
    widths = np.diff(edges)
    if len(values) <= 12:
        widths = np.full(len(values), 0.3 * np.diff(values).min() if len(values) > 1 else 0.3)
    else:
        density = density / np.maximum(widths, np.finfo(float).tiny)
    below.bar(values, density, width=widths, color=NEUTRAL, alpha=0.25, linewidth=0)
    below.set_ylim(0, 5 * density.max())
    below.set_axis_off()


def _curves(history) -> dict[str, np.ndarray]:
    """Losses by name, each of shape (n_epochs, n_models)."""
    if not isinstance(history, Mapping):
        names = list(dict.fromkeys(name for epoch in history for name in epoch))
        history = {name: [epoch[name] for epoch in history if name in epoch] for name in names}
    curves = {name: np.asarray(values, dtype=float) for name, values in history.items()}
    if not any(curve.size for curve in curves.values()):
        raise ValueError("history is empty; train for at least one epoch")
    return {name: curve.reshape(len(curve), -1) for name, curve in curves.items()}


def _spread(scores, line: int) -> np.ndarray:
    """Heights around a line that keep equal scores apart, the same on every call."""
    offsets = (np.arange(len(scores)) * 0.61803398875) % 1 - 0.5
    return line + 0.32 * offsets
