"""`FloatFunctional`: the operations that need a slot of their own, as a module.

A sum, product or concatenation of two quantized tensors has a new range, so somebody must observe it. A model
makes one `FloatFunctional` for each such place and calls its methods instead of the operators:

* float stage: the float operation;
* calibrating or qat: the same, and the result goes through the module in the slot;
* static: the integer operation, with the slot's `QParams` for its result.

`add_scalar` and `mul_scalar` need no observation: the parameters of the result follow from those of the input.
With scale ``s``, zero point ``z``, codes ``q`` in ``qmin..qmax`` and, for the sum, ``c_q = rint(c / s)``:

=========== =========================== ============================== ============== =============================
operation   case                        scale                          zero point     codes
=========== =========================== ============================== ============== =============================
``q + c``   qmin <= z - c_q <= qmax     s                              z - c_q        q
..          z - c_q < qmin              s (qmax - (z - c_q)) / Q       qmin           requantized from q - z + c_q
..          z - c_q > qmax              s ((z - c_q) - qmin) / Q       qmax           requantized from q - z + c_q
``q * c``   c > 0                       c s                            z              q
..          c = 0                       1                              0              all 0
..          c < 0                       abs(c) s                       qmax + qmin - z qmax + qmin - q
=========== =========================== ============================== ============== =============================
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from octensor import _C
from octensor.nn.module import Module
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
        return self._run("add", (x, y), lambda: apply(OPS["add"], x, y), lambda qparams: _C.add(x, y, qparams))

    def add_relu(self, x: Any, y: Any) -> Any:
        """Return ``relu(x + y)``; shapes broadcast."""
        return self._run(
            "add_relu",
            (x, y),
            lambda: apply(OPS["relu"], apply(OPS["add"], x, y)),
            lambda qparams: _C.add(x, y, qparams, relu=True),
        )

    def mul(self, x: Any, y: Any) -> Any:
        """Return ``x * y``; shapes broadcast."""
        return self._run("mul", (x, y), lambda: apply(OPS["mul"], x, y), lambda qparams: _C.mul(x, y, qparams))

    def cat(self, tensors: Sequence[Any], dim: int = 0) -> Any:
        """Join tensors along ``dim``."""
        if not isinstance(tensors, (list, tuple)):
            raise TypeError(f"FloatFunctional.cat: tensors: expected a list of tensors, got {type(tensors).__name__}")
        return self._run(
            "cat",
            tuple(tensors),
            lambda: apply(OPS["cat"], *tensors, dim=dim),
            lambda qparams: _C.cat(list(tensors), dim, qparams),
        )

    def add_scalar(self, x: Any, c: float) -> Any:
        """Return ``x + c``; not observed, the result's qparams follow from those of ``x``."""
        return self._run_scalar("add_scalar", x, c, lambda: apply(OPS["add"], x, float(c)), add_scalar)

    def mul_scalar(self, x: Any, c: float) -> Any:
        """Return ``x * c``; not observed, the result's qparams follow from those of ``x``."""
        return self._run_scalar("mul_scalar", x, c, lambda: apply(OPS["mul"], x, float(c)), mul_scalar)

    def _run(
        self, op: str, inputs: tuple[Any, ...], real: Callable[[], Any], integer: Callable[[_C.QParams], Any]
    ) -> Any:
        def compute() -> Any:
            quantized = [isinstance(x, _C.QTensor) for x in inputs]
            qparams = self.activation_post_process
            if isinstance(qparams, _C.QParams) and all(quantized):
                return integer(qparams)
            if isinstance(qparams, _C.QParams) or any(quantized):
                raise TypeError(_wrong_inputs(op, inputs, isinstance(qparams, _C.QParams)))
            return real()

        return self._located(inputs, compute, self._modules.get("activation_post_process"))

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
            return real()

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


def add_scalar(x: _C.QTensor, c: float) -> _C.QTensor:
    """Return ``x + c`` with the qparams of the table above (8-bit, per-tensor)."""
    old, dtype = _per_tensor("add_scalar", x, c), x.dtype
    c_q = int(np.rint(c / old.scale))
    zero_point = old.zero_point - c_q
    if dtype.qmin <= zero_point <= dtype.qmax:
        return _C.QTensor.from_numpy(x.int_repr(), _C.QParams(old.scale, zero_point, dtype))
    edge, reach = (
        (dtype.qmin, dtype.qmax - zero_point) if zero_point < dtype.qmin else (dtype.qmax, zero_point - dtype.qmin)
    )
    scale = np.float32(old.scale * reach / (dtype.qmax - dtype.qmin))
    ratio = np.float32(np.float64(np.float32(old.scale)) / np.float64(scale))
    moved = np.rint((_codes(dtype) - old.zero_point + c_q).astype(np.float32) * ratio) + edge
    return _map_codes(x, moved, _C.QParams(float(scale), edge, dtype))


def mul_scalar(x: _C.QTensor, c: float) -> _C.QTensor:
    """Return ``x * c`` with the qparams of the table above (8-bit, per-tensor)."""
    old, dtype = _per_tensor("mul_scalar", x, c), x.dtype
    if c > 0:
        return _C.QTensor.from_numpy(x.int_repr(), _C.QParams(c * old.scale, old.zero_point, dtype))
    if c == 0:
        return _map_codes(x, np.zeros(256), _C.QParams(1.0, 0, dtype))
    flip = dtype.qmax + dtype.qmin
    return _map_codes(x, flip - _codes(dtype), _C.QParams(-c * old.scale, flip - old.zero_point, dtype))


def _per_tensor(op: str, x: _C.QTensor, c: float) -> _C.QParams:
    if x.qparams.is_per_channel or x.dtype.itemsize != 1:
        raise TypeError(f"{op}: x: expected an 8-bit per-tensor QTensor, got {x.dtype} with {x.qparams}")
    if not abs(c) <= np.finfo(np.float32).max:
        raise ValueError(f"{op}: c: expected a finite float32 number, got {c}")
    return x.qparams


def _codes(dtype: _C.dtype) -> np.ndarray:
    """Return the code that each raw byte 0..255 stands for."""
    return np.asarray(np.arange(256, dtype=np.uint8).view(dtype.numpy), np.int64)


def _map_codes(x: _C.QTensor, table: np.ndarray, qparams: _C.QParams) -> _C.QTensor:
    """Replace every code by its entry in a table indexed by the raw byte."""
    clamped = np.clip(table, qparams.dtype.qmin, qparams.dtype.qmax)
    return _C.lookup(x, clamped.astype(qparams.dtype.numpy), qparams)
