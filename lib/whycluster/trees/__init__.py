"""Clustering trees: a path of yes-or-no questions leads every row to its cluster."""

from whycluster.trees.soft import SoftClusteringTree
from whycluster.trees.tao import TAOClusteringTree

__all__ = ["SoftClusteringTree", "TAOClusteringTree"]
