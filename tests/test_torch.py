"""What the package relies on in private and undocumented parts of torch; each name of ``_torch.py`` has its canary."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from torch import nn

import metalearn
from metalearn import _torch

PRIVATE = re.compile(r"torch(\.\w+)*\.(_\w+|experimental)\b|import _(BatchNorm|ConvNd)\b|make_fx|_pytree")


def test_private_torch_is_touched_in_one_file():
    folder = Path(metalearn.__file__).parent
    found = {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*.py")
        if PRIVATE.search(path.read_text(encoding="utf-8")) and path.name != "_torch.py"
    }
    assert found == set()


def test_the_pattern_finds_what_it_should():
    private = ["torch._C._functorch", "from torch.utils._pytree import tree_map", "torch.nn.modules.conv._ConvNd"]
    private += ["from torch.nn.modules.batchnorm import _BatchNorm", "torch.fx.experimental.proxy_tensor"]
    assert all(PRIVATE.search(line) for line in private)
    assert not PRIVATE.search("from metalearn._torch import tree_map, is_transformed; torch.func.vmap; torch.nn.Linear")


def test_every_name_has_a_canary():
    text = Path(__file__).read_text(encoding="utf-8")
    missing = {name for name in _torch.__all__ if not re.search(rf"_torch\.{name}[(),]", text)}
    assert missing == {"compile_graph"}  # it has its own in test_compiled.py, where a compiler is needed anyway


def test_tree_functions_keep_order_and_form():
    tree = {"b": torch.tensor(1), "a": (torch.tensor(2), [torch.tensor(3), None, 4.0])}
    assert _torch.tree_leaves(tree) == [1, 2, 3, None, 4.0]  # a dict in its own order, None and numbers are leaves
    leaves, form = _torch.tree_flatten(tree)
    assert _torch.tree_unflatten(leaves, form) == tree
    doubled = _torch.tree_map(lambda leaf: None if leaf is None else 2 * leaf, tree)
    assert doubled == {"b": 2, "a": (4, [6, None, 8.0])}
    assert _torch.tree_map(lambda a, b: a + b, (1, [2]), (3, [4])) == (4, [6])  # several trees at once
    assert _torch.tree_leaves(torch.ones(2)) == [pytest.approx(torch.ones(2))]


def test_base_classes_of_layers():
    batch_norms = nn.BatchNorm1d(2), nn.BatchNorm2d(2), nn.BatchNorm3d(2), nn.SyncBatchNorm(2), nn.LazyBatchNorm2d()
    assert all(isinstance(layer, _torch.AnyBatchNorm) for layer in batch_norms)
    others = nn.InstanceNorm2d(2), nn.GroupNorm(1, 2), nn.LayerNorm(2)
    assert not any(isinstance(layer, _torch.AnyBatchNorm) for layer in others)
    convolutions = nn.Conv1d(1, 1, 1), nn.Conv2d(1, 1, 1), nn.Conv3d(1, 1, 1), nn.ConvTranspose2d(1, 1, 1)
    assert all(isinstance(layer, _torch.AnyConvolution) for layer in convolutions)
    assert not isinstance(nn.Linear(1, 1), _torch.AnyConvolution)


def test_a_dispatch_mode_sees_every_result_and_a_weak_reference_its_end():
    class Watch(_torch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            out = func(*args, **(kwargs or {}))
            seen.append(_torch.StorageWeakRef(out.untyped_storage()))
            return out

    seen, start = [], torch.ones(3, requires_grad=True)
    with Watch():
        kept = (start * 2) * 3
        kept.sum().backward()  # the backward pass is seen too
    alive = [not ref.expired() for ref in seen]
    assert len(seen) > 3 and sum(alive) >= 2 and not all(alive) and alive[1]
    assert _torch.StorageWeakRef(kept.untyped_storage()) == seen[1]


def test_transforms_are_seen():
    seen = []

    def note(x):
        seen.append(_torch.is_transformed())
        return x.sum()

    note(torch.ones(2))
    torch.func.vmap(note)(torch.ones(2, 2))
    torch.func.grad(note)(torch.ones(2))
    torch.func.vjp(note, torch.ones(2))
    assert seen == [False, True, True, True] and not _torch.is_transformed()


def test_a_wrapped_tensor_is_unwrapped_layer_by_layer():
    weight, layers = torch.ones(3, requires_grad=True), []

    def note(x):
        outer = x * weight
        while outer is not None:
            layers.append((list(outer.shape), outer.requires_grad))
            outer = _torch.unwrapped(outer)
        return x.sum()

    torch.func.vmap(note)(torch.ones(2, 3))
    assert layers == [([3], False), ([2, 3], True)]  # only the innermost tensor knows that it needs a gradient
    assert _torch.unwrapped(weight) is None


def test_a_wrapped_tensor_wants_a_gradient_as_what_it_wraps():
    found = []

    def note(weight, fixed):
        torch.func.vmap(lambda x: found.append([_torch.wants_gradient(part) for part in (weight, fixed)]) or x.sum())(
            torch.ones(2, 3)
        )
        return weight.sum()

    with torch.no_grad():
        torch.func.vmap(note)(torch.ones(4, 3, requires_grad=True), torch.ones(4, 3))
    assert found == [[True, False]]
    torch.func.grad(lambda weight: torch.func.vmap(note)(weight, torch.ones(2, 3)).sum())(torch.ones(2, 3))
    assert found[1] == [True, False]
    assert _torch.wants_gradient(torch.ones(1, requires_grad=True)) and not _torch.wants_gradient(torch.ones(1))


def test_a_trace_holds_gradients_and_transforms_and_no_values():
    traced = []

    def slopes(x, weight):
        traced.append(_torch.is_traced())
        loss = torch.func.vmap(lambda row: (weight * row).sin().sum())(x).sum()
        return [loss, *torch.autograd.grad(loss, weight)]

    weight = torch.ones(3, requires_grad=True)
    graph = _torch.trace(slopes, [torch.rand(2, 3), weight], {})
    assert traced == [True] and not _torch.is_traced()
    x, weight = torch.rand(2, 3), torch.rand(3, requires_grad=True)
    torch.testing.assert_close(graph(x, weight), slopes(x, weight))


def test_a_rule_replaces_an_operator_of_a_trace():
    rules = {torch.ops.aten.mm.default: lambda a, b: (a.unsqueeze(2) * b).sum(1) if len(a) > 2 else NotImplemented}
    wide, narrow, right = torch.rand(3, 4), torch.rand(2, 4), torch.rand(4, 5)
    graph = _torch.trace(lambda *parts: [parts[0] @ parts[2], parts[1] @ parts[2]], [wide, narrow, right], rules)
    torch.testing.assert_close(graph(wide, narrow, right), [wide @ right, narrow @ right])
    assert graph.code.count("mm.default") == 1


def test_gamma_variates_come_from_the_generator_and_have_their_mean_and_variance():
    shape = torch.tensor([0.5, 3.0]).repeat(20_000, 1)
    first, second = (_torch.draw_gamma(shape, torch.Generator().manual_seed(1)) for _ in range(2))
    assert torch.equal(first, second)
    assert first.mean(0).tolist() == pytest.approx([0.5, 3.0], rel=0.05)
    assert first.var(0).tolist() == pytest.approx([0.5, 3.0], rel=0.1)
