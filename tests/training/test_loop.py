"""The training loop: stacks equal single models, histories add up."""

import threading
from functools import partial
from math import isclose

import numpy as np
import pytest
import torch
from torch import nn

from whycluster.training import device, loop
from whycluster.training.layers import StackedMLP, take
from whycluster.training.loop import train
from whycluster.training.losses import reconstruction_error
from whycluster.training.plateau import Plateau
from whycluster.training.streams import Streams

SEEDS = [0, 1, 2]
WIDTHS = [5, 8, 6, 5]


@pytest.fixture
def data():
    """Rows in double precision: Adam blows rounding up where a gradient is zero, as it is for
    every bias ahead of a batch normalisation."""
    return torch.randn(23, 5, generator=torch.Generator().manual_seed(0)).double()


def fit_autoencoder(data, seeds, n_epochs=6):
    """Train one autoencoder per seed as a stack, in batches of 6 and 5 rows."""
    streams = Streams(seeds)
    network = StackedMLP(WIDTHS, streams).double()
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)

    def step(rows, _progress):
        x = data[rows]
        return {"error": reconstruction_error(network(x), x)}

    batches = partial(streams.batches, len(data), 6)
    history = train(step, optimizer, batches, n_epochs, schedule=loop.cosine(0.1))
    return network, history


def fit_plain_autoencoder(data, seed, n_epochs=6):
    """Train the same autoencoder from torch's own layers in a loop of its own."""
    streams = Streams([seed])
    stacked = StackedMLP(WIDTHS, streams).double()
    layers = []
    for i, linear in enumerate(stacked.linears):
        layers.append(nn.Linear(*linear.weight.shape[1:]).double())
        layers[-1].weight.data = linear.weight.data[0].T.clone()
        layers[-1].bias.data = linear.bias.data[0, 0].clone()
        if i < len(stacked.norms):
            layers += [nn.BatchNorm1d(layers[-1].out_features).double(), nn.ReLU()]
    network = nn.Sequential(*layers)
    optimizer = torch.optim.Adam(network.parameters())
    means = []
    for epoch in range(n_epochs):
        optimizer.param_groups[0]["lr"] = 0.01 * loop.cosine(0.1)(epoch / n_epochs)
        total = 0.0
        for (rows,) in streams.batches(len(data), 6):
            x = data[rows]
            loss = (network(x) - x).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(rows)
        means.append(total / len(data))
    return network, means


class TestStacks:
    def test_three_stacked_models_equal_three_single_ones(self, data):
        network, history = fit_autoencoder(data, SEEDS)
        for i, seed in enumerate(SEEDS):
            single, alone = fit_autoencoder(data, [seed])
            np.testing.assert_allclose(history["error"][:, [i]], alone["error"], rtol=1e-10)
            taken, expected = take(network.state_dict(), i), single.state_dict()
            for name in expected:
                torch.testing.assert_close(taken[name], expected[name], rtol=1e-7, atol=1e-9)

    def test_three_stacked_models_equal_three_of_torch(self, data):
        network, history = fit_autoencoder(data, SEEDS)
        for i, seed in enumerate(SEEDS):
            plain, means = fit_plain_autoencoder(data, seed)
            np.testing.assert_allclose(history["error"][:, i], means, rtol=1e-10)
            norm = plain[-3]
            torch.testing.assert_close(network.norms[-1].running_mean[i], norm.running_mean)
            torch.testing.assert_close(network.norms[-1].running_var[i], norm.running_var)
            for linear, stacked in zip(plain[::3], network.linears, strict=True):
                torch.testing.assert_close(stacked.weight[i].T, linear.weight)

    def test_training_lowers_the_loss_of_every_model(self, data):
        _, history = fit_autoencoder(data, SEEDS, n_epochs=30)
        assert (history["error"][-1] < 0.8 * history["error"][0]).all()


@pytest.mark.parametrize(("limit", "expected"), [(float("inf"), [2, 1, 1]), (0, [2, 2, 2])])
def test_small_steps_are_taken_on_one_thread_and_large_ones_on_all(monkeypatch, limit, expected):
    monkeypatch.setattr(loop, "SMALL_STEP", limit)
    monkeypatch.setattr(loop.torch, "get_num_threads", lambda: n_threads[-1])
    monkeypatch.setattr(loop.torch, "set_num_threads", lambda n: n_threads.append(n))
    n_threads, seen = [2], []

    def step(_rows, _progress):
        seen.append(n_threads[-1])
        return {"error": weight.square()}

    weight = nn.Parameter(torch.ones(1))
    batches = [torch.zeros(1, 4, dtype=torch.long)] * 3
    train(step, torch.optim.SGD([weight]), lambda: batches, 1)
    assert seen == expected
    assert n_threads[-1] == 2


def test_subnormal_numbers_are_zero_in_training_and_only_there():
    def product():
        return (torch.tensor(1e-30) * 1e-10).item()

    def step(_rows, _progress):
        seen.append(product())
        return {"error": weight.square()}

    seen, weight = [], nn.Parameter(torch.ones(1))
    train(step, torch.optim.SGD([weight]), lambda: [torch.zeros(1, 4, dtype=torch.long)], 1)
    assert seen == [0]
    assert 0 < product() < 1e-38


def run_by_hand(values, epochs, **kwargs):
    """Train one weight on losses that are read from `values` by row."""
    weight = torch.zeros(1, requires_grad=True)

    def step(rows, progress):
        return {"a": values[rows].mean(dim=1) + 0 * weight, "b": weight - weight + progress}

    optimizer = torch.optim.SGD([weight], lr=1.0)
    return train(step, optimizer, iter(epochs).__next__, len(epochs), **kwargs)


class TestHistory:
    def test_is_a_mean_over_samples_not_over_batches(self):
        values = torch.tensor([1.0, 1.0, 1.0, 5.0])
        epoch = [torch.tensor([[0, 1, 2]]), torch.tensor([[3]])]
        history = run_by_hand(values, [epoch, epoch])
        assert history["a"].tolist() == [[2.0], [2.0]]

    def test_has_every_epoch_and_passes_progress(self):
        history = run_by_hand(torch.ones(1), [[torch.tensor([[0]])]] * 4)
        assert history["b"].tolist() == [[0.0], [0.25], [0.5], [0.75]]

    def test_no_epochs_no_history(self):
        assert run_by_hand(torch.ones(1), []) == {}

    def test_callback_sees_every_epoch(self):
        seen = []
        epochs = [[torch.tensor([[i]])] for i in range(3)]
        run_by_hand(
            torch.tensor([4.0, 5.0, 6.0]),
            epochs,
            on_epoch=lambda epoch, losses: seen.append((epoch, losses["a"])),
        )
        assert seen == [(0, [4.0]), (1, [5.0]), (2, [6.0])]

    def test_what_comes_before_an_epoch_comes_before_its_batches(self):
        seen = []
        weight = torch.nn.Parameter(torch.ones(1))
        train(
            lambda rows, _progress: {"a": weight},
            torch.optim.SGD([weight]),
            lambda: seen.append("batches") or [torch.tensor([[0]])],
            2,
            before_epoch=seen.append,
        )
        assert seen == [0, "batches", 1, "batches"]

    def test_divergence_is_named(self):
        epochs = [[torch.tensor([[i]])] for i in range(3)]
        with pytest.raises(FloatingPointError, match="diverged: 'a' is inf in epoch 1; scale"):
            run_by_hand(torch.tensor([0.0, torch.inf, 0.0]), epochs)


def run_plateau(losses_by_epoch, *, patience, decay_patience, lr=1.0):
    """Train one weight per model by steps of the learning rate; losses are given."""
    losses_ = torch.tensor(losses_by_epoch, dtype=torch.float32)
    module = nn.Module()
    module.weight = nn.Parameter(torch.zeros(losses_.shape[1], 1))
    optimizer = torch.optim.SGD(module.parameters(), lr=lr)
    plateau = Plateau(
        module,
        optimizer,
        losses_.shape[1],
        patience=patience,
        decay_patience=decay_patience,
    )

    def step(rows, _progress):
        slope = module.weight[:, 0]  # gradient 1: every full step lowers the weight by lr
        return {"loss": losses_[rows[0, 0]] + slope - slope.detach()}

    rows = [[torch.full((losses_.shape[1], 1), e)] for e in range(len(losses_))]
    history = train(step, optimizer, iter(rows).__next__, len(rows), plateau=plateau)
    return module.weight.detach()[:, 0].tolist(), plateau, history


class TestPlateau:
    def test_the_weights_of_the_best_epoch_come_back_as_a_copy(self):
        weights, plateau, _ = run_plateau(
            [[3.0], [1.0], [2.0], [2.0]], patience=9, decay_patience=9
        )
        assert weights == [-2]
        assert plateau.n_epochs.tolist() == [4]

    def test_each_model_stops_on_its_own(self):
        losses_ = [[5.0, 9.0], [6.0, 8.0], [7.0, 7.0], [1.0, 6.0], [1.0, 5.0]]
        weights, plateau, history = run_plateau(losses_, patience=2, decay_patience=9)
        assert plateau.n_epochs.tolist() == [3, 5]
        assert weights == [-1, -5]
        assert len(history["loss"]) == 5

    def test_training_ends_when_all_have_stopped(self):
        weights, _, history = run_plateau([[1.0]] * 9, patience=3, decay_patience=9)
        assert len(history["loss"]) == 4
        assert weights == [-1]

    def test_the_rate_of_a_waiting_model_is_halved(self):
        losses_ = [[5.0, 5.0], [5.0, 4.0], [5.0, 3.0], [5.0, 2.0], [4.0, 1.0]]
        weights, plateau, _ = run_plateau(losses_, patience=9, decay_patience=2)
        assert plateau.rate.tolist() == [0.5, 1]
        assert weights == [-1 - 1 - 1 - 0.5 - 0.5, -5]

    def test_noise_below_the_tolerance_is_no_improvement(self):
        losses_ = [[1 - 1e-6 * epoch] for epoch in range(9)]
        assert run_plateau(losses_, patience=3, decay_patience=9)[1].n_epochs.tolist() == [4]

    def test_adam_with_a_halved_rate_equals_adam_at_that_rate(self):
        def trained(rate, halved):
            module = nn.Linear(3, 1, dtype=torch.float64)
            module.weight.data.fill_(0.5)
            module.bias.data.fill_(0.0)
            optimizer = torch.optim.Adam(module.parameters(), lr=rate)
            if halved:
                plateau = Plateau(module, optimizer, 1, patience=9, decay_patience=9)
                plateau.rate[:] = 0.5
            for k in range(5):
                optimizer.zero_grad()
                module(torch.arange(3.0).double() + k).square().sum().backward()
                optimizer.step()
            return module.weight.detach()

        torch.testing.assert_close(trained(0.1, halved=True), trained(0.05, halved=False))


class TestSchedule:
    def test_cosine(self):
        schedule = loop.cosine(0.2)
        assert schedule(0) == 1
        assert isclose(schedule(0.5), 0.6)
        assert isclose(schedule(1), 0.2)

    def test_scales_the_rate_of_every_group(self):
        weights = [torch.zeros(1, requires_grad=True) for _ in range(2)]
        groups = [{"params": [w], "lr": lr} for w, lr in zip(weights, (1.0, 10.0), strict=True)]
        epochs = [[torch.tensor([[0]])]] * 2
        train(
            lambda rows, progress: {"sum": sum(weights)},
            torch.optim.SGD(groups),
            iter(epochs).__next__,
            2,
            schedule=lambda progress: 1 - progress,
        )
        assert [w.item() for w in weights] == [-1.5, -15.0]


class TestSettings:
    def test_precision_is_put_back_also_after_an_error(self):
        before = torch.get_float32_matmul_precision()
        with device.matmul_precision("medium"):
            assert torch.get_float32_matmul_precision() == "medium"
        with pytest.raises(RuntimeError, match="shapes"), device.matmul_precision("medium"):
            torch.ones(2, 3) @ torch.ones(2, 3)
        assert torch.get_float32_matmul_precision() == before

    def test_threads_that_want_other_precisions_take_turns(self):
        seen = []

        def compute(precision):
            for _ in range(50):
                with device.matmul_precision(precision):
                    seen.append((precision, torch.get_float32_matmul_precision()))
                    with device.matmul_precision("highest"):  # as reclustering does
                        seen.append(("highest", torch.get_float32_matmul_precision()))
                    seen.append((precision, torch.get_float32_matmul_precision()))

        before = torch.get_float32_matmul_precision()
        threads = [threading.Thread(target=compute, args=(p,)) for p in ("high", "medium") * 2]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(seen) == 600
        assert all(wanted == was for wanted, was in seen)
        assert torch.get_float32_matmul_precision() == before

    def test_progress_bar_only_when_asked(self, capsys):
        with loop.progress_bar(2, verbose=0) as tick:
            assert tick is None
        with loop.progress_bar(2, verbose=1) as tick:
            tick(0, {})
            tick(1, {})
        assert "2/2" in capsys.readouterr().err

    def test_devices(self, monkeypatch):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        assert device.resolve_device("auto").type == "cpu"
        assert device.resolve_device(torch.device("cpu")).type == "cpu"
        with pytest.raises(ValueError, match="device='abacus' is unknown; use 'cpu'"):
            device.resolve_device("abacus")
        with pytest.raises(ValueError, match="device='cuda:0': torch sees no GPU here"):
            device.resolve_device("cuda:0")
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        assert device.resolve_device("auto").type == "cuda"
