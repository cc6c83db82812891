"""Interpretable and deep clustering of tables: which clusters, and why this row in that one?

=======================================  ==========================================================
idc, neurcam, trees                      clusters that explain themselves
embedded                                 DEC, IDEC, DCN, images; soft resets (BRB)
gower, imn                               mixed tables; what drives a target per cluster
recommender                              which clustering algorithm suits a table
contract                                 what every method owes: checked input, an answer to "why?"
training                                 several models of one shape, trained as one
table                                    a user's own table, from file to answer
datasets                                 the tables of the papers
metrics, plots                           arrays in: scores out, axes out
runs                                     notebooks executed, recorded, compared, shown
=======================================  ==========================================================

Imports run one way: plots, metrics <- contract <- training <- methods <- table; runs and datasets
stand alone. `tests/project/test_architecture.py` keeps it so.
"""

import sys
import warnings
from functools import partial
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec

__version__ = "0.2.0.dev0"

# Loaded on first use: `python -m whycluster.datasets` and the runner need no torch.
_PUBLIC = {
    "BRB": "whycluster.embedded",
    "ClustRecNet": "whycluster.recommender.estimator",
    "ContrastiveClustering": "whycluster.embedded",
    "DCN": "whycluster.embedded",
    "DEC": "whycluster.embedded",
    "SoftClusteringTree": "whycluster.trees",
    "TAOClusteringTree": "whycluster.trees",
    "Explanation": "whycluster.contract.explanation",
    "GowerClustering": "whycluster.gower",
    "IDC": "whycluster.idc",
    "IDEC": "whycluster.embedded",
    "ClusterwiseIMN": "whycluster.imn",
    "IMNClassifier": "whycluster.imn",
    "IMNRegressor": "whycluster.imn",
    "TabResNetClassifier": "whycluster.imn",
    "TabResNetRegressor": "whycluster.imn",
    "NeurCAM": "whycluster.neurcam",
}

__all__ = [
    "BRB",
    "DCN",
    "DEC",
    "IDC",
    "IDEC",
    "ClustRecNet",
    "ClusterwiseIMN",
    "ContrastiveClustering",
    "Explanation",
    "GowerClustering",
    "IMNClassifier",
    "IMNRegressor",
    "NeurCAM",
    "SoftClusteringTree",
    "TAOClusteringTree",
    "TabResNetClassifier",
    "TabResNetRegressor",
]

# Modules that notebooks import from here, wherever they live.
_MODULES = {"methods": "whycluster.table.methods", "published": "whycluster.runs.published"}


def __getattr__(name: str):
    """Import a public name where it is first asked for."""
    if name in _MODULES:
        return import_module(_MODULES[name])
    if name not in _PUBLIC:
        raise AttributeError(f"module 'whycluster' has no attribute {name!r}")
    return getattr(import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    """List public names, loaded or not."""
    return sorted({*globals(), *_PUBLIC, *_MODULES})


class _Moved(MetaPathFinder, Loader):
    """Finds modules by the names that scripts and reports of before the move know them by."""

    names = {  # noqa: RUF012
        "whycluster.attribution": "whycluster.contract.attribution",
        "whycluster.representations": "whycluster.embedded.representations",
        "whycluster.text": "whycluster.table.texts",
    }

    def find_spec(self, name, path=None, target=None) -> ModuleSpec | None:
        return ModuleSpec(name, self) if name in self.names else None

    def exec_module(self, module) -> None:
        new = self.names[module.__name__]
        warnings.warn(f"{module.__name__} is now {new}", DeprecationWarning, stacklevel=2)
        module.__getattr__ = partial(getattr, import_module(new))


sys.meta_path.append(_Moved())
