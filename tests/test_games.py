"""Games whose rules change: minimax against enumeration, steps by hand, Bayes' rule against the rules themselves."""

import pytest
import torch

from metalearn import fit
from metalearn.experiments._players import player_of, rules_of_all
from metalearn.rl import RL2, BanditFamily, Belief, Games, Minimax, RandomArm, Rules, play, subtraction_games
from metalearn.rl.games import GameState, observation
from metalearn.rl.rl2 import Rollout, imitation
from metalearn.rl.subtraction import HEAPS, LARGEST_HEAP, tables


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def lines(rules, heap, mine=True):
    """Return for each line of play whether who began won: all ways that a game can go."""
    legal = rules.legal(heap)
    if not legal:
        return [mine == rules.misere]
    return [result for move in legal for result in lines(rules, heap - move, not mine)]


def outcome(rules, heap, mine=True):
    """Return whether who began wins, by minimax over the whole tree without memory."""
    legal = rules.legal(heap)
    if not legal:
        return mine == rules.misere
    results = [outcome(rules, heap - move, not mine) for move in legal]
    return any(results) if mine else all(results)


@pytest.mark.parametrize("rules", rules_of_all()[::5])
def test_winning_heaps_are_those_of_the_whole_tree(rules):
    for heap in range(11):
        assert rules.wins(heap) == outcome(rules, heap)
        if len(set(lines(rules, heap))) == 1:
            assert rules.wins(heap) == lines(rules, heap)[0]


def test_the_known_game():
    """Of 1, 2 or 3 stones, who faces a multiple of four loses; misère, a multiple of four and one more."""
    assert [heap for heap in range(1, 13) if not Rules((1, 2, 3)).wins(heap)] == [4, 8, 12]
    assert [heap for heap in range(1, 13) if not Rules((1, 2, 3), misere=True).wins(heap)] == [1, 5, 9]


def test_rules_are_split_by_their_moves_and_every_game_can_be_won():
    splits = subtraction_games()
    sets = [{rules.moves for rules in part.rules} for part in splits]
    assert not sets[0] & sets[1] and not sets[0] & sets[2] and not sets[1] & sets[2]
    assert sum(map(len, sets)) == 50
    for rules in rules_of_all():
        assert any(rules.best(heap) for heap in HEAPS)
        assert all(rules.best(heap) for heap in tables((rules,)).start[0].nonzero().flatten().tolist())


def one_step(rules, heap, move, skill=1.0, seed=0):
    games = Games((rules,), torch.tensor([0]), n_games=2, skill=skill)
    state = GameState(torch.tensor([heap]), torch.tensor([0]))
    step = games.step(state, torch.tensor([move - 1]), generator(seed))
    return step, games


def test_a_move_and_its_reply_by_hand():
    step, _ = one_step(Rules((1, 2, 3)), 7, 2)  # leaves 5, the opponent takes 1 and leaves 4
    assert step.state.heap.tolist() == [4]
    assert torch.equal(step.observation, observation(torch.tensor([4]), torch.tensor([1]), torch.tensor([0])))
    assert (step.reward.item(), step.done.item(), step.over.item()) == (0, False, False)


@pytest.mark.parametrize(("skill", "expected"), [(0.0, [1 / 3] * 3), (0.4, [0.6, 0.2, 0.2])])
def test_without_skill_the_opponent_makes_any_legal_move(skill, expected):
    games = Games((Rules((1, 2, 3)),), torch.zeros(20_000, dtype=torch.int64), skill=skill)
    heap = torch.full((20_000,), 7)
    state = games.step(GameState(heap, torch.zeros_like(heap)), torch.ones_like(heap), generator()).state  # leaves 5
    shares = torch.stack([(state.heap == left).double().mean() for left in (4, 3, 2)])
    torch.testing.assert_close(shares, torch.tensor(expected).double(), atol=0.015, rtol=0)


@pytest.mark.parametrize(("misere", "reward"), [(False, 1.0), (True, 0.0)])
def test_who_takes_the_last_stone(misere, reward):
    step, _ = one_step(Rules((1, 3), misere=misere), 3, 3)
    assert (step.reward.item(), step.done.item()) == (reward, True)
    assert step.state.n_played.tolist() == [1]


@pytest.mark.parametrize(("misere", "reward"), [(False, 0.0), (True, 1.0)])
def test_who_cannot_move(misere, reward):
    step, _ = one_step(Rules((2, 3), misere=misere), 5, 2)  # leaves 3; a reply of 2 or of 3 leaves no move
    assert (step.reward.item(), step.done.item()) == (reward, True)


def test_an_illegal_move_loses_and_is_seen():
    step, games = one_step(Rules((1, 2)), 4, 3)
    assert (step.reward.item(), step.done.item()) == (0, True)
    assert step.observation[0, -1] == 1
    assert games.rules[0].wins(step.state.heap.item())  # the next game begins with a heap that can be won


def test_a_perfect_opponent_wins_all_that_can_be_won():
    for rules in rules_of_all()[::9]:
        table = tables((rules,))
        for heap in range(LARGEST_HEAP + 1):
            moves = (table.reply[0, heap].nonzero().flatten() + 1).tolist()
            assert moves == (rules.best(heap) or rules.legal(heap))


def test_minimax_wins_every_game_and_others_do_not():
    trials = subtraction_games(n_games=3).train.sample(300, generator())
    assert (play(Minimax(), trials, generator(1)).total == 3).all()
    assert play(RandomArm(), trials, generator(1)).score.mean < 1


def test_a_belief_holds_the_true_rules_possible_and_excludes_others():
    rules = rules_of_all()
    games = Games(rules, torch.arange(len(rules)).repeat_interleave(4), n_games=5)
    player = Belief(rules)
    memory = player.begin(games)
    state, seen = games.begin(generator())
    n_possible = []
    for _ in range(12):
        actions, memory = player.act(memory, seen, generator())
        possible = memory.log_p > -40
        assert possible[torch.arange(len(games)), games.which].all()
        n_possible.append(possible.sum(1).double().mean().item())
        state, seen, reward, done, _ = games.step(state, actions, generator())
        memory = player.learn(memory, actions, reward, done)
    assert n_possible[0] > 50
    assert n_possible[-1] < 10


def likelihood(rules, before, move, seen, reward, done):
    """Return how likely it is, by some rules, that a move has an outcome and shows this heap, reply and error."""
    heap, reply, illegal = seen
    starts = [stones for stones in HEAPS if rules.best(stones)]
    anew = (heap in starts) / len(starts)
    if move not in rules.legal(before) or illegal:
        return anew * (move not in rules.legal(before) and illegal and done and not reward and not reply)
    left = before - move
    if not rules.legal(left):  # the opponent cannot move
        return anew * (not reply and done and reward != rules.misere)
    replies = rules.best(left) or rules.legal(left)
    chance = (reply in replies) / len(replies)
    if not rules.legal(left - reply):
        return chance * anew * (done and reward == rules.misere)
    return chance * (not done and heap == left - reply)


def test_a_belief_is_the_posterior_of_all_that_was_seen():
    rules = rules_of_all()[::2] + rules_of_all()[1::6]
    games = Games(rules, torch.arange(60) % len(rules), n_games=6)
    player, ignorant = Belief(rules), Belief(rules, learns=False)
    memory, draws = player.begin(games), generator(2)
    state, observed = games.begin(generator(1))
    starts = [[stones for stones in HEAPS if rule.best(stones)] for rule in rules]
    weights = [[(h in stones) / len(stones) for stones in starts] for h in state.heap.tolist()]
    expected = torch.tensor(weights).double()
    for _ in range(8):
        actions, memory = player.act(memory, observed, generator(3))
        posterior = expected / expected.sum(1, keepdim=True)
        torch.testing.assert_close(memory.log_p.softmax(1).double(), posterior, atol=1e-5, rtol=1e-4)
        assert ignorant.act(memory._replace(log_p=torch.zeros(60, len(rules))), observed, draws)[1].log_p.eq(0).all()
        actions[::2] = torch.randint(6, (30,), generator=draws)  # legal or not
        before = state.heap.tolist()
        state, observed, reward, done, _ = games.step(state, actions, draws)
        memory = player.learn(memory, actions, reward, done)
        parts = (observed[:, :13].argmax(1), observed[:, 13:-1].argmax(1), observed[:, -1].bool(), reward.bool(), done)
        came = zip(before, (actions + 1).tolist(), *(part.tolist() for part in parts), strict=True)
        news = [[likelihood(rule, h, m, seen, r, d) for rule in rules] for h, m, *seen, r, d in came]
        expected = posterior * torch.tensor(news).double()


def test_players_by_name_believe_in_what_their_names_say():
    assert player_of("belief", 1.0, 8).rules == player_of("ignorant", 1.0, 8).rules == rules_of_all()
    assert player_of("belief in the rules of training", 1.0, 8).rules == subtraction_games().train.rules
    assert player_of("belief", 1.0, 8).learns and not player_of("ignorant", 1.0, 8).learns


def test_bayes_rule_on_one_move_by_hand():
    """A reply of 2 to a heap of 5 is sure by the first rules, one of two best by the second, unlawful by the third."""
    rules = (Rules((2, 4), misere=True), Rules((1, 2, 5)), Rules((1, 3)))
    chances = [(2 in moves) / len(moves) for moves in (r.best(5) or r.legal(5) for r in rules)]
    assert chances == [1.0, 0.5, 0.0]
    player, nothing = Belief(rules), torch.tensor([0])
    games = Games(rules, nothing)
    before = observation(torch.tensor([7]), nothing, nothing)
    start = player.act(player.begin(games), before, generator())[1]
    memory = player.learn(start, torch.tensor([1]), torch.tensor([0.0]), torch.tensor([False]))
    after = player.act(memory, observation(torch.tensor([3]), torch.tensor([2]), nothing), generator())[1]
    lawful = [2 in r.moves for r in rules]  # the move, and the game goes on after the reply
    weights = start.log_p.exp()[0] * torch.tensor(chances) * torch.tensor(lawful)
    weights = weights * ~tables(rules).stuck[:, 3]
    assert (weights[:2] > 0.1).all()
    torch.testing.assert_close(after.log_p.softmax(1)[0], weights / weights.sum(), atol=1e-6, rtol=1e-5)


def test_games_are_counted_one_by_one():
    trials = subtraction_games(n_games=4).test.sample(100, generator())
    played = play(RandomArm(), trials, generator(1))
    by_game = played.by_episode(4)
    assert torch.equal(by_game.sum(1), played.total)
    assert (played.dones.sum(1) == 4).all()
    assert torch.isnan(played.by_episode(5)[:, 4]).all()


def test_a_recurrent_player_fits_the_games():
    torch.manual_seed(0)
    trials = subtraction_games(n_games=2).train.sample(6, generator())
    agent = RL2(trials.n_actions, trials.n_features, width=8, n_plays=2)
    agent.check(trials)
    loss = agent.backward(trials, generator(1))
    assert all(parameter.grad is not None for parameter in agent.parameters())
    played = agent._rollout(trials, generator(1), n_plays=2)
    assert played.rewards.shape[1] == 12 and -loss == played.rewards.sum(0).mean()
    ended = played.alive == 0
    assert ended.any() and played.rewards[ended].eq(0).all() and played.values[ended].eq(0).all()


def test_with_a_teacher_the_gradient_is_that_of_imitation():
    torch.manual_seed(0)
    games = Games((Rules((1, 2)), Rules((1, 3), misere=True)), torch.tensor([0, 1, 1]), n_games=2)
    agent = RL2(games.n_actions, games.n_features, width=8, teacher=True)
    agent.backward(games, generator(1))
    played = agent._rollout(games, generator(1), n_plays=1)
    state, _ = games.begin(generator(1))
    assert torch.equal(played.best[0], games.best(state))
    weights = (agent.policy.weight, agent.cell.inputs.weight)
    for weight, expected in zip(weights, torch.autograd.grad(imitation(played), weights), strict=True):
        torch.testing.assert_close(weight.grad, expected)


def test_a_teacher_counts_any_of_the_best_moves():
    """Minus the mean log probability of the best moves, over steps that have such and trials that still go on."""
    logits = torch.tensor([[[0.1, 0.2, 0.7], [0.5, 0.25, 0.25]], [[0.6, 0.3, 0.1], [0.2, 0.4, 0.4]]]).log()
    best = torch.tensor([[[0, 1, 1], [1, 0, 0]], [[0, 0, 0], [0, 1, 0]]]).bool()
    alive = torch.tensor([[1.0, 1.0], [1.0, 0.0]])
    nothing = torch.zeros(2, 2)
    loss = imitation(Rollout(logits.requires_grad_(), nothing, nothing.long(), nothing, alive, best))
    assert loss.item() == pytest.approx(-(torch.tensor(0.9).log() + torch.tensor(0.5).log()).item() / 2)
    (grad,) = torch.autograd.grad(loss, logits)
    assert grad.isfinite().all() and (grad[1] == 0).all()


def test_what_a_teacher_calls_best_wins():
    games = subtraction_games().train.sample(200, generator())
    state, _ = games.begin(generator(1))
    best = games.best(state)
    for i in range(0, 200, 7):
        rules = games.rules[int(games.which[i])]
        assert (best[i].nonzero().flatten() + 1).tolist() == rules.best(int(state.heap[i]))


@pytest.mark.slow
def test_with_a_teacher_it_adapts_to_rules_that_it_never_met():
    """The study in small: after some seconds it wins more of the last games than of the first."""
    torch.manual_seed(0)
    splits = subtraction_games(n_games=6)
    agent = RL2(6, 21, width=48, teacher=True)
    fit(agent, splits.train.tasks(n_tasks=128), 120, outer_lr=1e-2, max_grad_norm=1.0, seed=0, progress=False)
    wins = play(agent.eval(), splits.test.sample(1_000, generator()), generator(1)).by_episode(6).mean(0)
    assert wins[3:].mean() > wins[0] + 0.05


def test_bandits_have_no_teacher():
    agent = RL2(2, width=4, teacher=True)
    with pytest.raises(ValueError, match="Bandits do not tell the best actions"):
        agent.backward(BanditFamily(2, 3).sample(2), generator())


@pytest.mark.parametrize("options", [{"skill": 1.5}, {"n_games": 0}, {"which": torch.tensor([9])}])
def test_numbers_out_of_range_are_refused(options):
    with pytest.raises(ValueError, match=r"skill|n_games|which"):
        Games(**{"rules": (Rules((1, 2)),), "which": torch.tensor([0]), **options})


def test_moves_out_of_range_are_refused():
    with pytest.raises(ValueError, match=r"moves must be some of 1 to 6, got \(0, 2\)"):
        Rules((0, 2))
