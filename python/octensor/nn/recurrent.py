"""`RNN`, `GRU`, `LSTM`: recurrent layers over sequences, in the float and the dynamic stage.

The input's part of the gates does not depend on the state, so it is one product over the whole sequence; only the
hidden state's part is a product per step. In the dynamic stage the first is therefore one dynamic quantization of the
layer's whole input, the second one per step (see `nn.projection`; a step is in `ops.gates`); with integer weights all
steps are one call.

All sequences are treated as packed ones: the rows of time 0, then those of time 1 …, with the number of rows at each
time. In a batch of equal lengths that number does not change. Going forward in time, sequences end, and their state is
put aside; going backward, they begin, with their initial state.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import numpy as np

from ..arrays import as_array
from ..ops.dropout import dropout
from ..ops.exact import RECURRENT
from ..ops.gates import GRU_CELL, LSTM_CELL, Cell, State, rnn_cell
from ..ops.recording import RECORDING
from ..ops.shape import CAT, GETITEM, cat, stack
from ..tensor import Tensor
from . import init
from .linear import positive
from .parameter import Parameter
from .projection import ProjectingLayer
from .utils.rnn import PackedSequence
from .weighted import describe


def join(parts: Sequence[Any], dim: int) -> Any:
    """Concatenate Tensors (recorded) or arrays."""
    if len(parts) == 1:
        return parts[0]
    if not isinstance(parts[0], np.ndarray):
        return cat(list(parts), dim)
    result = np.concatenate(parts, dim)
    if RECORDING.recorder is not None:
        RECORDING.recorder.note(CAT, tuple(parts), {"dim": dim}, result)
    return result


def cut(x: Any, first: int | None, end: int | None) -> Any:
    """Return rows of a Tensor (recorded) or an array."""
    rows = slice(first, end)
    result = x[rows]
    if isinstance(x, np.ndarray) and RECORDING.recorder is not None:
        RECORDING.recorder.note(GETITEM, (x,), {"index": rows}, result)
    return result


class RecurrentLayer(ProjectingLayer):
    """What the recurrent layers share.

    Parameters
    ----------
    input_size, hidden_size : int
        Features of the input and of the hidden state.
    num_layers : int
        Layers on top of each other; each reads the outputs of the one below.
    bias : bool
    batch_first : bool
        Whether input and output are (N, T, features) instead of (T, N, features). The states never are.
    dropout : float
        Probability, between layers, in training.
    bidirectional : bool
        Whether each layer also runs backward in time; the outputs of both directions stand side by side.
    """

    cell: Cell  # gates and step; of the class, for it holds functions

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        positive(name, input_size=input_size, hidden_size=hidden_size, num_layers=num_layers)
        if not 0 <= dropout <= 1:
            raise ValueError(f"{name}: dropout: expected a probability in [0, 1], got {dropout!r}")
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bias = bias
        self.batch_first = batch_first
        self.dropout = dropout
        self.bidirectional = bidirectional
        rows = self.cell.gates * hidden_size
        weight_names = []
        for suffix in self._suffixes():
            width = input_size if suffix.startswith("_l0") else hidden_size * self._directions
            for part, columns in (("ih", width), ("hh", hidden_size)):
                weight_names.append(f"weight_{part}{suffix}")
                self.register_parameter(weight_names[-1], Parameter(np.empty((rows, columns), np.float32)))
            for part in ("ih", "hh"):
                values = Parameter(np.empty(rows, np.float32)) if bias else None
                self.register_parameter(f"bias_{part}{suffix}", values)
        self.weight_names = tuple(weight_names)
        self.reset_parameters()

    @property
    def _directions(self) -> int:
        return 2 if self.bidirectional else 1

    def _suffixes(self) -> list[str]:
        """Name endings of the weights, layer by layer, forward before backward: "_l0", "_l0_reverse", …."""
        backward = ["", "_reverse"][: self._directions]
        return [f"_l{layer}{direction}" for layer in range(self.num_layers) for direction in backward]

    def reset_parameters(self) -> None:
        """Draw new weights, uniform within 1/sqrt(hidden_size) (PyTorch's default)."""
        bound = 1 / math.sqrt(self.hidden_size)
        for parameter in self.parameters(recurse=False):
            init.uniform_(parameter, -bound, bound)

    def flatten_parameters(self) -> None:
        """Do nothing; there for models that call it."""

    # --- running -----------------------------------------------------------------------------------------------------
    def forward(self, input: Any, hx: Any = None) -> tuple[Any, Any]:
        """Run over sequences.

        Parameters
        ----------
        input : Tensor, shape (T, N, input_size), or (N, T, input_size) with `batch_first`; or PackedSequence
            A single sequence may come without the batch axis.
        hx : Tensor, shape (num_layers · directions, N, hidden_size), optional
            The state to begin with (zeros); for an LSTM a pair of them, (h, c).

        Returns
        -------
        output : Tensor, shape of `input` with directions · hidden_size features; or PackedSequence
        state : like `hx`
            The state of each sequence after its last step.
        """
        packed = input if isinstance(input, PackedSequence) else None
        single = packed is None and len(getattr(input, "shape", ())) == 2
        rows, sizes = self._rows(input) if packed is None else self._packed_rows(packed)
        order = None if packed is None or packed.sorted_indices is None else as_array(packed.sorted_indices)
        states = self._initial(hx, sizes[0], order, single)
        finals, suffixes = [], self._suffixes()
        for layer in range(self.num_layers):
            first = layer * self._directions
            pairs = [self._packed_pair(suffix) for suffix in suffixes[first : first + self._directions]]
            if all(pairs):
                rows, ends = self._run_packed(rows, sizes, states[first:], pairs, suffixes[first:])
                finals += ends
            else:
                outputs = []
                for direction in range(self._directions):
                    output, final = self._run(
                        rows, sizes, states[first + direction], suffixes[first + direction], direction == 1
                    )
                    outputs.append(output)
                    finals.append(final)
                rows = join(outputs, 1)
            if layer < self.num_layers - 1 and self.dropout and self.training:
                rows = dropout(rows, self.dropout, True)
        state = tuple(stack([_tensor(final[k]) for final in finals], 0) for k in range(self.cell.states))
        rows = _tensor(rows)
        if packed is not None:
            if packed.unsorted_indices is not None:
                state = tuple(s[:, as_array(packed.unsorted_indices)] for s in state)
            return PackedSequence(rows, *packed[1:]), self._hidden(state)
        output = rows.reshape(len(sizes), sizes[0], -1)
        if single:
            return output[:, 0], self._hidden(tuple(s[:, 0] for s in state))
        return (output.transpose(0, 1) if self.batch_first else output), self._hidden(state)

    def _rows(self, x: Any) -> tuple[Any, list[int]]:
        """Return a batch as rows of time 0, of time 1, …, and how many each time has."""
        shape = tuple(getattr(x, "shape", ()))
        layout = "(N, T, C)" if self.batch_first else "(T, N, C)"
        if not isinstance(x, (Tensor, np.ndarray)) or len(shape) not in (2, 3) or shape[-1] != self.input_size:
            fault = TypeError if not isinstance(x, (Tensor, np.ndarray)) else ValueError
            raise fault(
                f"expected a float Tensor of shape {layout} with C = input_size = {self.input_size}, got {describe(x)}"
                + ("" if isinstance(x, (Tensor, np.ndarray)) else ": put a DeQuantStub before this layer")
            )
        x = x if isinstance(x, Tensor) else Tensor(x)
        if len(shape) == 2:
            return x, [1] * shape[0]
        if self.batch_first:
            x = x.transpose(0, 1)
        if not x.shape[0] or not x.shape[1]:
            raise ValueError(f"expected at least one step of at least one sequence, got shape {shape}")
        return x.reshape(-1, self.input_size), [x.shape[1]] * x.shape[0]

    def _packed_rows(self, packed: PackedSequence) -> tuple[Any, list[int]]:
        if packed.data.shape[-1] != self.input_size:
            raise ValueError(
                f"expected packed rows with input_size = {self.input_size} features, got {describe(packed.data)}"
            )
        data = packed.data if isinstance(packed.data, Tensor) else Tensor(packed.data)
        return data, as_array(packed.batch_sizes).tolist()

    def _initial(self, hx: Any, count: int, order: Any, single: bool) -> list[State]:
        """Return the state to begin with of each layer and direction."""
        total = self.num_layers * self._directions
        shape = (total, count, self.hidden_size)
        given: tuple[Any, ...] = (None,) * self.cell.states
        if hx is not None:
            given = tuple(hx) if self.cell.states > 1 else (hx,)
        if len(given) != self.cell.states:
            raise ValueError(f"hx: expected {self.cell.states} tensors of shape {shape}, got {len(given)}")
        tensors = []
        for value in given:
            if value is None:
                tensors.append(Tensor(np.zeros(shape, np.float32)))
                continue
            value = value if isinstance(value, Tensor) else Tensor(value)
            if single and len(value.shape) == 2:
                value = value.unsqueeze(1)
            if tuple(value.shape) != shape:
                raise ValueError(f"hx: expected shape {shape}, got {tuple(value.shape)}")
            tensors.append(value if order is None else value[:, order])
        return [tuple(t[i] for t in tensors) for i in range(total)]

    def _run_packed(
        self, rows: Any, sizes: list[int], starts: list[State], pairs: list[Any], suffixes: list[str]
    ) -> tuple[np.ndarray, list[State]]:
        """Run all directions of one layer with packed weights; return output rows, and the last state of each."""
        x, width = as_array(rows), self.hidden_size
        output = np.empty((len(x), len(pairs) * width), np.float32)
        ends, outputs = [], []
        for k, (pair, start) in enumerate(zip(pairs, starts[: len(pairs)], strict=True)):
            out = output[:, k * width : (k + 1) * width] if len(pairs) > 1 else output
            start = tuple(as_array(s) for s in start)
            ends.append(self.cell.run(x, sizes, start, pair, k == 1, self.reduce_range, out))
            outputs.append(out)
            if RECORDING.recorder is not None:
                attrs = {"kernel": self.cell.kernel, "sizes": tuple(sizes), "backward": k == 1}
                attrs["reduce_range"] = self.reduce_range
                weights = self.weights_of(suffixes[k])
                RECORDING.recorder.note(RECURRENT, (x, *start, *weights), attrs, (out, *ends[-1]))
        if RECORDING.recorder is not None and len(pairs) > 1:
            RECORDING.recorder.note(CAT, tuple(outputs), {"dim": 1}, output)
        return output, ends

    def _run(self, rows: Any, sizes: list[int], start: State, suffix: str, backward: bool) -> tuple[Any, State]:
        """Run one layer in one direction; return its outputs as rows, and the last state of each sequence."""
        if self.is_dynamic:
            start = tuple(as_array(s) for s in start)
        ends = list(accumulate(sizes))
        part = self._project(rows, f"weight_ih{suffix}", f"bias_ih{suffix}")
        times = range(len(sizes) - 1, -1, -1) if backward else range(len(sizes))
        state = tuple(cut(s, None, sizes[times[0]]) for s in start)
        outputs: list[Any] = [None] * len(sizes)
        ended: list[State] = []
        for t in times:
            running, n = state[0].shape[0], sizes[t]
            if n < running:
                ended.append(tuple(cut(s, n, None) for s in state))
                state = tuple(cut(s, None, n) for s in state)
            elif n > running:
                state = tuple(join([s, cut(s0, running, n)], 0) for s, s0 in zip(state, start, strict=True))
            hidden = self._project(state[0], f"weight_hh{suffix}", f"bias_hh{suffix}")
            state = self.cell.step(cut(part, ends[t] - n, ends[t]), hidden, state)
            outputs[t] = state[0]
        final = tuple(join([s[k] for s in (state, *reversed(ended))], 0) for k in range(self.cell.states))
        return join(outputs, 0), final

    def _hidden(self, state: tuple[Any, ...]) -> Any:
        return state if self.cell.states > 1 else state[0]

    def extra_repr(self) -> str:
        """Sizes, settings that are not the defaults, and the stage."""
        text = f"{self.input_size}, {self.hidden_size}"
        defaults = {"num_layers": 1, "bias": True, "batch_first": False, "dropout": 0.0, "bidirectional": False}
        for name, default in defaults.items():
            if getattr(self, name) != default:
                text += f", {name}={getattr(self, name)}"
        return text if self.stage == "float" else f"{text}, stage={self.stage}"


def _tensor(x: Any) -> Tensor:
    return x if isinstance(x, Tensor) else Tensor(x)


class LSTM(RecurrentLayer):
    """Long short-term memory.

    Parameters
    ----------
    input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional
        See `RecurrentLayer`.

    Attributes
    ----------
    weight_ih_l0, weight_hh_l0 : Parameter, QTensor or float16 array, shape (4 · hidden_size, …)
        Rows in the gate order i, f, g, o; `_l1` … for the layers above, `_reverse` for the backward direction.
    bias_ih_l0, bias_hh_l0 : Parameter or None, shape (4 · hidden_size,)

    Examples
    --------
    >>> import octensor as ot
    >>> output, (h, c) = ot.nn.LSTM(3, 5)(ot.zeros(7, 2, 3))
    >>> output.shape, h.shape
    ((7, 2, 5), (1, 2, 5))
    """

    cell = LSTM_CELL


class GRU(RecurrentLayer):
    """Gated recurrent units; the parameters are those of `LSTM`, with gate order r, z, n.

    Examples
    --------
    >>> import octensor as ot
    >>> output, h = ot.nn.GRU(3, 5)(ot.zeros(7, 2, 3))
    >>> output.shape, h.shape
    ((7, 2, 5), (1, 2, 5))
    """

    cell = GRU_CELL


class RNN(RecurrentLayer):
    """h' = tanh(x W_ihᵀ + b_ih + h W_hhᵀ + b_hh), or relu of it.

    Parameters
    ----------
    input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional
        See `RecurrentLayer`.
    nonlinearity : {"tanh", "relu"}

    Examples
    --------
    >>> import octensor as ot
    >>> output, h = ot.nn.RNN(3, 5, nonlinearity="relu")(ot.zeros(7, 2, 3))
    >>> output.shape
    (7, 2, 5)
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        *args: Any,
        **kwargs: Any,
    ) -> None:
        self.nonlinearity = nonlinearity
        super().__init__(input_size, hidden_size, num_layers, *args, **kwargs)

    @property
    def cell(self) -> Cell:  # type: ignore[override]
        """The plain cell with this nonlinearity."""
        return rnn_cell("RNN", self.nonlinearity)
