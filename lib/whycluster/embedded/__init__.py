"""Clusters in a learned embedding: DEC, IDEC, DCN, contrastive clustering, and BRB on them."""

from whycluster.embedded.brb import BRB
from whycluster.embedded.dec import DCN, DEC, IDEC
from whycluster.embedded.images.estimator import ContrastiveClustering

__all__ = ["BRB", "DCN", "DEC", "IDEC", "ContrastiveClustering"]
