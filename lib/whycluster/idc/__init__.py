"""IDC: clusters of a table through stochastic gates, one set for each row and each cluster."""

from whycluster.idc.estimator import IDC

__all__ = ["IDC"]
