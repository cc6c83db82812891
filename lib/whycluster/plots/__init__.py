"""Functions that take a matplotlib Axes and return it; one palette for all figures.

Arrays in, drawings out: nothing here knows an estimator. `ax=None` makes a figure of a size that
suits the content. Nothing is set globally: every drawing styles the Axes it was given.
"""

from whycluster.plots.curves import (
    cost_ratio,
    faithfulness_curve,
    history,
    learning_curve,
    over_epochs,
    reliability,
    silhouette_over_k,
)
from whycluster.plots.explanations import (
    cluster_profile,
    compare_importance,
    gates,
    image_gates,
    top_features,
)
from whycluster.plots.points import embedding, embedding_3d, uncertainty, voronoi
from whycluster.plots.scores import score_matrix, seed_scores, stacked_counts
from whycluster.plots.shapes import pair_shape, shape_function
from whycluster.plots.style import NAME_LENGTH, NEUTRAL, PALETTE, cluster_colours
from whycluster.plots.trees import dendrogram, tree

__all__ = [
    "NAME_LENGTH",
    "NEUTRAL",
    "PALETTE",
    "cluster_colours",
    "cluster_profile",
    "compare_importance",
    "cost_ratio",
    "dendrogram",
    "embedding",
    "embedding_3d",
    "faithfulness_curve",
    "gates",
    "history",
    "image_gates",
    "learning_curve",
    "over_epochs",
    "pair_shape",
    "reliability",
    "score_matrix",
    "seed_scores",
    "shape_function",
    "silhouette_over_k",
    "stacked_counts",
    "top_features",
    "tree",
    "uncertainty",
    "voronoi",
]
