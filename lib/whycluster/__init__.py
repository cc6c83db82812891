"""Interpretable and deep clustering of tables: which clusters, and why this row in that one?"""

__version__ = "0.1.0"
