"""Losses: values worked by hand, gradients against finite differences, limits."""

from math import log

import pytest
import torch
from torch.autograd import gradcheck

from whycluster.training import losses

PHI_2 = 0.9772498680518208  # of the standard normal distribution


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def one_hot(labels, n_clusters):
    """Memberships of one model."""
    return torch.nn.functional.one_hot(torch.tensor([labels]), n_clusters).double()


def unit_rows(n_samples, n_latent, n_models=1):
    return torch.nn.functional.normalize(draw(n_models, n_samples, n_latent), dim=-1)


class TestReconstructionError:
    @pytest.mark.parametrize(("order", "expected"), [(1, [1.5, 2.0]), (2, [3.5, 4.0])])
    def test_by_hand(self, order, expected):
        x_hat = torch.tensor([[[1.0, 2.0], [3.0, 4.0]], [[2.0, 2.0], [2.0, 2.0]]])
        x = torch.tensor([[[1.0, 0.0], [2.0, 1.0]], [[0.0, 4.0], [0.0, 4.0]]])
        assert losses.reconstruction_error(x_hat, x, order).tolist() == expected

    @pytest.mark.parametrize("order", [1, 2])
    def test_gradient(self, order):
        x_hat, x = draw(2, 3, 4).requires_grad_(), draw(2, 3, 4, seed=1)
        assert gradcheck(lambda a: losses.reconstruction_error(a, x, order), x_hat)


class TestGatePenalty:
    def test_by_hand(self):
        mu = torch.tensor([[[-0.5, 0.5]], [[-0.5, -0.5]]], dtype=torch.float64)
        expected = torch.tensor([(0.5 + PHI_2) / 2, 0.5], dtype=torch.float64)
        torch.testing.assert_close(losses.gate_penalty(mu, sigma=0.5), expected)

    @pytest.mark.parametrize("sigma", [0.25, 0.5, 1.0])
    def test_is_the_expected_fraction_of_open_gates(self, sigma):
        mu = torch.linspace(-1, 1, 5, dtype=torch.float64)
        gates = 0.5 + mu + sigma * draw(200_000, 5)
        simulated = (gates > 0).double().mean()
        penalty = losses.gate_penalty(mu[None, None], sigma)[0]
        torch.testing.assert_close(penalty, simulated, atol=0.003, rtol=0)

    def test_counts_rows_and_clusters_alike(self):
        mu = draw(1, 6, 4).tanh()
        parts = [losses.gate_penalty(row[None, None], 0.5) for row in mu[0]]
        torch.testing.assert_close(losses.gate_penalty(mu, 0.5), torch.stack(parts).mean(dim=0))

    def test_gradient(self):
        assert gradcheck(lambda mu: losses.gate_penalty(mu, 0.5), draw(2, 3, 4).requires_grad_())


class TestCodingRate:
    def test_by_hand(self):
        z = torch.tensor([[3.0, 4.0]], dtype=torch.float64)  # z zᵀ = 25
        assert losses.coding_rate(z, 2.0).item() == pytest.approx(0.5 * log(51))

    @pytest.mark.parametrize("shape", [(3, 9), (9, 3), (5, 5)])
    def test_both_forms_agree(self, shape):
        z = draw(2, *shape)
        scale = torch.tensor([0.5, 4.0], dtype=torch.float64)
        eye = torch.eye(shape[1], dtype=torch.float64)
        direct = 0.5 * torch.logdet(eye + scale[:, None, None] * z.mT @ z)
        torch.testing.assert_close(losses.coding_rate(z, scale), direct)
        torch.testing.assert_close(losses.coding_rate(z.mT, scale), direct)

    def test_of_nothing_is_zero(self):
        assert losses.coding_rate(torch.zeros(2, 4, 3), 7.0).tolist() == [0, 0]

    def test_not_finite_in_one_model_is_nan_there_only(self):
        z = draw(3, 4, 5)
        z[1, 0, 0] = torch.inf
        rate = losses.coding_rate(z, 1.0)
        assert rate.isfinite().tolist() == [True, False, True]
        assert rate[1].isnan()

    @pytest.mark.parametrize("shape", [(3, 5), (5, 3)])
    def test_gradient(self, shape):
        assert gradcheck(lambda z: losses.coding_rate(z, 2.0), draw(2, *shape).requires_grad_())


class TestGateCodingLoss:
    def test_by_hand(self):
        z = torch.eye(2, dtype=torch.float64)[None]  # scale 2 / (2 · 1): I + I
        assert losses.gate_coding_loss(z, eps=1.0).item() == pytest.approx(-log(2) / 2)

    def test_prefers_gates_that_differ_from_row_to_row(self):
        different = torch.eye(4).repeat(2, 1)[None]
        same = torch.tensor([1.0, 0, 0, 0]).expand(1, 8, -1)
        assert losses.gate_coding_loss(different, 1.0) < losses.gate_coding_loss(same, 1.0)

    def test_equal_rows(self):
        z = torch.full((1, 3, 2), 0.5, dtype=torch.float64)  # zᵀz has the eigenvalue 1.5 only
        expected = -0.5 * log(1 + 2 / (3 * 0.1) * 1.5) / 3
        assert losses.gate_coding_loss(z, eps=0.1).item() == pytest.approx(expected)

    def test_more_features_than_float32_rounds_off_by_itself(self):
        """Noisy gates of 7,000 features keep their Cholesky factor in single precision."""
        z = (0.5 + 0.25 * draw(1, 72, 7000)).clamp(0, 1)
        single = losses.gate_coding_loss(z.float(), 1.0).double()
        torch.testing.assert_close(single, losses.gate_coding_loss(z, 1.0), rtol=1e-4, atol=0)

    def test_gradient(self):
        z = draw(2, 3, 4).sigmoid().requires_grad_()
        assert gradcheck(lambda z: losses.gate_coding_loss(z, 0.5), z)


class TestClusterCodingLoss:
    H = torch.eye(2, dtype=torch.float64)[[0, 0, 1, 1]][None]  # two rows each way

    def test_by_hand(self):
        loss = losses.cluster_coding_loss(self.H, one_hot([0, 0, 1, 1], 2), eps=0.1)
        # each cluster: ½ log(1 + 2 / (2 · 0.1) · 2), a share of ½, over two dimensions
        assert loss.item() == pytest.approx(0.25 * log(21))

    def test_by_hand_unequal_clusters(self):
        loss = losses.cluster_coding_loss(self.H, one_hot([0, 0, 0, 1], 2), eps=0.1)
        largest = 0.5 * (log(1 + 20 / 3 * 2) + log(1 + 20 / 3 * 1))
        smallest = 0.5 * log(1 + 20)
        assert loss.item() == pytest.approx((0.75 * largest + 0.25 * smallest) / 2)

    def test_prefers_the_planted_clusters(self):
        planted = losses.cluster_coding_loss(self.H, one_hot([0, 0, 1, 1], 2), eps=0.1)
        for labels in ([0, 1, 0, 1], [0, 0, 0, 1], [0, 0, 0, 0]):
            assert planted < losses.cluster_coding_loss(self.H, one_hot(labels, 2), eps=0.1)

    def test_without_shares_of_the_batch_one_cluster_for_all_is_best(self):
        """As Eq. (6) is printed, the sum over clusters falls when they merge (deviation 2)."""

        def printed(*clusters):
            return sum(losses.coding_rate(h, 2 / (len(h) * 0.1)) for h in clusters)

        assert printed(self.H[0]) < printed(self.H[0, :2], self.H[0, 2:])

    def test_opposite_rows_cost_nothing_to_merge(self):
        """Why the head sees a 1 beside the embedding (deviation 4)."""
        h = torch.tensor([[1.0, 0], [1, 0], [-1, 0], [-1, 0]], dtype=torch.float64)[None]
        together, apart = one_hot([0, 0, 0, 0], 2), one_hot([0, 0, 1, 1], 2)
        merged = losses.cluster_coding_loss(h, together, 0.1)
        torch.testing.assert_close(merged, losses.cluster_coding_loss(h, apart, 0.1))
        seen = torch.nn.functional.normalize(torch.nn.functional.pad(h, (0, 1), value=1), dim=-1)
        merged = losses.cluster_coding_loss(seen, together, 0.1)
        assert losses.cluster_coding_loss(seen, apart, 0.1) < merged - 0.1

    def test_one_cluster_is_the_coding_rate_of_all_rows(self):
        h = unit_rows(9, 4)
        everything = losses.coding_rate(h, 4 / (9 * 0.1)) / 4
        torch.testing.assert_close(
            losses.cluster_coding_loss(h, torch.ones_like(h[..., :1]), 0.1), everything
        )

    def test_equal_rows_cost_the_same_however_they_are_split(self):
        h = torch.tensor([0.6, 0.8], dtype=torch.float64).expand(1, 6, 2)
        expected = 0.5 * log(1 + 2 / 0.1) / 2
        for labels in ([0] * 6, [0, 1] * 3, [0, 1, 1, 1, 1, 1]):
            loss = losses.cluster_coding_loss(h, one_hot(labels, 2), 0.1)
            assert loss.item() == pytest.approx(expected)

    def test_empty_cluster_costs_nothing_and_has_a_finite_gradient(self):
        membership = one_hot([0, 0, 1, 1], 3).requires_grad_()
        loss = losses.cluster_coding_loss(self.H, membership, 0.1)
        assert loss.item() == pytest.approx(0.25 * log(21))
        loss.backward()
        assert membership.grad.isfinite().all()

    def test_gradient(self):
        h = unit_rows(5, 3, n_models=2)
        logits = draw(2, 5, 4, seed=1).requires_grad_()

        def loss(logits):
            return losses.cluster_coding_loss(h, logits.softmax(dim=-1), 0.1)

        assert gradcheck(loss, logits)


@pytest.mark.parametrize(
    "loss",
    [
        lambda a, b: losses.reconstruction_error(a, b),
        lambda a, b: losses.gate_penalty(a.tanh(), 0.5),
        lambda a, b: losses.gate_coding_loss(a.sigmoid(), 1.0),
        lambda a, b: losses.cluster_coding_loss(a, b.softmax(dim=-1), 0.1),
    ],
    ids=["reconstruction", "penalty", "gate coding", "cluster coding"],
)
def test_models_of_a_stack_do_not_mix(loss):
    a, b = draw(3, 6, 4), draw(3, 6, 4, seed=1)
    alone = [loss(a[i : i + 1], b[i : i + 1]) for i in range(3)]
    torch.testing.assert_close(loss(a, b), torch.cat(alone))


class TestCrossEntropy:
    def test_agrees_with_torch_for_hard_targets(self):
        logits, labels = draw(2, 5, 3), torch.tensor([[0, 1, 2, 1, 0], [2, 2, 1, 0, 0]])
        target = torch.nn.functional.one_hot(labels, 3).double()
        expected = torch.stack(
            [torch.nn.functional.cross_entropy(x, y) for x, y in zip(logits, labels, strict=True)]
        )
        torch.testing.assert_close(losses.cross_entropy(logits, target), expected)

    def test_weights_by_hand(self):
        target = torch.tensor([[[1.0, 0], [0, 1]]])
        loss = losses.cross_entropy(torch.zeros(1, 2, 2), target, torch.tensor([1.0, 3]))
        torch.testing.assert_close(loss, torch.tensor([2 * log(2)]))

    def test_gradient(self):
        target = torch.softmax(draw(2, 4, 3, seed=1), dim=-1)
        assert gradcheck(lambda z: losses.cross_entropy(z, target), draw(2, 4, 3).requires_grad_())


def test_weight_penalty_is_the_mean_absolute_weight_of_each_model():
    w = torch.tensor([[[1.0, -1], [3, -3]], [[0, 0], [0, 8]]])
    torch.testing.assert_close(losses.weight_penalty(w), torch.tensor([2.0, 2.0]))


class TestContrast:
    def brute_force(self, h, temperature):
        """Eq. (1) of SimCLR as it stands, for one model."""
        views, total = torch.nn.functional.normalize(h, dim=1), 0.0
        n = len(views) // 2
        for i in range(2 * n):
            j = (i + n) % (2 * n)
            others = [torch.exp(views[i] @ views[k] / temperature) for k in range(2 * n) if k != i]
            total -= torch.log(torch.exp(views[i] @ views[j] / temperature) / sum(others))
        return total / (2 * n)

    @pytest.mark.parametrize("temperature", [0.1, 0.5, 2.0])
    def test_equals_the_equation(self, temperature):
        h = draw(2, 8, 3)
        expected = torch.stack([self.brute_force(model, temperature) for model in h])
        torch.testing.assert_close(losses.nt_xent(h, temperature), expected)

    def test_nothing_is_told_apart_at_high_temperature(self):
        assert losses.nt_xent(draw(1, 10, 3), 1e9).item() == pytest.approx(log(9))

    def test_only_the_nearest_counts_at_low_temperature(self):
        first = torch.eye(4, dtype=torch.float64)
        twins = torch.cat([first, first])[None]
        assert losses.nt_xent(twins, 1e-4).item() == pytest.approx(0, abs=1e-9)
        strangers = torch.cat([first, first.roll(1, 0)])[None]
        assert losses.nt_xent(strangers, 1e-4).item() == pytest.approx(1e4)

    def test_lengths_do_not_count(self):
        h = draw(1, 6, 3)
        lengths = torch.tensor([0.1, 5.0, 2.0, 1.0, 9.0, 0.5]).double()[:, None]
        torch.testing.assert_close(losses.nt_xent(h * lengths, 0.5), losses.nt_xent(h, 0.5))

    def test_gradient(self):
        assert gradcheck(lambda h: losses.nt_xent(h, 0.5), draw(1, 6, 3).requires_grad_())


class TestSelfLabelling:
    teacher = torch.tensor([[[9.0, 0.0], [8.0, 0.0], [0.0, 9.0], [0.1, 0.0]]])
    logits = torch.tensor([[[1.0, 0.0], [0.0, 0.0], [2.0, 0.0], [0.0, 7.0]]])

    def test_clusters_count_alike_and_doubtful_rows_not_at_all(self):
        rows = -self.logits.log_softmax(dim=2)[0]
        expected = ((rows[0, 0] + rows[1, 0]) / 2 + rows[2, 1]) / 2
        loss = losses.confident_cross_entropy(self.logits, self.teacher, 0.99)
        assert loss.item() == pytest.approx(expected.item())

    def test_one_sure_cluster_is_a_plain_mean(self):
        loss = losses.confident_cross_entropy(self.logits[:, :2], self.teacher[:, :2], 0.99)
        target = torch.zeros(2, dtype=torch.long)
        expected = torch.nn.functional.cross_entropy(self.logits[0, :2], target)
        assert loss.item() == pytest.approx(expected.item())

    def test_nobody_teaches_without_confidence(self):
        logits = self.logits.clone().requires_grad_()
        loss = losses.confident_cross_entropy(logits, 0.001 * self.teacher, 0.99)
        loss.sum().backward()
        assert loss.item() == 0
        assert logits.grad.abs().max() == 0

    def test_the_teacher_gets_no_gradient(self):
        teacher = self.teacher.clone().requires_grad_()
        loss = losses.confident_cross_entropy(self.logits, teacher, 0.5)
        assert not loss.requires_grad
