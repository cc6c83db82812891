"""ClustRecNet: which clustering algorithm suits this table?"""

from whycluster.recommender.estimator import PUBLISHED, ClustRecNet, score

__all__ = ["PUBLISHED", "ClustRecNet", "score"]
