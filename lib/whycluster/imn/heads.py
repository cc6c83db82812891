"""What a target is: classes or numbers, from the rows to learn from to answers and losses.

A head knows how targets are encoded, what each model of a stack is told of its own rows, what the
output costs, and whose explanation a row asks for.
"""

import numpy as np
import torch
from sklearn.utils.class_weight import compute_class_weight
from torch import Tensor
from torch.nn import functional as F

from whycluster.training import losses


class Classes:
    """Classes: logits, cross-entropy, weights. Two classes have one output, the second's logit.

    Parameters
    ----------
    classes : ndarray of shape (n_classes,)
    class_weight : {"balanced"}, dict or None
    """

    def __init__(self, classes: np.ndarray, class_weight=None):
        self.classes = classes
        self.class_weight = class_weight
        self.n_outputs = 1 if len(classes) == 2 else len(classes)

    def encode(self, y, rows) -> np.ndarray:
        """Return targets as 0 and 1, (n_samples, n_classes); `rows` are those of each model."""
        codes = np.searchsorted(self.classes, y)
        for own in rows:
            present = np.unique(codes[own])
            if len(present) < 2:
                name = self.classes.tolist()[present[0]]
                raise ValueError(
                    f"y has one class, {name!r}, in the {len(own)} rows to learn from; "
                    "a classifier needs two classes or more"
                )
        return np.eye(len(self.classes), dtype=np.float32)[codes]

    def scale_of(self, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return offset and scale of the outputs: logits are as they are."""
        return np.zeros(1), np.ones(1)

    def weights_of(self, target: np.ndarray) -> np.ndarray:
        """Return the weight of each class among rows; classes that are absent weigh nothing."""
        codes = target.argmax(axis=1)
        present = np.unique(codes)
        weights = np.zeros(len(self.classes), dtype=np.float32)
        weights[present] = compute_class_weight(
            self.class_weight, classes=self.classes[present], y=self.classes[codes]
        )
        return weights

    def loss(self, output: Tensor, target: Tensor, weight: Tensor) -> dict[str, Tensor]:
        """Return the cross-entropy of each model, (n_models,)."""
        return {"cross-entropy": losses.cross_entropy(self._logits(output), target, weight)}

    def probabilities(self, output: np.ndarray) -> np.ndarray:
        """Return the probability of each class, (n_samples, n_classes)."""
        return torch.softmax(self._logits(torch.from_numpy(output)), dim=1).numpy()

    def own_class(self, output: np.ndarray) -> np.ndarray:
        """Return the position of the class of each row."""
        return (output[:, 0] > 0).astype(int) if self.n_outputs == 1 else output.argmax(axis=1)

    def by_class(self, values: np.ndarray) -> np.ndarray:
        """Return (n_samples, n_classes, ...); of two classes the first is minus the second."""
        return np.concatenate([-values, values], axis=1) if self.n_outputs == 1 else values

    def _logits(self, output: Tensor) -> Tensor:
        return F.pad(output, (1, 0)) if self.n_outputs == 1 else output


class Numbers:
    """Numbers: standardised within, squared error."""

    n_outputs = 1

    def encode(self, y, rows) -> np.ndarray:
        """Return targets as (n_samples, 1)."""
        target = np.array(y, dtype=np.float64)  # a copy: pandas lends read-only memory
        if not np.isfinite(target).all():
            row = int(np.argmin(np.isfinite(target)))
            raise ValueError(f"y contains {target[row]} in row {row}; drop such rows first")
        return target[:, None]

    def scale_of(self, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and standard deviation of the target, 1 where it is constant."""
        spread = target.std(axis=0)
        return target.mean(axis=0), np.where(spread > 0, spread, 1.0)

    def weights_of(self, target: np.ndarray) -> np.ndarray:
        """Return 1: all rows weigh the same."""
        return np.ones(1, dtype=np.float32)

    def loss(self, output: Tensor, target: Tensor, weight: Tensor) -> dict[str, Tensor]:
        """Return the squared error of each model, (n_models,)."""
        return {"squared error": losses.reconstruction_error(output, target)}

    def own_class(self, output: np.ndarray) -> np.ndarray:
        """Return 0 for every row: there is one output."""
        return np.zeros(len(output), dtype=int)

    def by_class(self, values: np.ndarray) -> np.ndarray:
        """Return the values as they are."""
        return values
