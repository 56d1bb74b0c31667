"""Physics against gymnasium, by hand and by what stays the same; planning against Riccati; least squares."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
import torch
from scipy.linalg import solve_discrete_are
from torch import Tensor

from metalearn.control import (
    CEM,
    CartPole,
    DynamicsTasks,
    Identified,
    Lane,
    Learned,
    Pendulum,
    System,
    Told,
    Transitions,
    Usual,
    adapt_all,
    control,
    identify,
    learned_dynamics,
    scattered,
    true_dynamics,
    wander,
)
from metalearn.experiments import analysis, standing
from metalearn.experiments import control as record
from metalearn.learners import MAML, NeuralProcess, Shrinkage
from metalearn.networks import MLP

SYSTEMS = [Pendulum(), CartPole(), Lane()]
MSE = torch.nn.functional.mse_loss


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def doubles(*tensors: Tensor) -> list[Tensor]:
    return [tensor.double() for tensor in tensors]


def test_a_usual_pendulum_steps_and_costs_as_gymnasium_has_it() -> None:
    gymnasium = pytest.importorskip("gymnasium")
    simulator, system, rng = gymnasium.make("Pendulum-v1").unwrapped, Pendulum(), np.random.default_rng(0)
    simulator.reset(seed=0)
    for _ in range(200):
        start, torque = rng.uniform([-3, -8], [3, 8]), rng.uniform(-3, 3)
        simulator.state = start
        _, reward, _, _, _ = simulator.step(np.array([torque]))
        state, action = (
            torch.tensor([*start, 0.7], dtype=torch.float64),
            torch.tensor([torque / 2], dtype=torch.float64),
        )
        following = system.step(system.usual().double(), state, action)
        assert following[:2].numpy() == pytest.approx(simulator.state, abs=1e-12)
        assert float(system.cost(state, action)) == pytest.approx(-reward, abs=1e-10)


def test_a_usual_cart_pole_steps_as_gymnasium_has_it() -> None:
    gymnasium = pytest.importorskip("gymnasium")
    simulator, system, rng = gymnasium.make("CartPole-v1").unwrapped, CartPole(), np.random.default_rng(0)
    for _ in range(200):
        simulator.reset(seed=0)
        start, side = rng.uniform(-0.2, 0.2, 4) * [5, 10, 1, 10], int(rng.integers(2))
        simulator.state = start
        simulator.step(side)
        state = torch.tensor([*start, -0.3], dtype=torch.float64)
        following = system.step(system.usual().double(), state, torch.tensor([2.0 * side - 1], dtype=torch.float64))
        assert following[:4].numpy() == pytest.approx(simulator.state, abs=1e-6)  # usual() is float32


def test_a_pendulum_without_friction_keeps_its_energy_and_friction_takes_it() -> None:
    system, still = Pendulum(dt=1e-3), torch.zeros(1, dtype=torch.float64)
    context = torch.tensor([[1.3, 0.8, 0.0, 0.0], [1.3, 0.8, 0.2, 0.0]], dtype=torch.float64)
    mass, length = context[:, 0], context[:, 1]

    def energy(state: Tensor) -> Tensor:
        return mass * length**2 / 6 * state[:, 1] ** 2 + mass * 10 * length / 2 * state[:, 0].cos()

    state = torch.tensor([2.0, 0.5, 0.0], dtype=torch.float64).expand(2, 3)
    before = energy(state)
    for _ in range(2000):
        state = system.step(context, state, still)
    change = energy(state) - before
    assert abs(change[0]) < 0.01 * mass[0] * 10 * length[0]
    assert change[1] < -1.0


def test_a_cart_without_friction_and_force_keeps_its_momentum() -> None:
    system, still = CartPole(dt=1e-4), torch.zeros(1, dtype=torch.float64)
    context = torch.tensor([[0.4, 0.7, 0.0, 10.0, 0.0], [0.4, 0.7, 1.0, 10.0, 0.0]], dtype=torch.float64)
    state = torch.tensor([0.0, 1.0, 0.3, 1.0, 0.0], dtype=torch.float64).expand(2, 5)

    def momentum(state: Tensor) -> Tensor:  # the pole's middle is at x + length sin(angle)
        return (1 + 0.4) * state[:, 1] + 0.4 * 0.7 * state[:, 3] * state[:, 2].cos()

    before = momentum(state)
    for _ in range(2000):
        state = system.step(context, state, still)
    change = momentum(state) - before
    assert abs(change[0]) < 1e-3
    assert change[1] == pytest.approx(-0.2, abs=0.05)  # about friction * speed * time


def test_half_a_motor_with_half_the_friction_is_twice_the_mass() -> None:
    system, state = Pendulum(), Pendulum().anywhere((50,), seeded())
    action = torch.rand(50, 1, generator=seeded(1)) * 2 - 1
    heavy = system.step(torch.tensor([2.0, 0.9, 0.4, 0.0]), state, action)
    weak = system.step(torch.tensor([1.0, 0.9, 0.2, 0.0]), state, action / 2)
    torch.testing.assert_close(heavy[:, :2], weak[:, :2])


@pytest.mark.parametrize("system", [Pendulum(), CartPole()])
def test_a_command_that_is_late_by_a_step_acts_in_the_next(system: System) -> None:
    state = system.anywhere((30,), seeded())
    late, prompt = system.usual().clone(), system.usual()
    late[system.names.index("delay")] = 1.0
    action = torch.rand(30, 1, generator=seeded(1)) * 2 - 1
    delayed = system.step(late, state, action)
    torch.testing.assert_close(delayed[:, :-1], system.step(prompt, state, state[:, -1:])[:, :-1])
    torch.testing.assert_close(delayed[:, -1:], action)


def test_a_car_drives_a_circle_of_the_radius_that_its_wheels_say() -> None:
    system, wheels, speed = Lane(dt=4e-3, bends=()), 0.1, 10.0
    radius = 2.7 / math.tan(wheels)
    context = torch.tensor([1e9, 1e-9, 0.0], dtype=torch.float64)
    state = torch.tensor([0.0, 0.0, wheels, speed, 0.0], dtype=torch.float64)
    n_steps = round(math.pi * radius / speed / 4e-3)  # half of the circle
    for _ in range(n_steps):
        state = system.step(context, state, torch.tensor([wheels / 0.25], dtype=torch.float64))
    assert state[0] == pytest.approx(2 * radius, rel=5e-3)
    assert state[1] == pytest.approx(math.pi, rel=5e-3)
    assert abs(state[4]) < 0.01 * radius


def test_a_road_never_gives_more_than_its_grip_and_a_load_makes_the_car_turn_less() -> None:
    system, wheels = Lane(), torch.linspace(0.0, 0.25, 20)
    state = torch.stack([torch.tensor([0.0, 0.0, float(angle), 20.0, 0.0]) for angle in wheels])
    ice, empty, full = (torch.tensor([grip, load, 0.0]) for grip, load in [(0.3, 1.0), (0.9, 1.0), (0.9, 2.0)])
    acceleration = system.yaw_rate(ice, state) * 20
    assert acceleration.max() < 0.3 * 9.81 < 1.02 * acceleration.max()
    assert (system.yaw_rate(full, state)[1:] < system.yaw_rate(empty, state)[1:]).all()


def test_the_lane_has_a_mirror_and_a_car_on_the_bend_it_follows_stays() -> None:
    left = Lane()
    right = Lane(bends=tuple((-size, length, at) for size, length, at in left.bends))
    turned = torch.tensor([-1.0, -1.0, -1.0, 1.0, 1.0])
    state, action = left.anywhere((40,), seeded()), torch.rand(40, 1, generator=seeded(1)) * 2 - 1
    context = left.draw(40, seeded(2))
    there = left.step(context, state, action)
    mirrored = right.step(context * torch.tensor([1.0, 1.0, -1.0]), state * turned, -action)
    torch.testing.assert_close(mirrored, there * turned)
    state = torch.tensor([0.0, 0.0, 0.0, 15.0, 37.5])  # quarter of the first wave: its top, and the second's value
    following = left.step(torch.tensor([0.9, 1.0, 0.0]), state, torch.zeros(1))
    curvature = 0.005 + 0.003 * math.sin(2 * math.pi * 17.5 / 67)
    assert float(following[1]) == pytest.approx(-0.1 * 15 * curvature, rel=1e-5)  # the road turns away
    windy = left.step(torch.tensor([0.9, 2.0, 1.0]), state, torch.zeros(1))
    assert float(windy[0]) == pytest.approx(0.1 * 1.0 / 2.0)


@pytest.mark.parametrize("system", SYSTEMS)
def test_targets_are_undone_by_advance_and_batches_are_as_single_systems(system: System) -> None:
    context = system.draw(6, seeded())
    steps = scattered(system, context, 5, seeded(1))
    again = system.advance(steps.state, steps.action, steps.targets(system))
    torch.testing.assert_close(again, steps.following, atol=1e-4, rtol=1e-5)
    alone = system.step(context[2], steps.state[2, 3], steps.action[2, 3])
    torch.testing.assert_close(alone, steps.following[2, 3])
    assert steps.inputs(system).shape == (6, 5, system.n_inputs)
    assert 0.05 < steps.targets(system).std() < 2 and 0.2 < steps.inputs(system).std() < 2
    assert (system.cost(steps.state, steps.action) >= 0).all()
    low, high = system.bounds(context)
    assert (low <= system.usual()).all() and (system.usual() <= high).all()


def test_contexts_change_by_name_and_refuse_strangers() -> None:
    system = Pendulum()
    assert system.changed(system.usual(), mass=2.0).tolist() == [2.0, 1.0, 0.0, 0.0]
    with pytest.raises(ValueError, match=r"Pendulum has no parameter \['weight'\]; it has \['mass', 'length'"):
        system.changed(system.usual(), weight=2.0)
    with pytest.raises(ValueError, match="dt must be above 0 s, got 0"):
        Pendulum(dt=0)


@pytest.mark.parametrize("system", SYSTEMS)
def test_tasks_hold_consecutive_noisy_steps_and_clean_queries(system: System) -> None:
    context = system.draw(200, seeded())
    clean = wander(system, context, 10, seeded(1))
    assert torch.equal(clean.state[:, 1:], clean.following[:, :-1])
    torch.testing.assert_close(true_dynamics(system, context)(clean.state, clean.action), clean.following)
    assert (clean.action.abs() <= 1).all()
    task, exact = (DynamicsTasks(system, noise).sample(200, 1, 5, seeded(3)) for noise in (0.1, 0.0))
    assert torch.equal(task.support_x, exact.support_x)
    spread = (task.support_y - exact.support_y).std()
    assert 0.08 < spread < 0.12
    with pytest.raises(ValueError, match="noise must be at least 0, got -1"):
        DynamicsTasks(system, -1.0)


def test_transitions_keep_the_last_and_grow_by_one() -> None:
    system = Pendulum()
    known = wander(system, system.draw(3, seeded()), 6, seeded(1))
    more = known.last(2).then(known.state[:, 0], known.action[:, 0], known.following[:, 0])
    assert len(more) == 3 and torch.equal(more.state[:, 2], known.state[:, 0])
    assert torch.equal(more.state[:, :2], known.state[:, 4:])
    with pytest.raises(ValueError, match=r"must share \[n_systems, n\]"):
        Transitions(known.state, known.action[:, 1:], known.following)


@pytest.mark.parametrize("system", SYSTEMS)
def test_least_squares_find_the_parameters_of_clean_steps(system: System) -> None:
    context = system.draw(20, seeded()).double()
    steps = scattered(system, context, 30, seeded(1))
    found = identify(system, Transitions(*doubles(steps.state, steps.action, steps.following)), n_rounds=30)
    low, high = system.bounds(context)
    assert ((found - context).abs() / (high - low)).max() < 1e-3


def test_least_squares_stay_in_their_ranges_and_leave_alone_what_is_not_free() -> None:
    system = Pendulum()
    steps = scattered(system, torch.tensor([[3.0, 1.0, 0.1, 0.5]]), 30, seeded())  # beyond the largest mass
    assert float(identify(system, steps)[0, 0]) == pytest.approx(2.0)
    found = identify(system, steps, free=["length"])
    assert found[0, [0, 2, 3]].tolist() == [1.0, 0.0, 0.0] and found[0, 1] != 1.0
    held = identify(system, steps, prior=1e9)
    torch.testing.assert_close(held, torch.tensor([[1.25, 0.9, 0.25, 0.5]]), atol=1e-4, rtol=0)
    for wrong, message in (({"free": ["weight"]}, "no parameter"), ({"prior": -1.0}, "prior must be at least 0")):
        with pytest.raises(ValueError, match=message):
            identify(system, steps, **wrong)
    broken = Transitions(steps.state, steps.action, steps.following.index_fill(1, torch.tensor([3]), torch.nan))
    with pytest.raises(ValueError, match="must be finite"):  # without that no step would help, and the start come back
        identify(system, broken)


def test_a_prior_helps_where_noisy_steps_are_few() -> None:
    system, context = Pendulum(), Pendulum().draw(200, seeded())
    known = wander(system, context, 3, seeded(1), noise=0.1)
    low, high = system.bounds(context)
    error = [((identify(system, known, prior=p) - context) / (high - low)).square().mean() for p in (0.0, 0.12)]
    assert error[1] < 0.7 * error[0]


@dataclass(frozen=True)
class Linear(System):
    """A mass on a line, moved by a force: state (position, speed), quadratic cost."""

    dt: float = 0.1
    parameters: ClassVar[dict[str, tuple[float, float, float]]] = {"force": (1.0, 1.0, 1.0)}
    n_states, n_inputs, n_targets = 2, 3, 1

    def start(self, n_systems: int, generator: torch.Generator | None = None) -> Tensor:
        return torch.rand(n_systems, 2, generator=generator) - 0.5

    def anywhere(self, shape: tuple[int, ...], generator: torch.Generator | None = None) -> Tensor:
        return torch.rand(*shape, 2, generator=generator) - 0.5

    def step(self, context: Tensor, state: Tensor, action: Tensor) -> Tensor:
        speed = state[..., 1] + self.dt * context[..., 0] * action[..., 0]
        return torch.stack([state[..., 0] + self.dt * state[..., 1], speed], -1)

    def cost(self, state: Tensor, action: Tensor) -> Tensor:
        return state.square().sum(-1) + 0.1 * action.square().sum(-1)

    def inputs(self, state: Tensor, action: Tensor) -> Tensor:
        return torch.cat([state, action], -1)

    def targets(self, state: Tensor, following: Tensor) -> Tensor:
        return (following[..., 1:] - state[..., 1:]) / self.dt

    def advance(self, state: Tensor, action: Tensor, targets: Tensor) -> Tensor:
        return torch.stack([state[..., 0] + self.dt * state[..., 1], state[..., 1] + self.dt * targets[..., 0]], -1)


def test_planning_with_the_true_model_comes_near_the_riccati_solution() -> None:
    a, b = np.array([[1.0, 0.1], [0.0, 1.0]]), np.array([[0.0], [0.1]])
    value = solve_discrete_are(a, b, np.eye(2), 0.1 * np.eye(1))
    gain = np.linalg.solve(0.1 + b.T @ value @ b, b.T @ value @ a)
    system, context = Linear(), torch.ones(10, 1)
    start, planner = system.start(10, seeded()), CEM(horizon=20, n_samples=200, n_elite=10, n_rounds=8)
    run = control(
        system, context, Told(), planner, wander(system, context, 1), n_steps=50, start=start, generator=seeded()
    )
    state, best = start.double().numpy(), np.zeros(10)
    for _ in range(50):
        action = np.clip(-state @ gain.T, -1, 1)
        state = state @ a.T + action @ b.T
        best += (state**2).sum(1) + 0.1 * (action**2).sum(1)
    found = run.costs.sum(1).numpy()
    assert (found > 0.99 * best).all() and found.sum() < 1.1 * best.sum()


def test_plans_refuse_wrong_sizes_and_add_up_their_costs() -> None:
    for wrong, message in (({"n_elite": 1}, "n_elite"), ({"spread": 0.0}, "spread"), ({"horizon": 0}, "horizon")):
        with pytest.raises(ValueError, match=message):
            CEM(**wrong)
    system, plans = Linear(), torch.rand(3, 4, 5, 1)
    state, context = system.start(3, seeded()), torch.ones(3, 1)
    dynamics = true_dynamics(system, context)
    assert CEM(5).plan(dynamics, system.cost, state, torch.zeros(3, 5, 1), seeded()).shape == (3, 5, 1)
    for start in (torch.zeros(3, 4, 1), torch.zeros(2, 5, 1), torch.zeros(3, 5)):
        with pytest.raises(ValueError, match=r"expected start as .* = \[3, 5, …\], got"):
            CEM(5).plan(dynamics, system.cost, state, start, seeded())
    found = CEM(5).costs(true_dynamics(system, context), system.cost, state, plans)
    total, here = 0.0, state[1]
    for action in plans[1, 2]:
        here = system.step(context[1], here, action)
        total += float(system.cost(here, action))
    assert float(found[1, 2]) == pytest.approx(total, rel=1e-5)


@pytest.mark.parametrize(
    "learner",
    [
        MAML(MLP([5, 16, 1]), inner_lr=0.1, n_inner_steps=2, loss_fn=MSE),
        NeuralProcess(torch.nn.Identity(), n_features=5),
        Shrinkage(MLP([5, 16, 8]), 1, n_inner_steps=1, loss_fn=MSE),
    ],
)
def test_a_learner_that_adapted_to_many_systems_is_a_model_of_each(learner: torch.nn.Module) -> None:
    system = Pendulum()
    known = wander(system, system.draw(4, seeded()), 10, seeded(1))
    dynamics = learned_dynamics(system, learner, adapt_all(learner, system, known))  # type: ignore[arg-type]
    steps = scattered(system, system.draw(4, seeded(2)), 7, seeded(3))
    together = dynamics(steps.state, steps.action)
    alone = learner.adapt(known.inputs(system)[2], known.targets(system)[2])  # type: ignore[operator]
    x = steps.inputs(system)[2]
    expected = system.advance(steps.state[2], steps.action[2], learner.predict(alone, x))  # type: ignore[operator]
    torch.testing.assert_close(together[2], expected.detach(), atol=1e-5, rtol=1e-5)
    assert not together.requires_grad


def test_a_run_uses_the_last_steps_sees_changes_and_feels_knocks() -> None:
    system, seen = Linear(), []

    class Watching(Told):
        def dynamics(self, system: System, context: Tensor, known: Transitions):  # type: ignore[no-untyped-def]
            seen.append((len(known), float(context[0, 0]), known.state[0, -1].tolist()))
            return super().dynamics(system, context, known)

    context = torch.ones(2, 1)
    known, knock = wander(system, context, 3, seeded()), torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    options = {"n_steps": 6, "n_window": 4, "changes": {3: 2 * context}, "start": torch.zeros(2, 2)}
    run = control(system, context, Watching(), CEM(3), known, knocks={4: knock}, generator=seeded(), **options)  # type: ignore[arg-type]
    assert [n for n, _, _ in seen] == [3, 4, 4, 4, 4, 4]
    assert [force for _, force, _ in seen] == [1, 1, 1, 2, 2, 2]
    assert seen[5][2][0] == pytest.approx(float(run.states[0, 4, 0]) + 1.0)  # the knocked state was the step's start
    calm = control(system, context, Watching(), CEM(3), known, generator=seeded(), **options)  # type: ignore[arg-type]
    assert torch.equal(run.states[1], calm.states[1]) and not torch.equal(run.states[0, 5], calm.states[0, 5])
    torch.testing.assert_close(run.costs, system.cost(run.states[:, 1:], run.actions))


def test_models_differ_in_what_they_know() -> None:
    system, context = Pendulum(), Pendulum().draw(5, seeded())
    known, steps = wander(system, context, 20, seeded(1)), scattered(system, context, 9, seeded(2))

    def error(model: Told | Usual | Identified | Learned) -> float:
        predicted = model.dynamics(system, context, known)(steps.state, steps.action)
        return float((predicted - steps.following).abs().max())

    assert error(Told()) == 0
    assert error(Usual()) > 0.1
    assert error(Identified()) < 0.01
    learner = MAML(MLP([5, 16, 1]), inner_lr=0.1, loss_fn=MSE)
    shared = [
        Learned(learner, 0).dynamics(system, context, k)(steps.state, steps.action) for k in (known, known.last(1))
    ]
    assert torch.equal(*shared)
    assert error(Learned(learner)) > 0.1


def test_the_recorded_scenes_stay_in_the_ranges_of_training() -> None:
    assert standing()["dynamics_lane"].methods["MAML"].episodes["n_shot"] == record.N_WINDOW
    for scene in record.SCENES.values():
        low, high = scene.system.bounds(torch.zeros(()))
        first = scene.at_first(scene.system.draw(500, seeded()))
        later = first if scene.fails is None else scene.fails(first)
        for context in (first, later):
            assert (context >= low - 1e-5).all() and (context <= high + 1e-5).all()
    context = record.strong(CartPole().draw(500, seeded()))
    assert 10 <= context[:, 3].min() < 10.1 and 14.9 < context[:, 3].max() <= 15
    context = record.dry(Lane().draw(500, seeded()))
    assert 0.9 <= context[:, 0].min() < 0.901 and 0.999 < context[:, 0].max() <= 1


def test_the_record_is_of_these_scenes_and_costs_add_up() -> None:
    found = analysis("control")
    rows = {(row["scene"], row["method"]): row for row in found["rows"]}
    assert {scene for scene, _ in rows} <= set(record.SCENES)
    assert {method for _, method in rows} == {*record.KNOWING, *record.LEARNED}
    for (scene, _), row in rows.items():
        for name, (begin, end) in record.SEGMENTS.items():
            assert row["cost"][name][0] == pytest.approx(np.mean(row["curve"][begin:end]), rel=1e-3)
            if row["more than told"]:
                more = row["cost"][name][0] - rows[scene, "told"]["cost"][name][0]
                assert row["more than told"][name][0] == pytest.approx(more, abs=2e-3 * row["cost"][name][0] + 1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(("method", "model"), [("told", Told()), ("MAML", None)])
def test_a_recorded_run_is_found_again(method: str, model: Told | None) -> None:
    row = next(r for r in analysis("control")["rows"] if (r["scene"], r["method"]) == (record.WET, method))
    run = record.driven(record.SCENES[record.WET], model or Learned(record.trained("dynamics_lane", "MAML", 0), 5))
    assert run.costs[:, :40].mean() == pytest.approx(row["cost"]["before"][0], rel=0.1)
    assert run.costs[:, 50:].mean() == pytest.approx(row["cost"]["later"][0], rel=0.2)
