"""Control of systems whose physics change: simulators, few-shot models of dynamics, planning and least squares."""

from metalearn.control.cart_pole import CartPole
from metalearn.control.identification import identify
from metalearn.control.lane import Lane
from metalearn.control.models import Dynamics, adapt_all, learned_dynamics, true_dynamics
from metalearn.control.pendulum import Pendulum
from metalearn.control.planning import CEM
from metalearn.control.running import Identified, Learned, Model, Run, Told, Usual, control
from metalearn.control.systems import System
from metalearn.control.transitions import DynamicsTasks, Transitions, scattered, wander

__all__ = [
    "CEM",
    "CartPole",
    "Dynamics",
    "DynamicsTasks",
    "Identified",
    "Lane",
    "Learned",
    "Model",
    "Pendulum",
    "Run",
    "System",
    "Told",
    "Transitions",
    "Usual",
    "adapt_all",
    "control",
    "identify",
    "learned_dynamics",
    "scattered",
    "true_dynamics",
    "wander",
]
