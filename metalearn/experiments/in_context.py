"""In-context learning on glyphs: the encoder and the tests of the study of glyphs, whose table it stands beside."""

from metalearn.experiments.glyphs import ENCODER, TESTS
from metalearn.experiments.study import Method, Study

TASKS = {"n_tasks": 2, "n_way": 20, "n_shot": 1, "n_query": 5}
READS = {"max_way": 20, "n_layers": 2}
FIT = {"n_steps": 5_000, "max_seconds": 300, "schedule": "cosine", "max_grad_norm": 1.0, "validate_every": 500}
METHODS = {"InContext": Method("InContext", ENCODER, READS, TASKS, {**FIT, "channels_last": True})}
STUDY = Study("in_context", METHODS, TESTS, "glyphs", snapshots=())
