"""One step of each recurrent cell.

Given the input's part gi = x W_ihᵀ + b_ih and the hidden state's part gh = h W_hhᵀ + b_hh (columns in the gate order
named, H each) and the state before:

* LSTM (i, f, g, o):  c' = σ(f) c + σ(i) tanh(g),  h' = σ(o) tanh(c')      with i … o from gi + gh;
* GRU (r, z, n):      n = tanh(gi_n + σ(gi_r + gh_r) gh_n),  h' = n + σ(gi_z + gh_z) (h - n);
* RNN:                h' = tanh(gi + gh), or relu.

A state is a tuple: (h, c) for the LSTM, (h,) for the others. Each cell has the step twice: on Tensors, by ops with
gradients, and on arrays, by a kernel that gives the same bits on every CPU, for layers with weights in fewer bits.
Where both weights are packed integers one call takes all steps of a sequence.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from .. import _C
from .activation import relu, sigmoid, tanh
from .exact import RECURRENT_STEP
from .shape import chunk

State = tuple[Any, ...]


class Cell(NamedTuple):
    """How the kernels call a cell, how many gates it has, how many tensors its state, and its step on Tensors."""

    kernel: str
    gates: int
    states: int
    float_step: Callable[[Any, Any, State], State]

    def exact_step(self, gi: Any, gh: Any, state: State) -> State:
        """Return the state after a step, all in arrays."""
        return RECURRENT_STEP(gi, gh, *state, kernel=self.kernel)

    def step(self, gi: Any, gh: Any, state: State) -> State:
        """Return the state after a step; arrays take the exact form."""
        return (self.exact_step if isinstance(gi, np.ndarray) else self.float_step)(gi, gh, state)

    def run(
        self,
        rows: np.ndarray,
        sizes: list[int],
        state: State,
        weights: tuple[_C.PackedLinear, _C.PackedLinear],
        backward: bool = False,
        reduce_range: bool = False,
        out: np.ndarray | None = None,
    ) -> State:
        """Take all steps of a sequence: `sizes[t]` of the rows belong to time t.

        Returns the state of each sequence after its last step; `out` receives h after each step, as rows.
        """
        return _C.recurrent(self.kernel, rows, sizes, state, *weights, backward, reduce_range, out)


def _lstm(gi: Any, gh: Any, state: State) -> State:
    i, f, g, o = chunk(gi + gh, 4, -1)
    c = sigmoid(f) * state[1] + sigmoid(i) * tanh(g)
    return sigmoid(o) * tanh(c), c


def _gru(gi: Any, gh: Any, state: State) -> State:
    i_r, i_z, i_n = chunk(gi, 3, -1)
    h_r, h_z, h_n = chunk(gh, 3, -1)
    n = tanh(i_n + sigmoid(i_r + h_r) * h_n)
    return (n + sigmoid(i_z + h_z) * (state[0] - n),)


LSTM_CELL = Cell("lstm", 4, 2, _lstm)
GRU_CELL = Cell("gru", 3, 1, _gru)
RNN_CELLS = {
    "tanh": Cell("rnn_tanh", 1, 1, lambda gi, gh, s: (tanh(gi + gh),)),
    "relu": Cell("rnn_relu", 1, 1, lambda gi, gh, s: (relu(gi + gh),)),
}


def rnn_cell(layer: str, nonlinearity: str) -> Cell:
    """Return the plain cell with this nonlinearity."""
    if nonlinearity not in RNN_CELLS:
        raise ValueError(f"{layer}: nonlinearity: expected 'tanh' or 'relu', got {nonlinearity!r}")
    return RNN_CELLS[nonlinearity]
