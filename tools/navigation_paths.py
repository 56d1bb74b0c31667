"""Paths of the navigation study's policy towards a few goals, before and after adapting, for a picture that moves.

python -m tools.navigation_paths     play them again and write the analysis "navigation_paths"
"""

from __future__ import annotations

import torch
from torch import Tensor

import metalearn
from metalearn._files import write_whole
from metalearn.experiments._store import HERE, as_text, environment
from metalearn.rl import MAMLRL, Navigation, Tasks, Trajectories

GOALS, N_STEPS, N_PATHS, SEED = [[0.4, 0.3], [-0.35, 0.25], [0.2, -0.45], [-0.4, -0.4]], 3, 3, 0
PATHS = HERE / "analyses" / "navigation_paths.json"


def positions(episodes: Trajectories, goal: int, path: int) -> list[list[float]]:
    """Return the positions of one episode until it ends, rounded to a thousandth; the last move is not recorded."""
    length = int(episodes.mask[goal, path].sum())
    rounded: Tensor = (episodes.observations[goal, path, :length] * 1000).round() / 1000
    return [[round(x, 3), round(y, 3)] for x, y in rounded.tolist()]


def main() -> None:
    """Play and write."""
    torch.set_num_threads(1)
    learner = metalearn.pretrained("maml", "navigation", seed=SEED)
    assert isinstance(learner, MAMLRL)
    tasks = Tasks(Navigation(), torch.tensor(GOALS))
    played = learner.play(tasks, N_STEPS, torch.Generator().manual_seed(SEED))
    content = {
        "goals": GOALS,
        "n_episodes": learner.n_test_episodes,
        "returns": [[round(x, 2) for x in episodes.returns.mean(1).tolist()] for _, episodes in played],
        "paths": [
            [[positions(episodes, goal, path) for path in range(N_PATHS)] for goal in range(len(GOALS))]
            for _, episodes in played
        ],
        "axes": "steps of adaptation, goal, path, step, coordinate",
        "seeds": [SEED],
        **environment(),
    }
    write_whole(PATHS, lambda file: file.write(as_text(content).encode()))


if __name__ == "__main__":
    main()
