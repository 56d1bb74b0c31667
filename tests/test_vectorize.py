"""vmap and loop give the same, and "auto" picks between them."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from metalearn import Episode, over_tasks
from metalearn.data import sinusoids
from metalearn.learners import MAML
from metalearn.networks import MLP, Conv4
from metalearn.vectorize import pick_how


def tasks(n_tasks=6):
    return sinusoids().sample(n_tasks, 5, 7, torch.Generator().manual_seed(0))


def images():
    x, y = torch.rand(2, 4, 1, 28, 28), torch.arange(4).repeat(2, 1) % 2
    return Episode(x, y, x, y, n_way=2)


def test_vmap_loop_and_chunks_agree_on_pytrees():
    def fn(episode):
        return {"mean": episode.query_y.mean(), "shift": (episode.support_x + 1, episode.query_y.sum())}

    loop = over_tasks(fn, tasks(), "loop")
    for chunk_size in (None, 2):
        vmap = over_tasks(fn, tasks(), "vmap", chunk_size=chunk_size)
        torch.testing.assert_close(vmap, loop)
    assert loop["shift"][0].shape == (6, 5, 1)


def test_float32_loss_and_gradient_agree():
    torch.manual_seed(0)
    learner = MAML(MLP([1, 40, 40, 1]), 0.01, 5, loss_fn=F.mse_loss)
    grads = []
    for how in ("vmap", "loop"):
        learner.how = how
        learner.zero_grad()
        learner.backward(tasks())
        grads.append(nn.utils.parameters_to_vector([p.grad for p in learner.parameters()]))
    torch.testing.assert_close(grads[0], grads[1], rtol=1e-4, atol=1e-6)


def test_backward_in_chunks_is_backward():
    torch.manual_seed(0)
    learner = MAML(MLP([1, 8, 1]), 0.01, loss_fn=F.mse_loss).double()
    batch, results = tasks().map(torch.Tensor.double), []
    for how, chunk_size in (("vmap", None), ("vmap", 4), ("loop", None), ("loop", 3)):
        learner.how, learner.chunk_size = how, chunk_size
        learner.zero_grad()
        loss = learner.backward(batch)
        results.append((loss.double(), nn.utils.parameters_to_vector([p.grad for p in learner.parameters()])))
    expected = over_tasks(learner.loss, batch, "loop").mean().detach()
    for loss, gradient in results:
        torch.testing.assert_close(loss, expected, rtol=1e-6, atol=0)
        torch.testing.assert_close(gradient, results[0][1], rtol=1e-12, atol=1e-14)


def test_auto_picks_by_network_and_device():
    assert pick_how("auto", tasks(), MLP([1, 4, 1])) == "vmap"
    assert pick_how("auto", images(), Conv4(2)) == "loop"
    assert pick_how("auto", images(), nn.Sequential(nn.Flatten(), nn.Linear(784, 2))) == "vmap"
    assert pick_how("auto", images()) == "loop" and pick_how("auto", tasks()) == "vmap"
    assert pick_how("auto", tasks(), nn.LSTM(1, 4)) == "loop"
    assert pick_how("auto", images().to("meta"), Conv4(2)) == "vmap"


def test_auto_falls_back_where_vmap_has_no_rule_and_says_so_once():
    class Branches(nn.Module):
        def forward(self, episode):
            return episode.query_y.sum() if episode.query_y.sum().item() > 0 else -episode.query_y.sum()

    module = Branches()
    with pytest.warns(UserWarning, match="over_tasks loops over tasks, since vmap has no rule here: vmap:"):
        first = over_tasks(module.forward, tasks())
    torch.testing.assert_close(first, tasks().query_y.sum((1, 2)).abs())
    torch.testing.assert_close(over_tasks(module.forward, tasks()), first)  # no second warning: it would be an error
    with pytest.raises(RuntimeError, match="vmap"):
        over_tasks(module.forward, tasks(), "vmap")


def test_an_error_of_the_function_itself_is_not_hidden():
    with pytest.raises(RuntimeError, match="Expected size for first two dimensions of batch2 tensor"):
        over_tasks(lambda episode: episode.query_x @ torch.ones(3, 1), tasks())


def test_dropout_differs_between_tasks():
    torch.manual_seed(0)
    out = over_tasks(lambda episode: F.dropout(torch.ones(50), 0.5), tasks(), "vmap")
    assert not torch.equal(out[0], out[1])


def test_bad_input():
    with pytest.raises(ValueError, match=r"how must be one of \['auto', 'vmap', 'loop'\], got 'fast'"):
        over_tasks(lambda episode: episode.query_y, tasks(), "fast")
    x, y = torch.zeros(2, 5, 3), torch.zeros(2, 5, 1)
    with pytest.raises(ValueError, match=r"expected a batch of episodes, every tensor .* query_x \[3, 5, 3\]"):
        over_tasks(lambda episode: episode.query_y, Episode(x, y, torch.zeros(3, 5, 3), torch.zeros(3, 5, 1)))


@pytest.mark.parametrize("how", ["auto", "vmap", "loop"])
def test_one_task_in_place_of_a_batch_is_named(how):
    for task in (images()[0], tasks()[0]):
        with pytest.raises(ValueError, match="got one task, expected a batch: each tensor of the episode must carry"):
            over_tasks(lambda episode: episode.query_y.sum(), task, how)
        assert len(over_tasks(lambda episode: episode.query_y.sum(), task.map(lambda leaf: leaf[None]), how)) == 1


class Unequal:
    """What over_tasks asks of a list of unequal tasks."""

    def __init__(self, *episodes):
        self.episodes = episodes

    def __iter__(self):
        return iter(self.episodes)


def unequal():
    return Unequal(*(sinusoids().sample(1, n, 7, torch.Generator().manual_seed(n))[0] for n in (3, 5, 8)))


@pytest.mark.parametrize("how", ["auto", "vmap", "loop"])
def test_unequal_tasks_loop_and_stack(how):
    learner = MAML(MLP([1, 8, 1]), 0.01, loss_fn=F.mse_loss)
    losses = over_tasks(learner.loss, unequal(), how)
    torch.testing.assert_close(losses, torch.stack([learner.loss(task) for task in unequal()]))
    assert pick_how(how, unequal(), learner) == "loop"


def test_results_that_cannot_be_stacked_are_named():
    with pytest.raises(ValueError, match=r"3 tasks cannot be stacked, their shapes are \['\[3, 1\]', '\[5, 1\]', "):
        over_tasks(lambda episode: episode.support_y, unequal())
    with pytest.raises(ValueError, match="the results of 0 tasks cannot be stacked"):
        over_tasks(lambda episode: episode.support_y, Unequal())


@pytest.mark.parametrize("first_order", [False, True])
def test_attention_under_vmap_is_that_of_the_loop(first_order):
    """Torch has no rule of vmap for a CPU's fused kernel, and would warn of a slow one."""
    model = nn.Sequential(nn.TransformerEncoderLayer(4, 2, 6, dropout=0.0, batch_first=True), nn.Flatten())
    model.append(nn.Linear(12, 2))
    x, y = torch.randn(3, 6, 3, 4), torch.arange(6).repeat(3, 1) % 2
    learner = MAML(model, 0.3, first_order=first_order)
    batch, found = Episode(x, y, x, y, n_way=2), []
    for how in ("loop", "vmap"):
        learner.zero_grad()
        over_tasks(learner.loss, batch, how).sum().backward()
        found.append(nn.utils.parameters_to_vector([p.grad for p in learner.parameters()]))
    torch.testing.assert_close(found[1], found[0], rtol=1e-4, atol=1e-6)
    with torch.no_grad():
        learner.eval()
        torch.testing.assert_close(*(over_tasks(learner.loss, batch, how) for how in ("loop", "vmap")))
