"""What a study is: methods, tests and seeds as plain data, and the digest by which a part of it is known."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import cache
from typing import Any

from metalearn import data as sources
from metalearn.data import language_names
from metalearn.data._sentences import HOMES
from metalearn.data.glyphs import SHA256 as GLYPHS
from metalearn.data.omniglot import SHA256 as OMNIGLOT
from metalearn.data.omniglot import VINYALS
from metalearn.experiments._open import OpenTasks
from metalearn.learners._settings import known_learners

RUNNER = 1  # in each digest; raise it when a change of the runner, of fit or of the samplers moves all numbers
FAMILIES = ("sinusoids", "linear_problems", "ciphers")  # sources that make their data themselves
KINDS = ("episodes", "batches", "pairs", "triplets")  # samplers of a pool
TEXTS = {"languages": (), "intents": ("clinc150", "banking77"), "relations": ("fewrel_val",)}  # and their files
TASKS_PER_DRAW = 20  # tests draw so many tasks at a time: the draws decide which tasks they are


@dataclass(frozen=True)
class Fit:
    """How a method of a study is trained; what is not named here is as :func:`metalearn.fit` has it.

    Args:
        n_steps: Outer steps at most; 0 leaves the learner as it was initialised.
        max_seconds: Processor seconds at most.
        outer_lr: Adam's rate.
        head_lr: Adam's rate for what is not under ``"encoder."``, where it is another one.
        schedule: ``"cosine"``: the rates fall along half a cosine over ``n_steps``.
        max_grad_norm: Clip the gradient to this norm.
        compile: Compile the meta-gradient.
        how: How the tasks of a batch are run: ``"vmap"``, ``"loop"`` or ``"auto"``.
        channels_last: Lay images out with their channels last: the same numbers, faster on a CPU.
        validate_every: Steps between validations, on 200 tasks like the first test's (``validate_on`` names another).
        validate_on: Name of the test whose sizes validation has.
        patience: Stop after so many validations without a better score.

    Example:
        >>> from metalearn.experiments import Fit
        >>> Fit(max_seconds=300).n_steps
        100000
    """

    n_steps: int = 100_000
    max_seconds: float = 600.0
    outer_lr: float = 1e-3
    head_lr: float | None = None
    schedule: str | None = None
    max_grad_norm: float | None = None
    compile: bool = False
    how: str = "auto"
    channels_last: bool = False
    validate_every: int = 250
    validate_on: str | None = None
    patience: int | None = None


@dataclass(frozen=True)
class Method:
    """One learner of a study, how it is trained and how it is tested, in plain data.

    Args:
        learner: The learner's class by name.
        model: Its networks: ``{"encoder": {"network": "Conv4", "config": {"norm": "frozen"}}}``.
        learner_args: Its other arguments.
        episodes: What a training step draws: ``{"kind": "episodes", "n_tasks": 4, "n_way": 5, …}``, or the kinds
            ``"batches"``, ``"pairs"``, ``"triplets"`` with the sizes that the pool's samplers have.
        fit: Options of :class:`Fit`.
        test: ``{"n_steps": [1, 3]}`` for a row of each number of inner steps; ``{"n_way": 5}`` for a learner that
            knows no other number of classes; ``{"tune": {"inner_lr": [0.01, 0.1]}}`` for a setting that is chosen for
            each test, on validation tasks.
        weights: Label of the method whose trained weights this one takes, in place of training.
        data: Source of this method's inputs, where they are the study's examples in another form:
            ``"intents:tfidf"``.

    Example:
        >>> from metalearn.experiments import Method
        >>> network = {"network": "MLP", "config": {"sizes": [1, 40, 1]}}
        >>> method = Method("MAML", {"model": network}, {"inner_lr": 0.01, "loss_fn": "mse_loss"}, fit={"n_steps": 500})
        >>> method.training.n_steps, method.training.outer_lr
        (500, 0.001)
    """

    learner: str
    model: Mapping[str, Any] = field(default_factory=dict)
    learner_args: Mapping[str, Any] = field(default_factory=dict)
    episodes: Mapping[str, Any] = field(default_factory=dict)
    fit: Mapping[str, Any] = field(default_factory=dict)
    test: Mapping[str, Any] = field(default_factory=dict)
    weights: str | None = None
    data: str | None = None

    @property
    def settings(self) -> dict[str, Any]:
        """The learner as plain data, from which it is built."""
        return {"learner": self.learner, "arguments": {**self.model, **self.learner_args}}

    @property
    def training(self) -> Fit:
        """How it is trained, with the defaults."""
        return Fit(**self.fit)

    def fits(self, test: Mapping[str, Any]) -> bool:
        """Return whether the learner can be given a test: one with a fixed number of classes can only take that."""
        fixed = {self.test.get("n_way"), self.learner_args.get("n_way")}
        for key, sizes in (("model", "n_outputs"), ("head", "sizes")):
            value = self.model.get(key, {}).get("config", {}).get(sizes)
            fixed.add(value[-1] if isinstance(value, Sequence) else value)
        return "n_way" not in test or fixed - {None} <= {test["n_way"]}


@dataclass(frozen=True)
class Study:
    """A comparison of methods on one source of tasks: names and plain data only.

    Args:
        name: Of the study's files.
        methods: Each under its label, in the order of the table.
        tests: Sizes of each test under its name; ``"n_tasks"`` is their number, ``"within": "group"`` draws the
            classes of a task from one group (the part of a class's name before the first slash), ``"only"`` lists the
            groups whose classes are tested, ``"unknown"`` lists groups of which no class is tested and as many queries
            come as of known classes (the score is then the AUROC of the top logit, known against unknown),
            ``"diverged_above"`` is the error above which a task counts as diverged.
        data: ``"glyphs"``, ``"digits"``, ``"omniglot:vinyals"`` (or another split); texts: ``"languages"``,
            ``"intents"``, ``"relations"`` (or another form of them: ``"languages:tfidf"``); or a family:
            ``"sinusoids"``, ``"linear_problems"``, ``"ciphers"``.
        seeds: Of initial weights and training tasks; test tasks are the same for all.
        snapshots: Processor seconds of training after which the first test is made on the way.
        published: The literature's numbers, to be shown beside ours.
        ship: Whether trained weights come with the package; where the data do not, they are of little use.

    Raises:
        ValueError: If something is no plain data, or an option is unknown.

    Example:
        >>> from metalearn.experiments import Method, Study
        >>> flat = Method("Prototypical", {"encoder": {"network": "Flatten", "config": {}}}, fit={"n_steps": 0})
        >>> tests = {"3-way": {"n_way": 3, "n_shot": 1, "n_query": 5, "n_tasks": 100}}
        >>> len(Study("mine", {"raw pixels": flat}, tests, "digits").digest("raw pixels", 0))
        64
    """

    name: str
    methods: Mapping[str, Method]
    tests: Mapping[str, Mapping[str, Any]]
    data: str = "glyphs"
    seeds: tuple[int, ...] = (0, 1, 2)
    snapshots: tuple[float, ...] = (60, 180)
    published: Mapping[str, Any] = field(default_factory=dict)
    ship: bool = True

    def __post_init__(self) -> None:
        known, learners = [entry.name for entry in fields(Fit)], known_learners()
        for label, method in self.methods.items():
            if unknown := sorted(set(method.fit) - set(known)):
                raise ValueError(f"{label}: fit has no option {unknown}; it has {known}")
            if method.learner not in learners:
                raise ValueError(f"{label}: no learner {method.learner!r}; known: {sorted(learners)}")
        try:
            json.dumps(asdict(self))
        except TypeError as error:
            raise ValueError(f"a study holds plain data only: {error}") from error

    def label(self, name: str) -> str:
        """Return the label of a method, given by it or by it in small letters with underscores."""
        found = name if name in self.methods else {slug(label): label for label in self.methods}.get(name)
        if found is None:
            raise ValueError(f"the study {self.name} has no method {name!r}; it has {list(self.methods)}")
        return found

    def key(self, label: str, seed: int) -> str:
        """Return the name of a part in files."""
        return f"{slug(label)}-seed{seed}"

    def validation(self, method: Method) -> Mapping[str, Any]:
        """Return the test whose sizes a method's validation has."""
        return self.tests[method.training.validate_on or next(iter(self.tests))]

    def training_digest(self, label: str, seed: int) -> str:
        """Return the digest of all that decides the weights of a part."""
        method = self.methods[label]
        if method.weights is not None:
            return self.training_digest(method.weights, seed)
        how = {key: value for key, value in asdict(method.training).items() if value not in (None, False)}
        sizes = {key: value for key, value in self.validation(method).items() if key != "n_tasks"}
        revision = getattr(known_learners()[method.learner], "revision", 1)
        data = method.data or self.data
        source = [data, checksum(data)]
        return _digest([RUNNER, method.settings, revision, dict(method.episodes), how, sizes, source, seed])

    def digest(self, label: str, seed: int) -> str:
        """Return the digest of all that decides the numbers of a part: its weights, and how it is tested."""
        method = self.methods[label]
        tests = {name: dict(test) for name, test in self.tests.items()}
        return _digest([self.training_digest(label, seed), method.settings, dict(method.test), tests])

    def describe(self) -> dict[str, Any]:
        """Return the study as plain data, as its record holds it."""
        content = asdict(self)
        source = {"name": content.pop("data"), "sha256": checksum(self.data)}
        for method in content["methods"].values():
            if method["data"] is None:
                del method["data"]
        return {"name": content.pop("name"), "data": source, **content}


def slug(label: str) -> str:
    """Return a name in small letters with underscores.

    Example:
        >>> slug("first-order MAML"), slug("MetaSGD"), slug("ImplicitMAML")
        ('first_order_maml', 'meta_sgd', 'implicit_maml')
    """
    apart = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", label)
    return re.sub(r"[^a-z0-9]+", "_", apart.lower()).strip("_")


@cache
def source(name: str) -> Any:
    """Return what tasks are drawn from: pools of train, validation and test classes, or a task family."""
    kind, _, split = name.partition(":")
    if kind in FAMILIES:
        return getattr(sources, kind)()
    option = "form" if kind in TEXTS else "split"
    return sources.load(kind, **({option: split} if split else {}))


@cache
def checksum(name: str) -> str:
    """Return the checksum of a source of tasks, without reading it where its loader verifies it."""
    kind = name.partition(":")[0]
    if kind == "glyphs":
        return GLYPHS
    if kind == "omniglot":
        return _digest([OMNIGLOT, VINYALS])
    if kind in FAMILIES:
        return _digest(repr(source(name)))
    if kind == "languages":
        return _digest([name, *(dict(part) for part in language_names())])  # not of floats, which processors round
    if kind in TEXTS:
        return _digest([name, *(HOMES[file].sha256 for file in TEXTS[kind])])
    pools = [source(name).train, source(name).validation, source(name).test]
    return _digest([hashlib.sha256(pool.x.numpy().tobytes() + pool.y.numpy().tobytes()).hexdigest() for pool in pools])


def sampler(
    pool: Any,
    kind: str = "episodes",
    within: str | None = None,
    only: Sequence[str] | None = None,
    unknown: Sequence[str] | None = None,
    **sizes: int,
) -> Callable[..., Any]:
    """Return what draws batches: from a pool of a source, or of some of its groups, or from a task family."""
    if kind not in KINDS:
        raise ValueError(f"episodes are drawn as one of the kinds {KINDS}, got {kind!r}")
    others = None if unknown is None else _of_groups(pool, unknown)
    if only is not None:
        pool = _of_groups(pool, only)
    groups = {"groups": [name.split("/")[0] for name in pool.class_names]} if within else {}
    found: Callable[..., Any] = getattr(pool, kind)(**sizes, **groups)
    return found if others is None else OpenTasks(pool.episodes(**sizes, **groups), others)


def _of_groups(pool: Any, groups: Sequence[str]) -> Any:
    """Return the pool of the classes of some groups."""
    return pool.select([i for i, name in enumerate(pool.class_names) if name.split("/")[0] in groups])


def n_examples(episodes: Mapping[str, Any]) -> int:
    """Return how many images or points one training step draws."""
    for key, factor in (("batch_size", 1), ("n_pairs", 2), ("n_triplets", 3)):
        if key in episodes:
            return factor * int(episodes[key])
    return int(episodes["n_tasks"] * episodes.get("n_way", 1) * (episodes["n_shot"] + episodes["n_query"]))


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
