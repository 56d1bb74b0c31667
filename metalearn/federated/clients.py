"""Clients: who holds which data, and how a client goes through them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from metalearn._given import at_least_one
from metalearn._torch import tree_map
from metalearn.episodes import Episode, EpisodeList, Inputs
from metalearn.pools import Pool

Epoch = Callable[[torch.Generator | None], Iterable[Episode | EpisodeList]]


@dataclass(frozen=True, eq=False)
class Client:
    """One client: its data are seen through ``epoch`` alone, which runs on the client.

    Attributes:
        name: Of the client.
        epoch: ``epoch(generator)`` goes once through the client's training data, in batches as ``learner.backward``
            takes them.
        n_examples: Number of its training examples: its weight in the average.
        task: A task as it is tested. Its support is training data; so are its queries with :func:`clients_by_group`,
            whose clients are to be tested on other classes, but not with :func:`clients_of`.

    Example:
        >>> import torch
        >>> from metalearn import Episode
        >>> from metalearn.federated import clients_of
        >>> task = Episode(torch.zeros(7, 2), torch.arange(7) % 2, torch.zeros(3, 2), torch.arange(3) % 2, 2)
        >>> clients_of([task], names=["here"])
        [Client('here', 7 examples)]
    """

    name: str
    epoch: Epoch
    n_examples: int
    task: Episode

    def __repr__(self) -> str:
        """Show the name and the size."""
        return f"Client({self.name!r}, {self.n_examples} examples)"


def clients_of(
    tasks: Iterable[Episode],
    batch_size: int | None = None,
    *,
    split: bool = False,
    names: Sequence[str] | None = None,
) -> list[Client]:
    """Return a client for each task: it trains on the task's support and is tested on its queries.

    Args:
        tasks: Tasks, which may be unequal in size.
        batch_size: Examples of a local step, drawn without replacement; the last batch of an epoch may be smaller.
            ``None``: all.
        split: ``False``: a local batch is support and query at once, for plain training
            (:class:`metalearn.learners.MAML` with ``n_inner_steps=0``). ``True``: its first half is the support and the
            rest the query, for Per-FedAvg; a batch of a single example is then left out.
        names: Of the clients; ``None``: their numbers.

    Raises:
        ValueError: If there is no task, names are missing, a batch size is below 1 (2 with ``split``), or a client has
            too few examples to split.

    Example:
        >>> import torch
        >>> from metalearn import Episode
        >>> from metalearn.federated import clients_of
        >>> task = Episode(torch.zeros(7, 2), torch.arange(7) % 2, torch.zeros(3, 2), torch.arange(3) % 2, 2)
        >>> [len(batch[0].query_y) for batch in clients_of([task], batch_size=3)[0].epoch(None)]
        [3, 3, 1]
    """
    episodes = list(EpisodeList(list(tasks)))
    at_least_one(batch_size=1 if batch_size is None else batch_size)
    if split and batch_size == 1:
        raise ValueError("a batch of 1 cannot be split into support and query: give batch_size=2 or more")
    if names is not None and len(names) != len(episodes):
        raise ValueError(f"expected a name for each of {len(episodes)} clients, got {len(names)} names")
    found = []
    for i, task in enumerate(episodes):
        n = len(task.support_y)
        if n < 1 + split:
            raise ValueError(f"client {i} has {n} training examples, {1 + split} are needed: leave it out")
        name = str(i) if names is None else names[i]
        found.append(Client(name, _Minibatches(task, batch_size or n, split), n, task))
    return found


@dataclass(frozen=True, eq=False)
class _Minibatches:
    """An epoch of minibatches of a task's support."""

    task: Episode
    size: int
    split: bool

    def __call__(self, generator: torch.Generator | None = None) -> Iterator[EpisodeList]:
        task = self.task
        order = torch.randperm(len(task.support_y), generator=generator).to(task.support_y.device)
        for rows in torch.split(order, self.size):
            if self.split and len(rows) < 2:
                continue
            half = len(rows) // 2
            first, rest = (rows[:half], rows[half:]) if self.split else (rows, rows)
            parts = [(_take(task.support_x, index), task.support_y[index]) for index in (first, rest)]
            yield EpisodeList([Episode(*parts[0], *parts[1], task.n_way)])


def _take(x: Inputs, rows: Tensor) -> Inputs:
    taken: Inputs = tree_map(lambda leaf: leaf[rows], x)
    return taken


def clients_by_group(
    pool: Pool, *, n_way: int, n_shot: int, n_query: int, n_batches: int = 10, n_tasks: int = 1
) -> list[Client]:
    """Return a client for each group of classes, such as a script: it draws few-shot tasks from its classes alone.

    Clients whose classes differ share no classifier. What can be averaged is a learner whose parameters do not name
    classes: an encoder with prototypes, or a start whose outputs mean other classes in each task.

    Args:
        pool: Its class names are ``"<group>/<name>"``.
        n_way: Classes of a local task.
        n_shot: Support examples of each.
        n_query: Queries of each.
        n_batches: Local batches of an epoch.
        n_tasks: Tasks of a local batch.

    Raises:
        ValueError: If a number is below 1, or a group has fewer classes than ``n_way``.

    Example:
        >>> from metalearn.data import glyphs
        >>> from metalearn.federated import clients_by_group
        >>> clients_by_group(glyphs().test, n_way=5, n_shot=1, n_query=5)[2]
        Client('Hebrew', 240 examples)
    """
    at_least_one(n_batches=n_batches)
    groups: dict[str, list[int]] = {}
    for i, name in enumerate(pool.class_names):
        groups.setdefault(name.split("/")[0], []).append(i)
    found = []
    for group, classes in groups.items():
        if len(classes) < n_way:
            raise ValueError(f"{group} has {len(classes)} classes, n_way={n_way} are asked for: leave it out")
        own = pool.select(classes)
        sample = own.episodes(n_tasks=n_tasks, n_way=n_way, n_shot=n_shot, n_query=n_query)
        task = sample(torch.Generator(own.y.device).manual_seed(0))[0]
        found.append(Client(group, _Drawn(sample, n_batches), len(own), task))
    return found


@dataclass(frozen=True, eq=False)
class _Drawn:
    """An epoch of batches that a sampler draws."""

    sample: Callable[[torch.Generator | None], Episode]
    n_batches: int

    def __call__(self, generator: torch.Generator | None = None) -> Iterator[Episode]:
        return (self.sample(generator) for _ in range(self.n_batches))
