"""What is known of values before the model runs: element type and number of axes.

It decides whether a node can be one of octensor's own functions, which prepare and convert know, or has to be the
general form that looks at its arguments each time. Unknown is always allowed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from .operators.arithmetic import DTYPES


class Known(NamedTuple):
    """Element type (None: unknown) and number of axes (None: unknown) of a value."""

    dtype: str | None = None
    rank: int | None = None


Rule = Callable[[Sequence[Known], Mapping[str, Any]], Known]


def _broadcast(inputs: Sequence[Known], attributes: Mapping[str, Any]) -> Known:
    ranks = [k.rank for k in inputs]
    dtypes = {k.dtype for k in inputs}
    dtype = inputs[0].dtype if len(dtypes) == 1 else None
    return Known(dtype, max(r for r in ranks if r is not None) if None not in ranks and ranks else None)


def _same(inputs: Sequence[Known], attributes: Mapping[str, Any]) -> Known:
    return inputs[0]


def _typed(dtype: str, rank: int | None = None) -> Rule:
    def rule(inputs: Sequence[Known], attributes: Mapping[str, Any]) -> Known:
        return Known(dtype, rank if rank is not None else inputs[0].rank if inputs else None)

    return rule


def _any_rank(inputs: Sequence[Known], attributes: Mapping[str, Any]) -> Known:
    return Known(inputs[0].dtype)


def _matmul(inputs: Sequence[Known], attributes: Mapping[str, Any]) -> Known:
    a, b = inputs[:2]
    return Known(a.dtype, max(a.rank, b.rank) if a.rank and b.rank and min(a.rank, b.rank) > 1 else None)


def _cast(inputs: Sequence[Known], attributes: Mapping[str, Any]) -> Known:
    return Known(DTYPES.get(attributes.get("to", 0)), inputs[0].rank)


def _reduced(inputs: Sequence[Known], attributes: Mapping[str, Any]) -> Known:
    return inputs[0] if attributes.get("keepdims", 1) else Known(inputs[0].dtype)


def _dequantized(inputs: Sequence[Known], attributes: Mapping[str, Any]) -> Known:
    return Known("float32", inputs[0].rank)


_NUMBERS = {"Reshape": "shape", "Squeeze": "axes", "Unsqueeze": "axes", "Expand": "shape"}  # once attributes
_BOOL = _typed("bool")
_RULES: dict[str, Rule] = {
    **dict.fromkeys(("Add", "Sub", "Mul", "Div", "Max", "Min", "Sum", "Mean", "PRelu"), _broadcast),
    **dict.fromkeys(("Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual", "And", "Or", "Xor"), _BOOL),
    **dict.fromkeys(("Not", "IsNaN", "IsInf"), _BOOL),
    **dict.fromkeys(("Shape", "NonZero"), _typed("int64")),
    "Size": _typed("int64", 0),
    **dict.fromkeys(("ArgMax", "ArgMin"), _typed("int64")),
    **dict.fromkeys(("Reshape", "Squeeze", "Unsqueeze", "Expand", "Gather", "GatherND"), _any_rank),
    "Flatten": lambda inputs, attributes: Known(inputs[0].dtype, 2),
    "Gemm": lambda inputs, attributes: Known(inputs[0].dtype, 2),
    "MatMul": _matmul,
    "Cast": _cast,
    "Where": lambda inputs, attributes: _broadcast(inputs[1:], attributes),
    "Concat": _same,
    "QuantizeLinear": lambda inputs, attributes: Known(None, inputs[0].rank),
    "DequantizeLinear": _dequantized,
    **{
        f"Reduce{kind}": _reduced
        for kind in ("Sum", "Mean", "Max", "Min", "Prod", "L1", "L2", "SumSquare", "LogSum", "LogSumExp")
    },
    **dict.fromkeys(("ConstantOfShape", "Range", "OneHot", "If", "LSTM", "GRU", "RNN"), lambda i, a: Known()),
}
# Operators whose result has the type and the axes of their first input.
_LIKE_FIRST = frozenset(
    (
        "Conv", "ConvTranspose", "MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool",
        "BatchNormalization", "InstanceNormalization", "LayerNormalization", "GroupNormalization", "LRN",
        "LpNormalization", "Dropout", "Relu", "Sigmoid", "Tanh", "Neg", "Abs", "Exp", "Log", "Sqrt", "Erf",
        "Sin", "Cos", "Tan", "Floor", "Ceil", "Round", "Sign", "Reciprocal", "HardSwish", "Mish", "Softplus",
        "Softsign", "Identity", "LeakyRelu", "Elu", "Selu", "Celu", "HardSigmoid", "ThresholdedRelu", "Gelu",
        "Clip", "Pow", "Mod", "Softmax", "LogSoftmax", "TopK", "CumSum", "Transpose", "Split", "Slice",
        "GatherElements", "Tile", "Pad", "ScatterElements", "ScatterND", "DepthToSpace", "SpaceToDepth",
        "Resize", "Upsample", "Trilu",
    )
)  # fmt: skip


def _moved(name: str, x: Known, numbers: Any) -> Known:
    """Return what is known of a result whose axes follow from these sizes or axes."""
    count = len(np.reshape(numbers, -1))
    if name == "Reshape":
        return Known(x.dtype, count)
    if x.rank is None:
        return x
    rank = {"Expand": max(x.rank, count), "Unsqueeze": x.rank + count, "Squeeze": x.rank - count}[name]
    return Known(x.dtype, rank)


def infer(name: str, inputs: Sequence[Known], attributes: Mapping[str, Any], second: Any = None) -> Known:
    """Return what is known of an operator's first result; `second` is its second input where that is a constant."""
    if not inputs:
        return Known()
    if name in _NUMBERS:
        numbers = attributes.get(_NUMBERS[name], second)
        if numbers is not None:
            return _moved(name, inputs[0], numbers)
    if name in _LIKE_FIRST:
        return inputs[0]
    rule = _RULES.get(name)
    return Known() if rule is None else rule(inputs, attributes)
