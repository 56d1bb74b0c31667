"""Few-shot models of dynamics: pendulums of random mass, length, friction and delay."""

from metalearn.control import Pendulum
from metalearn.experiments._dynamics import dynamics

STUDY = dynamics("pendulum", Pendulum)
