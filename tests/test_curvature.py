"""The largest curvature is that of the Hessian itself."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from metalearn import Episode
from metalearn.curvature import largest_curvatures
from metalearn.data import sinusoids
from metalearn.inner_loop import from_vector, to_vector
from metalearn.learners import MAML


@pytest.fixture
def learner():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(1, 5), nn.Tanh(), nn.Linear(5, 1)).double()
    return MAML(model, 0.1, loss_fn=F.mse_loss)


@pytest.fixture
def batch():
    return sinusoids().sample(3, 8, 1, torch.Generator().manual_seed(0)).map(lambda tensor: tensor.double())


def test_power_iteration_finds_the_eigenvalue_of_largest_size(learner, batch):
    params = dict(learner.model.named_parameters())
    here = to_vector(params).detach()
    found = largest_curvatures(learner, batch, n_iterations=300)
    for i in range(3):

        def loss(vector, task=batch[i]):
            predicted = torch.func.functional_call(learner.model, from_vector(vector, params), (task.support_x,))
            return F.mse_loss(predicted, task.support_y)

        values = torch.linalg.eigvalsh(torch.autograd.functional.hessian(loss, here))
        assert found[i].item() == pytest.approx(values.abs().max().item(), rel=1e-6)
    assert not found.requires_grad


def test_where_the_gradient_is_zero_the_curvature_is_still_found(batch):
    model = nn.Linear(1, 1, bias=False).double()
    y = model(batch.support_x).detach()  # the start is the minimum
    found = largest_curvatures(MAML(model, 0.1, loss_fn=F.mse_loss), Episode(batch.support_x, y, batch.support_x, y))
    torch.testing.assert_close(found, 2 * batch.support_x.square().mean((1, 2)))
    flat = MAML(nn.Sequential(model, nn.Hardtanh(-9, -8)), 0.1, loss_fn=F.mse_loss)  # its output does not move
    assert largest_curvatures(flat, batch).tolist() == [0.0, 0.0, 0.0]


def test_a_number_of_iterations_below_one_is_refused(learner, batch):
    with pytest.raises(ValueError, match="n_iterations must be at least 1, got 0"):
        largest_curvatures(learner, batch, n_iterations=0)
