"""One function over a batch of tasks: with ``torch.func.vmap`` where that is fast, in a loop where it is not."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, Literal, get_args
from weakref import WeakSet

import torch
from torch import Tensor, nn
from torch.backends import cuda as kernels  # its switches choose those of attention on a CPU, too
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from metalearn._random import random_state, set_random_state
from metalearn._torch import AnyConvolution, tree_leaves, tree_map
from metalearn.episodes import Episode, Inputs

Tasks = Episode | Iterable[Episode]  # a batch of tasks of one shape, or a list of unequal ones
How = Literal["auto", "vmap", "loop"]
Randomness = Literal["different", "same", "error"]

_without_rule: WeakSet[nn.Module] = WeakSet()  # modules that vmap has refused once


def over_tasks(
    fn: Callable[[Episode], Any],
    episodes: Tasks,
    how: How = "auto",
    *,
    chunk_size: int | None = None,
    randomness: Randomness = "different",
    module: nn.Module | None = None,
) -> Any:
    """Apply ``fn`` to each task of a batch and stack the results.

    ``"vmap"`` and ``"loop"`` give the same numbers, up to rounding. ``"auto"`` takes vmap for dense nets and on GPUs,
    and the loop for convolutions on a CPU. Which of the two is faster there depends on processor, width and pooling
    (``make bench`` measures some cases); the loop needs the memory of one task only. ``learner.how = "vmap"`` may pay.
    Where vmap has no rule for an operation, it warns once and loops. A list of unequal tasks always loops. Under vmap,
    affine normalisations are computed so that their second derivatives are exact (torch 2.13's own are not:
    pytorch/functorch#534).

    Args:
        fn: A pure function of one task, without task axis; returns a tensor or a pytree of tensors.
        episodes: A batch of tasks; or a list of tasks that cannot be stacked, as :class:`metalearn.EpisodeList` holds.
        how: ``"auto"``, ``"vmap"`` or ``"loop"``.
        chunk_size: Tasks that vmap takes at once; ``None``: all.
        randomness: What vmap does about random operations (dropout): ``"different"`` for each task, ``"same"``, or
            ``"error"``.
        module: The network that ``fn`` runs, by which ``"auto"`` picks; by default what ``fn`` is a method of.

    Returns:
        The results of ``fn``, each tensor with a leading task axis ``[n_tasks, ...]``.

    Raises:
        ValueError: If ``how`` is unknown, the episode is a single task, the tensors of the batch do not fit together,
            or the results of unequal tasks cannot be stacked.

    Example:
        >>> from metalearn import over_tasks
        >>> from metalearn.data import sinusoids
        >>> over_tasks(lambda episode: episode.query_y.mean(), sinusoids().sample(8, 5, 10)).shape
        torch.Size([8])
    """
    if module is None and isinstance(owner := getattr(fn, "__self__", None), nn.Module):
        module = owner
    picked = pick_how(how, episodes, module)
    if not isinstance(episodes, Episode):
        return _loop(fn, list(episodes))
    _check_batch(episodes)
    if picked == "loop":
        return _loop(fn, [episodes[i] for i in range(len(episodes))])
    if how == "vmap":
        return _vmap(fn, episodes, chunk_size, randomness)
    state = random_state([episodes.query_y])
    try:
        return _vmap(fn, episodes, chunk_size, randomness)
    except RuntimeError as error:
        if "vmap" not in str(error) and "atching rule" not in str(error):
            raise
        reason = str(error).splitlines()[0]
    set_random_state(state)  # a draw made before vmap gave up does not count
    result = _loop(fn, [episodes[i] for i in range(len(episodes))])  # if this fails too, its error is the one to see
    warnings.warn(f"over_tasks loops over tasks, since vmap has no rule here: {reason}", stacklevel=2)
    if module is not None:
        _without_rule.add(module)
    return result


def pick_how(how: How, episodes: Tasks, module: nn.Module | None = None) -> Literal["vmap", "loop"]:
    """Return what ``"auto"`` stands for with this batch and network; ``"vmap"`` and ``"loop"`` stand for themselves.

    Args:
        how: ``"auto"``, ``"vmap"`` or ``"loop"``.
        episodes: A batch of tasks, or a list of tasks.
        module: The network that will run, where it is known.

    Raises:
        ValueError: If ``how`` is unknown.

    Example:
        >>> from metalearn.data import sinusoids
        >>> from metalearn.networks import MLP
        >>> from metalearn.vectorize import pick_how
        >>> pick_how("auto", sinusoids().sample(8, 5, 10), MLP([1, 40, 1]))
        'vmap'
    """
    if how not in get_args(How):
        raise ValueError(f"how must be one of {list(get_args(How))}, got {how!r}")
    if not isinstance(episodes, Episode):
        return "loop"
    if how != "auto":
        return how
    on_cpu = episodes.query_y.device.type == "cpu"
    if module is None:
        images = any(leaf.ndim >= 5 for leaf in tree_leaves(episodes.query_x))  # [n_tasks, n, channels, height, width]
        return "loop" if on_cpu and images else "vmap"
    slow = (nn.RNNBase, nn.RNNCellBase, AnyConvolution) if on_cpu else (nn.RNNBase, nn.RNNCellBase)
    loops = module in _without_rule or any(isinstance(part, slow) for part in module.modules())
    return "loop" if loops else "vmap"


def _vmap(fn: Callable[[Episode], Any], episodes: Episode, chunk_size: int | None, randomness: Randomness) -> Any:
    def task(support_x: Inputs, support_y: Tensor, query_x: Inputs, query_y: Tensor) -> Any:
        return fn(Episode(support_x, support_y, query_x, query_y, episodes.n_way))

    parts = (episodes.support_x, episodes.support_y, episodes.query_x, episodes.query_y)
    on_cpu = episodes.query_y.device.type == "cpu"
    with _ExactNorms(), plain_attention() if on_cpu else nullcontext():
        return torch.func.vmap(task, randomness=randomness, chunk_size=chunk_size)(*parts)


def _loop(fn: Callable[[Episode], Any], tasks: list[Episode]) -> Any:
    results = [fn(task) for task in tasks]
    shapes = {tuple(leaf.shape for leaf in tree_leaves(result)) for result in results}
    if len(shapes) != 1:
        raise ValueError(
            f"the results of {len(tasks)} tasks cannot be stacked, their shapes are {sorted(map(_text, shapes))}: give"
            " at least one task, and return tensors of one shape, such as a loss for each task"
        )
    return tree_map(lambda *leaves: torch.stack(leaves), *results)


def _text(shapes: Iterable[torch.Size]) -> str:
    return ", ".join(str(list(shape)) for shape in shapes)


def _check_batch(episodes: Episode) -> None:
    labels = list(episodes.support_y.shape)
    for s, q in zip(tree_leaves(episodes.support_x), tree_leaves(episodes.query_x), strict=True):
        if s.ndim < 2 or s.shape[0] != q.shape[0] or s.shape[:2] != episodes.support_y.shape[:2]:
            found = f"support_x {list(s.shape)}, support_y {labels}, query_x {list(q.shape)}"
            if len(labels) == 1 or (len(labels) == 2 and episodes.n_way is None):
                raise ValueError(
                    "got one task, expected a batch: each tensor of the episode must carry a leading task axis,"
                    f" [n_tasks, n_examples, ...], got {found}. task.map(lambda tensor: tensor[None]) is a batch of one"
                )
            raise ValueError(f"expected a batch of episodes, every tensor [n_tasks, n_examples, ...], got {found}")


@contextmanager
def plain_attention() -> Iterator[None]:
    """Compute attention by plain matrix products in the context.

    Its fused kernels have no second derivative, and vmap has no rule for those of a CPU.

    Example:
        >>> import torch
        >>> from torch.nn import functional as F
        >>> from metalearn.vectorize import plain_attention
        >>> tokens = torch.ones(1, 1, 2, 4, requires_grad=True)
        >>> with plain_attention():
        ...     out = F.scaled_dot_product_attention(tokens, tokens, tokens)
        >>> (slope,) = torch.autograd.grad(out.square().sum(), tokens, create_graph=True)
        >>> slope.requires_grad
        True
    """
    before = [enabled() for enabled, _ in _ATTENTION]
    for (_, enable), wanted in zip(_ATTENTION, (False, False, False, True), strict=True):
        enable(wanted)
    try:
        yield
    finally:
        for (_, enable), wanted in zip(_ATTENTION, before, strict=True):
            enable(wanted)


# ``torch.nn.attention.sdpa_kernel`` sets the same switches, but takes 36 microseconds, at each step of each task.
_ATTENTION: tuple[tuple[Callable[[], bool], Callable[[bool], None]], ...] = (
    (kernels.flash_sdp_enabled, kernels.enable_flash_sdp),
    (kernels.mem_efficient_sdp_enabled, kernels.enable_mem_efficient_sdp),
    (kernels.cudnn_sdp_enabled, kernels.enable_cudnn_sdp),
    (kernels.math_sdp_enabled, kernels.enable_math_sdp),
)


class _ExactNorms(TorchFunctionMode):
    """Run fused normalisations without their affine part, and scale and shift outside them.

    In torch 2.13 the second derivative of an affine fused normalisation is wrong under vmap; without the affine part
    it is right. A test compares both, so that we learn when this is no longer needed.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func not in _NORMS:  # almost always: this line is most of what the mode costs
            return func(*args, **kwargs) if kwargs else func(*args)
        kwargs = dict(kwargs or {})
        weight, bias, args = _take_affine(func, args, kwargs)
        out: Tensor = func(*args, **kwargs)
        trailing = func in (F.layer_norm, torch.layer_norm, F.rms_norm, torch.rms_norm)
        shape = [1] * (out.ndim - 2)
        for affine, combine in ((weight, torch.mul), (bias, torch.add)):
            if affine is not None:
                out = combine(out, affine if trailing else affine.reshape(-1, *shape))
        return out


_NORMS: dict[Any, tuple[int, int | None] | None] = {  # where weight and bias stand, if given by position
    F.batch_norm: (3, 4),
    F.instance_norm: (3, 4),
    F.layer_norm: (2, 3),
    F.group_norm: (2, 3),
    F.rms_norm: (2, None),
    torch.batch_norm: (1, 2),
    torch.instance_norm: (1, 2),
    torch.layer_norm: (2, 3),
    torch.group_norm: (2, 3),
    torch.rms_norm: (2, None),
}


def _take_affine(func: Any, args: Any, kwargs: dict[str, Any]) -> tuple[Tensor | None, Tensor | None, list[Any]]:
    args, affine = list(args), [kwargs.get("weight"), kwargs.get("bias")]
    for i, (name, place) in enumerate(zip(("weight", "bias"), _NORMS[func] or (), strict=True)):
        if name in kwargs:
            kwargs[name] = None
        elif place is not None and place < len(args):
            affine[i], args[place] = args[place], None
    return affine[0], affine[1], args
