"""Clusters in a learned embedding: DEC, IDEC, DCN, contrastive clustering, and BRB on them."""

from whycluster.embedded.brb import BRB
from whycluster.embedded.contrastive import ContrastiveClustering
from whycluster.embedded.dec import DCN, DEC, IDEC

__all__ = ["BRB", "DCN", "DEC", "IDEC", "ContrastiveClustering"]
