"""Hostile arguments to every function of the extension: a clear ValueError or TypeError, never a crash.

Two parts: wrong uses with the words their message must hold, and a sweep that puts every kind of
nonsense into every argument of every function.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import support
from octensor import _C

QP = _C.QParams(0.5, 3, _C.quint8)
CHANNELS = _C.QParams([0.5, 0.25, 1.0], [1, 2, 3], _C.quint8, axis=1)
WIDE = _C.QParams(0.5, 0, _C.qint32)


def q(shape: tuple[int, ...], params: _C.QParams = QP) -> _C.QTensor:
    return _C.QTensor.from_numpy(np.ones(shape, params.dtype.numpy), params)


def packed_linear(n: int = 4, k: int = 3, bias: Any = None) -> _C.PackedLinear:
    return _C.PackedLinear(q((n, k), _C.QParams(0.1, 0, _C.qint8)), bias)


def packed_conv(shape: tuple[int, ...] = (4, 3, 3, 3), bias: Any = None, **options: Any) -> _C.PackedConv:
    arguments = {"stride": (1, 1), "padding": (0, 0), "dilation": (1, 1), "groups": 1} | options
    return _C.PackedConv(q(shape, _C.QParams(0.1, 0, _C.qint8)), bias, **arguments)


X = np.ones((2, 3), np.float32)
IMAGE = q((1, 3, 5, 5))
TABLE = np.zeros(256, np.uint8)

# One valid call of everything, by keyword.
VALID: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    "QParams": (_C.QParams, {"scale": 0.5, "zero_point": 3, "dtype": _C.quint8, "axis": None}),
    "QTensor.from_numpy": (_C.QTensor.from_numpy, {"array": np.ones((2, 3), np.uint8), "qparams": QP}),
    "quantize": (_C.quantize, {"input": X, "qparams": QP, "channels_last": False}),
    "dequantize": (_C.dequantize, {"input": q((2, 3))}),
    "requantize": (_C.requantize, {"input": q((2, 3)), "qparams": QP}),
    "lookup": (_C.lookup, {"input": q((2, 3)), "table": TABLE, "qparams": QP}),
    "matmul_integer": (
        _C.matmul_integer,
        {"a": np.ones((2, 3), np.uint8), "b": np.ones((3, 4), np.int8), "a_zero_point": 0, "b_zero_point": 0},
    ),
    "PackedLinear": (_C.PackedLinear, {"weight": q((4, 3)), "bias": np.ones(4, np.float32)}),
    "linear": (_C.linear, {"input": q((2, 3)), "packed": packed_linear(), "qparams": QP, "relu": False}),
    "PackedConv": (
        _C.PackedConv,
        {
            "weight": q((4, 3, 3, 3)),
            "bias": np.ones(4, np.float32),
            "stride": (1, 1),
            "padding": (0, 0),
            "dilation": (1, 1),
            "groups": 1,
        },
    ),
    "conv2d": (_C.conv, {"input": IMAGE, "packed": packed_conv(), "qparams": QP, "relu": False}),
    "add": (_C.add, {"a": q((2, 3)), "b": q((2, 3)), "qparams": QP, "relu": False}),
    "mul": (_C.mul, {"a": q((2, 3)), "b": q((2, 3)), "qparams": QP, "relu": False}),
    "max_pool": (
        _C.max_pool,
        {
            "input": IMAGE,
            "kernel_size": (2, 2),
            "stride": (1, 1),
            "padding": (0, 0),
            "dilation": (1, 1),
            "ceil_mode": False,
        },
    ),
    "avg_pool": (
        _C.avg_pool,
        {
            "input": IMAGE,
            "kernel_size": (2, 2),
            "stride": (1, 1),
            "padding": (0, 0),
            "ceil_mode": False,
            "count_include_pad": True,
            "divisor_override": None,
        },
    ),
    "adaptive_avg_pool": (_C.adaptive_avg_pool, {"input": IMAGE, "output_size": (2, 2)}),
    "cat": (_C.cat, {"tensors": [q((2, 3)), q((2, 3))], "dim": 0, "qparams": QP}),
    "set_num_threads": (_C.set_num_threads, {"n": 1}),
    "set_isa": (_C.set_isa, {"name": _C.get_isa()}),
    "permute": (lambda dims: q((2, 3)).permute(*dims), {"dims": (1, 0)}),
    "transpose": (lambda dim0, dim1: q((2, 3)).transpose(dim0, dim1), {"dim0": 0, "dim1": 1}),
    "view": (lambda shape: q((2, 3)).view(*shape), {"shape": (3, 2)}),
    "reshape": (lambda shape: q((2, 3)).reshape(*shape), {"shape": (3, 2)}),
    "flatten": (lambda start_dim, end_dim: q((2, 3)).flatten(start_dim, end_dim), {"start_dim": 0, "end_dim": -1}),
    "size": (lambda dim: q((2, 3)).size(dim), {"dim": 0}),
    "stride": (lambda dim: q((2, 3)).stride(dim), {"dim": 0}),
    "contiguous": (lambda memory_format: q((2, 3)).contiguous(memory_format), {"memory_format": None}),
}

# What a message calls an operation that is spelled differently in Python.
SPOKEN = {"PackedLinear": "linear", "PackedConv": "conv2d|conv"} | {
    op: rf"{op}[123]d" for op in ("max_pool", "avg_pool", "adaptive_avg_pool")
}


def call(op: str, **changes: Any) -> Any:
    function, arguments = VALID[op]
    return function(**(arguments | changes))


@pytest.fixture(autouse=True)
def same_backend() -> Any:
    with support.backend(_C.get_isa(), _C.get_num_threads()):
        yield


@pytest.mark.parametrize("op", VALID)
def test_the_valid_calls_are_valid(op):
    call(op)


@pytest.mark.parametrize("op", VALID)
def test_arguments_can_be_named_and_counted(op):
    function, arguments = VALID[op]
    if function.__name__ == "<lambda>":
        return
    function(*arguments.values())
    with pytest.raises(TypeError):
        function(*arguments.values(), 1, 2)
    with pytest.raises(TypeError):
        function(**arguments, no_such_argument=1)
    with pytest.raises(TypeError):
        function()


# --- wrong uses -----------------------------------------------------------------------------------------------

NAN, INF = float("nan"), float("inf")
TINY = float(np.float32(1e-40))  # denormal in float32
FLOAT64 = np.ones((2, 3))
PER_CHANNEL_ROWS = q((2, 3), CHANNELS)
PER_CHANNEL_IMAGE = q((1, 3, 5, 5), CHANNELS)
INTS = q((2, 3), WIDE)
HUGE = 2**31

WRONG: list[tuple[str, dict[str, Any], str]] = [
    # op, changed arguments, what the message must say beside the op (a regular expression)
    *[("QParams", {"scale": s}, "scale") for s in (0.0, -0.5, NAN, INF, -INF, TINY, 1e-50, 1e39, -0.0, 0)],
    *[("QParams", {"scale": [s, 1.0], "zero_point": [0, 0], "axis": 0}, "scale") for s in (0.0, -1.0, NAN, INF, TINY)],
    *[("QParams", {"zero_point": z}, "zero_point") for z in (-1, 256, 2**31, 2**63, 2**64, -(2**70), 0.5, NAN, INF)],
    ("QParams", {"zero_point": 128, "dtype": _C.qint8}, r"zero_point.*-128, 127"),
    ("QParams", {"zero_point": -129, "dtype": _C.qint8}, r"zero_point.*-128, 127"),
    ("QParams", {"zero_point": 2**31, "dtype": _C.qint32}, "zero_point"),
    ("QParams", {"scale": [0.5, 0.25]}, "scale"),
    ("QParams", {"scale": [0.5, 0.25], "zero_point": [0], "axis": 0}, "zero_point"),
    ("QParams", {"scale": [0.5], "zero_point": [0, 1], "axis": 0}, "zero_point"),
    ("QParams", {"scale": [[0.5]], "zero_point": [0], "axis": 0}, "scale"),
    ("QParams", {"scale": [0.5], "zero_point": [[0]], "axis": 0}, "zero_point"),
    ("QParams", {"scale": 0.5, "zero_point": 0, "axis": 0}, "scale|zero_point"),
    ("QParams", {"scale": [0.5], "zero_point": [0], "axis": -1}, "axis"),
    ("QParams", {"dtype": np.uint8}, "dtype"),
    ("QTensor.from_numpy", {"array": np.ones((2, 3), np.int8)}, r"array.*uint8.*int8"),
    ("QTensor.from_numpy", {"array": FLOAT64}, r"array.*uint8.*float64"),
    ("QTensor.from_numpy", {"array": np.ones((2, 3), bool)}, r"array.*uint8.*bool"),
    ("QTensor.from_numpy", {"array": np.ones((2, 4), np.uint8), "qparams": CHANNELS}, r"scale.*4 .*axis 1.*3"),
    ("QTensor.from_numpy", {"array": np.ones(3, np.uint8), "qparams": CHANNELS}, r"axis.*\(3,\).*1"),
    ("quantize", {"input": FLOAT64}, r"input.*float32.*float64"),
    ("quantize", {"input": np.ones((2, 3), np.float16)}, r"input.*float32.*float16"),
    ("quantize", {"input": np.ones((2, 3), np.int32)}, r"input.*float32.*int32"),
    ("quantize", {"input": np.ones((2, 3), ">f4")}, r"input.*float32"),
    ("quantize", {"channels_last": True}, r"channels_last.*\(2, 3\)"),
    ("quantize", {"qparams": _C.QParams([1.0], [0], _C.qint8, axis=5)}, r"axis.*\(2, 3\).*5"),
    ("quantize", {"qparams": _C.QParams([1.0], [0], _C.qint8, axis=1)}, r"scale.*3 .*axis 1"),
    ("requantize", {"qparams": _C.QParams([1.0], [0], _C.qint8, axis=1)}, r"scale.*3 .*axis 1"),
    ("lookup", {"table": np.zeros(255, np.uint8)}, "table.*256.*255"),
    ("lookup", {"table": np.zeros((16, 16), np.uint8)}, "table"),
    ("lookup", {"table": np.zeros(256, np.float32)}, "table.*float32"),
    ("lookup", {"table": np.full(256, 256)}, r"table.*\[0, 255\].*256"),
    ("lookup", {"table": np.full(256, -1)}, r"table.*\[0, 255\].*-1"),
    ("lookup", {"table": np.full(256, 2**64 - 1, np.uint64)}, "table"),
    ("lookup", {"input": INTS}, "input.*qint32"),
    ("lookup", {"input": PER_CHANNEL_ROWS}, "input.*per-channel"),
    ("lookup", {"qparams": WIDE}, "qparams.*qint32"),
    ("matmul_integer", {"a": np.ones((2, 4), np.uint8)}, r"\(2, 4\).*\(3, 4\)"),
    ("matmul_integer", {"a": np.ones(3, np.uint8)}, "a: "),
    ("matmul_integer", {"b": np.ones((1, 3, 4), np.int8)}, "b: "),
    ("matmul_integer", {"a": np.ones((2, 3), np.int16)}, "a: .*int16"),
    ("matmul_integer", {"b": np.ones((3, 4), np.float32)}, "b: .*float32"),
    ("matmul_integer", {"a_zero_point": 256}, "zero_point"),
    ("matmul_integer", {"a_zero_point": -1}, "zero_point"),
    ("matmul_integer", {"b_zero_point": 128}, "zero_point"),
    ("matmul_integer", {"b_zero_point": 2**40}, "zero_point"),
    ("matmul_integer", {"b_zero_point": 0.5}, "zero_point"),
    ("matmul_integer", {"b_zero_point": "0"}, "zero_point"),
    ("matmul_integer", {"a_zero_point": np.zeros(2, np.int32)}, "a_zero_point"),
    ("matmul_integer", {"b_zero_point": np.zeros(3, np.int32)}, "zero_point|scale"),
    ("matmul_integer", {"b_zero_point": np.full(4, 300)}, "zero_point"),
    (
        "matmul_integer",
        {"a": np.full((1, 200_000), 255, np.uint8), "b": np.full((200_000, 1), -128, np.int8)},
        "int32.*200000",
    ),
    ("PackedLinear", {"weight": q((4, 3, 1))}, r"weight.*\(4, 3, 1\)"),
    ("PackedLinear", {"weight": q((4,))}, r"weight.*\(4,\)"),
    ("PackedLinear", {"weight": q((4, 3), WIDE)}, "weight.*qint32"),
    ("PackedLinear", {"weight": q((4, 3), CHANNELS)}, "weight.*axis 1"),
    ("PackedLinear", {"bias": np.ones(3, np.float32)}, "bias.*4.*3"),
    ("PackedLinear", {"bias": np.ones((4, 1), np.float32)}, "bias"),
    ("PackedLinear", {"bias": np.ones(4)}, "bias.*float64"),
    ("PackedLinear", {"bias": [1.0] * 4}, "bias.*list"),
    *[("PackedLinear", {"bias": np.array([b, 0, 0, 0], np.float32)}, "bias") for b in (NAN, INF, -INF)],
    ("linear", {"input": q((2, 4))}, r"input.*3.*\(2, 4\)"),
    ("linear", {"input": q(())}, r"input.*\(\)"),
    ("linear", {"input": INTS}, "input.*qint32"),
    ("linear", {"input": PER_CHANNEL_ROWS}, "input.*per-channel"),
    ("linear", {"qparams": WIDE}, "qparams.*qint32"),
    ("linear", {"qparams": CHANNELS}, "qparams.*per-channel"),
    ("linear", {"packed": packed_linear(bias=np.float32([1e9, 0, 0, 0]))}, "bias.*channel 0"),
    ("linear", {"packed": packed_linear(bias=np.float32([0, 0, 3e38, 0]))}, "bias.*channel 2"),
    (
        "linear",
        {"qparams": _C.QParams(1.2e-38, 0, _C.quint8), "input": q((2, 3), _C.QParams(1e20, 0, _C.quint8))},
        "qparams",
    ),
    ("PackedConv", {"weight": q((4, 3))}, r"weight.*\(4, 3\)"),
    ("PackedConv", {"weight": q((4, 3, 3, 3), WIDE)}, "weight.*qint32"),
    ("PackedConv", {"weight": q((4, 3, 3, 3), CHANNELS)}, "weight.*axis 1"),
    ("PackedConv", {"weight": q((4, 3, 0, 3))}, "weight"),
    ("PackedConv", {"weight": q((4, 3, 3, 0))}, "weight"),
    *[("PackedConv", {"stride": s}, "stride") for s in ((0, 1), (1, 0), (-1, 1), (HUGE, 1), (2**63 - 1, 1))],
    *[("PackedConv", {"dilation": d}, "dilation") for d in ((0, 1), (1, 0), (1, -1), (2**62, 1))],
    *[("PackedConv", {"padding": p}, "padding") for p in ((-1, 0), (0, -1), (2**62, 0), (0, 2**63 - 1))],
    *[("PackedConv", {"groups": g}, "groups") for g in (0, -1, 3, 5, 2**40)],
    *[("PackedConv", {"stride": s}, "stride") for s in ((1,), (1, 1, 1), 1, (1.5, 1), ("1", 1), None)],
    ("PackedConv", {"bias": np.ones(3, np.float32)}, "bias.*4.*3"),
    ("conv2d", {"input": q((1, 4, 5, 5))}, r"input.*3.*\(1, 4, 5, 5\)"),
    ("conv2d", {"input": q((3, 5, 5))}, r"input.*\(3, 5, 5\)"),
    ("conv2d", {"input": q((1, 3, 2, 5))}, "input.*height.*3.*2"),
    ("conv2d", {"input": q((1, 3, 5, 0))}, "input.*width.*3.*0"),
    ("conv2d", {"input": q((1, 3, 5, 5), WIDE)}, "input.*qint32"),
    ("conv2d", {"input": PER_CHANNEL_IMAGE}, "input.*per-channel"),
    ("conv2d", {"qparams": WIDE}, "qparams.*qint32"),
    ("conv2d", {"packed": packed_conv((4, 3, 3, 3), dilation=(3, 1))}, "input.*height.*7.*5"),
    ("conv2d", {"packed": packed_linear()}, "packed|PackedConv"),
    *[(op, {name: INTS}, f"{name}.*qint32") for op in ("add", "mul") for name in ("a", "b")],
    *[(op, {name: PER_CHANNEL_ROWS}, f"{name}.*per-channel") for op in ("add", "mul") for name in ("a", "b")],
    *[(op, {"b": q((3, 2))}, r"\(2, 3\).*\(3, 2\)") for op in ("add", "mul")],
    *[(op, {"qparams": WIDE}, "qparams.*qint32") for op in ("add", "mul")],
    (
        "mul",
        {"qparams": _C.QParams(1.2e-38, 0, _C.quint8), "a": q((2, 3), _C.QParams(1e30, 0, _C.quint8))},
        "qparams|scale",
    ),
    *[("max_pool", {"kernel_size": k}, "kernel_size") for k in ((0, 2), (2, 0), (-1, 2))],
    *[("avg_pool", {"kernel_size": k}, "kernel_size") for k in ((0, 2), (2, 0), (-1, 2))],
    *[(op, {"stride": s}, "stride") for op in ("max_pool", "avg_pool") for s in ((0, 1), (1, -1))],
    *[(op, {"padding": p}, "padding") for op in ("max_pool", "avg_pool") for p in ((-1, 0), (2, 0), (0, 2**62))],
    *[("max_pool", {"dilation": d}, "dilation") for d in ((0, 1), (1, -1), (2**62, 1))],
    *[(op, {"kernel_size": (6, 1)}, "input.*6.*5") for op in ("max_pool", "avg_pool")],
    *[(op, {"kernel_size": (2**31, 1)}, "kernel_size|input") for op in ("max_pool", "avg_pool")],
    *[(op, {"input": q((3, 5, 5))}, r"input.*\(3, 5, 5\)") for op in ("max_pool", "avg_pool", "adaptive_avg_pool")],
    *[(op, {"input": q((1, 3, 5, 5), WIDE)}, "input.*qint32") for op in ("max_pool", "avg_pool", "adaptive_avg_pool")],
    *[(op, {"input": PER_CHANNEL_IMAGE}, "input.*per-channel") for op in ("max_pool", "avg_pool", "adaptive_avg_pool")],
    *[(op, {"input": q((1, 3, 0, 5))}, "input") for op in ("max_pool", "avg_pool", "adaptive_avg_pool")],
    ("avg_pool", {"divisor_override": 0}, "divisor_override"),
    *[("adaptive_avg_pool", {"output_size": s}, "output_size") for s in ((0, 1), (1, -1), (2**31, 1), (2**62, 1))],
    ("cat", {"tensors": []}, "tensors.*none"),
    ("cat", {"dim": 2}, r"dim.*\[-2, 1\].*2"),
    ("cat", {"dim": -3}, r"dim.*\[-2, 1\].*-3"),
    ("cat", {"tensors": [q(()), q(())]}, "dim"),
    ("cat", {"tensors": [q((2, 3)), q((2, 4))]}, r"tensors.*\(2, 3\).*\(2, 4\)"),
    ("cat", {"tensors": [q((2, 3)), q((2, 3, 1))]}, r"tensors.*\(2, 3\).*\(2, 3, 1\)"),
    ("cat", {"tensors": [q((2, 3)), INTS]}, "tensors.*qint32"),
    ("cat", {"tensors": [q((2, 3)), PER_CHANNEL_ROWS]}, "tensors.*per-channel"),
    ("cat", {"tensors": [q((2, 3)), np.ones((2, 3), np.uint8)]}, "tensors"),
    ("cat", {"qparams": WIDE}, "qparams.*qint32"),
    *[("set_num_threads", {"n": n}, "n") for n in (0, -1, 1025, 2**31, 2**70, 1.5, "2", None)],
    ("set_isa", {"name": "avx9000"}, r"name.*scalar.*avx9000"),
    ("set_isa", {"name": ""}, "name"),
    ("permute", {"dims": (0,)}, "dims.*2.*1"),
    ("permute", {"dims": (0, 0)}, "dims.*0"),
    ("permute", {"dims": (0, 2)}, "dims.*2"),
    ("permute", {"dims": (0, 2**32)}, "dims"),
    ("transpose", {"dim0": 2}, "dim0.*2"),
    ("transpose", {"dim1": -3}, "dim1.*-3"),
    ("transpose", {"dim1": 2**32}, "dim1"),
    *[
        (op, {"shape": s}, "shape")
        for op in ("view", "reshape")
        for s in ((4, 2), (-1, -1), (-2, 3), (7, -1), (0, -1), ())
    ],
    *[(op, {"shape": (2**32, 2**32, 6)}, "shape") for op in ("view", "reshape")],
    *[(op, {"shape": (2**63 - 1, 2)}, "shape") for op in ("view", "reshape")],
    *[(op, {"shape": (2**64, 2)}, "shape") for op in ("view", "reshape")],
    ("flatten", {"start_dim": 1, "end_dim": 0}, "end_dim"),
    ("flatten", {"start_dim": 2}, "start_dim"),
    ("flatten", {"end_dim": -3}, "end_dim"),
    ("size", {"dim": 2}, "dim"),
    ("stride", {"dim": -3}, "dim"),
    ("contiguous", {"memory_format": "sideways"}, "memory_format.*sideways"),
]


def label(case: tuple[str, dict[str, Any], str]) -> str:
    op, changes, _ = case
    return f"{op}-" + "-".join(
        f"{name}={re.sub(r'[^ -~]|  +', ' ', str(value))[:30]}" for name, value in changes.items()
    )


@pytest.mark.parametrize("case", WRONG, ids=label)
def test_wrong_uses_say_what_is_wrong(case):
    op, changes, pattern = case
    with pytest.raises((ValueError, TypeError)) as caught:
        call(op, **changes)
    message = str(caught.value)
    spoken = SPOKEN.get(op, op)
    assert re.search(rf"\b({op}|{spoken}|QTensor|QParams)\b", message), message
    assert re.search(pattern, message, re.DOTALL), message


def test_k_beyond_int32_is_refused():
    """The proof is about the weights at hand: with small ones the same K is fine."""
    k = 140_000
    x = q((1, k), _C.QParams(1.0, 0, _C.quint8))
    for value, fits in ((127, False), (1, True)):
        w = _C.QTensor.from_numpy(np.full((1, k), value, np.int8), _C.QParams(1.0, 0, _C.qint8))
        packed = _C.PackedLinear(w, None)
        if fits:
            _C.linear(x, packed, QP)
        else:
            with pytest.raises(ValueError, match=r"linear: weight: .*int32.*140000"):
                _C.linear(x, packed, QP)


def test_index_errors_are_index_errors():
    x = q((2, 3))
    for key in (2, -3, (0, 3), (0, 0, 0), (..., 0, 0, 0), 2**70):
        with pytest.raises(IndexError, match="QTensor: index"):
            x[key]
    for key in (0.5, "a", True, {}, (0, None, "x"), slice("a", None)):
        with pytest.raises(TypeError):
            x[key]
    with pytest.raises(ValueError, match="zero"):
        x[::0]


# --- the sweep ------------------------------------------------------------------------------------------------


class Strange:
    """Pretends to be many things and raises when asked."""

    def __len__(self) -> int:
        raise RuntimeError("no length")

    def __array__(self, *_: Any, **__: Any) -> np.ndarray:
        raise RuntimeError("no array")


# A terabyte that needs one byte: what would copy it fails with MemoryError.
ENDLESS = np.broadcast_to(np.uint8(1), (2**40, 3))
# What Python or NumPy says of an argument that is no sequence, before our code sees it.
REFUSED_BY_PYTHON = ["no array", "<lambda>", "iterable", "iteration over a 0-d array", "unsized object", "len: "]

NONSENSE: list[Any] = [
    None, True, False, 0, 1, -1, 7, 255, 256, HUGE, 2**32, 2**63 - 1, 2**63, -(2**63) - 1, 2**200, 0.0, 0.5,
    -1.5, 1e300, NAN, INF, 1j, "", "x", "qint8", b"", b"abc", bytearray(3), (), (0,), (0, 0), (-1, -1), (1, 1),
    (2, 2), (1, 2, 3), (HUGE, HUGE), (2**63 - 1, 2**63 - 1), (None, None), ("a", "b"), (0.5, 0.5), [], [0],
    [1, 1], [None], [[1]], {}, {1: 2}, set(), range(3), object(), object, len, Strange(), ..., slice(None),
    np.float32(0.5), np.int64(2), np.uint64(2**64 - 1), np.array(3), np.array(0.5, np.float32),
    np.ones(0, np.float32), np.ones(0, np.uint8), np.ones(3, np.float32), np.ones(4, np.int32),
    np.ones((2, 3), np.uint8), np.ones((2, 3), np.float32), np.ones((0, 3), np.float32),
    np.ones((1, 3, 5, 5), np.float32), np.ones((1,) * 32, np.float32), np.array(["a"]), np.array([None]),
    np.array([1 + 2j]), np.ones((2, 3), ">f4"), np.zeros(3, "M8[s]"), np.broadcast_to(np.float32(1), (2, 3)),
    ENDLESS, np.ma.masked, memoryview(b"abc"), _C.qint8, _C.qint32, _C.qscheme.per_tensor_affine, QP, WIDE,
    CHANNELS, _C.QParams([], [], _C.qint8, axis=0), q(()), q((0,)), q((0, 3)), q((3,)), q((2, 3)),
    q((1, 3, 5, 5)), q((0, 3, 5, 5)), q((1, 0, 5, 5)), q((1, 3, 0, 0)), q((1,) * 20), INTS, PER_CHANNEL_ROWS,
    PER_CHANNEL_IMAGE, q((2, 3))[:, ::-1], q((1, 3))[[slice(None)][0]].expand(2, 3), [q((2, 3))], [q(())],
    [q((2, 3)), None], (q((2, 3)), q((0, 3))), packed_linear(), packed_conv(), _C.QTensor, _C.QParams,
]  # fmt: skip


@pytest.mark.filterwarnings("ignore:Warning. converting a masked element")
@pytest.mark.parametrize(("op", "argument"), [(op, name) for op, (_, names) in VALID.items() for name in names])
def test_nonsense_never_crashes(op, argument):
    """Whatever one argument is: a result, or a ValueError or TypeError that names the op or the argument."""
    spoken, wrong = SPOKEN.get(op, op), []
    unpacked = VALID[op][0].__name__ == "<lambda>"
    for value in NONSENSE:
        if value is ENDLESS and "ASAN_OPTIONS" in os.environ:
            continue  # the address sanitizer ends the process instead of throwing bad_alloc
        if unpacked and (value is ENDLESS or isinstance(value, Strange | _C.QTensor)):
            continue  # the test's own lambda would look into it
        try:
            result = call(op, **{argument: value})
        except (ValueError, TypeError) as error:
            text = str(error)
            said = re.search(rf"\b({op}|{spoken}|QTensor|QParams|{argument})\b", text)
            if not said and not any(words in text for words in REFUSED_BY_PYTHON):
                wrong.append(f"{value!r}: {text}")
        except Exception as error:
            if not isinstance(value, Strange) and not (isinstance(error, MemoryError) and value is ENDLESS):
                wrong.append(f"{value!r}: {error!r}")
        else:
            if isinstance(result, _C.QTensor) and result.numel() < 10_000:
                result.int_repr().tobytes()
    assert wrong == []


@pytest.mark.parametrize("cls", [_C.QTensor, _C.QParams, _C.PackedLinear, _C.PackedConv, _C.dtype])
def test_subclasses_that_skip_the_constructor_are_refused(cls):
    class Hollow(cls):
        def __init__(self) -> None:
            pass

    with pytest.raises(TypeError, match=r"__init__|QTensor: expected to be made by"):
        Hollow()


def test_a_qtensor_is_not_made_from_nothing():
    with pytest.raises(TypeError, match="QTensor: expected to be made by"):
        _C.QTensor.__new__(_C.QTensor)
