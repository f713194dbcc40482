"""What the hash matrix runs (scripts/hash_matrix.py): ops and networks with fixed weights and fixed inputs.

A case is one function in `CASES`: given a random generator it returns a batch and what to do with it. The outputs of
all parts of a batch, one after the other, must be the outputs of the whole. To add a case, write a function and
decorate it; then `python scripts/hash_matrix.py --record` and read what changed in data/hash_matrix.json.

Nothing here may depend on the machine: numbers come from the generator's integers, never from its floats (whose
distributions call the C library), and no parameter from a calibration in float.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import golden
import octensor as ot
from octensor import _C, nn
from octensor.nn import functional as F
from octensor.ops import quantized as q
from octensor.quantization import convert, get_default_qconfig, prepare

Batch = Any  # an array, a QTensor, or a tuple of these; the first axis is the batch
Case = Callable[[np.random.Generator], tuple[Batch, Callable[..., Any]]]
CASES: dict[str, Case] = {}
WHOLE: set[str] = set()  # cases whose result is defined over the whole batch (one dynamic range): never split


def case(make: Case) -> Case:
    CASES[make.__name__] = make
    return make


def whole(make: Case) -> Case:
    WHOLE.add(make.__name__)
    return case(make)


# --- numbers ----------------------------------------------------------------------------------------


def floats(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Multiples of 2^-10 in [-4, 4)."""
    return (rng.integers(-4096, 4096, shape) / 1024).astype(np.float32)


def codes(rng: np.random.Generator, *shape: int, dtype: Any = ot.quint8, scale: float = 0.03, zero: int = 0) -> Any:
    """Codes over a dtype's whole range."""
    values = rng.integers(dtype.qmin, dtype.qmax, shape, endpoint=True).astype(dtype.numpy)
    return _C.QTensor.from_numpy(values, _C.QParams(scale, zero, dtype))


def weight(rng: np.random.Generator, *shape: int, axis: int = 0) -> Any:
    """qint8 with a scale for every output channel."""
    values = rng.integers(-128, 127, shape, endpoint=True).astype(np.int8)
    scales = (rng.integers(8, 64, shape[axis]) / 4096).astype(np.float32)
    return _C.QTensor.from_numpy(values, _C.QParams(scales, np.zeros(len(scales), np.int32), ot.qint8, axis=axis))


def frozen(model: nn.Module, rng: np.random.Generator) -> nn.Module:
    """The same converted model with weights and parameters from the generator."""
    state: dict[str, Any] = {}
    for name, value in model.state_dict().items():
        shape = tuple(value.shape)
        if isinstance(value, ot.QTensor):
            state[name] = weight(rng, *shape)
        elif name.endswith("scale"):
            state[name] = (rng.integers(8, 64, shape) / 1024).astype(np.float32)
        elif name.endswith("zero_point"):
            state[name] = rng.integers(100, 156, shape)
        else:
            state[name] = floats(rng, *shape)
    model.load_state_dict(state)
    return model


def converted(model: nn.Module, *example: np.ndarray) -> nn.Module:
    model.eval()
    model.qconfig = get_default_qconfig("x86")
    prepared = prepare(model)
    prepared(*example)
    return convert(prepared)


# --- products ---------------------------------------------------------------------------------------


def linear_case(rng: np.random.Generator, rows: int, k: int, n: int, **x: Any) -> tuple[Batch, Callable[..., Any]]:
    packed = q.linear_prepack(weight(rng, n, k), floats(rng, n))
    return codes(rng, rows, k, **x), lambda x: q.linear(x, packed, 0.7, 120)


@case
def gemm(rng):
    return linear_case(rng, 77, 300, 83, zero=131)


@case
def gemm_signed(rng):
    return linear_case(rng, 40, 129, 70, dtype=ot.qint8, zero=-5)


@case
def gemm_few_rows(rng):
    return linear_case(rng, 3, 1031, 257, zero=7)


@case
def gemm_asymmetric(rng):
    packed = q.linear_prepack(codes(rng, 50, 65, scale=0.01, zero=99), floats(rng, 50))
    return codes(rng, 31, 65, zero=140), lambda x: q.linear_relu(x, packed, 0.15, 20)


@case
def gemm_extremes(rng):
    values = rng.choice(np.array([-128, 127], np.int8), (48, 512))
    packed = q.linear_prepack(_C.QTensor.from_numpy(values, _C.QParams(0.01, 0, ot.qint8)), None)
    x = rng.choice(np.array([0, 255], np.uint8), (25, 512))
    return _C.QTensor.from_numpy(x, _C.QParams(0.02, 0, ot.quint8)), lambda x: q.linear(x, packed, 1.9, 128)


@case
def gemm_integer(rng):
    w = rng.integers(-128, 127, (90, 33), np.int8, endpoint=True)
    return codes(rng, 37, 90).int_repr(), lambda x: ot.ops.matmul_integer(x, w, 3, 0)


@case
def linear_dynamic_rows(rng):
    packed = q.linear_prepack(weight(rng, 61, 200), floats(rng, 61))
    return floats(rng, 45, 200), lambda x: q.linear_dynamic(x, packed, per_row=True)


@whole
def linear_dynamic(rng):
    packed = q.linear_prepack(weight(rng, 61, 200), floats(rng, 61))
    return floats(rng, 45, 200), lambda x: q.linear_dynamic(x, packed)


@case
def linear_int4(rng):
    table = rng.integers(-8, 8, (70, 160))
    zeros = rng.integers(-8, 8, (70, 5))
    scales = (rng.integers(8, 64, (70, 5)) / 512).astype(np.float32)
    packed = q.linear_prepack_int4(q.Int4Weight(table, scales, 32, zeros), floats(rng, 70))
    return floats(rng, 29, 160), lambda x: q.linear_dynamic_int4(x, packed)


@case
def linear_weight_only(rng):
    packed = q.linear_prepack_weight_only(weight(rng, 70, 150), floats(rng, 70))
    return floats(rng, 29, 150), lambda x: q.linear_weight_only(x, packed)


# --- convolutions -----------------------------------------------------------------------------------


def conv_case(
    rng: np.random.Generator, x: Any, channels: int, kernel: int, *walk: Any
) -> tuple[Batch, Callable[..., Any]]:
    groups = walk[3] if len(walk) > 3 else 1
    packed = q.conv2d_prepack(weight(rng, channels, x.shape[1] // groups, kernel, kernel), floats(rng, channels), *walk)
    return x, lambda x: q.conv2d(x, packed, 0.9, 115)


@case
def conv_1x1(rng):
    return conv_case(rng, codes(rng, 5, 48, 7, 9, zero=12), 37, 1)


@case
def conv_3x3_strided(rng):
    return conv_case(rng, codes(rng, 4, 19, 11, 13, zero=12), 40, 3, 2, 1)


@case
def conv_signed_dilated(rng):
    return conv_case(rng, codes(rng, 3, 8, 13, 12, dtype=ot.qint8, zero=-20), 24, 3, 1, 2, 2)


def winograd_case(rng: np.random.Generator, algorithm: str) -> tuple[Batch, Callable[..., Any]]:
    x, run = conv_case(rng, codes(rng, 3, 32, 14, 15, zero=12), 40, 3, 1, 1)

    def preferring(x: Any) -> Any:
        _C.set_conv_algorithm(algorithm)
        try:
            return run(x)
        finally:
            _C.set_conv_algorithm("auto")

    return x, preferring


@case
def conv_winograd2(rng):
    return winograd_case(rng, "winograd2")


@case
def conv_winograd4(rng):
    return winograd_case(rng, "winograd4")


@case
def conv_direct(rng):
    return winograd_case(rng, "direct")


@case
def conv_grouped(rng):
    return conv_case(rng, codes(rng, 4, 24, 9, 9, zero=77), 48, 3, 1, 1, 1, 6)


@case
def depthwise_3x3(rng):
    return conv_case(rng, codes(rng, 4, 40, 12, 11, zero=77), 40, 3, 1, 1, 1, 40)


@case
def depthwise_5x5_strided(rng):
    return conv_case(rng, codes(rng, 4, 21, 12, 11, dtype=ot.qint8, zero=3), 21, 5, 2, 2, 1, 21)


@case
def conv1d(rng):
    packed = q.conv1d_prepack(weight(rng, 20, 12, 5), None, 1, 2)
    return codes(rng, 6, 12, 40, zero=9), lambda x: q.conv1d_relu(x, packed, 0.5, 3)


@case
def conv3d(rng):
    packed = q.conv3d_prepack(weight(rng, 18, 6, 3, 2, 3), floats(rng, 18), 1, 1)
    return codes(rng, 3, 6, 5, 6, 7, zero=200), lambda x: q.conv3d(x, packed, 0.5, 140)


@case
def conv_transposed(rng):
    packed = q.conv_transpose2d_prepack(weight(rng, 10, 16, 3, 3, axis=1), None, 2, 1, 1)
    return codes(rng, 3, 10, 7, 6, zero=50), lambda x: q.conv_transpose2d(x, packed, 0.7, 99)


# --- element by element, pools, norms ---------------------------------------------------------------


@case
def add_relu(rng):
    pair = codes(rng, 9, 9001, zero=100), codes(rng, 9, 9001, scale=0.05, zero=11)
    return pair, lambda a, b: q.add_relu(a, b, 0.06, 5)


@case
def mul(rng):
    pair = codes(rng, 9, 9001, zero=100), codes(rng, 9, 9001, scale=0.05, zero=11)
    return pair, lambda a, b: q.mul(a, b, 0.09, 60)


@case
def hardswish(rng):
    return codes(rng, 9, 9001, zero=100), lambda x: q.hardswish(x, 0.04, 30)


@case
def sigmoid(rng):
    return codes(rng, 9, 9001, zero=100), lambda x: q.sigmoid(x, 1 / 256, 0)


@case
def quantize(rng):
    return floats(rng, 9, 9001), lambda x: ot.quantize_per_tensor(x, 0.0173, 113, ot.quint8)


@case
def dequantize(rng):
    return codes(rng, 9, 9001, scale=0.0173, zero=113), lambda x: x.dequantize()


@case
def max_pool(rng):
    return codes(rng, 4, 20, 11, 13), lambda x: q.max_pool2d(x, 3, 2, 1)


@case
def avg_pool(rng):
    return codes(rng, 4, 20, 11, 13, zero=40), lambda x: F.avg_pool2d(x, 3, 2, 1)


@case
def cat(rng):
    pair = codes(rng, 7, 6001, zero=100), codes(rng, 7, 4001, scale=0.05, zero=11)
    return pair, lambda a, b: q.cat([a, b], 1, 0.06, 50)


@case
def layer_norm(rng):
    scale, shift = floats(rng, 96), floats(rng, 96)
    return codes(rng, 11, 96, zero=90), lambda x: q.layer_norm(x, [96], scale, shift, 1e-5, 0.08, 128)


@case
def group_norm(rng):
    scale, shift = floats(rng, 24), floats(rng, 24)
    return codes(rng, 5, 24, 6, 6, zero=90), lambda x: q.group_norm(x, 4, scale, shift, 1e-5, 0.08, 128)


# --- float ------------------------------------------------------------------------------------------
# Float results that are the same bits everywhere. What belongs here: float GEMM, convolution, softmax, layer norm.


@case
def float_exp(rng):
    return 24 * floats(rng, 9, 9001), lambda x: _C.exp(x)


@case
def float_tanh(rng):
    return floats(rng, 9, 9001), lambda x: _C.tanh(x)


@case
def float_sigmoid(rng):
    return floats(rng, 9, 9001), lambda x: _C.sigmoid(x)


# --- networks ---------------------------------------------------------------------------------------


@case
def digits(_):
    model = golden.load()
    return golden.held_out()[0][:48], model


@case
def lstm_static(rng):
    model = converted(nn.quantizable.LSTM(12, 20, batch_first=True), np.zeros((2, 3, 12), np.float32))
    model = frozen(model, rng)
    return codes(rng, 6, 9, 12, zero=128), lambda x: model(x)[0]


@whole
def lstm_dynamic(rng):
    cells = q.make_quantized_cell_params(weight(rng, 80, 12), weight(rng, 80, 20), floats(rng, 80), floats(rng, 80))
    state = floats(rng, 1, 6, 20), floats(rng, 1, 6, 20)
    return floats(rng, 6, 9, 12), lambda x: q.quantized_lstm(x, state, [cells], batch_first=True)[0]


@whole
def gru_dynamic(rng):
    cells = q.make_quantized_cell_params(weight(rng, 60, 12), weight(rng, 60, 20), floats(rng, 60), floats(rng, 60))
    state = floats(rng, 1, 6, 20)
    return floats(rng, 6, 9, 12), lambda x: q.quantized_gru(x, state, [cells], batch_first=True)[0]


@case
def attention(rng):
    """Its softmax is one of integers."""
    example = np.zeros((2, 5, 16), np.float32)
    model = frozen(converted(nn.quantizable.MultiheadAttention(16, 4, batch_first=True), *[example] * 3), rng)
    return codes(rng, 4, 7, 16, zero=128), lambda x: model(x, x, x)[0]


# --- float ops, whose order of operations is fixed too ------------------------------------------------------


@case
def float_linear(rng):
    w, b = floats(rng, 61, 200), floats(rng, 61)
    return floats(rng, 45, 200), lambda x: F.linear(x, w, b)


@case
def float_conv(rng):
    w, b = floats(rng, 20, 12, 3, 3), floats(rng, 20)
    return floats(rng, 6, 12, 13, 11), lambda x: F.conv2d(x, w, b, 2, 1)


@case
def float_depthwise(rng):
    w = floats(rng, 37, 1, 5, 5)
    return floats(rng, 6, 37, 9, 14), lambda x: F.conv2d(x, w, None, 1, 2, 1, 37)


@case
def float_attention(rng):
    k, v = ot.Tensor(floats(rng, 40, 33)), ot.Tensor(floats(rng, 33, 40))
    return floats(rng, 6, 21, 40), lambda x: ot.matmul(F.softmax(ot.matmul(x, k), -1), v)


@case
def float_layer_norm(rng):
    w, b = floats(rng, 103), floats(rng, 103)
    return floats(rng, 6, 17, 103), lambda x: F.gelu(F.layer_norm(x, (103,), w, b))


@case
def float_curves(rng):
    return floats(rng, 12, 301), lambda x: ot.sigmoid(x) + ot.tanh(x) + ot.exp(x) + ot.erf(x) + F.silu(x)


@case
def float_pool(rng):
    return floats(rng, 6, 19, 12, 13), lambda x: F.avg_pool2d(F.max_pool2d(x, 3, 1, 1), 2)
