"""Distances by products and by differences agree, as far as a product is exact."""

import torch

from whycluster.training.centres import (
    exact_squared_distances,
    fast_squared_distances,
    nearest_centre,
)


def draw(offset):
    random = torch.Generator().manual_seed(0)
    return torch.randn(2, 30, 4, generator=random) + offset, torch.randn(2, 5, 4, generator=random)


def test_both_ways_agree_and_the_nearest_is_the_least():
    x, centres = draw(offset=0)
    expected = torch.cdist(x.double(), centres.double()).square().float()
    torch.testing.assert_close(exact_squared_distances(x, centres), expected)
    torch.testing.assert_close(fast_squared_distances(x, centres), expected, atol=1e-5, rtol=1e-5)
    labels, distance = nearest_centre(x, centres)
    torch.testing.assert_close(labels, expected.argmin(dim=2))
    torch.testing.assert_close(distance, expected.amin(dim=2), atol=1e-5, rtol=1e-5)


def test_only_differences_tell_close_rows_apart_far_from_the_origin():
    x, _ = draw(offset=1e4)
    centres = x[:, :3] + 1 / 64
    own = torch.arange(3)
    assert (exact_squared_distances(x, centres)[:, own, own] == 4 / 64**2).all()
    assert (fast_squared_distances(x, centres)[:, own, own] != 4 / 64**2).any()
