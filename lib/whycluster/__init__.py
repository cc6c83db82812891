"""Interpretable and deep clustering of tables: which clusters, and why this row in that one?"""

from whycluster.explanation import Explanation
from whycluster.idc import IDC

__version__ = "0.1.0"

__all__ = ["IDC", "Explanation"]
