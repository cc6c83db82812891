"""Stacked layers: equal to torch's own, model by model and view by view."""

import pytest
import torch
from torch import nn

from whycluster.training.layers import (
    StackedBatchNorm,
    StackedGating,
    StackedLinear,
    StackedMLP,
    take,
)
from whycluster.training.streams import Streams

SEEDS = [0, 1, 2]


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def plain(network, index):
    """Return model `index` of a StackedMLP as torch.nn layers."""
    layers = []
    for i, stacked in enumerate(network.linears):
        linear = nn.Linear(*stacked.weight.shape[1:])
        linear.weight.data = stacked.weight.data[index].T.clone()
        linear.bias.data = stacked.bias.data[index, 0].clone()
        hidden = i < len(network.norms)
        layers += [linear, *([nn.BatchNorm1d(linear.out_features), nn.ReLU()] if hidden else [])]
    return nn.Sequential(*layers)


class TestStackedLinear:
    def test_equals_torch_model_by_model(self):
        layer, x = StackedLinear(4, 3, Streams(SEEDS)), draw(3, 6, 4)
        for i in range(3):
            expected = nn.functional.linear(x[i], layer.weight[i].T, layer.bias[i, 0])
            torch.testing.assert_close(layer(x)[i], expected)

    def test_starts_from_torch_distributions(self):
        layer = StackedLinear(100, 400, Streams(SEEDS))
        for weights in (layer.weight, layer.bias):
            assert weights.abs().max() <= 0.1
            assert weights.std().item() == pytest.approx(0.1 / 3**0.5, rel=0.05)

    def test_weight_std_makes_weights_normal_and_leaves_biases(self):
        layer = StackedLinear(100, 400, Streams(SEEDS), weight_std=0.001)
        assert layer.weight.std().item() == pytest.approx(0.001, rel=0.05)
        assert layer.weight.abs().max() > 0.003
        assert layer.bias.std().item() == pytest.approx(0.1 / 3**0.5, rel=0.1)


class TestStackedBatchNorm:
    def test_equals_torch_model_by_model_with_its_running_statistics(self):
        stacked = StackedBatchNorm(3, 4, momentum=0.3)
        stacked.weight.data, stacked.bias.data = draw(3, 4), draw(3, 4, seed=1)
        singles = [nn.BatchNorm1d(4, momentum=0.3) for _ in SEEDS]
        for i, single in enumerate(singles):
            single.weight.data, single.bias.data = stacked.weight.data[i], stacked.bias.data[i]
        for step in range(3):
            x = 2 + 3 * draw(3, 8, 4, seed=step)
            expected = torch.stack([single(x[i]) for i, single in enumerate(singles)])
            torch.testing.assert_close(stacked(x), expected)
        for name in ("running_mean", "running_var"):
            expected = torch.stack([getattr(single, name) for single in singles])
            torch.testing.assert_close(getattr(stacked, name), expected)
        expected = torch.stack([single.eval()(x[i]) for i, single in enumerate(singles)])
        torch.testing.assert_close(stacked.eval()(x), expected)

    def test_each_view_is_normalised_alone(self):
        views = [2 * draw(2, 6, 4), 5 + draw(2, 6, 4, seed=1)]
        together = StackedBatchNorm(2, 4)(torch.cat(views, dim=1), n_views=2)
        alone = [StackedBatchNorm(2, 4)(view) for view in views]
        torch.testing.assert_close(together, torch.cat(alone, dim=1))

    def test_running_statistics_follow_the_first_view(self):
        views = [2 * draw(2, 6, 4), 5 + draw(2, 6, 4, seed=1)]
        together, first = StackedBatchNorm(2, 4), StackedBatchNorm(2, 4)
        together(torch.cat(views, dim=1), n_views=2)
        first(views[0])
        assert torch.equal(together.running_mean, first.running_mean)
        assert torch.equal(together.running_var, first.running_var)

    def test_evaluation_uses_running_statistics_for_every_view(self):
        norm = StackedBatchNorm(1, 2).eval()
        norm.running_mean.fill_(3.0)
        norm.running_var.fill_(4.0)
        x = draw(1, 6, 2)
        torch.testing.assert_close(norm(x, n_views=3), (x - 3) / 2, rtol=1e-5, atol=1e-5)
        assert norm.running_mean.eq(3).all()


class TestStackedMLP:
    def test_shapes(self):
        network = StackedMLP([5, 8, 6, 2], Streams(SEEDS))
        assert network(draw(3, 7, 5)).shape == (3, 7, 2)
        assert network(draw(3, 21, 5), n_views=3).shape == (3, 21, 2)

    def test_number_of_parameters(self):
        network = StackedMLP([5, 8, 6, 2], Streams(SEEDS))
        one = (5 * 8 + 8) + 2 * 8 + (8 * 6 + 6) + 2 * 6 + (6 * 2 + 2)
        assert sum(p.numel() for p in network.parameters()) == 3 * one

    def test_equals_torch_model_by_model(self):
        network, x = StackedMLP([5, 8, 6, 2], Streams(SEEDS)), draw(3, 7, 5)
        out = network(x)
        for i in range(3):
            torch.testing.assert_close(out[i], plain(network, i)(x[i]))

    def test_views_in_one_pass_equal_views_in_turn(self):
        network = StackedMLP([5, 8, 2], Streams(SEEDS))
        views = [draw(3, 6, 5, seed=i) for i in range(3)]
        together = network(torch.cat(views, dim=1), n_views=3)
        torch.testing.assert_close(together, torch.cat([network(v) for v in views], dim=1))

    def test_evaluation_is_deterministic_and_row_by_row(self):
        network, x = StackedMLP([5, 8, 2], Streams(SEEDS)), draw(3, 6, 5)
        network(x)
        network.eval()
        out = network(x)
        assert torch.equal(network(x), out)
        torch.testing.assert_close(network(x[:, :1]), out[:, :1])

    def test_models_do_not_mix(self):
        network, x = StackedMLP([5, 8, 2], Streams(SEEDS)), draw(3, 6, 5)
        before = network(x)
        x[1] += 1
        after = network(x)
        assert torch.equal(after[[0, 2]], before[[0, 2]])
        assert not torch.equal(after[1], before[1])


class TestStackedGating:
    def test_equals_torch_model_by_model(self):
        gating, x = StackedGating(5, 4, Streams(SEEDS)), draw(3, 6, 5)
        hidden, output = gating.hidden, gating.output
        for i in range(3):
            inner = torch.tanh(x[i] @ hidden.weight[i] + hidden.bias[i])
            expected = torch.tanh(inner @ output.weight[i] + output.bias[i])
            torch.testing.assert_close(gating(x)[i], expected)

    def test_means_lie_within_one_and_shapes_hold(self):
        gating = StackedGating(5, 4, Streams(SEEDS))
        mu = gating(100 * draw(3, 6, 5))
        assert mu.shape == (3, 6, 5)
        assert mu.abs().max() <= 1
        assert sum(p.numel() for p in gating.parameters()) == 3 * (5 * 4 + 4 + 4 * 5 + 5)


@pytest.mark.parametrize("weight_std", [None, 0.1])
@pytest.mark.parametrize("build", [StackedMLP, lambda w, *a: StackedGating(w[0], w[1], *a)])
def test_initial_weights_are_those_of_the_model_alone(build, weight_std):
    stack = build([5, 8, 2], Streams(SEEDS), weight_std).state_dict()
    for i, seed in enumerate(SEEDS):
        alone = build([5, 8, 2], Streams([seed]), weight_std).state_dict()
        taken = take(stack, i)
        assert taken.keys() == alone.keys()
        assert all(torch.equal(taken[name], alone[name]) for name in alone)


def test_taken_weights_are_copies():
    network = StackedMLP([5, 8, 2], Streams(SEEDS))
    taken = take(network.state_dict(), 1)
    before = {name: tensor.clone() for name, tensor in taken.items()}
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(1)
    assert all(torch.equal(taken[name], before[name]) for name in taken)
