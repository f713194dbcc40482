"""Python values as JSON and back: what arguments and attributes of recorded ops are made of.

Plain JSON stands for itself; everything else is an object with one key that names its kind:

=============================== ================================================
JSON                            value
=============================== ================================================
``{"tuple": [...]}``            a tuple
``{"named": ["Axis", [...]]}``   a named tuple: Axis, ValuesIndices
``{"dict": [[key, value] ...]}`` a dict
``{"float": "inf"}``            a float that JSON lacks: inf, -inf, nan
``{"slice": [a, b, c]}``        a slice
``{"ellipsis": true}``          ``...``
``{"dtype": "int64"}``          a NumPy dtype
``{"qdtype": "quint8"}``        an octensor dtype
``{"qparams": {...}}``          QParams: scale, zero_point, dtype, axis, float_zero_point
``{"tensor": "name"}``          an array of the file
``{"node": 7}``                 the result of a node before; so ``{"input": 0}``, ``{"constant": "path"}``
``{"batch": [2, 3]}``           2 + 3 n, n the first input's size along axis 0
``{"function": "argmax"}``      NumPy's argmax or argmin
=============================== ================================================

Numbers survive exactly: Python writes floats with as many digits as they need.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from .._C import QParams, qint8, qint32, quint4x2, quint8
from .._C import dtype as qdtype
from ..ops.reduce import ValuesIndices
from ..ops.resample import Axis

QDTYPES = {"qint8": qint8, "quint8": quint8, "qint32": qint32, "quint4x2": quint4x2}
NUMPY_DTYPES = frozenset(
    ("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16", "float32", "float64")
)
NAMED: dict[str, Any] = {kind.__name__: kind for kind in (Axis, ValuesIndices)}
MOST_DEPTH = 32


def name_of(dtype: Any) -> str:
    """Return the name of an octensor dtype."""
    return str(dtype).rpartition(".")[2]


def encode(value: Any, special: Callable[[Any], Any]) -> Any:
    """Return the JSON form of a value.

    Parameters
    ----------
    value
        Anything of the table above.
    special : callable
        What to do with nodes and arrays: returns their JSON form, or None for what it does not know.

    Raises
    ------
    TypeError
        If there is no form for it.
    """
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {"float": repr(value)}
    if isinstance(value, tuple) and type(value).__name__ in NAMED:
        return {"named": [type(value).__name__, [encode(v, special) for v in value]]}
    if isinstance(value, tuple):
        return {"tuple": [encode(v, special) for v in value]}
    if isinstance(value, list):
        return [encode(v, special) for v in value]
    if isinstance(value, dict):
        return {"dict": [[encode(k, special), encode(v, special)] for k, v in value.items()]}
    if isinstance(value, slice):
        return {"slice": [encode(v, special) for v in (value.start, value.stop, value.step)]}
    if value is Ellipsis:
        return {"ellipsis": True}
    if isinstance(value, QParams):
        return {"qparams": encode_qparams(value)}
    if isinstance(value, qdtype):
        return {"qdtype": name_of(value)}
    if isinstance(value, np.generic):
        return encode(value.item(), special)
    if isinstance(value, np.dtype) or (isinstance(value, type) and issubclass(value, np.generic)):
        return {"dtype": np.dtype(value).name}
    form = special(value)
    if form is None:
        raise TypeError(f"expected numbers, strings, tensors and containers of them, got {type(value).__name__}")
    return form


def decode(form: Any, special: Callable[[str, Any], Any], count: Callable[[], None], depth: int = 0) -> Any:
    """Return the value of a JSON form.

    Parameters
    ----------
    form
        What JSON gave.
    special : callable
        ``special(kind, content)`` gives arrays, results of nodes and the like.
    count : callable
        Called for every value; may raise.

    Raises
    ------
    ValueError
        If the form is none of the table above.
    """

    def inner(part: Any) -> Any:
        return decode(part, special, count, depth + 1)

    count()
    if depth > MOST_DEPTH:
        raise ValueError(f"expected containers at most {MOST_DEPTH} deep")
    if form is None or isinstance(form, (bool, int, float, str)):
        if type(form) is int and abs(form) >= 1 << 64:
            raise ValueError(f"expected integers of 64 bits, got one of {form.bit_length()}")
        return form
    if isinstance(form, list):
        return [inner(item) for item in form]
    if not isinstance(form, dict) or len(form) != 1:
        raise ValueError(f"expected a value or an object with one key, got {form!r:.80}")
    ((kind, content),) = form.items()
    items = content if isinstance(content, list) else None
    if kind == "tuple" and items is not None:
        return tuple(inner(item) for item in items)
    if kind == "named" and items is not None and len(items) == 2 and isinstance(items[1], list):
        named = NAMED.get(items[0]) if isinstance(items[0], str) else None
        if named is not None and len(items[1]) == len(named._fields):
            return named(*(inner(item) for item in items[1]))
    if kind == "dict" and items is not None and all(isinstance(item, list) and len(item) == 2 for item in items):
        pairs = [(inner(k), inner(v)) for k, v in items]
        if all(isinstance(k, (str, int, float)) for k, _ in pairs):
            return dict(pairs)
    if kind == "float" and content in ("inf", "-inf", "nan"):
        return float(content)
    if kind == "slice" and items is not None and len(items) == 3:
        return slice(*(inner(item) for item in items))
    if kind == "ellipsis" and content is True:
        return Ellipsis
    if kind == "qparams" and isinstance(content, dict):
        return decode_qparams(content)
    if kind == "qdtype" and isinstance(content, str) and content in QDTYPES:
        return QDTYPES[content]
    if kind == "dtype" and isinstance(content, str) and content in NUMPY_DTYPES:
        return np.dtype(content)
    if kind in ("tensor", "input", "constant", "node", "batch", "function"):
        return special(kind, content)
    raise ValueError(f"expected a value, got {form!r:.80}")


def encode_qparams(qparams: QParams) -> dict[str, Any]:
    """Return the JSON form of quantization parameters."""
    per_channel = qparams.is_per_channel
    return {
        "scale": np.asarray(qparams.scale).astype(np.float64).tolist(),
        "zero_point": np.asarray(qparams.zero_point).tolist(),
        "dtype": name_of(qparams.dtype),
        "axis": qparams.axis if per_channel else None,
        "float_zero_point": qparams.has_float_zero_point,
    }


def decode_qparams(form: dict[str, Any]) -> QParams:
    """Return quantization parameters; they are checked as those of a user are.

    Raises
    ------
    ValueError
        If anything is missing, is of a wrong type, or cannot be a parameter.
    """
    if set(form) != {"scale", "zero_point", "dtype", "axis", "float_zero_point"}:
        raise ValueError(
            f"qparams: expected scale, zero_point, dtype, axis, float_zero_point, got {sorted(form)!r:.80}"
        )
    scale, zero_point, dtype, axis, float_zero_point = (
        form[k] for k in ("scale", "zero_point", "dtype", "axis", "float_zero_point")
    )
    if (
        not isinstance(dtype, str)
        or dtype not in QDTYPES
        or type(float_zero_point) is not bool
        or not (axis is None or type(axis) is int)
    ):
        raise ValueError(
            f"qparams: expected a dtype of {', '.join(QDTYPES)} and an axis, got {dtype!r:.40}, {axis!r:.40}"
        )
    numbers = (int, float) if float_zero_point else (int,)
    for name, value, types in (("scale", scale, (int, float)), ("zero_point", zero_point, numbers)):
        values = value if axis is not None and isinstance(value, list) else [value]
        if not all(type(v) in types and (abs(v) < 1 << 62 if type(v) is int else math.isfinite(v)) for v in values):
            raise ValueError(f"qparams: {name}: expected numbers, one or as many as channels, got {value!r:.80}")
    try:
        if axis is None:
            return QParams(scale, zero_point, QDTYPES[dtype])
        kind = np.float64 if float_zero_point else np.int64
        return QParams(
            np.asarray(scale, np.float64), np.asarray(zero_point, kind), QDTYPES[dtype], axis, float_zero_point
        )
    except (TypeError, OverflowError) as error:
        raise ValueError(f"qparams: {error}") from None
