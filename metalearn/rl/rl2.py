"""RL²: a recurrent policy, trained by policy gradients, whose activations learn while it plays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from metalearn.episodes import Inputs
from metalearn.learners._base import Adapted, Learner
from metalearn.learners._checks import at_least_one
from metalearn.networks import GRUCell
from metalearn.rl.returns import advantages, check_shares, returns, standardised
from metalearn.rl.trials import Player, Trials, play


class Memory(NamedTuple):
    """What :class:`RL2` carries along a trial.

    Args:
        hidden: State of the recurrent cell ``[n, width]``.
        last: What came of the last action: it, one-hot, its reward and whether it ended an episode
            ``[n, n_actions + 2]``; zero at first.
    """

    hidden: Tensor
    last: Tensor


class RL2(Learner, Player):
    r"""Play with a recurrent network that is told what came of its actions; only its activations learn within a task.

    At each step a gated recurrent cell reads the observation, the last action, its reward and whether it ended an
    episode, and gives the logits of the next action and a value, the guess of the discounted reward to come. The cell's
    state is kept from the trial's first step to its last, over the ends of episodes. The weights are trained on many
    tasks by the policy gradient, with the return of the whole trial as the goal: a player who explores early is paid
    later.

    In ``train`` mode actions are drawn, in ``eval`` mode the most probable is taken.

    Args:
        n_actions: Number of actions, at least 1.
        n_features: Size of an observation; 0: there is none.
        width: Size of the state.
        discount: Factor on rewards to come, in training, in [0, 1].
        trace: Factor :math:`\lambda` of the generalised advantage estimate, in [0, 1]: 0 trusts the values, 1 the
            rewards.
        entropy: Weight of the policy's entropy in the objective.
        value_weight: Weight of the values' squared error in the objective.
        n_plays: How often each task of a batch is played in a training step. Where it is more than once, an advantage
            is measured against the mean of the same task's plays at the same step, which takes out what made the task
            easy or hard.
        teacher: Train by another objective, which needs no rewards: the log probability that an action is one of the
            best, at all steps of its own play, where the trials tell the best (:meth:`Trials.best`). A task's rules are
            then known in training, and never in use.

    Raises:
        ValueError: If a number is out of its range; in training with a teacher, if the trials have none.

    Reference:
        Duan, Schulman, Chen, Bartlett, Sutskever, Abbeel: RL²: Fast Reinforcement Learning via Slow Reinforcement
        Learning, 2016, arXiv 1611.02779. Advantages: Schulman, Moritz, Levine, Jordan, Abbeel: High-Dimensional
        Continuous Control Using Generalized Advantage Estimation, 2015, arXiv 1506.02438, equation 16. A teacher for
        states of the learner's own play: Ross, Gordon, Bagnell: A Reduction of Imitation Learning and Structured
        Prediction to No-Regret Online Learning, 2011, arXiv 1011.0686.

    Differs from the paper:
        One step of Adam on each batch of trials, where the paper takes trust-region steps on larger ones; values and
        policy share the cell, and a value is predicted as a share of what could be had; tasks may be played several
        times in a step.

    Taught in:
        Meta-reinforcement learning.

    Example:
        >>> from metalearn import fit
        >>> from metalearn.rl import RL2, BanditFamily, play
        >>> learner, family = RL2(n_actions=2), BanditFamily(n_arms=2, n_pulls=5)
        >>> fit(learner, family.tasks(n_tasks=16), n_steps=3, progress=False).n_steps
        3
        >>> play(learner.eval(), family.sample(100)).actions.shape
        torch.Size([100, 5])
    """

    plays = True

    def __init__(
        self,
        n_actions: int,
        n_features: int = 0,
        *,
        width: int = 64,
        discount: float = 0.99,
        trace: float = 0.3,
        entropy: float = 0.01,
        value_weight: float = 0.5,
        n_plays: int = 1,
        teacher: bool = False,
    ) -> None:
        super().__init__()
        at_least_one(n_actions=n_actions, width=width, n_plays=n_plays)
        self.n_actions = n_actions
        self.n_features = n_features
        self.width = width
        check_shares(discount=discount, trace=trace)
        self.discount = discount
        self.trace = trace
        self.entropy = entropy
        self.value_weight = value_weight
        self.n_plays = n_plays
        self.teacher = teacher
        self.cell = GRUCell(n_features + n_actions + 2, width)
        self.policy = nn.Linear(width, n_actions)
        self.value = nn.Linear(width, 1)
        for head, start in ((self.policy, 0.0), (self.value, 0.5)):
            nn.init.normal_(head.weight, std=0.01)  # a value that differs by chance would favour actions by chance
            nn.init.constant_(head.bias, start)

    def begin(self, trials: Trials) -> Memory:
        """Return a memory of nothing."""
        like = self.policy.bias
        return Memory(like.new_zeros(len(trials), self.width), like.new_zeros(len(trials), self.n_actions + 2))

    def act(self, memory: Memory, observation: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Memory]:
        """Return the actions ``[n]``, and the memory after reading the observation."""
        hidden = self._read(memory, observation)
        return self._choose(self.policy(hidden), generator), memory._replace(hidden=hidden)

    def learn(self, memory: Memory, actions: Tensor, reward: Tensor, done: Tensor) -> Memory:
        """Return the memory with what is read at the next step."""
        one_hot = F.one_hot(actions, self.n_actions).to(memory.hidden.dtype)
        feedback = torch.stack([reward, done], 1).to(memory.hidden.dtype)
        return memory._replace(last=torch.cat([one_hot, feedback], 1))

    def _read(self, memory: Memory, observation: Tensor) -> Tensor:
        hidden: Tensor = self.cell(torch.cat([observation.to(memory.last.dtype), memory.last], 1), memory.hidden)
        return hidden

    def _choose(self, logits: Tensor, generator: torch.Generator | None) -> Tensor:
        if not self.training:
            return logits.argmax(1)
        chance = torch.rand(logits.shape, generator=generator, device=logits.device, dtype=torch.float64)
        gumbel = -(-chance.clamp(min=1e-300).log()).log()
        return (logits.detach() + gumbel).argmax(1)

    def adapt(
        self, support_x: Inputs, support_y: Tensor, *, n_way: int | None = None, n_steps: int | None = None
    ) -> Adapted:
        """Read the beginning of one trial; there are no inner steps to count.

        Args:
            support_x: What was read at each step, in their order ``[n_steps, n_features + n_actions + 2]``: the
                observation, the action before it, one-hot, its reward, and whether it ended an episode.
            support_y: The actions; they are not used, as the next input holds each.
            n_way: Not used.
            n_steps: Must be left out.

        Returns:
            ``"memory"`` ``[width]``, the state after the last input.
        """
        self._steps(n_steps)
        hidden = support_x.new_zeros(1, self.width)
        for x in support_x:
            hidden = self.cell(x.unsqueeze(0), hidden)
        return {"memory": hidden.squeeze(0)}

    def predict(self, adapted: Adapted, x: Inputs) -> Tensor:
        """Return the logits of the next action ``[n, n_actions]``, for each of several inputs that might come next."""
        logits: Tensor = self.policy(self.cell(x, adapted["memory"].expand(len(x), -1)))
        return logits

    def check(self, batch: Any) -> None:
        """Refuse what are no trials of the kind that the learner is built for."""
        if not isinstance(batch, Trials):
            raise ValueError(f"RL2 plays trials, got {type(batch).__name__}: sample with family.tasks(n_tasks=...)")
        if (batch.n_actions, batch.n_features) != (self.n_actions, self.n_features):
            raise ValueError(
                f"this RL2 is built for n_actions={self.n_actions} and n_features={self.n_features}, got trials of"
                f" {batch.n_actions} and {batch.n_features}"
            )
        batch.check()

    def backward(self, batch: Any, generator: torch.Generator | None = None) -> Tensor:
        """Play a batch of trials, add the gradient of the objective to ``.grad``; return minus the mean return."""
        played = self._rollout(batch, generator, self.n_plays)
        loss = imitation(played) if self.teacher else self._objective(played)
        loss.backward()  # type: ignore[no-untyped-call]
        return -played.rewards.sum(0).mean()

    def _objective(self, played: Rollout) -> Tensor:
        """Return what is minimised: minus the policy's gain and entropy, and the error of the values."""
        ahead = returns(torch.ones_like(played.rewards.T), self.discount).T  # what can be had from each step on
        values = played.values * ahead
        gae = advantages(played.rewards.T, values.detach().T, self.discount, self.trace).T  # [n_steps, n]
        targets = gae + values.detach()
        if self.n_plays > 1:
            groups = gae.reshape(len(gae), -1, self.n_plays)
            gae = (groups - groups.mean(2, keepdim=True)).reshape(gae.shape)
        weight = played.alive / played.alive.sum()
        log_p = F.log_softmax(played.logits, -1)  # [n_steps, n, n_actions]
        chosen = log_p.gather(2, played.actions.unsqueeze(2)).squeeze(2)
        gain = (weight * chosen * standardised(gae.unsqueeze(0), played.alive.unsqueeze(0)).squeeze(0)).sum()
        spread = -(weight * (log_p.exp() * log_p).sum(2)).sum()
        error = (weight * ((values - targets) / ahead).square()).sum()
        return -gain - self.entropy * spread + self.value_weight * error

    @torch.no_grad()
    def probabilities(self, trials: Trials, generator: torch.Generator | None = None) -> Tensor:
        """Play trials, and return with which probability it chose each action at each step ``[n, n_steps, n_actions]``.

        In ``eval`` mode the most probable action is taken; it is then the largest of a row.
        """
        return self._rollout(trials, generator, n_plays=1).logits.softmax(-1).transpose(0, 1)

    def returns(self, batch: Any, steps: Sequence[int | None], generator: torch.Generator | None = None) -> Tensor:
        """Return the total reward of each task's trial ``[n_tasks, n]``; ``evaluate`` calls it.

        Args:
            batch: Trials.
            steps: ``[None]``, since there are no inner steps to count.
            generator: Of all chance.
        """
        for n_steps in steps:
            self._steps(n_steps)
        return play(self, batch, generator).total.unsqueeze(1).expand(-1, len(steps))

    def _rollout(self, trials: Trials, generator: torch.Generator | None, n_plays: int) -> Rollout:
        """Play trials with gradients."""
        trials = trials[torch.arange(len(trials)).repeat_interleave(n_plays)]
        memory = self.begin(trials)
        state, observation = trials.begin(generator)
        alive = torch.ones(len(trials), dtype=torch.bool, device=observation.device)
        columns = []
        for _ in range(trials.n_steps):
            hidden = self._read(memory, observation)
            logits, value = self.policy(hidden), self.value(hidden).squeeze(1)
            best = trials.best(state) if self.teacher else torch.zeros_like(logits, dtype=torch.bool)
            actions = self._choose(logits, generator)
            state, observation, reward, done, over = trials.step(state, actions, generator)
            columns.append((logits, value * alive, actions, reward * alive, alive.to(reward.dtype), best))
            memory = self.learn(memory._replace(hidden=hidden), actions, reward, done)
            alive = alive & ~over
            if not alive.any():
                break
        return Rollout(*(torch.stack(part) for part in zip(*columns, strict=True)))


class Rollout(NamedTuple):
    """What training needs of trials that were played; the first axis counts steps.

    Args:
        logits: Of the actions ``[n_steps, n, n_actions]``.
        values: Shares of the discounted steps ahead ``[n_steps, n]``, 0 after a trial's end.
        actions: ``[n_steps, n]``.
        rewards: ``[n_steps, n]``, 0 after a trial's end.
        alive: 1 while a trial goes on, 0 after its end ``[n_steps, n]``.
        best: Which actions a teacher calls best ``[n_steps, n, n_actions]``; none, where there is no teacher.
    """

    logits: Tensor
    values: Tensor
    actions: Tensor
    rewards: Tensor
    alive: Tensor
    best: Tensor


def imitation(played: Rollout) -> Tensor:
    """Return minus the mean log probability that an action is one of the best, over steps where there are such."""
    weight = played.alive * played.best.any(2)
    log_p = F.log_softmax(played.logits, -1).masked_fill(~played.best, -torch.inf)
    right = torch.where(weight > 0, log_p.where(weight.unsqueeze(2) > 0, 0.0).logsumexp(2), 0.0)
    return -(weight * right).sum() / weight.sum().clamp(min=1)
