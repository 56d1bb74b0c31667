"""Reinforcement learning over tasks: environments, policies, episodes, and learners that adapt by acting."""

from metalearn.rl.bandits import BanditFamily, Bandits, BanditSampler
from metalearn.rl.dynamic import bayes_optimal_table, bayes_optimal_value, gittins_index
from metalearn.rl.environments import Environment, Tasks, TaskSampler
from metalearn.rl.navigation import Navigation
from metalearn.rl.players import (
    UCB1,
    BayesOptimal,
    CountingPlayer,
    EpsilonGreedy,
    Gittins,
    Greedy,
    RandomArm,
    Thompson,
)
from metalearn.rl.policies import CategoricalPolicy, GaussianPolicy, Policy, TabularPolicy
from metalearn.rl.returns import advantages, linear_baseline, returns, standardised
from metalearn.rl.rl2 import RL2
from metalearn.rl.rollouts import Trajectories, rollout
from metalearn.rl.trials import Play, Player, Step, Trials, play

__all__ = [
    "RL2",
    "UCB1",
    "BanditFamily",
    "BanditSampler",
    "Bandits",
    "BayesOptimal",
    "CategoricalPolicy",
    "CountingPlayer",
    "Environment",
    "EpsilonGreedy",
    "GaussianPolicy",
    "Gittins",
    "Greedy",
    "Navigation",
    "Play",
    "Player",
    "Policy",
    "RandomArm",
    "Step",
    "TabularPolicy",
    "TaskSampler",
    "Tasks",
    "Thompson",
    "Trajectories",
    "Trials",
    "advantages",
    "bayes_optimal_table",
    "bayes_optimal_value",
    "gittins_index",
    "linear_baseline",
    "play",
    "returns",
    "rollout",
    "standardised",
]
