"""Transfer: ordinary training on many classes, then a new head on the features; the baseline to beat."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from metalearn import inner_loop
from metalearn.episodes import Batch, Inputs
from metalearn.learners._base import Adapted
from metalearn.learners._checks import member_of, positive
from metalearn.learners._encoder import EncoderLearner, feature_size

Head = Literal["linear", "cosine"]


class Transfer(EncoderLearner):
    r"""Train an encoder to classify all training classes; for a new task train a new head, or fine-tune everything.

    Pretraining takes labelled batches (:meth:`metalearn.Pool.sample_batch`). For a task a new head starts anew and
    takes gradient steps on the support set: with ``encoder_lr=0`` on the features of the frozen encoder (a linear
    probe), otherwise together with the encoder (fine-tuning).

    * ``"linear"``: logits :math:`W f_\theta(x) / r + b`, from zero. The scale :math:`r` is the root mean square length
      of the support's features, so that ``inner_lr=1`` suits any encoder.
    * ``"cosine"``: logits are the cosines between features and weights over the temperature, from the mean direction
      of each class: "Baseline++".

    Args:
        encoder: Any module from inputs ``[n, ...]`` to vectors ``[n, n_features]``.
        n_classes: Number of classes of pretraining.
        head: ``"linear"`` or ``"cosine"``, in pretraining and in tasks.
        n_features: Size of the encoder's vectors; ``None``: ``encoder.n_features``.
        inner_lr: Step size of the head; ``None``: 1 for the linear head, the square of the temperature for the cosine
            head.
        encoder_lr: Step size of the encoder in a task; 0 leaves the encoder frozen. Above 0, some of its parameters
            must have ``requires_grad``; only these move.
        n_inner_steps: Gradient steps in a task, at least 0.
        temperature: Divides the cosines; above 0.

    Raises:
        ValueError: If an option is unknown or out of range, or a batch does not fit.

    Reference:
        Chen, Liu, Kira, Wang, Huang: A Closer Look at Few-shot Classification, 2019, arXiv 1904.04232, section 3.2.
        The start of the cosine head: Qi, Brown, Lowe: Low-Shot Learning with Imprinted Weights, 2018,
        arXiv 1712.07136.

    Differs from the paper:
        Steps take the whole support set, not mini-batches of four; the linear head starts at zero and the cosine head
        from class means, so that adaptation has no randomness.

    Taught in:
        Transfer learning.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from metalearn.learners import Transfer
        >>> learner = Transfer(nn.Identity(), n_classes=10, n_features=2)
        >>> adapted = learner.adapt(torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([0, 1]))
        >>> learner.predict(adapted, torch.tensor([[0.9, 0.2]])).argmax(1)
        tensor([0])
    """

    continues = True
    n_inner_steps: int

    def __init__(
        self,
        encoder: nn.Module,
        n_classes: int,
        *,
        head: Head = "linear",
        n_features: int | None = None,
        inner_lr: float | None = None,
        encoder_lr: float = 0.0,
        n_inner_steps: int = 100,
        temperature: float = 0.1,
    ) -> None:
        super().__init__(encoder)
        if head not in get_args(Head):
            raise ValueError(f"head must be one of {list(get_args(Head))}, got {head!r}")
        if n_classes < 2 or n_inner_steps < 0 or encoder_lr < 0:
            raise ValueError(
                "expected n_classes >= 2, n_inner_steps >= 0 and encoder_lr >= 0, got"
                f" {n_classes}, {n_inner_steps} and {encoder_lr}"
            )
        self.n_classes = n_classes
        self.head = head
        self.n_features = feature_size(encoder, n_features)
        self.temperature = positive("temperature", temperature)
        default = 1.0 if head == "linear" else temperature**2
        self.inner_lr = positive("inner_lr", default if inner_lr is None else inner_lr)
        self.encoder_lr = encoder_lr
        self.n_inner_steps = n_inner_steps
        start = nn.Linear(self.n_features, n_classes)  # the head of pretraining
        self.weight = nn.Parameter(start.weight.detach())
        self.bias = nn.Parameter(torch.zeros(n_classes))

    @torch.no_grad()
    def adapt(
        self,
        support_x: Inputs,
        support_y: Tensor,
        *,
        n_way: int | None = None,
        n_steps: int | None = None,
        start: Mapping[str, Tensor] | None = None,
    ) -> Adapted:
        """Train a new head on one support set, and the encoder with it where ``encoder_lr`` says so.

        Args:
            support_x: Inputs ``[n_support, ...]``.
            support_y: Labels 0…n_way-1 ``[n_support]``.
            n_way: Number of classes; ``None`` counts them.
            n_steps: Number of steps, at least 0; ``None``: ``n_inner_steps``.
            start: An earlier result of the same classes, whose head goes on; ``support_y`` still needs an example of
                each class. ``None``: a new head.

        Returns:
            ``"weight"`` ``[n_way, n_features]``, ``"bias"`` ``[n_way]``, ``"scale"``, and the encoder's adapted weights
            or the support's statistics where there are any.
        """
        features = self.encode({}, support_x)
        head = self._new_head(features, member_of(support_y, n_way).to(features.dtype))
        fixed = {"scale": head.pop("scale")}
        if start is not None:
            head, fixed = {name: start[name] for name in head}, {"scale": start["scale"]}
        rates = dict.fromkeys(head, features.new_tensor(self.inner_lr))
        params, loss, x = head, self._probe_loss(fixed), features
        if self.encoder_lr:
            weights: Adapted = {f"encoder.{k}": w for k, w in self.encoder.named_parameters() if w.requires_grad}
            if not weights:
                raise ValueError(
                    f"encoder_lr={self.encoder_lr} fine-tunes the encoder, but all its parameters are frozen"
                    " (requires_grad=False): leave some to move, or set encoder_lr=0"
                )
            weights = weights if start is None else {name: start[name] for name in weights}
            rates |= dict.fromkeys(weights, features.new_tensor(self.encoder_lr))
            params, loss, x = head | weights, self._tuning_loss(fixed), support_x
        n_steps = self.n_inner_steps if n_steps is None else n_steps
        adapted = inner_loop.adapt(params, loss, x, support_y, n_steps=n_steps, inner_lr=rates, first_order=True)
        return self.with_statistics(adapted | fixed, support_x)

    def predict(self, adapted: Adapted, x: Inputs) -> Tensor:
        """Return the logits ``[n, n_way]`` of the task's head."""
        return self._logits(adapted, self.encode(adapted, x))

    def batch_loss(self, batch: Batch) -> Tensor:
        """Return the loss of pretraining on a labelled batch: what ``backward`` differentiates."""
        return self.loss_fn(self.classify(self._labelled(batch).x), batch.y)

    def backward(self, batch: Any) -> Tensor:
        """Add the gradient of pretraining's loss on a labelled batch to ``.grad`` and return the loss, detached."""
        return super().backward(self._labelled(batch))

    def classify(self, x: Inputs) -> Tensor:
        """Return the logits ``[n, n_classes]`` of the classes of pretraining."""
        scale = self.weight.new_ones(())
        return self._logits({"weight": self.weight, "bias": self.bias, "scale": scale}, self.encode({}, x))

    def check(self, batch: Any) -> None:
        """Try a batch before a run: labelled examples in training, episodes in evaluation."""
        if isinstance(batch, Batch):
            y = self._labelled(batch).y
            if y.is_floating_point() or y.min() < 0 or y.max() >= self.n_classes:
                raise ValueError(
                    f"y must hold class ids 0…{self.n_classes - 1} (n_classes={self.n_classes}), got {y.dtype} from"
                    f" {y.min().item()} to {y.max().item()}"
                )
        super().check(batch)

    def _labelled(self, batch: Any) -> Batch:
        if not isinstance(batch, Batch) or batch.kind != "labelled":
            found = f"a batch of kind {batch.kind!r}" if isinstance(batch, Batch) else str(batch)
            raise ValueError(f"Transfer learns from labelled batches, got {found}: sample with pool.batches(...)")
        return batch

    def _probe_loss(self, fixed: Adapted) -> inner_loop.ParamsLoss:
        return lambda head, features, y: self.loss_fn(self._logits({**head, **fixed}, features), y)

    def _tuning_loss(self, fixed: Adapted) -> inner_loop.ParamsLoss:
        return lambda params, x, y: self.loss_fn(self._logits({**params, **fixed}, self.encode(params, x)), y)

    def _new_head(self, features: Tensor, member: Tensor) -> dict[str, Tensor]:
        if features.shape[1] != self.n_features:
            raise ValueError(
                f"the encoder returns vectors of size {features.shape[1]}, but n_features={self.n_features}: correct it"
            )
        weight = features.new_zeros(len(member), self.n_features)
        if self.head == "cosine":
            weight = F.normalize(member @ F.normalize(features, dim=1), dim=1)
        scale = features.square().sum(1).mean().sqrt().clamp(min=1e-12)
        return {"weight": weight, "bias": features.new_zeros(len(member)), "scale": scale}

    def _logits(self, head: Mapping[str, Tensor], features: Tensor) -> Tensor:
        if self.head == "cosine":
            return F.normalize(features, dim=1) @ F.normalize(head["weight"], dim=1).T / self.temperature
        return features / head["scale"] @ head["weight"].T + head["bias"]
