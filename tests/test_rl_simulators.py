"""Gymnasium's environments as tasks: the physics that were set, rewards, seeds."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import gymnasium
import pytest
import torch
from torch import Tensor

from metalearn.rl import CartPoles, CategoricalPolicy, Cheetahs, GaussianPolicy, Pendulums, Policy, Simulated, rollout


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MuJoCo writes its warnings to a file in the working folder."""
    monkeypatch.chdir(tmp_path)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


FAMILIES: list[tuple[Simulated, Policy]] = [
    (CartPoles(horizon=15), CategoricalPolicy([4, 2])),
    (Pendulums(horizon=15), GaussianPolicy([3, 1])),
    (Cheetahs("direction", horizon=5), GaussianPolicy([17, 6])),
    (Cheetahs("velocity", horizon=5), GaussianPolicy([17, 6])),
]


@pytest.mark.parametrize(("env", "policy"), FAMILIES, ids=[repr(env) for env, _ in FAMILIES])
def test_the_same_seed_plays_the_same_episodes(env: Simulated, policy: Policy) -> None:
    tasks = env.sample(2, seeded())
    first, again, other = (rollout(policy, None, tasks, 2, seeded(seed)) for seed in (1, 1, 2))
    assert first.observations.shape == (2, 2, env.horizon, env.n_observations)
    assert torch.equal(first.rewards, again.rewards) and torch.equal(first.observations, again.observations)
    assert not torch.equal(first.observations, other.observations)
    assert not torch.equal(first.observations[:, 0, 0], first.observations[:, 1, 0])  # no two episodes start alike


def one_step(env: Simulated, context: Tensor, action: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return what was shown before and after a step, and its rewards."""
    state = env.reset(context, 1, seeded())
    before = env.observe(context, state)
    after, reward, _ = env.step(context, state, action)
    return before[:, 0].double(), env.observe(context, after)[:, 0].double(), reward[:, 0].double()


def test_the_force_and_the_length_of_each_task_are_those_of_its_simulator() -> None:
    context = torch.tensor([[10.0, 0.5], [-10.0, 0.5], [5.0, 1.0]])
    before, after, _ = one_step(CartPoles(), context, torch.ones(3, 1, dtype=torch.long))
    for k, (force, length) in enumerate(context.double().tolist()):
        _, _, angle, turning = before[k]
        temp = (force + 0.1 * length * turning**2 * angle.sin()) / 1.1
        down = 4 / 3 - 0.1 * angle.cos() ** 2 / 1.1
        expected = (9.8 * angle.sin() - angle.cos() * temp) / (length * down)
        torch.testing.assert_close((after[k, 3] - turning) / 0.02, expected, atol=1e-3, rtol=1e-3)


def test_all_episodes_of_a_task_have_its_physics() -> None:
    env, context = CartPoles(), torch.tensor([[10.0, 0.5], [-6.0, 1.0]])
    simulators = env.reset(context, 2, seeded()).simulators
    assert simulators.get_attr("force_mag") == (10.0, 10.0, -6.0, -6.0)
    assert simulators.get_attr("length") == (0.5, 0.5, 1.0, 1.0)
    assert simulators.get_attr("polemass_length") == pytest.approx((0.05, 0.05, 0.1, 0.1))


def test_the_mass_and_the_length_of_each_pendulum_are_those_of_its_simulator() -> None:
    context = torch.tensor([[0.5, 1.5], [1.5, 0.5]])
    before, after, reward = one_step(Pendulums(), context, torch.tensor([[[0.25]], [[9.0]]]))
    for k, (mass, length) in enumerate(context.double().tolist()):
        sine, turning, torque = before[k, 1], before[k, 2], (0.5, 2.0)[k]
        expected = 3 * 10 / (2 * length) * sine + 3 / (mass * length**2) * torque
        torch.testing.assert_close((after[k, 2] - turning) / 0.05, expected, atol=1e-3, rtol=1e-3)
        angle = torch.atan2(sine, before[k, 0])
        torch.testing.assert_close(reward[k], -(angle**2 + 0.1 * turning**2 + 0.001 * torque**2), atol=1e-4, rtol=1e-4)


def test_a_cart_pole_ends_where_the_pole_falls() -> None:
    tasks = CartPoles(horizon=60).sample(5, seeded())
    episodes = rollout(CategoricalPolicy([4, 2]), None, tasks, 4, seeded())
    torch.testing.assert_close(episodes.returns, episodes.mask.sum(-1))
    assert episodes.mask[..., -1].eq(0).any() and episodes.returns.min() >= 8


@pytest.mark.parametrize("goal", ["direction", "velocity"])
def test_the_cheetahs_rewards_are_of_its_speed(goal: Any) -> None:
    context = torch.tensor([-1.0, 1.0]) if goal == "direction" else torch.tensor([0.5, 2.0])
    action = torch.tensor([0.5, -2.0, 0.0, 0.0, 0.0, 1.0]).expand(2, 1, 6)
    _, _, reward = one_step(Cheetahs(goal), context, action)
    seed = int(torch.randint(2**31 - 1, (), generator=seeded()))
    for k in range(2):
        alone = gymnasium.make("HalfCheetah-v5")
        alone.reset(seed=seed + k)
        *_, info = alone.step(action[k, 0].clamp(-1, 1).numpy())
        speed, aim = info["x_velocity"], context[k].item()
        pays = speed * aim if goal == "direction" else -abs(speed - aim)
        assert reward[k].item() == pytest.approx(pays - 0.05 * (0.25 + 1 + 1), abs=1e-5)


def test_contexts_lie_in_their_ranges() -> None:
    force, length = CartPoles().draw(2000, seeded()).unbind(1)
    assert force.abs().min() >= 5 and force.abs().max() <= 15 and 0.45 < (force > 0).float().mean() < 0.55
    assert length.min() >= 0.25 and length.max() <= 1
    assert set(Cheetahs().draw(100, seeded()).tolist()) == {-1.0, 1.0}
    assert Cheetahs("velocity").draw(1000, seeded()).mean() == pytest.approx(1.0, abs=0.1)
    with pytest.raises(ValueError, match="goal must be one of"):
        Cheetahs("height")  # type: ignore[arg-type]


@pytest.mark.parametrize(("module", "env", "extra"), [
    ("gymnasium", CartPoles(), "chapters"), ("mujoco", Cheetahs(), "mujoco"),
])  # fmt: skip
def test_what_is_missing_is_named(module: str, env: Simulated, extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("gymnasium.envs.mujoco")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=rf'needs gymnasium.*pip install "metalearn-book\[{extra}\]"'):
        env.reset(env.draw(1), 1)
