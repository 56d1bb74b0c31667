"""Control of systems whose physics differ, and change: what models are worth to a controller, and after a failure.

python -m metalearn.experiments.control           measure with the weights of seed 0, and write the record
python -m metalearn.experiments.control 0 1 2     with those of more seeds, which the studies must have trained here
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from metalearn import Score, pretrained
from metalearn.control import (
    CEM,
    CartPole,
    Identified,
    Lane,
    Learned,
    Model,
    Pendulum,
    Run,
    System,
    Told,
    Usual,
    wander,
)
from metalearn.control import control as run_control
from metalearn.experiments import standing
from metalearn.experiments._run import _Part, folder_of
from metalearn.experiments._store import environment, write_analysis
from metalearn.learners import Learner
from metalearn.runtime import stream

N_SYSTEMS, N_STEPS, N_WINDOW, NOISE, FAILS = 60, 80, 10, 0.1, 40
N_SHOWN = 3  # cars whose actions are kept, with the learners of the first seed
PRIOR = 0.12  # noise² over the variance of a parameter that is uniform in its range, in units of the range
SEGMENTS = {"before": (0, FAILS), "just after": (FAILS, FAILS + N_WINDOW), "later": (FAILS + N_WINDOW, N_STEPS)}
LEARNED = {  # by the label: the method of the study, and the inner steps in the run
    "joint training": ("joint training", 0),
    "fine-tuned": ("joint training", 5),
    "MAML": ("MAML", 5),
    "NeuralProcess": ("NeuralProcess", None),
    "Shrinkage": ("Shrinkage", None),
}
KNOWING: dict[str, Model] = {"told": Told(), "usual": Usual(), "least squares": Identified(prior=PRIOR)}


@dataclass(frozen=True)
class Scene:
    """What happens to systems of a kind: which they are at first, and what becomes of them at step 40."""

    study: str
    system: System
    planner: CEM
    at_first: Callable[[Tensor], Tensor] = lambda context: context
    fails: Callable[[Tensor], Tensor] | None = None
    knock: tuple[int, float] | None = None  # the state's entry and the size of what is added each 20 steps


def strong(context: Tensor) -> Tensor:
    """Return cart-poles whose motors are of the stronger ones, 10 to 15 N."""
    return torch.cat([context[:, :3], 10 + 5 * (context[:, 3:4] - 3) / 12, context[:, 4:]], 1)


def dry(context: Tensor) -> Tensor:
    """Return cars on a dry road: grip from 0.9 to 1."""
    return torch.cat([0.9 + (context[:, :1] - 0.3) / 7, context[:, 1:]], 1)


def wet(context: Tensor) -> Tensor:
    """Return the cars on a slippery road, with the wind from the other side."""
    return context * context.new_tensor([0.4, 1.0, -1.0])


CART_POLE, LANE = CartPole(dt=0.05), Lane()
SHORT, WET = CEM(12, 48, 6, 2), "lane, then wet and windy"
SCENES = {
    "lane": Scene("dynamics_lane", LANE, SHORT),
    WET: Scene("dynamics_lane", LANE, SHORT, dry, wet),
    "cart-pole": Scene("dynamics_cart_pole", CART_POLE, CEM(15, 48, 6, 2), knock=(3, 0.5)),
    "cart-pole, then a weak motor": Scene(
        "dynamics_cart_pole", CART_POLE, CEM(15, 48, 6, 2), strong, lambda c: CART_POLE.changed(c, force=0.3), (3, 0.5)
    ),
    "pendulum": Scene("dynamics_pendulum", Pendulum(), CEM(20, 48, 6, 2)),
}


def trained(study: str, label: str, seed: int) -> Learner:
    """Return a learner of a study: of seed 0 as it ships, of others as it was trained on this machine."""
    found = standing()[study]
    if seed == 0:
        return pretrained(
            label.lower().replace(" ", "_").replace("neuralp", "neural_p"), study, n_way=None, n_shot=None
        )
    method = found.methods[label]
    return _Part(found, method, seed, folder_of(found, label, seed), torch.device("cpu"), False).learner(method)


def driven(scene: Scene, model: Model) -> Run:
    """Run a scene with a model; systems, starts, knocks and noise are the same for all models."""
    generator, system = stream(0, "control"), scene.system
    context = scene.at_first(system.draw(N_SYSTEMS, generator))
    known = wander(system, context, N_WINDOW, generator, noise=NOISE)
    start, knocks = system.start(N_SYSTEMS, generator), {}
    if scene.knock is not None:
        entry, size = scene.knock
        for step in range(20, N_STEPS, 20):
            knocks[step] = torch.zeros_like(start)
            knocks[step][:, entry] = size * torch.randn(N_SYSTEMS, generator=generator)
    changes = {} if scene.fails is None else {FAILS: scene.fails(context)}
    options: dict[str, Any] = {"n_steps": N_STEPS, "n_window": N_WINDOW, "noise": NOISE, "start": start}
    options |= {"knocks": knocks, "changes": changes, "generator": generator}
    return run_control(system, context, model, scene.planner, known, **options)


def row(scene: Scene, runs: list[Run], best: Tensor | None) -> tuple[dict[str, Any], Tensor]:
    """Return what is recorded of a method's runs, one for each seed, and its costs ``[n_systems, n_steps]``."""
    costs = torch.stack([run.costs for run in runs]).mean(0)
    found: dict[str, Any] = {"cost": {}, "more than told": {}, "curve": costs.mean(0).tolist()}
    for name, (begin, end) in SEGMENTS.items():
        mine = costs[:, begin:end].mean(1)
        found["cost"][name] = interval(mine)
        if best is not None:
            found["more than told"][name] = interval(mine - best[:, begin:end].mean(1))
    states = torch.stack([run.states for run in runs])
    if isinstance(scene.system, CartPole):
        found["fallen"] = {
            name: scene.system.fallen(states[:, :, end]).double().mean().item() for name, (_, end) in SEGMENTS.items()
        }
    if isinstance(scene.system, Lane):
        offset = states[..., 0].abs()
        found["offset"], found["starts"] = offset.mean((0, 1)).tolist(), states[0, :N_SHOWN, 0].tolist()
        found["actions"] = runs[0].actions[:N_SHOWN, :, 0].tolist()
        found["off the road"] = (offset > 1.75).any(2).double().mean().item()
    return found, costs


def interval(values: Tensor) -> list[float]:
    """Return mean and 95 % half-width over systems."""
    score = Score.of(values)
    return [score.mean, score.ci95]


def main(seeds: tuple[int, ...]) -> None:
    """Run all scenes with all models, and write the record."""
    begun, rows = time.process_time(), []
    for name, scene in SCENES.items():
        best = None
        models = {label: [model] for label, model in KNOWING.items()}
        for label, (method, n_steps) in LEARNED.items():
            models[label] = [Learned(trained(scene.study, method, seed), n_steps) for seed in seeds]
        for label, each in models.items():
            found, costs = row(scene, [driven(scene, model) for model in each], best)
            best = costs if best is None else best
            rows.append({"scene": name, "method": label, **found})
            print(name, label, found["cost"], f"{time.process_time() - begun:.0f} s", flush=True)
    cars = SCENES[WET].at_first(LANE.draw(N_SYSTEMS, stream(0, "control")))[:N_SHOWN]
    content = {
        **{"cars": cars.tolist(), "cars later": wet(cars).tolist()},
        **{"name": "control", "seeds": list(seeds), "n_systems": N_SYSTEMS, "n_steps": N_STEPS, "n_window": N_WINDOW},
        **{
            "noise": NOISE,
            "fails_at": FAILS,
            "planners": {name: repr(scene.planner) for name, scene in SCENES.items()},
        },
        **{"cpu_seconds": round(time.process_time() - begun), **environment(), "rows": rows},
    }
    write_analysis(content)


if __name__ == "__main__":
    main(tuple(int(seed) for seed in sys.argv[1:]) or (0,))
