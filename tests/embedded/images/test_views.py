"""Random views: each change is what it says, for each image by itself, from the right stream."""

import colorsys

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from whycluster.embedded.images.views import Views, as_views, luminance, see_part, turn_hue
from whycluster.training.streams import Streams

STILL = dict(
    crop=1.0, flip=0.0, jitter=0.0, brightness=0.0, contrast=0.0, saturation=0.0, hue=0.0, grey=0.0
)  # a view that is the image itself
COLOUR, SQUARE = (3, 6, 6), (1, 8, 8)


@pytest.fixture
def images():
    return torch.rand(5, *COLOUR, generator=torch.Generator().manual_seed(0))


def drawn(images, seed=0, **changes):
    """Views of a batch of images, one model."""
    shape = tuple(images.shape[1:])
    rows = Views(**STILL | changes).draw(images.flatten(1)[None], shape, Streams([seed]))
    return rows[0].view_as(images)


def whole(n):
    zero, one = torch.zeros(n), torch.ones(n)
    return zero, zero, one, one


class TestParts:
    def test_the_whole_is_the_image(self, images):
        seen = see_part(images, *whole(5), torch.zeros(5, dtype=torch.bool))
        torch.testing.assert_close(seen, images, atol=1e-5, rtol=0)

    def test_flipping_mirrors_the_chosen_images(self, images):
        is_flipped = torch.tensor([True, False, True, False, False])
        seen = see_part(images, *whole(5), is_flipped)
        torch.testing.assert_close(seen[is_flipped], images[is_flipped].flip(-1))
        torch.testing.assert_close(seen[~is_flipped], images[~is_flipped], atol=1e-5, rtol=0)

    def test_a_part_is_what_interpolation_makes_of_it(self):
        images = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
        left, top = torch.tensor([0.25, 0.5]), torch.tensor([0.0, 0.5])
        half = torch.full((2,), 0.5)
        seen = see_part(images, left, top, half, half, torch.zeros(2, dtype=torch.bool))
        for image, result, x, y in zip(images, seen, (2, 4), (0, 4), strict=True):
            part = image[None, :, y : y + 4, x : x + 4]
            expected = F.interpolate(part, size=(8, 8), mode="bilinear", align_corners=False)
            inside = (..., slice(1, 7), slice(1, 7))  # the border sees pixels beside the part
            torch.testing.assert_close(result[None][inside], expected[inside])

    def test_area_and_shape_stay_in_their_ranges(self):
        views, draws = Views(crop=0.3), torch.rand(4, 2000)
        left, top, width, height = views._part(draws, (3, 20, 20))
        area = width * height
        assert 0.27 < area.min() < 0.32
        assert area.max() <= 1
        ratio = width / height
        assert 0.749 <= ratio.min() < 0.77
        assert 1.3 < ratio.max() <= 1.334
        assert (torch.stack([left, top]) >= 0).all()
        assert (torch.stack([left + width, top + height]) <= 1 + 1e-6).all()

    def test_the_shape_of_a_part_is_in_pixels(self):
        _, _, width, height = Views(crop=0.1)._part(torch.rand(4, 500), (1, 10, 40))
        assert torch.stack([width, height]).max() <= 1 + 1e-6
        pixels = (40 * width / (10 * height))[height < 0.999]
        assert pixels.min() >= 0.749
        assert pixels.max() <= 1.334


class TestColours:
    def test_no_change_leaves_the_image(self, images):
        torch.testing.assert_close(drawn(images), images, atol=1e-5, rtol=0)

    @pytest.mark.parametrize("turn", [0.0, 0.1, -0.3, 0.5])
    def test_hue_turns_as_in_the_standard_library(self, images, turn):
        turned = turn_hue(images, torch.full((5, 1, 1, 1), turn))
        for before, after in zip(
            images.permute(0, 2, 3, 1).reshape(-1, 3).tolist(),
            turned.permute(0, 2, 3, 1).reshape(-1, 3).tolist(),
            strict=True,
        ):
            hue, saturation, value = colorsys.rgb_to_hsv(*before)
            expected = colorsys.hsv_to_rgb((hue + turn) % 1, saturation, value)
            np.testing.assert_allclose(after, expected, atol=1e-5)

    def test_grey_has_no_hue_to_turn(self):
        grey = torch.full((1, 3, 2, 2), 0.4)
        torch.testing.assert_close(turn_hue(grey, torch.tensor(0.3).view(1, 1, 1, 1)), grey)

    def test_luminance_is_that_of_the_standard(self):
        primaries = torch.eye(3).view(3, 3, 1, 1)
        np.testing.assert_allclose(luminance(primaries).flatten(), [0.299, 0.587, 0.114])
        assert luminance(torch.full((1, 2, 1, 1), 0.5)).item() == 0.5

    def test_brightness_is_a_factor_of_its_own_for_each_image(self, images):
        ratio = drawn(0.5 * images, jitter=1.0, brightness=0.4) / (0.5 * images)
        flat = ratio.flatten(1)
        assert (flat.amax(dim=1) - flat.amin(dim=1)).max() < 1e-3
        assert len(set(flat[:, 0].round(decimals=3).tolist())) == 5
        assert flat.min() > 0.6
        assert flat.max() < 1.4

    def test_contrast_keeps_the_mean_and_scales_the_rest(self, images):
        images = 0.4 + 0.2 * images  # far from black and white, which would cut it off
        changed = drawn(images, jitter=1.0, contrast=0.4)
        middle = luminance(images).mean(dim=(1, 2, 3), keepdim=True)
        factor = (changed - middle) / (images - middle)
        assert factor.flatten(1).std(dim=1).max() < 1e-2
        assert len(set(factor[:, 0, 0, 0].round(decimals=2).tolist())) > 1

    def test_saturation_keeps_luminance(self, images):
        images = 0.4 + 0.2 * images
        changed = drawn(images, jitter=1.0, saturation=0.4)
        torch.testing.assert_close(luminance(changed), luminance(images), atol=1e-5, rtol=0)
        assert (changed - images).abs().amax(dim=(1, 2, 3)).min() > 1e-4

    def test_images_of_one_channel_have_no_colour_to_lose(self):
        images = torch.rand(4, 1, 5, 5)
        changed = drawn(images, jitter=1.0, saturation=1.0, hue=0.5, grey=1.0)
        torch.testing.assert_close(changed, images, atol=1e-5, rtol=0)

    def test_grey_images_have_equal_channels(self, images):
        grey = drawn(images, grey=1.0)
        expected = luminance(images).expand_as(images)
        torch.testing.assert_close(grey, expected, atol=1e-5, rtol=0)

    def test_solarising_inverts_what_is_bright(self, images):
        expected = torch.where(images >= 0.5, 1 - images, images)
        torch.testing.assert_close(drawn(images, solarise=1.0), expected, atol=1e-5, rtol=0)

    @pytest.mark.parametrize("name", ["flip", "grey", "solarise"])
    def test_chances_are_kept(self, name):
        images = torch.rand(1000, 3, 2, 2)
        changed = (drawn(images, **{name: 0.3}) - images).abs().amax(dim=(1, 2, 3)) > 1e-4
        assert 0.25 < changed.float().mean() < 0.35

    def test_a_square_is_hidden(self):
        images = torch.rand(200, 1, 8, 8) * 0.4
        n_hidden = (drawn(images, cutout=0.5) == 0.5).sum(dim=(1, 2, 3))
        assert n_hidden.max() == 16
        assert n_hidden.min() >= 4  # in a corner, a quarter of the square


class TestDraws:
    def test_everything_stays_an_image(self, images):
        rough = Views(
            crop=0.05, brightness=1.0, contrast=1.0, saturation=1.0, hue=0.5, solarise=0.5
        )
        rows = images.repeat(20, 1, 1, 1).flatten(1)[None]
        seen = rough.draw(rows, COLOUR, Streams([0]))
        assert torch.isfinite(seen).all()
        assert seen.min() >= -1e-5
        assert seen.max() <= 1 + 1e-5

    def test_every_image_draws_for_itself_and_anew(self):
        rows = torch.rand(1, 1, 64).expand(1, 6, -1)
        streams = Streams([0])
        first, second = (Views().draw(rows, SQUARE, streams)[0] for _ in range(2))
        assert len({tuple(row) for row in torch.cat([first, second]).tolist()}) == 12

    def test_a_model_sees_the_same_alone_and_in_a_stack(self):
        rows = torch.rand(2, 7, 108)
        stack = Views().draw(rows, COLOUR, Streams([4, 5]))
        alone = Views().draw(rows[1:], COLOUR, Streams([5]))
        torch.testing.assert_close(stack[1:], alone)

    def test_a_row_of_pixels_is_an_image_too(self):
        rows = torch.rand(1, 4, 5)
        assert Views().draw(rows, (1, 1, 5), Streams([0])).shape == rows.shape

    def test_every_change_has_a_number_of_its_own(self, monkeypatch):
        numbers = torch.full((1, 1, 14), 0.4)
        monkeypatch.setattr(Streams, "uniform", lambda self, *shape: numbers)
        image = 0.1 + 0.8 * torch.rand(1, 1, 108, generator=torch.Generator().manual_seed(0))
        all_on = Views(grey=0.0, cutout=0.3)
        every = {10: Views(grey=0.5), 11: Views(solarise=0.5)}
        for i in range(14):
            views = every.get(i, all_on)
            numbers[..., i] = 0.4
            before = views.draw(image, COLOUR, Streams([0]))
            numbers[..., i] = 0.95
            after = views.draw(image, COLOUR, Streams([0]))
            numbers[..., i] = 0.4
            assert (before - after).abs().max() > 1e-3, i


class TestSettings:
    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"crop": 0}, "crop=0 is not a number above 0 to 1"),
            ({"flip": 1.5}, "flip=1.5 is not a number from 0 to 1"),
            ({"hue": 0.6}, "hue=0.6 is not a number from 0 to 0.5"),
            ({"grey": "no"}, "grey='no'"),
            ({"jitter": True}, "jitter=True"),
        ],
    )
    def test_bad_settings_are_named(self, settings, message):
        with pytest.raises(ValueError, match=message):
            Views(**settings)

    def test_only_what_differs_is_shown(self):
        assert repr(Views(flip=0.0, hue=0.2)) == "Views(flip=0.0, hue=0.2)"

    def test_a_mapping_will_do(self):
        assert as_views({"flip": 0.0}) == Views(flip=0.0)
        assert as_views(None) == Views()
