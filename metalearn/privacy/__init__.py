"""Differential privacy of whole tasks in meta-training, and of a support set at adaptation time."""

from metalearn.privacy.accountant import (
    attack_bound,
    epsilon,
    gaussian_delta,
    gaussian_epsilon,
    gaussian_noise,
    noise_for,
)
from metalearn.privacy.release import private_prototypes
from metalearn.privacy.training import PoissonTasks, clip_rows, private_backward, task_gradients

__all__ = [
    "PoissonTasks",
    "attack_bound",
    "clip_rows",
    "epsilon",
    "gaussian_delta",
    "gaussian_epsilon",
    "gaussian_noise",
    "noise_for",
    "private_backward",
    "private_prototypes",
    "task_gradients",
]
