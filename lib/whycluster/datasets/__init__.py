"""The data sets of the experiments: `load(name)` finds, verifies and reads one.

`python -m whycluster.datasets` lists what is known, present and missing.
"""

from whycluster.datasets.loading import Dataset, load
from whycluster.datasets.registry import names
from whycluster.datasets.synthetic import make_idc_synthetic
from whycluster.datasets.topics import make_topic_texts

__all__ = ["Dataset", "load", "make_idc_synthetic", "make_topic_texts", "names"]
