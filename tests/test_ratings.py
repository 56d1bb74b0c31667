"""The world of ratings against simulation and brute force; users as tasks; MovieLens' files; matrix factorisation."""

import math

import pytest
import torch
from torch.nn import functional as F

from metalearn import Batch, Episode, EpisodeList, evaluate, fit, over_tasks
from metalearn.data import RatingWorld, movielens, ratings, returns
from metalearn.data.rating_world import MEAN, ROUNDING, Tastes
from metalearn.data.returns import windows
from metalearn.evaluation import adapt_each
from metalearn.experiments._closed import KnownItems
from metalearn.learners import ANIL, MatrixFactorization, NeuralProcess, Shrinkage
from metalearn.learners.matrix_factorization import fold_in, ridge_of_rows
from metalearn.networks import MLP, ItemEncoder, Part, UserHead


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


SMALL = ratings(n_train=60, n_validation=20, n_test=30)


def test_mean_and_variance_of_ratings_are_those_of_many_draws():
    world, liking = RatingWorld(), torch.linspace(0, 6, 13)
    drawn = world.rate(liking.expand(200_000, -1), seeded())
    assert drawn.unique().tolist() == [1, 2, 3, 4, 5]
    torch.testing.assert_close(world.expected(liking), drawn.mean(0), atol=0.006, rtol=0)
    torch.testing.assert_close(world.spread(liking), drawn.var(0), atol=0.006, rtol=0)
    moved = liking + 0.5 * torch.randn(200_000, 13, generator=seeded(1))
    torch.testing.assert_close(world.expected(liking, 0.25), world.rate(moved, seeded(2)).mean(0), atol=0.01, rtol=0)


def test_the_best_guess_is_the_posterior_mean_over_many_users():
    world, item, rating = RatingWorld(n_types=3), torch.tensor([4, 250, 77]), torch.tensor([5.0, 2.0, 4.0])
    tastes = world.tastes(400_000, seeded())  # each weighted by how likely these ratings are for it
    factors, bias = world.items().factors, world.items().bias
    variance = world.noise**2 + ROUNDING
    seen = MEAN + tastes.offset[:, None] + bias[item] + tastes.factors @ factors[item].T
    weight = (-0.5 * (rating - seen).square().sum(1) / variance).double().softmax(0)
    asked = torch.tensor([0, 4, 120])
    liking = MEAN + tastes.offset[:, None] + bias[asked] + tastes.factors @ factors[asked].T
    expected = (weight[:, None] * world.expected(liking)).sum(0)
    torch.testing.assert_close(world.best_guess(item, rating)[asked].double(), expected, atol=0.01, rtol=0)
    nothing = world.best_guess(item[:0], rating[:0])
    prior = world.expected(world.liking(Tastes(*(part[:20_000] for part in tastes)))).mean(0)
    torch.testing.assert_close(nothing, prior, atol=0.03, rtol=0)


def test_who_rates_what():
    world = RatingWorld(popularity=0.0, selection=0.0)
    liking = world.liking(world.tastes(4000, seeded()))
    first = world.order(liking, seeded(1))[:, 0].bincount(minlength=300).float()
    assert first.std() < 1.3 * math.sqrt(first.mean())  # uniform: Poisson counts
    world = RatingWorld(popularity=2.0, selection=0.0)
    first = world.order(liking, seeded(1))[:, 0].bincount(minlength=300).float()
    expected = 4000 * (2 * world.items().fame).softmax(0)
    assert torch.corrcoef(torch.stack([first, expected]))[0, 1] > 0.98
    world = RatingWorld(popularity=0.0, selection=2.0)
    chosen = world.order(liking, seeded(1))[:, :30]
    assert liking.gather(1, chosen).mean() > liking.mean() + 1.0
    counts = world.counts(5000, seeded())
    assert counts.min() >= 30 and counts.max() == 200 and counts.float().mean() > 1.15 * counts.median()


def test_ratings_belong_to_their_users():
    test = SMALL.test
    assert test.n_ratings == test.counts.sum() and test.n_items == 300
    for user in (0, 7, 29):
        item, rating = test.of(user)
        assert len(item) == test.counts[user] == len(item.unique())
        assert torch.equal(rating, test.truth.rating[user, item])
    again = ratings(n_train=60, n_validation=20, n_test=30).test
    assert torch.equal(again.item, test.item) and not torch.equal(SMALL.train.item[:30], test.item[:30])


def test_tasks_take_the_first_ratings_and_ask_for_the_later_ones():
    test = SMALL.test
    few, many, everything = test.tasks(2), test.tasks(20), test.tasks(20, query="all")
    assert len(few) == 30 and len({len(task.query_y) for task in few}) > 10
    for user in (0, 12):
        item, rating = test.of(user)
        assert torch.equal(few[user].support_x["item"], item[:2]) and torch.equal(few[user].query_x["item"], item[20:])
        assert torch.equal(many[user].query_y.squeeze(1), rating[20:])
        assert torch.equal(many[user].support_x["features"], test.features[item[:20]])
        asked = everything[user].query_x["item"]
        assert len(asked) == 280 and not set(asked.tolist()) & set(item[:20].tolist())
        assert torch.equal(everything[user].query_y.squeeze(1), test.truth.rating[user, asked])
    assert isinstance(test.users(n_shot=2)(), EpisodeList)


def test_training_batches_hold_ratings_of_one_user_each_without_overlap():
    batch, test = SMALL.train.sample(50, 7, 10, seeded()), SMALL.train
    owners = [dict(zip(*(part.tolist() for part in test.of(user)), strict=True)) for user in range(60)]
    heads = [set(test.of(user)[0][:20].tolist()) for user in range(60)]
    for task in batch:
        support, query = task.support_x["item"].tolist(), task.query_x["item"].tolist()
        rated = dict(zip(support + query, torch.cat([task.support_y, task.query_y]).squeeze(1).tolist(), strict=True))
        assert len(rated) == 17
        assert any(
            rated.items() <= owner.items() and set(support) <= head and not set(query) & head
            for owner, head in zip(owners, heads, strict=True)
        )
    sizes = {SMALL.train.episodes(n_tasks=2, n_shot=(1, 3), n_query=5)(seeded(i)).support_y.shape[1] for i in range(30)}
    assert sizes == {1, 2, 3}


def test_fold_in_is_the_posterior_mean():
    factors, left = torch.randn(4, 3, generator=seeded()).double(), torch.randn(4, generator=seeded(1)).double()
    mean, noise, spread = torch.tensor([1.0, -1.0, 0.5]).double(), 0.7, torch.tensor([0.3, 1.0, 2.0]).double()
    prior = torch.diag(spread**2)
    cross, joint = prior @ factors.T, factors @ prior @ factors.T + noise**2 * torch.eye(4)
    posterior = mean + cross @ torch.linalg.solve(joint, left - factors @ mean)
    torch.testing.assert_close(fold_in(factors, left, noise**2 / spread**2, mean), posterior)
    torch.testing.assert_close(fold_in(factors[:0], left[:0], 1.0, mean), mean)


def test_each_half_of_a_sweep_is_the_least_of_the_penalised_squares():
    torch.manual_seed(0)
    learner = MatrixFactorization(300, 3, factor_penalty=2.0, bias_penalty=1.5).double()
    batch = SMALL.train.table()()
    fit(learner, SMALL.train.table(), 2, optimizer=torch.optim.SGD(learner.parameters(), lr=1.0), progress=False)
    users = torch.stack([adapted["user"] for adapted in adapt_each(learner, whole(SMALL.train))]).detach()
    before = [p.detach().clone().requires_grad_() for p in (learner.bias, learner.factors)]
    learner.backward(batch)
    torch.optim.SGD(learner.parameters(), lr=1.0).step()
    user, item = batch.x["user"], batch.x["item"]

    def objective(users, bias, factors):
        guess = learner.mean.detach() + bias[item] + users[user, 0] + (users[user, 1:] * factors[item]).sum(1)
        penalty = 1.5 * (bias.square().sum() + users[:, 0].square().sum())
        penalty = penalty + 2.0 * (factors.square().sum() + users[:, 1:].square().sum())
        return (batch.y.double() - guess).square().sum() + penalty

    users.requires_grad_()
    (of_users,) = torch.autograd.grad(objective(users, *before), users)
    assert of_users.abs().max() < 1e-8
    after = [p.detach().clone().requires_grad_() for p in (learner.bias, learner.factors)]
    for gradient in torch.autograd.grad(objective(users, *after), after):
        assert gradient.abs().max() < 1e-8
    assert objective(users, *after) < objective(users, *before)


def whole(raters):
    """Return each user with all ratings as the support, and one of them as the query."""
    pairs = [raters.of(user) for user in range(raters.n_users)]
    inputs = [(raters.inputs(item), rating[:, None].double()) for item, rating in pairs]
    one = [(raters.inputs(item[:1]), rating[:1, None].double()) for item, rating in pairs]
    return EpisodeList([Episode(*support, *query) for support, query in zip(inputs, one, strict=True)])


def test_averages_are_shrunk_means_and_users_are_vectorised():
    learner = MatrixFactorization(300, 0, user_bias=False, bias_penalty=4.0)
    fit(learner, SMALL.train.table(), 1, optimizer=torch.optim.SGD(learner.parameters(), lr=1.0), progress=False)
    item, rating = SMALL.train.item, SMALL.train.rating
    left = (rating - rating.mean())[item == 7]
    torch.testing.assert_close(learner.mean.detach(), rating.mean())
    torch.testing.assert_close(learner.bias[7].detach(), left.sum() / (len(left) + 4))
    learner = MatrixFactorization(300, 2)
    tasks = SMALL.validation.tasks(5)
    alone = [learner.adapt(task.support_x, task.support_y)["user"] for task in tasks]
    together = [adapted["user"] for adapted in adapt_each(learner, tasks)]
    torch.testing.assert_close(torch.stack(together), torch.stack(alone))
    assert ridge_of_rows(torch.tensor([1]), 2, torch.ones(1, 1), torch.ones(1), torch.ones(1)).tolist() == [[0], [0.5]]


def encoder():
    return ItemEncoder(300, 8, 4, n_hidden=8)


USER_ONLY = {f"head.{name}": 0.5 * (name == "user") for name, _ in UserHead(4, 3).named_parameters()}
LEARNERS = {
    "anil": lambda: ANIL(encoder(), MLP([4, 1]), 0.1, 2, loss_fn=F.mse_loss),
    "cavia": lambda: ANIL(encoder(), UserHead(4, 3), USER_ONLY, 2, loss_fn=F.mse_loss),
    "process": lambda: NeuralProcess(encoder(), n_hidden=8, n_embedding=4),
    "ridge": lambda: Shrinkage(Part("features"), 1, n_features=8, n_inner_steps=1, loss_fn=F.mse_loss),
    "factors": lambda: MatrixFactorization(300, 2),
    "known": KnownItems,
}


@pytest.mark.parametrize("name", LEARNERS)
def test_learners_take_users_of_unequal_size(name):
    torch.manual_seed(0)
    learner, tasks = LEARNERS[name](), SMALL.validation.tasks(3)
    score = evaluate(learner, SMALL.validation.users(n_shot=3), 20)
    for task, value in zip(tasks, score.per_task, strict=True):
        adapted = learner.adapt(task.support_x, task.support_y)
        error = (learner.predict(adapted, task.query_x) - task.query_y).square().mean()
        torch.testing.assert_close(value, error.detach(), rtol=1e-4, atol=1e-5)
    if name not in ("factors", "known"):
        history = fit(learner, SMALL.train.episodes(n_tasks=8, n_shot=(1, 3), n_query=4), 3, progress=False)
        assert history.n_steps == 3
        batch = SMALL.train.sample(4, 3, 5, seeded()).map(lambda t: t.double() if t.is_floating_point() else t)
        losses = [over_tasks(learner.double().loss, batch, how) for how in ("loop", "vmap")]
        torch.testing.assert_close(*losses, rtol=1e-9, atol=1e-9)


def test_users_are_cast_to_the_learners_precision():
    learner = LEARNERS["anil"]().double()
    assert evaluate(learner, SMALL.validation.users(n_shot=3), 20).per_task.dtype == torch.float64


def test_only_the_users_vector_moves():
    torch.manual_seed(0)
    learner = LEARNERS["cavia"]()
    task = SMALL.train.sample(1, 5, 5, seeded())[0]
    adapted = learner.adapt(task.support_x, task.support_y)
    for name, tensor in learner.named_parameters():
        if name.startswith("head."):
            assert torch.equal(adapted[name], tensor) is (name != "head.user"), name
    with torch.no_grad():
        by_hand = learner.head.all(features := learner.encode({}, task.query_x)) + adapted["head.user"][0]
        by_hand = by_hand + features @ learner.head.weight.T @ adapted["head.user"][1:, None]
    torch.testing.assert_close(learner.predict(adapted, task.query_x), by_hand)


FILES = {
    "ml-100k": ("u.data", "{u}\t{i}\t{r}\t{t}", "u.item", "{i}|Title (1995)|01-Jan-1995||http://x|{g100}"),
    "ml-1m": ("ratings.dat", "{u}::{i}::{r}::{t}", "movies.dat", "{i}::Title: again (1995)::{g}"),
    "ml-latest-small": ("ratings.csv", "{u},{i},{r}.5,{t}", "movies.csv", '{i},"Title, The (1995)",{g}'),
}


def write(folder, kind):
    rating_file, rating_line, movie_file, movie_line = FILES[kind]
    flags = ["0|" * 5 + "1|" + "0|" * 12 + "0", "0|" * 5 + "1|" + "1|" + "0|" * 11 + "0", "0|" * 18 + "1"]
    genres = ["Drama", "Comedy|Drama", "War"]
    movies = [movie_line.format(i=10 * i, g100=flags[i - 1], g=genres[i - 1]) for i in (1, 2, 3)]
    movies.append(movie_line.format(i=40, g100="0|" * 18 + "0", g="(no genres listed)"))  # which nobody has rated
    lines = [rating_line.format(u=u, i=10 * i, r=(u + i) % 4 + 1, t=100 - i) for u in (3, 5, 8, 9) for i in (1, 2, 3)]
    if kind == "ml-latest-small":
        movies, lines = ["movieId,title,genres", *movies], ["userId,movieId,rating,timestamp", *lines]
    (folder / movie_file).write_text("\n".join(movies) + "\n", encoding="latin-1")
    (folder / rating_file).write_text("\n".join(lines) + "\n")
    return folder / rating_file


@pytest.mark.parametrize("kind", FILES)
def test_movielens_files_are_read(tmp_path, kind):
    write(tmp_path, kind)
    parts = movielens(tmp_path)
    assert [part.n_users for part in parts] == [2, 1, 1] and parts.train.name == f"{kind}, train"
    half = 0.5 * (kind == "ml-latest-small")
    found = {tuple(part.of(user)[1].tolist()) for part in parts for user in range(part.n_users)}
    assert found == {tuple((u + i) % 4 + 1 + half for i in (3, 2, 1)) for u in (3, 5, 8, 9)}  # in the order of time
    assert torch.equal(parts.test.item, torch.tensor([2, 1, 0]))
    assert parts.test.features.sum(1).tolist() == [1, 2, 1, 0] and parts.test.features.shape == (4, 3)
    assert len(parts.test.tasks(1, held=2)[0].query_y) == 1
    with pytest.raises(ValueError, match="nobody knows"):
        parts.test.tasks(1, held=2, query="all")


@pytest.mark.parametrize("kind", FILES)
def test_movielens_files_that_are_missing_or_cut_are_refused(tmp_path, kind):
    with pytest.raises(ValueError, match=r"no ratings in .*download"):
        movielens(tmp_path)
    path = write(tmp_path, kind)
    text = path.read_text()
    path.write_text(text[: text.rstrip().rfind(text.rstrip()[-5:])])
    with pytest.raises(ValueError, match=r"line 1[23]: expected"):
        movielens(tmp_path)
    path.write_text(text.replace("10", "77", 1) if kind != "ml-latest-small" else text.replace(",10,", ",77,", 1))
    with pytest.raises(ValueError, match=r"do not belong together|expected"):
        movielens(tmp_path)
    path.write_text(text)
    (tmp_path / FILES[kind][2]).unlink()
    with pytest.raises(ValueError, match="is missing"):
        movielens(tmp_path)


def test_returns_and_windows():
    series = returns(40_000, momentum=0.3, change_day=20_000, momentum_after=-0.3, volatility=0.01, generator=seeded())
    for part, a in ((series[:20_000], 0.3), (series[20_001:], -0.3)):
        assert torch.corrcoef(torch.stack([part[:-1], part[1:]]))[0, 1].item() == pytest.approx(a, abs=0.025)
        assert part.std().item() == pytest.approx(0.01 / math.sqrt(1 - a**2), rel=0.03)
    plain = returns(20_000, generator=seeded(1))
    assert abs(torch.corrcoef(torch.stack([plain[:-1], plain[1:]]))[0, 1].item()) < 0.02
    x, y = windows(torch.arange(6.0), 2, 3)
    assert x.tolist() == [[0, 1], [1, 2]] and y.tolist() == [2 + 3 + 4, 3 + 4 + 5]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: RatingWorld(n_items=20), "at least 60 items"),
        (lambda: RatingWorld(n_types=0), "n_types must be at least 1"),
        (lambda: SMALL.test.of(-1), "a user's number 0…29, got -1"),
        (lambda: SMALL.test.of(30), "a user's number 0…29, got 30"),
        (lambda: SMALL.test.tasks(21), "at most held=20"),
        (lambda: SMALL.test.tasks(5, held=500), "lower held"),
        (lambda: SMALL.test.tasks(5, query="some"), "'rated' or 'all'"),
        (lambda: SMALL.test.sample(2, 30, 5), "at most held=20"),
        (lambda: SMALL.test.episodes(n_tasks=2, n_shot=(3, 1), n_query=5), "the least and the most"),
        (lambda: MatrixFactorization(300, -1), "n_factors must be at least"),
        (lambda: MatrixFactorization(300, factor_penalty=0), "factor_penalty must be above 0"),
        (lambda: MatrixFactorization(300).backward(SMALL.train.sample(2, 3, 3)), "table of all ratings"),
        (
            lambda: MatrixFactorization(300).batch_loss(Batch(torch.zeros(3, 2), torch.zeros(3))),
            r"table of all ratings.* Its x holds 'user' and 'item', got Batch\(x=\[3, 2\]",
        ),
        (lambda: MatrixFactorization(300).adapt({"item": torch.zeros(1).long()}, torch.ones(1, 1), n_steps=1), "steps"),
        (lambda: ItemEncoder(0, 8), "n_items must be at least 1"),
        (lambda: UserHead(4, 0), "n_user must be at least 1"),
        (lambda: returns(10, momentum=1.0), "momenta in"),
        (lambda: returns(10, change_day=11), "change_day must be"),
        (lambda: windows(torch.zeros(5), 4, 2), "at least 6 days"),
    ],
)
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()
