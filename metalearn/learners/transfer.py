"""Transfer: ordinary training on many classes, then a new head on the features; the baseline to beat."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from metalearn import inner_loop
from metalearn.episodes import Batch, Episode, Inputs
from metalearn.learners._base import batches_only, check_values, member_of, positive, unchanged
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
        encoder_lr: Step size of the encoder in a task; 0 leaves the encoder frozen.
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

    def adapt(
        self, support_x: Inputs, support_y: Tensor, *, n_way: int | None = None, n_steps: int | None = None
    ) -> dict[str, Tensor]:
        """Train a new head on one support set, and the encoder with it where ``encoder_lr`` says so.

        Args:
            support_x: Inputs ``[n_support, ...]``.
            support_y: Labels 0…n_way-1 ``[n_support]``.
            n_way: Number of classes; ``None`` counts them.
            n_steps: Number of steps, at least 0; ``None``: ``n_inner_steps``.

        Returns:
            ``"weight"`` ``[n_way, n_features]``, ``"bias"`` ``[n_way]``, ``"scale"``, and the encoder's adapted weights
            or the support's statistics where there are any.
        """
        features, statistics = self._read_support(support_x)
        head = self._new_head(features, member_of(support_y, n_way).to(features.dtype))
        n_steps = self.n_inner_steps if n_steps is None else n_steps
        fixed = {"scale": head.pop("scale")}
        rates: dict[str, Tensor] = dict.fromkeys(head, features.new_tensor(self.inner_lr))
        if not self.encoder_lr:

            def probe(params: Mapping[str, Tensor], x: Inputs, y: Tensor) -> Tensor:
                return self.loss_fn(self._logits({**params, **fixed}, x), y)

            return (
                inner_loop.adapt(head, probe, features, support_y, n_steps=n_steps, inner_lr=rates) | fixed | statistics
            )

        def tune(params: Mapping[str, Tensor], x: Inputs, y: Tensor) -> Tensor:
            return self.loss_fn(self._logits({**params, **fixed}, self._encode(params, x)), y)

        weights = {f"encoder.{name}": weight for name, weight in self.encoder.named_parameters()}
        rates |= dict.fromkeys(weights, features.new_tensor(self.encoder_lr))
        tuned = inner_loop.adapt(head | weights, tune, support_x, support_y, n_steps=n_steps, inner_lr=rates)
        own = {name[8:]: tensor for name, tensor in tuned.items() if name.startswith("encoder.")}
        return tuned | fixed | self._statistics(own, support_x)

    def predict(self, adapted: dict[str, Tensor], x: Inputs) -> Tensor:
        """Return the logits ``[n, n_way]`` of the task's head."""
        return self._logits(adapted, self._encode(adapted, x))

    def backward(self, batch: Episode | Batch) -> Tensor:
        """Add the gradient of pretraining's loss on a labelled batch to ``.grad`` and return the loss, detached."""
        x, y = batches_only(self, batch, "pool.sample_batch")
        loss = self.loss_fn(self.classify(x), y)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    def classify(self, x: Inputs) -> Tensor:
        """Return the logits ``[n, n_classes]`` of the classes of pretraining."""
        scale = self.weight.new_ones(())
        return self._logits({"weight": self.weight, "bias": self.bias, "scale": scale}, self._encode({}, x))

    def _observe(self, batch: Episode | Batch) -> None:
        if isinstance(batch, Episode):
            super()._observe(batch)
        else:
            self.classify(batch.x)

    def check(self, batch: Episode | Batch) -> None:
        """Try a batch before a run: labelled examples in training, episodes in evaluation."""
        if isinstance(batch, Episode):
            super().check(batch)
            return
        check_values(batch)
        if batch.kind != "labelled":
            raise ValueError(f"Transfer learns from labelled batches, got {batch.kind}: sample with pool.sample_batch")
        if batch.y.is_floating_point() or batch.y.min() < 0 or batch.y.max() >= self.n_classes:
            raise ValueError(
                f"y must hold class ids 0…{self.n_classes - 1} (n_classes={self.n_classes}), got {batch.y.dtype} from"
                f" {batch.y.min().item()} to {batch.y.max().item()}"
            )
        with torch.no_grad(), unchanged(self):
            self.classify(batch.x)

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
