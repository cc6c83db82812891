"""Mixed tables: Gower distances, and clusters under them."""

from whycluster.gower.clustering import GowerClustering
from whycluster.gower.distances import GowerSpace, gower_distances

__all__ = ["GowerClustering", "GowerSpace", "gower_distances"]
