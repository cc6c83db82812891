"""Augmentations: what each does to rows and targets, and that models draw for themselves."""

import pytest
import torch

from whycluster.imn import augmentation
from whycluster.imn.augmentation import EPSILON, KINDS, augment, draw
from whycluster.training.streams import Streams

SEEDS = [3, 1, 2]


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(3, 40, 6, generator=generator)
    target = torch.nn.functional.one_hot(torch.arange(120).view(3, 40) % 2, 2).float()
    return x, target


def linear_loss(x, _target):
    """Fall along the first feature, rise along the second."""
    return (x[..., 1] - x[..., 0]).sum(dim=1)


def others(x, draws):
    return torch.stack([rows[order] for rows, order in zip(x, draws.order, strict=True)])


def test_mixup_lies_on_the_line_to_another_row_as_does_its_target(batch):
    draws = draw(batch[0], Streams(SEEDS))
    for before, after in zip(batch, augmentation.mixup(*batch, draws), strict=True):
        expected = draws.share * before + (1 - draws.share) * others(before, draws)
        torch.testing.assert_close(after, expected)


def test_cutmix_counts_the_features_that_a_row_keeps(batch):
    x, target = batch
    draws = draw(x, Streams(SEEDS))
    mixed, mixed_target = augmentation.cutmix(x, target, draws)
    is_kept = mixed == x
    assert ((mixed == others(x, draws)) | is_kept).all()
    kept = is_kept.float().mean(dim=2, keepdim=True)
    torch.testing.assert_close(mixed_target, kept * target + (1 - kept) * others(target, draws))


def test_cutout_sets_features_to_zero_and_leaves_targets(batch):
    x, target = batch
    cut, same = augmentation.cutout(x, target, draw(x, Streams(SEEDS)))
    assert ((cut == x) | (cut == 0)).all()
    assert (cut == 0).any()
    assert torch.equal(same, target)


def test_the_share_of_features_cut_out_follows_the_draw(batch):
    x = batch[0].repeat(1, 50, 1)
    draws = draw(x, Streams(SEEDS))
    cut, _ = augmentation.cutout(x, x, draws)
    kept = (cut != 0).float().mean(dim=(1, 2))
    torch.testing.assert_close(kept, draws.share[:, 0, 0], atol=0.02, rtol=0)


def test_noise_has_the_stated_size(batch):
    x = batch[0].repeat(1, 100, 1)
    noisy, _ = augmentation.noise(x, x, draw(x, Streams(SEEDS)))
    assert (noisy - x).std() == pytest.approx(augmentation.NOISE, rel=0.03)
    assert (noisy - x).mean().abs() < 0.005


def test_fgsm_moves_half_of_the_rows_up_the_loss(batch):
    x, target = batch
    draws = draw(x, Streams(SEEDS))
    moved, same = augmentation.fgsm(x, target, draws, linear_loss)
    step = torch.tensor([-EPSILON, EPSILON, 0, 0, 0, 0])
    is_moved = (moved != x).any(dim=2)
    torch.testing.assert_close((moved - x)[is_moved], step.expand(int(is_moved.sum()), -1))
    assert 0.3 < is_moved.float().mean() < 0.7
    assert torch.equal(same, target)


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_is_reached(batch, kind):
    x, _ = augment(*batch, Streams(SEEDS), 1.0, linear_loss, kinds=[kind])
    assert not torch.equal(x, batch[0])


def test_kinds_are_drawn_equally_often_by_each_model():
    x, streams = torch.ones(3, 30, 4), Streams(SEEDS)
    is_cut = [
        (augment(x, x, streams, 1.0, linear_loss, kinds=["cutout", "noise"])[0] == 0).any(2).any(1)
        for _ in range(400)
    ]
    share = torch.stack(is_cut).float().mean(dim=0)
    assert ((share - 0.5).abs() < 0.1).all()


def test_probability_zero_changes_nothing(batch):
    x, target = augment(*batch, Streams(SEEDS), 0.0, linear_loss)
    assert torch.equal(x, batch[0])
    assert torch.equal(target, batch[1])


def test_a_model_draws_the_same_alone_and_in_a_stack(batch):
    stacked = Streams(SEEDS)
    alone = [Streams([seed]) for seed in SEEDS]
    for _ in range(5):
        together = augment(*batch, stacked, 0.7, linear_loss)
        for i, streams in enumerate(alone):
            own = [part[i : i + 1] for part in batch]
            for a, b in zip(augment(*own, streams, 0.7, linear_loss), together, strict=True):
                torch.testing.assert_close(a[0], b[i])
