"""Operations, and the most bytes that were alive at one moment, counted."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from contextlib import nullcontext
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

from metalearn._modes import evaluating
from metalearn._torch import StorageWeakRef, TorchDispatchMode, tree_leaves
from metalearn.episodes import Episode
from metalearn.learners._base import Learner


@dataclass(frozen=True)
class Costs:
    """What a function costs; see :func:`count`.

    Attributes:
        operations: Floating-point operations of matrix products and convolutions.
        peak_bytes: The most bytes of tensors made by the function that were alive at one moment.

    Example:
        >>> from metalearn.costs import Costs
        >>> Costs(operations=12, peak_bytes=16)
        Costs(operations=12, peak_bytes=16)
    """

    operations: int
    peak_bytes: int


def count(function: Callable[[], Any]) -> Costs:
    """Run a function twice, and count its operations and the memory of the tensors that it makes.

    A time depends on a machine and its load, the memory of a process on what ran before; both counts are the same in
    each run. Operations are those of products of matrices and vectors, attention and convolutions, nearly all that a
    network needs. Memory is that of every result of an operation, views of what was given among them, as long as
    anything refers to it.

    Args:
        function: Takes nothing; runs in this thread.

    Raises:
        ValueError: If it runs a fused recurrent layer of torch, such as ``nn.LSTM``, whose products are hidden.

    Example:
        >>> import torch
        >>> from metalearn import costs
        >>> matrix = torch.ones(10, 10)
        >>> costs.count(lambda: matrix @ matrix @ matrix)
        Costs(operations=4000, peak_bytes=800)
    """
    with _Watch() as watch:
        function()
    with _Counter() as counter:
        function()
    return Costs(counter.get_total_flops(), watch.peak)


def adaptation(learner: Learner, task: Episode, n_steps: int | None = None) -> Costs:
    """Count what it costs to adapt to the support set of one task; its queries are not predicted.

    Args:
        learner: Any learner; it runs in ``eval`` mode and is left as it was.
        task: One task, without a task axis.
        n_steps: Number of inner steps; ``None``: as trained.

    Example:
        >>> import torch
        >>> from metalearn import costs
        >>> from metalearn.data import sinusoids
        >>> from metalearn.learners import MAML
        >>> from metalearn.networks import MLP
        >>> task = sinusoids().sample(1, 5, 5, torch.Generator().manual_seed(0))[0]
        >>> learner = MAML(MLP([1, 40, 1]), inner_lr=0.01, loss_fn=torch.nn.functional.mse_loss)
        >>> costs.adaptation(learner, task).operations  # two layers: forward, gradients of weights and of the hidden
        2000
    """
    with evaluating(learner), torch.no_grad():
        return count(lambda: learner.adapt(task.support_x, task.support_y, n_way=task.n_way, n_steps=n_steps))


def meta_step(learner: Learner, batch: Any) -> int:
    """Count the operations of one step of meta-training: those of ``learner.backward``, the optimiser's left out.

    Tasks are run one by one, whatever ``learner.how`` says.

    Args:
        learner: Any learner; its gradients are left as they were.
        batch: What a training step draws.

    Example:
        >>> import torch
        >>> from metalearn import costs
        >>> from metalearn.data import sinusoids
        >>> from metalearn.learners import MAML
        >>> from metalearn.networks import MLP
        >>> learner = MAML(MLP([1, 40, 1]), inner_lr=0.01, loss_fn=torch.nn.functional.mse_loss)
        >>> one, four = (sinusoids().sample(n, 5, 5, torch.Generator().manual_seed(0)) for n in (1, 4))
        >>> costs.meta_step(learner, four) == 4 * costs.meta_step(learner, one)
        True
    """
    twin = deepcopy(learner)
    twin.how = "loop"
    given = "generator" in inspect.signature(twin.backward).parameters
    options = {"generator": torch.Generator().manual_seed(0)} if given else {}
    with _Counter() as counter:
        twin.backward(batch, **options)
    return int(counter.get_total_flops())


def _refuse(*shapes: Any, out_shape: Any = None, **options: Any) -> int:
    raise ValueError(
        "expected products that can be counted, got a fused recurrent layer (nn.LSTM, nn.GRU, nn.RNN):"
        " write its cell as products of matrices"
    )


def _with_a_vector(first: Any, second: Any, *, out_shape: Any = None) -> int:
    return 2 * int(math.prod(first))


def _convolution_backward(grad: Any, x: Any, weight: Any, *rest: Any, out_shape: Any = None, **options: Any) -> int:
    """Each gradient, of input and weights, costs what the pass costs; torch takes grouped weights for more."""
    *_, transposed, _, _, mask = rest
    return int(2 * math.prod(x if transposed else grad) * math.prod(weight[1:]) * sum(mask[:2]))


def _attention(q: Any, k: Any, v: Any, *rest: Any, out_shape: Any = None, **options: Any) -> int:
    return int(sdpa_flop_count(q, k, v))  # type: ignore[no-untyped-call]


def _attention_backward(grad: Any, q: Any, k: Any, v: Any, *rest: Any, out_shape: Any = None, **options: Any) -> int:
    return int(sdpa_backward_flop_count(grad, q, k, v))  # type: ignore[no-untyped-call]


aten = torch.ops.aten
MORE = {  # what torch 2.13 takes for nothing, or for more than it is
    aten.convolution_backward: _convolution_backward,
    aten.mv: _with_a_vector,
    aten.dot: _with_a_vector,
    aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
    aten.mkldnn_rnn_layer: _refuse,
    aten._cudnn_rnn: _refuse,
}


class _Counter(FlopCounterMode):
    """Torch's counter without its account by module, whose hooks fail where a module is handed a weight."""

    def __init__(self) -> None:
        super().__init__(display=False, custom_mapping=MORE)
        self.mod_tracker = _NoModules()  # type: ignore[assignment]


class _NoModules(nullcontext[None]):
    parents = frozenset({"Global"})


class _Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes the storage of each result, and the largest sum of those that are alive."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.alive: dict[Any, int] = {}
        self.peak = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for leaf in (leaf for leaf in tree_leaves(out) if isinstance(leaf, Tensor)):
            storage = leaf.untyped_storage()
            self.alive[StorageWeakRef(storage)] = storage.nbytes()  # type: ignore[no-untyped-call]
        self.alive = {ref: n_bytes for ref, n_bytes in self.alive.items() if not ref.expired()}
        self.peak = max(self.peak, sum(self.alive.values()))
        return out
