"""An ONNX graph in the making: nodes, initializers and names, and how octensor's values stand in it.

A quantized value is written as its codes. Where a float operator reads it, a DequantizeLinear stands between; what a
float operator gives becomes codes by a QuantizeLinear: with `site.real` and `site.result` every row of the table writes
the float operator alone and serves quantized tensors as well (QDQ).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .. import _C
from .._C import QParams, QTensor
from ..graph.meta import TensorMeta, meta_of
from ..graph.rows import Unsupported
from ..program.ir import BatchSize
from ..tensor import Tensor

# NumPy's names, and octensor's of codes -> TensorProto.DataType.
TYPES = {
    "float32": 1, "uint8": 2, "int8": 3, "uint16": 4, "int16": 5, "int32": 6, "int64": 7, "bool": 9, "float16": 10,
    "float64": 11, "uint32": 12, "uint64": 13, "quint8": 2, "qint8": 3, "qint32": 6,
}  # fmt: skip
FARTHEST = np.iinfo(np.int64).max


@dataclass(eq=False)
class Value:
    """A tensor of the graph: its name there (of its codes, if it is quantized), and the constant that it is, if any."""

    name: str
    meta: TensorMeta
    constant: Any = None  # ndarray or QTensor

    @property
    def qparams(self) -> QParams | None:
        """How it is quantized."""
        return self.meta.qparams

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.meta.shape)

    def with_qparams(self, qparams: QParams) -> Value:
        """Return the same codes with other parameters."""
        codes = self.constant
        if isinstance(codes, QTensor):
            codes = QTensor.from_numpy(np.ascontiguousarray(codes.int_repr()), qparams)
        return Value(self.name, self.meta._replace(qparams=qparams), codes)


@dataclass
class Written:
    """One node."""

    operator: str
    inputs: list[str]
    outputs: list[str]
    attributes: dict[str, Any]


@dataclass
class Draft:
    """A graph in the making.

    Attributes
    ----------
    opset : int
    exact : bool
        Whether other runtimes are to give octensor's codes (`onnx.export`).
    batch_source : (str, int) or None
        An input, and its axis whose size is the batch; None where the batch is fixed.
    """

    opset: int
    exact: bool = True
    batch_source: tuple[str, int] | None = None
    nodes: list[Written] = field(default_factory=list)
    initializers: dict[str, np.ndarray] = field(default_factory=dict)
    _taken: set[str] = field(default_factory=set)
    _known: dict[Any, str] = field(default_factory=dict)
    _reals: dict[Any, str] = field(default_factory=dict)
    _batch: str | None = None

    def name(self, wanted: str) -> str:
        """Return a name that is free, like the wanted one."""
        chosen, number = wanted, 0
        while chosen in self._taken:
            number += 1
            chosen = f"{wanted}_{number}"
        self._taken.add(chosen)
        return chosen

    def add(self, operator: str, inputs: Sequence[str], wanted: str, outputs: int = 1, **attributes: Any) -> list[str]:
        """Add a node; return the names of its outputs."""
        names = [self.name(wanted) for _ in range(outputs)]
        given = {key: value for key, value in attributes.items() if value is not None}
        self.nodes.append(Written(operator, list(inputs), names, given))
        return names

    def constant(self, array: Any, wanted: str, owner: str | None = None) -> str:
        """Return the name of an initializer; equal ones are one, unless they have owners."""
        values = np.ascontiguousarray(array)
        key = (values.dtype.str, np.shape(array), values.tobytes(), owner)
        if key not in self._known:
            self._known[key] = self.name(wanted)
            self.initializers[self._known[key]] = values.reshape(np.shape(array))
        return self._known[key]

    def batch(self) -> str:
        """Return the name of the batch's size, an int64 of shape (1,)."""
        if self._batch is None:
            assert self.batch_source is not None
            source, axis = self.batch_source
            (self._batch,) = self.add("Shape", [source], "batch", start=axis, end=axis + 1)
        return self._batch

    def prune(self, results: Sequence[str]) -> None:
        """Drop what no result needs."""
        needed = set(results)
        kept = []
        for node in reversed(self.nodes):
            if needed.intersection(node.outputs):
                needed.update(node.inputs)
                kept.append(node)
        self.nodes = kept[::-1]
        self.initializers = {name: array for name, array in self.initializers.items() if name in needed}


class Site:
    """Where an op stands in the model, and the draft that its nodes go to."""

    def __init__(self, draft: Draft, name: str, path: str, meta: Any) -> None:
        self.draft = draft
        self.opset = draft.opset
        self.path = path
        self.meta = meta  # of the op's result
        self._wanted = f"{path}.{name}" if path else name

    # --- nodes -------------------------------------------------------------------------------------------------------
    def add(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """Add a node with one output; an input left out is ""."""
        return self.draft.add(operator, inputs, self._wanted, **attributes)[0]

    def add_many(self, operator: str, *inputs: str, outputs: int, **attributes: Any) -> list[str]:
        """Add a node with several outputs."""
        return self.draft.add(operator, inputs, self._wanted, outputs, **attributes)

    def constant(self, array: Any, part: str = "constant") -> str:
        """Return the name of a constant."""
        return self.draft.constant(np.asarray(array), f"{self._wanted}.{part}")

    def floats(self, values: Any, part: str = "constant") -> str:
        """Return the name of a float32 constant."""
        return self.constant(np.asarray(values, np.float32), part)

    def ints(self, values: Any, part: str = "constant") -> str:
        """Return the name of an int64 constant."""
        return self.constant(np.asarray(values, np.int64), part)

    def sizes(self, values: Sequence[Any]) -> str:
        """Return the name of whole numbers, some of which may follow from the batch."""
        if not any(isinstance(v, BatchSize) for v in values):
            return self.ints(values, "sizes")
        parts = []
        for value in values:
            if not isinstance(value, BatchSize):
                parts.append(self.ints([value], "size"))
                continue
            size = self.draft.batch()
            if value.per_batch != 1:
                size = self.add("Mul", size, self.ints([value.per_batch], "size"))
            if value.fixed:
                size = self.add("Add", size, self.ints([value.fixed], "size"))
            parts.append(size)
        return parts[0] if len(parts) == 1 else self.add("Concat", *parts, axis=0)

    # --- values ------------------------------------------------------------------------------------------------------
    def real(self, x: Any, like: str = "float32") -> str:
        """Return the name of the values of an operand: real ones of a quantized tensor; numbers become constants."""
        if not isinstance(x, Value):
            if isinstance(x, (bool, int, float, np.ndarray, np.generic)):
                return self.constant(np.asarray(x, like) if np.ndim(x) == 0 else x)
            raise Unsupported(f"its operand is a {type(x).__name__}")
        if x.qparams is None:
            return x.name
        return self.dequantize(x.name, x.qparams)

    def dequantize(self, codes: str, qparams: QParams) -> str:
        """Return the name of the real values of codes; all that read them with the same parameters share them."""
        scale, zero, axis = self.parameters(qparams, codes)
        inputs = (codes, scale) if qparams.dtype.name == "qint32" else (codes, scale, zero)
        known = self.draft._reals
        if inputs not in known:
            known[inputs] = self.draft.add("DequantizeLinear", inputs, f"{codes}.real", axis=axis)[0]
        return known[inputs]

    def parameters(self, qparams: QParams, name: str) -> tuple[str, str, int | None]:
        """Return the names of scale and zero point, and the axis they go along."""
        if qparams.dtype.name not in TYPES or qparams.has_float_zero_point:
            raise Unsupported(f"ONNX has no such codes: {qparams.dtype}, or zero points that are real numbers")
        dtype = qparams.dtype.numpy
        scale = self.draft.constant(np.asarray(qparams.scale, np.float32), f"{name}.scale")
        zeros = np.asarray(qparams.zero_point).astype(dtype)
        # ONNX Runtime, told to turn int8 weights to uint8 (session.x64quantprecision), fails on shared zero points
        owner = name if dtype == np.int8 else None
        return (
            scale,
            self.draft.constant(zeros, f"{name}.zero_point", owner),
            qparams.axis if qparams.is_per_channel else None,
        )

    def result(self, name: str, meta: Any = None) -> Value:
        """Return the value with these real values: this op's, or with the meta given; codes, if that is quantized."""
        meta = self.meta if meta is None else meta
        if meta.qparams is None:
            return Value(name, meta)
        scale, zero, axis = self.parameters(meta.qparams, name)
        return Value(self.draft.add("QuantizeLinear", [name, scale, zero], f"{name}.codes", axis=axis)[0], meta)

    def value(self, array: Any, wanted: str | None = None) -> Value:
        """Return a constant as a value."""
        if isinstance(array, QTensor):
            codes = np.ascontiguousarray(array.int_repr())
            return Value(self.draft.constant(codes, wanted or f"{self._wanted}.constant"), meta_of(array), array)
        values = np.asarray(array)
        return Value(self.draft.constant(values, wanted or f"{self._wanted}.constant"), meta_of(values), values)


def constant_of(value: Any, what: str) -> Any:
    """Return the tensor that a value always is, which this op needs to know before: ndarray, QTensor or None."""
    if value is None or isinstance(value, (np.ndarray, QTensor)):
        return value
    if not isinstance(value, Value) or value.constant is None:
        raise Unsupported(f"its {what} is computed while the model runs: it must be a parameter or a constant here")
    return value.constant


def real_constant(value: Any, what: str) -> np.ndarray | None:
    """Return the real values of a constant."""
    array = constant_of(value, what)
    return _C.dequantize(array) if isinstance(array, QTensor) else None if array is None else np.asarray(array)


def plain(value: Any) -> Any:
    """Return a tensor without octensor's class around its array."""
    return np.asarray(value) if isinstance(value, Tensor) else value
