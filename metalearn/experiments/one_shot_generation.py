"""New pictures of a letter from one: a generator that paints from a code, beside one that bends the given picture."""

from metalearn.experiments.study import Method, Study

N_LATENT = 16
ENCODER = {"network": "Conv4", "config": {"channels": 32, "norm": "group", "downsample": "maps"}}
POSTERIOR = {"network": "PairReader", "config": {"n_latent": N_LATENT}}


def model(decoder: str) -> dict[str, object]:
    """Return the networks of a generator with the decoder of that name."""
    drawn = {"network": decoder, "config": {"n_latent": N_LATENT}}
    return {"encoder": ENCODER, "posterior": POSTERIOR, "decoder": drawn}


PICTURES = {"kind": "pictures", "n_shot": 1, "n_latent": N_LATENT}
TASKS = {**PICTURES, "n_tasks": 16, "n_query": 4}
FIT = {
    "n_steps": 2_000, "max_seconds": 150, "outer_lr": 2e-3, "schedule": "cosine", "how": "vmap", "validate_every": 500,
}  # fmt: skip
METHODS = {
    "bends the picture": Method("ConditionalVAE", model("WarpDecoder"), {}, TASKS, FIT),
    "paints from a code": Method("ConditionalVAE", model("PaintDecoder"), {}, TASKS, FIT),
}
TESTS = {"1 picture given": {**PICTURES, "n_query": 8, "n_tasks": 600, "metric": "loss"}}
STUDY = Study("one_shot_generation", METHODS, TESTS, "glyphs", snapshots=())
