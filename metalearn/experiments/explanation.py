"""Why two trained learners of glyphs answer as they do: changes, influence and saliency, with their checks.

python -m metalearn.experiments.explanation     measure again and write the record, which a chapter shows
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from metalearn import Episode, Score, pretrained, sample_episodes
from metalearn.data import glyphs
from metalearn.experiments._store import environment, write_analysis
from metalearn.explain import (
    cka,
    deletion_test,
    edges,
    gradient,
    gradient_influence,
    gradient_times_input,
    integrated_gradients,
    layer_changes,
    leave_one_out,
    magnitude,
    occlusion,
    randomisation_test,
    randomised,
    rank_agreement,
    representations,
    similarity_after,
    transplanted,
)
from metalearn.learners import Learner
from metalearn.runtime import stream

DRAWS = (0, 1, 2)  # of untrained networks
N_CHANGES, N_INFLUENCE, N_SALIENCY = 60, {"Prototypical": 60, "MAML": 20}, 30
MAPS = {
    **{"gradient": gradient, "gradient x input": gradient_times_input, "integrated gradients": integrated_gradients},
    **{"occlusion": occlusion, "size of pixels": magnitude, "edges": edges},
}


def tasks(n_tasks: int, n_shot: int, n_query: int, name: str) -> Episode:
    """Return 5-way tasks of the test classes."""
    return sample_episodes(
        glyphs().test, n_tasks, n_way=5, n_shot=n_shot, n_query=n_query, generator=stream(0, f"explanation {name}")
    )


def pair(score: Score) -> list[float]:
    """Return mean and half-width of the interval."""
    return [score.mean, score.ci95]


def changes(learner: Learner) -> dict[str, Any]:
    """Return what MAML's adaptation changes, layer by layer."""
    drawn = tasks(N_CHANGES, 1, 15, "changes")
    found = layer_changes(learner, drawn)
    rows: dict[str, Any] = {"layers": found.layers, "dimensions": found.dimensions.tolist()}
    for of in ("size", "agreement"):
        rows[of] = [pair(found.score(layer, of)) for layer in found.layers]
    rows["cka"] = {layer: pair(score) for layer, score in similarity_after(learner, drawn).items()}
    rows["cka of shuffled inputs"] = shuffled(learner, drawn)
    rows["put back"] = {name: pair(score) for name, score in transplanted(learner, drawn).items()}
    rows["alone"] = {name: pair(score) for name, score in transplanted(learner, drawn, keep=True).items()}
    return rows


def shuffled(learner: Learner, drawn: Episode) -> dict[str, Any]:
    """Return CKA of each layer with itself on the same queries in another order: what chance gives."""
    found: dict[str, list[Tensor]] = {}
    for i in range(len(drawn)):
        task = drawn[i]
        with torch.no_grad():
            outputs = representations(learner, learner.adapt(task.support_x, task.support_y), task.query_x)
        order = torch.randperm(len(task.query_y), generator=stream(i, "shuffled"))
        for layer, output in outputs.items():
            found.setdefault(layer, []).append(cka(output, output[order]))
    return {layer: pair(Score.of(torch.stack(values))) for layer, values in found.items()}


def counted(function: Callable[[], Any]) -> int:
    """Return the operations of a function, without the count of memory, which takes long here."""
    with FlopCounterMode(display=False) as counter:
        function()
    return int(counter.get_total_flops())


def influence(label: str, learner: Learner) -> dict[str, Any]:
    """Return how well gradients rank support examples like leaving each out, and what both cost."""
    drawn = tasks(N_INFLUENCE[label], 5, 5, "influence")
    each, mean, helped = [], [], []
    for task in (drawn[i] for i in range(len(drawn))):
        exact, cheap = leave_one_out(learner, task), gradient_influence(learner, task)
        each.append(rank_agreement(exact, cheap).nanmean())
        mean.append(rank_agreement(exact.mean(0), cheap.mean(0)))
        own = task.query_y.unsqueeze(1) == task.support_y  # [n_query, n_support]
        helped.append(torch.stack([(exact[own] > 0).double().mean(), (exact[~own] > 0).double().mean()]))
    own_helped, other_helped = (Score.of(column) for column in torch.stack(helped).unbind(1))
    task = drawn[0]
    return {
        **{"n_tasks": len(drawn), "for each query": pair(Score.of(torch.stack(each)))},
        **{"for the mean of the queries": pair(Score.of(torch.stack(mean)))},
        **{"per task, each query": torch.stack(each).tolist(), "per task, mean": torch.stack(mean).tolist()},
        **{"own class helps": pair(own_helped), "other class helps": pair(other_helped)},
        "operations": {
            "leaving out": counted(lambda: leave_one_out(learner, task)),
            "gradient, each query": counted(lambda: gradient_influence(learner, task)),
            "gradient, mean": counted(lambda: gradient_influence(learner, task, mean=True)),
        },
    }


def saliency(learner: Learner, label: str) -> dict[str, Any]:
    """Return what deletion, insertion and randomisation say of each map."""
    drawn, rows = tasks(N_SALIENCY, 1, 2, "saliency"), dict[str, Any]()
    for name, explain in MAPS.items():
        if label == "MAML" and name == "occlusion":  # the dearest; one learner will do
            continue
        options: dict[str, Any] = {"explain": explain, "episodes": drawn, "seed": 0}
        hard = options | {"against": ("random", "centre", "size")}
        row: dict[str, Any] = {"deletion": test(learner, **hard)}
        if label == "Prototypical":
            row["insertion"] = test(learner, insertion=True, **options)
            row["deletion of all pixels"] = test(learner, among="all", **options)
        sanity = randomisation_test(explain, learner, drawn)
        row["randomisation"] = {layer: pair(score) for layer, score in sanity.similarity.items()}
        row["randomisation passes"] = sanity.passes
        untrained = [randomised(learner, episodes=drawn, generator=stream(k, "untrained")) for k in DRAWS]
        row["untrained, judged by the trained"] = [test(one, judge=learner, **hard) for one in untrained]
        row["untrained, judged by itself"] = test(untrained[0], **options)
        rows[name] = row
        print(label, name, round(time.process_time()), flush=True)
    return rows


def test(learner: Learner, **options: Any) -> dict[str, Any]:
    """Return the result of a deletion test as plain data."""
    found = deletion_test(learner=learner, **options)
    curves = {order: [pair(Score.of(column)) for column in curve.unbind(1)] for order, curve in found.curves.items()}
    gains = {order: pair(score) for order, score in found.gains.items()}
    return {"curves": curves, "gains": gains, "passes": found.passes}


def main() -> None:
    """Measure everything, and write the record."""
    torch.set_num_threads(1)
    begun = time.process_time()
    learners = {label: pretrained(label.lower(), "glyphs") for label in ("Prototypical", "MAML")}
    parts: dict[str, Any] = {"changes": changes(learners["MAML"])}
    parts["influence"] = {label: influence(label, learner) for label, learner in learners.items()}
    print("influence", round(time.process_time() - begun), flush=True)
    parts["saliency"] = {label: saliency(learner, label) for label, learner in learners.items()}
    content = {
        **{"name": "explanation", "seeds": [0], "untrained_draws": list(DRAWS), "n_way": 5},
        **{"n_tasks": {"changes": N_CHANGES, "influence": N_INFLUENCE, "saliency": N_SALIENCY}},
        **{"n_shot": {"changes": 1, "influence": 5, "saliency": 1}},
        **{"n_query": {"changes": 15, "influence": 5, "saliency": 2}},
        **{"cpu_seconds": round(time.process_time() - begun), **environment(), **parts},
    }
    write_analysis(content)


if __name__ == "__main__":
    main()
