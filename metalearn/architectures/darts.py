"""A search by gradients: all operations at once, mixed by weights that are learned on tasks of other classes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from metalearn.architectures.space import N_BLOCKS, SPACE, network
from metalearn.evaluation import Sample
from metalearn.learners import Prototypical
from metalearn.networks.blocks import OPERATIONS, BlockNet
from metalearn.runtime import default_seed, stream

SIZES = {"conv 3": 3, "conv 5": 5, "residual 3": 3}


class MixedNet(nn.Module):
    """Every architecture of the space at once: each choice is a mixture, with a softmax of learned numbers as weights.

    Args:
        width: Channels; those of narrower architectures are its first ones.

    Attributes:
        choices: The numbers, by the names of the space; all 0 at first, so that each value counts alike.

    Raises:
        ValueError: If the width is not the widest one of the space.

    Reference:
        Liu, Simonyan, Yang: DARTS: Differentiable Architecture Search, 2018, arXiv 1806.09055, equation 2. Widths by
        masks: Wan and others: FBNetV2, 2020, arXiv 2004.05565, section 3.1.

    Taught in:
        Trust.

    Example:
        >>> import torch
        >>> from metalearn.architectures import MixedNet
        >>> net = MixedNet()
        >>> net(torch.zeros(2, 1, 28, 28)).shape, net.weights()["norm"]
        (torch.Size([2, 144]), {'none': 0.5, 'group': 0.5})
    """

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.config: dict[str, Any] = {"width": width}
        if width != max(SPACE["width"].values):
            raise ValueError(f"expected the widest width of the space, {max(SPACE['width'].values)}, got {width}")
        self.stem = nn.Conv2d(1, width, 3, 2, padding=1)
        self.stem_norm = nn.GroupNorm(width // 2, width)
        sizes = list(SIZES.values())
        self.convolutions = nn.ModuleList(
            nn.ModuleList(nn.Conv2d(width, width, size, padding=size // 2) for size in sizes) for _ in range(N_BLOCKS)
        )
        self.norms = nn.ModuleList(
            nn.ModuleList(nn.GroupNorm(width // 2, width) for _ in sizes) for _ in range(N_BLOCKS)
        )
        self.choices = nn.ParameterDict({name: torch.zeros(len(part.values)) for name, part in SPACE.items()})
        self.n_features = width * 9

    def forward(self, x: Tensor) -> Tensor:
        """Return features ``[n, n_features]`` of images ``[n, 1, 28, 28]``."""
        share = {name: logits.softmax(0) for name, logits in self.choices.items()}
        x = self._layer(x, self.stem, self.stem_norm, share)
        for i in range(N_BLOCKS):
            if i:
                x = share["pool"][0] * F.max_pool2d(x, 2) + share["pool"][1] * F.avg_pool2d(x, 2)  # as in POOLS
            x = self._block(x, i, share)
        return x.flatten(1)

    def weights(self) -> dict[str, dict[Any, float]]:
        """Return the weight of each value of each choice; those of a choice sum to 1."""
        shares = {name: logits.detach().softmax(0).tolist() for name, logits in self.choices.items()}
        return {name: dict(zip(SPACE[name].values, share, strict=True)) for name, share in shares.items()}

    def chosen(self) -> dict[str, Any]:
        """Return the architecture in which each choice has the value of the highest weight."""
        return {name: max(shares, key=lambda value: shares[value]) for name, shares in self.weights().items()}

    def extract(self, settings: Mapping[str, Any]) -> BlockNet:
        """Return the network of one architecture with the weights that it has here."""
        net = network(settings)
        own = self.state_dict()
        found: dict[str, Tensor] = {}
        for name, tensor in net.state_dict().items():
            source = own[_source(name, settings)]
            found[name] = source[tuple(slice(size) for size in tensor.shape)]
        net.load_state_dict(found)
        return net

    def _layer(self, x: Tensor, convolution: nn.Module, norm: nn.Module, share: Mapping[str, Tensor]) -> Tensor:
        raw = convolution(x)
        plain, normed = share["norm"]
        return self._narrowed(plain * raw.relu() + normed * norm(raw).relu(), share)

    def _block(self, x: Tensor, i: int, share: Mapping[str, Tensor]) -> Tensor:
        own = share[f"block {i + 1}"]
        total: Tensor = own[OPERATIONS.index("none")] * x
        for k, name in enumerate(SIZES):
            layer, norm = (self.get_submodule(f"{part}.{i}.{k}") for part in ("convolutions", "norms"))
            output = self._layer(x, layer, norm, share)
            total = total + own[OPERATIONS.index(name)] * (x + output if name.startswith("residual") else output)
        return total

    def _narrowed(self, x: Tensor, share: Mapping[str, Tensor]) -> Tensor:
        """Return channels times the weight of all widths that have them."""
        number = torch.arange(x.shape[1], device=x.device)
        kept = sum(share["width"][k] * (number < width) for k, width in enumerate(SPACE["width"].values))
        assert isinstance(kept, Tensor)
        return x * kept.reshape(-1, 1, 1)


@dataclass(frozen=True, eq=False)
class Found:
    """What a search by gradients found; see :func:`darts`.

    Args:
        settings: The architecture.
        history: Weight of each value of each choice after each step ``[n_steps, n_values]``, by the choice's name.
        losses: Query loss of the weights' tasks at each step ``[n_steps]``.

    Example:
        >>> import torch
        >>> from metalearn.architectures import Found
        >>> Found({"pool": "max"}, {"pool": torch.tensor([[0.6, 0.4]])}, torch.tensor([1.0])).settings
        {'pool': 'max'}
    """

    settings: dict[str, Any]
    history: dict[str, Tensor]
    losses: Tensor


def darts(
    learner: Prototypical,
    tasks: Sample,
    choice_tasks: Sample,
    n_steps: int,
    *,
    outer_lr: float = 2e-3,
    choice_lr: float = 0.02,
    seed: int | None = None,
) -> Found:
    """Train the weights of all operations on some tasks and the choices on others, in turn; then take the best of each.

    Both steps are outer steps of the learner: prototypes come from a task's support, the loss from its query. The
    choices' tasks must be of other classes than the weights': else they reward what fits the training classes.

    Args:
        learner: Prototypical networks with a :class:`MixedNet`; trained in place.
        tasks: Draws tasks for the weights.
        choice_tasks: Draws tasks for the choices, of other classes.
        n_steps: Steps of each kind, at least 1.
        outer_lr: Learning rate of the weights, by Adam.
        choice_lr: Learning rate of the choices, by Adam.
        seed: Of the tasks; ``None``: :func:`metalearn.runtime.default_seed`.

    Raises:
        ValueError: If the encoder is no ``MixedNet`` or there is no step.

    Reference:
        Liu, Simonyan, Yang: DARTS: Differentiable Architecture Search, 2018, arXiv 1806.09055, algorithm 1, first
        order. On tasks: Elsken, Staffler, Metzen, Hutter: Meta-Learning of Neural Architectures for Few-Shot Learning,
        2020, arXiv 1911.11090.

    Differs from the paper:
        Tasks take the place of batches, and Adam serves both steps. The second paper adapts the choices to each task;
        here one architecture serves all.

    Taught in:
        Trust.

    Example:
        >>> from metalearn.architectures import MixedNet, darts
        >>> from metalearn.data import glyphs
        >>> from metalearn.learners import Prototypical
        >>> parts = glyphs()
        >>> tasks, others = (part.episodes(n_tasks=1, n_way=5, n_shot=1, n_query=1) for part in parts[:2])
        >>> darts(Prototypical(MixedNet()), tasks, others, n_steps=2).losses.shape
        torch.Size([2])
    """
    mixed = learner.encoder
    if not isinstance(mixed, MixedNet) or n_steps < 1:
        raise ValueError(f"expected a MixedNet and a step, got {type(mixed).__name__} and n_steps={n_steps}")
    chosen = {id(param) for param in mixed.choices.values()}
    seed = default_seed() if seed is None else seed
    sides = (
        (tasks, torch.optim.Adam([p for p in learner.parameters() if id(p) not in chosen], outer_lr), "train"),
        (choice_tasks, torch.optim.Adam(mixed.choices.values(), choice_lr), "choices"),
    )
    generators = [stream(seed, name) for *_, name in sides]
    history: dict[str, list[Tensor]] = {name: [] for name in mixed.choices}
    losses = []
    learner.train()
    for _ in range(n_steps):
        for (sample, optimizer, name), generator in zip(sides, generators, strict=True):
            learner.zero_grad()
            loss = learner.backward(learner.take(sample(generator)))
            optimizer.step()
            if name == "train":
                losses.append(loss)
        for choice, logits in mixed.choices.items():
            history[choice].append(logits.detach().softmax(0))
    learner.eval()
    return Found(mixed.chosen(), {name: torch.stack(rows) for name, rows in history.items()}, torch.stack(losses))


def _source(name: str, settings: Mapping[str, Any]) -> str:
    """Return where a tensor of a single architecture stands among all: ``blocks.0.layer.0.weight`` and the like."""
    parts = name.replace(".layer", "").split(".")  # stem.0.weight, blocks.2.1.bias
    if parts[0] == "stem":
        return f"{'stem' if parts[1] == '0' else 'stem_norm'}.{parts[2]}"
    operation = list(SIZES).index(settings[f"block {int(parts[1]) + 1}"])
    return f"{'convolutions' if parts[2] == '0' else 'norms'}.{parts[1]}.{operation}.{parts[3]}"
