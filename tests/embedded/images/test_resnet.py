"""ResNet-18: the published architecture, stacks that equal single networks, blocks to reset."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from whycluster import BRB
from whycluster.embedded.brb import soft_reset
from whycluster.embedded.images.resnet import (
    ImageBatchNorm,
    ResidualBlock,
    StackedConvolution,
    StackedResNet18,
)
from whycluster.training.layers import set_statistics, take
from whycluster.training.streams import Streams

SHAPE = (3, 8, 8)


def build(seeds=(0,), width=4, hidden=(16, 8), shape=SHAPE):
    return StackedResNet18(shape, width, hidden, 5, Streams(seeds))


@pytest.fixture
def x():
    return torch.rand(1, 9, 192, generator=torch.Generator().manual_seed(1))


class TestArchitecture:
    def test_there_are_eighteen_weighted_layers_up_to_one_linear_layer(self):
        network = build(hidden=())
        layers = [m for m in network.modules() if isinstance(m, StackedConvolution)]
        shortcuts = [m for m in layers if m.weight.shape[-1] == 1]
        assert len(layers) - len(shortcuts) + len(network.head.linears) == 18
        assert len(shortcuts) == 3  # where the shape changes

    def test_full_size_has_the_parameters_of_the_published_network(self):
        network = build(width=64, hidden=())
        stages = [147_968, 525_568, 2_099_712, 8_393_728]  # as torchvision counts them
        assert [sum(p.numel() for p in s.parameters()) for s in network.stages] == stages
        rest = 3 * 64 * 9 + 2 * 64 + (512 + 1) * 5
        assert sum(p.numel() for p in network.parameters()) == sum(stages) + rest

    def test_stages_double_in_width_and_halve_in_size(self, x):
        network = build()
        shapes = []
        for stage in network.stages:
            stage.register_forward_hook(lambda _m, _x, y: shapes.append(tuple(y.shape[1:])))
        network(x)
        assert shapes == [(4, 8, 8), (8, 4, 4), (16, 2, 2), (32, 1, 1)]

    def test_a_block_adds_its_input(self):
        block = ResidualBlock(4, 4, 1, Streams([0]))
        nn.init.zeros_(block.second[0].weight)
        images = torch.rand(3, 4, 5, 5)
        torch.testing.assert_close(block(images), images)

    def test_initial_weights_have_the_variance_of_he(self):
        weight = StackedConvolution(32, 64, 3, 1, Streams([0])).weight
        assert weight.std().item() == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.03)


class TestStack:
    def test_convolutions_are_grouped_by_model(self):
        layer = StackedConvolution(2, 3, 3, 2, Streams([0, 1]))
        x = torch.rand(5, 4, 7, 7)
        alone = [F.conv2d(x[:, :2], layer.weight[0], stride=2, padding=1)]
        alone += [F.conv2d(x[:, 2:], layer.weight[1], stride=2, padding=1)]
        torch.testing.assert_close(layer(x), torch.cat(alone, dim=1))

    def test_normalisation_is_that_of_torch(self):
        ours, theirs = ImageBatchNorm(1, 3), nn.BatchNorm2d(3)
        x = torch.rand(6, 3, 4, 4)
        torch.testing.assert_close(ours(x), theirs(x))
        torch.testing.assert_close(ours.running_var[0], theirs.running_var)
        torch.testing.assert_close(ours.eval()(x), theirs.eval()(x))

    @pytest.mark.parametrize("is_training", [True, False])
    def test_a_stack_equals_single_networks(self, x, is_training):
        other = torch.rand(1, 9, 192)
        stack = build([3, 4]).train(is_training)
        z = stack(torch.cat([x, other]))
        for i, (seed, rows) in enumerate([(3, x), (4, other)]):
            single = build([seed]).train(is_training)
            torch.testing.assert_close(z[i : i + 1], single(rows), atol=1e-4, rtol=1e-4)

    def test_one_model_can_be_taken_out(self, x):
        stack = build([3, 4]).eval()
        single = build([0]).eval()
        single.load_state_dict(take(stack.state_dict(), 1))
        expected = stack(x.expand(2, -1, -1))[1:]
        torch.testing.assert_close(single(x), expected, atol=1e-5, rtol=1e-4)


class TestChannels:
    def test_channels_are_standardised(self, x):
        network = build([0, 1])
        rows = 50 * x[0] + 7
        network.calibrate(rows)
        assert network.mean.shape == (2, 3)
        torch.testing.assert_close(network.mean[1], rows.view(9, 3, 64).mean(dim=(0, 2)))
        same = network.eval()(rows.expand(2, -1, -1))
        network.calibrate(x[0])
        torch.testing.assert_close(network(x.expand(2, -1, -1)), same, atol=1e-4, rtol=1e-3)

    def test_a_constant_channel_does_no_harm(self):
        network = build()
        rows = torch.zeros(4, 192)
        network.calibrate(rows)
        assert torch.isfinite(network.eval()(rows[None])).all()

    def test_running_statistics_can_be_set_from_batches(self, x):
        network = build()
        convolved = network.stem[0](x.view(9, *SHAPE))
        set_statistics(network, [x, x])
        mean = convolved.mean(dim=(0, 2, 3))
        torch.testing.assert_close(network.stem[1].running_mean[0], mean)


class TestSoftReset:
    def test_blocks_cover_every_parameter_once(self):
        network = build()
        blocks = [p for block in network.blocks for layer in block for p in layer.parameters()]
        assert sorted(map(id, blocks)) == sorted(map(id, network.parameters()))
        assert len(network.blocks) == 7
        assert len(build(hidden=()).blocks) == 6

    def test_published_shares_reach_perceptron_and_last_stage_only(self):
        network, fresh, before = build(), build([7]), build()
        soft_reset(network, fresh, BRB(alpha=0.7, growth=0.2))
        kept = {"stem": 1, "stages.2": 1, "stages.3": 0.9, "head.linears.0": 0.7}
        kept |= {"head.linears.1": 0.7, "head.linears.2": 1}
        for name, share in kept.items():
            now, old, new = (n.get_submodule(name) for n in (network, before, fresh))
            weights = (next(module.parameters()) for module in (now, old, new))
            mixed, theta, phi = weights
            torch.testing.assert_close(mixed, share * theta + (1 - share) * phi, msg=name)

    def test_normalisation_is_left_alone(self):
        network = build()
        nn.init.constant_(network.stages[3][0].first[1].weight, 3.0)
        soft_reset(network, build([7]), BRB(alpha=0.0))
        assert (network.stages[3][0].first[1].weight == 3).all()

    def test_alpha_1_changes_nothing_and_alpha_0_of_all_is_fresh(self):
        network, fresh = build(), build([7])
        before = {name: p.clone() for name, p in network.named_parameters()}
        soft_reset(network, fresh, BRB(alpha=1, embedding=True, batch_norm=True))
        assert all(torch.equal(p, before[n]) for n, p in network.named_parameters())
        soft_reset(network, fresh, BRB(alpha=0, embedding=True, batch_norm=True))
        new = dict(fresh.named_parameters())
        assert all(torch.equal(p, new[n]) for n, p in network.named_parameters())
