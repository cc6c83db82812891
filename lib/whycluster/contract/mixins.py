"""What some estimators are besides: transformers to float32, and answers with a gradient."""

from typing import Any

from sklearn.base import (
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
)
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn


class Float32Transformer(ClassNamePrefixFeaturesOutMixin, TransformerMixin):
    """A transformer to float32, whatever X is, whose columns are named after its class."""

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags


class Differentiable:
    """An estimator whose answer has a gradient in the row, for attribution after the fact."""

    network_: Any
    _decided_by = "logits"  # of what its network answers

    def decision_module(self) -> nn.Module:
        """Return the map from rows (n, n_features) to logits or predictions (n, n_outputs)."""
        check_is_fitted(self)
        return _Decision(self.network_, self._decided_by)


class _Decision(nn.Module):
    """A stack of one as a plain map from rows to one of its answers."""

    def __init__(self, network: nn.Module, answer: str):
        super().__init__()
        self.network = network
        self.answer = answer

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x[None])[self.answer][0]
