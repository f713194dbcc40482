"""`Linear`: y = x Wᵀ + b, in every stage."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import _C
from .._C import PackedLinear, QParams, QTensor
from ..arrays import as_array
from ..autograd import is_grad_enabled
from ..ops.arguments import is_int
from ..ops.exact import LINEAR_DYNAMIC, LINEAR_WEIGHT_ONLY
from ..ops.matmul import LINEAR, linear
from ..ops.packing import pack_linear, pack_weight_only
from ..ops.recording import RECORDING
from ..tensor import Tensor
from .module import Module
from .weighted import WeightedLayer


def positive(layer: str, **values: Any) -> None:
    """Raise ValueError unless all values are integers of at least 1."""
    for name, value in values.items():
        if not is_int(value) or value < 1:
            raise ValueError(f"{layer}: {name}: expected an integer of at least 1, got {value!r}")


class Linear(WeightedLayer):
    """y = x Wᵀ + b.

    Parameters
    ----------
    in_features, out_features : int
        Sizes of the last axis of input and output.
    bias : bool
        Whether b is there.

    Attributes
    ----------
    weight : Parameter or QTensor, shape (out_features, in_features)
    bias : Parameter or None, shape (out_features,)

    Examples
    --------
    >>> import octensor as ot
    >>> ot.nn.Linear(3, 2)(ot.zeros(5, 3)).shape
    (5, 2)
    """

    input_dtype = _C.quint8

    def __init__(self, in_features: int, out_features: int, bias: bool = True) -> None:
        positive("Linear", in_features=in_features, out_features=out_features)
        super().__init__((out_features, in_features), bias)
        self.in_features = in_features
        self.out_features = out_features

    def _compute(self, x: Any, weight: Any, bias: Any) -> Any:
        return linear(x, weight, bias)

    def _pack(self, weight: QTensor, bias: np.ndarray | None) -> PackedLinear:
        return pack_linear(weight, bias)

    def _run(self, x: QTensor, packed: PackedLinear, qparams: QParams, relu: bool) -> QTensor:
        result = _C.linear(x, packed, qparams, relu=relu)
        if RECORDING.recorder is None:
            return result
        given = {"qparams": qparams, "relu": relu}
        noted: QTensor = RECORDING.recorder.note(LINEAR, (x, self.weight, self.bias), given, result)
        return noted

    def _run_dynamic(self, x: np.ndarray, packed: PackedLinear, relu: bool) -> np.ndarray:
        result: np.ndarray = _C.linear_dynamic(x, packed, relu=relu)
        if RECORDING.recorder is not None:
            RECORDING.recorder.note(LINEAR_DYNAMIC, (x, self.weight, self.bias), {"relu": relu}, result)
        return result

    def _forward_reduced(self, x: Any) -> Tensor:
        """As the base, but 8-bit weights on float input go through a kernel that gives the same bits everywhere.

        Where a gradient with respect to the input is wanted, the float op records it.
        """
        weight = self.weight
        if self.stage == "dynamic" or not isinstance(weight, QTensor) or not _is_packable(weight):
            return super()._forward_reduced(x)
        if isinstance(x, Tensor) and x.requires_grad and is_grad_enabled():
            output: Tensor = self._compute(x, Tensor(_C.dequantize(weight)), self.bias)
            return output if self.activation is None else self.activation(output)
        if self._cache is None:
            self.__dict__["_cache"] = pack_weight_only(weight, self.bias)
        relu = self.activation is not None
        result = _C.linear_weight_only(as_array(x), self._cache, relu=relu)
        if RECORDING.recorder is not None:
            RECORDING.recorder.note(LINEAR_WEIGHT_ONLY, (x, weight, self.bias), {"relu": relu}, result)
        return self._limited(Tensor._wrap(result))

    def extra_repr(self) -> str:
        """Sizes and, if not float, the stage."""
        sizes = f"in_features={self.in_features}, out_features={self.out_features}"
        return f"{sizes}, bias={self.bias is not None}{self._slot_repr()}"


def _is_packable(weight: QTensor) -> bool:
    """Whether the integer kernels read such a weight: 8 bits, integer zero points, one scale or one per row."""
    qparams = weight.qparams
    integers = weight.dtype in (_C.qint8, _C.quint8) and not qparams.has_float_zero_point
    return integers and qparams.axis in (None, 0)


class Identity(Module):
    """Returns its input; takes and ignores any arguments."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()

    def forward(self, input: Any) -> Any:
        """Return the input."""
        return input
