"""What the scripts of earlier records use; it goes when the chapters read studies."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from metalearn._files import write_whole
from metalearn.evaluation import Score
from metalearn.experiments._store import environment


def rows(run: dict[str, Any], **wanted: Any) -> list[dict[str, Any]]:
    """Return the results of a recorded run whose fields have the wanted values, in the order of the run.

    Raises:
        ValueError: If there are none; the message shows the fields of a result.

    Example:
        >>> from metalearn import experiments
        >>> run = experiments.load("sinusoid_maml")
        >>> [row["seed"] for row in experiments.rows(run, method="maml", train_shot=10, n_shot=5, n_steps=1)]
        [0, 1, 2]
    """
    found = [row for row in run["results"] if wanted.items() <= row.items()]
    if not found:
        example = {key: value for key, value in run["results"][0].items() if key not in ("per_task", "curvature")}
        raise ValueError(f"no result with {wanted}; a result looks like {example}")
    return found


def save(path: Path, content: dict[str, Any]) -> None:
    """Write a recorded run atomically, one line for each result, so that a change is readable.

    Args:
        path: JSON file to write; its folder is made where it is missing.
        content: What is recorded, with the list of results under ``"results"``.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from metalearn.experiments import save
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "run.json")
        ...     save(path, {"name": "run", "results": [{"seed": 0}, {"seed": 1}]})
        ...     path.read_text().count("seed")
        2
    """
    results = content["results"]
    text = json.dumps({**content, "results": []}, indent=1, ensure_ascii=False)
    lines = ",\n".join(f"  {json.dumps(row, separators=(',', ':'))}" for row in results)
    text = text.replace('"results": []', f'"results": [\n{lines}\n ]')
    _write_text(path, f"{text}\n")


def record(
    name: str,
    settings: dict[str, Any],
    plan: Sequence[tuple[Any, ...]],
    run: Callable[..., list[dict[str, Any]]],
    *,
    published: dict[str, Any] | None = None,
) -> None:
    """Do the runs of a plan one after another, and write the results anew after each; the command line of a script.

    A run may be cut short (``--steps``) and continued in a later sitting from its checkpoint. Each run that has as
    many steps as asked for is kept in the folder and not done again.

    Args:
        name: Of the results' file and of the script in this folder.
        settings: All that the results depend on, with ``"n_steps"``, the length of a run that is not cut short.
        plan: Arguments of each run; they name its file, too.
        run: ``run(*arguments, folder, n_steps) -> results``, each result with ``"trained_steps"`` and ``"minutes"``.
        published: The paper's numbers, to be stored beside ours.

    Example:
        >>> from metalearn.experiments import record
        >>> record("my_run", {"n_steps": 100}, [("maml", 0), ("maml", 1)], run)  # doctest: +SKIP
        my_run: 1 of 2 runs
        my_run: 2 of 2 runs
    """
    parser = argparse.ArgumentParser(prog=f"python -m metalearn.experiments.{name}")
    parser.add_argument("--folder", type=Path, default=Path("runs") / name, help="checkpoints and parts")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / f"{name}.json")
    parser.add_argument("--steps", type=int, default=settings["n_steps"], help="cut each run short after so many")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    head = {"name": name, "script": f"metalearn/experiments/{name}.py", "settings": settings}
    head |= {"published": published} if published else {}
    chosen.folder.mkdir(parents=True, exist_ok=True)
    where, results = environment(), []
    for n_done, arguments in enumerate(plan, start=1):
        part = chosen.folder / f"{'_'.join(map(str, arguments))}_{chosen.steps}.json"
        if not part.exists():
            _write_text(part, json.dumps(run(*arguments, chosen.folder, chosen.steps)))
        rows = json.loads(part.read_text(encoding="utf-8"))
        results += [{"run": n_done, **row} for row in rows]
        minutes = sum({row["run"]: row["minutes"] for row in results}.values())
        state = {"runs_done": n_done, "runs_planned": len(plan), "minutes": round(minutes, 1), **where}
        save(chosen.output, {**head, **state, "results": results})
        print(f"{name}: {n_done} of {len(plan)} runs", flush=True)


def summary(score: Score, *, diverged_above: float = math.inf) -> dict[str, Any]:
    """Return what is recorded of a score; the values of single tasks go along, so that all else can be re-derived.

    Args:
        score: A score; values are kept to four digits, values that are not finite as ``None``.
        diverged_above: A task counts as diverged if its value is above this or not finite; by default only the latter.

    Example:
        >>> import torch
        >>> from metalearn import Score
        >>> from metalearn.experiments import summary
        >>> summary(Score.of(torch.tensor([0.2, 0.4, 90.0])), diverged_above=25.0)["diverged"]
        0.3333333333333333
    """
    values = [float(f"{value:.4g}") for value in score.per_task.double().tolist()]
    finite = score.per_task.isfinite()
    diverged = ~finite | (score.per_task > diverged_above)
    return {
        "mean": _number(score.mean),
        "ci95": _number(score.ci95),
        "median": _number(score.median),
        "diverged": float(diverged.double().mean()),
        "mean_of_rest": _number(float(score.per_task[~diverged].double().mean())),
        "n_tasks": score.n_tasks,
        "per_task": [value if ok else None for value, ok in zip(values, finite.tolist(), strict=True)],
    }


def _write_text(path: Path, text: str) -> None:
    write_whole(path, lambda file: file.write(text.encode()))


def _number(value: float) -> float | None:
    return value if torch.isfinite(torch.tensor(value)) else None
