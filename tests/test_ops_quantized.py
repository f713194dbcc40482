"""ops.quantized: sums, products and joins with given or derived parameters, and linear layers."""

from __future__ import annotations

import numpy as np
import pytest

import octensor as ot
import oracle
import oracle_ops
from octensor import _C
from octensor.nn.quantized import functional as qF
from octensor.ops import quantized as oq

DTYPES = pytest.mark.parametrize("dtype", [_C.quint8, _C.qint8], ids=str)
SHAPE = (3, 4, 5)


def pair(dtype: _C.dtype) -> tuple[ot.QTensor, ot.QTensor]:
    rng = np.random.default_rng(2)
    return oracle_ops.sample(rng, SHAPE, dtype), oracle_ops.sample(rng, SHAPE, dtype, 0.11)


def real_sum(a: oracle.Q, b: oracle.Q) -> np.ndarray:
    return oracle.dequantize(a) + oracle.dequantize(b)


@DTYPES
@pytest.mark.rows(75, 76)
def test_add(dtype):
    a, b = pair(dtype)
    scale, zero_point = 0.15, dtype.qmin + 90
    want = oracle.quantize(real_sum(oracle_ops.of(a), oracle_ops.of(b)), scale, zero_point, dtype.name)
    np.testing.assert_array_equal(oq.add(a, b, scale, zero_point).int_repr(), want)
    limited = np.maximum(want, zero_point)
    np.testing.assert_array_equal(oq.add_relu(a, b, scale, zero_point).int_repr(), limited)
    for name, codes in (("add_out", want), ("add_relu_out", limited)):
        out = ot._empty_affine_quantized(SHAPE, scale=scale, zero_point=zero_point, dtype=dtype)
        assert getattr(oq, name)(a, b, out) is out
        np.testing.assert_array_equal(out.int_repr(), codes)


@DTYPES
@pytest.mark.rows(77, 78)
def test_mul(dtype):
    a, b = pair(dtype)
    scale, zero_point = 0.31, dtype.qmin + 120
    x, y = oracle_ops.of(a), oracle_ops.of(b)
    rounded = oracle.rescale(x.centred * y.centred, oracle.multiplier(x.scale, y.scale, over=scale))
    want = oracle.clamp(rounded, zero_point, dtype.name)
    limited = oracle.clamp(rounded, zero_point, dtype.name, relu=True)
    np.testing.assert_array_equal(oq.mul(a, b, scale, zero_point).int_repr(), want)
    np.testing.assert_array_equal(oq.mul_relu(a, b, scale, zero_point).int_repr(), limited)
    for name, codes in (("mul_out", want), ("mul_relu_out", limited)):
        out = ot._empty_affine_quantized(SHAPE, scale=scale, zero_point=zero_point, dtype=dtype)
        assert getattr(oq, name)(a, b, out) is out
        np.testing.assert_array_equal(out.int_repr(), codes)


def derived_sum(q: oracle.Q, c: float) -> tuple[float, int, np.ndarray]:
    """Table of the reference, case by case."""
    t, s = oracle.DTYPES[q.dtype], float(np.float32(q.scale))
    c_q = int(np.rint(c / s))
    z = int(q.zero_point) - c_q
    if t.qmin <= z <= t.qmax:
        return s, z, q.codes
    new_z = t.qmin if z < t.qmin else t.qmax
    new_s = np.float32(s * ((t.qmax - z) if z < t.qmin else (z - t.qmin)) / (t.qmax - t.qmin))
    ratio = np.float32(s / float(new_s))
    return float(new_s), new_z, oracle.clamp(oracle.rescale(q.centred + c_q, ratio), new_z, q.dtype)


def derived_product(q: oracle.Q, c: float) -> tuple[float, int, np.ndarray]:
    t, s, z = oracle.DTYPES[q.dtype], float(np.float32(q.scale)), int(q.zero_point)
    if c > 0:
        return c * s, z, q.codes
    if c == 0:
        return 1.0, 0, np.zeros_like(q.codes)
    return -c * s, t.qmax - (z - t.qmin), (t.qmax + t.qmin - q.codes.astype(int)).astype(t.storage)


@DTYPES
@pytest.mark.parametrize(
    ("name", "numbers", "derived"),
    [
        pytest.param("add", (0.0, 1.0, -2.5, 40.0, -40.0), derived_sum, marks=pytest.mark.rows(79)),
        pytest.param("mul", (2.0, 0.5, 0.0, -2.0), derived_product, marks=pytest.mark.rows(80)),
    ],
)
def test_with_a_number(name, numbers, derived, dtype):
    q = pair(dtype)[0]
    for c in numbers:
        scale, zero_point, codes = derived(oracle_ops.of(q), c)
        plain = [getattr(oq, f"{name}_scalar")(q, c), getattr(oq, name)(q, c), getattr(oq, name)(c, q)]
        out = q.clone()
        assert getattr(oq, f"{name}_scalar_out")(q, c, out) is out
        for got in (*plain, out, getattr(oq, f"{name}_scalar")(q, ot.tensor(c))):
            assert (got.q_scale(), got.q_zero_point()) == (np.float32(scale), zero_point)
            np.testing.assert_array_equal(got.int_repr(), codes)
        relu_out = q.clone()
        getattr(oq, f"{name}_scalar_relu_out")(q, c, relu_out)
        for got in (getattr(oq, f"{name}_scalar_relu")(q, c), getattr(oq, f"{name}_relu")(q, c), relu_out):
            assert (got.q_scale(), got.q_zero_point()) == (np.float32(scale), zero_point)
            np.testing.assert_array_equal(got.int_repr(), np.maximum(codes, zero_point))


@pytest.mark.rows(79, 80)
def test_the_published_checks_of_the_scalar_rules():
    q = ot.quantize_per_tensor(ot.tensor([0.0]), 0.1, 100, ot.quint8)
    for got, scale, zero_point in (
        (oq.add_scalar(q, 1), 0.1, 90),
        (oq.add_scalar(q, 20), 0.139216, 0),
        (oq.add_scalar(q, -20), 0.117647, 255),
        (oq.mul_scalar(q, 2), 0.2, 100),
        (oq.mul_scalar(q, -2), 0.2, 155),
    ):
        assert got.q_scale() == pytest.approx(scale, abs=1e-6)
        assert got.q_zero_point() == zero_point


@DTYPES
@pytest.mark.rows(81)
def test_cat(dtype):
    a, b = pair(dtype)
    x, y = oracle_ops.of(a), oracle_ops.of(b)
    for scale, zero_point in ((None, None), (0.2, dtype.qmin + 50)):
        s, z = (a.q_scale(), a.q_zero_point()) if scale is None else (np.float32(scale), zero_point)
        want = np.concatenate([oracle.requantize(x, s, z, dtype.name), oracle.requantize(y, s, z, dtype.name)], 1)
        got = oq.cat([a, b], 1, scale, zero_point)
        assert (got.q_scale(), got.q_zero_point()) == (s, z)
        np.testing.assert_array_equal(got.int_repr(), want)
        np.testing.assert_array_equal(oq.cat_relu([a, b], 1, scale, zero_point).int_repr(), np.maximum(want, z))
    for name in ("cat_out", "cat_relu_out"):
        out = ot._empty_affine_quantized((3, 8, 5), scale=0.2, zero_point=dtype.qmin + 50, dtype=dtype)
        assert getattr(oq, name)([a, b], 1, out) is out
        codes = want if name == "cat_out" else np.maximum(want, dtype.qmin + 50)
        np.testing.assert_array_equal(out.int_repr(), codes)


@pytest.mark.rows(75, 77, 81)
def test_wrong_operands():
    a, _ = pair(_C.quint8)
    b = pair(_C.qint8)[0]
    with pytest.raises(TypeError, match="scale, zero_point: expected those of the result"):
        oq.add(a, a)
    with pytest.raises(TypeError, match="qb: expected a QTensor"):
        oq.mul(a, ot.ones(3), 0.1, 0)
    with pytest.raises(TypeError, match="one dtype"):
        oq.cat([a, b])
    with pytest.raises(ValueError, match=r"out: expected shape \(3, 4, 5\)"):
        oq.add_out(a, a, a[0])


# --- linear -------------------------------------------------------------------------------------------


def layer(per_channel: bool) -> tuple[ot.QTensor, oracle.Q, np.ndarray]:
    rng = np.random.default_rng(9)
    codes = rng.integers(-128, 127, (7, 11), endpoint=True).astype(np.int8)
    bias = rng.standard_normal(7).astype(np.float32)
    if not per_channel:
        q = _C.QTensor.from_numpy(codes, _C.QParams(0.02, 0, _C.qint8))
        return q, oracle.Q(codes, np.float32(0.02), 0, "qint8"), bias
    scales = rng.uniform(0.005, 0.03, 7).astype(np.float32)
    q = _C.QTensor.from_numpy(codes, _C.QParams(scales, np.zeros(7, np.int32), _C.qint8, axis=0))
    return q, oracle.Q(codes, scales, np.zeros(7, np.int32), "qint8", 0), bias


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.rows(95, 96, 97, 117)
def test_linear(per_channel):
    w, plain_w, bias = layer(per_channel)
    x = oracle_ops.sample(np.random.default_rng(1), (2, 5, 11), _C.quint8)
    out = oracle.Q(np.empty(0), np.float32(0.6), 80, "quint8")
    packed = oq.linear_prepack(w, bias)
    weight, b = oq.linear_unpack(packed)
    assert weight.equal(w)
    np.testing.assert_array_equal(np.asarray(b), bias)
    assert oq.linear_unpack(oq.linear_prepack(w))[1] is None
    plain = oracle_ops.of(x)
    np.testing.assert_array_equal(oq.linear(x, packed, 0.6, 80).int_repr(), oracle.linear(plain, plain_w, bias, out))
    limited = oracle.linear(plain, plain_w, bias, out, relu=True)
    np.testing.assert_array_equal(oq.linear_relu(x, packed, 0.6, 80).int_repr(), limited)
    assert qF.linear(x, w, bias, 0.6, 80).equal(oq.linear(x, packed, 0.6, 80))
    assert qF.linear(x, w, bias).equal(oq.linear(x, packed, x.q_scale(), x.q_zero_point()))


@pytest.mark.parametrize("reduce_range", [False, True])
@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.rows(98)
def test_linear_dynamic(per_channel, reduce_range):
    w, plain_w, bias = layer(per_channel)
    x = np.random.default_rng(3).standard_normal((4, 11)).astype(np.float32)
    packed = oq.linear_prepack(w, bias)
    want = oracle_ops.linear_dynamic(x, plain_w, bias, reduce_range)
    np.testing.assert_array_equal(oq.linear_dynamic(x, packed, reduce_range).numpy(), want)
    np.testing.assert_array_equal(oq.linear_relu_dynamic(x, packed, reduce_range).numpy(), np.maximum(want, 0))


@pytest.mark.rows(99)
def test_linear_with_float16_weights():
    rng = np.random.default_rng(4)
    w, bias = rng.standard_normal((5, 9)).astype(np.float32), rng.standard_normal(5).astype(np.float32)
    w[0, 0], w[1, 1] = 1e6, -1e6
    x = rng.standard_normal((2, 3, 9)).astype(np.float32)
    packed = oq.linear_prepack_fp16(w, bias)
    narrow = np.clip(w, -65504, 65504).astype(np.float16).astype(np.float32)
    weight, b = oq.linear_unpack_fp16(packed)
    np.testing.assert_array_equal(weight.numpy(), narrow)
    np.testing.assert_array_equal(b.numpy(), bias)
    want = np.zeros((2, 3, 5), np.float32)
    for k in range(9):
        want = want + x[..., k : k + 1] * narrow[:, k]
    np.testing.assert_array_equal(oq.linear_dynamic_fp16(x, packed).numpy(), want + bias)
    with pytest.raises(ValueError, match=r"expected shape \(\.\.\., 9\)"):
        oq.linear_dynamic_fp16(x[..., :4], packed)


@pytest.mark.rows(113, differs="The experimental block-sparse linear layers are not offered.")
def test_there_is_no_sparse_linear():
    assert not hasattr(ot.ops, "sparse")
