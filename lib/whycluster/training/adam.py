"""Adam for stacks of models that do not all take every step."""

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import nn


class StackedAdam(torch.optim.Adam):
    """Adam for a stack of which only the first models may take part in a step.

    A model that sits a step out is left as it is: weights, moments and number of steps.

    Parameters
    ----------
    parameters : iterable of Parameter
        With a leading model axis.
    sizes : sequence of int
        Numbers of neighbouring models that always take part together; their sum is n_models.
    **options
        Of `torch.optim.Adam`.

    Attributes
    ----------
    n_active : int
        How many models take part in the next step; set it before each.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], sizes: Sequence[int], **options):
        self.stacked = list(parameters)
        self.n_active = sum(sizes)
        ends = np.cumsum(sizes).tolist()
        self.bounds = list(zip([0, *ends], ends, strict=False))
        # The same memory as the parameters: a leaf for each group, which Adam skips without grad.
        self.parts = [[p.detach()[a:b] for a, b in self.bounds] for p in self.stacked]
        super().__init__([part for parts in self.parts for part in parts], fused=True, **options)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients of all models."""
        for parameter in self.stacked:
            parameter.grad = None

    def step(self, closure=None) -> None:  # type: ignore[override]  # loops take no loss from it
        """Take a step with the first `n_active` models."""
        for parameter, parts in zip(self.stacked, self.parts, strict=True):
            whole = parameter.grad
            for part, (start, end) in zip(parts, self.bounds, strict=True):
                part.grad = None if whole is None or end > self.n_active else whole[start:end]
        super().step(closure)
