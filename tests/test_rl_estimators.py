"""Estimators of the derivatives of a return, against exact ones: every episode of a small process is listed."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.func import hessian

from metalearn.rl import (
    CategoricalPolicy,
    Mazes,
    TabularMDP,
    TabularPolicy,
    Tasks,
    Trajectories,
    every_episode,
    magic_box,
    probabilities,
    returns,
    rollout,
    surrogate,
)

NAMES: list[Any] = ["naive", "lvc", "dice"]
N_STATES, N_ACTIONS, HORIZON = 3, 2, 3


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def process(n_tables: int = 2) -> TabularMDP:
    transitions = torch.rand(N_STATES, N_ACTIONS, N_STATES, generator=seeded(), dtype=torch.float64)
    rewards = torch.randn(n_tables, N_STATES, N_ACTIONS, generator=seeded(1), dtype=torch.float64)
    return TabularMDP(transitions / transitions.sum(-1, keepdim=True), rewards, HORIZON)


POLICY, ENV = TabularPolicy(N_STATES, N_ACTIONS).double(), process()
START = torch.randn(N_STATES * N_ACTIONS, generator=seeded(2), dtype=torch.float64)


def table(theta: Tensor) -> dict[str, Tensor]:
    return {"table": theta.reshape(N_STATES, N_ACTIONS)}


def expected_return(theta: Tensor, context: Tensor) -> Tensor:
    episodes, log_dynamics = every_episode(ENV, context)
    return probabilities(POLICY, table(theta), episodes, log_dynamics) @ episodes.returns[0]


def expected_surrogate(theta: Tensor, context: Tensor, name: Any, baseline: Tensor | None = None) -> Tensor:
    """Return the mean of the surrogate over the episodes that ``theta`` plays, their probabilities held fixed."""
    return chances(theta, context) @ per_episode(theta, context, name, baseline)


def chances(theta: Tensor, context: Tensor) -> Tensor:
    return probabilities(POLICY, table(theta), *every_episode(ENV, context)).detach()


def per_episode(theta: Tensor, context: Tensor, name: Any, baseline: Tensor | None = None) -> Tensor:
    """Return the surrogate of every episode ``[n]``."""
    episodes, _ = every_episode(ENV, context)
    to_come = returns(episodes.rewards, 1.0)
    if baseline is not None:
        to_come = to_come - episodes.observations @ baseline
    log_probs = POLICY.log_prob(table(theta), episodes.observations, episodes.actions)
    return surrogate(log_probs, to_come, episodes.mask, name).sum(-1)[0]


def derivative(function: Any, theta: Tensor) -> Tensor:
    point = theta.clone().requires_grad_()
    (slope,) = torch.autograd.grad(function(point), point)
    return slope


def second(function: Any, theta: Tensor) -> Tensor:
    found: Tensor = torch.autograd.functional.hessian(function, theta)
    return found


CONTEXT = ENV.rewards[:1]
EXACT = second(lambda theta: expected_return(theta, CONTEXT), START)
BASELINES = [None, torch.tensor([0.7, -1.3, 2.0], dtype=torch.float64)]


def test_the_listed_episodes_are_all_there_are_and_as_frequent_as_played() -> None:
    episodes, log_dynamics = every_episode(ENV, CONTEXT)
    chance = probabilities(POLICY, table(START), episodes, log_dynamics)
    assert len(chance) == N_ACTIONS**HORIZON * N_STATES ** (HORIZON - 1)
    torch.testing.assert_close(chance.sum(), torch.tensor(1.0).double())
    played = rollout(POLICY, table(START), Tasks(ENV, CONTEXT), 40_000, seeded(3))
    expected = expected_return(START, CONTEXT)
    error = played.returns.std() / 200
    assert (played.returns.mean() - expected).abs() < 4 * error
    for t in range(HORIZON):
        seen = played.observations[0, :, t].mean(0)
        listed = (chance[:, None] * episodes.observations[0, :, t]).sum(0)
        torch.testing.assert_close(seen, listed, atol=0.015, rtol=0)


@pytest.mark.parametrize("baseline", BASELINES)
@pytest.mark.parametrize("name", NAMES)
def test_the_first_derivative_of_all_is_the_policy_gradient(name: Any, baseline: Tensor | None) -> None:
    found = derivative(lambda theta: expected_surrogate(theta, CONTEXT, name, baseline), START)
    torch.testing.assert_close(found, derivative(lambda theta: expected_return(theta, CONTEXT), START))


@pytest.mark.parametrize("baseline", BASELINES)
def test_the_second_derivative_of_dice_alone_is_unbiased(baseline: Tensor | None) -> None:
    found = {
        name: second(lambda theta, name=name: expected_surrogate(theta, CONTEXT, name, baseline), START)
        for name in NAMES
    }
    torch.testing.assert_close(found["dice"], EXACT, atol=1e-12, rtol=1e-10)
    errors = {name: ((value - EXACT).norm() / EXACT.norm()).item() for name, value in found.items()}
    assert errors["naive"] > 0.3 and errors["lvc"] > 0.1


def test_the_third_derivative_of_dice_is_unbiased() -> None:
    direction = torch.randn(len(START), generator=seeded(4), dtype=torch.float64)

    def third(function: Any) -> Tensor:
        value = lambda length: function(START + length * direction)  # noqa: E731
        point = torch.zeros((), dtype=torch.float64, requires_grad=True)
        out = value(point)
        for _ in range(3):
            (out,) = torch.autograd.grad(out, point, create_graph=True)
        return out

    exact = third(lambda theta: expected_return(theta, CONTEXT))
    torch.testing.assert_close(third(lambda theta: expected_surrogate(theta, CONTEXT, "dice", BASELINES[1])), exact)


@pytest.mark.filterwarnings("ignore:.torch.jit.script")  # torch's own, where torch.func.hessian first runs
def test_the_low_variance_curvature_has_bias_and_less_variance() -> None:
    spread, bias = {}, {}
    chance = chances(START, CONTEXT)
    for name in ("lvc", "dice"):
        single = hessian(lambda theta, name=name: per_episode(theta, CONTEXT, name))(START)  # [n, n_theta, n_theta]
        mean = (chance[:, None, None] * single).sum(0)
        spread[name] = (chance * (single - mean).square().sum((1, 2))).sum()
        bias[name] = (mean - EXACT).norm()
    assert spread["lvc"] < 0.5 * spread["dice"]
    assert bias["dice"] < 1e-10 and bias["lvc"] > 0.1 * EXACT.norm()


def test_the_gradient_through_an_inner_step_is_exact_with_dice_alone() -> None:
    """With all episodes in the inner step, its derivative is the only thing in which the estimators differ."""

    def after(theta: Tensor, gain: Any) -> Tensor:
        value: Tensor = torch.zeros((), dtype=torch.float64)
        for context in (ENV.rewards[:1], ENV.rewards[1:]):
            (step,) = torch.autograd.grad(gain(theta, context), theta, create_graph=True)
            value = value + expected_return(theta + 0.5 * step, context)
        return value

    exact = derivative(lambda theta: after(theta, expected_return), START)
    found = {
        name: derivative(lambda theta, name=name: after(theta, lambda *to: expected_surrogate(*to, name)), START)
        for name in NAMES
    }
    torch.testing.assert_close(found["dice"], exact)
    errors = {name: ((value - exact).norm() / exact.norm()).item() for name, value in found.items()}
    assert errors["naive"] > 0.05 and errors["lvc"] > 0.02


def test_the_ratio_replaces_the_magic_box_where_other_parameters_acted() -> None:
    episodes, _ = every_episode(ENV, CONTEXT)
    log_probs, other = (POLICY.log_prob(table(START + k), episodes.observations, episodes.actions) for k in (0, START))
    ratio = (log_probs - other).exp()
    to_come = returns(episodes.rewards, 1.0)
    found = surrogate(log_probs, to_come, episodes.mask, "lvc", old_log_probs=other)
    torch.testing.assert_close(found, ratio * to_come)
    dice = surrogate(log_probs, to_come, episodes.mask, "dice", old_log_probs=other).sum(-1)
    torch.testing.assert_close(dice, (ratio.cumprod(-1) * episodes.rewards).sum(-1) - episodes.returns)


def test_steps_after_the_end_do_not_count() -> None:
    log_probs = torch.randn(4, 5, generator=seeded()).requires_grad_()
    mask = torch.tensor([1.0, 1.0, 0.0, 0.0, 0.0]).expand(4, 5)
    for name in NAMES:
        value = surrogate(log_probs, torch.ones(4, 5), mask, name).sum()
        (slope,) = torch.autograd.grad(value, log_probs, create_graph=True)
        assert torch.equal(slope.detach(), mask)
        steps = surrogate(log_probs, torch.ones(4, 5), mask, name, old_log_probs=torch.zeros(4, 5))
        assert steps[mask == 0].eq(0).all() and steps[mask == 1].ne(0).all()
    with pytest.raises(ValueError, match="estimator must be one of"):
        surrogate(log_probs, mask, mask, "best")  # type: ignore[arg-type]
    assert magic_box(log_probs).eq(1).all()


@pytest.mark.parametrize(("arguments", "message"), [
    ((torch.ones(2, 2, 2), torch.ones(1, 2, 2), 3), "probabilities that sum to 1"),
    ((torch.ones(2, 2, 3), torch.ones(1, 2, 2), 3), r"expected transitions \[n_states, n_actions, n_states\]"),
    ((torch.ones(1, 2, 1), torch.ones(1, 2, 2), 3), "and rewards"),
    ((torch.ones(2), torch.ones(1, 2, 2), 3), r"got \[2\] and"),
    ((torch.ones(1, 2, 1), torch.ones(1, 1, 2), 0), "horizon must be at least 1"),
])  # fmt: skip
def test_a_process_that_is_none_is_refused(arguments: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TabularMDP(*arguments)


# Mazes

WALLED = torch.tensor([[[0.0, 1.0, 2.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]]])  # around the wall, it takes six steps


def test_the_shortest_way_through_a_maze_by_hand() -> None:
    env = Mazes(3)
    closed = WALLED.clone()
    closed[0, 2, 1] = 1
    assert env.shortest(torch.cat([WALLED, closed])).tolist() == [6.0, torch.inf]


def test_every_maze_has_a_way_and_the_share_of_walls_that_was_asked_for() -> None:
    env = Mazes(5, walls=0.25)
    maps = env.draw(500, seeded())
    assert env.shortest(maps).isfinite().all() and (maps == 2).sum((1, 2)).eq(1).all() and maps[:, 0, 0].eq(0).all()
    assert 0.15 < (maps == 1).float().mean() < 0.25  # mazes without a way, which have more, are drawn anew
    assert torch.equal(maps, env.draw(500, seeded()))


def test_walls_and_borders_stop_and_the_goal_ends() -> None:
    env, state = Mazes(3), torch.zeros(1, 4, 2, dtype=torch.long)
    state, reward, done = env.step(WALLED, state, torch.arange(4).unsqueeze(0))  # up, down, left, right from the corner
    assert state[0].tolist() == [[0, 0], [1, 0], [0, 0], [0, 0]] and reward.eq(-1).all() and not done.any()
    for action in (1, 1, 3, 3, 0, 0):
        assert not done.any()
        state, reward, done = env.step(WALLED, state[:, :1], torch.tensor([[action]]))
    assert done.all() and state[0, 0].tolist() == [0, 2]
    assert env.observe(WALLED, state).argmax(-1).item() == 2


def test_a_random_walk_pays_for_each_step() -> None:
    tasks = Mazes(3).sample(20, seeded())
    episodes: Trajectories = rollout(CategoricalPolicy([9, 4]), None, tasks, 5, seeded(1))
    torch.testing.assert_close(-episodes.returns, episodes.mask.sum(-1))
    assert (episodes.mask.sum(-1) >= tasks.env.shortest(tasks.context).unsqueeze(1)).all()  # type: ignore[attr-defined]


def test_mazes_refuse_sizes_that_are_none() -> None:
    with pytest.raises(ValueError, match="expected size of at least 2"):
        Mazes(1)
