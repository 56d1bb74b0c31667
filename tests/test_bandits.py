"""Bandits: players and indices against published numbers, enumeration and exact fractions; RL² by hand and by seed."""

from fractions import Fraction
from functools import cache

import pytest
import torch
from torch import nn

from metalearn import evaluate, fit
from metalearn.experiments._players import PLAYERS, Untrained
from metalearn.learners._settings import from_settings, settings_of
from metalearn.networks import GRUCell
from metalearn.rl import (
    RL2,
    UCB1,
    BanditFamily,
    Bandits,
    BayesOptimal,
    EpsilonGreedy,
    Gittins,
    Greedy,
    RandomArm,
    Thompson,
    bayes_optimal_table,
    bayes_optimal_value,
    expected_reward,
    gittins_index,
    play,
)
from metalearn.rl.players import largest, posterior_means
from metalearn.rl.rl2 import Rollout

# Wins and losses from 0, discount 0.9: the corner of the table in Christian and Griffiths, Algorithms to Live By, 2016,
# chapter 2, and the index of an untried arm at discount 0.99 in the same chapter.
PUBLISHED = {(0, 0): 0.7029, (1, 1): 0.6346, (2, 2): 0.6010, (9, 1): 0.8695}
PUBLISHED_99 = 0.8699


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_gittins_indices_are_the_published_ones():
    index = gittins_index(0.9, 10, n_ahead=80)
    for (wins, losses), value in PUBLISHED.items():
        assert index[wins, losses].item() == pytest.approx(value, abs=6e-5)
    assert gittins_index(0.99, 0, n_ahead=700, n_rates=200).item() == pytest.approx(PUBLISHED_99, abs=2e-4)


def test_the_gittins_index_makes_an_arm_and_a_sure_reward_equal():
    """At the index, pulling once and then going on as well as possible is worth as much as the sure reward for ever."""
    discount, horizon = 0.6, 40
    index = gittins_index(discount, 3)

    @cache
    def value(wins, losses, rate):
        stop = rate / (1 - discount)
        if wins + losses >= horizon:
            return max(stop, (wins + 1) / (wins + losses + 2) / (1 - discount))
        return max(stop, go_on(wins, losses, rate))

    def go_on(wins, losses, rate):
        p = (wins + 1) / (wins + losses + 2)
        won, lost = value(wins + 1, losses, rate), value(wins, losses + 1, rate)
        return p * (1 + discount * won) + (1 - p) * discount * lost

    for wins, losses in [(0, 0), (1, 0), (0, 1), (1, 2), (3, 0)]:
        rate = index[wins, losses].item()
        assert go_on(wins, losses, rate) == pytest.approx(rate / (1 - discount), abs=2e-4)


def test_the_gittins_index_one_pull_ahead_by_hand():
    """After a win the arm is worth 2/3 for ever, after a loss one stops: l = 0.1 / 2 + 0.9 (2/3 + l) / 2, so 7/11."""
    assert gittins_index(0.9, 0, n_ahead=1).item() == pytest.approx(7 / 11, abs=1e-9)


def test_the_gittins_index_exceeds_the_mean_and_falls_to_it_without_a_future():
    index, wins = gittins_index(0.9, 8, n_ahead=40), torch.arange(9.0).unsqueeze(1)
    mean = posterior_means(wins, wins.T).double()
    there = index.isfinite()
    assert there.sum() == 45
    assert (index[there] > mean[there]).all()
    torch.testing.assert_close(gittins_index(1e-3, 4)[0, :5], mean[0, :5], rtol=0, atol=1e-3)


def test_a_discount_of_one_has_no_index():
    for call in (gittins_index, Gittins):
        with pytest.raises(ValueError, match=r"discount must be in \(0, 1\), got 1.0"):
            call(1.0, 3)
    with pytest.raises(ValueError, match="n_ahead must be at least 1, got 0"):
        gittins_index(0.9, 0, n_ahead=0)


def brute_force(arms, n_left):
    """Return the value of the best player in exact fractions, over all ways that pulls can end."""
    if not n_left:
        return Fraction(0)
    values = []
    for k, (wins, losses) in enumerate(arms):
        p = Fraction(wins + 1, wins + losses + 2)
        won = brute_force([*arms[:k], (wins + 1, losses), *arms[k + 1 :]], n_left - 1)
        lost = brute_force([*arms[:k], (wins, losses + 1), *arms[k + 1 :]], n_left - 1)
        values.append(p * (1 + won) + (1 - p) * lost)
    return max(values)


@pytest.mark.parametrize(("n_arms", "n_pulls"), [(1, 4), (2, 1), (2, 2), (2, 5), (3, 3), (5, 3)])
def test_the_best_value_is_that_of_brute_force(n_arms, n_pulls):
    exact = brute_force([(0, 0)] * n_arms, n_pulls)
    assert bayes_optimal_value(n_arms, n_pulls) == pytest.approx(float(exact), abs=1e-13)


def test_two_ways_to_solve_two_arms_agree():
    from_table = bayes_optimal_table(12)[0]
    three = bayes_optimal_value(3, 12)
    assert bayes_optimal_value(2, 12) == from_table < three


def test_too_many_states_are_refused():
    with pytest.raises(ValueError, match="5 arms have too many states for 100 pulls"):
        bayes_optimal_value(5, 100)


def exact_value(player, n_pulls):
    """Return what a player of two arms that draws nothing gets on average, by listing all it can come to see."""

    def value(wins, losses, n_left):
        if not n_left:
            return 0.0
        k = int(player.choose(torch.tensor([wins]), torch.tensor([losses]), generator()))
        p = (wins[k] + 1) / (wins[k] + losses[k] + 2)
        more = lambda counts: [count + (i == k) for i, count in enumerate(counts)]  # noqa: E731
        return p * (1 + value(more(wins), losses, n_left - 1)) + (1 - p) * value(wins, more(losses), n_left - 1)

    return value([0.0, 0.0], [0.0, 0.0], n_pulls)


def test_the_best_player_gets_the_best_value_and_others_less():
    best = bayes_optimal_value(2, 7)
    assert exact_value(BayesOptimal(7), 7) == pytest.approx(best, abs=1e-12)
    assert exact_value(Greedy(), 7) < best - 1e-3
    assert best - 0.01 < exact_value(Gittins(0.9, 7), 7) < best + 1e-12


def test_listing_rewards_and_listing_states_agree():
    for player in (Greedy(), BayesOptimal(7), Gittins(0.9, 7)):
        assert expected_reward(player, 2, 7) == pytest.approx(exact_value(player, 7), abs=1e-6)
    simulated = play(Greedy(), BanditFamily(5, 8).sample(40_000, generator()), generator(1)).score
    assert abs(simulated.mean - expected_reward(Greedy(), 5, 8)) < 1.5 * simulated.ci95


def test_the_best_player_plays_two_arms():
    with pytest.raises(ValueError, match="two arms, got 5"):
        play(BayesOptimal(3), BanditFamily(5, 3).sample(2))


def test_a_table_that_is_too_short_is_refused():
    for player in (Gittins(0.5, 3), BayesOptimal(3)):
        with pytest.raises(ValueError, match="n_pulls=3, and 3 are made"):
            play(player, BanditFamily(2, 4).sample(2))
    for build in (lambda: Gittins(0.5, 0), lambda: BayesOptimal(0)):
        with pytest.raises(ValueError, match="n_pulls must be at least 1, got 0"):
            build()


def test_simulated_rewards_agree_with_the_exact_value():
    played = play(BayesOptimal(20), BanditFamily(2, 20).sample(20_000, generator()), generator(1))
    assert abs(played.score.mean - bayes_optimal_value(2, 20)) < 1.5 * played.score.ci95


def test_ucb1_by_hand():
    wins, losses = torch.tensor([[3.0, 1.0]]), torch.tensor([[1.0, 0.0]])
    bounds = [3 / 4 + (2 * torch.tensor(5.0).log() / 4).sqrt(), 1 + (2 * torch.tensor(5.0).log() / 1).sqrt()]
    assert bounds[1] > bounds[0]
    assert UCB1().choose(wins, losses, generator()).tolist() == [1]
    longer = torch.tensor([[90.0, 3.0]]), torch.tensor([[10.0, 7.0]])  # 0.9 + 0.31 and 0.3 + 0.97
    assert UCB1().choose(*longer, generator()).tolist() == [1]
    assert UCB1(scale=0.7).choose(*longer, generator()).tolist() == [0]  # 0.9 + 0.21 and 0.3 + 0.68
    assert UCB1(scale=1e-9).choose(wins, torch.tensor([[0.0, 1.0]]), generator()).tolist() == [0]


def test_ucb1_pulls_each_arm_once_first():
    played = play(UCB1(), BanditFamily(5, 5).sample(50, generator()), generator(1))
    assert (played.actions.sort(1).values == torch.arange(5)).all()


def test_thompson_sampling_chooses_with_the_probability_that_an_arm_is_best():
    """Of Beta(3, 1) and Beta(1, 1) the first is larger with probability E[U^(1/1)] = 3/4."""
    wins, losses = torch.tensor([[2.0, 0.0]]).expand(40_000, 2), torch.zeros(40_000, 2)
    share = (Thompson().choose(wins, losses, generator()) == 0).double().mean().item()
    assert share == pytest.approx(0.75, abs=0.01)


def test_epsilon_greedy_between_greedy_and_chance():
    bandits = BanditFamily(3, 6).sample(200, generator())
    assert (play(EpsilonGreedy(0.0), bandits).actions == play(Greedy(), bandits).actions).all()
    share = play(EpsilonGreedy(1.0), bandits, generator(1)).actions.double().mean().item()
    assert share == pytest.approx(1.0, abs=0.1)


def test_equals_are_broken_by_chance():
    drawn = largest(torch.zeros(10_000, 4), generator()).bincount() / 10_000
    assert (drawn - 0.25).abs().max() < 0.02


def test_all_players_meet_the_same_chance():
    bandits = BanditFamily(2, 30).sample(40, generator())
    first, second = (play(player, bandits, generator(1)) for player in (Thompson(), UCB1()))
    for i in range(40):
        for arm in range(2):
            paid = [p.rewards[i][p.actions[i] == arm] for p in (first, second)]
            n = min(len(part) for part in paid)
            assert (paid[0][:n] == paid[1][:n]).all()


def test_a_pull_pays_the_next_outcome_of_its_arm_and_leaves_the_state_before_it_alone():
    outcomes = torch.tensor([[[0, 1], [1, 0]]])
    bandits = Bandits(torch.full((1, 2), 0.5), n_pulls=2, outcomes=outcomes)
    start, _ = bandits.begin(None)
    for first, second, rewards in ((0, 0, [0, 1]), (0, 1, [0, 1]), (1, 1, [1, 0])):
        state, _, reward, done, over = bandits.step(start, torch.tensor([first]), None)
        _, _, later, _, end = bandits.step(state, torch.tensor([second]), None)
        assert [reward.item(), later.item()] == rewards
        assert (done.item(), over.item(), end.item()) == (True, False, True)


def test_regret_and_best_arm_by_hand():
    bandits = Bandits(torch.tensor([[0.25, 1.0], [0.5, 0.0]]), n_pulls=3)
    played = play(Greedy(), bandits, generator(1))
    actions = torch.tensor([[0, 1, 1], [0, 0, 0]])
    played = type(played)(actions, played.rewards, played.dones, played.alive)
    assert bandits.regret(played).tolist() == [[0.75, 0.75, 0.75], [0.0, 0.0, 0.0]]
    assert bandits.on_best(played).tolist() == [0.5, 1.0, 1.0]


@pytest.mark.parametrize("means", [torch.tensor([[0.5, 1.5]]), torch.tensor([[torch.nan, 0.5]]), torch.zeros(3)])
def test_bandits_refuse_what_are_no_probabilities(means):
    with pytest.raises(ValueError, match="means"):
        Bandits(means, 3)


def test_gru_is_that_of_torch():
    torch.manual_seed(0)
    ours, theirs = GRUCell(3, 5).double(), nn.GRUCell(3, 5).double()
    with torch.no_grad():
        for own, other in ((ours.inputs, "ih"), (ours.states, "hh")):
            getattr(theirs, f"weight_{other}").copy_(own.weight)
            getattr(theirs, f"bias_{other}").copy_(own.bias)
    x, hidden = torch.randn(4, 3).double(), torch.randn(4, 5).double()
    torch.testing.assert_close(ours(x, hidden), theirs(x, hidden), rtol=1e-12, atol=1e-12)


def learner(**options):
    torch.manual_seed(0)
    return RL2(**{"n_actions": 2, "width": 8, **options})


def test_rl2_reads_a_history_as_it_plays():
    """The logits at a step are those of ``adapt`` to what came before and ``predict`` of what is read now."""
    agent, bandits = learner(n_actions=3).double(), BanditFamily(3, 6).sample(4, generator())
    nn.init.normal_(agent.policy.weight)
    logits, _, actions, rewards, *_ = agent._rollout(bandits, generator(), 1)
    one_hot = nn.functional.one_hot(actions, 3).double()
    seen = torch.cat([one_hot, rewards.unsqueeze(2), torch.ones(6, 4, 1)], 2).double()  # after each step
    inputs = torch.cat([torch.zeros(1, 4, 5).double(), seen[:-1]])  # what is read at each step
    for i in range(4):
        adapted = agent.adapt(inputs[:5, i], actions[:5, i])
        torch.testing.assert_close(agent.predict(adapted, inputs[5:, i])[0], logits[5, i], rtol=1e-10, atol=1e-12)


def test_rl2_acts_by_its_probabilities_in_training_and_takes_the_likeliest_in_use():
    agent = learner(n_actions=3)
    with torch.no_grad():
        agent.policy.weight.zero_()
        agent.policy.bias.copy_(torch.tensor([0.2, 0.5, 0.3]).log())
    bandits = BanditFamily(3, 1).sample(40_000, generator())
    drawn = play(agent.train(), bandits, generator(1)).actions.flatten().bincount(minlength=3) / 40_000
    torch.testing.assert_close(drawn, torch.tensor([0.2, 0.5, 0.3]), atol=0.01, rtol=0)
    assert (play(agent.eval(), bandits, generator(1)).actions == 1).all()
    chosen = agent.probabilities(bandits, generator(1))
    torch.testing.assert_close(chosen[7], torch.tensor([[0.2, 0.5, 0.3]]))


def test_the_gradient_is_that_of_the_expected_reward():
    """With one pull, without values or entropy, the mean gradient is that of sum_a pi(a) p_a, by a known factor."""
    agent = learner(value_weight=0.0, entropy=0.0, discount=1.0).double()
    with torch.no_grad():
        agent.value.weight.zero_()
    means = torch.tensor([[0.2, 0.7]], dtype=torch.float64).expand(40_000, 2)
    bandits = Bandits(means, 1)
    agent.backward(bandits, generator())
    (exact,) = torch.autograd.grad(
        -(agent.policy(agent.cell(torch.zeros(1, 4).double(), torch.zeros(1, 8).double())).softmax(1) @ means[0]).sum(),
        agent.policy.bias,
    )
    p = 0.45  # actions are nearly even: rewards are 1 with probability 0.45, and advantages have deviation 1
    assert agent.policy.bias.grad is not None
    torch.testing.assert_close(agent.policy.bias.grad * (p * (1 - p)) ** 0.5, exact, rtol=0.06, atol=1e-3)


def test_plays_of_one_task_share_a_baseline():
    """What makes a task easy, here a reward for anything, moves no weight when plays are compared within the task."""
    means = torch.tensor([[1.0, 1.0], [0.0, 0.0]]).repeat(8, 1)
    grads = {}
    for n_plays in (1, 4):
        agent = learner(value_weight=0.0, entropy=0.0, n_plays=n_plays, discount=1.0, trace=1.0)
        nn.init.zeros_(agent.value.weight)
        agent.backward(Bandits(means, 3), generator())
        grads[n_plays] = agent.policy.weight.grad.norm().item()
    assert grads[1] > 1e-3
    assert grads[4] < 1e-4


def objective_by_hand(played, discount, trace, entropy, value_weight, n_plays):
    """Return what RL2 minimises, summed step by step and trial by trial."""
    n_steps, n = played.rewards.shape
    ahead = [sum(discount**k for k in range(n_steps - t)) for t in range(n_steps)]
    value = [[played.values[t, i] * ahead[t] for i in range(n)] for t in range(n_steps)]
    gae, target = torch.zeros(n_steps, n).double(), torch.zeros(n_steps, n).double()
    for i in range(n):
        for t in range(n_steps):
            for k in range(t, n_steps):
                after = value[k + 1][i].item() if k + 1 < n_steps else 0.0
                surprise = played.rewards[k, i] + discount * after - value[k][i].item()
                gae[t, i] += (discount * trace) ** (k - t) * surprise
            target[t, i] = gae[t, i] + value[t][i].item()
    if n_plays > 1:
        for t in range(n_steps):
            for i in range(0, n, n_plays):
                gae[t, i : i + n_plays] -= gae[t, i : i + n_plays].mean()
    steps = [(t, i) for t in range(n_steps) for i in range(n) if played.alive[t, i]]
    kept = torch.stack([gae[t, i] for t, i in steps])
    loss = torch.zeros(()).double()
    for t, i in steps:
        log_p = played.logits[t, i].log_softmax(0)
        advantage = (gae[t, i] - kept.mean()) / kept.std(correction=0)
        spread = -(log_p.exp() * log_p).sum()
        error = ((value[t][i] - target[t, i]) / ahead[t]) ** 2
        loss = loss - log_p[played.actions[t, i]] * advantage - entropy * spread + value_weight * error
    return loss / len(steps)


@pytest.mark.parametrize("n_plays", [1, 2])
def test_the_objective_is_that_of_the_sums_by_hand(n_plays):
    draw, options = generator(), {"discount": 0.9, "trace": 0.6, "entropy": 0.3, "value_weight": 0.7}
    alive = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 1], [1, 0, 1, 0]]).double()  # two of four trials end early
    logits = torch.randn(3, 4, 2, generator=draw).double().requires_grad_()
    values = torch.rand(3, 4, generator=draw).double().requires_grad_()
    rewards = torch.rand(3, 4, generator=draw).double() * alive
    actions = torch.randint(2, (3, 4), generator=draw)
    played = Rollout(logits, values * alive, actions, rewards, alive, torch.zeros(3, 4, 2).bool())
    losses = (
        learner(n_plays=n_plays, **options)._objective(played),
        objective_by_hand(played, **options, n_plays=n_plays),
    )
    torch.testing.assert_close(*losses)
    found, expected = (torch.autograd.grad(loss, (logits, values), retain_graph=True) for loss in losses)
    torch.testing.assert_close(found, expected)


def test_training_is_the_same_for_the_same_seed_and_goes_on_from_a_checkpoint(tmp_path):
    family = BanditFamily(2, 4)

    def trained(*lengths):
        agent = learner()
        for n_steps in lengths:
            path = tmp_path / f"{len(lengths)}.pt" if len(lengths) > 1 else None
            fit(agent, family.tasks(n_tasks=8), n_steps, seed=3, progress=False, checkpoint=path)
        return agent.state_dict()

    once, again, resumed = trained(6), trained(6), trained(3, 6)
    for name, tensor in once.items():
        assert torch.equal(tensor, again[name])
        assert torch.equal(tensor, resumed[name])


def test_settings_build_it_again():
    agent = learner(n_plays=4, entropy=0.02)
    other = from_settings(settings_of(agent))
    assert isinstance(other, RL2)
    assert (other.n_plays, other.entropy, other.width) == (4, 0.02, 8)
    other.load_state_dict(agent.state_dict())
    bandits = BanditFamily(2, 5).sample(20, generator())
    assert torch.equal(play(agent.eval(), bandits).actions, play(other.eval(), bandits).actions)


def test_it_learns_to_prefer_the_arm_that_paid():
    """The study in small: after a second of training it gets more than a random player."""
    family = BanditFamily(2, 6)
    agent = learner(width=16, n_plays=4, discount=1.0, trace=0.9)
    fit(agent, family.tasks(n_tasks=32), 150, outer_lr=1e-2, progress=False, max_grad_norm=1.0)
    score = evaluate(agent, family.tasks(n_tasks=500), 2_000)
    assert score.above(evaluate(Untrained("random"), family.tasks(n_tasks=500), 2_000), by=0.2)


def test_rl2_refuses_other_trials():
    with pytest.raises(ValueError, match=r"n_actions=2 and n_features=0, got trials of 3 and 0"):
        fit(learner(), BanditFamily(3, 4).tasks(n_tasks=2), 1, progress=False)
    with pytest.raises(ValueError, match="plays trials, got list"):
        learner().check([])
    with pytest.raises(ValueError, match="no inner steps"):
        evaluate(learner(), BanditFamily(2, 4).tasks(n_tasks=2), 4, n_steps=[1])
    for name in ("discount", "trace"):
        with pytest.raises(ValueError, match=rf"{name} must lie in \[0, 1\], got 1.5"):
            learner(**{name: 1.5})


def test_players_by_name_are_the_players():
    bandits = BanditFamily(2, 8).sample(50, generator())
    total = Untrained("Gittins", 0.9).returns(bandits, [None], generator(1))[:, 0]
    assert torch.equal(total, play(Gittins(0.9, 8), bandits, generator(1)).total)
    assert len(PLAYERS) > 6
    with pytest.raises(ValueError, match="player must be one of"):
        Untrained("nobody")


def test_players_rank_as_the_literature_has_them():
    bandits = BanditFamily(5, 100).sample(2_000, generator())
    scores = {
        name: play(player, bandits, generator(1)).score
        for name, player in {
            "random": RandomArm(),
            "greedy": Greedy(),
            "Thompson": Thompson(),
            "Gittins": Gittins(0.9, 100),
        }.items()
    }
    assert scores["Gittins"].above(scores["Thompson"], by=0.5)
    assert scores["Thompson"].above(scores["random"], by=20.0)
    assert scores["Gittins"].above(scores["greedy"], by=1.0)
