"""The outer gradient is the gradient, and the check by differences finds what is none."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from metalearn import Episode, gradients, over_tasks
from metalearn.gradients import finite_difference_error, outer_gradient
from metalearn.learners import ANIL, MAML, Prototypical


def waves():
    x = torch.rand(3, 8, 1, generator=torch.Generator().manual_seed(1)).double() * 4
    return Episode(x, x.sin(), x + 0.5, (x + 0.5).sin())


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(1, 5), nn.Tanh(), nn.Linear(5, 1)).double()


def test_the_outer_gradient_is_the_gradient_of_the_mean_loss_in_one_vector():
    learner, batch = MAML(net(), 0.1, loss_fn=F.mse_loss), waves()
    loss = over_tasks(learner.loss, batch).mean()
    expected = torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(learner.parameters()))])
    torch.testing.assert_close(outer_gradient(learner, batch), expected)
    torch.testing.assert_close(outer_gradient(learner, batch), expected)  # nothing adds up


def test_frozen_weights_are_left_out_and_unused_ones_are_zero():
    learner = MAML(net(), 0.1, loss_fn=F.mse_loss)
    learner.model[0].bias.requires_grad_(False)
    assert outer_gradient(learner, waves()).shape == (11,)
    learner.unused = nn.Parameter(torch.ones(2).double())
    assert outer_gradient(learner, waves()).shape == (13,)
    assert not outer_gradient(learner, waves())[torch.tensor([0, 1])].any()


@pytest.mark.parametrize("options", [{}, {"recompute": True}, {"n_inner_steps": 3}, {"n_inner_steps": 0}])
def test_right_gradients_pass(options):
    learner = MAML(net(), 0.1, loss_fn=F.mse_loss, **options)
    before = {name: param.clone() for name, param in learner.named_parameters()}
    assert finite_difference_error(learner, waves()) < 1e-6
    assert all(torch.allclose(param, before[name]) for name, param in learner.named_parameters())


def test_first_order_is_found():
    assert finite_difference_error(MAML(net(), 0.1, first_order=True, loss_fn=F.mse_loss), waves()) > 1e-3
    head = ANIL(nn.Sequential(nn.Linear(1, 5), nn.Tanh()), nn.Linear(5, 1), 0.1, 3, loss_fn=F.mse_loss).double()
    assert finite_difference_error(head, waves()) < 1e-6


def test_other_learners_can_be_checked():
    x = torch.randn(2, 6, 3, generator=torch.Generator().manual_seed(0)).double()
    y = torch.tensor([0, 1, 2, 0, 1, 2]).expand(2, 6)
    encoder = nn.Sequential(nn.Linear(3, 4), nn.Tanh()).double()
    assert finite_difference_error(Prototypical(encoder), Episode(x, y, x + 0.1, y, 3)) < 1e-6


def test_a_loss_that_does_not_change_has_a_gradient_of_zero():
    class Flat(MAML):
        def loss(self, episode):
            return 0 * super().loss(episode)

    learner = Flat(net(), 0.1, loss_fn=F.mse_loss)
    assert finite_difference_error(learner, waves()) == 0
    learner.backward = MAML(learner.model, 0.1, loss_fn=F.mse_loss).backward
    assert finite_difference_error(learner, waves()) == math.inf


def test_single_precision_is_refused():
    with pytest.raises(ValueError, match="expected parameters in double precision"):
        gradients.finite_difference_error(MAML(nn.Linear(1, 1), 0.1, loss_fn=F.mse_loss), waves())
