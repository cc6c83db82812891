"""Random numbers for stacks of models: one generator per model.

Every draw has a leading model axis, and model ``i`` always draws from its own generator. A model
therefore sees the same initial weights, batches and noise whether it is trained alone or in a
stack, and a stack of ten seeds reproduces ten single runs.
"""

import math
from collections.abc import Iterator, Sequence

import numpy as np
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

    @property
    def seeds(self) -> list[int]:
        """The seed of each model."""
        return [generator.initial_seed() for generator in self.generators]

    def head(self, n_models: int) -> "Streams":
        """Return the streams of the first models; what they draw is drawn from these."""
        first = Streams([], self.device)
        first.generators = self.generators[:n_models]
        return first

    def fork(self) -> "Streams":
        """Return streams with seeds of their own; what they draw leaves these where they are."""
        sequences = [np.random.SeedSequence((seed, 1)) for seed in self.seeds]
        return Streams([int(each.generate_state(1)[0]) for each in sequences], self.device)

    def normal(self, *shape: int) -> Tensor:
        """Draw standard normal numbers of shape (n_models, *shape)."""
        return self._fill(shape, torch.Tensor.normal_)

    def uniform(self, *shape: int) -> Tensor:
        """Draw uniform numbers in [0, 1) of shape (n_models, *shape)."""
        return self._fill(shape, torch.Tensor.uniform_)

    def gumbel(self, *shape: int) -> Tensor:
        """Draw standard Gumbel numbers of shape (n_models, *shape)."""
        return -self._fill(shape, torch.Tensor.exponential_).log()

    def masks(self, share: float, *shape: int) -> Tensor:
        """Draw masks of shape (n_models, *shape), uint8, 1 with probability `share` and else 0.

        In steps of 1/256: a random byte for each entry takes a seventh of the time of a float.
        """
        n_entries = math.prod(shape)
        words = torch.empty(len(self), -(-n_entries // 8), dtype=torch.int64, device=self.device)
        for row, generator in zip(words, self.generators, strict=True):
            row.random_(-(2**63), None, generator=generator)
        threshold = round(share * 256)
        if threshold in (0, 256):
            sure = torch.tensor(threshold == 256, dtype=torch.uint8, device=self.device)
            return sure.repeat(len(self), *shape)
        # 1 below the threshold, and else 0: a comparison takes several times as long.
        clipped = words.view(torch.uint8)[:, :n_entries].clamp(threshold - 1, threshold)
        return (threshold - clipped).view(len(self), *shape)

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

    def batches_within(self, rows: Sequence[Tensor], batch_size: int) -> Iterator[Tensor]:
        """Yield one epoch of batches for models that have rows of their own.

        Every batch of every model has `batch_size` rows: the last one of an epoch is filled up
        with rows from its beginning. Models with fewer batches than others are missing from the
        later ones, which therefore hold the first models only.

        Parameters
        ----------
        rows : sequence of n_models int tensors
            Indices of the rows of each model, in the order of falling length.
        batch_size : int

        Yields
        ------
        Tensor of shape (n_active, batch_size), n_active from n_models down
        """
        n_batches = [-(-len(own) // batch_size) for own in rows]
        if n_batches != sorted(n_batches, reverse=True):
            raise ValueError("models must come in the order of falling numbers of rows")
        order = torch.zeros(
            len(rows), n_batches[0] * batch_size, dtype=torch.int64, device=self.device
        )
        for own, n, generator, slot in zip(rows, n_batches, self.generators, order, strict=True):
            shuffled = own[torch.randperm(len(own), generator=generator, device=self.device)]
            n_copies = -(-n * batch_size // len(own))
            slot[: n * batch_size] = shuffled.repeat(n_copies)[: n * batch_size]
        for i, batch in enumerate(order.split(batch_size, dim=1)):
            yield batch[: sum(n > i for n in n_batches)]

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


def restart_seeds(seeds: Sequence[int], n_init: int) -> list[int]:
    """Return `n_init` seeds for each seed: itself and then others, in a row.

    A single restart is so the first of many.

    Examples
    --------
    >>> restart_seeds([7, 8], 1)
    [7, 8]
    """
    others = (np.random.RandomState(seed).randint(2**31 - 1, size=n_init - 1) for seed in seeds)
    return [s for seed, more in zip(seeds, others, strict=True) for s in (seed, *more.tolist())]
