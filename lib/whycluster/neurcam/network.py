"""The network of NeurCAM: shape functions of single features and of pairs, and the centres."""

import numpy as np
import torch
from torch import Tensor, nn

from whycluster.neurcam.additive import StackedShapes


class Network(nn.Module):
    """Channels of one feature, channels of two, an intercept, and the centres."""

    def __init__(
        self, n_features, n_shapes, n_pairs, n_clusters, n_dimensions, n_hidden, n_bases, streams
    ):
        super().__init__()
        basis = {"n_hidden": n_hidden, "n_bases": n_bases, "streams": streams}
        self.shapes, self.pairs = (
            StackedShapes(n_features, n, n_clusters, order=order, **basis) if n else None
            for order, n in ((1, n_shapes), (2, n_pairs))
        )
        self.intercept = nn.Parameter(torch.zeros(len(streams), 1, n_clusters))
        self.centres = nn.Parameter(torch.zeros(len(streams), n_clusters, n_dimensions))

    @property
    def parts(self) -> list[StackedShapes]:
        """Channels of one feature and of two, as far as there are any."""
        return [part for part in (self.shapes, self.pairs) if part is not None]

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Evaluate with one-hot gates."""
        return {"logits": self.logits(x, (0.0, 0.0))}

    def logits(self, x: Tensor, temperatures: tuple[float, float]) -> Tensor:
        """Return g of Eq. (12), (n_models, batch, n_clusters), at temperatures T and T₂."""
        logits = self.intercept - self.intercept.mean(dim=-1, keepdim=True)
        for part, temperature in zip((self.shapes, self.pairs), temperatures, strict=True):
            if part is not None:
                logits = logits + part(x, temperature)
        return logits

    def contributions(self, x: Tensor) -> Tensor:
        """Return f of Eq. (11), (n_models, batch, n_channels, n_clusters), with one-hot gates."""
        return torch.cat([part.contributions(part.select(x, 0.0)) for part in self.parts], dim=2)

    def channels(self) -> list[tuple[int, ...]]:
        """Return the features that each channel of the first model reads."""
        return [tuple(channel) for part in self.parts for channel in part.chosen()[0].tolist()]

    def centred_intercept(self) -> np.ndarray:
        """Return the intercept of the first model, which sums to zero over the clusters."""
        intercept = self.intercept[0, 0].detach().double().numpy()
        return intercept - intercept.mean()
