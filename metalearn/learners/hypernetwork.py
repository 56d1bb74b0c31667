"""A hypernetwork: a network reads the support set and writes the weights of another one."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from metalearn.episodes import Inputs
from metalearn.inner_loop import from_vector, to_vector
from metalearn.learners._base import Adapted, TaskLoss
from metalearn.learners._checks import class_means
from metalearn.learners._encoder import EncoderLearner, feature_size
from metalearn.learners._set_encoder import SetEncoder, check_task, refuse_both
from metalearn.networks import MLP


class HyperNetwork(EncoderLearner):
    r"""Generate the weights of a small network from a support set, in one pass and without a gradient step.

    The weights of a task are :math:`\theta = \theta_0 + G\, e(S)`. The task embedding :math:`e(S)` is an MLP of the
    support's set embedding: the mean over examples of an MLP of features and targets, or such means class by class.
    One linear map :math:`G` without bias turns it into all weights at once; :math:`\theta_0` are the model's own
    parameters, the "bias network", which stands for a task of which nothing is known. All three are trained.

    With ``per_class`` one shared MLP writes the row of each class of a linear head, weights and bias, from the mean of
    that class's features. No class has a place of its own in it: naming the classes in another order permutes the rows,
    and the learner takes any number of classes.

    Args:
        encoder: Any module from inputs ``[n, ...]`` to vectors ``[n, n_features]``; ``nn.Identity()`` for inputs that
            are vectors. Its weights are not generated.
        model: Module from the encoder's vectors to logits or values, whose weights are generated: ``MLP([64, 5])`` on
            ``Conv4()``, ``MLP([1, 40, 40, 1])`` on ``nn.Identity()``. With ``per_class``: ``None``.
        n_way: Number of classes of the tasks; ``None``: regression, or ``per_class``.
        per_class: Write a linear head, row by row; leave ``model`` and ``n_way`` out.
        n_outputs: Size of the targets, in regression.
        n_features: Size of the encoder's vectors; ``None``: ``encoder.n_features``.
        n_hidden: Units of the hidden layers of the networks that embed the support set.
        n_embedding: Size of the task embedding, and of the set's MLP's output.
        loss_fn: Task loss of the outer objective.

    Attributes:
        generator: The map :math:`G` ``[n_params, n_embedding]``; rows stand in the order of the model's parameters.
        writer: With ``per_class``, the shared MLP from a class's mean to its row.

    Raises:
        ValueError: If a number is below 1 or the model has no parameters; from :meth:`adapt`, if the task is not of
            the kind the learner is built for, the encoder returns no vectors or inner steps are asked for.

    Reference:
        Ha, Dai, Le: HyperNetworks, 2016, arXiv 1609.09106, equations 1 and 2. Initialisation: Chang, Flokas, Lipson:
        Principled Weight Initialization for Hypernetworks, 2020 (ICLR), section 4. Set embedding: see
        :class:`metalearn.learners.NeuralProcess`.

    Differs from the paper:
        Ha, Dai and Le generate the weights of each layer from a vector that is learned for that layer, or from the
        state of a recurrent net; here they are generated from a task's support set.

    Taught in:
        Meta neural networks.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from metalearn.learners import HyperNetwork
        >>> from metalearn.networks import MLP
        >>> learner = HyperNetwork(nn.Identity(), MLP([1, 40, 40, 1]), n_features=1, loss_fn=nn.functional.mse_loss)
        >>> adapted = learner.adapt(torch.zeros(10, 1), torch.zeros(10, 1))
        >>> adapted["model.2.weight"].shape
        torch.Size([40, 40])
    """

    def __init__(
        self,
        encoder: nn.Module,
        model: nn.Module | None = None,
        n_way: int | None = None,
        *,
        per_class: bool = False,
        n_outputs: int = 1,
        n_features: int | None = None,
        n_hidden: int = 128,
        n_embedding: int = 128,
        loss_fn: TaskLoss = F.cross_entropy,
    ) -> None:
        super().__init__(encoder, loss_fn)
        refuse_both(per_class, n_way)
        if per_class != (model is None):
            raise ValueError("give a model whose weights are to be generated, or per_class=True for a linear head")
        own = {} if model is None else dict(model.named_parameters())
        if model is not None and not own:
            raise ValueError(f"the model must have parameters to generate, {type(model).__name__} has none")
        self.model = model
        self.n_way = n_way
        self.per_class = per_class
        self.n_outputs = n_outputs
        self.n_features = feature_size(encoder, n_features)
        self.n_hidden = n_hidden
        self.n_embedding = n_embedding
        if per_class:
            self.writer = MLP([self.n_features, n_hidden, n_hidden, self.n_features + 1])
            return
        self.set_encoder = SetEncoder(self.n_features, n_way, n_outputs, n_hidden, n_embedding)
        self.embedding = MLP([self.set_encoder.size, n_hidden, n_embedding])
        self.generator = nn.Parameter(_initial_generator(own, n_embedding))

    def adapt(
        self, support_x: Inputs, support_y: Tensor, *, n_way: int | None = None, n_steps: int | None = None
    ) -> Adapted:
        """Return the weights of one task; there are no inner steps to count.

        Args:
            support_x: Inputs ``[n_support, ...]``.
            support_y: Labels 0…n_way-1 ``[n_support]``, or targets ``[n_support, n_outputs]``.
            n_way: Number of classes; must be the learner's own where it is given.
            n_steps: Must be left out.

        Returns:
            The model's weights, named ``"model.…"`` (with ``per_class`` the head's, ``"rows"``
            ``[n_way, n_features + 1]``, the bias last), and the support's statistics where a norm policy needs them.
        """
        self._steps(n_steps)
        if self.model is None:
            rows = self.writer(class_means(self.encode({}, support_x), support_y, n_way))
            return self.with_statistics({"rows": rows}, support_x)
        own = {f"model.{name}": param for name, param in self.model.named_parameters()}
        embedding = self.embed(support_x, support_y, n_way)
        params = from_vector(to_vector(own) + self.generator @ embedding, own)
        return self.with_statistics(params, support_x)

    def predict(self, adapted: Adapted, x: Inputs) -> Tensor:
        """Run the model with the generated weights: logits or values ``[n, n_outputs]``."""
        features = self.encode(adapted, x)
        if self.model is None:
            return F.linear(features, adapted["rows"][:, :-1], adapted["rows"][:, -1])
        return self.run("model", adapted, features)

    def embed(self, support_x: Inputs, support_y: Tensor, n_way: int | None = None) -> Tensor:
        """Return the task embedding ``[n_embedding]`` of one support set; arguments as in :meth:`adapt`."""
        check_task("HyperNetwork", self.n_way, self.n_outputs, n_way, support_y)
        embedding: Tensor = self.embedding(self.set_encoder(self.encode({}, support_x), support_y))
        return embedding


def _initial_generator(params: dict[str, nn.Parameter], n_embedding: int) -> Tensor:
    """Return an initial map from embeddings to weights ``[n_params, n_embedding]``.

    With an embedding whose entries have mean square s, a row of variance v generates a weight of variance
    n_embedding * v * s. PyTorch's own variance 1 / (3 fan_in) of the weights of theta_0 would take
    v = 1 / (3 fan_in n_embedding s) (Chang et al., "hyperfan-in"; a default initialisation of G forgets fan_in, and the
    generated network then explodes with its width). We take s = 1. The embedding of an untrained MLP is smaller than
    that (s = 0.01 to 0.1), so that tasks start close to the bias network, which is sensibly initialised by itself,
    but not on it: with G = 0 no gradient would reach the networks that embed the support.
    """
    rows, fan_in = [], 1
    for param in params.values():
        fan_in = param[0].numel() if param.ndim > 1 else fan_in  # a bias as the weights before it
        rows.append(torch.randn(param.numel(), n_embedding) * (3 * fan_in * n_embedding) ** -0.5)
    return torch.cat(rows)
