"""What a study is: methods, tests and seeds as plain data, and the digest by which a part of it is known."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from metalearn.experiments._sources import checksum, digest_of
from metalearn.learners._settings import known_learners

RUNNER = 1  # in each digest; raise it when a change of the runner, of fit or of the samplers moves all numbers
TASKS_PER_DRAW = 20  # tests draw so many tasks at a time: the draws decide which tasks they are


@dataclass(frozen=True)
class Fit:
    """How a method of a study is trained; what is not named here is as :func:`metalearn.fit` has it.

    Args:
        n_steps: Outer steps at most; 0 leaves the learner as it was initialised.
        max_seconds: Processor seconds at most.
        outer_lr: Adam's rate, or that of the other optimiser.
        optimizer: ``"sgd"``: plain gradient descent in place of Adam, for learners whose gradient is their whole step.
        head_lr: Adam's rate for what is not under ``"encoder."``, where it is another one.
        schedule: ``"cosine"``: the rates fall along half a cosine over ``n_steps``.
        max_grad_norm: Clip the gradient to this norm.
        compile: Compile the meta-gradient.
        how: How the tasks of a batch are run: ``"vmap"``, ``"loop"`` or ``"auto"``.
        chunk_size: Tasks of a batch that are in memory at once.
        precision: ``"bf16"`` or ``"tf32"``; see :func:`metalearn.fit`.
        channels_last: Lay images out with their channels last: the same numbers, faster on a CPU.
        validate_every: Steps between validations, on 200 tasks like the first test's (``validate_on`` names another).
        validate_on: Name of the test whose sizes validation has.
        patience: Stop after so many validations without a better score.
        evolution: Estimate the gradient by :func:`metalearn.evolution.evolution_backward` with these options.

    Example:
        >>> from metalearn.experiments import Fit
        >>> Fit(max_seconds=300).n_steps
        100000
    """

    n_steps: int = 100_000
    max_seconds: float = 600.0
    outer_lr: float = 1e-3
    optimizer: str | None = None
    head_lr: float | None = None
    schedule: str | None = None
    max_grad_norm: float | None = None
    compile: bool = False
    how: str = "auto"
    chunk_size: int | None = None
    precision: str | None = None
    channels_last: bool = False
    validate_every: int = 250
    validate_on: str | None = None
    patience: int | None = None
    evolution: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Method:
    """One learner of a study, how it is trained and how it is tested, in plain data.

    Args:
        learner: The learner's class by name.
        model: Its networks: ``{"encoder": {"network": "Conv4", "config": {"norm": "frozen"}}}``.
        learner_args: Its other arguments.
        episodes: What a training step draws: ``{"kind": "episodes", "n_tasks": 4, "n_way": 5, …}``, or the kinds
            ``"batches"``, ``"pairs"``, ``"triplets"`` with the sizes that the pool's samplers have; ``"tasks"`` of an
            environment; or those of ``metalearn.unlabelled``: ``"augmented"`` and ``"views"`` with
            ``"augment": {"shift": 3, …}``, ``"partly labelled"``, and ``"clustered"`` with ``"n_clusters"``,
            ``"n_partitions"`` and, of the method by whose encoder images are clustered, the label as ``"of"`` (without
            it: by their pixels). ``"n_labelled": 64`` leaves so many of the training classes, drawn by the seed.
        fit: Options of :class:`Fit`.
        test: ``{"n_steps": [1, 3]}`` for a row of each number of inner steps; ``{"n_way": 5}`` for a learner that
            knows no other number of classes; ``{"tune": {"inner_lr": [0.01, 0.1]}}`` for a setting that is chosen for
            each test, on validation tasks, after the largest number of inner steps.
        weights: Label of the method whose trained weights this one takes, in place of training.
        data: Source that it learns from, is validated and, where a test names none, tested on, where that is not the
            study's: other classes (``"grey:mnist"``), or the study's examples in another form (``"intents:tfidf"``).

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
            ``"kind": "partly labelled"`` hides labels (:class:`metalearn.unlabelled.PartlyLabelledTasks`), ``"data"``
            names another source for this test, ``"diverged_above"`` is the error above which a task counts
            as diverged, ``"metric": "loss"`` scores by the learner's own objective, and a name of
            :func:`metalearn.ranking.metric` by that metric of ratings, ``"kind": "users"`` takes each user once.
        data: ``"glyphs"``, ``"digits"``, ``"omniglot:vinyals"`` (or another split), ``"cifar100:nature"``,
            ``"grey:mnist"`` (or another name that :func:`metalearn.data.grey` takes), ``"languages"``, ``"intents"``,
            ``"relations"`` (or another form of the texts: ``"languages:tfidf"``), or a family: ``"sinusoids"``,
            ``"linear_problems"``, ``"ciphers"``, ``"sites"``, ``"slides"``, ``"ratings"`` or others, or an
            environment: ``"navigation"``.
        seeds: Of initial weights and training tasks; test tasks are the same for all.
        snapshots: Processor seconds of training after which the first test is made on the way.
        published: The literature's numbers, to be shown beside ours.
        ship: Whether trained weights come with the package, or the labels of the methods whose weights do; where the
            data do not come along, they are of little use.

    Raises:
        ValueError: If something is no plain data, an option is unknown, or two labels would share their files.

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
    ship: bool | tuple[str, ...] = True

    def __post_init__(self) -> None:
        known, learners = [entry.name for entry in fields(Fit)], known_learners()
        for label, method in self.methods.items():
            if unknown := sorted(set(method.fit) - set(known)):
                raise ValueError(f"{label}: fit has no option {unknown}; it has {known}")
            for name, options in (("optimizer", (None, "sgd")), ("schedule", (None, "cosine"))):
                if method.fit.get(name) not in options:
                    raise ValueError(f"{label}: {name} must be one of {list(options)}, got {method.fit[name]!r}")
            if method.learner not in learners:
                raise ValueError(f"{label}: no learner {method.learner!r}; known: {sorted(learners)}")
        owners: dict[str, str] = {}
        for label in self.methods:
            if (other := owners.setdefault(slug(label), label)) != label:
                raise ValueError(f"{other!r} and {label!r} would share the files {slug(label)!r}: rename one of them")
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

    def ships(self, label: str) -> bool:
        """Return whether the weights of a method come with the package."""
        return self.ship if isinstance(self.ship, bool) else label in self.ship

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
        sizes = {key: value for key, value in self.validation(method).items() if key not in ("n_tasks", "data")}
        revision = getattr(known_learners()[method.learner], "revision", 1)
        data = method.data or self.data
        source = [data, checksum(data)]
        of = [self.training_digest(method.episodes["of"], seed)] if "of" in method.episodes else []
        return digest_of([RUNNER, method.settings, revision, dict(method.episodes), how, sizes, source, seed, *of])

    def digest(self, label: str, seed: int) -> str:
        """Return the digest of all that decides the numbers of a part: its weights, and how it is tested."""
        method = self.methods[label]
        tests = {name: dict(test) for name, test in self.tests.items()}
        for test in tests.values():
            if "data" in test:
                test["data"] = [test["data"], checksum(test["data"])]
        return digest_of([self.training_digest(label, seed), method.settings, dict(method.test), tests])

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
