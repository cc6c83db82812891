"""Scores and counts side by side: by seed, by place, by kind."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from whycluster.plots import style
from whycluster.plots.style import as_label, cluster_colours, drawing


@drawing
def seed_scores(
    values: Mapping[str, Sequence[float]],
    published: Mapping[str, float] | None = None,
    *,
    score_name: str = "ACC (%)",
    dot_name: str = "one seed",
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
    dot_name : str, default="one seed"
        What a dot is, where it is something else.

    Raises
    ------
    ValueError
        A published value of something that has no scores.
    """
    published = dict(published or {})
    if unknown := set(published) - set(values):
        raise ValueError(f"published value without scores: {', '.join(sorted(unknown))}")
    ax = style.new_axes(ax, 5.8, 1.3 + 0.42 * len(values))
    scores = [np.asarray(seeds, dtype=float) for seeds in values.values()]
    heights = np.concatenate([_spread(seeds, line) for line, seeds in enumerate(scores)])
    dots: dict[str, Any] = {"s": 24, "color": style.PALETTE[0], "alpha": 0.55, "linewidths": 0}
    ax.scatter(np.concatenate(scores), heights, label=dot_name, **dots)
    lines = np.arange(len(scores))
    means = [seeds.mean() for seeds in scores]
    ax.vlines(means, lines - 0.3, lines + 0.3, color=style.PALETTE[0], linewidth=2.2, label="mean")
    known = [line for line, name in enumerate(values) if name in published]
    if known:
        at = [published[name] for name in values if name in published]
        diamond: dict[str, Any] = {
            "marker": "D",
            "s": 42,
            "facecolor": "none",
            "edgecolor": style.PALETTE[3],
        }
        ax.scatter(at, known, linewidths=1.6, label="published", zorder=3, **diamond)
    ax.set_yticks(range(len(values)), [as_label(name) for name in values])
    ax.set_ylim(len(values) - 0.5, -0.5)
    style.add_legend(ax)
    return style.finish(ax, score_name, "", grid="x", ticks="x")


@drawing
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
    ax = style.new_axes(ax, 1.6 + 0.75 * len(columns), 1.2 + 0.45 * len(rows))
    image = ax.imshow(matrix, cmap=style.SEQUENTIAL, aspect="auto")
    style.colour_bar(ax, image, label)
    middle = np.nanmean([np.nanmin(matrix), np.nanmax(matrix)])
    for (i, j), value in np.ndenumerate(matrix):
        if np.isfinite(value):
            text: dict[str, Any] = {
                "color": "white" if value > middle else style.INK,
                "fontsize": style.FONT - 0.5,
            }
            ax.text(j, i, f"{value:.2f}", ha="center", va="center", **text)
    ax.set_xticks(range(len(columns)), [as_label(name) for name in columns])
    ax.set_yticks(range(len(rows)), [as_label(name) for name in rows])
    return style.finish(ax, *axis_names, grid=None, ticks="", frame=False)


@drawing
def stacked_counts(table, *, label: str = "data sets", ax: Axes | None = None) -> Axes:
    """How often each thing happened, line by line: one bar per line, one colour per column.

    Parameters
    ----------
    table : DataFrame of shape (n_lines, n_kinds)
        Counts, at least 0; the index names the lines, the columns what is counted.
    label : str, default="data sets"
        What is counted.

    Raises
    ------
    ValueError
        Negative counts.
    """
    counts = np.asarray(table, dtype=float)
    if counts.min() < 0:
        raise ValueError(f"counts hold {counts.min():g}; they are at least 0")
    ax = style.new_axes(ax, 6.4, 0.9 + 0.28 * len(counts))
    lines = np.arange(len(counts))
    ends = counts.cumsum(axis=1)
    for kind, colour in enumerate(cluster_colours(counts.shape[1])):
        width, left = counts[:, kind], ends[:, kind] - counts[:, kind]
        ax.barh(lines, width, 0.7, left, color=colour, label=str(table.columns[kind]))
    ax.set_yticks(lines, [as_label(name) for name in table.index])
    ax.invert_yaxis()
    style.add_legend(ax)
    return style.finish(ax, label, "", grid="x", ticks="x")


def _spread(scores, line: int) -> np.ndarray:
    """Heights around a line that keep equal scores apart, the same on every call."""
    return line + 0.32 * (np.arange(len(scores)) * style.GOLDEN % 1 - 0.5)
