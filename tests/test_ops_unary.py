"""Quantized functions of one tensor equal the function applied to what every code stands for."""

from __future__ import annotations

import math

import numpy as np
import pytest

import octensor as ot
import oracle
import oracle_ops
from octensor import _C
from octensor.nn.quantized import functional as qF
from octensor.ops import quantized as oq

F = ot.nn.functional
DTYPES = pytest.mark.parametrize("dtype", [_C.quint8, _C.qint8], ids=str)


def every_code(dtype: _C.dtype) -> _C.QTensor:
    codes = np.arange(256, dtype=np.uint8).view(dtype.numpy)
    return _C.QTensor.from_numpy(codes.copy(), _C.QParams(0.063, dtype.qmin + 119, dtype))


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def check(got: ot.QTensor, q: ot.QTensor, function, scale: float, zero_point: int) -> None:
    assert (got.q_scale(), got.q_zero_point(), got.dtype) == (np.float32(scale), zero_point, q.dtype)
    want = oracle_ops.unary(oracle_ops.of(q), function, scale, zero_point, q.dtype.name)
    np.testing.assert_array_equal(got.int_repr(), want)


@DTYPES
@pytest.mark.parametrize(
    ("calls", "function"),
    [
        pytest.param([ot.relu, lambda q: q.relu()], lambda x: max(x, 0.0), id="relu", marks=pytest.mark.rows(58)),
        pytest.param([F.relu6, oq.relu6], lambda x: min(max(x, 0.0), 6.0), id="relu6", marks=pytest.mark.rows(59, 91)),
        pytest.param(
            [lambda q: F.hardtanh(q, -1.5, 2.0), lambda q: qF.hardtanh(q, -1.5, 2.0)],
            lambda x: min(max(x, -1.5), 2.0),
            id="hardtanh",
            marks=pytest.mark.rows(60, 122),
        ),
        pytest.param(
            [lambda q: ot.clamp(q, -1.1, 2.3), lambda q: oq.clamp(q, -1.1, 2.3), lambda q: qF.clamp(q, -1.1, 2.3)],
            lambda x: min(max(x, -1.1), 2.3),
            id="clamp",
            marks=pytest.mark.rows(61, 92, 122),
        ),
        pytest.param(
            [
                lambda q: F.threshold(q, 0.9, -2.0),
                lambda q: oq.threshold(q, 0.9, -2.0),
                lambda q: qF.threshold(q, 0.9, -2.0),
            ],
            lambda x: x if x > 0.9 else -2.0,
            id="threshold",
            marks=pytest.mark.rows(62, 93, 122),
        ),
        pytest.param(
            [lambda q: F.leaky_relu(q, 0.2), lambda q: qF.leaky_relu(q, 0.2)],
            lambda x: x if x > 0 else x * 0.2,
            id="leaky_relu",
            marks=pytest.mark.rows(63, 121),
        ),
    ],
)
def test_same_parameters(calls, function, dtype):
    q = every_code(dtype)
    for call in calls:
        check(call(q), q, function, q.q_scale(), q.q_zero_point())


@DTYPES
@pytest.mark.parametrize(
    ("calls", "function"),
    [
        pytest.param([ot.sigmoid, F.sigmoid], sigmoid, id="sigmoid", marks=pytest.mark.rows(64)),
        pytest.param([ot.tanh], math.tanh, id="tanh", marks=pytest.mark.rows(65)),
        pytest.param(
            [F.hardsigmoid, qF.hardsigmoid],
            lambda x: min(max(x + 3, 0.0), 6.0) / 6,
            id="hardsigmoid",
            marks=pytest.mark.rows(66, 123),
        ),
    ],
)
def test_fixed_parameters(calls, function, dtype):
    q = every_code(dtype)
    fixed = (2 / 256, dtype.qmin + 128) if function is math.tanh else (1 / 256, dtype.qmin)
    for call in calls:
        check(call(q), q, function, *fixed)


def elu(alpha: float, scale: float = 1.0, rate: float = 1.0):
    return lambda x: scale * x if x > 0 else scale * alpha * math.expm1(rate * x)


@DTYPES
@pytest.mark.parametrize(
    ("calls", "function"),
    [
        pytest.param(
            [lambda q, s, z: oq.celu(q, s, z, 1.3), lambda q, s, z: qF.celu(q, s, z, 1.3)],
            elu(1.3, rate=1 / 1.3),
            id="celu",
            marks=pytest.mark.rows(86, 120),
        ),
        pytest.param(
            [lambda q, s, z: oq.elu(q, s, z, 1.3, 1.1, 0.7)], elu(1.3, 1.1, 0.7), id="elu", marks=pytest.mark.rows(87)
        ),
        pytest.param([lambda q, s, z: qF.elu(q, s, z, 1.3)], elu(1.3), id="qF.elu", marks=pytest.mark.rows(120)),
        pytest.param(
            [oq.hardswish, qF.hardswish],
            lambda x: x * min(max(x + 3, 0.0), 6.0) / 6,
            id="hardswish",
            marks=pytest.mark.rows(88, 120),
        ),
        pytest.param(
            [lambda q, s, z: oq.leaky_relu(q, 0.2, False, s, z), lambda q, s, z: qF.leaky_relu(q, 0.2, False, s, z)],
            lambda x: x if x > 0 else x * 0.2,
            id="leaky_relu",
            marks=pytest.mark.rows(89, 121),
        ),
        pytest.param([oq.sigmoid], sigmoid, id="sigmoid", marks=pytest.mark.rows(90)),
        pytest.param([oq.tanh], math.tanh, id="tanh"),
        pytest.param(
            [lambda q, s, z: F.silu(q, qparams=_C.QParams(s, z, q.dtype))], lambda x: x * sigmoid(x), id="silu"
        ),
        pytest.param(
            [lambda q, s, z: F.gelu(q, qparams=_C.QParams(s, z, q.dtype))],
            lambda x: x * 0.5 * (1 + math.erf(x / math.sqrt(2))),
            id="gelu",
        ),
    ],
)
def test_given_parameters(calls, function, dtype):
    q = every_code(dtype)
    scale, zero_point = 0.041, dtype.qmin + 60
    for call in calls:
        check(call(q, scale, zero_point), q, function, scale, zero_point)


@pytest.mark.rows(58, 60, 63)
def test_in_place_forms_write_the_codes_of_every_view():
    for name, args in (("relu_", ()), ("hardtanh_", (-1.0, 1.0)), ("leaky_relu_", (0.3,)), ("clamp_", (-1.0, 2.0))):
        q = every_code(_C.quint8)
        view, want = q[10:200], getattr(F, name[:-1])(q, *args)
        assert getattr(q, name)(*args) is q
        assert q.equal(want)
        assert view.equal(want[10:200])


@pytest.mark.rows(121)
def test_functional_leaky_relu_in_place():
    q = every_code(_C.qint8)
    want = F.leaky_relu(q, 0.3)
    assert qF.leaky_relu(q, 0.3, inplace=True) is q
    assert q.equal(want)
    with pytest.raises(ValueError, match="inplace"):
        qF.leaky_relu(q, 0.3, inplace=True, scale=0.1, zero_point=0)


@pytest.mark.rows(89)
def test_leaky_relu_with_given_parameters_is_not_in_place():
    with pytest.raises(ValueError, match="inplace"):
        oq.leaky_relu(every_code(_C.quint8), 0.1, True, 0.1, 0)


@pytest.mark.rows(122, 123)
def test_quantized_functional_refuses_floats():
    x = ot.ones(3)
    for call in (
        lambda: qF.hardtanh(x),
        lambda: qF.threshold(x, 0, 0),
        lambda: qF.clamp(x, 0, 1),
        lambda: qF.hardsigmoid(x),
        lambda: qF.celu(x, 0.1, 0),
        lambda: qF.leaky_relu(x),
    ):
        with pytest.raises(ValueError, match="expected a QTensor"):
            call()


def test_a_result_with_a_range_of_its_own_needs_parameters():
    with pytest.raises(TypeError, match="elu: the scale and zero point of the result are not known"):
        F.elu(every_code(_C.quint8))


# --- norms --------------------------------------------------------------------------------------------


@DTYPES
@pytest.mark.rows(82)
@pytest.mark.parametrize("shape", [(3, 4), (2, 4, 5), (2, 4, 3, 3), (1, 4, 2, 3, 2)])
@pytest.mark.parametrize("affine", [True, False])
def test_batch_norm(shape, affine, dtype):
    rng = np.random.default_rng(len(shape))
    q = oracle_ops.sample(rng, shape, dtype)
    mean, var = rng.standard_normal(4).astype(np.float32), rng.uniform(0.5, 2, 4).astype(np.float32)
    weight, bias = (rng.standard_normal(4).astype(np.float32) if affine else None for _ in range(2))
    out = oracle.Q(np.empty(0), np.float32(0.05), dtype.qmin + 100, dtype.name)
    a = 1 / np.sqrt(var.astype(np.float64) + 1e-5) * (1 if weight is None else weight)
    b = -mean.astype(np.float64) * a + (0 if bias is None else bias)
    along = (-1, *(1,) * (len(shape) - 2))
    y = oracle.dequantize(oracle_ops.of(q)) * a.astype(np.float32).reshape(along) + b.astype(np.float32).reshape(along)
    want = oracle.quantize(y, out.scale, out.zero_point, dtype.name)
    args = (q, weight, bias, mean, var, 1e-5, 0.05, dtype.qmin + 100)
    names = ["batch_norm", f"batch_norm{max(1, len(shape) - 2)}d"]
    for name in names:
        np.testing.assert_array_equal(getattr(oq, name)(*args).int_repr(), want)
        limited = np.maximum(want, dtype.qmin + 100)
        np.testing.assert_array_equal(getattr(oq, f"{name}_relu")(*args).int_repr(), limited)


@DTYPES
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize(
    "kind",
    [
        pytest.param("layer", marks=pytest.mark.rows(83)),
        pytest.param("group", marks=pytest.mark.rows(84)),
        pytest.param("instance", marks=pytest.mark.rows(85)),
    ],
)
def test_row_norms(kind, affine, dtype):
    rng = np.random.default_rng(5)
    shape = (2, 4, 3, 5)
    q = oracle_ops.sample(rng, shape, dtype)
    size = 5 if kind == "layer" else 4
    weight, bias = (rng.standard_normal(size).astype(np.float32) if affine else None for _ in range(2))
    ends = (1e-5, 0.03, dtype.qmin + 110)
    if kind == "layer":
        got, rows = oq.layer_norm(q, [5], weight, bias, *ends), 24
    elif kind == "group":
        got, rows = oq.group_norm(q, 2, weight, bias, *ends), 4
    else:
        got, rows = oq.instance_norm(q, weight, bias, *ends), 8
    y = oracle_ops.row_norm(oracle_ops.of(q), rows, 1e-5, weight, bias, kind != "layer")
    np.testing.assert_array_equal(got.int_repr(), oracle.quantize(y, ends[1], ends[2], dtype.name))
    x = q.dequantize()
    functions = {
        "layer": lambda: F.layer_norm(x, 5, weight, bias),
        "group": lambda: F.group_norm(x, 2, weight, bias),
        "instance": lambda: F.instance_norm(x, None, None, weight, bias),
    }
    np.testing.assert_allclose(functions[kind]().numpy(), y, atol=1e-4)


@pytest.mark.rows(83)
def test_a_constant_row_normalises_to_the_bias():
    q = _C.QTensor.from_numpy(np.full((2, 7), 9, np.uint8), _C.QParams(0.1, 3, _C.quint8))
    bias = np.full(7, 0.5, np.float32)
    got = oq.layer_norm(q, 7, None, bias, 1e-5, 0.25, 10)
    assert set(got.int_repr().reshape(-1).tolist()) == {12}
