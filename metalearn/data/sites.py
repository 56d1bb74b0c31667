"""Hospitals that differ: real patients of one study, seen through scanners and populations with stated shifts."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from metalearn._given import at_least_one, only_ints
from metalearn.episodes import Batch, Episode
from metalearn.samplers import FamilySampler, TaskFamily

SHARES = {"train": 0.5, "validation": 0.2, "test": 0.3}  # of the patients of each diagnosis
N_MEASURES, N_VALUES = 10, 3  # each measurement comes as mean, standard error and worst value: 30 features
SPLIT_SEED = 0
PER_SITE = 10  # patients of a site in an ordinary batch


class Site(NamedTuple):
    """What makes sites differ: one row for each site.

    Attributes:
        gain: Factor of each measurement ``[n_sites, 10]``.
        offset: What is added to it, in standard deviations of the training patients ``[n_sites, 10]``.
        measured: Whether the site measures it ``[n_sites, 10]``, bool.
        prevalence: Share of malignant cases ``[n_sites]``.
    """

    gain: Tensor
    offset: Tensor
    measured: Tensor
    prevalence: Tensor


@dataclass(frozen=True)
class Sites(TaskFamily):
    """Binary diagnosis at many sites: each task is one site, with patients of scikit-learn's breast cancer data.

    The 569 patients are split first, each diagnosis by itself, and sites draw from their part: no patient of a test
    site was ever seen in training. Within a task no patient comes twice; over sites of one part patients do come again.
    Features are standardised by the training patients, then a site changes them: each of the ten measurements (radius,
    texture, …), with its three values, by a gain and an offset of its own; some it does not measure at all. Inputs are
    these 30 values, 0 where they are missing, and ten marks, 1 where a measurement was made. Label 1 is malignant.

    A task has ``2 * n_shot`` labelled patients and ``2 * n_query`` others. Of both, the share given by the site's
    prevalence is malignant, rounded, but at least one patient of each diagnosis.

    Args:
        part: Whose patients: ``"train"``, ``"validation"`` or ``"test"``.
        gain: Standard deviation of the gain's logarithm.
        offset: Standard deviation of the offset.
        missing: Probability that a site lacks a measurement; at least one is always there.
        prevalence: Lowest and highest share of malignant cases.
        n_sites: Number of sites there are; ``None``: each task is a new one.
        seed: Of these sites.

    Raises:
        ValueError: If the part is unknown, a number is out of range, or a task needs more patients than there are.
        ImportError: If scikit-learn is not installed.

    Reference:
        Street, Wolberg, Mangasarian: Nuclear feature extraction for breast tumor diagnosis, 1993,
        doi 10.1117/12.148698.

    Example:
        >>> from metalearn.data import Sites
        >>> Sites("train").sample(n_tasks=4, n_shot=5, n_query=10)
        Episode(support_x=[4, 10, 40], support_y=[4, 10], query_x=[4, 20, 40], query_y=[4, 20], n_way=2)
    """

    part: str = "train"
    gain: float = 0.3
    offset: float = 1.0
    missing: float = 0.2
    prevalence: tuple[float, float] = (0.2, 0.6)
    n_sites: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.part not in SHARES:
            raise ValueError(f"part must be one of {list(SHARES)}, got {self.part!r}")
        low, high = self.prevalence
        if not 0 < low <= high < 1:
            raise ValueError(f"prevalence must be (low, high) with 0 < low <= high < 1, got ({low}, {high})")
        if self.gain < 0 or self.offset < 0 or not 0 <= self.missing <= 1:
            shifts = f"{self.gain}, {self.offset} and {self.missing}"
            raise ValueError(f"expected gain and offset of at least 0 and missing in [0, 1], got {shifts}")
        if self.n_sites is not None:
            at_least_one(n_sites=self.n_sites)

    def draw(self, n_sites: int, generator: torch.Generator | None = None) -> Site:
        """Draw what ``n_sites`` sites are like; where their number is fixed, draw from those, with replacement."""
        at_least_one(n_sites=n_sites)
        if self.n_sites is not None:
            all_sites = self._new(self.n_sites, torch.Generator().manual_seed(self.seed))
            chosen = torch.randint(self.n_sites, (n_sites,), generator=generator)
            return Site(*(part[chosen] for part in all_sites))
        return self._new(n_sites, generator)

    def sample(self, n_tasks: int, n_shot: int, n_query: int, generator: torch.Generator | None = None) -> Episode:
        """Draw a batch of sites with their patients; see the class for the sizes.

        Args:
            n_tasks: Number of sites.
            n_shot: Half the number of labelled patients of each site.
            n_query: Half the number of its other patients.
            generator: Source of randomness, on the CPU.

        Returns:
            A batch of episodes; inputs are ``[n_tasks, 2 * n_shot or 2 * n_query, 40]``.
        """
        return self.at(self.draw(n_tasks, generator), n_shot, n_query, generator)

    def at(self, site: Site, n_shot: int, n_query: int, generator: torch.Generator | None = None) -> Episode:
        """Draw patients for given sites, in place of new ones; arguments and result as of :meth:`sample`."""
        self._check(n_shot, n_query)
        x, y = patients(self.part)
        n_support, n_all = 2 * n_shot, 2 * (n_shot + n_query)
        n_sick = [_share(site.prevalence, n) for n in (n_support, n_all - n_support)]  # each [n_sites]
        keys = torch.rand(len(site.prevalence), len(y), generator=generator)
        healthy, sick = ((keys + 2.0 * (y != label)).argsort(1) for label in (0, 1))  # those with the label come first
        seen = []
        for n, wanted, offset in ((n_support, n_sick[0], 0), (n_all - n_support, n_sick[1], 1)):
            slot, bound = torch.arange(n), wanted.unsqueeze(1)  # the sick have the first slots
            before = (n_sick[0] * offset).unsqueeze(1)  # of the sick, so many are in the support
            row = torch.where(slot < bound, slot + before, slot - bound + offset * n_support - before)
            index = torch.where(slot < bound, sick.gather(1, row), healthy.gather(1, row))  # [n_sites, n]
            seen.append((_seen(x[index], site), y[index]))
        return Episode(*seen[0], *seen[1], 2)

    def episodes(
        self, *, n_tasks: int, n_shot: int, n_query: int, n_way: int = 2, device: torch.device | str = "cpu"
    ) -> FamilySampler:
        """Return a sampler of batches of sites; ``n_way`` may be given, as for pools, and is 2."""
        if n_way != 2:
            raise ValueError(f"a site's tasks have two classes, healthy and malignant, got n_way={n_way}")
        self._check(n_shot, n_query)
        return super().episodes(n_tasks=n_tasks, n_shot=n_shot, n_query=n_query, device=device)

    def batches(self, batch_size: int) -> SiteBatches:
        """Return a sampler of ordinary labelled batches: patients of many sites together, ten of each site."""
        return SiteBatches(self, batch_size)

    def _new(self, n: int, generator: torch.Generator | None) -> Site:
        gain, offset = torch.randn(2, n, N_MEASURES, generator=generator)
        chance = torch.rand(n, N_MEASURES, generator=generator)
        measured = (chance >= self.missing) | (chance == chance.amax(1, keepdim=True))
        low, high = self.prevalence
        prevalence = low + (high - low) * torch.rand(n, generator=generator)
        return Site((self.gain * gain).exp(), self.offset * offset, measured, prevalence)

    def _check(self, n_shot: int, n_query: int) -> None:
        only_ints(n_shot=n_shot, n_query=n_query)
        at_least_one(n_shot=n_shot, n_query=n_query)
        _, y = patients(self.part)
        there = torch.bincount(y, minlength=2).tolist()
        for label, highest in ((0, 1 - self.prevalence[0]), (1, self.prevalence[1])):
            share = torch.tensor([highest])
            needed = int(_share(share, 2 * n_shot) + _share(share, 2 * n_query))
            if needed > there[label]:
                kind = ("benign", "malignant")[label]
                raise ValueError(
                    f"a site with a share of {highest:g} needs {needed} {kind} patients (n_shot={n_shot},"
                    f" n_query={n_query}), the part {self.part!r} has {there[label]}: ask for fewer"
                )


@dataclass(frozen=True)
class SiteBatches:
    """Ordinary labelled batches of a family of sites; made by ``sites.batches``.

    Example:
        >>> from metalearn.data import Sites
        >>> Sites().batches(batch_size=120)()
        Batch(x=[120, 40], y=[120], kind='labelled')
    """

    sites: Sites
    batch_size: int

    def __post_init__(self) -> None:
        at_least_one(batch_size=self.batch_size)
        if self.batch_size % PER_SITE:
            raise ValueError(f"a batch has {PER_SITE} patients of each site, got batch_size={self.batch_size}")

    def __call__(self, generator: torch.Generator | None = None) -> Batch:
        """Draw a batch."""
        drawn = self.sites.sample(self.batch_size // PER_SITE, 1, PER_SITE // 2, generator)
        return Batch(drawn.query_x.flatten(0, 1), drawn.query_y.flatten())


class SiteSplits(NamedTuple):
    """Families of sites with disjoint patients: learn on ``train``, choose on ``validation``, report on ``test``.

    Example:
        >>> from metalearn.data import sites
        >>> sites(n_sites=3).train.n_sites
        3
    """

    train: Sites
    validation: Sites
    test: Sites


def sites(
    *, gain: float = 0.3, offset: float = 1.0, missing: float = 0.2, n_sites: int | None = None, seed: int = 0
) -> SiteSplits:
    """Return training, validation and test sites with the same kinds of shifts, and disjoint patients.

    Args:
        gain: As in :class:`Sites`; so are the others.
        offset: Standard deviation of the offsets.
        missing: Probability that a site lacks a measurement.
        n_sites: Number of *training* sites; ``None``: each training task is a new site. Test sites are always new.
        seed: Of the training sites, where their number is fixed.

    Example:
        >>> from metalearn.data import sites
        >>> train, validation, test = sites()
        >>> train.episodes(n_tasks=8, n_shot=5, n_query=10)().support_x.shape
        torch.Size([8, 10, 40])
    """
    train, validation, test = (Sites(part, gain, offset, missing) for part in SHARES)
    train = Sites("train", gain, offset, missing, n_sites=n_sites, seed=seed)
    return SiteSplits(train, validation, test)


@cache
def patients(part: str) -> tuple[Tensor, Tensor]:
    """Return the patients of a part as they are, standardised by the training patients: ``[n, 30]`` and ``[n]``.

    Label 1 is malignant. The order of the features is scikit-learn's: ten means, ten standard errors, ten worst values.

    Raises:
        ImportError: If scikit-learn is not installed.

    Example:
        >>> from metalearn.data.sites import patients
        >>> [len(patients(part)[1]) for part in ("train", "validation", "test")]
        [284, 113, 172]
    """
    try:
        from sklearn.datasets import load_breast_cancer
    except ImportError as err:
        raise ImportError('the patients come with scikit-learn: pip install "metalearn-book[chapters]"') from err
    bundle = load_breast_cancer()
    x, y = torch.tensor(bundle.data), 1 - torch.tensor(bundle.target)  # scikit-learn's 1 is benign
    rows = _rows(y)
    mean, std = x[rows["train"]].mean(0), x[rows["train"]].std(0)
    return ((x[rows[part]] - mean) / std).float(), y[rows[part]]


def _rows(y: Tensor) -> dict[str, Tensor]:
    """Return which patients belong to which part, each diagnosis split by itself."""
    generator = torch.Generator().manual_seed(SPLIT_SEED)
    rows: dict[str, list[Tensor]] = {part: [] for part in SHARES}
    for label in (0, 1):
        found = (y == label).nonzero().flatten()
        found = found[torch.randperm(len(found), generator=generator)]
        first = round(SHARES["train"] * len(found))
        second = first + round(SHARES["validation"] * len(found))
        for part, chosen in zip(SHARES, found.tensor_split([first, second]), strict=True):
            rows[part].append(chosen)
    return {part: torch.cat(chosen) for part, chosen in rows.items()}


def _share(prevalence: Tensor, n: int) -> Tensor:
    """Return how many of ``n`` patients are malignant: the share, rounded, but at least one of each diagnosis."""
    return (prevalence * n).round().long().clamp(1, n - 1)


def _seen(x: Tensor, site: Site) -> Tensor:
    """Return patients ``[n_sites, n, 30]`` as sites see them, with marks of what they measure ``[n_sites, n, 40]``."""
    gain, offset, measured = (part.repeat(1, N_VALUES).unsqueeze(1) for part in site[:3])  # [n_sites, 1, 30]
    values = (gain * x + offset) * measured
    marks = site.measured.unsqueeze(1).expand(-1, x.shape[1], -1).to(x.dtype)  # [n_sites, n, 10]
    return torch.cat([values, marks], 2)
