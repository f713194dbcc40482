"""The rule `merge_floats`: float functions of a code, element by element, that are quantized again are a table.

Whatever lies between a dequantize and a quantize (an activation, a product with a number, all parts of GELU) gives one
code for each code; with parameters per channel, one table for each channel. The table is what those very steps give for
all 256 codes, so not a byte changes.
"""

from __future__ import annotations

import numpy as np

from .. import _C
from .._C import QParams, QTensor
from .ir import Draft, Instruction, Value

_SINGLE = ("float_unary", "float_power")
_DOUBLE = ("float_add", "float_sub", "float_mul", "float_div")
_NAMED = {
    "unary": ("abs", "sign", "floor", "ceil", "round", "reciprocal", "threshold"),
    "pair": ("maximum", "minimum", "prelu"),
}
MOST_STEPS = 64  # that one table may replace


def all_codes(qparams: QParams, shape: tuple[int, ...] = (256,)) -> QTensor:
    """Return a tensor of all 256 codes along axis 0, in the order of their bytes, alike along the others."""
    codes = np.arange(256, dtype=np.uint8).view(qparams.dtype.numpy).reshape(-1, *(1,) * (len(shape) - 1))
    return QTensor.from_numpy(np.ascontiguousarray(np.broadcast_to(codes, shape)), qparams)


def _is_elementwise(step: Instruction) -> bool:
    return step.name in (*_SINGLE, *_DOUBLE) or step.attrs.get("name") in _NAMED.get(step.name, ())


def _per_channel(value: Value, ndim: int) -> bool | None:
    """Whether a constant has a value per place of axis 1 of a tensor of so many axes; None where it has others."""
    shape = (1,) * (ndim - value.ndim) + tuple(value.meta.shape)
    if len(shape) > ndim or any(n != 1 for i, n in enumerate(shape) if i != 1):
        return None
    return ndim > 1 and shape[1] != 1


def _between(value: Value) -> tuple[Value, list[Instruction], bool] | None:
    """Return the dequantized value that all of a value comes from, the steps from there, and if by channels."""
    source: Value | None = None
    steps: list[Instruction] = []
    channels = False
    open_: list[Value] = [value]
    seen: set[Value] = set()
    while open_:
        part = open_.pop()
        if part in seen:
            continue
        seen.add(part)
        made = part.producer
        if part.constant is not None:
            by_channel = _per_channel(part, value.ndim)
            if by_channel is None:
                return None
            channels |= by_channel
        elif made is None or part.meta.shape != value.meta.shape or len(steps) > MOST_STEPS:
            return None
        elif made.name == "dequantize":
            if source not in (None, part):
                return None
            source = part
        elif _is_elementwise(made):
            steps.append(made)
            open_.extend(made.inputs)
        else:
            return None
    return None if source is None or not steps else (source, steps, channels)


def _run(
    source: Value, steps: list[Instruction], draft: Draft, result: Value, shape: tuple[int, ...]
) -> np.ndarray | QTensor:
    """Return what steps make of all codes, which are dequantized in order along axis 0 of a tensor."""
    program = _C.Program()
    assert source.producer is not None
    qparams = source.producer.inputs[0].qparams
    assert qparams is not None
    codes = all_codes(qparams, shape)
    numbers = {source: program.dequantize([program.add_input("x", codes, list(shape))], "")}
    for part in draft.instructions:
        if part in steps:
            for value in part.inputs:
                if value not in numbers:
                    numbers[value] = program.add_constant(value.constant)
            made = getattr(program, part.name)([numbers[value] for value in part.inputs], "", **part.attrs)
            numbers[part.output] = made
    program.set_outputs([numbers[result]])
    values: np.ndarray | QTensor = program.run([codes])[0]
    return values


def _shape(value: Value, channels: bool) -> tuple[int, ...]:
    """Return 256 codes, for each channel, with as many axes as a value."""
    return (256, value.meta.shape[1] if channels else 1, *(1,) * (value.ndim - 2))[: value.ndim]


def _found(value: Value) -> tuple[Value, list[Instruction], bool] | None:
    """Return what `_between` does, or a dequantized value itself, where there are 8-bit codes with one scale below."""
    made = value.producer
    if made is None or not value.ndim:
        return None
    found = (value, [], False) if made.name == "dequantize" else _between(value)
    if found is None:
        return None
    assert found[0].producer is not None
    qparams = found[0].producer.inputs[0].qparams
    return None if qparams is None or qparams.is_per_channel or qparams.dtype.itemsize != 1 else found


def tabulates(value: Value, draft: Draft, in_order: bool) -> bool:
    """Whether quantizing a value is a table of codes; with `in_order`, one whose entries can be compared: no NaN."""
    found = _found(value)
    if found is None or not in_order:
        return found is not None
    source, steps, channels = found
    return not np.isnan(np.asarray(_run(source, steps, draft, value, _shape(value, channels)))).any()


def merge_floats(draft: Draft) -> bool:
    """Make one table of what floats do to codes before they are quantized again."""
    for step in draft.instructions:
        if step.name != "quantize":
            continue
        qparams: QParams = step.attrs["qparams"]
        found = _found(step.inputs[0])
        if qparams.is_per_channel or qparams.dtype.itemsize != 1 or found is None or not found[1]:
            continue
        source, steps, channels = found
        assert source.producer is not None
        result = _run(source, [*steps, step], draft, step.output, _shape(step.output, channels))
        assert isinstance(result, QTensor)
        tables = np.ascontiguousarray(result.int_repr()).view(np.uint8).reshape(256, -1)
        if channels:
            step.name, step.attrs = "lookup_channels", {"tables": np.ascontiguousarray(tables.T), "qparams": qparams}
        else:
            step.name, step.attrs = "lookup", {"table": tables.reshape(256), "qparams": qparams}
        step.inputs = [source.producer.inputs[0]]
        return True
    return False
