"""Adam for stacks in which some models sit out."""

import torch

from whycluster.training.adam import StackedAdam

ADAM = dict(lr=0.1, weight_decay=0.01)


class TestStackedAdam:
    def parameters(self):
        return [torch.nn.Parameter(torch.arange(6.0).view(3, 2)), torch.nn.Parameter(torch.ones(3))]

    def step(self, optimizer, parameters, n_active):
        optimizer.zero_grad()
        optimizer.n_active = n_active
        sum(p[:n_active].square().sum() for p in parameters).backward()
        optimizer.step()

    def test_all_models_together_take_the_step_of_adam(self):
        ours, theirs = self.parameters(), self.parameters()
        stacked = StackedAdam(ours, [1, 2], **ADAM)
        plain = torch.optim.Adam(theirs, **ADAM)
        for _ in range(4):
            self.step(stacked, ours, 3)
            self.step(plain, theirs, 3)
        for a, b in zip(ours, theirs, strict=True):
            torch.testing.assert_close(a, b)

    def test_a_parameter_without_a_gradient_is_left_as_it_is(self):
        used, unused = self.parameters()
        stacked = StackedAdam([used, unused], [1, 2], **ADAM)
        used.sum().backward()
        stacked.step()
        assert (used < self.parameters()[0]).all()
        torch.testing.assert_close(unused, torch.nn.Parameter(torch.ones(3)))

    def test_a_model_that_sits_out_is_as_if_the_step_were_not(self):
        ours, alone = (
            self.parameters(),
            [p.detach()[2:].requires_grad_() for p in self.parameters()],
        )
        stacked = StackedAdam(ours, [2, 1], **ADAM)
        plain = torch.optim.Adam(alone, **ADAM)
        for n_active in (3, 2, 2, 3):
            self.step(stacked, ours, n_active)
            if n_active == 3:
                self.step(plain, alone, 1)
        for a, b in zip(ours, alone, strict=True):
            torch.testing.assert_close(a[2:], b)
