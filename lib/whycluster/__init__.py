"""Interpretable and deep clustering of tables: which clusters, and why this row in that one?

==============================================  ================================================
idc, neurcam, trees                             clusters that explain themselves
embedded                                        DEC, IDEC, DCN, images; soft resets (BRB)
gower, imn                                      mixed tables; what drives a target per cluster
recommender                                     which clustering algorithm suits a table
explanation, attribution                        the answer to "why?", in one form for all
stacked, modules, losses, training, streams...  several models of one shape, trained as one
table, text, representations, datasets          where rows come from
metrics, plots, methods, published, runs        judging, drawing, comparing, executing
==============================================  ================================================
"""

from importlib import import_module

__version__ = "0.1.0"

# Loaded on first use: `python -m whycluster.datasets` and the runner need no torch.
_PUBLIC = {
    "BRB": "whycluster.embedded",
    "ClustRecNet": "whycluster.recommender.estimator",
    "ContrastiveClustering": "whycluster.embedded",
    "DCN": "whycluster.embedded",
    "DEC": "whycluster.embedded",
    "SoftClusteringTree": "whycluster.trees",
    "TAOClusteringTree": "whycluster.trees",
    "Explanation": "whycluster.contract.explanation",
    "GowerClustering": "whycluster.gower",
    "IDC": "whycluster.idc.estimator",
    "IDEC": "whycluster.embedded",
    "ClusterwiseIMN": "whycluster.imn",
    "IMNClassifier": "whycluster.imn",
    "IMNRegressor": "whycluster.imn",
    "TabResNetClassifier": "whycluster.imn",
    "TabResNetRegressor": "whycluster.imn",
    "NeurCAM": "whycluster.neurcam",
}

__all__ = [
    "BRB",
    "DCN",
    "DEC",
    "IDC",
    "IDEC",
    "ClustRecNet",
    "ClusterwiseIMN",
    "ContrastiveClustering",
    "Explanation",
    "GowerClustering",
    "IMNClassifier",
    "IMNRegressor",
    "NeurCAM",
    "SoftClusteringTree",
    "TAOClusteringTree",
    "TabResNetClassifier",
    "TabResNetRegressor",
]


def __getattr__(name: str):
    """Import a public name where it is first asked for."""
    if name not in _PUBLIC:
        raise AttributeError(f"module 'whycluster' has no attribute {name!r}")
    return getattr(import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    """List public names, loaded or not."""
    return sorted({*globals(), *_PUBLIC})
