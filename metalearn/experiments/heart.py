"""Leave one hospital out: what a few of its patients add to a model of the three others.

python -m metalearn.experiments.heart     measure again and write the record, which a chapter shows
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sklearn.calibration import calibration_curve
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn

from metalearn import Episode, TaskFamily, fit
from metalearn.clinical import Numbers, bootstrap, net_benefit, sensitivity_at
from metalearn.data.heart import Hospital, encoder, heart
from metalearn.experiments._store import environment, write_analysis
from metalearn.learners import MAML, Learner, Pixels, Prototypical, Shrinkage
from metalearn.networks import MLP
from metalearn.runtime import stream

SEEDS, N_DRAWS, N_PATIENTS, N_BOOTSTRAP = (0, 1, 2), 7, (10, 20, 40), 200
N_STEPS, N_SUPPORT, THRESHOLDS = 600, 20, np.linspace(0.05, 0.95, 19)
STRENGTHS, RATES, PENALTIES = (1.0, 3.0, 10.0, 30.0, 100.0), (0.01, 0.03, 0.1, 0.3), (0.001, 0.01, 0.1, 1.0)
Patients = tuple[Tensor, Tensor]  # inputs [n, n_inputs] and labels [n]


@dataclass(frozen=True, eq=False)
class Hospitals(TaskFamily):
    """Tasks of a few hospitals: one is drawn, then its labelled patients, at random but at least one ill, one healthy.

    Args:
        patients: Inputs and labels of each hospital.
    """

    patients: list[Patients]

    def sample(self, n_tasks: int, n_shot: int, n_query: int, generator: torch.Generator | None = None) -> Episode:
        """Draw tasks with ``n_shot`` labelled patients and ``n_query`` others."""
        parts = []
        for i in torch.randint(len(self.patients), (n_tasks,), generator=generator).tolist():
            x, y = self.patients[i]
            order = draw(y, n_shot, generator)
            support, query = order[:n_shot], order[n_shot : n_shot + n_query]
            parts.append((x[support], y[support], x[query], y[query]))
        support_x, support_y, query_x, query_y = (torch.stack(part) for part in zip(*parts, strict=True))
        return Episode(support_x, support_y, query_x, query_y, 2)


def draw(y: Tensor, n_first: int, generator: torch.Generator | None) -> Tensor:
    """Return an order of the patients, at random, but with one healthy and one ill patient in front."""
    order = torch.randperm(len(y), generator=generator)
    front = torch.stack([order[y[order] == label][0] for label in (0, 1)])
    return torch.cat([front, order[~torch.isin(order, front)]])


def pooled(patients: list[Patients], penalty: float) -> tuple[Tensor, Tensor]:
    """Return weights ``[n_inputs]`` and bias of one logistic regression on the patients of all hospitals."""
    x, y = (torch.cat(part) for part in zip(*patients, strict=True))
    model = LogisticRegression(C=penalty, max_iter=2000).fit(x.numpy(), y.numpy())
    return torch.tensor(model.coef_[0]).float(), torch.tensor(model.intercept_[0]).float()


def centred(weights: tuple[Tensor, Tensor], strength: float, *, bias_only: bool = False) -> Shrinkage:
    """Return shrinkage towards a pooled model; the two outputs share its weights, half each with opposite signs."""
    weight, bias = weights
    learner = Shrinkage(nn.Identity(), 2, n_features=len(weight), strength=strength)
    with torch.no_grad():
        learner.weight.copy_(torch.stack([-weight, weight]) / 2)
        learner.bias.copy_(torch.stack([-bias, bias]) / 2)
        if bias_only:
            learner.log_precision[:-1] = 12.0
            learner.log_precision[-1] = np.log(0.1 / strength)
    return learner


def stepped(weights: tuple[Tensor, Tensor], rate: float) -> MAML:
    """Return ten gradient steps from a pooled model."""
    learner, start = MAML(nn.Linear(len(weights[0]), 2), rate, 10), centred(weights, 1.0)
    learner.model.load_state_dict({"weight": start.weight, "bias": start.bias})
    return learner


def predict(learner: Learner, x: Tensor, y: Tensor, n_support: int, generators: list[torch.Generator]) -> Numbers:
    """Return the probability of disease ``[n, n_draws]`` after each draw of labelled patients, NaN for these."""
    result = np.full((len(y), len(generators)), np.nan)
    for column, generator in enumerate(generators):
        order = draw(y, n_support, generator)
        support, query = order[:n_support], order[n_support:]
        with torch.no_grad():
            adapted = learner.eval().adapt(x[support], y[support], n_way=2)
            result[query.numpy(), column] = learner.predict(adapted, x[query]).softmax(1)[:, 1].numpy()
    return result


def draws(seed: int, n_support: int) -> list[torch.Generator]:
    """Return generators of the draws of labelled patients, the same for all methods."""
    return [stream(seed, f"heart {n_support} {i}") for i in range(N_DRAWS)]


def chosen(make: Callable[[list[Patients]], Callable[[float], Learner]], patients: list[Patients], values: Any) -> Any:
    """Return the setting that is best where each training hospital in turn plays the new one (mean log loss)."""
    losses = np.zeros(len(values))
    for i, (x, y) in enumerate(patients):
        build = make(patients[:i] + patients[i + 1 :])
        for j, value in enumerate(values):
            p = predict(build(value), x, y, N_SUPPORT, [stream(9, f"choice {d}") for d in range(3)])
            right = np.where(y.numpy()[:, None] == 1, p, 1 - p)
            losses[j] -= np.nanmean(np.log(np.clip(right, 1e-6, 1)))
    return values[int(losses.argmin())]


def learners(patients: list[Patients], seed: int) -> tuple[dict[str, Learner], dict[str, Any]]:
    """Return every method for one new hospital, made from the patients of the others, and the settings chosen."""
    n_inputs, family = patients[0][0].shape[1], Hospitals(patients)
    tasks = family.episodes(n_tasks=16, n_shot=N_SUPPORT, n_query=20)
    penalty = chosen(lambda rest: lambda c: centred(pooled(rest, c), 1e6), patients, PENALTIES)
    start = pooled(patients, penalty)
    strength = chosen(lambda rest: lambda s: centred(pooled(rest, penalty), s), patients, STRENGTHS)
    rate = chosen(lambda rest: lambda r: stepped(pooled(rest, penalty), r), patients, RATES)
    torch.manual_seed(seed)
    found: dict[str, Learner] = {
        "pooled": centred(start, 1e6),
        "hospital alone": Shrinkage(nn.Identity(), 2, n_features=n_inputs, strength=2.0),
        "nearest mean": Pixels(),
        "bias alone": centred(start, 1.0, bias_only=True),
        "fine-tuned": stepped(start, rate),
        "shrunk to pooled": centred(start, strength),
    }
    trained: dict[str, Learner] = {
        "learned shrinkage": centred(start, strength),
        "MAML": MAML(MLP([n_inputs, 16, 2]), 0.1, 3),
        "Prototypical": Prototypical(MLP([n_inputs, 16, 16])),
    }
    for learner in trained.values():
        fit(learner, tasks, N_STEPS, outer_lr=3e-3, seed=seed, progress=False)
    settings = {"penalty": penalty, "strength": strength, "rate": rate}
    return found | trained, settings


def auroc(y: Numbers, score: Numbers) -> float:
    """Return the share of pairs of an ill and a healthy patient that a score orders rightly; a tie counts half."""
    healthy, ill = np.sort(score[y == 0]), score[y == 1]
    if not len(healthy) or not len(ill):
        raise ValueError("one of the two groups is empty")
    wins = np.searchsorted(healthy, ill, "left") + np.searchsorted(healthy, ill, "right")
    return float(wins.mean() / 2 / len(healthy))


def over_draws(measure: Callable[[Numbers, Numbers], Any]) -> Callable[..., Any]:
    """Return the mean of a measure over the draws of labelled patients; of two predictions, the difference."""

    def mean(y: Numbers, p: Numbers, other: Numbers | None = None) -> Any:
        columns = [~np.isnan(column) for column in p.T]
        values = [measure(y[there], p[there, i]) for i, there in enumerate(columns)]
        if other is not None:
            values = [
                value - measure(y[there], other[there, i])
                for i, (value, there) in enumerate(zip(values, columns, strict=True))
            ]
        return np.mean(values, 0)

    return mean


MEASURES: dict[str, Callable[[Numbers, Numbers], float]] = {
    "AUROC": auroc,
    "sensitivity": lambda y, p: sensitivity_at(y, p, 0.9),
    "Brier": lambda y, p: float(np.square(p - y).mean()),
}


def judged(y: Numbers, p: Numbers, base: Numbers) -> dict[str, Any]:
    """Return all that is recorded of a method's probabilities ``[n, n_draws]``, beside those of the pooled model."""
    row: dict[str, Any] = {}
    for name, measure in MEASURES.items():
        row[name] = list(bootstrap(over_draws(measure), y, p, n_draws=N_BOOTSTRAP))
        row[f"{name} above pooled"] = list(bootstrap(over_draws(measure), y, p, base, n_draws=N_BOOTSTRAP))
    row["net benefit"] = over_draws(lambda y, p: net_benefit(y, p, THRESHOLDS))(y, p).tolist()
    mean = np.nanmean(p, 1)
    row["predicted"], row["observed"] = float(mean.mean()), float(y.mean())
    row["calibration"] = [part.tolist() for part in calibration_curve(y, mean, n_bins=5, strategy="quantile")]
    return row


def of_hospital(name: str, hospitals: dict[str, Hospital]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the rows of one new hospital, and the settings that were chosen for it."""
    others = [hospital for other, hospital in hospitals.items() if other != name]
    transform = encoder(others).transform
    inputs = [(torch.from_numpy(transform(h.x.numpy())).float(), h.y) for h in (*others, hospitals[name])]
    made = [learners(inputs[:-1], seed) for seed in SEEDS]
    x, y = inputs[-1]
    rows = []
    for n_support in N_PATIENTS:
        p = {
            label: np.hstack(
                [
                    predict(found[label], x, y, n_support, draws(s, n_support))
                    for s, (found, _) in zip(SEEDS, made, strict=True)
                ]
            )
            for label in made[0][0]
        }
        for label, values in p.items():
            place = {"hospital": name, "n_patients": n_support, "method": label}
            rows.append(place | judged(y.numpy(), values, p["pooled"]))
    return rows, [{"hospital": name, **settings} for _, settings in made[:1]]


def main() -> None:
    """Measure all hospitals, and write the record."""
    begun, hospitals = time.process_time(), heart()
    rows, settings = [], []
    for name in hospitals:
        of_one, chosen_settings = of_hospital(name, hospitals)
        rows += of_one
        settings += chosen_settings
        print(name, f"{time.process_time() - begun:.0f} s", flush=True)
    content = {
        **{"name": "heart", "seeds": list(SEEDS), "n_draws": N_DRAWS * len(SEEDS), "n_bootstrap": N_BOOTSTRAP},
        **{"outer_steps": N_STEPS, "thresholds": THRESHOLDS.round(3).tolist(), "settings": settings},
        "cpu_seconds": round(time.process_time() - begun),
        **environment(),
        "rows": rows,
    }
    write_analysis(content)


if __name__ == "__main__":
    main()
