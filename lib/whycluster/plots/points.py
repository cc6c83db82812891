"""Rows as points, in the plane or in space."""

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap

from whycluster.plots import style
from whycluster.plots.style import as_label, cluster_colours, drawing


@drawing
def embedding(
    points,
    labels,
    *,
    axis_names: Sequence[str] = ("component 1", "component 2"),
    names: Sequence | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Rows as points in the plane, coloured by cluster or class.

    Parameters
    ----------
    points : array-like of shape (n_samples, 2)
        Coordinates.
    labels : array-like of int of shape (n_samples,)
        Clusters from 0; -1 is drawn grey as "no cluster".
    axis_names : pair of str
        What the coordinates are, with unit.
    names : sequence, optional
        What labels 0, 1, ... stand for, as written in the legend; clusters where it is None.

    Raises
    ------
    ValueError
        Points that are not two columns, not one integer label per point, or too few names.
    """
    points, labels = _check(points, np.asarray(labels), 2, "label")
    if names is not None and len(names) <= labels.max():
        raise ValueError(f"{len(names)} names for labels up to {labels.max()}; give one per label")
    ax = style.new_axes(ax, 5.6, 4.4)
    _scatter_clusters(ax, points, labels, names)
    return style.finish(ax, *axis_names, grid=None)


@drawing
def embedding_3d(
    points,
    labels,
    *,
    axis_names: Sequence[str] = ("component 1", "component 2", "component 3"),
    ax: Axes | None = None,
) -> Axes:
    """Rows as points in space, coloured by cluster; an `ax` needs `projection="3d"`.

    Parameters
    ----------
    points : array-like of shape (n_samples, 3)
        Coordinates.
    labels : array-like of int of shape (n_samples,)
        Clusters from 0; -1 is drawn grey as "no cluster".
    axis_names : three str
        What the coordinates are, with unit.

    Raises
    ------
    ValueError
        Points that are not three columns, not one integer label per point, or flat Axes.
    """
    points, labels = _check(points, np.asarray(labels), 3, "label")
    if ax is None:
        ax = plt.figure(figsize=(6.4, 4.8), dpi=110).add_subplot(projection="3d")
    if ax.name != "3d":
        raise ValueError("ax is flat; make it with projection='3d'")
    _scatter_clusters(ax, points, labels)
    for axis, name in zip("xyz", axis_names, strict=True):
        getattr(ax, f"set_{axis}label")(name, fontsize=style.FONT, color=style.INK)
        look: dict[str, Any] = {"axis": axis, "labelsize": style.FONT - 2}
        ax.tick_params(**look, labelcolor=style.INK)
    return ax


@drawing
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
    limits: dict[str, Any] = {"vmin": -0.5, "vmax": len(centres) - 0.5}
    ax.pcolormesh(x, y, nearest, cmap=colours, alpha=0.16, zorder=0, rasterized=True, **limits)
    ax.scatter(
        centres[:, 0], centres[:, 1], marker="x", s=60, color=style.INK, linewidths=1.8, zorder=4
    )
    return ax


@drawing
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

    Raises
    ------
    ValueError
        Points that are not two columns, or not one doubt in [0, 1] per point.
    """
    points, doubt = _check(points, np.asarray(doubt, dtype=float), 2, "doubt")
    if doubt.min() < 0 or doubt.max() > 1:
        raise ValueError(f"doubt runs from {doubt.min():.3g} to {doubt.max():.3g}; give 0 to 1")
    ax = style.new_axes(ax, 5.6, 4.4)
    order = np.argsort(doubt)  # the most doubtful on top
    dots: dict[str, Any] = {"c": doubt[order], "cmap": style.SEQUENTIAL, "vmin": 0}
    x, y = points[order].T
    image = ax.scatter(x, y, **dots, **_dots(len(points)))
    style.colour_bar(ax, image, label)
    return style.finish(ax, "component 1", "component 2", grid=None)


def _check(points, values, n_columns: int, what: str) -> tuple[np.ndarray, np.ndarray]:
    """Return points and what they show, one value each."""
    points = np.asarray(points, dtype=float)
    if points.ndim != 2 or points.shape[1] != n_columns or values.shape != points.shape[:1]:
        raise ValueError(
            f"points have shape {points.shape} and {what}s {values.shape}; "
            f"give {('two', 'three')[n_columns - 2]} columns and one {what} per point"
        )
    return points, values


def _dots(n_points: int) -> dict:
    """Dots the smaller the more there are; thousands are drawn as pixels, even in a PDF."""
    size = float(np.clip(6000 / n_points, 4, 28))
    return {"s": size, "linewidths": 0, "rasterized": n_points > 2000}


def _scatter_clusters(ax, points, labels, names=None) -> None:
    """Dots in the colours of their clusters, with a legend that counts them."""
    colours = cluster_colours(labels.max() + 1)
    if names is None:
        names = [f"cluster {k}" for k in range(len(colours))]
    dots = _dots(len(points))
    for k in np.unique(labels):
        rows = points[labels == k]
        name, colour = "no cluster", style.NEUTRAL
        if k >= 0:
            name, colour = as_label(str(names[k])), colours[k]
        ax.scatter(*rows.T, color=colour, alpha=0.75, label=f"{name} ({len(rows)})", **dots)
    style.add_legend(ax, markerscale=float(np.sqrt(28 / dots["s"])), title="rows in parentheses")
