"""`OpSpec`: everything the package knows about one operation, `OPS`: all of them, and `apply`: the one way to run one.

An op is a pure function on arrays (`forward`), the gradient of it (`backward`), what to do with quantized tensors
(`quantized`, `output_qparams`) and sample arguments (`samples`) by which tests check all of these without knowing the
op. Tensors are positional arguments, everything else is a keyword.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, TypeVar

import numpy as np

from .._C import QParams, QTensor
from ..arrays import as_array
from ..autograd import Node, is_grad_enabled
from ..grid import GridTensor, follow
from ..tensor import Tensor
from .recording import RECORDING

OutputQParams = Literal["same", "given", "fixed", "float"]
Sample = tuple[tuple[Any, ...], dict[str, Any]]
F = TypeVar("F", bound=Callable[..., Any])


class Context:
    """What `backward` may use: the arrays and attributes of the call, its result, and whose gradient is wanted."""

    __slots__ = ("arrays", "attrs", "needs", "out")

    def __init__(self, arrays: Sequence[Any], attrs: dict[str, Any], out: np.ndarray, needs: tuple[bool, ...]) -> None:
        self.arrays = arrays
        self.attrs = attrs
        self.out = out
        self.needs = needs


class OpSpec:
    """One operation.

    Parameters
    ----------
    name : str
        Key in `OPS`, and the word in its error messages.
    forward : callable
        `forward(*arrays, **attrs) -> ndarray`; any float dtype, so that gradients can be checked in float64. An
        optional tensor may be None. It keeps no state and writes into none of its arguments.
    backward : callable, optional
        `backward(ctx, grad) -> sequence` of one gradient per array, None where `ctx.needs` is False or there is none. A
        gradient may have the broadcast shape: `apply` sums it to the shape of its array.
    quantized : callable, optional
        `quantized(*qtensors, **attrs) -> QTensor` (or Tensor for rule "float"). For rule "given" it takes `qparams`.
    output_qparams : {"same", "given", "fixed", "float"}
        Where the qparams of a quantized result come from: the input, the caller, constants of the op; or the result is
        a float tensor.
    fixed : callable, optional
        `fixed(dtype) -> QParams` for rule "fixed".
    quantized_inputs : int, optional
        How many leading tensor arguments must be quantized in a quantized call; those after them stay float (a bias).
        None: all.
    table : bool
        A unary op on 8-bit integers through a 256-entry table made from `forward`; `quantized` is then not given.
    samples : callable
        `samples(rng) -> list of (arrays, attrs)`; float64 arrays at which the op is differentiable.
    method : str, optional
        Name under which the op's function is attached to `Tensor`, and to `QTensor` if `quantized` is there.
    operators, reflected : tuple of str
        Names of Python operators of `Tensor` that are this op (`__sub__`), or are it with the two arguments exchanged
        (`__rsub__`).
    """

    __slots__ = (
        "backward",
        "fixed",
        "forward",
        "function",
        "method",
        "name",
        "operators",
        "output_qparams",
        "quantized",
        "quantized_inputs",
        "reflected",
        "samples",
        "table",
    )

    def __init__(
        self,
        name: str,
        *,
        forward: Callable[..., Any],
        samples: Callable[[np.random.Generator], list[Sample]],
        backward: Callable[[Context, np.ndarray], Sequence[Any]] | None = None,
        quantized: Callable[..., Any] | None = None,
        output_qparams: OutputQParams = "given",
        fixed: Callable[[Any], QParams] | None = None,
        quantized_inputs: int | None = None,
        table: bool = False,
        method: str | None = None,
        operators: tuple[str, ...] = (),
        reflected: tuple[str, ...] = (),
    ) -> None:
        self.name = name
        self.forward = forward
        self.backward = backward
        self.output_qparams = output_qparams
        self.fixed = fixed
        self.quantized_inputs = quantized_inputs
        self.table = table
        self.samples = samples
        self.method = method
        self.operators = operators
        self.reflected = reflected
        self.function: Callable[..., Any] | None = None
        if table:
            from .table import by_table

            quantized = by_table(self)
        self.quantized = quantized
        if name in OPS:
            raise ValueError(f"OpSpec: name: {name!r} is taken")
        OPS[name] = self

    def public(self, function: F) -> F:
        """Decorate the op's public function, the one with the signature users see."""
        self.function = function
        return function

    def __call__(self, *tensors: Any, **attrs: Any) -> Any:
        """Run the op: `apply` with this spec; tensors among the attributes are taken as their arrays."""
        return apply(self, *tensors, **{key: plain(value) for key, value in attrs.items()})

    def __repr__(self) -> str:
        return f"OpSpec({self.name!r})"


OPS: dict[str, OpSpec] = {}


def plain(value: Any) -> Any:
    """Return an attribute of an op with the array of every tensor in it."""
    if isinstance(value, Tensor):
        return value._array
    return tuple(plain(part) for part in value) if type(value) is tuple else value


def apply(spec: OpSpec, *tensors: Any, **attrs: Any) -> Any:
    """Run an op: on `QTensor`s its quantized form, else its float form, recorded if a gradient is wanted.

    Parameters
    ----------
    spec : OpSpec
        The op.
    *tensors : Tensor, QTensor, ndarray, number or None
        Its tensor arguments.
    **attrs
        Everything else, as `spec.forward` takes it.

    Returns
    -------
    Tensor or QTensor
        A QTensor for quantized arguments (unless the op's result is float by rule), else a Tensor.

    Raises
    ------
    TypeError
        If QTensors and float tensors are mixed, the op has no quantized form, or an argument is of a wrong type.
    ValueError
        If an argument does not fit.
    """
    on_grid = False
    for tensor in tensors:
        if isinstance(tensor, QTensor):
            result = _apply_quantized(spec, tensors, attrs)
            return result if RECORDING.recorder is None else RECORDING.recorder.note(spec, tensors, attrs, result)
        on_grid = on_grid or isinstance(tensor, GridTensor)
    if "qparams" in attrs:
        raise TypeError(f"{spec.name}: input: expected a QTensor where qparams are given, got a float tensor")
    try:
        arrays = [t if t is None or isinstance(t, (int, float)) else as_array(t) for t in tensors]
    except (TypeError, ValueError) as error:
        for tensor in tensors:
            if hasattr(tensor, "__octensor_function__"):
                return tensor.__octensor_function__(spec.function or spec, tensors, attrs)
        if not isinstance(error, TypeError):
            raise
        raise TypeError(f"{spec.name}: input: {error}") from None
    if tensors and tensors[0] is None:
        raise TypeError(f"{spec.name}: input: expected a tensor, got None")
    try:
        result = Tensor._wrap(spec.forward(*arrays, **attrs))
    except (TypeError, ValueError) as error:
        if _NAMED.match(str(error)):
            raise
        raise _named(spec, arrays, attrs, error) from error
    if spec.backward is not None and is_grad_enabled():
        needs = tuple([isinstance(t, Tensor) and t._requires_grad for t in tensors])
        if True in needs:
            _record(spec, tensors, arrays, attrs, needs, result)
    if on_grid:
        result = follow(spec, tensors, attrs, result)
    return result if RECORDING.recorder is None else RECORDING.recorder.note(spec, tensors, attrs, result)


_NAMED = re.compile(r"[\w.]+: ")  # how a message begins that says where it comes from


def _named(spec: OpSpec, arrays: list[Any], attrs: dict[str, Any], error: Exception) -> Exception:
    """Return what NumPy objects to, as an error of this op that says what it got."""
    kind = TypeError if isinstance(error, TypeError) else ValueError
    shapes = " and ".join(str(np.shape(a)) for a in arrays)
    if "broadcast" in str(error):
        return kind(f"{spec.name}: expected tensors of shapes that broadcast, got {shapes}")
    got = [f"{a.dtype} {a.shape}" if isinstance(a, np.ndarray) else repr(a) for a in arrays]
    got += [f"{name}={value!r:.40}" for name, value in attrs.items()]
    return kind(f"{spec.name}: expected arguments to compute with, got {', '.join(got)}: {error}")


def _record(
    spec: OpSpec,
    tensors: tuple[Any, ...],
    arrays: list[Any],
    attrs: dict[str, Any],
    needs: tuple[bool, ...],
    result: Tensor,
) -> None:
    context = Context(arrays, attrs, result._array, needs)

    def pull(grad: np.ndarray) -> Iterator[np.ndarray | None]:
        assert spec.backward is not None
        parts = spec.backward(context, grad)
        for need, part, array in zip(needs, parts, arrays, strict=True):
            yield unbroadcast(part, array.shape) if need and part is not None else None

    inputs = tuple([t if need else None for t, need in zip(tensors, needs, strict=True)])
    result._requires_grad = True
    result._node = Node(spec.name, inputs, pull)  # type: ignore[arg-type]


def _apply_quantized(spec: OpSpec, tensors: tuple[Any, ...], attrs: dict[str, Any]) -> Any:
    for tensor in tensors[: spec.quantized_inputs]:
        if tensor is not None and not isinstance(tensor, QTensor):
            raise TypeError(
                f"{spec.name}: expected quantized tensors only or float tensors only, got a QTensor and "
                f"a {type(tensor).__name__}: quantize the float one (quantize_per_tensor, or a QuantStub), "
                "or call .dequantize() on the QTensor"
            )
    if spec.quantized is None:
        raise TypeError(
            f"{spec.name}: expected float tensors, got QTensor: there is no quantized {spec.name}; "
            "call .dequantize() first, or put a DeQuantStub before this place in the model"
        )
    if spec.output_qparams == "given" and "qparams" not in attrs:
        raise TypeError(
            f"{spec.name}: the scale and zero point of the result are not known from QTensors alone: "
            f"in a model use a layer or FloatFunctional().{spec.name}(...), which records them, or call "
            f"octensor.ops.quantized.{spec.name}(..., scale, zero_point)"
        )
    return spec.quantized(*tensors, **attrs)


def unbroadcast(grad: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Sum `grad` over the axes along which an array of `shape` was broadcast to it."""
    if grad.shape == shape:
        return grad
    extra = grad.ndim - len(shape)
    if extra:
        grad = grad.sum(axis=tuple(range(extra)))
    axes = tuple(i for i, size in enumerate(shape) if size == 1 and grad.shape[i] != 1)
    return grad.sum(axis=axes, keepdims=True) if axes else grad
