"""`GridTensor`: a float tensor that knows the integers its values came from.

A model prepared for quantization-aware training computes in float, its converted twin in integers; rounding makes the
two differ now and then by a step. So that they cannot differ in eval mode, the float tensors of a prepared model carry
the `QTensor` whose values they are:

* a fake-quantize module in eval mode returns a `GridTensor`: values ``dequantize(codes)``, and the codes;
* an op whose tensor arguments all carry codes, and that has a quantized form which finds its own output parameters,
  runs that form on the codes; its float result takes the values of the integer result, and the new codes;
* a layer with settled parameters in its slots does the same with the layer it will become (see
  `quantization.fake_quantize`).

Gradients are those of the float computation. Writing into the values, `dequantize()` and a `DeQuantStub` end it: what
comes out is a plain `Tensor`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from . import _C
from ._C import QTensor
from .tensor import Tensor


class GridTensor(Tensor):
    """A `Tensor` with the `QTensor` it is the dequantized form of.

    Attributes
    ----------
    codes : QTensor or None
        None once the values were written to.
    """

    __slots__ = ("codes",)

    codes: QTensor | None

    @staticmethod
    def of(codes: QTensor, history: Tensor | None = None) -> GridTensor:
        """Return the values of `codes`, with the gradient history of `history`."""
        tensor = GridTensor.__new__(GridTensor)
        tensor._array = np.asarray(_C.dequantize(codes))
        tensor._array.flags.writeable = False
        tensor.grad = None
        tensor._node = None if history is None else history._node
        tensor._requires_grad = False if history is None else history._requires_grad
        tensor.codes = codes
        return tensor

    def _writable(self, name: str) -> np.ndarray:
        super()._writable(name)
        if self.codes is not None:
            self.codes = None
            self._array = self._array.copy()
        return self._array

    def __getitem__(self, index: Any) -> Tensor:
        result = super().__getitem__(index)
        try:
            codes = None if self.codes is None else self.codes[index]
        except (TypeError, ValueError, IndexError):  # not an index that quantized tensors take
            codes = None
        return result if codes is None else GridTensor.of(codes, result)

    def detach(self) -> Tensor:
        """Return the same values and codes without history."""
        return super().detach() if self.codes is None else GridTensor.of(self.codes)

    def dequantize(self) -> Tensor:
        """Return the values as a plain tensor, with the history."""
        tensor = Tensor._wrap(self._array)
        tensor._node, tensor._requires_grad = self._node, self._requires_grad
        return tensor

    def __deepcopy__(self, memo: dict[Any, Any]) -> Any:
        return self.dequantize().__deepcopy__(memo)

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.dequantize().__reduce_ex__(protocol)


def codes_of(x: Any) -> QTensor | None:
    """Return the codes that a tensor carries, if it does."""
    return x.codes if isinstance(x, GridTensor) else None


def follow(spec: Any, tensors: tuple[Any, ...], attrs: dict[str, Any], result: Tensor) -> Tensor:
    """Return what op `spec` gives on codes, as a tensor with the history of its float `result`.

    It is `result` itself where the op has no quantized form for these arguments: then no converted model runs it.
    """
    if spec.quantized is None or (spec.output_qparams == "given" and "qparams" not in attrs):
        return result
    count = len(tensors) if spec.quantized_inputs is None else spec.quantized_inputs
    codes = tuple(codes_of(t) for t in tensors[:count])
    if any(c is None and t is not None for c, t in zip(codes, tensors[:count], strict=True)):
        return result
    output = spec.quantized(*codes, *tensors[count:], **attrs)
    return GridTensor.of(output, result) if isinstance(output, QTensor) else result
