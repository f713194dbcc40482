"""`ObservedLayer`: layers without a quantized weight whose output has a range of its own.

In the static stage the output slot holds the `QParams` of the result, and the op gets them; before that it is the float
op. What a class computes is one call of an op; what it needs from here is `_given`.
"""

from __future__ import annotations

from typing import Any, ClassVar

from .._C import QParams, QTensor
from .module import Module, OutputRule
from .weighted import describe


class ObservedLayer(Module):
    """Base of norms and activations that are observed.

    Attributes
    ----------
    needs_slot : bool
        Whether a QTensor is refused while the slot is empty; False where the op also has qparams of its own.
    """

    output_rule: ClassVar[OutputRule] = "given"
    needs_slot: ClassVar[bool] = True

    def _given(self, x: Any) -> dict[str, Any]:
        """Return the qparams of the result as keyword arguments of the op; none in float.

        Raises
        ------
        TypeError
            If the input is float in the static stage, or quantized in another.
        """
        qparams = self.activation_post_process
        if isinstance(qparams, QParams):
            if not isinstance(x, QTensor):
                raise TypeError(
                    f"expected a quantized input (QTensor), got {describe(x)}: "
                    "put a QuantStub before this layer (x = self.quant(x)) and convert it too"
                )
            return {"qparams": qparams}
        if isinstance(x, QTensor) and self.needs_slot:
            raise TypeError(
                f"expected a float Tensor, got {describe(x)}: put DeQuantStub before it, or give the layer a qconfig"
            )
        return {}

    def _slot_repr(self) -> str:
        """Text for the repr: what the output slot says, if it holds qparams."""
        qparams = self.activation_post_process
        if not isinstance(qparams, QParams):
            return ""
        return f", scale={qparams.scale}, zero_point={qparams.zero_point}"
