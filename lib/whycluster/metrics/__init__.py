"""Scores of clusterings and of their explanations: arrays in, numbers out.

External scores compare labels with a reference; internal scores look at the data; interpretability
scores look at explanations. No estimator is known here, and no score that needs true labels is
ever part of a `fit`.

Where the paper of Svirsky and Lindenbaum (2024), "Interpretable Deep Clustering", and the code
released with it differ, the docstring says which is which; the library follows the paper's text
unless it says otherwise.
"""

from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from whycluster.metrics.agreement import explanation_stability
from whycluster.metrics.external import clustering_accuracy, external_scores, match_clusters
from whycluster.metrics.groups import within_groups
from whycluster.metrics.internal import (
    dunn,
    inertia,
    silhouette,
    silhouette_of_distances,
    validity_indices,
)
from whycluster.metrics.neighbours import (
    NeighbourRatios,
    neighbour_ratios,
    over_subsets,
    stability,
    uniqueness,
)
from whycluster.metrics.removal import Removal, faithfulness, remove_features
from whycluster.metrics.selection import (
    SelectedCounts,
    SelectionScore,
    diversity,
    n_selected,
    select_top,
    selection_f1,
)

__all__ = [
    "NeighbourRatios",
    "Removal",
    "SelectedCounts",
    "SelectionScore",
    "adjusted_rand_score",
    "clustering_accuracy",
    "diversity",
    "dunn",
    "explanation_stability",
    "external_scores",
    "faithfulness",
    "inertia",
    "match_clusters",
    "n_selected",
    "neighbour_ratios",
    "normalized_mutual_info_score",
    "over_subsets",
    "remove_features",
    "select_top",
    "selection_f1",
    "silhouette",
    "silhouette_of_distances",
    "stability",
    "uniqueness",
    "validity_indices",
    "within_groups",
]
