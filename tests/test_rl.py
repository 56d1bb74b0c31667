"""Reinforcement learning over tasks: returns by hand, environments by hand, policies, outer steps, MAML."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from metalearn import evaluate, fit
from metalearn.inner_loop import from_vector, to_vector
from metalearn.learners import Prototypical
from metalearn.learners._settings import from_settings, settings_of
from metalearn.rl import (
    MAMLRL,
    CategoricalPolicy,
    GaussianPolicy,
    Navigation,
    Policy,
    TabularMDP,
    TabularPolicy,
    Tasks,
    Trajectories,
    advantages,
    linear_baseline,
    returns,
    rollout,
    standardised,
)
from metalearn.rl.maml_rl import Experience
from metalearn.rl.outer import conjugate_gradient, several_steps, trust_region
from metalearn.rl.policies import draw_index


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def per_task(policy: Policy, n_tasks: int, spread: float = 0.1) -> dict[str, Tensor]:
    """Return other parameters for each task."""
    noise = seeded(5)
    return {
        name: param.detach() + spread * torch.randn(n_tasks, *param.shape, generator=noise, dtype=param.dtype)
        for name, param in policy.own().items()
    }


# Returns


def test_returns_and_advantages_by_hand() -> None:
    rewards, values = torch.tensor([[1.0, 2.0, 4.0]]), torch.tensor([[3.0, 5.0, 1.0]])
    assert torch.equal(returns(rewards, 0.5), torch.tensor([[1 + 1 + 1, 2 + 2, 4.0]]))
    delta = [1 + 0.5 * 5 - 3, 2 + 0.5 * 1 - 5, 4 - 1]
    expected = [delta[0] + 0.2 * delta[1] + 0.04 * delta[2], delta[1] + 0.2 * delta[2], delta[2]]
    torch.testing.assert_close(advantages(rewards, values, 0.5, 0.4), torch.tensor([expected]))


def test_advantages_at_the_ends_of_lambda() -> None:
    rewards, values = torch.rand(3, 4, 7, generator=seeded()), torch.rand(3, 4, 7, generator=seeded(1))
    torch.testing.assert_close(advantages(rewards, values, 0.9, 1.0), returns(rewards, 0.9) - values)
    following = torch.cat([values[..., 1:], torch.zeros(3, 4, 1)], -1)
    torch.testing.assert_close(advantages(rewards, values, 0.9, 0.0), rewards + 0.9 * following - values)


def test_the_baseline_is_exact_where_returns_are_linear_in_its_features() -> None:
    position = torch.rand(2, 5, 6, 1, generator=seeded())
    weights = torch.tensor([2.0, -3.0]).reshape(2, 1, 1)  # of another line in each task
    target = weights * position[..., 0] + position[..., 0] ** 2 + 0.5
    following = torch.cat([target[..., 1:], torch.zeros(2, 5, 1)], -1)
    episodes = Trajectories(position, position, target - 0.9 * following, torch.ones(2, 5, 6))
    torch.testing.assert_close(linear_baseline(episodes, 0.9), target, atol=1e-3, rtol=1e-3)


def test_the_baseline_is_the_ridge_regression_on_the_steps_that_count() -> None:
    position, rewards = torch.randn(1, 3, 5, 1, generator=seeded()), torch.rand(1, 3, 5, generator=seeded(1))
    mask = torch.ones(1, 3, 5)
    mask[0, 1, 2:] = 0
    kept, x = mask[0] == 1, position[0, ..., 0].double()
    time = (torch.arange(5) / 100).double().expand(3, 5)
    features = torch.stack([x, x**2, time, time**2, time**3, torch.ones(3, 5)], 2)[kept]
    target = returns((rewards * mask)[0].double(), 0.9)[kept]
    weights = torch.linalg.solve(features.T @ features + 0.01 * torch.eye(6), features.T @ target)
    found = linear_baseline(Trajectories(position, position, rewards * mask, mask), 0.9, penalty=0.01)[0]
    torch.testing.assert_close(found[kept], (features @ weights).float(), atol=1e-5, rtol=1e-5)
    assert found[~kept].eq(0).all()


def test_steps_after_the_end_count_for_nothing() -> None:
    values = torch.rand(2, 3, 4, generator=seeded())
    mask = torch.ones(2, 3, 4)
    mask[0, 0, 2:] = 0
    found = standardised(values, mask)
    alive = found[0][mask[0] == 1]
    assert found[0, 0, 2:].eq(0).all()
    torch.testing.assert_close(alive.mean(), torch.tensor(0.0), atol=1e-6, rtol=0)
    torch.testing.assert_close(alive.std(correction=0), torch.tensor(1.0))
    other = values.clone()
    other[0, 0, 2:] = 100.0
    torch.testing.assert_close(standardised(other, mask), found)


@pytest.mark.parametrize(("call", "message"), [
    (lambda: returns(torch.ones(2), 1.5), r"discount must lie in \[0, 1\], got 1.5"),
    (lambda: advantages(torch.ones(2), torch.ones(2), 0.9, -1.0), r"gae_lambda must lie in \[0, 1\], got -1.0"),
    (lambda: GaussianPolicy([2, 2], init_std=0.0), "init_std must be above 0, got 0.0"),
    (lambda: Navigation(horizon=0), "horizon must be at least 1, got 0"),
    (lambda: Navigation().tasks(n_tasks=0), "n_tasks must be at least 1, got 0"),
    (lambda: Tasks(Navigation(), torch.empty(0, 2)).check(), r"at least one task, got \[0, 2\]"),
    (lambda: Tasks(Navigation(), torch.tensor([[torch.nan, 0]])).check(), "context holds NaN"),
    (lambda: MAMLRL(GaussianPolicy([2, 2]), estimator="dicey"), "estimator must be one of"),  # type: ignore[arg-type]
    (lambda: MAMLRL(GaussianPolicy([2, 2]), outer="adam"), "outer must be one of"),  # type: ignore[arg-type]
    (lambda: MAMLRL(GaussianPolicy([2, 2]), n_inner_steps=-1), "n_inner_steps must be at least 0, got -1"),
    (lambda: MAMLRL(GaussianPolicy([2, 2]), inner_lr=[]), r"inner_lr must hold at least one rate, got \[\]"),
    (lambda: MAMLRL(GaussianPolicy([2, 2]), discount=1.5), r"discount must lie in \[0, 1\], got 1.5"),
    (lambda: MAMLRL(GaussianPolicy([2, 2])).play(Navigation().sample(2), -1), "n_steps must be at least 0, got -1"),
    (lambda: GaussianPolicy([]), r"at least input and output, got \[\]"),
    (lambda: MAMLRL(GaussianPolicy([2, 2])).adapt(torch.ones(1), torch.ones(1)), "collects its support by acting"),
    (lambda: MAMLRL(GaussianPolicy([3, 2])).check(Navigation().sample(2)), "the policy takes 3 and gives 2"),
    (lambda: MAMLRL(GaussianPolicy([2, 2])).check(torch.ones(2)), "learns from tasks of an environment, got Tensor"),
    (lambda: Prototypical(torch.nn.Flatten()).returns(None, [1]), "does not play"),
])  # fmt: skip
def test_wrong_input_is_refused(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


# Environments and episodes


def test_navigation_by_hand() -> None:
    env, goals = Navigation(), torch.tensor([[0.305, 0.0], [0.0, -0.5]])
    tasks = Tasks(env, goals)

    class Right(GaussianPolicy):
        def act(self, params: Any, observations: Tensor, generator: Any = None) -> Tensor:
            return torch.tensor([7.0, 0.0]).expand(*observations.shape[:-1], 2)

    episodes = rollout(Right([2, 2]), None, tasks, 3)
    first = episodes.rewards[0, 0]
    torch.testing.assert_close(first[:3], torch.tensor([-0.205, -0.105, -0.005]))
    assert first[3:].eq(0).all() and episodes.mask[0, 0].tolist() == [1.0] * 3 + [0.0] * 97
    torch.testing.assert_close(episodes.returns[0], torch.full((3,), -0.315))
    assert episodes.mask[1].eq(1).all()  # it never arrives
    torch.testing.assert_close(episodes.observations[1, 0, :3, 0], torch.tensor([0.0, 0.1, 0.2]))


def test_standing_still_returns_what_the_published_numbers_start_from() -> None:
    goals = Navigation().draw(20_000, seeded())
    assert -100 * goals.norm(dim=-1).mean().item() == pytest.approx(-38.3, abs=0.2)
    assert goals.abs().max() <= 0.5
    assert -100 * goals.square().sum(-1).mean().item() == pytest.approx(-16.7, abs=0.2)


def test_the_oracle_sees_the_goal() -> None:
    env, goals = Navigation(show_goal=True), torch.tensor([[0.3, 0.1]])
    seen = env.observe(goals, env.reset(goals, 2))
    torch.testing.assert_close(seen, torch.tensor([[[0.0, 0.0, 0.3, 0.1]] * 2]))
    assert env.n_observations == seen.shape[-1]


def test_a_batch_of_tasks_can_be_cut_moved_and_cast() -> None:
    tasks = Navigation().sample(5, seeded())
    assert len(tasks) == 5 and len(tasks[1:3]) == 2 and len(tasks[-1]) == 1
    assert torch.equal(tasks[-1].context, tasks.context[4:])
    assert tasks.map(lambda context: context.double()).context.dtype == torch.float64
    assert torch.equal(tasks.to("cpu").context, tasks.context)


def test_the_same_seed_plays_the_same_episodes() -> None:
    policy, tasks = GaussianPolicy([2, 8, 2]), Navigation(horizon=9).sample(4, seeded())
    first, again, other = (rollout(policy, None, tasks, 3, seeded(seed)) for seed in (1, 1, 2))
    assert torch.equal(first.actions, again.actions) and not torch.equal(first.actions, other.actions)


# Policies


@pytest.mark.parametrize("policy", [GaussianPolicy([3, 8, 8, 2]), CategoricalPolicy([3, 8, 4]), TabularPolicy(3, 4)])
def test_parameters_of_each_task_give_what_each_task_alone_gives(policy: Policy) -> None:
    policy = policy.double()
    params = per_task(policy, 4)
    seen = torch.randn(4, 5, 6, 3, generator=seeded(), dtype=torch.float64)
    actions = policy.act(params, seen, seeded())
    found = policy.log_prob(params, seen, actions)
    for k in range(4):
        alone = policy.log_prob({name: param[k] for name, param in params.items()}, seen[k], actions[k])
        torch.testing.assert_close(found[k], alone)
    shared = policy.log_prob({name: param[0] for name, param in params.items()}, seen, actions)
    torch.testing.assert_close(shared[0], found[0])


def test_a_policy_is_its_network_and_keeps_a_deviation() -> None:
    gaussian, categorical = GaussianPolicy([3, 8, 8, 2]), CategoricalPolicy([3, 8, 4])
    seen = torch.randn(7, 3, generator=seeded())
    torch.testing.assert_close(gaussian(gaussian.own(), seen).mean, gaussian.mean(seen))
    torch.testing.assert_close(categorical(categorical.own(), seen).probs, categorical.logits(seen).softmax(1))
    narrow = gaussian.own() | {"log_std": torch.full((2,), -100.0)}
    torch.testing.assert_close(gaussian(narrow, seen).base_dist.scale, torch.full((7, 2), 1e-6))


def test_draws_follow_the_probabilities() -> None:
    drawn = draw_index(torch.tensor([0.2, 0.3, 0.5]).log().expand(20_000, 3), seeded())
    torch.testing.assert_close(drawn.bincount() / 20_000, torch.tensor([0.2, 0.3, 0.5]), atol=0.015, rtol=0)
    policy = GaussianPolicy([1, 2], init_std=0.5)
    actions = policy.act(policy.own(), torch.zeros(20_000, 1), seeded())
    torch.testing.assert_close(actions.std(0), torch.full((2,), 0.5), atol=0.01, rtol=0)


# Outer steps


def test_conjugate_gradients_solve_a_system() -> None:
    root = torch.randn(6, 6, generator=seeded(), dtype=torch.float64)
    matrix, b = root @ root.T + torch.eye(6).double(), torch.randn(6, generator=seeded(1), dtype=torch.float64)
    torch.testing.assert_close(conjugate_gradient(lambda v: matrix @ v, b, 20), torch.linalg.solve(matrix, b))
    assert conjugate_gradient(lambda v: matrix @ v, torch.zeros_like(b), 20).tolist() == [0.0] * 6


def test_the_trust_region_step_is_the_natural_gradient_of_its_length() -> None:
    hessian, slope = torch.tensor([[4.0, 1.0], [1.0, 2.0]]).double(), torch.tensor([1.0, 3.0]).double()
    start = {"x": torch.tensor([0.5, -1.0]).double()}

    def divergence(params: dict[str, Tensor]) -> Tensor:
        gap = params["x"] - start["x"]
        return gap @ hessian @ gap / 2

    step = trust_region(lambda params: slope @ params["x"], divergence, start, 0.02, damping=0.0)
    natural = torch.linalg.solve(hessian, slope)
    torch.testing.assert_close(step["x"], natural * (0.04 / (slope @ natural)).sqrt())
    torch.testing.assert_close(divergence({"x": start["x"] + step["x"]}), torch.tensor(0.02).double())


def test_a_step_that_would_not_help_is_not_taken() -> None:
    start = {"x": torch.zeros(2)}
    step = trust_region(  # it only ever falls, but the slope at the start says otherwise
        lambda params: params["x"].sum() - 1e6 * params["x"].abs().sum().detach(),
        lambda params: params["x"].square().sum(),
        start,
    )
    assert step["x"].eq(0).all()


def test_several_steps_are_adams() -> None:
    start = torch.tensor([1.0, -2.0])
    param = start.clone().requires_grad_()
    adam = torch.optim.Adam([param], lr=0.1)
    for _ in range(3):
        adam.zero_grad()
        param.square().sum().backward()
        adam.step()
    step = several_steps(lambda params: -params["x"].square().sum(), {"x": start}, 3, 0.1)
    torch.testing.assert_close(start + step["x"], param.detach())
    assert start.tolist() == [1.0, -2.0]


# MAML


def small(**options: Any) -> MAMLRL:
    torch.manual_seed(0)
    settings = {"n_episodes": 4, "n_test_episodes": 3, "inner_lr": 0.5, **options}
    return MAMLRL(GaussianPolicy([2, 8, 2]), **settings)


def test_an_inner_step_is_the_policy_gradient_of_each_task() -> None:
    learner, tasks = small(), Navigation(horizon=6).sample(3, seeded())
    (before, episodes), (after, _) = learner.play(tasks, 1, seeded(1))
    seen = learner._experience(before, episodes)
    for k in range(3):
        own = {name: param.detach().clone().requires_grad_() for name, param in learner.policy.own().items()}
        log_probs = learner.policy.log_prob(own, episodes.observations[k], episodes.actions[k])
        gain = (log_probs * seen.advantages[k]).sum() / episodes.mask[k].sum()
        slopes = torch.autograd.grad(gain, list(own.values()))
        for (name, param), slope in zip(own.items(), slopes, strict=True):
            torch.testing.assert_close(after[name][k], (param + 0.5 * slope).detach(), atol=1e-5, rtol=1e-4)


def test_what_is_learned_from_is_the_standardised_advantage_over_the_baseline() -> None:
    learner = small(discount=0.9, gae_lambda=0.5)
    ((params, episodes),) = learner.play(Navigation(horizon=6).sample(3, seeded()), 0, seeded(1))
    seen = learner._experience(params, episodes)
    found = advantages(episodes.rewards, linear_baseline(episodes, 0.9), 0.9, 0.5)
    torch.testing.assert_close(seen.advantages, standardised(found, episodes.mask))
    torch.testing.assert_close(seen.old, learner.policy.log_prob(params, episodes.observations, episodes.actions))


@pytest.mark.parametrize("outer", ["gradient", "ppo"])
def test_the_outer_gain_is_the_mean_of_the_ratios_that_count(outer: Any) -> None:
    """Of ratios 1.5, 1.5, 0.5, 0.5 with advantages of both signs; PPO takes the less of clipped and not."""
    policy = CategoricalPolicy([1, 2])
    learner = MAMLRL(policy, outer=outer, clip=0.2)
    ratio, gains = torch.tensor([[[1.5, 1.5, 0.5, 0.5, 9.0]]]), torch.tensor([[[2.0, -2.0, 4.0, -4.0, 7.0]]])
    seen, done, mask = torch.zeros(1, 1, 5, 1), torch.zeros(1, 1, 5).long(), torch.tensor([[[1.0, 1, 1, 1, 0]]])
    episodes = Trajectories(seen, done, torch.zeros(1, 1, 5), mask)
    log_probs = policy.log_prob(policy.own(), seen, done)
    found = learner._outer_gain(policy.own(), Experience(episodes, gains, log_probs - ratio.log()))
    terms = [2.4, -3.0, 2.0, -3.2] if outer == "ppo" else [3.0, -3.0, 2.0, -2.0]
    torch.testing.assert_close(found, torch.tensor(terms).mean())


def test_the_outer_objective_is_of_the_last_step_or_of_every_step() -> None:
    learner, tasks = small(n_inner_steps=2), Navigation(horizon=6).sample(3, seeded())
    seen = [learner._experience(*entry) for entry in learner.play(tasks, None, seeded(1))]
    start = {name: param + 0.05 for name, param in learner.policy.own().items()}
    gains = [learner._outer_gain(*pair) for pair in zip(learner._path(start, seen), seen, strict=True)]
    torch.testing.assert_close(learner._objective(start, seen), gains[2])
    learner.every_step = True
    torch.testing.assert_close(learner._objective(start, seen), (gains[1] + gains[2]) / 2)


def test_gradients_add_up_and_modes_play_their_numbers_of_episodes() -> None:
    learner, tasks = small(), Navigation(horizon=6).sample(3, seeded())
    learner.backward(tasks, seeded(1))
    once = learner.policy.log_std.grad.clone()  # type: ignore[union-attr]
    learner.backward(tasks, seeded(1))
    torch.testing.assert_close(learner.policy.log_std.grad, 2 * once)
    assert learner.train().play(tasks, 0, seeded())[0][1].returns.shape == (3, 4)
    assert learner.eval().play(tasks, 0, seeded())[0][1].returns.shape == (3, 3)


def test_later_steps_have_their_own_rate() -> None:
    tasks = Navigation(horizon=6).sample(3, seeded())
    one, other = (small(inner_lr=rates).play(tasks, 3, seeded(1)) for rates in ([0.5, 0.0], [0.5]))
    assert torch.equal(one[1][0]["log_std"], other[1][0]["log_std"])
    assert torch.equal(one[1][0]["log_std"], one[3][0]["log_std"])
    assert not torch.equal(one[2][0]["log_std"], other[2][0]["log_std"])


@pytest.mark.parametrize("estimator", ["naive", "lvc", "dice"])
@pytest.mark.parametrize("n_inner_steps", [0, 1, 2])
def test_the_outer_gradient_is_the_slope_of_the_outer_objective(estimator: Any, n_inner_steps: int) -> None:
    options = {"estimator": estimator, "n_inner_steps": n_inner_steps, "every_step": n_inner_steps == 2}
    learner = small(outer="gradient", inner_lr=0.1, **options).double()
    for param in learner.parameters():  # zero biases and the position 0 would lie on the kinks of the ReLU
        param.data += 0.1 * torch.randn(param.shape, generator=seeded(3), dtype=param.dtype)
    tasks = Navigation(horizon=3).sample(2, seeded()).map(lambda context: context.double())
    learner.backward(tasks, seeded(1))
    seen = [learner._experience(*entry) for entry in learner.play(tasks, None, seeded(1))]
    own = {name: param.detach() for name, param in learner.policy.own().items()}
    direction = torch.randn(len(to_vector(own)), generator=seeded(2), dtype=torch.float64)

    def value(length: float) -> Tensor:
        return learner._objective(from_vector(to_vector(own) + length * direction, own), seen)

    slope = (value(1e-5) - value(-1e-5)) / 2e-5
    found = -to_vector({name: param.grad for name, param in learner.policy.own().items()}) @ direction
    torch.testing.assert_close(found, slope, atol=1e-8, rtol=1e-6)


@pytest.mark.parametrize("outer", ["trust region", "ppo"])
def test_the_whole_outer_step_lies_in_the_gradient(outer: Any) -> None:
    learner, tasks = small(outer=outer), Navigation(horizon=20).sample(6, seeded())
    before = {name: param.detach().clone() for name, param in learner.policy.own().items()}
    loss = learner.backward(tasks, seeded(1))
    played = learner.play(tasks, None, seeded(1))
    assert loss == -played[-1][1].returns.mean()
    assert all(torch.equal(before[name], param) for name, param in learner.policy.own().items())
    seen = [learner._experience(*entry) for entry in played]
    torch.optim.SGD(learner.parameters(), lr=1.0).step()
    start = {name: param.detach() for name, param in learner.policy.own().items()}
    assert learner._objective(start, seen) > learner._objective(before, seen)
    if outer == "trust region":
        acted, adapted = (learner._path(params, seen)[-1] for params in (before, start))
        observations = seen[-1].episodes.observations
        kl = torch.distributions.kl_divergence(*(learner.policy(params, observations) for params in (acted, adapted)))
        assert 0.002 < kl.mean() <= 0.0101


def test_a_frozen_parameter_stays_in_both_loops() -> None:
    learner, tasks = small(), Navigation(horizon=6).sample(3, seeded())
    learner.policy.log_std.requires_grad_(False)
    learner.backward(tasks, seeded(1))
    assert learner.policy.log_std.grad is None
    after = learner.play(tasks, 2, seeded(1))[-1][0]["log_std"]
    assert torch.equal(after, learner.policy.log_std.expand_as(after))


def test_evaluate_scores_by_the_mean_return_on_the_same_tasks_for_all() -> None:
    tasks, learner = Navigation(horizon=5).tasks(n_tasks=4), small()
    scores = evaluate(learner, tasks, 10, n_steps=[0, 1, 2])
    again = evaluate(small(), tasks, 10, n_steps=[0, 2])
    assert torch.equal(scores[0].per_task, again[0].per_task) and scores[0].n_tasks == 10
    assert torch.equal(scores[2].per_task, again[2].per_task) and scores[0].higher_is_better
    seen: list[Tensor] = []

    class Watched(MAMLRL):
        def returns(self, batch: Tasks, steps: Any, generator: Any = None) -> Tensor:
            seen.append(batch.context)
            return super().returns(batch, steps, generator)

    for n_test_episodes in (1, 7):
        evaluate(Watched(GaussianPolicy([2, 2]), n_test_episodes=n_test_episodes), tasks, 8)
    assert torch.equal(torch.cat(seen[:2]), torch.cat(seen[2:]))  # however much a learner plays
    with pytest.raises(ValueError, match="is scored by its mean return"):
        evaluate(learner, tasks, 10, metric=lambda prediction, y: y)


def test_training_goes_on_where_it_stopped_with_the_same_bits(tmp_path: Any) -> None:
    tasks = Navigation(horizon=10).tasks(n_tasks=5)

    def trained(n_steps: int, file: str) -> MAMLRL:
        learner = small(outer="trust region")
        sgd = torch.optim.SGD(learner.parameters(), lr=1.0)
        fit(learner, tasks, n_steps, optimizer=sgd, seed=0, checkpoint=tmp_path / file, progress=False)
        return learner

    whole, _, parts = trained(4, "whole"), trained(2, "parts"), trained(4, "parts")
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), parts.parameters(), strict=True))


@pytest.mark.parametrize("outer", ["trust region", "ppo", "gradient"])
def test_training_learns_to_try_what_tells_tasks_apart(outer: Any) -> None:
    """Only in state 1 do rewards differ between the two tasks; who does not go there cannot adapt."""
    moves = torch.eye(2)[torch.tensor([[0, 1], [1, 1]])]  # action 1 leads to state 1, which nothing leaves
    pays = torch.tensor([[[0.2, 0.0], [1.0, -1.0]], [[0.2, 0.0], [-1.0, 1.0]]])
    tasks = TabularMDP(moves, pays, horizon=4).tasks(n_tasks=20)
    torch.manual_seed(0)
    policy = TabularPolicy(2, 2)
    learner = MAMLRL(policy, inner_lr=10.0, outer=outer, estimator="dice", outer_lr=0.1, discount=1.0, max_kl=0.05)
    untrained = evaluate(learner, tasks, 40, n_steps=[0, 1])
    sgd = None if outer == "gradient" else torch.optim.SGD(learner.parameters(), lr=1.0)
    fit(learner, tasks, 40, optimizer=sgd, outer_lr=0.1, seed=0, progress=False)
    scores = evaluate(learner, tasks, 40, n_steps=[0, 1])
    assert scores[1].above(untrained[1], by=0.3) and scores[1].mean > 2.7 and scores[0].mean < 0.7
    assert policy.table.diff(dim=1)[0] > 1.0


def test_a_learner_is_built_again_from_its_settings() -> None:
    learner = small(inner_lr=[0.5, 0.25], estimator="naive", discount=0.9)
    settings = settings_of(learner)
    again = from_settings(settings)
    again.load_state_dict(learner.state_dict())
    assert settings_of(again) == settings
    tasks = Navigation(horizon=5).tasks(n_tasks=4)
    assert torch.equal(evaluate(again, tasks, 8).per_task, evaluate(learner, tasks, 8).per_task)
