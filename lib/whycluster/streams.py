"""Random numbers for stacks of models: one generator per model.

Every draw has a leading model axis, and model ``i`` always draws from its own generator. A model
therefore sees the same initial weights, batches and noise whether it is trained alone or in a
stack, and a stack of ten seeds reproduces ten single runs.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor


class Streams:
    """One seeded `torch.Generator` per model.

    Parameters
    ----------
    seeds : sequence of int
        One seed per model.
    device : str or torch.device
        Where the numbers are drawn.
    """

    def __init__(self, seeds: Sequence[int], device: str | torch.device = "cpu"):
        self.device = torch.device(device)
        self.generators = [torch.Generator(self.device).manual_seed(int(seed)) for seed in seeds]

    def __len__(self) -> int:
        return len(self.generators)

    def normal(self, *shape: int) -> Tensor:
        """Draw standard normal numbers of shape (n_models, *shape)."""
        return self._fill(shape, torch.Tensor.normal_)

    def uniform(self, *shape: int) -> Tensor:
        """Draw uniform numbers in [0, 1) of shape (n_models, *shape)."""
        return self._fill(shape, torch.Tensor.uniform_)

    def gumbel(self, *shape: int) -> Tensor:
        """Draw standard Gumbel numbers of shape (n_models, *shape)."""
        return -self._fill(shape, torch.Tensor.exponential_).log()

    def permutation(self, n: int) -> Tensor:
        """Draw one permutation of ``range(n)`` per model, shape (n_models, n)."""
        return torch.stack(
            [torch.randperm(n, generator=g, device=self.device) for g in self.generators]
        )

    def batches(self, n_samples: int, batch_size: int) -> Iterator[Tensor]:
        """Yield one epoch of shuffled row indices, each of shape (n_models, rows).

        Batches differ by at most one row, so no row is left out and, for a batch size of 3 or
        more, none is alone. When all rows fit in one batch they come in their own order.
        """
        n_batches = -(-n_samples // batch_size)
        if n_batches == 1:
            yield torch.arange(n_samples, device=self.device).expand(len(self), -1)
        else:
            yield from self.permutation(n_samples).tensor_split(n_batches, dim=1)

    def state(self) -> Tensor:
        """Return the state of all generators, uint8 of shape (n_models, n_bytes)."""
        return torch.stack([g.get_state() for g in self.generators])

    def restore(self, state: Tensor) -> None:
        """Continue from a `state`."""
        for generator, row in zip(self.generators, state, strict=True):
            generator.set_state(row.cpu().clone())  # torch crashes on a row that is a view

    def _fill(self, shape: tuple[int, ...], draw) -> Tensor:
        out = torch.empty(len(self), *shape, device=self.device)
        for slot, generator in zip(out, self.generators, strict=True):
            draw(slot, generator=generator)
        return out
