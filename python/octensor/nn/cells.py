"""`RNNCell`, `GRUCell`, `LSTMCell`: one step of a recurrent layer, in the float and the dynamic stage."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..arrays import as_array
from ..ops.exact import RECURRENT
from ..ops.gates import GRU_CELL, LSTM_CELL, Cell, rnn_cell
from ..ops.recording import RECORDING
from ..tensor import Tensor
from . import init
from .linear import positive
from .parameter import Parameter
from .projection import ProjectingLayer
from .weighted import describe


class RecurrentCell(ProjectingLayer):
    """What the cells share.

    Parameters
    ----------
    input_size, hidden_size : int
    bias : bool
    """

    cell: Cell  # gates and step; of the class, for it holds functions
    weight_names = ("weight_ih", "weight_hh")

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True) -> None:
        super().__init__()
        positive(type(self).__name__, input_size=input_size, hidden_size=hidden_size)
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.bias = bias
        rows = self.cell.gates * hidden_size
        self.weight_ih = Parameter(np.empty((rows, input_size), np.float32))
        self.weight_hh = Parameter(np.empty((rows, hidden_size), np.float32))
        for name in ("bias_ih", "bias_hh"):
            self.register_parameter(name, Parameter(np.empty(rows, np.float32)) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new weights, uniform within 1/sqrt(hidden_size) (PyTorch's default)."""
        bound = 1 / math.sqrt(self.hidden_size)
        for parameter in self.parameters(recurse=False):
            init.uniform_(parameter, -bound, bound)

    def forward(self, input: Any, hx: Any = None) -> Any:
        """Take one step.

        Parameters
        ----------
        input : Tensor, shape (N, input_size)
            One row may come without the batch axis.
        hx : Tensor, shape (N, hidden_size), optional
            The state before (zeros); for an LSTM cell a pair, (h, c).

        Returns
        -------
        Tensor, or a pair of them, shape (N, hidden_size)
            The state after.
        """
        shape = tuple(getattr(input, "shape", ()))
        if not isinstance(input, (Tensor, np.ndarray)):
            raise TypeError(f"expected a float Tensor, got {describe(input)}: put a DeQuantStub before this layer")
        if len(shape) not in (1, 2) or shape[-1] != self.input_size:
            raise ValueError(f"expected shape (N, {self.input_size}), got {describe(input)}")
        x = input if isinstance(input, Tensor) else Tensor(input)
        single = len(shape) == 1
        x = x.reshape(-1, self.input_size)
        wanted = (x.shape[0], self.hidden_size)
        given = (None,) * self.cell.states if hx is None else tuple(hx) if self.cell.states > 1 else (hx,)
        if len(given) != self.cell.states:
            raise ValueError(f"hx: expected {self.cell.states} tensors of shape {wanted}, got {len(given)}")
        state: tuple[Any, ...] = tuple(self._state(value, wanted, single) for value in given)
        if self.is_dynamic:
            state = tuple(as_array(s) for s in state)
        pair = self._packed_pair("")
        if pair is None:
            part = self._project(x, "weight_ih", "bias_ih")
            state = self.cell.step(part, self._project(state[0], "weight_hh", "bias_hh"), state)
        else:
            before, rows = state, as_array(x)
            sizes = [len(rows)]
            state = self.cell.run(rows, sizes, before, pair, reduce_range=self.reduce_range)
            if RECORDING.recorder is not None:
                attrs = {"kernel": self.cell.kernel, "sizes": tuple(sizes), "reduce_range": self.reduce_range}
                results = (None, *state)  # h after every step is the state after the one step
                RECORDING.recorder.note(RECURRENT, (rows, *before, *self.weights_of("")), attrs, results)
        after = [Tensor(s) if isinstance(s, np.ndarray) else s for s in state]
        after = [s[0] for s in after] if single else after
        return tuple(after) if len(after) > 1 else after[0]

    def _state(self, value: Any, wanted: tuple[int, int], single: bool) -> Any:
        if value is None:
            return Tensor(np.zeros(wanted, np.float32))
        value = value if isinstance(value, Tensor) else Tensor(value)
        if single and len(value.shape) == 1:
            value = value.unsqueeze(0)
        if tuple(value.shape) != wanted:
            raise ValueError(f"hx: expected shape {wanted}, got {tuple(value.shape)}")
        return value

    def extra_repr(self) -> str:
        """Sizes and, if not float, the stage."""
        text = f"{self.input_size}, {self.hidden_size}" + ("" if self.bias else ", bias=False")
        return text if self.stage == "float" else f"{text}, stage={self.stage}"


class LSTMCell(RecurrentCell):
    """One LSTM step; the state is a pair (h, c).

    Parameters
    ----------
    input_size, hidden_size : int
    bias : bool

    Examples
    --------
    >>> import octensor as ot
    >>> h, c = ot.nn.LSTMCell(3, 5)(ot.zeros(2, 3))
    >>> h.shape
    (2, 5)
    """

    cell = LSTM_CELL


class GRUCell(RecurrentCell):
    """One GRU step.

    Parameters
    ----------
    input_size, hidden_size : int
    bias : bool
    """

    cell = GRU_CELL


class RNNCell(RecurrentCell):
    """One step of a plain recurrent layer.

    Parameters
    ----------
    input_size, hidden_size : int
    bias : bool
    nonlinearity : {"tanh", "relu"}
    """

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True, nonlinearity: str = "tanh") -> None:
        self.nonlinearity = nonlinearity
        super().__init__(input_size, hidden_size, bias)

    @property
    def cell(self) -> Cell:  # type: ignore[override]
        """The plain cell with this nonlinearity."""
        return rnn_cell("RNNCell", self.nonlinearity)
