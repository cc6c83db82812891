"""Interpretable mesomorphic networks: one on the whole table, one in each cluster."""

from whycluster.imn.clusterwise import ClusterwiseIMN
from whycluster.imn.estimators import (
    IMNClassifier,
    IMNRegressor,
    TabResNetClassifier,
    TabResNetRegressor,
)

__all__ = [
    "ClusterwiseIMN",
    "IMNClassifier",
    "IMNRegressor",
    "TabResNetClassifier",
    "TabResNetRegressor",
]
