"""A conditional variational autoencoder: from a picture of something new to further pictures of it."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from metalearn.episodes import Episode, Inputs
from metalearn.learners._base import Adapted, Learner
from metalearn.learners._checks import at_least_one


class ConditionalVAE(Learner):
    r"""Read a picture of a new class as a code, and draw further pictures of it from code, picture and noise.

    A task is a map from noise to pictures of one class: targets ``y`` are pictures, inputs ``x`` the noise that goes
    into each of them (:meth:`metalearn.Pool.pictures` draws such tasks). To adapt is to encode the support's pictures;
    nothing is trained in a task. The outer objective of a query picture :math:`y` is the negative evidence lower bound

    .. math:: -\mathbb{E}_{q(z \mid y, \mathcal{S})} \log p(y \mid z, \mathcal{S})
              + \lambda\, \mathrm{KL}\bigl(q(z \mid y, \mathcal{S}) \,\|\, \mathcal{N}(0, I)\bigr)

    with :math:`\lambda = 1`. The posterior :math:`q` is normal; a network that sees the query picture beside the given
    one says its mean :math:`\mu` and deviations :math:`\sigma`. One draw :math:`z = \mu + \sigma \odot \epsilon`, with
    the noise :math:`\epsilon` of the task, estimates the expectation. A pixel's grey value is the probability with
    which it is ink; :math:`\log p` is summed over pixels.

    Args:
        encoder: From pictures ``[n, ...]`` to codes ``[n, n_features, height, width]``: ``Conv4(downsample="maps")``.
        posterior: From pictures and given ones to mean and log variance, for training only:
            :class:`metalearn.networks.PairReader`.
        decoder: From noise ``[n, n_latent]``, codes and given pictures to logits:
            :class:`metalearn.networks.WarpDecoder`.
        kl_weight: :math:`\lambda`, at least 0; with less than 1 the objective is no bound on the likelihood.

    Raises:
        ValueError: If ``kl_weight`` is below 0; from :meth:`adapt`, if the support holds no pictures, or inner steps
            are asked for.

    Reference:
        Kingma, Welling: Auto-Encoding Variational Bayes, 2014, arXiv 1312.6114, equation 10. Conditional: Sohn, Lee,
        Yan: Learning Structured Output Representation using Deep Conditional Generative Models, 2015.

    Differs from the paper:
        The prior of the noise does not depend on the given picture. Of several given pictures each in turn is the one
        that a new picture starts from.

    Taught in:
        Vision.

    Example:
        >>> import torch
        >>> from metalearn.data import glyphs
        >>> from metalearn.learners import ConditionalVAE
        >>> from metalearn.networks import Conv4, PairReader, WarpDecoder
        >>> encoder = Conv4(channels=32, norm="group", downsample="maps")
        >>> learner = ConditionalVAE(encoder, PairReader(16), WarpDecoder(16))
        >>> picture = glyphs().test.read(torch.tensor([0]))
        >>> learner.generate(picture, 10, torch.Generator().manual_seed(0)).shape
        torch.Size([10, 1, 28, 28])
    """

    def __init__(self, encoder: nn.Module, posterior: nn.Module, decoder: nn.Module, kl_weight: float = 1.0) -> None:
        super().__init__(F.mse_loss)  # what a score is by default; for the objective, see loss()
        if not kl_weight >= 0:
            raise ValueError(f"kl_weight must be at least 0, got {kl_weight}")
        self.encoder = encoder
        self.posterior = posterior
        self.decoder = decoder
        self.kl_weight = kl_weight

    def adapt(
        self, support_x: Inputs, support_y: Tensor, *, n_way: int | None = None, n_steps: int | None = None
    ) -> Adapted:
        """Return the given pictures of one class and their codes; there are no inner steps to count.

        Args:
            support_x: Noise ``[n_support, n_latent]``, which is not read.
            support_y: Pictures ``[n_support, channels, height, width]`` in [0, 1].
            n_way: Must be left out: all pictures are of one class.
            n_steps: Must be left out.

        Returns:
            ``"given"``, the pictures, and ``"code"`` ``[n_support, n_features, height / 4, width / 4]``.
        """
        self._steps(n_steps)
        if n_way is not None or support_y.ndim != 4:
            raise ValueError(
                "expected pictures of one class as targets, support_y [n_support, channels, height, width] without"
                f" n_way, got support_y {list(support_y.shape)} and n_way={n_way}: draw tasks with pool.pictures(...)"
            )
        return {"given": support_y, "code": self.run("encoder", {}, support_y)}

    def predict(self, adapted: Adapted, x: Inputs) -> Tensor:
        """Return the pictures ``[n, channels, height, width]`` in [0, 1] that noise ``[n, n_latent]`` stands for."""
        return self.decode(adapted, x).sigmoid()

    def decode(self, adapted: Adapted, z: Tensor) -> Tensor:
        """Return the logits of the pictures that noise ``[n, n_latent]`` stands for."""
        return self.run("decoder", adapted, z, _in_turn(adapted["code"], len(z)), _in_turn(adapted["given"], len(z)))

    def infer(self, adapted: Adapted, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log variance, each ``[n, n_latent]``, of the noise behind pictures ``[n, ...]``."""
        mean, log_var = self.run("posterior", adapted, y, _in_turn(adapted["given"], len(y)))
        return mean, log_var

    def parts_of_loss(self, episode: Episode) -> tuple[Tensor, Tensor]:
        """Return the misfit of the reconstruction and the KL divergence, in nats per query picture."""
        adapted = self.adapt(episode.support_x, episode.support_y, n_way=episode.n_way)
        mean, log_var = self.infer(adapted, episode.query_y)
        logits = self.decode(adapted, mean + (log_var / 2).exp() * episode.query_x)
        misfit = F.binary_cross_entropy_with_logits(logits, episode.query_y, reduction="sum") / len(logits)
        divergence = (mean.square() + log_var.exp() - 1 - log_var).sum(1).mean() / 2
        return misfit, divergence

    def loss(self, episode: Episode) -> Tensor:
        """Return the negative evidence lower bound of one task, in nats per query picture."""
        misfit, divergence = self.parts_of_loss(episode)
        return misfit + self.kl_weight * divergence

    @torch.no_grad()
    def generate(self, given: Tensor, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Return ``n`` new pictures of the class of the given ones ``[n_given, channels, height, width]``."""
        at_least_one(n=n)
        n_latent = int(self.decoder.n_latent)  # type: ignore[arg-type]
        z = torch.randn(n, n_latent, generator=generator, dtype=given.dtype, device=given.device)
        return self.predict(self.adapt(given, given), z)


def _in_turn(tensor: Tensor, n: int) -> Tensor:
    """Return ``n`` rows of a tensor, from the first on, and from the first again after the last."""
    return tensor[torch.arange(n, device=tensor.device) % len(tensor)]
