"""Why rows are in their clusters: explanations as heat maps, bars, dots and images."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from whycluster.plots import style
from whycluster.plots.style import as_label, cluster_colours, coloured, drawing

CELLS: dict[str, Any] = {"edgecolors": "white", "linewidth": 1.2}  # of a heat map


@drawing
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

    Raises
    ------
    ValueError
        Names that do not fit the matrix.
    """
    matrix, names = _matrix_and_names(matrix, feature_names)
    shown = np.sort(style.strongest(np.abs(matrix).max(axis=0), max_features))
    matrix, names = matrix[:, shown], [as_label(names[j]) for j in shown]
    n_clusters, n_shown = matrix.shape
    room = 0.05 * max(map(len, names))  # inches below the axis for slanted names
    height = np.clip(0.9 + 0.32 * n_clusters + room, 2, 9)
    ax = style.new_axes(ax, np.clip(2.4 + 0.34 * n_shown, 4.2, 13), height)
    image = ax.pcolormesh(matrix, **CELLS, **style.colour_scale(matrix, vmax))
    ax.invert_yaxis()
    style.colour_bar(ax, image, label)
    hidden = f" ({n_shown} strongest shown)" if n_shown == max_features else ""
    style.finish(ax, f"feature{hidden}", "", grid=None, ticks="", frame=False)
    _feature_ticks(ax, names)
    _cluster_ticks(ax.yaxis, n_clusters)
    return ax


@drawing
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

    Raises
    ------
    ValueError
        Names or texts that do not fit the values.
    """
    values, names = _matrix_and_names(values, feature_names)
    texts = np.asarray(texts, dtype=object)
    if texts.shape != values.shape:
        raise ValueError(f"texts have shape {texts.shape} and values {values.shape}")
    shown = style.strongest(np.abs(values).max(axis=0), max_features)
    values, texts = values[:, shown].T, texts[:, shown].T
    ax = style.new_axes(ax, 2.6 + 1.7 * values.shape[1], 1.0 + 0.27 * len(values))
    image = ax.pcolormesh(values, **CELLS, **style.colour_scale(values, None))
    _write_cells(ax, texts, image.to_rgba(values))
    ax.invert_yaxis()
    style.colour_bar(ax, image, label)
    style.finish(ax, "what is typical of each cluster", "", grid=None, ticks="", frame=False)
    ax.set_yticks(np.arange(len(shown)) + 0.5, [as_label(names[j]) for j in shown])
    _cluster_ticks(ax.xaxis, values.shape[1])
    return ax


@drawing
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
    label, vmax
        As in `gates`.

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
    colours = cluster_colours(len(matrix)) if titles is None else [style.INK] * len(matrix)
    titles = [f"cluster {k}" for k in range(len(matrix))] if titles is None else titles
    n_columns = min(n_columns, len(matrix))
    n_rows = -(-len(matrix) // n_columns)
    ax = style.new_axes(ax, 1.35 * n_columns + 0.8, 1.55 * n_rows * height / width)
    scale = style.colour_scale(matrix, vmax)
    gap, head = 0.08 * width, 0.24 * height
    for i, image in enumerate(matrix.reshape(-1, height, width)):
        left, top = (i % n_columns) * (width + gap), (i // n_columns) * (height + head)
        picture = _image(ax, image, left, top, scale)
        ax.text(left, top - 0.05 * height, titles[i], color=colours[i], **style.HEADING)
    ax.set_xlim(-0.02 * width, n_columns * (width + gap) - gap + 0.02 * width)
    ax.set_ylim(n_rows * (height + head) - head + 0.02 * height, -head)
    style.colour_bar(ax, picture, label)
    ax.set_axis_off()
    return ax


@drawing
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

    Raises
    ------
    ValueError
        Names that do not fit the values.
    """
    is_overall = np.ndim(values) == 1
    matrix, names = _matrix_and_names(np.atleast_2d(values), feature_names)
    blocks = [style.strongest(np.abs(row), k) for row in matrix]
    height = len(blocks[0]) + 1  # bars of a block and the gap below it
    colours = [style.NEUTRAL] if is_overall else cluster_colours(len(matrix))
    ax = style.new_axes(ax, 5.4, 0.8 + 0.21 * height * len(blocks))
    places = [block * height + np.arange(height - 1) for block in range(len(blocks))]
    beside: dict[str, Any] = {"transform": ax.get_yaxis_transform(), "va": "center"}
    for block, (place, shown) in enumerate(zip(places, blocks, strict=True)):
        ax.barh(place, matrix[block, shown], height=0.72, color=colours[block])
        if not is_overall:
            title = f"cluster {block}"
            ax.text(1.02, place.mean(), title, color=colours[block], **beside, **style.HEADING)
    ticks = [as_label(names[j]) for shown in blocks for j in shown]
    ax.set_yticks(np.concatenate(places), ticks)
    ax.set_ylim(len(blocks) * height - 1.4, -0.6)
    if matrix.min() < 0:
        ax.axvline(0, color=style.INK, linewidth=0.8)
    return style.finish(ax, label, "", grid="x", ticks="x")


@drawing
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

    Raises
    ------
    ValueError
        Importances that are negative, sum to 0, or do not fit the names.
    """
    shares = {name: _share(values, feature_names) for name, values in importances.items()}
    shown = style.strongest(next(iter(shares.values())), k)
    ax = style.new_axes(ax, 5.4, 0.9 + 0.26 * len(shown))
    places = np.arange(len(shown))
    stacked = np.array([share[shown] for share in shares.values()])
    ax.hlines(places, stacked.min(axis=0), stacked.max(axis=0), color=style.GRID, linewidth=2)
    for name, share, colour in coloured(shares):
        ax.scatter(share[shown], places, color=colour, s=28, label=name, zorder=3)
    ax.set_yticks(places, [as_label(feature_names[j]) for j in shown])
    ax.invert_yaxis()
    ax.set_xlim(left=0)
    style.add_legend(ax)
    return style.finish(ax, "share of all importance", "", grid="x", ticks="x")


def _matrix_and_names(matrix, feature_names) -> tuple[np.ndarray, list[str]]:
    matrix = np.asarray(matrix, dtype=float)
    if matrix.ndim != 2 or 0 in matrix.shape:
        raise ValueError(f"matrix has shape {matrix.shape}; expected (n_clusters, n_features)")
    n_features = matrix.shape[1]
    unnamed = (f"x{j}" for j in range(n_features))
    names = list(map(str, unnamed if feature_names is None else feature_names))
    if len(names) != n_features:
        raise ValueError(f"{len(names)} feature names for {n_features} features; give one for each")
    return matrix, names


def _feature_ticks(ax, names) -> None:
    ax.set_xticks(np.arange(len(names)) + 0.5, names)
    if max(map(len, names)) > 3:
        plt.setp(ax.get_xticklabels(), rotation=40, ha="right", rotation_mode="anchor")


def _cluster_ticks(axis, n_clusters: int) -> None:
    """Name clusters along the x or y axis of a heat map, in their colours."""
    axis.set_ticks(np.arange(n_clusters) + 0.5, [f"cluster {k}" for k in range(n_clusters)])
    for text, colour in zip(axis.get_ticklabels(), cluster_colours(n_clusters), strict=True):
        text.set(color=colour, weight="bold")


def _write_cells(ax, texts, colours) -> None:
    """Text in the middle of every cell of a heat map, dark on light cells and light on dark."""
    luminance = colours[..., :3] @ (0.2126, 0.7152, 0.0722)
    for (i, j), text in np.ndenumerate(texts):
        ink = style.INK if luminance[i, j] > 0.45 else "white"
        ax.text(j + 0.5, i + 0.5, as_label(text), ha="center", va="center", fontsize=7, color=ink)


def _image(ax, image, left: float, top: float, scale: dict):
    """One image with a frame, its upper left corner at (left, top)."""
    height, width = image.shape
    extent = (left, left + width, top + height, top)
    frame: dict[str, Any] = {"fill": False, "edgecolor": style.GRID, "linewidth": 0.8}
    ax.add_patch(plt.Rectangle((left, top), width, height, **frame))
    return ax.imshow(image, extent=extent, interpolation="nearest", **scale)


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
