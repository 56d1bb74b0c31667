"""Substitution ciphers of ten letters: a transformer that reads pairs of letters and enciphers others."""

from metalearn.experiments.study import Method, Study

VECTORS = {"encoder": {"network": "Identity", "config": {}}}
READS = {"n_features": 10, "n_outputs": 10, "width": 32, "n_layers": 2, "hide_support": True}
TASKS = {"n_tasks": 64, "n_shot": 20, "n_query": 10}
FIT = {"n_steps": 2_500, "max_seconds": 120, "outer_lr": 2e-3, "schedule": "cosine", "max_grad_norm": 1.0}
FIT |= {"validate_every": 500, "validate_on": "10 pairs", "how": "vmap"}
METHODS = {"InContext": Method("InContext", VECTORS, READS, TASKS, FIT)}
TESTS = {
    f"{n} pairs": {"n_shot": n, "n_query": 20, "n_tasks": 600, "diverged_above": 10.0} for n in (1, 2, 5, 10, 20, 40)
}
STUDY = Study("ciphers", METHODS, TESTS, "ciphers", snapshots=())
