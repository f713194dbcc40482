"""One step of each recurrent cell.

Given the input's part gi = x W_ihᵀ + b_ih and the hidden state's part gh = h W_hhᵀ + b_hh (columns in the gate order
named, H each) and the state before:

* LSTM (i, f, g, o):  c' = σ(f) c + σ(i) tanh(g),  h' = σ(o) tanh(c')      with i … o from gi + gh;
* GRU (r, z, n):      n = tanh(gi_n + σ(gi_r + gh_r) gh_n),  h' = n + σ(gi_z + gh_z) (h - n);
* RNN:                h' = tanh(gi + gh), or relu.

A state is a tuple: (h, c) for the LSTM, (h,) for the others. Each cell has the step twice: on Tensors, by ops with
gradients, and on arrays, by kernels that give the same bits on every CPU, for layers with quantized weights.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from .. import _C
from .activation import relu, sigmoid, tanh
from .shape import chunk

State = tuple[Any, ...]


class Cell(NamedTuple):
    """How many gates a cell has, how many tensors its state, and its step in both forms."""

    gates: int
    states: int
    float_step: Callable[[Any, Any, State], State]
    exact_step: Callable[[Any, Any, State], State]

    def step(self, gi: Any, gh: Any, state: State) -> State:
        """Return the state after a step; arrays take the exact form."""
        return (self.exact_step if isinstance(gi, np.ndarray) else self.float_step)(gi, gh, state)


def _lstm(gi: Any, gh: Any, state: State) -> State:
    i, f, g, o = chunk(gi + gh, 4, -1)
    c = sigmoid(f) * state[1] + sigmoid(i) * tanh(g)
    return sigmoid(o) * tanh(c), c


def _gru(gi: Any, gh: Any, state: State) -> State:
    i_r, i_z, i_n = chunk(gi, 3, -1)
    h_r, h_z, h_n = chunk(gh, 3, -1)
    n = tanh(i_n + sigmoid(i_r + h_r) * h_n)
    return (n + sigmoid(i_z + h_z) * (state[0] - n),)


def _rows(array: Any) -> np.ndarray:
    return np.ascontiguousarray(array)


LSTM_CELL = Cell(4, 2, _lstm, lambda gi, gh, s: _C.lstm_cell(gi + gh, _rows(s[1])))
GRU_CELL = Cell(3, 1, _gru, lambda gi, gh, s: (_C.gru_cell(_rows(gi), _rows(gh), _rows(s[0])),))
RNN_CELLS = {
    "tanh": Cell(1, 1, lambda gi, gh, s: (tanh(gi + gh),), lambda gi, gh, s: (_C.tanh(gi + gh),)),
    "relu": Cell(1, 1, lambda gi, gh, s: (relu(gi + gh),), lambda gi, gh, s: (np.maximum(gi + gh, np.float32(0)),)),
}


def rnn_cell(layer: str, nonlinearity: str) -> Cell:
    """Return the plain cell with this nonlinearity."""
    if nonlinearity not in RNN_CELLS:
        raise ValueError(f"{layer}: nonlinearity: expected 'tanh' or 'relu', got {nonlinearity!r}")
    return RNN_CELLS[nonlinearity]
