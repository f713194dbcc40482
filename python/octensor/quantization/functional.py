"""`FloatFunctional`: the operations that need a slot of their own, as a module.

A sum, product or concatenation of two quantized tensors has a new range, so somebody must observe it. A model
makes one `FloatFunctional` for each such place and calls its methods instead of the operators:

* float stage: the float operation;
* calibrating or qat: the same, and the result goes through the module in the slot (in eval mode a fake quantizer
  makes of it what the static stage returns);
* static: the integer operation, with the slot's `QParams` for its result.

`add_scalar` and `mul_scalar` need no observation: the parameters of the result follow from those of the input
(`octensor.ops.scalar`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from octensor import _C
from octensor.grid import GridTensor, codes_of
from octensor.nn.module import Module
from octensor.ops import scalar
from octensor.ops.recording import RECORDING
from octensor.ops.spec import OPS, apply
from octensor.tensor import Tensor


class FloatFunctional(Module):
    """Operations on tensors that know the range of their result.

    Use one instance for each place in a model: all results of an instance share one scale and zero point.

    >>> import octensor as ot
    >>> f = FloatFunctional()
    >>> f.add(ot.tensor([1.0, 2.0]), ot.tensor([3.0, 4.0]))
    tensor([4., 6.])
    """

    output_rule = "given"

    def __init__(self) -> None:
        super().__init__()
        # Whether a calibrating run used a form whose result needs no qparams: then `convert` does not ask for data.
        self.used_scalar_form = False

    def forward(self, *args: Any) -> Any:
        """Refuse: the operation is named by a method."""
        raise TypeError(
            "FloatFunctional: it is not called itself: call add, add_scalar, mul, mul_scalar, cat or add_relu on it"
        )

    def add(self, x: Any, y: Any) -> Any:
        """Return ``x + y``; shapes broadcast."""
        return self._run("add", (x, y), lambda: apply(OPS["add"], x, y), lambda a, p: _C.add(a[0], a[1], p))

    def add_relu(self, x: Any, y: Any) -> Any:
        """Return ``relu(x + y)``; shapes broadcast."""
        return self._run(
            "add_relu",
            (x, y),
            lambda: apply(OPS["relu"], apply(OPS["add"], x, y)),
            lambda a, p: _C.add(a[0], a[1], p, relu=True),
        )

    def mul(self, x: Any, y: Any) -> Any:
        """Return ``x * y``; shapes broadcast."""
        return self._run("mul", (x, y), lambda: apply(OPS["mul"], x, y), lambda a, p: _C.mul(a[0], a[1], p))

    def mul_relu(self, x: Any, y: Any) -> Any:
        """Return ``relu(x * y)``; shapes broadcast."""
        return self._run(
            "mul_relu",
            (x, y),
            lambda: apply(OPS["relu"], apply(OPS["mul"], x, y)),
            lambda a, p: _C.mul(a[0], a[1], p, relu=True),
        )

    def cat(self, tensors: Sequence[Any], dim: int = 0) -> Any:
        """Join tensors along ``dim``."""
        if not isinstance(tensors, (list, tuple)):
            raise TypeError(f"FloatFunctional.cat: tensors: expected a list of tensors, got {type(tensors).__name__}")
        return self._run(
            "cat",
            tuple(tensors),
            lambda: apply(OPS["cat"], *tensors, dim=dim),
            lambda a, p: _C.cat(list(a), dim, p),
            dim=dim,
        )

    def add_scalar(self, x: Any, c: float) -> Any:
        """Return ``x + c``; not observed, the result's qparams follow from those of ``x``."""
        return self._run_scalar("add_scalar", x, c, lambda: apply(OPS["add"], x, float(c)), scalar.add_scalar)

    def mul_scalar(self, x: Any, c: float) -> Any:
        """Return ``x * c``; not observed, the result's qparams follow from those of ``x``."""
        return self._run_scalar("mul_scalar", x, c, lambda: apply(OPS["mul"], x, float(c)), scalar.mul_scalar)

    def _run(
        self,
        op: str,
        inputs: tuple[Any, ...],
        real: Callable[[], Any],
        integer: Callable[[Any, _C.QParams], Any],
        **attrs: Any,
    ) -> Any:
        def compute() -> Any:
            quantized = [isinstance(x, _C.QTensor) for x in inputs]
            qparams = self.activation_post_process
            if isinstance(qparams, _C.QParams) and all(quantized):
                result = integer(inputs, qparams)
                if RECORDING.recorder is not None:
                    RECORDING.recorder.note(OPS[op], inputs, {"qparams": qparams, **attrs}, result)
                return result
            if isinstance(qparams, _C.QParams) or any(quantized):
                raise TypeError(_wrong_inputs(op, inputs, isinstance(qparams, _C.QParams)))
            return real()

        slot = self._modules.get("activation_post_process")
        codes = [codes_of(x) for x in inputs]
        if slot is None or slot.slot_stage != "qat" or self.training or None in codes or not slot.is_settled:
            return self._located(inputs, compute, slot)
        return GridTensor.of(integer(codes, slot.qparams()), self._located(inputs, compute, slot))

    def _run_scalar(
        self, op: str, x: Any, c: Any, real: Callable[[], Any], integer: Callable[[_C.QTensor, float], Any]
    ) -> Any:
        def compute() -> Any:
            if isinstance(c, bool) or not isinstance(c, (int, float, np.integer, np.floating)):
                raise TypeError(f"FloatFunctional.{op}: c: expected a number, got {type(c).__name__}")
            if isinstance(x, _C.QTensor):
                return integer(x, float(c))
            if isinstance(self.activation_post_process, _C.QParams):
                raise TypeError(_wrong_inputs(op, (x,), True))
            codes = codes_of(x)
            return real() if codes is None else GridTensor.of(integer(codes, float(c)), real())

        if not self.used_scalar_form:
            self.used_scalar_form = True
        return self._located((x, c), compute, None)

    def _located(self, args: tuple[Any, ...], compute: Callable[[], Any], slot: Module | None) -> Any:
        """Do what `Module.__call__` does around `forward`: hooks, slot, and errors that name this module."""
        try:
            if self._forward_pre_hooks:
                self._forward_pre_hooks.before(self, args)  # operands are bound already: hooks may only look
            output = compute()
            if self._forward_hooks:
                output = self._forward_hooks.after(self, args, output)
            return output if slot is None else slot(output)
        except (ValueError, TypeError) as error:
            self._locate(error)
            raise


def _wrong_inputs(op: str, inputs: Sequence[Any], is_static: bool) -> str:
    got = ", ".join(
        f"{'QTensor' if isinstance(x, _C.QTensor) else 'float ' + type(x).__name__} of shape {tuple(np.shape(x))}"
        if isinstance(x, (_C.QTensor, Tensor, np.ndarray))
        else type(x).__name__
        for x in inputs
    )
    if is_static:
        remedy = "put a QuantStub before each float operand (x = self.quant(x)), or make it with a quantized layer"
        return f"FloatFunctional.{op}: expected quantized operands (QTensor), got {got}: {remedy}"
    remedy = (
        "put a DeQuantStub before the quantized operands, or give this FloatFunctional a qconfig and convert it too"
    )
    return f"FloatFunctional.{op}: expected float operands, got {got}: {remedy}"
