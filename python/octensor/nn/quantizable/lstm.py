"""`LSTMCell` and `LSTM` whose products and sums are observed, for static quantization.

    gates = W_ih x + b_ih + W_hh h + b_hh                 igates, hgates, gates.add
    i, f, g, o = σ, σ, tanh, σ of its four parts          constant qparams
    c' = f · c + i · g                                    fgate_cx.mul, igate_cgate.mul, fgate_cx_igate_cgate.add
    h' = o · tanh(c')                                     ogate_cy.mul

Names of parts and states are PyTorch's. The state to begin with is real 0 in the qparams that the state has after
every step, so the hidden product sees one range; PyTorch begins with scale 1, whose bias is coarse.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from ..._C import QParams, QTensor
from ...arrays import as_array
from ...ops.shape import chunk, stack
from ...qtensor import quantize_per_tensor
from ...quantization.functional import FloatFunctional
from ...tensor import Tensor
from .. import cells, recurrent
from ..activation import Sigmoid, Tanh
from ..container import ModuleList
from ..linear import Linear
from ..module import Module
from ..parameter import Parameter
from .base import Quantizable


class LSTMCell(Quantizable):
    """One LSTM step in observable parts.

    Parameters
    ----------
    input_dim, hidden_dim : int
    bias : bool
    """

    float_class = cells.LSTMCell

    def __init__(self, input_dim: int, hidden_dim: int, bias: bool = True) -> None:
        super().__init__()
        self.input_size = input_dim
        self.hidden_size = hidden_dim
        self.bias = bias
        self.igates = Linear(input_dim, 4 * hidden_dim, bias)
        self.hgates = Linear(hidden_dim, 4 * hidden_dim, bias)
        self.gates = FloatFunctional()
        self.sigmoid = Sigmoid()
        self.tanh = Tanh()
        self.fgate_cx = FloatFunctional()
        self.igate_cgate = FloatFunctional()
        self.fgate_cx_igate_cgate = FloatFunctional()
        self.ogate_cy = FloatFunctional()

    def forward(self, x: Any, hidden: Any = None) -> tuple[Any, Any]:
        """Return (h, c) after a step: x (N, input_dim), hidden a pair of (N, hidden_dim)."""
        return self.step(self.igates(x), self.initial(hidden, x.shape[0]))

    def initial(self, hidden: Any, count: int) -> tuple[Any, Any]:
        """Return the state to begin with, zeros where `hidden` is None; quantized in the static stage."""
        given = (None, None) if hidden is None else hidden
        if len(given) != 2:
            raise ValueError(f"hidden: expected a pair (h, c), got {len(given)} tensors")
        h, c = (
            self._state(value, count, part.activation_post_process)
            for value, part in zip(given, (self.ogate_cy, self.fgate_cx_igate_cgate), strict=True)
        )
        return h, c

    def _state(self, value: Any, count: int, qparams: Any) -> Any:
        shape = (count, self.hidden_size)
        if value is None:
            value = Tensor(np.zeros(shape, np.float32))
        if tuple(value.shape) != shape:
            raise ValueError(f"hidden: expected shape {shape}, got {tuple(value.shape)}")
        if isinstance(qparams, QParams) and not isinstance(value, QTensor):
            return quantize_per_tensor(value, qparams.scale, qparams.zero_point, qparams.dtype)
        return value

    def step(self, igates: Any, state: tuple[Any, Any]) -> tuple[Any, Any]:
        """Return (h, c) from the input's part of the gates (N, 4 · hidden_dim) and the state before."""
        h, c = state
        i, f, g, o = chunk(self.gates.add(igates, self.hgates(h)), 4, -1)
        i, f, g, o = self.sigmoid(i), self.sigmoid(f), self.tanh(g), self.sigmoid(o)
        c = self.fgate_cx_igate_cgate.add(self.fgate_cx.mul(f, c), self.igate_cgate.mul(i, g))
        return self.ogate_cy.mul(o, self.tanh(c)), c

    @classmethod
    def from_params(cls, w_ih: Any, w_hh: Any, b_ih: Any = None, b_hh: Any = None) -> LSTMCell:
        """Make a cell with copies of these weights."""
        cell = cls(w_ih.shape[1], w_hh.shape[1], b_ih is not None)
        for layer, weight, bias in ((cell.igates, w_ih, b_ih), (cell.hgates, w_hh, b_hh)):
            layer.weight = Parameter(as_array(weight).copy())
            if bias is not None:
                layer.bias = Parameter(as_array(bias).copy())
        return cell

    @classmethod
    def _from_float(cls, mod: Any) -> LSTMCell:
        return cls.from_params(mod.weight_ih, mod.weight_hh, mod.bias_ih, mod.bias_hh)


class _Direction(Module):
    """A cell run over a sequence (T, N, features), forward or backward in time."""

    def __init__(self, cell: LSTMCell, backward: bool) -> None:
        super().__init__()
        self.cell = cell
        self.backward = backward

    def forward(self, x: Any, hidden: Any) -> tuple[list[Any], tuple[Any, Any]]:
        steps, count = x.shape[0], x.shape[1]
        gates = self.cell.igates(x.reshape(steps * count, -1))
        state = self.cell.initial(hidden, count)
        outputs: list[Any] = [None] * steps
        for t in range(steps - 1, -1, -1) if self.backward else range(steps):
            state = self.cell.step(gates[t * count : (t + 1) * count], state)
            outputs[t] = state[0]
        return stack(outputs, 0), state


class _Layer(Module):
    """One layer: the forward direction and maybe the backward one, side by side."""

    def __init__(self, forward_cell: LSTMCell, backward_cell: LSTMCell | None) -> None:
        super().__init__()
        self.layer_fw = _Direction(forward_cell, False)
        if backward_cell is not None:
            self.layer_bw = _Direction(backward_cell, True)
            self.both = FloatFunctional()

    def forward(self, x: Any, hidden: list[Any]) -> tuple[Any, list[Any]]:
        y, state = self.layer_fw(x, hidden[0])
        if len(hidden) == 1:
            return y, [state]
        back, state_back = self.layer_bw(x, hidden[1])
        return self.both.cat([y, back], 2), [state, state_back]


class LSTM(Quantizable):
    """Long short-term memory in observable parts; eval only, without dropout.

    Parameters
    ----------
    input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional
        As for `nn.LSTM`; `dropout` is ignored with a warning.
    """

    float_class = recurrent.LSTM

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
        if dropout:
            warnings.warn("quantizable.LSTM: dropout is ignored: the layer is for eval mode", stacklevel=2)
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bias = bias
        self.batch_first = batch_first
        self.bidirectional = bidirectional
        ways = 2 if bidirectional else 1

        def cell(layer: int) -> LSTMCell:
            return LSTMCell(input_size if layer == 0 else hidden_size * ways, hidden_size, bias)

        self.layers = ModuleList(
            [_Layer(cell(layer), cell(layer) if bidirectional else None) for layer in range(num_layers)]
        )
        if num_layers * ways > 1:  # the states of all layers become one tensor
            self.all_h = FloatFunctional()
            self.all_c = FloatFunctional()

    def forward(self, x: Any, hidden: Any = None) -> tuple[Any, tuple[Any, Any]]:
        """Run over sequences; arguments and results are those of `nn.LSTM`, quantized in the static stage."""
        shape = tuple(getattr(x, "shape", ()))
        if len(shape) != 3 or shape[-1] != self.input_size:
            layout = "(N, T, C)" if self.batch_first else "(T, N, C)"
            raise ValueError(f"expected shape {layout} with C = input_size = {self.input_size}, got {shape}")
        x = x if isinstance(x, QTensor) else Tensor(x) if isinstance(x, np.ndarray) else x
        if self.batch_first:
            x = x.transpose(0, 1)
        ways = 2 if self.bidirectional else 1
        states: list[Any] = [None] * (self.num_layers * ways)
        if hidden is not None:
            states = [(hidden[0][i], hidden[1][i]) for i in range(len(states))]
        finals = []
        for number, layer in enumerate(self.layers):
            x, after = layer(x, states[number * ways : (number + 1) * ways])
            finals.extend(after)
        if self.batch_first:
            x = x.transpose(0, 1)
        h, c = ([state[k].unsqueeze(0) for state in finals] for k in range(2))
        if len(finals) == 1:
            return x, (h[0], c[0])
        return x, (self.all_h.cat(h, 0), self.all_c.cat(c, 0))

    @classmethod
    def _from_float(cls, mod: Any) -> LSTM:
        with warnings.catch_warnings():
            if not mod.training:
                warnings.simplefilter("ignore")  # dropout does nothing in eval mode
            new = cls(
                mod.input_size,
                mod.hidden_size,
                mod.num_layers,
                mod.bias,
                mod.batch_first,
                mod.dropout,
                mod.bidirectional,
            )
        for number, layer in enumerate(new.layers):
            for name, ending in (("layer_fw", ""), ("layer_bw", "_reverse")):
                direction = layer._modules.get(name)
                if direction is not None:
                    parts = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
                    values = [getattr(mod, f"{part}_l{number}{ending}") for part in parts]
                    direction.cell = LSTMCell.from_params(*values)
        return new
