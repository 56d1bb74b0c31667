"""What adaptation changes: how far each layer's weights move, which way, and what becomes of its outputs."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from metalearn._modes import evaluating
from metalearn._torch import AnyBatchNorm
from metalearn.episodes import Episode, Inputs
from metalearn.evaluation import Score
from metalearn.learners import Learner
from metalearn.learners._base import Adapted
from metalearn.networks import BatchStatistics

NORMS = (BatchStatistics, AnyBatchNorm, nn.GroupNorm, nn.LayerNorm)


def layers_of(learner: Learner) -> dict[str, list[str]]:
    """Return the names of each layer's parameters, layer by layer, from the input on.

    A normalisation's scale and shift count with the layer before it.

    Args:
        learner: Any learner.

    Example:
        >>> from metalearn.explain import layers_of
        >>> from metalearn.learners import MAML
        >>> from metalearn.networks import Conv4
        >>> list(layers_of(MAML(Conv4(5, norm="support"), inner_lr=0.4)))
        ['model.blocks.0', 'model.blocks.4', 'model.blocks.8', 'model.blocks.12', 'model.head']
    """
    return {layer: names for layer, (names, _) in _grouped(learner).items()}


@dataclass(frozen=True, eq=False)
class LayerChanges:
    """How adaptation moved each layer on each task; see :func:`layer_changes`.

    Args:
        layers: Names of the layers.
        size: Length of the change over the length of the weights before it ``[n_tasks, n_layers]``.
        agreement: Mean cosine of a task's change with those of the other tasks ``[n_tasks, n_layers]``; 1: all tasks
            move the layer the same way.
        dimensions: Number of directions in which the tasks move a layer ``[n_layers]``, 1 to ``n_tasks``: the
            participation ratio of the spectrum of the changes, each scaled to length 1.

    Example:
        >>> import torch
        >>> from metalearn.explain import LayerChanges
        >>> changes = LayerChanges(["head"], torch.tensor([[0.1], [0.3]]), torch.zeros(2, 1), torch.tensor([2.0]))
        >>> f"{changes.score('head'):.2f}"
        '0.20 ± 0.20'
    """

    layers: list[str]
    size: Tensor
    agreement: Tensor
    dimensions: Tensor

    def score(self, layer: str, of: str = "size") -> Score:
        """Return the mean over tasks of a layer's ``"size"`` or ``"agreement"``, with its interval."""
        values: Tensor = getattr(self, of)
        return Score.of(values[:, self.layers.index(layer)])


def layer_changes(learner: Learner, episodes: Episode, n_steps: int | None = None) -> LayerChanges:
    r"""Compare the adapted weights :math:`\theta'` with the meta-parameters :math:`\theta`, layer by layer.

    Args:
        learner: A learner whose adaptation changes weights.
        episodes: A batch of at least two tasks.
        n_steps: Inner steps; ``None``: as trained.

    Raises:
        ValueError: If adaptation changes no weights, or there are fewer than two tasks.

    Taught in:
        Trust.

    Example:
        >>> import metalearn
        >>> from metalearn.data import glyphs
        >>> from metalearn.explain import layer_changes
        >>> tasks = metalearn.sample_episodes(glyphs().test, 2, n_way=5, n_shot=1, n_query=1)
        >>> layer_changes(metalearn.pretrained("maml", "glyphs"), tasks).size.shape
        torch.Size([2, 5])
    """
    if len(episodes) < 2:
        raise ValueError(f"expected at least two tasks to compare, got {len(episodes)}")
    own, layers = dict(learner.named_parameters()), layers_of(learner)
    changes: dict[str, list[Tensor]] = {}
    with evaluating(learner):
        for task in (episodes[i] for i in range(len(episodes))):
            adapted = learner.adapt(task.support_x, task.support_y, n_way=task.n_way, n_steps=n_steps)
            for layer in moved(layers, adapted, learner):
                parts = [(adapted.get(name, own[name]) - own[name]).flatten() for name in layers[layer]]
                changes.setdefault(layer, []).append(torch.cat(parts))
    sizes, agreements, dimensions = [], [], []
    for layer, found in changes.items():
        delta = torch.stack(found)  # [n_tasks, n_weights]
        sizes.append(delta.norm(dim=1) / torch.cat([own[name].detach().flatten() for name in layers[layer]]).norm())
        unit = nn.functional.normalize(delta, dim=1)
        cosines = unit @ unit.T  # [n_tasks, n_tasks]
        agreements.append((cosines.sum(1) - cosines.diagonal()) / (len(delta) - 1))
        dimensions.append(cosines.trace().square() / cosines.square().sum())
    return LayerChanges(list(changes), torch.stack(sizes, 1), torch.stack(agreements, 1), torch.stack(dimensions))


def cka(a: Tensor, b: Tensor) -> Tensor:
    r"""Return how alike two representations of the same inputs are, from 0 to 1: linear centred kernel alignment.

    With centred columns: :math:`\lVert B^\top A\rVert_F^2 / (\lVert A^\top A\rVert_F\,\lVert B^\top B\rVert_F)`. It
    does not change when either representation is rotated, shifted, or scaled by one number. With fewer inputs than
    features it is high for unrelated representations, too: compare with one whose rows are in another order.

    Args:
        a: Representation ``[n, ...]``; what follows the first axis is one vector.
        b: Another one, of the same inputs ``[n, ...]``.

    Raises:
        ValueError: If they are not of as many inputs, or one is the same for all inputs.

    Reference:
        Kornblith, Norouzi, Lee, Hinton: Similarity of Neural Network Representations Revisited, 2019, arXiv 1905.00414,
        section 3.

    Taught in:
        Trust.

    Example:
        >>> import torch
        >>> from metalearn.explain import cka
        >>> points = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 2.0]])
        >>> round(cka(points, 3 * points @ torch.tensor([[0.0, 1.0], [-1.0, 0.0]]) + 5).item(), 4)
        1.0
    """
    if len(a) != len(b):
        raise ValueError(f"expected two representations of the same inputs, got {len(a)} and {len(b)} rows")
    a, b = ((part.flatten(1) - part.flatten(1).mean(0)) for part in (a, b))
    gram_a, gram_b = a @ a.T, b @ b.T  # [n, n]; the trace of their product is the squared norm of B^T A
    if not gram_a.any() or not gram_b.any():
        raise ValueError("expected representations that differ between inputs, got one that is the same for all")
    alike: Tensor = (gram_a * gram_b).sum() / (gram_a.norm() * gram_b.norm())
    return alike


def representations(learner: Learner, adapted: Adapted, x: Inputs) -> dict[str, Tensor]:
    """Return each layer's output for inputs, behind its normalisation, ``[n, ...]``.

    Args:
        learner: Any learner.
        adapted: What it adapted to.
        x: Inputs ``[n, ...]``.

    Example:
        >>> import torch
        >>> from metalearn.explain import representations
        >>> from metalearn.learners import Prototypical
        >>> learner = Prototypical(torch.nn.Linear(3, 2))
        >>> adapted = learner.adapt(torch.eye(3)[:2], torch.arange(2))
        >>> {layer: list(output.shape) for layer, output in representations(learner, adapted, torch.eye(3)).items()}
        {'encoder': [3, 2]}
    """
    found: dict[str, Tensor] = {}

    def keep(layer: str) -> object:
        return lambda module, inputs, output: found.__setitem__(layer, output)

    ends = {layer: end for layer, (_, end) in _grouped(learner).items()}
    hooks = [learner.get_submodule(end).register_forward_hook(keep(layer)) for layer, end in ends.items()]  # type: ignore[arg-type]
    try:
        with evaluating(learner):
            learner.predict(adapted, x)
    finally:
        for hook in hooks:
            hook.remove()
    return {layer: found[layer] for layer in ends if layer in found}


def similarity_after(learner: Learner, episodes: Episode, n_steps: int | None = None) -> dict[str, Score]:
    """Return how alike each layer's outputs for the queries are before and after adaptation, by :func:`cka`.

    Args:
        learner: A learner with inner steps.
        episodes: A batch of tasks; many queries each, since CKA of few inputs is high for anything.
        n_steps: Inner steps; ``None``: as trained.

    Example:
        >>> import metalearn
        >>> from metalearn.data import glyphs
        >>> from metalearn.explain import similarity_after
        >>> tasks = metalearn.sample_episodes(glyphs().test, 2, n_way=5, n_shot=1, n_query=1)
        >>> list(similarity_after(metalearn.pretrained("maml", "glyphs"), tasks, n_steps=0).values())[0].mean
        1.0
    """
    found: dict[str, list[Tensor]] = {}
    for task in (episodes[i] for i in range(len(episodes))):
        with evaluating(learner):
            before, after = (
                representations(learner, learner.adapt(task.support_x, task.support_y, n_steps=n), task.query_x)
                for n in (0, n_steps)
            )
        for layer, output in after.items():
            found.setdefault(layer, []).append(cka(before[layer].double(), output.double()))
    return {layer: Score.of(torch.stack(values).float()) for layer, values in found.items()}


def moved(layers: dict[str, list[str]], adapted: Adapted, learner: Learner) -> list[str]:
    """Return the layers whose weights adaptation replaces.

    Raises:
        ValueError: If there is none.
    """
    found = [layer for layer, names in layers.items() if any(name in adapted for name in names)]
    if not found:
        raise ValueError(
            f"expected a learner whose adaptation changes weights, got {type(learner).__name__}: take MAML"
        )
    return found


def _grouped(learner: Learner) -> dict[str, tuple[list[str], str]]:
    """Return for each layer the names of its parameters, and the module behind which it ends."""
    found: dict[str, tuple[list[str], str]] = {}
    last = ""
    for module_name, module in learner.named_modules():
        names = [f"{module_name}.{name}".lstrip(".") for name, _ in module.named_parameters(recurse=False)]
        if names and isinstance(module, NORMS) and last:
            found[last] = (found[last][0] + names, module_name)
        elif names:
            last = module_name
            found[last] = (names, module_name)
    return found
