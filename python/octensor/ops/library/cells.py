"""Recurrent cells and layers with quantized weights and float states.

Each step is two linear layers, of the input and of the hidden state, on activations quantized on the fly (or with
float16 weights), and the exact step of the cell (`ops.gates`, with the order of the gates).

In a layer the whole input sequence is quantized at once, the hidden state at each step.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ... import _C
from ..._C import PackedLinear, QTensor
from ...arrays import as_array
from ...tensor import Tensor
from ..gates import GRU_CELL, LSTM_CELL, RNN_CELLS, Cell
from .packed import PackedLinearFp16, linear_dynamic_fp16, linear_prepack

__all__ = [
    "CellParams",
    "make_quantized_cell_params",
    "make_quantized_cell_params_dynamic",
    "make_quantized_cell_params_fp16",
    "quantized_gru",
    "quantized_gru_cell_dynamic",
    "quantized_lstm",
    "quantized_lstm_cell_dynamic",
    "quantized_rnn_relu_cell_dynamic",
    "quantized_rnn_tanh_cell_dynamic",
]

Packed = PackedLinear | PackedLinearFp16
States = tuple[np.ndarray, ...]


class CellParams:
    """The weights of one cell: of the input and of the hidden state, each with a bias.

    Parameters
    ----------
    w_ih, w_hh : PackedLinear or PackedLinearFp16
    b_ih, b_hh : Tensor, optional
        Added where the packed weight has no bias of its own.
    reduce_range : bool
        Whether activations are quantized to 7 bits.
    """

    __slots__ = ("b_hh", "b_ih", "reduce_range", "w_hh", "w_ih")

    def __init__(
        self, w_ih: Packed, w_hh: Packed, b_ih: Any = None, b_hh: Any = None, reduce_range: bool = False
    ) -> None:
        for name, packed in (("w_ih", w_ih), ("w_hh", w_hh)):
            if not isinstance(packed, (PackedLinear, PackedLinearFp16)):
                raise TypeError(
                    f"quantized cell: {name}: expected what linear_prepack or linear_prepack_fp16 returns, got "
                    f"{type(packed).__name__}"
                )
        self.w_ih, self.w_hh = w_ih, w_hh
        self.b_ih, self.b_hh = (None if b is None else as_array(b, np.float32) for b in (b_ih, b_hh))
        self.reduce_range = reduce_range

    @property
    def packed(self) -> tuple[PackedLinear, PackedLinear] | None:
        """Both weights, where they are integers and hold their own biases."""
        pairs = (self.w_ih, self.b_ih), (self.w_hh, self.b_hh)
        ready = [w for w, b in pairs if isinstance(w, PackedLinear) and (b is None or w.bias is not None)]
        return (ready[0], ready[1]) if len(ready) == 2 else None

    def of_input(self, x: np.ndarray) -> np.ndarray:
        """Return the input's part of the gates."""
        return self._linear(x, self.w_ih, self.b_ih)

    def of_hidden(self, h: np.ndarray) -> np.ndarray:
        """Return the hidden state's part of the gates."""
        return self._linear(h, self.w_hh, self.b_hh)

    def _linear(self, x: np.ndarray, packed: Packed, bias: np.ndarray | None) -> np.ndarray:
        if isinstance(packed, PackedLinearFp16):
            y = linear_dynamic_fp16(x, packed)._array
        else:
            y = _C.linear_dynamic(x, packed, self.reduce_range)
        return y if bias is None or packed.bias is not None else y + bias


def make_quantized_cell_params(w_ih: QTensor, w_hh: QTensor, b_ih: Any = None, b_hh: Any = None) -> CellParams:
    """Return the weights of a cell from qint8 matrices and float biases."""
    return CellParams(linear_prepack(w_ih, b_ih), linear_prepack(w_hh, b_hh))


def make_quantized_cell_params_dynamic(
    w_ih: PackedLinear, w_hh: PackedLinear, b_ih: Any = None, b_hh: Any = None, reduce_range: bool = False
) -> CellParams:
    """Return the weights of a cell from packed ones; a bias counts where the pack has none."""
    return CellParams(w_ih, w_hh, b_ih, b_hh, reduce_range)


def make_quantized_cell_params_fp16(w_ih: PackedLinearFp16, w_hh: PackedLinearFp16) -> CellParams:
    """Return the weights of a cell in float16."""
    return CellParams(w_ih, w_hh)


# --- one step ---------------------------------------------------------------------------------------


def _floats(op: str, name: str, x: Any, ndim: int) -> np.ndarray:
    if isinstance(x, QTensor):
        raise TypeError(f"quantized.{op}: {name}: expected a float Tensor, got QTensor: call .dequantize() on it first")
    values = as_array(x)
    if values.dtype != np.float32 or values.ndim != ndim:
        raise ValueError(f"quantized.{op}: {name}: expected floats with {ndim} axes, got {values.dtype} {values.shape}")
    return values


def _cell(op: str, cell: Cell, input: Any, states: Sequence[Any], params: CellParams) -> tuple[Tensor, ...]:
    x = _floats(op, "input", input, 2)
    old = tuple(_floats(op, "hx", state, 2) for state in states)
    if params.packed is None:
        new = cell.exact_step(params.of_input(x), params.of_hidden(old[0]), old)
    else:
        new = cell.run(x, [len(x)], old, params.packed, reduce_range=params.reduce_range)
    return tuple(Tensor._wrap(state) for state in new)


def quantized_lstm_cell_dynamic(
    input: Any, hx: Sequence[Any], w_ih: Packed, w_hh: Packed, b_ih: Any = None, b_hh: Any = None
) -> tuple[Tensor, Tensor]:
    """Return (h, c) after one LSTM step from input (N, K) and hx = (h, c), each (N, H)."""
    if len(hx) != 2:
        raise ValueError(f"quantized.quantized_lstm_cell_dynamic: hx: expected (h, c), got {len(hx)} tensors")
    params = CellParams(w_ih, w_hh, b_ih, b_hh)
    h, c = _cell("quantized_lstm_cell_dynamic", LSTM_CELL, input, hx, params)
    return h, c


def quantized_gru_cell_dynamic(
    input: Any, hx: Any, w_ih: Packed, w_hh: Packed, b_ih: Any = None, b_hh: Any = None
) -> Tensor:
    """Return h after one GRU step from input (N, K) and hx (N, H)."""
    return _cell("quantized_gru_cell_dynamic", GRU_CELL, input, (hx,), CellParams(w_ih, w_hh, b_ih, b_hh))[0]


def quantized_rnn_relu_cell_dynamic(
    input: Any, hx: Any, w_ih: Packed, w_hh: Packed, b_ih: Any = None, b_hh: Any = None
) -> Tensor:
    """Return relu(W_ih·x + b_ih + W_hh·h + b_hh) from input (N, K) and hx (N, H)."""
    return _cell(
        "quantized_rnn_relu_cell_dynamic", RNN_CELLS["relu"], input, (hx,), CellParams(w_ih, w_hh, b_ih, b_hh)
    )[0]


def quantized_rnn_tanh_cell_dynamic(
    input: Any, hx: Any, w_ih: Packed, w_hh: Packed, b_ih: Any = None, b_hh: Any = None
) -> Tensor:
    """Return tanh(W_ih·x + b_ih + W_hh·h + b_hh) from input (N, K) and hx (N, H)."""
    return _cell(
        "quantized_rnn_tanh_cell_dynamic", RNN_CELLS["tanh"], input, (hx,), CellParams(w_ih, w_hh, b_ih, b_hh)
    )[0]


# --- layers -----------------------------------------------------------------------------------------


def _direction(cell: Cell, x: np.ndarray, states: States, params: CellParams, reverse: bool) -> tuple[Any, States]:
    """Run a cell over a sequence x (T, N, K)."""
    if params.packed is not None:
        out = np.empty((x.shape[0] * x.shape[1], states[0].shape[-1]), np.float32)
        rows, sizes = x.reshape(-1, x.shape[2]), [x.shape[1]] * len(x)
        states = cell.run(rows, sizes, states, params.packed, reverse, params.reduce_range, out)
        return out.reshape(len(x), x.shape[1], -1), states
    parts = params.of_input(np.ascontiguousarray(x))
    outputs: list[Any] = [None] * len(x)
    for t in reversed(range(len(x))) if reverse else range(len(x)):
        states = cell.exact_step(parts[t], params.of_hidden(states[0]), states)
        outputs[t] = states[0]
    return np.stack(outputs), states


def _layers(
    op: str,
    cell: Cell,
    input: Any,
    states: Sequence[Any],
    params: Sequence[CellParams],
    num_layers: int,
    bidirectional: bool,
    batch_first: bool,
) -> tuple[Tensor, ...]:
    x = _floats(op, "input", input, 3)
    x = x.swapaxes(0, 1) if batch_first else x
    directions = 2 if bidirectional else 1
    if len(params) != num_layers * directions:
        raise ValueError(f"quantized.{op}: params: expected {num_layers * directions}, got {len(params)}")
    if not len(x):
        raise ValueError(f"quantized.{op}: input: expected at least one step, got shape {x.shape}")
    old = [_floats(op, "hx", state, 3) for state in states]
    for state in old:
        if state.shape[:2] != (len(params), x.shape[1]):
            raise ValueError(
                f"quantized.{op}: hx: expected shape ({len(params)}, {x.shape[1]}, hidden), got {state.shape}"
            )
    last: list[States] = []
    for layer in range(num_layers):
        sides = []
        for side in range(directions):
            i = layer * directions + side
            output, end = _direction(cell, x, tuple(state[i] for state in old), params[i], side == 1)
            sides.append(output)
            last.append(end)
        x = np.concatenate(sides, axis=2)
    x = x.swapaxes(0, 1) if batch_first else x
    ends = (np.stack([end[k] for end in last]) for k in range(len(old)))
    return (Tensor._wrap(x), *(Tensor._wrap(end) for end in ends))


def quantized_lstm(
    input: Any,
    hx: Sequence[Any],
    params: Sequence[CellParams],
    num_layers: int = 1,
    bidirectional: bool = False,
    batch_first: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    """Run LSTM layers over sequences.

    Parameters
    ----------
    input : Tensor, shape (T, N, K), or (N, T, K) with `batch_first`
    hx : (Tensor, Tensor), shape (layers · directions, N, H)
        Hidden and cell states at the start.
    params : list of CellParams
        For each layer, one for each direction.
    num_layers : int
    bidirectional, batch_first : bool

    Returns
    -------
    (output, h, c)
        output (T, N, H · directions), or batch first; h and c as hx.
    """
    if len(hx) != 2:
        raise ValueError(f"quantized.quantized_lstm: hx: expected (h, c), got {len(hx)} tensors")
    output, h, c = _layers("quantized_lstm", LSTM_CELL, input, hx, params, num_layers, bidirectional, batch_first)
    return output, h, c


def quantized_gru(
    input: Any,
    hx: Any,
    params: Sequence[CellParams],
    num_layers: int = 1,
    bidirectional: bool = False,
    batch_first: bool = False,
) -> tuple[Tensor, Tensor]:
    """Run GRU layers over sequences; the arguments are those of `quantized_lstm`, hx being one tensor.

    Returns
    -------
    (output, h)
    """
    output, h = _layers("quantized_gru", GRU_CELL, input, (hx,), params, num_layers, bidirectional, batch_first)
    return output, h
