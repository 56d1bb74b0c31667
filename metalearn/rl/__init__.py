"""Reinforcement learning over tasks: environments, policies, episodes, and learners that adapt by acting."""

from metalearn.rl.bandits import BanditFamily, Bandits
from metalearn.rl.dynamic import bayes_optimal_table, bayes_optimal_value, gittins_index
from metalearn.rl.environments import Environment, Tasks, TaskSampler
from metalearn.rl.estimators import magic_box, surrogate
from metalearn.rl.exact import expected_reward
from metalearn.rl.games import GameFamily, Games, GameSplits, subtraction_games
from metalearn.rl.maml_rl import MAMLRL
from metalearn.rl.navigation import Navigation
from metalearn.rl.opponents import Belief, Minimax
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
from metalearn.rl.simulators import CartPoles, Cheetahs, Pendulums, Simulated
from metalearn.rl.subtraction import Rules
from metalearn.rl.tabular import Mazes, TabularMDP, every_episode, probabilities
from metalearn.rl.trials import Play, Player, Step, TrialFamily, Trials, play

__all__ = [
    "MAMLRL",
    "RL2",
    "UCB1",
    "BanditFamily",
    "Bandits",
    "BayesOptimal",
    "Belief",
    "CartPoles",
    "CategoricalPolicy",
    "Cheetahs",
    "CountingPlayer",
    "Environment",
    "EpsilonGreedy",
    "GameFamily",
    "GameSplits",
    "Games",
    "GaussianPolicy",
    "Gittins",
    "Greedy",
    "Mazes",
    "Minimax",
    "Navigation",
    "Pendulums",
    "Play",
    "Player",
    "Policy",
    "RandomArm",
    "Rules",
    "Simulated",
    "Step",
    "TabularMDP",
    "TabularPolicy",
    "TaskSampler",
    "Tasks",
    "Thompson",
    "Trajectories",
    "TrialFamily",
    "Trials",
    "advantages",
    "bayes_optimal_table",
    "bayes_optimal_value",
    "every_episode",
    "expected_reward",
    "gittins_index",
    "linear_baseline",
    "magic_box",
    "play",
    "probabilities",
    "returns",
    "rollout",
    "standardised",
    "subtraction_games",
    "surrogate",
]
