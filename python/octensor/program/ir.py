"""What a program is before its C++ form: a list of instructions over values, on which the rules of `fuse` work."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .._C import QParams, QTensor, qint8, quint8
from ..graph.meta import TensorMeta, meta_of


class BatchSize:
    """An integer that follows from the batch: `fixed + per_batch * batch`."""

    __slots__ = ("fixed", "per_batch")

    def __init__(self, fixed: int, per_batch: int) -> None:
        self.fixed = fixed
        self.per_batch = per_batch

    def pair(self) -> tuple[int, int]:
        """As the C++ steps take it."""
        return self.fixed, self.per_batch

    def __eq__(self, other: object) -> bool:
        return isinstance(other, BatchSize) and self.pair() == other.pair()

    def __hash__(self) -> int:
        return hash(self.pair())

    def __repr__(self) -> str:
        batch = "N" if self.per_batch == 1 else f"{self.per_batch}*N"
        return f"{batch} + {self.fixed}" if self.fixed else batch


#: A cut that leaves an axis as it is: start, stop and step.
WHOLE = (None, None, 1)


#: How a program holds arrays of bytes: as codes with these very parameters (told from others by identity).
PLAIN = {"uint8": QParams(1.0, 0, quint8), "int8": QParams(1.0, 0, qint8)}


def is_plain(qparams: QParams | None) -> bool:
    """Whether parameters say that codes stand for an array of bytes."""
    return any(qparams is plain for plain in PLAIN.values())


def plain_codes(array: Any) -> Any:
    """Return an array of bytes as codes; anything else as it is."""
    if not isinstance(array, np.ndarray) or array.itemsize != 1 or array.dtype.name not in PLAIN:
        return array
    return QTensor.from_numpy(np.ascontiguousarray(array), PLAIN[array.dtype.name])


def plain_array(codes: Any) -> Any:
    """Return codes that stand for an array as the array; anything else as it is."""
    return np.asarray(codes.int_repr()) if isinstance(codes, QTensor) and is_plain(codes.qparams) else codes


def plain_meta(meta: Any) -> Any:
    """Return what values are in a program: arrays of bytes are codes."""
    if isinstance(meta, TensorMeta):
        plain = PLAIN.get(meta.dtype)
        return meta if plain is None else TensorMeta(meta.shape, plain.dtype.name, plain)
    return tuple(plain_meta(part) for part in meta) if isinstance(meta, tuple) else meta


def constant_value(array: Any) -> Value:
    """Return a constant as a value."""
    codes = plain_codes(array)
    return Value(meta_of(codes), constant=codes)


def pairs(sizes: Any) -> list[tuple[int, int]]:
    """Return sizes, some of which may be `BatchSize`s, as the C++ steps take them."""
    return [s.pair() if isinstance(s, BatchSize) else (int(s), 0) for s in sizes]


def has_batch(value: Any) -> bool:
    """Whether there is a `BatchSize` in an attribute."""
    if isinstance(value, (tuple, list)):
        return any(has_batch(part) for part in value)
    if isinstance(value, dict):
        return any(has_batch(part) for part in value.values())
    if isinstance(value, slice):
        return has_batch((value.start, value.stop, value.step))
    return isinstance(value, BatchSize)


@dataclass(eq=False)
class Value:
    """A tensor of a program: an input, a constant or what an instruction gives."""

    meta: TensorMeta  # for the example inputs
    constant: Any = None
    producer: Instruction | None = None

    @property
    def qparams(self) -> QParams | None:
        """How it is quantized, if it is."""
        return self.meta.qparams

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.meta.shape)


@dataclass(eq=False)
class Instruction:
    """One step: `name` is a method of `_C.Program`, `attrs` its keywords."""

    name: str
    path: str
    inputs: list[Value]
    attrs: dict[str, Any]
    outputs: list[Value] = field(default_factory=list)

    @property
    def output(self) -> Value:
        """The only output."""
        (value,) = self.outputs
        return value


@dataclass
class Draft:
    """A program in the making."""

    inputs: list[tuple[str, Value]] = field(default_factory=list)
    instructions: list[Instruction] = field(default_factory=list)
    outputs: list[Value] = field(default_factory=list)

    def users(self) -> dict[Value, list[Instruction]]:
        """Return the instructions that read each value; an output of the program counts as a reader, named "output"."""
        found: dict[Value, list[Instruction]] = {}
        for instruction in self.instructions:
            for value in instruction.inputs:
                found.setdefault(value, []).append(instruction)
        for value in self.outputs:
            found.setdefault(value, []).append(Instruction("output", "", [value], {}))
        return found

    def replace(self, old: Value, new: Value) -> None:
        """Let everybody who reads one value read another."""
        for instruction in self.instructions:
            instruction.inputs = [new if v is old else v for v in instruction.inputs]
        self.outputs = [new if v is old else v for v in self.outputs]
