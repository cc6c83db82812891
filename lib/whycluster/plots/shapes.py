"""What features add to clusters, over their values: the graphs of additive models."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes

from whycluster.plots import style
from whycluster.plots.style import as_label, cluster_colours, drawing

FEW_VALUES = 12  # up to so many are drawn one by one
MANY_CLUSTERS = 10  # of more, those that the feature moves least are drawn grey


@drawing
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
        In logits; drawn as one line per cluster. Of more than ten clusters, the ten of largest
        mean absolute contribution are named in their colours, the others are grey.
    density : array-like of shape (n_values,)
        Share of the rows at each value, drawn as grey bars on a scale of its own.
    feature_name : str
        Written at the axis.
    term : str
        What is added, with unit.

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
    ax = style.new_axes(ax, 4.6, 3.2)
    ax.axhline(0, color=style.GRID, linewidth=1)
    marker: dict[str, Any] = {"marker": "o", "markersize": 3} if len(values) <= FEW_VALUES else {}
    colours = cluster_colours(contributions.shape[1])
    named = np.sort(style.strongest(density @ np.abs(contributions), MANY_CLUSTERS))
    others = np.setdiff1d(np.arange(len(colours)), named)
    for k in named:
        ax.plot(values, contributions[:, k], color=colours[k], label=f"cluster {k}", **marker)
    for k in others:
        label = f"{len(others)} other{'s' * (len(others) > 1)}" if k == others[0] else None
        ax.plot(values, contributions[:, k], color=style.GRID, zorder=1, label=label, **marker)
    _density(ax, values, density)
    style.add_legend(ax)
    return style.finish(ax, as_label(feature_name), term, grid=None)


@drawing
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
    ax = style.new_axes(ax, 4.4, 3.4)
    is_empty = False if density is None else np.asarray(density) == 0
    shown = np.ma.array(contributions, mask=is_empty).T
    scale = style.two_sided(float(np.abs(contributions).max()) or 1.0)
    image = ax.pcolormesh(values, values_2, shown, shading="nearest", **scale)
    style.colour_bar(ax, image, label)
    return style.finish(ax, *map(as_label, feature_names), grid=None)


def _density(ax, values, density) -> None:
    """Grey bars below the lines, a fifth of the height, on a scale of their own."""
    below = ax.twinx()
    edges = np.concatenate([values[:1], (values[1:] + values[:-1]) / 2, values[-1:]])
    widths = np.diff(edges)
    if len(values) <= FEW_VALUES:
        widths = np.full(len(values), 0.3 * np.diff(values).min() if len(values) > 1 else 0.3)
    else:
        density = density / np.maximum(widths, np.finfo(float).tiny)
    below.bar(values, density, width=widths, color=style.NEUTRAL, alpha=0.25, linewidth=0)
    below.set_ylim(0, 5 * density.max())
    below.set_axis_off()
