"""Few-shot models of dynamics: cars whose grip, load and side wind differ, in a curved lane."""

from metalearn.control import Lane
from metalearn.experiments._dynamics import dynamics

STUDY = dynamics("lane", Lane)
