"""What changes along an axis: training curves, scores over sizes, numbers and removals."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from whycluster.plots import style
from whycluster.plots.style import as_label, coloured, drawing


@drawing
def history(history, *, log: bool = False, ax: Axes | None = None) -> Axes:
    """Training curves: each loss over epochs.

    Parameters
    ----------
    history : mapping of str to array-like of shape (n_epochs,) or (n_epochs, n_models)
        Or a sequence of one mapping of names to values per epoch. Several models are drawn as
        thin lines of one colour.
    log : bool, default=False
        Draw the losses on a logarithmic axis; they must be positive.

    Raises
    ------
    ValueError
        Nothing to draw, or losses that are not positive on a logarithmic axis.
    """
    curves = _curves(history)
    if log and min(curve.min() for curve in curves.values()) <= 0:
        raise ValueError("some losses are not positive; draw them with log=False")
    ax = style.new_axes(ax, 5.8, 3.6)
    for name, curve, colour in coloured(curves):
        many = curve.shape[1] > 1
        look: dict[str, Any] = {"linewidth": 0.9 if many else 1.6, "alpha": 0.6 if many else 1}
        lines = ax.plot(_epochs(curve), curve, color=colour, **look)
        lines[0].set_label(name)
    if log:
        ax.set_yscale("log")
    style.add_legend(ax)
    return style.finish(ax, "epoch", "loss per row")


@drawing
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

    Raises
    ------
    ValueError
        Nothing to draw.
    """
    by_name = _curves(curves)
    ax = style.new_axes(ax, 5.8, 3.6)
    for i, epoch in enumerate(interventions):
        label = "intervention" if i == 0 else None
        ax.axvline(epoch + 0.5, color=style.NEUTRAL, linewidth=0.8, linestyle=":", label=label)
    for name, curve, colour in coloured(by_name):
        epochs = _epochs(curve)
        ax.plot(epochs, curve.mean(axis=1), color=colour, linewidth=1.4, label=name)
        ax.fill_between(epochs, curve.min(axis=1), curve.max(axis=1), color=colour, alpha=0.18)
    style.add_legend(ax)
    return style.finish(ax, "epoch", score_name)


@drawing
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

    Raises
    ------
    ValueError
        Scores that do not fit the sizes.
    """
    ax = style.new_axes(ax, 5.4, 3.4)
    for name, values, colour in coloured(scores):
        if len(values) != len(sizes):
            raise ValueError(f"{len(values)} scores of {name!r} for {len(sizes)} sizes")
        ax.plot(sizes, values, color=colour, marker="o", markersize=4, linewidth=1.4, label=name)
    if published is not None:
        style.reference_line(ax, published, "published")
    ax.set_xscale("log")
    ax.set_xticks(sizes, [str(size) for size in sizes])
    ax.minorticks_off()
    style.add_legend(ax)
    return style.finish(ax, size_name, score_name)


@drawing
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

    Raises
    ------
    ValueError
        Not one ratio per number.
    """
    ax = style.new_axes(ax, 4.8, 3.2)
    style.reference_line(ax, 1, "mini-batch k-means")
    for name, values, colour in coloured(ratios):
        if len(values) != len(n_shapes):
            raise ValueError(f"{len(values)} ratios of {name} for {len(n_shapes)} numbers")
        ax.plot(n_shapes, values, color=colour, marker="o", markersize=4.5, label=as_label(name))
    ax.set_xticks(list(n_shapes))
    style.add_legend(ax)
    return style.finish(ax, x_name, "inertia / inertia of k-means", grid="y")


@drawing
def reliability(curves: Mapping[str, tuple[Sequence, Sequence]], *, ax: Axes | None = None) -> Axes:
    """How often what is predicted happens: observed frequency against predicted probability.

    Parameters
    ----------
    curves : mapping of str to pair of array-like of shape (n_bins,)
        By method: the mean predicted probability of each bin of rows, and the share of these rows
        that are positive; both in [0, 1]. The two of `sklearn.calibration.calibration_curve` come
        in the other order.

    Raises
    ------
    ValueError
        Unequal lengths, or values outside [0, 1].
    """
    ax = style.new_axes(ax, 5.2, 3.8)
    ax.plot([0, 1], [0, 1], color=style.NEUTRAL, linewidth=1, linestyle="--", label="as predicted")
    for name, pair, colour in coloured(curves):
        predicted, observed = (_shares(values, name) for values in pair)
        if len(predicted) != len(observed):
            raise ValueError(f"{name}: {len(predicted)} probabilities, {len(observed)} frequencies")
        ax.plot(predicted, observed, color=colour, marker="o", markersize=4, label=as_label(name))
    ax.set_aspect("equal")
    style.add_legend(ax)
    return style.finish(ax, "predicted probability", "observed frequency")


@drawing
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

    Raises
    ------
    ValueError
        Unequal lengths, or a choice that was not tried.
    """
    tried, found = list(n_clusters), np.asarray(scores, dtype=float)
    if len(tried) != len(found) or not tried:
        raise ValueError(
            f"{len(tried)} numbers of clusters and {len(found)} scores; give one for each"
        )
    chosen = tried[int(found.argmax())] if chosen is None else chosen
    if chosen not in tried:
        raise ValueError(f"{chosen} clusters were not tried; tried {tried}")
    best = found[tried.index(chosen)]
    ax = style.new_axes(ax, 4.8, 3.0)
    ax.plot(tried, found, color=style.PALETTE[0], linewidth=1.4, marker="o", markersize=4.5)
    ring: dict[str, Any] = {
        "s": 110,
        "facecolor": "none",
        "edgecolor": style.PALETTE[3],
        "linewidths": 1.8,
    }
    ax.scatter(chosen, best, zorder=3, **ring)
    above: dict[str, Any] = {
        "xytext": (9, 7),
        "textcoords": "offset points",
        "color": style.PALETTE[3],
    }
    ax.annotate(f"{chosen} clusters: {best:.2f}", (chosen, best), **above, **style.HEADING)
    if minimum is not None:
        style.reference_line(ax, minimum, "least accepted")
        style.add_legend(ax, outside=False)
    ax.set_xticks(tried)
    ax.margins(x=0.12, y=0.18)
    return style.finish(ax, "number of clusters", "mean silhouette (-1 to 1)", grid="y")


@drawing
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

    Raises
    ------
    ValueError
        Unequal lengths.
    """
    importance, score = np.asarray(importance, dtype=float), np.asarray(score, dtype=float)
    if importance.shape != score.shape or importance.ndim != 1:
        raise ValueError(f"importance has shape {importance.shape} and score {score.shape}")
    ax = style.new_axes(ax, 5.2, 3.6)
    ax.plot(importance, score, color=style.PALETTE[0], linewidth=0.9, alpha=0.45)
    dots: dict[str, Any] = {"s": 18, "color": style.PALETTE[0], "linewidths": 0, "zorder": 3}
    ax.scatter(importance, score, label="one feature removed", **dots)
    if baseline is not None:
        style.reference_line(ax, baseline, "all features present")
    style.add_legend(ax, outside=False)
    return style.finish(ax, "importance of the feature removed", f"{score_name} after its removal")


def _curves(history) -> dict[str, np.ndarray]:
    """Losses by name, each of shape (n_epochs, n_models)."""
    if not isinstance(history, Mapping):
        names = list(dict.fromkeys(name for epoch in history for name in epoch))
        history = {name: [epoch[name] for epoch in history if name in epoch] for name in names}
    curves = {name: np.asarray(values, dtype=float) for name, values in history.items()}
    if not any(curve.size for curve in curves.values()):
        raise ValueError("history is empty; train for at least one epoch")
    return {name: curve.reshape(len(curve), -1) for name, curve in curves.items()}


def _shares(values, name: str) -> np.ndarray:
    """Return numbers between 0 and 1."""
    values = np.asarray(values, dtype=float)
    if not ((values >= 0) & (values <= 1)).all():
        raise ValueError(f"{name} runs from {values.min():g} to {values.max():g}, outside 0 to 1")
    return values


def _epochs(curve) -> np.ndarray:
    return np.arange(1, len(curve) + 1)
