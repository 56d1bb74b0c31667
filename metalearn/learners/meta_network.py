"""Meta networks: gradients on the support become fast weights, which a memory returns to each query."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn import functional as F

from metalearn.episodes import Inputs
from metalearn.inner_loop import Params, from_vector
from metalearn.learners._base import Adapted, TaskLoss
from metalearn.learners._checks import at_least_one
from metalearn.learners._encoder import EncoderLearner, feature_size
from metalearn.learners._preprocessing import log_and_sign
from metalearn.learners._set_encoder import check_task
from metalearn.networks import MLP, LSTMCell

START = 0.01  # standard deviation of the last layers of the rules, see MetaNetwork.__init__


class MetaNetwork(EncoderLearner):
    r"""Turn the gradient on each support example into fast weights, and let each query read its own from a memory.

    Slow weights are trained by the outer objective, fast weights are generated for a task. A network :math:`b` predicts
    and a network :math:`u` compares, both on the encoder's features:

    1. The gradients on the support examples of u's embedding loss, at its slow weights :math:`Q`, run through an LSTM
       :math:`d`, one weight at a time, and become u's fast weights :math:`Q^*` of the task.
    2. The gradient on each example of b's task loss, at its slow weights :math:`W`, becomes fast weights
       :math:`W^*_i` by an MLP :math:`m`, one weight at a time. A memory holds them under the keys
       :math:`u(Q, Q^*, x_i)`.
    3. A query's fast weights are a sum of the memory's, weighed by a softmax over the cosines between its own
       representation :math:`u(Q, Q^*, x)` and the keys.

    Fast and slow weights work side by side (``augmented`` below). Both rules see gradients by logarithm and sign.

    Args:
        encoder: Any module from inputs ``[n, ...]`` to vectors ``[n, n_features]``; ``nn.Identity()`` for inputs that
            are vectors. It has slow weights only.
        n_way: Number of classes of the tasks; ``None``: regression.
        n_outputs: Size of the targets, in regression.
        n_features: Size of the encoder's vectors; ``None``: ``encoder.n_features``.
        hidden: Units of the hidden layers of b; none make it linear.
        n_representation: Size of the representation, and of the hidden layer of u.
        n_rule_hidden: Hidden units of m and of d.
        first_order: Treat the gradients as constants that do not depend on what is learned. ``False`` differentiates
            through them. The read-out of the embedding loss then stays as it was initialised.
        loss_fn: Task loss, for both gradients and the outer objective.

    Raises:
        ValueError: If a number is below 1; from :meth:`adapt`, if the task is not of the kind the learner is built
            for, the encoder returns no vectors or inner steps are asked for.

    Reference:
        Munkhdalai, Yu: Meta Networks, 2017, arXiv 1703.00837, algorithm 1. Gradients by logarithm and sign:
        Andrychowicz et al., 2016, arXiv 1606.04474, appendix A.

    Differs from the paper:
        The embedding loss is the task loss of a linear read-out of u, for classes and values; the paper has a
        contrastive loss for one-shot tasks and cross-entropy otherwise. The LSTM d sees all support examples in their
        order, not a sample of them. Convolutions are part of the encoder and have no fast weights.

    Taught in:
        Meta neural networks.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from metalearn.learners import MetaNetwork
        >>> learner = MetaNetwork(nn.Identity(), 5, n_features=8)
        >>> adapted = learner.adapt(torch.zeros(5, 8), torch.arange(5))
        >>> learner.predict(adapted, torch.zeros(3, 8)).shape
        torch.Size([3, 5])
    """

    def __init__(
        self,
        encoder: nn.Module,
        n_way: int | None = None,
        *,
        n_outputs: int = 1,
        n_features: int | None = None,
        hidden: Sequence[int] = (40,),
        n_representation: int = 40,
        n_rule_hidden: int = 20,
        first_order: bool = False,
        loss_fn: TaskLoss = F.cross_entropy,
    ) -> None:
        super().__init__(encoder, loss_fn)
        at_least_one(n_way=n_way, n_outputs=n_outputs, n_representation=n_representation, n_rule_hidden=n_rule_hidden)
        self.n_way = n_way
        self.n_outputs = n_outputs
        self.n_features = feature_size(encoder, n_features)
        self.hidden = list(hidden)
        self.n_representation = n_representation
        self.n_rule_hidden = n_rule_hidden
        self.first_order = first_order
        n_predicted = n_outputs if n_way is None else n_way
        self.base = MLP([self.n_features, *hidden, n_predicted])  # b, with its slow weights W
        self.representation = MLP([self.n_features, n_representation, n_representation])  # u, with its slow weights Q
        self.readout = nn.Linear(n_representation, n_predicted)  # of the embedding loss
        self.base_rule = MLP([2, n_rule_hidden, n_rule_hidden, 1])  # m
        self.representation_cell = LSTMCell(2, n_rule_hidden)  # d
        self.representation_rule = nn.Linear(n_rule_hidden, 1)  # and its output
        # One rule serves all weights, and an untrained one says nearly the same for each. A layer adds that number up
        # over its inputs: with a default initialisation the fast part would drown the slow one. It starts small, but
        # not at zero, where no gradient would reach the rules' first layers.
        for last in (self.base_rule[-1], self.representation_rule):
            assert isinstance(last, nn.Linear)
            nn.init.normal_(last.weight, std=START)
            nn.init.zeros_(last.bias)

    def adapt(
        self, support_x: Inputs, support_y: Tensor, *, n_way: int | None = None, n_steps: int | None = None
    ) -> Adapted:
        """Generate the fast weights of one task; there are no inner steps to count.

        Args:
            support_x: Inputs ``[n_support, ...]``.
            support_y: Labels 0…n_way-1 ``[n_support]``, or targets ``[n_support, n_outputs]``.
            n_way: Number of classes; must be the learner's own where it is given.
            n_steps: Must be left out.

        Returns:
            ``"fast"`` ``[n_representation_params]``: u's fast weights; ``"keys"``
            ``[n_support, n_representation]``; ``"memory"`` ``[n_support, n_base_params]``: b's fast weights for each
            example; and the support's statistics where the norm policy needs them.
        """
        self._steps(n_steps)
        check_task("MetaNetwork", self.n_way, self.n_outputs, n_way, support_y)
        features = self.encode({}, support_x)
        fast = self._run_lstm(log_and_sign(self._gradients(self.representation, features, support_y, self.readout)))
        memory = self.base_rule(log_and_sign(self._gradients(self.base, features, support_y))).squeeze(-1)
        adapted = {"fast": fast, "keys": self._represent(fast, features), "memory": memory}
        return self.with_statistics(adapted, support_x)

    def predict(self, adapted: Adapted, x: Inputs) -> Tensor:
        """Return logits or values ``[n, n_outputs]``, each query's by fast weights of its own."""
        features, slow = self.encode(adapted, x), dict(self.base.named_parameters())
        own = self._attend(adapted, features) @ adapted["memory"]  # [n, n_base_params]
        return augmented(slow, vmap(lambda vector: from_vector(vector, slow))(own), features)

    def attention(self, adapted: Adapted, x: Inputs) -> Tensor:
        """Return how much of each support example's fast weights each query takes ``[n, n_support]``; rows sum to 1."""
        return self._attend(adapted, self.encode(adapted, x))

    def _attend(self, adapted: Mapping[str, Tensor], features: Tensor) -> Tensor:
        queries = self._represent(adapted["fast"], features)
        return (F.normalize(queries, dim=1) @ F.normalize(adapted["keys"], dim=1).T).softmax(1)

    def _represent(self, fast: Tensor, features: Tensor) -> Tensor:
        slow = dict(self.representation.named_parameters())
        return augmented(slow, from_vector(fast, slow), features)

    def _gradients(self, net: nn.Module, features: Tensor, y: Tensor, readout: nn.Module | None = None) -> Tensor:
        """Return the gradients of the losses of single examples at a net's slow weights ``[n_support, n_params]``."""
        params: Params = dict(net.named_parameters())
        if self.first_order:
            params, features = {name: param.detach() for name, param in params.items()}, features.detach()

        def loss(params: Params, feature: Tensor, target: Tensor) -> Tensor:
            output = functional_call(net, params, (feature.unsqueeze(0),))
            return self.loss_fn(output if readout is None else readout(output), target.unsqueeze(0))

        grads = vmap(grad(loss), in_dims=(None, 0, 0))(params, features, y)
        gradients = torch.cat([part.flatten(1) for part in grads.values()], 1)
        return gradients.detach() if self.first_order else gradients

    def _run_lstm(self, sequence: Tensor) -> Tensor:
        """Read preprocessed gradients ``[n_support, n_params, 2]`` one after the other, and return ``[n_params]``."""
        rest = sequence.new_zeros(sequence.shape[1], self.n_rule_hidden)
        state = (rest, rest)
        for seen in sequence:
            state = self.representation_cell(seen, state)
        fast: Tensor = self.representation_rule(state[0]).squeeze(-1)
        return fast


def augmented(slow: Mapping[str, Tensor], fast: Mapping[str, Tensor], x: Tensor) -> Tensor:
    r"""Run an MLP with slow and fast weights side by side: :math:`\mathrm{relu}(Wx) + \mathrm{relu}(W^*x)`.

    Each hidden layer adds the two activations, the last layer the two outputs.

    Args:
        slow: Weights of an :class:`metalearn.networks.MLP`, by name.
        fast: Weights of the same names and shapes, or with a leading axis of examples ``[n, ...]``: each its own.
        x: Inputs ``[n, n_features]``.

    Returns:
        Outputs ``[n, n_outputs]``.

    Example:
        >>> import torch
        >>> from metalearn.learners.meta_network import augmented
        >>> slow = {"0.weight": torch.tensor([[2.0]]), "0.bias": torch.tensor([1.0])}
        >>> fast = {"0.weight": torch.tensor([[[1.0]], [[-3.0]]]), "0.bias": torch.zeros(2, 1)}  # of two examples
        >>> augmented(slow, fast, torch.tensor([[1.0], [1.0]]))
        tensor([[4.],
                [0.]])
    """
    layers = [name.removesuffix(".weight") for name in slow if name.endswith(".weight")]
    for layer in layers:
        weight, bias = f"{layer}.weight", f"{layer}.bias"
        by_slow = F.linear(x, slow[weight], slow[bias])
        by_fast = (fast[weight] @ x.unsqueeze(-1)).squeeze(-1) + fast[bias]
        x = by_slow + by_fast if layer == layers[-1] else by_slow.relu() + by_fast.relu()
    return x
