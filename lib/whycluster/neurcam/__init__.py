"""NeurCAM and Neur2CAM: memberships as sums of shape functions of single features and pairs."""

from whycluster.neurcam.estimator import NeurCAM

__all__ = ["NeurCAM"]
