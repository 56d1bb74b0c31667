"""MAML for reinforcement learning: learn the policy from which a few policy-gradient steps lead far."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor
from torch.distributions import kl_divergence

from metalearn.episodes import Inputs
from metalearn.inner_loop import Params
from metalearn.learners._base import Adapted, Learner
from metalearn.learners._checks import at_least_one, positive
from metalearn.rl.environments import Tasks
from metalearn.rl.estimators import Estimator, surrogate
from metalearn.rl.outer import several_steps, trust_region
from metalearn.rl.policies import Policy
from metalearn.rl.returns import advantages, check_shares, linear_baseline, standardised
from metalearn.rl.rollouts import Trajectories, rollout

Outer = Literal["trust region", "ppo", "gradient"]


@dataclass(frozen=True, eq=False)
class Experience:
    """Episodes as a policy learns from them: steps on one axis, with the policy that acted.

    Args:
        episodes: What was seen, done and got.
        advantages: Of each action, standardised for each task ``[n_tasks, n_episodes, horizon]``.
        old: Log-probabilities under the parameters that acted ``[n_tasks, n_episodes, horizon]``.
    """

    episodes: Trajectories
    advantages: Tensor
    old: Tensor


class MAMLRL(Learner):
    r"""Adapt a policy to a task by gradient steps on episodes that it plays there, and learn where the steps start.

    A step is :math:`\theta'_{k+1} = \theta'_k + \alpha\, \hat g_k`, where :math:`\hat g_k` is the mean over all steps
    of ``n_episodes`` episodes of :math:`\nabla\log\pi(a_t)\,A_t`. The outer objective is the same mean over new
    episodes, played with :math:`\theta'`, differentiated through the steps.

    Args:
        policy: The policy; its parameters are the initialisation that is learned.
        inner_lr: Step size of the inner loop; or one for each step, of which the last serves all later ones.
        n_inner_steps: Steps in training, and at test time unless told otherwise. With 0 the policy is trained on all
            tasks jointly, without adaptation.
        n_episodes: Episodes of each task before each step, and for the outer objective, in training.
        n_test_episodes: The same at test time; the score is their mean return.
        every_step: The outer objective is the mean over the episodes after each step; ``False``: those after the last
            one.
        estimator: Which surrogate the inner step differentiates, as in :func:`metalearn.rl.surrogate`: all give the
            same step, but other derivatives of it.
        outer: ``"gradient"``: :meth:`backward` gives the gradient, for any optimiser; ``"trust region"``: it finds a
            step within ``max_kl`` (TRPO); ``"ppo"``: it takes ``n_outer_steps`` of Adam on the clipped objective. The
            last two leave the whole step in ``.grad``: train with ``torch.optim.SGD(..., lr=1.0)``.
        discount: Discount of a step, in [0, 1].
        gae_lambda: Weight of later steps in the advantages, in [0, 1].
        max_kl: Bound of the mean divergence of the adapted policies, before and after an outer step.
        clip: PPO's bound on the ratio of probabilities, less 1.
        n_outer_steps: Steps of PPO on one batch.
        outer_lr: Adam's rate in PPO.

    Raises:
        ValueError: If an option is unknown or a number is out of its range.

    Reference:
        Finn, Abbeel, Levine: Model-Agnostic Meta-Learning for Fast Adaptation of Deep Networks, 2017,
        arXiv 1703.03400, algorithm 3 and section 5.3.

    Differs from the paper:
        Estimator and outer step are choices; the paper's are ``"naive"`` and ``"trust region"``. The curvature of the
        trust region is that of the adapted policies at fixed inner gradients, on every fourth episode; its bound is
        checked as it is. Advantages are of a linear baseline that is fitted to the same episodes.

    Taught in:
        Meta-reinforcement learning.

    Example:
        >>> from metalearn import evaluate, fit
        >>> from metalearn.rl import MAMLRL, GaussianPolicy, Navigation
        >>> learner = MAMLRL(GaussianPolicy([2, 8, 2]), inner_lr=0.5, n_episodes=4, n_test_episodes=4)
        >>> tasks = Navigation(horizon=10).tasks(n_tasks=5)
        >>> fit(learner, tasks, 2, progress=False).n_steps
        2
        >>> sorted(evaluate(learner, tasks, 10, n_steps=[0, 1]))
        [0, 1]
    """

    plays = True

    def __init__(
        self,
        policy: Policy,
        inner_lr: float | Sequence[float] = 0.1,
        n_inner_steps: int = 1,
        *,
        n_episodes: int = 20,
        n_test_episodes: int = 40,
        every_step: bool = False,
        estimator: Estimator = "lvc",
        outer: Outer = "gradient",
        discount: float = 0.99,
        gae_lambda: float = 1.0,
        max_kl: float = 0.01,
        clip: float = 0.2,
        n_outer_steps: int = 5,
        outer_lr: float = 1e-3,
    ) -> None:
        super().__init__()
        at_least_one(n_episodes=n_episodes, n_test_episodes=n_test_episodes, n_outer_steps=n_outer_steps)
        for name, value, options in (("estimator", estimator, Estimator), ("outer", outer, Outer)):
            if value not in get_args(options):
                raise ValueError(f"{name} must be one of {list(get_args(options))}, got {value!r}")
        if n_inner_steps < 0:
            raise ValueError(f"n_inner_steps must be at least 0, got {n_inner_steps}")
        if isinstance(inner_lr, Sequence) and not inner_lr:
            raise ValueError(f"inner_lr must hold at least one rate, got {inner_lr!r}")
        self.policy = policy
        self.inner_lr = inner_lr
        self.n_inner_steps: int = n_inner_steps
        self.n_episodes, self.n_test_episodes = n_episodes, n_test_episodes
        self.every_step = every_step
        self.estimator, self.outer = estimator, outer
        check_shares(discount=discount, gae_lambda=gae_lambda)
        self.discount, self.gae_lambda = discount, gae_lambda
        self.max_kl, self.clip = positive("max_kl", max_kl), positive("clip", clip)
        self.n_outer_steps, self.outer_lr = n_outer_steps, positive("outer_lr", outer_lr)

    def adapt(
        self, support_x: Inputs, support_y: Tensor, *, n_way: int | None = None, n_steps: int | None = None
    ) -> Adapted:
        """Refuse: the policy collects its support itself; see :meth:`play`."""
        raise ValueError("MAMLRL collects its support by acting: call play(tasks, n_steps, generator)")

    def predict(self, adapted: Adapted, x: Inputs) -> Tensor:
        """Return the mean of the action, or the probabilities of discrete ones, for observations ``[n, ...]``."""
        mean: Tensor = self.policy(self.policy.own() | adapted, x).mean
        return mean

    def play(
        self, tasks: Tasks, n_steps: int | None = None, generator: torch.Generator | None = None
    ) -> list[tuple[Params, Trajectories]]:
        """Adapt to tasks by acting in them.

        Args:
            tasks: A batch of tasks.
            n_steps: Number of inner steps; ``None``: as trained.
            generator: Source of randomness, of actions and environments.

        Returns:
            After 0, 1, … ``n_steps`` steps: each task's parameters by name ``[n_tasks, ...]``, and the episodes that
            were played with them, ``n_episodes`` in ``train`` mode and ``n_test_episodes`` in ``eval`` mode.

        Raises:
            ValueError: If ``n_steps`` is below 0.
        """
        n_steps = self.n_inner_steps if n_steps is None else n_steps
        if n_steps < 0:
            raise ValueError(f"n_steps must be at least 0, got {n_steps}")
        n_episodes = self.n_episodes if self.training else self.n_test_episodes
        params = self._for_each(self.policy.own(), len(tasks))
        played: list[tuple[Params, Trajectories]] = []
        for k in range(n_steps + 1):
            params = {name: param.detach() for name, param in params.items()}
            if k:
                params = self._step(params, self._experience(*played[-1]), k - 1)
            played.append((params, rollout(self.policy, params, tasks, n_episodes, generator)))
        return played

    def returns(self, batch: Tasks, steps: Sequence[int | None], generator: torch.Generator | None = None) -> Tensor:
        """Return the mean return of each task after each number of inner steps ``[n_tasks, len(steps)]``."""
        counts = [self.n_inner_steps if count is None else count for count in steps]
        played = self.play(batch, max(counts), generator)
        return torch.stack([played[count][1].returns.mean(1) for count in counts], 1)

    def backward(self, batch: Tasks, generator: torch.Generator | None = None) -> Tensor:
        """Play a batch of tasks, add the outer step to ``.grad``, and return minus the mean return after adapting."""
        played = self.play(batch, None, generator)
        seen = [self._experience(*entry) for entry in played]
        start = {name: param for name, param in self.policy.own().items() if param.requires_grad}
        if self.outer == "gradient":
            value = self._objective(start, seen)
            step = dict(zip(start, torch.autograd.grad(value, list(start.values())), strict=True))
        elif self.outer == "ppo":
            step = several_steps(lambda p: self._objective(p, seen), start, self.n_outer_steps, self.outer_lr)
        else:
            step = self._within_trust_region(start, seen, played[-1][0])
        for name, param in start.items():
            param.grad = -step[name] if param.grad is None else param.grad - step[name]
        return -played[-1][1].returns.mean()

    def _for_each(self, params: Params, n_tasks: int) -> Params:
        return {name: param.expand(n_tasks, *param.shape) for name, param in params.items()}

    def _experience(self, params: Params, episodes: Trajectories) -> Experience:
        with torch.no_grad():
            old = self.policy.log_prob(params, episodes.observations, episodes.actions)
            values = linear_baseline(episodes, self.discount) * episodes.mask
            found = advantages(episodes.rewards, values, self.discount, self.gae_lambda)
            return Experience(episodes, standardised(found, episodes.mask), old)

    def _gain(self, params: Params, seen: Experience, estimator: Estimator) -> Tensor:
        """Return the surrogate of each task ``[n_tasks]``, the mean over the steps that count."""
        episodes = seen.episodes
        log_probs = self.policy.log_prob(params, episodes.observations, episodes.actions)
        gains = surrogate(log_probs, seen.advantages, episodes.mask, estimator, old_log_probs=seen.old)
        return gains.sum((1, 2)) / episodes.mask.sum((1, 2))

    @torch.enable_grad()
    def _step(self, params: Params, seen: Experience, k: int) -> Params:
        """Take an inner step for all tasks at once; gradients flow through it where they flow to ``params``."""
        rates = list(self.inner_lr) if isinstance(self.inner_lr, Sequence) else [self.inner_lr]
        rate, differentiable = rates[min(k, len(rates) - 1)], any(param.requires_grad for param in params.values())
        moving = [name for name, param in self.policy.named_parameters() if param.requires_grad]
        if not differentiable:
            params = {name: param.detach().requires_grad_(name in moving) for name, param in params.items()}
        gain = self._gain(params, seen, self.estimator).sum()
        slopes = torch.autograd.grad(gain, [params[name] for name in moving], create_graph=differentiable)
        moved = {name: params[name] + rate * slope for name, slope in zip(moving, slopes, strict=True)}
        return params | (moved if differentiable else {name: param.detach() for name, param in moved.items()})

    def _path(self, start: Params, seen: list[Experience]) -> list[Params]:
        """Take the inner steps again, from ``start``, on what was seen before each of them."""
        path = [self._for_each({**self.policy.own(), **start}, len(seen[0].episodes))]
        for k, experience in enumerate(seen[:-1]):
            path.append(self._step(path[-1], experience, k))
        return path

    def _objective(self, start: Params, seen: list[Experience]) -> Tensor:
        pairs = list(zip(self._path(start, seen), seen, strict=True))
        scored = pairs[1:] if self.every_step and len(pairs) > 1 else pairs[-1:]
        return torch.stack([self._outer_gain(params, experience) for params, experience in scored]).mean()

    def _outer_gain(self, params: Params, seen: Experience) -> Tensor:
        if self.outer != "ppo":
            return self._gain(params, seen, "lvc").mean()
        episodes, mask = seen.episodes, seen.episodes.mask
        ratio = (self.policy.log_prob(params, episodes.observations, episodes.actions) - seen.old).exp()
        gains = torch.minimum(ratio * seen.advantages, ratio.clamp(1 - self.clip, 1 + self.clip) * seen.advantages)
        return (gains * mask).sum((1, 2)).div(mask.sum((1, 2))).mean()

    def _within_trust_region(self, start: Params, seen: list[Experience], acted: Params) -> Params:
        """Return TRPO's step; ``acted`` are each task's parameters that played the last episodes."""

        def divergence(params: Params, every: int = 1) -> Tensor:
            observations, mask = seen[-1].episodes.observations[:, ::every], seen[-1].episodes.mask[:, ::every]
            gap: Tensor = kl_divergence(self.policy(acted, observations), self.policy(params, observations))
            return ((gap * mask).sum((1, 2)) / mask.sum((1, 2))).mean()

        def curvature(params: Params) -> Tensor:
            moved = {name: acted[name] + (param - param.detach()) for name, param in params.items()}
            return divergence({**acted, **moved}, 4)

        return trust_region(
            lambda params: self._objective(params, seen),
            lambda params: divergence(self._path(params, seen)[-1]),
            start,
            self.max_kl,
            curvature=curvature,
        )

    def check_values(self, batch: Any) -> None:
        """Refuse what is no batch of tasks of an environment, or contexts that are not finite."""
        if not isinstance(batch, Tasks):
            raise ValueError(
                f"MAMLRL learns from tasks of an environment, got {type(batch).__name__}: draw them by"
                " env.tasks(n_tasks=20)"
            )
        batch.check()

    def check(self, batch: Any) -> None:
        """Try a batch before a run: the policy must see and do what the environment shows and takes."""
        self.check_values(batch)
        env, sizes = batch.env, self.policy.sizes
        if sizes != (env.n_observations, env.n_actions):
            raise ValueError(
                f"{env} has observations of size {env.n_observations} and {env.n_actions} actions, the policy takes"
                f" {sizes[0]} and gives {sizes[1]}: build it with these sizes"
            )

    def update_statistics(self, batches: Any) -> None:
        """Do nothing: policies have no stored statistics."""
