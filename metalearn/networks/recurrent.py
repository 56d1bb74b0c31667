"""Recurrent cells written as matrix products, for which ``torch.func.vmap`` has rules."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class LSTMCell(nn.Module):
    """A long short-term memory cell as one matrix product, so that ``torch.func.vmap`` has rules for all of it.

    ``nn.LSTMCell`` computes the same, but vmap refuses it.

    Args:
        n_inputs: Size of the input.
        n_hidden: Size of the hidden state and of the cell state.

    Reference:
        Hochreiter, Schmidhuber: Long Short-Term Memory, 1997, with the forget gate of Gers, Schmidhuber, Cummins, 2000.

    Example:
        >>> import torch
        >>> from metalearn.networks import LSTMCell
        >>> cell, state = LSTMCell(3, 5), (torch.zeros(2, 5), torch.zeros(2, 5))
        >>> hidden, memory = cell(torch.zeros(2, 3), state)
        >>> hidden.shape, memory.shape
        (torch.Size([2, 5]), torch.Size([2, 5]))
    """

    def __init__(self, n_inputs: int, n_hidden: int) -> None:
        super().__init__()
        self.n_hidden = n_hidden
        self.gates = nn.Linear(n_inputs + n_hidden, 4 * n_hidden)  # input, forget, candidate, output

    def forward(self, x: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """Return the new hidden and cell state ``[n, n_hidden]`` after an input ``[n, n_inputs]``."""
        hidden, cell = state
        enter, keep, candidate, leave = self.gates(torch.cat([x, hidden], -1)).chunk(4, -1)
        cell = keep.sigmoid() * cell + enter.sigmoid() * candidate.tanh()
        return leave.sigmoid() * cell.tanh(), cell


class GRUCell(nn.Module):
    r"""A gated recurrent unit as matrix products, so that ``torch.func.vmap`` has rules for all of it.

    With gates :math:`z` and :math:`r` of the input and the state :math:`h`, the new state is
    :math:`(1 - z) \tanh(W x + r \, (U h + b)) + z h`, as in ``nn.GRUCell``.

    Args:
        n_inputs: Size of the input.
        n_hidden: Size of the hidden state.

    Reference:
        Cho, van Merriënboer, Gulcehre, Bahdanau, Bougares, Schwenk, Bengio: Learning Phrase Representations using RNN
        Encoder-Decoder for Statistical Machine Translation, 2014, arXiv 1406.1078.

    Example:
        >>> import torch
        >>> from metalearn.networks import GRUCell
        >>> GRUCell(3, 5)(torch.zeros(2, 3), torch.zeros(2, 5)).shape
        torch.Size([2, 5])
    """

    def __init__(self, n_inputs: int, n_hidden: int) -> None:
        super().__init__()
        self.n_hidden = n_hidden
        self.inputs = nn.Linear(n_inputs, 3 * n_hidden)  # reset, keep, candidate
        self.states = nn.Linear(n_hidden, 3 * n_hidden)

    def forward(self, x: Tensor, hidden: Tensor) -> Tensor:
        """Return the new state ``[n, n_hidden]`` after an input ``[n, n_inputs]``."""
        reset_x, keep_x, new_x = self.inputs(x).chunk(3, -1)
        reset_h, keep_h, new_h = self.states(hidden).chunk(3, -1)
        new = torch.tanh(new_x + (reset_x + reset_h).sigmoid() * new_h)
        return torch.lerp(new, hidden, (keep_x + keep_h).sigmoid())
