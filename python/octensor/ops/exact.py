"""`ExactOp`: an op that is one function as it stands, without a gradient or a choice of forms.

The layers run most of these with weights they have packed once; here the weights are arguments, so that a recorded
model says what is computed from what.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from .. import _C
from .._C import QParams, QTensor
from ..arrays import as_array
from ..tensor import Tensor
from .packing import pack_linear, pack_weight_only, shapes_only
from .recording import RECORDING
from .spec import OPS, OpSpec, plain

EXACT: dict[str, ExactOp] = {}
F = TypeVar("F", bound=Callable[..., Any])


class ExactOp(OpSpec):
    """One function on tensors, arrays and QTensors, known by name; calling it runs it and tells the recorder.

    Parameters
    ----------
    name : str
        Key in `EXACT`.
    run : callable
        `run(*tensors, **attrs)`; it returns a tensor, an array, or a tuple of them.
    """

    __slots__ = ()

    def __init__(self, name: str, run: Callable[..., Any]) -> None:
        if name in OPS or name in EXACT:
            raise ValueError(f"ExactOp: name: {name!r} is taken")
        self.name, self.forward, self.function = name, run, run
        self.backward = self.quantized = self.fixed = self.method = self.quantized_inputs = None
        self.output_qparams, self.table, self.operators, self.reflected = "given", False, (), ()
        self.samples = lambda rng: []
        EXACT[name] = self

    def __call__(self, *tensors: Any, **attrs: Any) -> Any:
        """Run the op."""
        result = self.forward(*tensors, **{key: plain(value) for key, value in attrs.items()})
        return result if RECORDING.recorder is None else RECORDING.recorder.note(self, tensors, attrs, result)


def exact(name: str) -> Callable[[F], F]:
    """Decorate a function: it becomes the op of that name (an `ExactOp`, which is called like the function)."""
    return lambda run: ExactOp(name, run)  # type: ignore[return-value]


@exact("quantize")
def QUANTIZE(x: Any, *, qparams: QParams, channels_last: bool = False) -> QTensor:
    """Quantize floats."""
    return _C.quantize(np.ascontiguousarray(as_array(x)), qparams, channels_last=channels_last)


@exact("dequantize")
def DEQUANTIZE(x: QTensor) -> Tensor:
    """Return the real values."""
    return Tensor._wrap(_C.dequantize(x))


@exact("int_repr")
def INT_REPR(x: QTensor) -> np.ndarray:
    """Return the codes."""
    return np.asarray(x.int_repr())


@exact("linear_dynamic")
def LINEAR_DYNAMIC(
    x: Any, weight: QTensor, bias: Any = None, *, reduce_range: bool = False, relu: bool = False, per_row: bool = False
) -> Tensor:
    """Return x Wᵀ + b of floats that are quantized over their own range."""
    packed = pack_linear(weight, bias)
    if shapes_only():
        return Tensor._wrap(np.zeros((*x.shape[:-1], weight.shape[0]), np.float32))
    return Tensor._wrap(_C.linear_dynamic(as_array(x), packed, reduce_range, relu, per_row))


@exact("linear_weight_only")
def LINEAR_WEIGHT_ONLY(x: Any, weight: QTensor, bias: Any = None, *, relu: bool = False) -> Tensor:
    """Return x Wᵀ + b in float, with the real values of an 8-bit weight, in the kernels' order of sums."""
    packed = pack_weight_only(weight, bias)
    return Tensor._wrap(_C.linear_weight_only(as_array(x), packed, relu=relu))


@exact("recurrent")
def RECURRENT(
    x: Any, *state_and_weights: Any, kernel: str, sizes: list[int], backward: bool = False, reduce_range: bool = False
) -> tuple[Any, ...]:
    """All steps of one direction of a recurrent layer with 8-bit weights.

    `sizes[t]` of the rows x belong to time t. After x come the state to begin with (h, and c of an LSTM), then
    weight_ih, bias_ih, weight_hh, bias_hh. The result is h after every step, as rows, then the state of each sequence
    after its last step.
    """
    *state, w_ih, b_ih, w_hh, b_hh = state_and_weights
    weights = pack_linear(w_ih, b_ih), pack_linear(w_hh, b_hh)
    rows, start = as_array(x), tuple(as_array(s) for s in state)
    out = np.empty((len(rows), start[0].shape[1]), np.float32)
    return (out, *_C.recurrent(kernel, rows, list(sizes), start, *weights, backward, reduce_range, out))


@exact("recurrent_step")
def RECURRENT_STEP(gi: Any, gh: Any, *state: Any, kernel: str) -> tuple[Any, ...]:
    """One step of a recurrent cell from both parts of its gates."""
    return tuple(_C.recurrent_step(kernel, as_array(gi), as_array(gh), tuple(as_array(s) for s in state)))


def _whole(x: np.ndarray, dtype: np.dtype[Any]) -> np.ndarray:
    """Return floats cut off to whole numbers; NaN and what is beyond the range are its lowest, on every CPU."""
    wide = dtype if dtype in (np.int32, np.int64) else np.dtype(np.int64)
    lowest = np.iinfo(wide).min
    inside = (x >= lowest) & (x < -float(lowest))
    return np.where(inside, np.where(inside, x, 0).astype(wide), lowest).astype(dtype)


@exact("cast")
def CAST(x: Any, *, dtype: str) -> np.ndarray:
    """Return the values in another dtype."""
    array, to = as_array(x), np.dtype(dtype)
    return _whole(array, to) if array.dtype.kind == "f" and to.kind in "iu" else array.astype(to, copy=False)
