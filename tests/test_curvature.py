"""The largest curvature is that of the Hessian itself."""

import pytest
import torch
from torch import nn

from metalearn import over_tasks
from metalearn.curvature import largest_curvature
from metalearn.data import sinusoids
from metalearn.inner_loop import from_vector, to_vector


def double_mlp():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(1, 5), nn.Tanh(), nn.Linear(5, 1)).double()

    def loss(params, x, y):
        return (torch.func.functional_call(model, params, (x,)) - y).square().mean()

    return dict(model.named_parameters()), loss


def test_power_iteration_finds_the_eigenvalue_of_largest_size():
    params, loss = double_mlp()
    batch = sinusoids().sample(3, 8, 1, torch.Generator().manual_seed(0)).map(lambda tensor: tensor.double())
    found = over_tasks(
        lambda task: largest_curvature(params, loss, task.support_x, task.support_y, n_iterations=300), batch, "vmap"
    )
    for i in range(3):
        x, y = batch[i].support_x, batch[i].support_y
        here = to_vector(params).detach()
        hessian = torch.autograd.functional.hessian(lambda v, x=x, y=y: loss(from_vector(v, params), x, y), here)
        assert found[i].item() == pytest.approx(torch.linalg.eigvalsh(hessian).abs().max().item(), rel=1e-6)
    assert not found.requires_grad


def test_a_number_of_iterations_below_one_is_refused():
    params, loss = double_mlp()
    with pytest.raises(ValueError, match="n_iterations must be at least 1, got 0"):
        largest_curvature(params, loss, torch.ones(1, 1), torch.ones(1, 1), n_iterations=0)
