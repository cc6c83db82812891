"""Trees: of questions that lead to clusters, and of merges that made them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from scipy.cluster import hierarchy

from whycluster.plots import style
from whycluster.plots.style import as_label, cluster_colours, drawing


@drawing
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
    """
    depth, is_drawn, is_cut = _tree_levels(parents, questions, max_depth)
    across = _tree_columns(parents, is_drawn)
    drawn = np.flatnonzero(is_drawn).tolist()
    n_leaves = len([i for i in drawn if not questions[i] or is_cut[i]])
    height = 0.9 + 0.85 * depth[is_drawn].max()
    ax = style.new_axes(ax, np.clip(1.15 * n_leaves, 4, 16), height)
    colours = cluster_colours(max(clusters) + 1)
    for i in drawn:
        if parents[i] >= 0:
            xs, ys = (across[parents[i]], across[i]), (-depth[parents[i]], -depth[i])
            ax.plot(xs, ys, color=style.NEUTRAL, linewidth=1, zorder=1)
        if questions[i] and not is_cut[i]:
            text, face, ink = f"{as_label(questions[i])}?", "white", style.INK
        else:
            text = "…" if is_cut[i] else f"cluster {clusters[i]}"
            face, ink = (style.GRID, style.INK) if is_cut[i] else (colours[clusters[i]], "white")
            text = f"{text}\n{n_rows[i]} rows"
        box = {"boxstyle": "round,pad=0.35", "facecolor": face, "edgecolor": style.NEUTRAL}
        place: dict[str, Any] = {
            "ha": "center",
            "va": "center",
            "fontsize": style.FONT - 1,
            "zorder": 2,
        }
        ax.text(across[i], -depth[i], text, color=ink, bbox=box, **place)
    ax.set(xlim=(-0.6, n_leaves - 0.4), ylim=(-depth[is_drawn].max() - 0.5, 0.5))
    ax.set_axis_off()
    ax.set_title("yes: left, no: right", fontsize=style.FONT - 1, color=style.NEUTRAL, loc="right")
    return ax


@drawing
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

    Raises
    ------
    ValueError
        Not one label per row of the tree.
    """
    tree, labels = np.asarray(tree, dtype=float), np.asarray(labels)
    if labels.shape != (len(tree) + 1,):
        raise ValueError(f"a tree of {len(tree) + 1} rows and labels of shape {labels.shape}")
    ax = style.new_axes(ax, 8.0, 3.6)
    owner = _branch_owner(tree, labels)
    colours = [*cluster_colours(labels.max() + 1), style.NEUTRAL]  # -1, the last: mixed branches
    cut = {"p": max_leaves, "truncate_mode": "lastp"}
    shown = hierarchy.dendrogram(
        tree, **cut, link_color_func=lambda node: colours[owner[node]], ax=ax
    )
    style.finish(ax, "row, or number of rows in parentheses", "mean distance merged", grid="y")
    ax.tick_params(axis="x", length=0, labelrotation=90, labelsize=style.FONT - 2)
    for text, node in zip(ax.get_xticklabels(), shown["leaves"], strict=True):
        text.set_color(colours[owner[node]])
    return ax


def _branch_owner(tree, labels) -> np.ndarray:
    """The cluster of every row and merge of a tree, -1 where rows of several meet."""
    owner = np.full(2 * len(tree) + 1, -1)
    owner[: len(labels)] = labels
    for merge, (left, right) in enumerate(tree[:, :2].astype(int), start=len(labels)):
        owner[merge] = owner[left] if owner[left] == owner[right] else -1
    return owner


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
    below: dict[int, list[int]] = {i: [] for i in np.flatnonzero(is_drawn).tolist()}
    for i in list(below)[1:]:
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
