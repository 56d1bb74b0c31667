"""The differentiable inner loop: steps on a dictionary of parameters, by gradient descent or by a rule of one's own."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, TypeVar

import torch
from torch import Tensor

from metalearn._random import random_state, replayed
from metalearn._torch import is_traced, is_transformed, tree_flatten, tree_leaves, tree_map, tree_unflatten, unwrapped
from metalearn.episodes import Inputs
from metalearn.vectorize import plain_attention

Params = dict[str, Tensor]
ParamsLoss = Callable[[Params, Inputs, Tensor], Tensor]
Rate = float | Tensor | Mapping[str, Tensor]
InnerLR = Rate | Sequence[Rate]
State = TypeVar("State")
Rule = Callable[[Params, Params, Tensor, State], tuple[Params, State]]
Rates = Mapping[str, float | Tensor]  # one for each parameter


def adapt(
    params: Mapping[str, Tensor],
    loss_fn: ParamsLoss,
    x: Inputs,
    y: Tensor,
    *,
    n_steps: int,
    inner_lr: InnerLR,
    first_order: bool = False,
    recompute: bool = False,
    batch_size: int | None = None,
) -> Params:
    r"""Take ``n_steps`` gradient steps on the loss of one support set, and let gradients flow through them.

    Each step is :math:`\theta'_{k+1} = \theta'_k - \alpha \nabla \mathcal{L}(\theta'_k)`. Nothing is changed in place.
    The function may be called under ``torch.func.vmap``, one call for many tasks.

    Args:
        params: Initial parameters by name. All of them adapt, also one with ``requires_grad=False``: leave out what is
            to stay, and let ``loss_fn`` hold it.
        loss_fn: ``loss_fn(params, x, y) -> scalar``.
        x: Support inputs ``[n_support, ...]``, or a pytree of such.
        y: Support labels or targets ``[n_support, ...]``.
        n_steps: Number of steps, at least 0.
        inner_lr: Step size: a number or scalar tensor; a mapping from every parameter's name to a tensor that
            broadcasts to the parameter; or a sequence of these, one per step, whose last one serves all later steps.
            Numbers are at least 0; tensors are taken as they are, since rates that are learned may fall below 0.
        first_order: Treat the gradients of the steps as constants (no second derivatives).
        recompute: Store only the parameters of each step and run its computation again in the backward pass: less
            memory, more time, the same gradient, with dropout too. ``loss_fn`` must then depend on no trained tensor
            but its arguments, and draw its random numbers from torch's global generators.
        batch_size: Examples of each step, as in :func:`batches`; ``None``: all.

    Returns:
        Adapted parameters, by the same names.

    Raises:
        ValueError: If ``n_steps`` is negative, there is no parameter, a parameter has no rate, a rate is a negative or
            infinite number, or ``recompute`` would give another gradient.

    Reference:
        Finn, Abbeel, Levine: Model-Agnostic Meta-Learning for Fast Adaptation of Deep Networks, 2017,
        arXiv 1703.03400, equation 1; first order: section 5.2.

    Example:
        >>> import torch
        >>> from metalearn.inner_loop import adapt
        >>> start = {"w": torch.tensor(0.0)}
        >>> def loss(params, x, y):
        ...     return (params["w"] * x - y).square()
        >>> adapted = adapt(start, loss, torch.tensor(1.0), torch.tensor(3.0), n_steps=1, inner_lr=0.25)
        >>> adapted["w"].item()
        1.5
    """
    path = trajectory(
        params,
        loss_fn,
        x,
        y,
        n_steps=n_steps,
        inner_lr=inner_lr,
        first_order=first_order,
        recompute=recompute,
        batch_size=batch_size,
    )
    return deque(path, maxlen=1)[0]


def trajectory(
    params: Mapping[str, Tensor],
    loss_fn: ParamsLoss,
    x: Inputs,
    y: Tensor,
    *,
    n_steps: int,
    inner_lr: InnerLR,
    first_order: bool = False,
    recompute: bool = False,
    batch_size: int | None = None,
) -> Iterator[Params]:
    """Yield the parameters before the first step and after each one; arguments and errors are those of :func:`adapt`.

    Example:
        >>> import torch
        >>> from metalearn.inner_loop import trajectory
        >>> start = {"w": torch.tensor(0.0)}
        >>> def loss(params, x, y):
        ...     return (params["w"] * x - y).square()
        >>> path = trajectory(start, loss, torch.tensor(1.0), torch.tensor(3.0), n_steps=2, inner_lr=0.25)
        >>> [params["w"].item() for params in path]
        [0.0, 1.5, 2.25]
    """
    if n_steps < 0:
        raise ValueError(f"n_steps must be at least 0, got {n_steps}")
    yield dict(params)
    if n_steps:
        rates, data = rates_of_steps(inner_lr, params), batches(x, y, n_steps, batch_size)
        path = unroll(params, _descend, rates, loss_fn, data, first_order=first_order, recompute=recompute)
        for stepped, _ in path:
            yield stepped


def unroll(
    params: Mapping[str, Tensor],
    rule: Rule[State],
    state: State,
    loss_fn: ParamsLoss,
    data: Iterable[tuple[Inputs, Tensor]],
    *,
    first_order: bool = False,
    recompute: bool = False,
) -> Iterator[tuple[Params, State]]:
    """Take a step for each batch of data by a rule of one's own, and yield parameters and state after each.

    Nothing is changed in place, gradients flow through all steps, and the function may be called under
    ``torch.func.vmap``.

    Args:
        params: Initial parameters by name.
        rule: ``rule(params, grads, loss, state) -> params, state``; ``grads`` has the names of ``params``, and the loss
            is the one before the step.
        state: What the rule carries from step to step (momentum, a recurrent state): any pytree of tensors.
        loss_fn: ``loss_fn(params, x, y) -> scalar``.
        data: Batches ``(x, y)``, one for each step; :func:`batches` makes them.
        first_order: Give the rule gradients and losses as constants: a meta-gradient then flows through the rule's
            own computation only. Learned optimisers as a rule are trained so.
        recompute: As in :func:`adapt`; neither ``loss_fn`` nor ``rule`` may then use a trained tensor that is not among
            its arguments (what the rule has learned can be part of ``state``).

    Raises:
        ValueError: If there is no parameter, or ``recompute`` would give another gradient.

    Example:
        >>> import torch
        >>> from metalearn.inner_loop import batches, unroll
        >>> def momentum(params, grads, loss, velocity):
        ...     velocity = {name: 0.9 * velocity[name] + grads[name] for name in params}
        ...     return {name: params[name] - 0.1 * velocity[name] for name in params}, velocity
        >>> def loss(params, x, y):
        ...     return 0.5 * (params["w"] * x - y).square().sum()
        >>> start, x, y = {"w": torch.tensor(0.0)}, torch.tensor([1.0]), torch.tensor([1.0])
        >>> path = unroll(start, momentum, {"w": torch.tensor(0.0)}, loss, batches(x, y, 3))
        >>> [round(params["w"].item(), 3) for params, _ in path]
        [0.1, 0.28, 0.514]
    """
    params = dict(params)
    if not params:
        raise ValueError("expected parameters to adapt, got none: are they all frozen (requires_grad=False)?")

    def step(params: Params, state: State, x: Inputs, y: Tensor) -> tuple[Params, State]:
        grads, loss = _gradient(params, loss_fn, x, y, first_order)
        return rule(params, grads, loss.detach() if first_order else loss, state)

    recompute = recompute and not first_order and torch.is_grad_enabled()
    for k, (x, y) in enumerate(data):
        if recompute and k == 0:
            _check_closed(rule, loss_fn, params, state, x, y)
        params, state = _recomputed(step, params, state, x, y) if recompute else step(params, state, x, y)
        yield params, state


def batches(x: Inputs, y: Tensor, n_steps: int, size: int | None = None) -> Iterator[tuple[Inputs, Tensor]]:
    """Yield one batch for each step: consecutive examples in the given order, starting over at the end.

    Args:
        x: Inputs ``[n, ...]``, or a pytree of such.
        y: Labels or targets ``[n, ...]``.
        n_steps: Number of batches, at least 0.
        size: Examples of a batch, at least 1; ``None``, or n and more: all of them each time.

    Raises:
        ValueError: If ``size`` is below 1.

    Example:
        >>> import torch
        >>> from metalearn.inner_loop import batches
        >>> [x.tolist() for x, y in batches(torch.arange(3), torch.arange(3), 3, size=2)]
        [[0, 1], [2, 0], [1, 2]]
    """
    if size is not None and size < 1:
        raise ValueError(f"a batch must hold at least 1 example, got size={size}")
    if size is None or size >= (n := len(y)):
        for _ in range(n_steps):
            yield x, y
        return
    for k in range(n_steps):
        rows = torch.arange(k * size, (k + 1) * size, device=y.device) % n
        yield tree_map(lambda leaf, rows=rows: leaf[rows], x), y[rows]


def to_vector(params: Mapping[str, Tensor]) -> Tensor:
    """Return all parameters as one vector ``[n_params]``, in the order of the mapping.

    Raises:
        ValueError: If there are none.

    Example:
        >>> import torch
        >>> from metalearn.inner_loop import to_vector
        >>> to_vector({"weight": torch.ones(2, 2), "bias": torch.zeros(1)})
        tensor([1., 1., 1., 1., 0.])
    """
    if not params:
        raise ValueError("expected parameters, got none: are they all frozen (requires_grad=False)?")
    return torch.cat([param.reshape(-1) for param in params.values()])


def from_vector(vector: Tensor, params: Mapping[str, Tensor]) -> Params:
    """Return a vector ``[n_params]`` cut into tensors with the names and shapes of ``params``.

    Raises:
        ValueError: If the vector is not as long as the parameters are together.

    Example:
        >>> import torch
        >>> from metalearn.inner_loop import from_vector
        >>> from_vector(torch.arange(3.0), {"weight": torch.ones(1, 2), "bias": torch.zeros(1)})
        {'weight': tensor([[0., 1.]]), 'bias': tensor([2.])}
    """
    sizes = [param.numel() for param in params.values()]
    if list(vector.shape) != [sum(sizes)]:
        raise ValueError(f"expected a vector [{sum(sizes)}] for the parameters, got {list(vector.shape)}")
    parts = zip(params.items(), torch.split(vector, sizes), strict=True)
    return {name: part.reshape(param.shape) for (name, param), part in parts}


def rates_of_steps(inner_lr: InnerLR, params: Mapping[str, Tensor]) -> list[Rates]:
    """Return every parameter's rate, for each step that has rates of its own.

    Args:
        inner_lr: In any form that :func:`adapt` takes.
        params: The parameters that are to have a rate, by name.

    Raises:
        ValueError: If a parameter has no rate, a rate is a negative or infinite number, or a tensor of another shape.

    Example:
        >>> import torch
        >>> from metalearn.inner_loop import rates_of_steps
        >>> rates_of_steps([0.1, 0.2], {"w": torch.tensor(0.0)})
        [{'w': 0.1}, {'w': 0.2}]
    """
    steps = inner_lr if isinstance(inner_lr, Sequence) else [inner_lr]
    if not steps:
        raise ValueError("inner_lr is an empty sequence: give one rate per step")
    for step in steps:
        if isinstance(step, Tensor) and step.ndim:
            raise ValueError(
                f"inner_lr is a tensor of shape {list(step.shape)}: give a list of numbers for rates by step, or a"
                " mapping by name for rates by weight"
            )
    found: list[Rates] = [dict(rate) if isinstance(rate, Mapping) else dict.fromkeys(params, rate) for rate in steps]
    for rates in found:
        missing = sorted(set(params) - set(rates))
        if missing:
            raise ValueError(f"inner_lr needs a rate for each parameter, but has none for {missing}")
        for rate in rates.values():
            if not isinstance(rate, Tensor) and not (math.isfinite(rate) and rate >= 0):
                raise ValueError(f"inner_lr must be a finite number, at least 0, got {rate}: steps go down the loss")
        for name, param in params.items():
            if isinstance(rate := rates[name], Tensor) and not _fits(rate, param):
                raise ValueError(
                    f"the rate of {name} must be one number, or one for each of its weights {list(param.shape)}, got a"
                    f" tensor of shape {list(rate.shape)}"
                )
    return found


def _fits(rate: Tensor, param: Tensor) -> bool:
    """Return whether a product of the two has the parameter's shape."""
    pairs = zip(reversed(rate.shape), reversed(param.shape), strict=False)
    return rate.ndim <= param.ndim and all(ours in (1, theirs) for ours, theirs in pairs)


def _descend(params: Params, grads: Params, loss: Tensor, rates: list[Rates]) -> tuple[Params, list[Rates]]:
    """Step down the gradient: a rule whose state is the rates of the steps to come, the last of which repeats."""
    stepped = {name: param - rates[0][name] * grads[name] for name, param in params.items()}
    return stepped, rates[1:] or rates


def _gradient(params: Params, loss_fn: ParamsLoss, x: Inputs, y: Tensor, first_order: bool) -> tuple[Params, Tensor]:
    """Return the gradient by name, and the loss."""
    with nullcontext() if first_order else plain_attention():  # the fused kernels have no second derivative
        recorded = torch.is_grad_enabled() and all(param.requires_grad for param in params.values())
        if recorded and not (torch.compiler.is_compiling() or is_transformed()):
            # In a loop over tasks: the same as the transform, but 6 % faster. Differentiate with respect to aliases:
            # loss_fn may also reach a parameter in another way, as a constant.
            alias = {name: param.view_as(param) for name, param in params.items()}
            loss = loss_fn(alias, x, y)
            if loss.requires_grad:
                leaves = list(alias.values())
                grads = torch.autograd.grad(loss, leaves, create_graph=not first_order, materialize_grads=True)
                return dict(zip(params, grads, strict=True)), loss
        with torch.set_grad_enabled(torch.is_grad_enabled() and not first_order):
            # Without grad mode the transform differentiates all the same, but records nothing for outside.
            transformed: tuple[Params, Tensor] = torch.func.grad_and_value(loss_fn)(params, x, y)
        return transformed


def _recomputed(step: Callable[..., Any], *args: Any) -> Any:
    """Take a step of which only the arguments are kept; it runs again to be differentiated."""
    tensors, fill = _tensors_of(args)
    fills: list[Callable[[Iterable[Tensor]], Any]] = []
    passed: list[int | None] = []  # for each output, the argument that comes back as it is (rates of steps to come)

    def run(*tensors: Tensor) -> tuple[Tensor, ...]:
        outputs, fill_outputs = _tensors_of(step(*fill(tensors)))
        place = {id(tensor): i for i, tensor in enumerate(tensors)}
        fills[:], passed[:] = [fill_outputs], [place.get(id(output)) for output in outputs]
        return tuple(output for output in outputs if id(output) not in place)

    state, kind = random_state(tensors), tensors[0].device.type
    enabled, dtype = torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)

    @contextmanager
    def replay() -> Iterator[None]:
        with replayed(state), torch.autocast(kind, dtype, enabled):
            yield

    outputs = _Recompute.apply(run, replay, *tensors)  # type: ignore[no-untyped-call]
    if is_traced() and not torch.equal(state[torch.device("cpu")], torch.get_rng_state()):
        raise ValueError(
            "recompute=True cannot be compiled with random numbers in the inner loop (dropout): a trace has no random"
            " state to bring back. Leave recompute or compile out"
        )
    new = iter(outputs)
    return fills[0](next(new) if place is None else tensors[place] for place in passed)


def _tensors_of(tree: Any) -> tuple[list[Tensor], Callable[[Iterable[Tensor]], Any]]:
    """Return the tensors of a pytree, and a function that puts others in their place."""
    leaves, form = tree_flatten(tree)
    rest = [None if isinstance(leaf, Tensor) else (leaf,) for leaf in leaves]

    def fill(tensors: Iterable[Tensor]) -> Any:
        source = iter(tensors)
        return tree_unflatten([next(source) if kept is None else kept[0] for kept in rest], form)

    return [leaf for leaf in leaves if isinstance(leaf, Tensor)], fill


class _Recompute(torch.autograd.Function):
    """Run a pure function of tensors, keep its inputs only, and run it again to differentiate it.

    ``torch.utils.checkpoint`` does not serve here: it cannot drop what the inner differentiation stores.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(run: Callable[..., tuple[Tensor, ...]], replay: Any, *inputs: Tensor) -> tuple[Tensor, ...]:
        return run(*inputs)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.run, ctx.replay = inputs[:2]
        ctx.n_inputs = len(inputs) - 2
        ctx.save_for_backward(*inputs[2:], *output)  # the outputs are the next step's inputs: no memory of their own

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        inputs, outputs = ctx.saved_tensors[: ctx.n_inputs], ctx.saved_tensors[ctx.n_inputs :]
        places = [i for i, tensor in enumerate(inputs) if tensor.is_floating_point()]

        def of_floats(*floats: Tensor) -> tuple[Tensor, ...]:
            filled = list(inputs)
            for i, tensor in zip(places, floats, strict=True):
                filled[i] = tensor
            return _floats(ctx.run(*filled))

        with ctx.replay():
            rerun: Any = torch.func.vjp(of_floats, *(inputs[i] for i in places))
        again, pull_back = rerun
        _check_repeated(_floats(outputs), again)
        found: list[Tensor | None] = [None] * len(inputs)
        for i, grad in zip(places, pull_back(_floats(grads)), strict=True):
            found[i] = grad
        return (None, None, *found)


def _floats(tensors: Iterable[Tensor]) -> tuple[Tensor, ...]:
    return tuple(tensor for tensor in tensors if tensor.is_floating_point())


def _check_repeated(outputs: Iterable[Tensor], again: Iterable[Tensor]) -> None:
    """Refuse a step that led elsewhere when it ran again, by more than rounding: its gradient is another one's."""
    if is_traced() or torch.compiler.is_compiling():
        return
    for first, second in zip(map(_innermost, outputs), map(_innermost, again), strict=True):
        if first.shape == second.shape and not torch.allclose(first, second, rtol=0.01, atol=1e-5, equal_nan=True):
            raise ValueError(
                "recompute=True needs a loss_fn that gives the same result when it runs again, but this one gave"
                " another: random numbers must come from torch's global generators, not from a generator of its own"
            )


def _innermost(tensor: Tensor) -> Tensor:
    inner = unwrapped(tensor)
    return tensor.detach() if inner is None else _innermost(inner)


def _check_closed(rule: Rule[Any], loss_fn: ParamsLoss, params: Params, state: Any, x: Inputs, y: Tensor) -> None:
    """Refuse a step that uses a trained tensor other than its arguments: recomputing would lose that gradient."""
    args = tree_map(lambda leaf: leaf.detach() if isinstance(leaf, Tensor) else leaf, (params, state, x, y))
    params, state, x, y = args
    with torch.enable_grad(), replayed(random_state(tree_leaves(params))):
        loss = loss_fn(params, x, y)
        results = tree_leaves((loss, rule(params, params, loss, state)))
    for result in results:
        while isinstance(result, Tensor):  # under vmap the outer tensor knows nothing of gradients
            if result.requires_grad:
                raise ValueError(
                    "recompute=True needs a loss_fn that depends on trained tensors through params, x and y alone, and"
                    " a rule that depends on them through its arguments, but one uses another tensor that requires a"
                    " gradient: pass that tensor in params (with a rate of 0)"
                )
            result = unwrapped(result)
