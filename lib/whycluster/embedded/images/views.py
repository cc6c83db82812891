"""Random views of images: what SimCLR shows a network instead of the image itself.

A view is a random part of the image, scaled back to its size, perhaps mirrored, with other colours.
All images of a batch are changed at once, on their device; each draws its own numbers, and each
model of a stack draws from its own stream.

Chen, Kornblith, Norouzi, Hinton (2020). A Simple Framework for Contrastive Learning of Visual
Representations. ICML, Appendices A and B.9. (SimCLR)
Grill et al. (2020). Bootstrap Your Own Latent. NeurIPS. (solarising)
DeVries and Taylor (2017). Improved Regularization of Convolutional Neural Networks with Cutout.

Deviations from the papers
--------------------------
1. Parts begin and end between pixels, too, and their shape is drawn from those that fit into the
   image; others draw whole pixels, and again where a part does not fit.
2. Brightness, contrast, saturation and hue change in this order; others shuffle it for each image.
3. No Gaussian blur: SimCLR leaves it out for images of 32x32 pixels.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields

import torch
from torch import Tensor
from torch.nn import functional as F

from whycluster.contract.wording import without_defaults
from whycluster.training.streams import Streams

ASPECTS = (3 / 4, 4 / 3)  # range of width over height of a part, in pixels
LUMA = (0.299, 0.587, 0.114)  # shares of red, green and blue in brightness, ITU-R BT.601
N_DRAWS = 14  # random numbers per image


@dataclass(frozen=True, repr=False)
class Views:
    """How random views of an image are drawn; the default is SimCLR's recipe for CIFAR-10.

    Hue, saturation and grey are for images of three channels: red, green, blue. Others keep to the
    rest.

    Parameters
    ----------
    crop : float in (0, 1], default=0.08
        Smallest share of the area that is seen; the largest is 1, the whole image.
    flip : float in [0, 1], default=0.5
        Chance of being mirrored, left and right. 0 where that changes what is seen, as for digits.
    jitter : float in [0, 1], default=0.8
        Chance that the next four are changed.
    brightness, contrast, saturation : float in [0, 1], default=0.4
        Largest relative change.
    hue : float in [0, 0.5], default=0.1
        Largest shift, in turns of the colour wheel.
    grey : float in [0, 1], default=0.2
        Chance of losing all colour.
    solarise : float in [0, 1], default=0
        Chance that values above one half are inverted.
    cutout : float in [0, 1], default=0
        Side of a square that is hidden, as a share of the shorter side of the image.

    Raises
    ------
    ValueError
        Naming the setting that is out of range.

    Examples
    --------
    >>> x = torch.rand(2, 5, 3 * 8 * 8)  # two models, five images of 8x8 pixels
    >>> Views(flip=0.0).draw(x, (3, 8, 8), Streams([0, 1])).shape
    torch.Size([2, 5, 192])
    """

    crop: float = 0.08
    flip: float = 0.5
    jitter: float = 0.8
    brightness: float = 0.4
    contrast: float = 0.4
    saturation: float = 0.4
    hue: float = 0.1
    grey: float = 0.2
    solarise: float = 0.0
    cutout: float = 0.0

    def __post_init__(self) -> None:
        """Check every setting."""
        for field in fields(self):
            value, most = getattr(self, field.name), 0.5 if field.name == "hue" else 1
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            if not is_number or not 0 <= value <= most or (field.name == "crop" and value == 0):
                least = "above 0" if field.name == "crop" else "from 0"
                raise ValueError(f"{field.name}={value!r} is not a number {least} to {most}")

    __repr__ = without_defaults

    def draw(self, x: Tensor, image_shape: tuple[int, int, int], streams: Streams) -> Tensor:
        """Draw a view of each image.

        Parameters
        ----------
        x : Tensor of shape (n_models, batch, channels * height * width)
            Intensities in [0, 1].
        image_shape : (channels, height, width)
        streams : Streams
            One generator per model.

        Returns
        -------
        Tensor of the shape of `x`
            In [0, 1].
        """
        draws = streams.uniform(x.shape[1], N_DRAWS).flatten(0, 1).unbind(dim=1)
        images = x.reshape(-1, *image_shape)
        images = see_part(images, *self._part(draws[:4], image_shape), draws[4] < self.flip)
        images = self._recolour(images, draws[5:10])
        if image_shape[0] == 3:
            images = torch.where(_each(draws[10] < self.grey), luminance(images), images)
        images = torch.where(_each(draws[11] < self.solarise) & (images >= 0.5), 1 - images, images)
        return self._cut_out(images, draws[12:]).view_as(x)

    def _part(self, draws, image_shape) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return left, top, width and height of a part, as shares of the image."""
        _, n_rows, n_columns = image_shape
        area = self.crop + (1 - self.crop) * draws[0]
        most = -area.log()  # of log(width / height), where either is the whole of the image
        low, high = (
            (math.log(aspect * n_rows / n_columns) * torch.ones_like(most)).clamp(-most, most)
            for aspect in ASPECTS
        )
        aspect = (low + (high - low) * draws[1]).exp()
        width, height = (area * aspect).sqrt(), (area / aspect).sqrt()
        return (1 - width) * draws[2], (1 - height) * draws[3], width, height

    def _recolour(self, images: Tensor, draws) -> Tensor:
        signed = [_each(2 * draw - 1) for draw in draws[1:]]
        changed = (images * (1 + self.brightness * signed[0])).clamp(0, 1)
        middle = luminance(changed).mean(dim=(1, 2, 3), keepdim=True)
        changed = _away_from(middle, changed, 1 + self.contrast * signed[1])
        if images.shape[1] == 3:
            grey = luminance(changed)
            changed = _away_from(grey, changed, 1 + self.saturation * signed[2])
            changed = turn_hue(changed, self.hue * signed[3])
        return torch.where(_each(draws[0] < self.jitter), changed, images)

    def _cut_out(self, images: Tensor, draws) -> Tensor:
        """Hide a square, of which at least the centre is inside the image, behind grey."""
        if self.cutout == 0:
            return images
        n_rows, n_columns = images.shape[2:]
        half = self.cutout * min(n_rows, n_columns) / 2
        rows, columns = (
            torch.arange(n, device=images.device) + 0.5 - n * draw[:, None]
            for n, draw in zip((n_rows, n_columns), draws, strict=True)
        )
        is_hidden = (rows.abs() < half)[:, None, :, None] & (columns.abs() < half)[:, None, None]
        return images.masked_fill(is_hidden, 0.5)


def see_part(
    images: Tensor, left: Tensor, top: Tensor, width: Tensor, height: Tensor, is_flipped: Tensor
) -> Tensor:
    """Scale a part of each image to the size of the image, bilinearly.

    Parameters
    ----------
    images : Tensor of shape (n_images, channels, height, width)
    left, top, width, height : Tensor of shape (n_images,)
        Of the part, as shares of the image.
    is_flipped : Tensor of bool of shape (n_images,)
        Whether the part is mirrored, left and right.

    Returns
    -------
    Tensor of the shape of `images`
    """
    sign = torch.where(is_flipped, -1.0, 1.0)
    zero = torch.zeros_like(left)
    across = torch.stack([sign * width, zero, 2 * left + width - 1], dim=1)
    down = torch.stack([zero, height, 2 * top + height - 1], dim=1)
    grid = F.affine_grid(
        torch.stack([across, down], dim=1), list(images.shape), align_corners=False
    )
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


def luminance(images: Tensor) -> Tensor:
    """Return grey images (n_images, 1, height, width); those of other than 3 channels averaged."""
    if images.shape[1] != 3:
        return images.mean(dim=1, keepdim=True)
    shares = torch.tensor(LUMA, device=images.device).view(3, 1, 1)
    return (images * shares).sum(dim=1, keepdim=True)


def turn_hue(images: Tensor, turn: Tensor) -> Tensor:
    """Shift the hue of colour images.

    Parameters
    ----------
    images : Tensor of shape (n_images, 3, height, width)
        Red, green and blue in [0, 1].
    turn : Tensor broadcastable to (n_images, 1, height, width)
        In turns of the colour wheel.

    Returns
    -------
    Tensor of the shape of `images`
    """
    red, green, blue = images.unbind(dim=1)
    value, largest = images.max(dim=1)
    chroma = value - images.amin(dim=1)
    span = torch.where(chroma > 0, chroma, 1.0)
    sixths = torch.stack([(green - blue) / span, (blue - red) / span + 2, (red - green) / span + 4])
    hue = sixths.gather(0, largest[None])[0] + 6 * turn.squeeze(1)  # in sixths of a turn
    places = [(n + hue) % 6 for n in (5, 3, 1)]
    return torch.stack(
        [value - chroma * torch.minimum(k, 4 - k).clamp(0, 1) for k in places], dim=1
    )


def as_views(views: Views | Mapping | None) -> Views:
    """Return settings that may come as a mapping, as from a file, as Views; None: the default."""
    if views is None:
        return Views()
    return Views(**views) if isinstance(views, Mapping) else views


def _away_from(base: Tensor, images: Tensor, factor: Tensor) -> Tensor:
    return (base + factor * (images - base)).clamp(0, 1)


def _each(values: Tensor) -> Tensor:
    """Return one value per image so that it meets (n_images, channels, height, width)."""
    return values.view(-1, 1, 1, 1)
