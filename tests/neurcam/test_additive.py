"""Selection gates and shape functions: exact, with exact gradients, alone as in a stack."""

import numpy as np
import pytest
import torch

from whycluster.neurcam import additive
from whycluster.neurcam.additive import StackedShapes, entmax15
from whycluster.training.layers import take
from whycluster.training.streams import Streams


def build(n_models=2, order=1, n_channels=3, n_clusters=4):
    basis = {"n_hidden": 8, "n_bases": 6, "streams": Streams(range(n_models))}
    return StackedShapes(5, n_channels, n_clusters, order=order, **basis).double()


class TestEntmax:
    def test_solves_its_equation(self):
        """p_i = max(z_i / 2 - τ, 0)² with one τ for all (Peters et al., Proposition 1)."""
        z = torch.randn(50, 20, dtype=torch.float64) * 2
        p = entmax15(z)
        torch.testing.assert_close(p.sum(dim=1), torch.ones(50).double())
        tau = torch.where(p > 0, z / 2 - p.sqrt(), torch.nan)
        spread = tau.nan_to_num(-torch.inf).amax(1) - tau.nan_to_num(torch.inf).amin(1)
        assert spread.abs().max() < 1e-12
        lowest = tau.nan_to_num(torch.inf).amin(1, keepdim=True)
        assert (torch.where(p == 0, z / 2 - lowest, -1.0) <= 1e-12).all()
        assert 0 < (p == 0).double().mean() < 1

    def test_by_hand(self):
        p = entmax15(torch.tensor([[1.0, 0.0]], dtype=torch.float64))
        # two entries: τ = 1/4 - sqrt(1/2 - 1/16), p = (z/2 - τ)²
        tau = 0.25 - np.sqrt(0.5 - 0.0625)
        np.testing.assert_allclose(p.numpy()[0], [(0.5 - tau) ** 2, tau**2], rtol=1e-12)

    @pytest.mark.parametrize("n", [1, 2, 7, 40])
    def test_gradient_against_finite_differences(self, n):
        z = torch.randn(3, n, dtype=torch.float64).requires_grad_()
        assert torch.autograd.gradcheck(entmax15, (z,))

    def test_cold_gates_are_exactly_one_hot(self):
        z = torch.linspace(0, 1, 8 * 600)[torch.randperm(8 * 600)].view(8, 600)  # none alike
        p = entmax15(z / 1e-5)
        assert torch.equal(p, torch.nn.functional.one_hot(z.argmax(dim=1), 600).float())

    def test_far_lower_entries_cost_no_precision(self):
        z = torch.tensor([[0.3, 0.1, 0.0]])
        far = torch.cat([z, torch.full((1, 500), -1e6)], dim=1)
        torch.testing.assert_close(entmax15(far)[:, :3], entmax15(z), rtol=1e-6, atol=0)

    def test_equal_logits_share(self):
        torch.testing.assert_close(entmax15(torch.zeros(1, 4)), torch.full((1, 4), 0.25))


class TestShapes:
    @pytest.mark.parametrize("order", [1, 2])
    @pytest.mark.parametrize("chunk", [1, 200, 10**6])
    def test_gradients_against_finite_differences(self, order, chunk, monkeypatch):
        monkeypatch.setitem(additive._CHUNK, "cpu", chunk)
        shapes = build(order=order)
        x = torch.randn(2, 7, 5, dtype=torch.float64)
        names, values = zip(*shapes.named_parameters(), strict=True)

        def run(*values):
            weights = dict(zip(names, values, strict=True))
            return torch.func.functional_call(shapes, weights, (x, 1.0))

        assert torch.autograd.gradcheck(run, values, fast_mode=True)

    @pytest.mark.parametrize("order", [1, 2])
    def test_equals_the_paper_channel_by_channel(self, order):
        shapes = build(order=order)
        x = torch.randn(2, 7, 5, dtype=torch.float64)
        total = 0
        for c in range(3):
            gate = entmax15(shapes.selection[:, c] / 0.5)
            h = (x @ gate.mT @ shapes.first.weight + shapes.first.bias).relu()
            h = (h @ shapes.second.weight + shapes.second.bias).relu()
            total = total + h @ shapes.bases @ shapes.mixing[:, c]  # Eqs. (10) to (12)
        centred = total - total.mean(dim=-1, keepdim=True)
        torch.testing.assert_close(shapes(x, 0.5), centred)
        with torch.no_grad():
            torch.testing.assert_close(shapes(x, 0.5), centred)

    @pytest.mark.parametrize("order", [1, 2])
    def test_temperature_zero_is_the_limit_and_trains_no_gate(self, order):
        shapes = build(order=order)
        x = torch.randn(2, 7, 5, dtype=torch.float64)
        torch.testing.assert_close(shapes(x, 0.0), shapes(x, 1e-6))
        shapes(x, 0.0).square().sum().backward()
        assert shapes.selection.grad is None
        assert shapes.mixing.grad.abs().sum() > 0

    def test_contributions_add_up_and_sum_to_zero_over_clusters(self):
        shapes = build(order=2)
        x = torch.randn(2, 7, 5, dtype=torch.float64)
        parts = shapes.contributions(shapes.select(x, 0.0))
        assert parts.shape == (2, 7, 3, 4)
        torch.testing.assert_close(parts.sum(dim=2), shapes(x, 0.0))
        assert parts.sum(dim=3).abs().max() < 1e-12

    def test_a_contribution_depends_on_its_own_features_only(self):
        shapes = build(order=2)
        x = torch.randn(2, 1, 5, dtype=torch.float64)
        before = shapes.contributions(shapes.select(x, 0.0))
        for model in range(2):
            for channel in range(3):
                other = x.clone()
                read = shapes.chosen()[model, channel]
                other[:, :, [i for i in range(5) if i not in read]] += 9
                after = shapes.contributions(shapes.select(other, 0.0))
                assert torch.equal(after[model, :, channel], before[model, :, channel])

    def test_a_stack_equals_single_models(self):
        stack = build(n_models=3)
        x = torch.randn(3, 7, 5, dtype=torch.float64)
        for i in range(3):
            single = build(n_models=1)
            torch.testing.assert_close(take(stack.state_dict(), i), dict(alone(i).state_dict()))
            single.load_state_dict(take(stack.state_dict(), i))
            torch.testing.assert_close(single(x[[i]], 1.0), stack(x, 1.0)[[i]])


def few_values(batch=256):
    """Rows of three models in which columns have 1 to 7 distinct values, zeros of both signs."""
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(3, batch, 5, generator=generator, dtype=torch.float64) - 0.5
    x = (x * torch.tensor([0.0, 1, 2, 4, 6]).double()).round() / 4
    assert (x.signbit() & (x == 0)).any()
    return x


def run(shapes, x):
    """Return the logits with one-hot gates, and the gradient of every weight."""
    shapes.zero_grad()
    logits = shapes(x, 0.0)
    logits.sin().sum().backward()
    named = {name: p.grad for name, p in shapes.named_parameters() if name != "selection"}
    return {"logits": logits.detach()} | named


@pytest.fixture
def row_by_row(monkeypatch):
    """Return `run` for the path that shares nothing among rows."""

    def reference(shapes, x):
        with monkeypatch.context() as patch:
            patch.setattr(additive, "_distinct", lambda s: None)
            return run(shapes, x)

    return reference


class TestDistinctValues:
    @pytest.mark.parametrize("order", [1, 2])
    @pytest.mark.parametrize("chunk", [2000, 10**6])
    def test_logits_and_gradients_are_those_of_row_by_row(
        self, order, chunk, monkeypatch, row_by_row
    ):
        shapes, x = build(n_models=3, order=order, n_channels=6), few_values()
        monkeypatch.setitem(additive._CHUNK, "cpu", chunk)
        distinct = additive._distinct(shapes.select(x, 0.0))
        assert distinct.values.shape[1] <= 256 * 6 / 2
        expected = row_by_row(shapes, x)
        torch.testing.assert_close(run(shapes, x), expected)
        with torch.no_grad():
            torch.testing.assert_close(shapes(x, 0.0), expected["logits"])

    @pytest.mark.parametrize("order", [1, 2])
    def test_a_stack_equals_single_models(self, order):
        stack, x = build(n_models=3, order=order), few_values()
        assert len(stack.chosen().unique(dim=0)) == 3
        together = run(stack, x)
        for i in range(3):
            single = build(n_models=1, order=order)
            single.load_state_dict(take(stack.state_dict(), i))
            torch.testing.assert_close(run(single, x[[i]]), take(together, i))

    @pytest.mark.parametrize("order", [1, 2])
    def test_every_value_is_there_once_and_where_rows_look_for_it(self, order):
        s = build(n_models=3, order=order).select(few_values(), 0.0)
        found = additive._distinct(s)
        values = found.values.flatten(0, 1)
        assert torch.equal(values[found.place], s.flatten(0, 1))
        used = [len(values[places].unique(dim=0)) for places in found.place.view(3, 256, 3)[0].T]
        assert used == [len(channel.unique(dim=0)) for channel in s[0].transpose(0, 1)]
        looked_up = torch.bincount(found.place.flatten(), minlength=len(values))
        assert torch.equal(found.start.diff(append=torch.tensor([3 * 256 * 3])), looked_up)

    @pytest.mark.parametrize(("n_values", "is_shared"), [(1, True), (32, True), (33, False)])
    def test_shared_where_that_halves_the_evaluations(self, n_values, is_shared):
        """33 values fill three tiles of 16: 48 evaluations instead of 64."""
        s = (torch.arange(64) % n_values).float().view(1, 64, 1, 1)
        assert (additive._distinct(s) is not None) == is_shared

    def test_gradients_reach_the_values_where_they_are_asked_for(self):
        shapes, x = build(n_models=3), few_values().requires_grad_()
        (felt,) = torch.autograd.grad(shapes(x, 0.0).sin().sum(), x)
        chosen = [set(channels) for channels in shapes.chosen().flatten(1).tolist()]
        assert [set(g.abs().sum(dim=0).nonzero().flatten().tolist()) for g in felt] == chosen

    def test_continuous_columns_are_evaluated_row_by_row(self, monkeypatch):
        monkeypatch.setattr(additive, "_tabulate", None)
        shapes = build(n_models=3)
        shapes(torch.randn(3, 256, 5, dtype=torch.float64), 0.0)
        with pytest.raises(TypeError):
            shapes(few_values(), 0.0)
        shapes(few_values(), 1.0)  # open gates mix features


def alone(seed):
    """Return the stack of one that starts from this seed."""
    basis = {"n_hidden": 8, "n_bases": 6, "streams": Streams([seed])}
    return StackedShapes(5, 3, 4, order=1, **basis).double()
