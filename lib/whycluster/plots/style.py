"""The look that all figures share: palette, names, axes, legends, colour scales."""

import colorsys
import inspect
from collections.abc import Iterator, Mapping
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, TwoSlopeNorm

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
HEADING: dict[str, Any] = {"fontsize": FONT, "weight": "bold"}
LEGEND_ROWS = 20  # entries of a legend that stand in one column
NAME_LENGTH = 32  # characters of a feature name that a tick label shows
GOLDEN = 0.61803398875  # fractional parts of its multiples stay apart from each other

_AX = """
ax : Axes, optional
    Where to draw; a new figure where it is None.

Returns
-------
Axes"""


def drawing(function):
    """Add what every drawing takes and returns, an Axes, to the documentation of one."""
    said, *errors = inspect.cleandoc(function.__doc__).partition("\n\nRaises\n")
    function.__doc__ = said + _AX + "".join(errors)
    return function


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


def _further_colour(k: int) -> str:
    """Colour number k beyond the palette: golden-angle steps in hue, two lightnesses."""
    red, green, blue = colorsys.hls_to_rgb(k * GOLDEN % 1, 0.36 if k % 2 else 0.58, 0.55)
    return f"#{round(255 * red):02x}{round(255 * green):02x}{round(255 * blue):02x}"


def coloured(entries: Mapping[str, Any]) -> Iterator[tuple[str, Any, str]]:
    """Yield the name and the value of each entry, and a colour of its own."""
    yield from zip(entries, entries.values(), cluster_colours(len(entries)), strict=True)


def new_axes(ax: Axes | None, width: float, height: float) -> Axes:
    """The Axes given, or that of a new figure of this size in inches."""
    if ax is not None:
        return ax
    return plt.subplots(figsize=(width, height), dpi=110, layout="constrained")[1]


def finish(ax, x_name, y_name, *, grid="both", ticks="xy", frame=True) -> Axes:
    """Name the axes and style what surrounds the drawing."""
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


def add_legend(ax, *, outside: bool = True, **options) -> None:
    """Add the legend, beside the drawing or where it hides least."""
    place = {"loc": "upper left", "bbox_to_anchor": (1.01, 1.0)} if outside else {"loc": "best"}
    n_columns = -(-len(ax.get_legend_handles_labels()[1]) // LEGEND_ROWS)
    look = {"frameon": False, "fontsize": FONT - 0.5, "labelcolor": INK, "ncols": n_columns or 1}
    legend = ax.legend(**look, **place, **options)
    legend.get_title().set(fontsize=FONT - 1, color=NEUTRAL)


def reference_line(ax, value: float, label: str) -> None:
    """Draw what scores are compared with: a dashed grey line across."""
    ax.axhline(value, color=NEUTRAL, linewidth=1, linestyle="--", label=label)


def colour_bar(ax, image, label: str) -> None:
    """Add the scale of the colours of `image`, with its name."""
    bar = ax.figure.colorbar(image, ax=ax, fraction=0.05, pad=0.02)
    bar.set_label(label, fontsize=FONT, color=INK)
    bar.ax.tick_params(labelsize=FONT - 1, color=NEUTRAL, labelcolor=INK, length=3)
    bar.outline.set_visible(False)


def colour_scale(matrix, vmax: float | None) -> dict:
    """Two-sided around 0 for signed values, else from 0 to at least vmax."""
    largest = float(np.abs(matrix).max()) or 1.0
    if matrix.min() < -1e-9 * largest:  # beyond rounding
        return two_sided(largest)
    return {"cmap": SEQUENTIAL, "vmin": 0, "vmax": max(largest, vmax or 0)}


def two_sided(largest: float) -> dict:
    """The colour scale from -largest to largest, 0 white."""
    return {"cmap": DIVERGING, "norm": TwoSlopeNorm(0, -largest, largest)}


def as_label(name: str) -> str:
    """A name fit for a tick label; `$` would start a formula."""
    text = " ".join(str(name).split())
    text = text if len(text) <= NAME_LENGTH else text[: NAME_LENGTH - 1] + "…"
    return text.replace("$", r"\$")


def strongest(magnitudes, k: int) -> np.ndarray:
    """Features of largest magnitude, largest first; ties in the order of the features."""
    return np.argsort(-magnitudes, kind="stable")[:k]
