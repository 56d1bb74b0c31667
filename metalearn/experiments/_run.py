"""How a part of a study is made: train one learner in segments, test it on the way and at the end, gather."""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load

from metalearn._files import write_whole
from metalearn.distributed import Workers
from metalearn.episodes import Episode
from metalearn.evaluation import Score, evaluate
from metalearn.evolution import evolution_backward
from metalearn.experiments import _store
from metalearn.experiments._open import auroc
from metalearn.experiments._record import training_text
from metalearn.experiments._sources import clustered, n_examples, sampler, some_classes, source
from metalearn.experiments.study import TASKS_PER_DRAW, Fit, Method, Study
from metalearn.learners import Learner
from metalearn.learners._encoder import EncoderLearner
from metalearn.learners._settings import from_settings, known_learners
from metalearn.networks import norm_policies
from metalearn.pools import Pool
from metalearn.ranking import LOWER_IS_BETTER, metric
from metalearn.runtime import pick_device, stream
from metalearn.training import History, cosine, fit, read_checkpoint

N_VALIDATION_TASKS = 200
NO_SIZES = ("n_tasks", "diverged_above", "data", "metric")  # of a test: what its sampler is not told


def run(
    study: Study,
    label: str,
    seed: int,
    *,
    seconds: float | None = None,
    device: str | None = None,
    home: Path = _store.HERE,
    progress: bool = True,
) -> str:
    """Make one part of a study, or go on making it, and return in a line what was done.

    Args:
        study: The study.
        label: Of the method.
        seed: Of the initial weights and of the training tasks.
        seconds: Stop after so many processor seconds of training in all, where the method has more; the part is then
            recorded as cut short and goes on the next time.
        device: Where to train and test; by default a GPU where there is one.
        home: Folder that gets the results and the weights.
        progress: Whether to show progress bars.

    Raises:
        ValueError: If the study has no such method.
        KeyboardInterrupt: After Ctrl-C; the state is saved.
        OSError: If a file cannot be written; earlier ones are whole.

    Example:
        >>> from metalearn import experiments
        >>> experiments.run(experiments.standing()["glyphs"], "MAML", seed=1)  # doctest: +SKIP
        'glyphs, MAML, seed 1: 5,123 of 100,000 steps, the budget of time (600 s)'
    """
    label = study.label(label)
    if is_done(study, label, seed, home):
        return f"{_name(study, label, seed)}: done before"
    made = make(study, label, seed, seconds=seconds, device=device, progress=progress)
    return made if isinstance(made, str) else keep(study, *made, home)


def make(
    study: Study, label: str, seed: int, *, seconds: float | None, device: str | None, progress: bool
) -> tuple[dict[str, Any], bytes | None] | str:
    """Train and test one part; return its record and its file of weights, or who else is at it."""
    method, trained = study.methods[label], study.methods[label].weights or label
    folder = folder_of(study, trained, seed)
    with _store.lock(folder / "lock") as mine:
        if not mine:
            holder = (folder / "lock").read_text()
            return f"{_name(study, label, seed)}: left to another runner, process {holder}, which is at it"
        part = _Part(study, study.methods[trained], seed, folder, pick_device(device), progress)
        training = part.train(seconds)
        learner = part.learner(method)
        rows = part.snapshots() if trained == label else []
        rows += part.test(learner, method)
    shipped = training["n_steps"] and study.ships(trained)
    record = {
        **{"method": label, "seed": seed, "digest": study.digest(label, seed), "trained_as": trained},
        **{"training_digest": study.training_digest(label, seed), "values": study.key(label, seed)},
        "weights": f"{study.name}/{study.key(trained, seed)}.safetensors" if shipped else None,
        **training,
        **_store.environment(),
        "rows": rows,
    }
    own_weights = record["weights"] is not None and trained == label
    return record, part.weights_file(record) if own_weights else None


def keep(study: Study, record: dict[str, Any], weights: bytes | None, home: Path = _store.HERE) -> str:
    """Add a part to the files of its study, and return in a line what it is."""
    _store.gather(study, record, weights, home)
    seconds = f"({record['cpu_seconds']:.0f} s)"
    return f"{_name(study, record['method'], record['seed'])}: {training_text(record)} {seconds}"


def _name(study: Study, label: str, seed: int) -> str:
    return f"{study.name}, {label}, seed {seed}"


def folder_of(study: Study, label: str, seed: int) -> Path:
    """Return the folder of what was trained as a method of a study."""
    return _store.runs_folder() / study.name / f"{study.key(label, seed)}-{study.training_digest(label, seed)[:12]}"


def is_done(study: Study, label: str, seed: int, home: Path = _store.HERE) -> bool:
    """Return whether a part was made with these settings and needs no more training."""
    parts = (_store.read_record(study.name, home) or {}).get("parts", [])
    digest = study.digest(label, seed)
    mine = [part for part in parts if part["method"] == label]  # others may be alike, and then have the same digest
    return any(part["digest"] == digest and part["stopped"] != "cut short" for part in mine)


@dataclass
class _Part:
    """One learner of a study while it is trained and tested; the folder holds all that is needed to go on."""

    study: Study
    method: Method
    seed: int
    folder: Path
    device: torch.device
    progress: bool
    log: Any = None  # with step(loss) and validation(score), which return what they are given
    workers: Workers | None = None

    def train(self, seconds: float | None) -> dict[str, Any]:
        """Train to the end, or until ``seconds``, with a test at each snapshot; return what is recorded of it."""
        options = self.method.training
        if self.finished():
            return dict(self.state()["training"], stopped=self.state()["stopped"])
        torch.manual_seed(self.seed)
        learner = from_settings(self.method.settings).to(self.device)
        if options.channels_last:
            learner.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        limit = options.max_seconds if seconds is None else min(seconds, options.max_seconds)
        history, stopped = self._segments(learner, limit)
        if stopped == "seconds" and limit < options.max_seconds:
            stopped = "cut short"
        knots = [[0, 0.0], *self.state().get("knots", []), [history.n_steps, history.cpu_seconds]]
        steps, times = zip(*knots, strict=True)
        training = {
            "stopped": stopped,
            "n_steps": history.n_steps,
            "of": options.n_steps,
            "examples": history.n_steps * n_examples(self.method.episodes) if history.n_steps else 0,
            "cpu_seconds": round(history.cpu_seconds, 1),
            "seconds": round(history.seconds, 1),
            "best_step": history.best_step,
            "validation": [
                [step, _digits(mean), _digits(ci95), round(float(np.interp(step, steps, times)), 1)]
                for step, mean, ci95 in history.validation
            ],
        }
        content = _store.pack_weights(learner.state_dict(), {})
        write_whole(self.folder / "weights.safetensors", lambda file: file.write(content))
        self.keep(training=training, stopped=stopped)
        return training

    def finished(self) -> bool:
        """Return whether the training ended before, and its weights are there."""
        ended = self.state().get("stopped", "cut short") != "cut short"
        return ended and (self.folder / "weights.safetensors").exists()

    def _segments(self, learner: Learner, limit: float) -> tuple[History, str]:
        """Fit as far as each snapshot, test, and go on to the limit; return the history and what ended it."""
        if self.method.training.n_steps == 0:
            if self.method.episodes:
                self._measure(learner)
            return History(), "untrained"
        begun = time.process_time()
        try:
            for budget in [*(second for second in self.study.snapshots if second < limit), limit]:
                history = self._fit(learner, budget)
                if history.interrupted:
                    raise KeyboardInterrupt
                if history.stopped != "seconds" or budget == limit:
                    return history, history.stopped or "steps"
                self._snapshot(learner, budget, history)
        except FloatingPointError as error:
            return self._diverged(learner, error, time.process_time() - begun)
        raise AssertionError("the last segment returns")

    def _fit(self, learner: Learner, budget: float) -> History:
        options, test = self.method.training, self.study.validation(self.method)
        validate = self._tasks(self._split("validation"), _without_groups(test))
        score = _comparable(learner, test)
        learner.how, learner.chunk_size = options.how, options.chunk_size  # type: ignore[assignment]
        noted = self.log.validation if self.log else lambda score: score
        return fit(
            learner,
            self._training_sampler(),
            options.n_steps,
            optimizer=_optimizer(learner, options),
            schedule=cosine(options.n_steps) if options.schedule == "cosine" else None,
            max_grad_norm=options.max_grad_norm,
            validate=lambda: noted(
                score(evaluate(learner, validate, N_VALIDATION_TASKS, stream="validation", seed=0, **_measure(test)))
            ),
            after_backward=self.log.step if self.log else None,
            workers=self.workers,
            validate_every=options.validate_every,
            patience=options.patience,
            max_seconds=budget,
            checkpoint=self.folder / "checkpoint.pt",
            checkpoint_every=options.validate_every,
            seed=self.seed,
            progress=self.progress,
            compile=options.compile,
            precision=options.precision,  # type: ignore[arg-type]
            backward=None if options.evolution is None else evolution_backward(learner, **options.evolution),
        )

    def _diverged(self, learner: Learner, error: FloatingPointError, seconds: float) -> tuple[History, str]:
        """Return the history of a run that diverged; the learner gets the weights that scored best before."""
        found = re.search(r"at step (\d+)", str(error))
        if found is None:
            raise error
        n_steps, path = int(found[1]), self.folder / "checkpoint.pt"
        if not path.exists():
            return History([math.nan] * n_steps, cpu_seconds=seconds, seconds=seconds), "diverged"
        checkpoint = read_checkpoint(path)
        history = History(**checkpoint["history"])
        history.losses += [math.nan] * (n_steps - history.n_steps)
        if checkpoint["best"] is not None:
            learner.load_state_dict(checkpoint["best"])
        return history, "diverged"

    def _snapshot(self, learner: Learner, budget: float, history: History) -> None:
        state = self.state()
        if any(row["at"] == budget for row in state.get("snapshots", [])):
            return
        rows = self.test(learner, self.method, list(self.study.tests)[:1], at=budget, trained_steps=history.n_steps)
        knots = [*state.get("knots", []), [history.n_steps, history.cpu_seconds]]
        self.keep(snapshots=state.get("snapshots", []) + rows, knots=knots)

    def learner(self, method: Method) -> Learner:
        """Return the trained learner, or another method with its weights, ready to be tested."""
        torch.manual_seed(self.seed)
        learner = from_settings(method.settings)
        learner.load_state_dict(read_weights(self.folder / "weights.safetensors"))
        if method.training.channels_last:
            learner.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        learner.how = method.training.how  # type: ignore[assignment]
        return learner.to(self.device).eval()

    def test(
        self, learner: Learner, method: Method, names: list[str] | None = None, **also: Any
    ) -> list[dict[str, Any]]:
        """Return a row for each test, and for each number of inner steps, with the values of all tasks."""
        rows, pools = [], {}
        for name, test in self.study.tests.items():
            if not method.fits(test) or name not in (names or self.study.tests):
                continue
            data = test.get("data") or method.data or self.study.data
            if data not in pools:
                pools[data] = encoded(learner, _split(data, "test"))
            tested, pool = pools[data]
            chosen = {key: self._tune(learner, method, test, key) for key in method.test.get("tune", {})}
            for key, value in chosen.items():
                setattr(tested, key, value)
            steps = method.test.get("n_steps")
            tasks, n_tasks = self._tasks(pool, test), test["n_tasks"]
            scores = evaluate(tested, tasks, n_tasks, steps, stream="test", seed=0, **_measure(test))
            kind = {"returns": True} if learner.plays else _direction(test)
            for k, score in scores.items() if isinstance(scores, dict) else [(None, scores)]:
                rows.append({"test": name, "n_steps": k, **also, **chosen, **kind, **summary(score, test)})
        return rows

    def _tune(self, learner: Learner, method: Method, test: Mapping[str, Any], key: str) -> Any:
        """Return the value of a setting that is best on validation tasks, after the largest number of inner steps."""
        tasks, steps = self._tasks(self._split("validation"), _without_groups(test)), max(method.test["n_steps"])
        best, found, comparable = None, None, _comparable(learner, test)
        for value in method.test["tune"][key]:
            setattr(learner, key, value)
            score = comparable(
                evaluate(learner, tasks, N_VALIDATION_TASKS, steps, stream="validation", seed=0, **_measure(test))
            )
            if score.better_than(best):
                best, found = score, value
        return found

    def _tasks(self, pool: Any, test: Mapping[str, Any]) -> Callable[[torch.Generator], Episode]:
        sizes = {key: value for key, value in test.items() if key not in NO_SIZES}
        return sampler(pool, n_tasks=TASKS_PER_DRAW, **sizes)

    def _training_sampler(self) -> Callable[[torch.Generator], Any]:
        pool, sizes = self._split("train"), dict(self.method.episodes)
        if "n_labelled" in sizes:
            pool = some_classes(pool, sizes.pop("n_labelled"), stream(self.seed, "classes"))
        if sizes.get("kind") == "clustered":
            features = self._features(pool, sizes.pop("of", None))
            del sizes["kind"]
            return clustered(pool, features, seed=self.seed, **sizes)
        return sampler(pool.to(self.device) if isinstance(pool, Pool) else pool, **sizes)

    def _features(self, pool: Pool, of: str | None) -> torch.Tensor:
        """Return what images are clustered by: their pixels, or the features of a method trained with this seed."""
        if of is None:
            pixels: torch.Tensor = pool.encoded(torch.nn.Flatten()).x
            return pixels
        folder = folder_of(self.study, of, self.seed)
        if not (folder / "weights.safetensors").exists():
            raise ValueError(f"train {of!r} with seed {self.seed} first: its encoder is needed, in {folder}")
        other = _Part(self.study, self.study.methods[of], self.seed, folder, self.device, self.progress)
        features: torch.Tensor = encoded(other.learner(other.method), pool)[1].x
        return features

    def _split(self, name: str) -> Any:
        """Return what the method learns from, or is validated on."""
        return _split(self.method.data or self.study.data, name)

    @torch.no_grad()
    def _measure(self, learner: Learner) -> None:
        sample, generator = self._training_sampler(), stream(self.seed, "statistics")
        learner.train().update_statistics([sample(generator).to(self.device) for _ in range(10)])

    def state(self) -> dict[str, Any]:
        """Return what is known of this part's training."""
        path = self.folder / "part.json"
        state: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
        return state

    def keep(self, **news: Any) -> None:
        """Write what is known of this part's training."""
        content = json.dumps({**self.state(), **news}).encode()
        write_whole(self.folder / "part.json", lambda file: file.write(content))

    def snapshots(self) -> list[dict[str, Any]]:
        """Return the rows of the tests that were made on the way."""
        return list(self.state().get("snapshots", []))

    def weights_file(self, record: Mapping[str, Any]) -> bytes:
        """Return the content of the file of weights that ships: with the settings, and whose numbers it stands for."""
        header = {key: record[key] for key in ("method", "seed", "n_steps", "training_digest")}
        header |= {"study": self.study.name, "settings": self.method.settings}
        header["revision"] = getattr(known_learners()[self.method.learner], "revision", 1)
        return _store.pack_weights(read_weights(self.folder / "weights.safetensors"), header)


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """Return the weights in a file.

    Raises:
        ValueError: If it was cut.
    """
    try:
        return load(path.read_bytes())
    except SafetensorError as error:
        raise ValueError(
            f"{path} is no whole file of weights ({error}): delete it and go on with the run, which writes it again"
        ) from error


def _split(data: str, name: str) -> Any:
    found = source(data)
    return getattr(found, name, found)


def encoded(learner: Learner, pool: Any) -> tuple[Learner, Any]:
    """Return a copy of the learner for features in place of inputs, and the pool of features: each is computed once.

    Where the encoder does not treat each input by itself, and always alike, both are returned as they are.
    """
    if not isinstance(learner, EncoderLearner) or getattr(learner, "encoder_lr", False) or not isinstance(pool, Pool):
        return learner, pool
    if norm_policies(learner.encoder) - {"frozen", "none"}:
        return learner, pool
    device = next((parameter.device for parameter in learner.parameters()), torch.device("cpu"))
    learner.eval()
    features = pool.to(device).encoded(learner.encoder).to("cpu")
    comparer = deepcopy(learner)
    comparer.encoder = torch.nn.Identity()
    return comparer, features


def summary(score: Score, test: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is recorded of a score: numbers that are not finite as ``None``, and the values of all tasks."""
    values = score.per_task.double()
    diverged = ~values.isfinite() | (values > test.get("diverged_above", math.inf))
    n_answers = test["n_way"] * test["n_query"] if "n_way" in test else 0
    answers = {"n_answers": 2 * n_answers**2 if "unknown" in test else n_answers} if n_answers else {}  # half pairs
    numbers = {"mean": score.mean, "ci95": score.ci95, "median": score.median}
    share = {"diverged": float(diverged.double().mean()), "n_tasks": score.n_tasks, **answers}
    return {**{key: _digits(x) for key, x in numbers.items()}, **share, "per_task": score.per_task.tolist()}


def _without_groups(test: Mapping[str, Any]) -> dict[str, Any]:
    """Return a test's sizes for validation, whose classes are of other groups."""
    return {key: value for key, value in test.items() if key not in ("only", "unknown")}


def _comparable(learner: Learner, test: Mapping[str, Any]) -> Callable[[Score], Score]:
    """Return how scores are compared: errors by their median, since a few tasks that diverge decide their mean."""
    return (lambda score: score) if "n_way" in test or learner.plays or _direction(test) else _by_median


def _measure(test: Mapping[str, Any]) -> dict[str, Any]:
    """Return what ``evaluate`` is told about the metric of a test."""
    if "unknown" in test:
        return {"metric": auroc}
    if "metric" not in test or test["metric"] == "loss":
        return {"metric": test.get("metric")}
    return {"metric": metric(test["metric"]), **_direction(test)}


def _direction(test: Mapping[str, Any]) -> dict[str, bool]:
    """Return whether higher is better, of a test with a metric of ratings."""
    name = test.get("metric", "loss")
    return {} if name == "loss" else {"higher_is_better": name not in LOWER_IS_BETTER}


def _by_median(score: Score) -> Score:
    """Return the score with its median for its mean, and the half-width of the median's 95 % interval by ranks."""
    ordered, half = score.per_task.double().nan_to_num(nan=math.inf).sort().values, 0.98 * math.sqrt(score.n_tasks)
    middle = (score.n_tasks - 1) / 2
    low, high = ordered[math.floor(middle - half)], ordered[math.ceil(middle + half)]
    return replace(score, mean=score.median, ci95=float(high - low) / 2)


def _optimizer(learner: Learner, options: Fit) -> torch.optim.Optimizer:
    """Return Adam with a rate of its own for what is not the encoder, or plain gradient descent."""
    if options.optimizer == "sgd":
        return torch.optim.SGD([p for p in learner.parameters() if p.requires_grad], lr=options.outer_lr)
    rates = {True: options.outer_lr, False: options.head_lr or options.outer_lr}
    groups: dict[bool, list[torch.nn.Parameter]] = {True: [], False: []}
    for name, parameter in learner.named_parameters():
        if parameter.requires_grad:
            groups[name.startswith("encoder.")].append(parameter)
    return torch.optim.Adam([{"params": part, "lr": rates[key]} for key, part in groups.items() if part])


def _digits(value: float) -> float | None:
    return float(f"{value:.6g}") if math.isfinite(value) else None
