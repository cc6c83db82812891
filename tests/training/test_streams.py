"""Random numbers: a model draws the same numbers alone and in a stack."""

import pytest
import torch

from whycluster.training.streams import Streams

SEEDS = [3, 1, 4]
DRAWS = {
    "normal": lambda s: s.normal(5, 7),
    "uniform": lambda s: s.uniform(5, 7),
    "gumbel": lambda s: s.gumbel(5, 7),
    "permutation": lambda s: s.permutation(11),
    "batches": lambda s: torch.cat(list(s.batches(11, 4)), dim=1),
}


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
def test_a_stack_draws_what_its_models_draw_alone(draw):
    alone = [draw(Streams([seed])) for seed in SEEDS]
    assert torch.equal(draw(Streams(SEEDS)), torch.cat(alone))


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
def test_seeds_differ(draw):
    first, second, _ = draw(Streams(SEEDS))
    assert not torch.equal(first, second)


@pytest.mark.parametrize(
    ("draw", "mean", "std"),
    [
        (Streams.normal, 0.0, 1.0),
        (Streams.uniform, 0.5, 12**-0.5),
        (Streams.gumbel, 0.5772, torch.pi / 6**0.5),
    ],
)
def test_moments(draw, mean, std):
    sample = draw(Streams([0, 1]), 100_000)
    assert sample.isfinite().all()
    torch.testing.assert_close(sample.mean(dim=1), torch.full((2,), mean), atol=0.02, rtol=0)
    torch.testing.assert_close(sample.std(dim=1), torch.full((2,), std), atol=0.02, rtol=0)


@pytest.mark.parametrize(
    ("n_samples", "batch_size", "sizes"),
    [(10, 4, [4, 3, 3]), (9, 4, [3, 3, 3]), (8, 4, [4, 4]), (4, 3, [2, 2]), (101, 100, [51, 50])],
)
def test_batches_hold_every_row_once_and_none_is_alone(n_samples, batch_size, sizes):
    batches = list(Streams(SEEDS).batches(n_samples, batch_size))
    assert [batch.shape for batch in batches] == [(3, size) for size in sizes]
    rows = torch.cat(batches, dim=1).sort(dim=1).values
    assert torch.equal(rows, torch.arange(n_samples).expand(3, -1))


@pytest.mark.parametrize("batch_size", [10, 11, 10_000])
def test_rows_that_fit_one_batch_come_in_order(batch_size):
    streams = Streams(SEEDS)
    before = streams.state()
    (batch,) = streams.batches(10, batch_size)
    assert torch.equal(batch, torch.arange(10).expand(3, -1))
    assert torch.equal(streams.state(), before)


def test_restored_streams_continue():
    streams = Streams(SEEDS)
    streams.normal(10)
    state = streams.state()
    expected = streams.normal(10)
    other = Streams([0, 0, 0])
    other.restore(state)
    assert torch.equal(other.normal(10), expected)


def test_state_of_another_number_of_models_is_refused():
    with pytest.raises(ValueError, match="shorter"):
        Streams(SEEDS).restore(Streams([0, 1]).state())


class TestMasks:
    @pytest.mark.parametrize("share", [0.0, 0.25, 0.75, 0.9, 1.0])
    def test_share_is_met(self, share):
        masks = Streams(SEEDS).masks(share, 100, 301)
        assert masks.shape == (3, 100, 301)
        torch.testing.assert_close(
            masks.float().mean(dim=(1, 2)), torch.full((3,), share), atol=0.01, rtol=0
        )

    def test_entries_are_independent(self):
        rows = Streams([0]).masks(0.5, 20_000, 8)[0].float()
        assert (torch.corrcoef(rows.T) - torch.eye(8)).abs().max() < 0.03


def test_the_head_draws_from_the_same_generators():
    whole, parts = Streams(SEEDS), Streams(SEEDS)
    expected = [whole.uniform(2), whole.uniform(2)]
    assert torch.equal(parts.uniform(2), expected[0])
    assert torch.equal(parts.head(2).uniform(2), expected[1][:2])


class TestBatchesWithin:
    ROWS = (torch.arange(100, 110), torch.arange(20, 27), torch.arange(3))

    def test_batches_are_full_and_models_with_fewer_rows_leave_earlier(self):
        batches = list(Streams(SEEDS).batches_within(self.ROWS, 4))
        assert [tuple(batch.shape) for batch in batches] == [(3, 4), (2, 4), (1, 4)]

    def test_each_model_sees_all_of_its_rows_and_no_other(self):
        batches = list(Streams(SEEDS).batches_within(self.ROWS, 4))
        for i, own in enumerate(self.ROWS):
            seen = torch.cat([batch[i] for batch in batches if len(batch) > i])
            values, counts = seen.unique(return_counts=True)
            assert torch.equal(values, own)
            assert counts.max() - counts.min() <= 1

    def test_a_model_sees_the_same_alone(self):
        together = list(Streams(SEEDS).batches_within(self.ROWS, 4))
        (first, second) = Streams(SEEDS[1:2]).batches_within(self.ROWS[1:2], 4)
        assert torch.equal(
            torch.stack([first[0], second[0]]), torch.stack([together[0][1], together[1][1]])
        )

    def test_order_of_rising_length_is_refused(self):
        with pytest.raises(ValueError, match="falling"):
            list(Streams(SEEDS).batches_within(self.ROWS[::-1], 4))
