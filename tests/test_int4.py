"""4-bit weights and weight-only linear layers: the same bits as the oracle on every instruction set, any threads."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

import octensor as ot
import oracle_int4
import support
from octensor import _C
from octensor.ops.quantized import Int4Weight
from support import assert_everywhere, backend, backends, to_qtensor, weight

GROUPS = st.sampled_from([32, 64, 128])
DEPTHS = st.sampled_from([1, 2, 7, 8, 9, 31, 32, 33, 63, 64, 65, 100, 127, 128, 129, 160, 257, 300])
WIDTHS = st.sampled_from([1, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33, 65])


def random_weight(rng: np.random.Generator, n: int, k: int, group: int, style: str, zeros: bool) -> Int4Weight:
    shape, parameters = (n, k), (n, -(-k // group))
    ends = {"lowest": -8, "highest": 7}
    codes = np.full(shape, ends[style]) if style in ends else rng.integers(-8, 8, shape)
    if style == "ends":
        codes = rng.choice([-8, 7], shape)
    opposite = np.full(parameters, 7 if style == "lowest" else -8)
    zero_points = (opposite if style in ends else rng.integers(-8, 8, parameters)) if zeros else None
    return Int4Weight(codes, rng.uniform(0.001, 0.1, parameters).astype(np.float32), group, zero_points)


def rows(rng: np.random.Generator, m: int, k: int, style: str) -> np.ndarray:
    """Float rows; the styles with one end are quantized to 255 everywhere, or to 0."""
    if style in ("lowest", "highest"):
        return np.full((m, k), -1.0 if style == "highest" else 1.0, np.float32)
    return (rng.standard_normal((m, k)) * rng.choice([1e-3, 1, 1e4], (m, 1)) + rng.uniform(-2, 2)).astype(np.float32)


def want_int4(x: np.ndarray, w: Int4Weight, bias: np.ndarray | None, relu: bool) -> np.ndarray:
    return oracle_int4.linear_int4(x, w.codes, w.scales, w.zero_points, w.group_size, bias, relu)


def want_weight_only(x: np.ndarray, w: Int4Weight, bias: np.ndarray | None, relu: bool) -> np.ndarray:
    zeros = np.zeros(w.scales.shape, np.int64) if w.zero_points is None else w.zero_points
    return oracle_int4.weight_only(x, w.codes, w.scales, zeros, w.group_size, bias, relu)


@given(st.integers(1, 20), WIDTHS, DEPTHS, GROUPS, support.styles, st.booleans(), support.seeds)
def test_linear_int4(m, n, k, group, style, zeros, seed):
    rng = np.random.default_rng(seed)
    w, x = random_weight(rng, n, k, group, style, zeros), rows(rng, m, k, style)
    bias = rng.standard_normal(n).astype(np.float32) if seed % 2 else None
    packed, relu = w.pack(bias), seed % 3 == 0
    assert_everywhere(lambda: _C.linear_int4(x, packed, relu), want_int4(x, w, bias, relu))
    few = x[: min(m, 3), :]
    strided = np.zeros((len(few), 2 * k), np.float32)
    strided[:, ::2] = few
    assert_everywhere(
        lambda: _C.linear_weight_only(strided[:, ::2], packed, relu), want_weight_only(few, w, bias, relu)
    )


@pytest.mark.parametrize(("m", "n", "k"), [(97, 70, 300), (250, 33, 129), (1, 300, 1024), (40, 17, 5000)])
@pytest.mark.parametrize("zeros", [False, True])
def test_blocks_of_rows_and_columns(m, n, k, zeros):
    rng = np.random.default_rng(m)
    w, x = random_weight(rng, n, k, 64, "uniform", zeros), rows(rng, m, k, "uniform")
    packed = w.pack()
    assert_everywhere(lambda: _C.linear_int4(x, packed), want_int4(x, w, None, False))
    some = x[:100, :300]
    narrow = random_weight(rng, n, some.shape[1], 32, "uniform", zeros)
    packed_narrow = narrow.pack()
    assert_everywhere(lambda: _C.linear_weight_only(some, packed_narrow), want_weight_only(some, narrow, None, False))


@pytest.mark.parametrize("zeros", [False, True])
def test_largest_sums_are_exact(zeros):
    """Codes 0 and 255 against -8 and 7 over whole groups: 16-bit sums are at their ends, and nothing saturates."""
    x = np.ones((9, 256), np.float32)
    x[1::2] = -1
    x[4:, 0] = -1
    for code, zero in ((-8, 7), (7, -8)):
        w = Int4Weight(
            np.full((40, 256), code), np.ones((40, 2), np.float32), 128, np.full((40, 2), zero) if zeros else None
        )
        packed = w.pack()
        assert_everywhere(lambda: _C.linear_int4(x, packed), want_int4(x, w, None, False))  # noqa: B023


@pytest.mark.parametrize("shape", [(0, 5), (3, 0, 5), (2, 3, 5), (5,)])
def test_shapes(shape):
    w = random_weight(np.random.default_rng(0), 4, 5, 32, "uniform", False)
    x = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    packed = w.pack()
    want = want_int4(x.reshape(-1, 5), w, None, False).reshape(*shape[:-1], 4)
    assert_everywhere(lambda: _C.linear_int4(x, packed), want)
    assert _C.linear_weight_only(x, packed).shape == want.shape


def test_nothing_to_sum():
    bias = np.array([1, -2], np.float32)
    packed = Int4Weight(np.empty((2, 0), np.int8), np.empty((2, 0), np.float32)).pack(bias)
    for run in (_C.linear_int4, _C.linear_weight_only):
        assert_everywhere(lambda: run(np.empty((3, 0), np.float32), packed), np.tile(bias, (3, 1)))  # noqa: B023
    assert _C.linear_int4(
        np.ones((3, 4), np.float32), random_weight(np.random.default_rng(0), 0, 4, 32, "", False).pack()
    ).shape == (3, 0)


# --- weights ----------------------------------------------------------------------------------------------


@given(support.small, DEPTHS, GROUPS, st.booleans(), support.seeds)
def test_quantize_is_close_and_codes_survive(n, k, group, symmetric, seed):
    x = np.random.default_rng(seed).standard_normal((n, k)).astype(np.float32)
    w = Int4Weight.quantize(x, group, symmetric)
    step = np.repeat(w.scales, group, axis=1)[:, :k]
    # Half a step anywhere, and at the ends what the code 8 or the rounding of a zero point would have added.
    assert (np.abs(w.dequantize().numpy() - x) <= step * (0.5 + 1e-5 if symmetric else 1.0 + 1e-5)).all()
    assert w.codes.min() >= -8
    assert w.codes.max() <= 7
    again = Int4Weight(w.codes, w.scales, group, w.zero_points)
    assert again.packed.tobytes() == w.packed.tobytes()


def test_codes_lie_two_to_a_byte_low_first():
    w = Int4Weight(np.array([[1, -1, 7], [-8, 0, 2]]), np.ones((2, 1), np.float32), 32)
    assert w.packed.tolist() == [[0xF1, 0x07], [0x08, 0x02]]
    assert w.codes.tolist() == [[1, -1, 7], [-8, 0, 2]]
    assert repr(w) == "Int4Weight(shape=(2, 3), group_size=32)"


def test_zeros_and_tiny_weights_have_a_scale():
    w = Int4Weight.quantize(np.full((1, 4), 1e-42, np.float32))
    assert w.scales.tolist() == [[1.0]]
    assert (w.codes == 0).all()


# --- weight-only, 8 bits ------------------------------------------------------------------------------------


@given(
    st.integers(1, 13),
    WIDTHS,
    DEPTHS,
    support.byte_dtypes,
    st.sampled_from(["symmetric", "tensor", "channel"]),
    support.seeds,
)
def test_weight_only(m, n, k, dtype, how, seed):
    rng = np.random.default_rng(seed)
    q = weight(rng, (n, k), dtype, "uniform", how)
    x = rng.standard_normal((m, k)).astype(np.float32)
    bias = rng.standard_normal(n).astype(np.float32) if seed % 2 else None
    groups = -(-k // 128)
    scales, zeros = (np.repeat(np.broadcast_to(v, n)[:, None], groups, axis=1) for v in (q.scale, q.zero_point))
    packed = _C.PackedWeightOnly(to_qtensor(q), bias)
    want = oracle_int4.weight_only(x, q.codes, scales.astype(np.float32), zeros, 128, bias, True)
    assert_everywhere(lambda: _C.linear_weight_only(x, packed, relu=True), want)


def test_weight_only_carries_nan_and_infinity():
    q = _C.QTensor.from_numpy(np.array([[1, 0], [1, 1]], np.int8), _C.QParams(1.0, 0, _C.qint8))
    packed, x = _C.PackedWeightOnly(q, None), np.array([[1, np.inf], [np.nan, 1]], np.float32)
    assert_everywhere(lambda: _C.linear_weight_only(x, packed), np.array([[np.nan, np.inf], [np.nan] * 2], np.float32))


def test_linear_layer_with_8_bit_weights_and_float_activations():
    rng = np.random.default_rng(5)
    layer = ot.nn.Linear(40, 20)
    float_weight = np.asarray(layer.weight).copy()
    codes = _C.quantize(float_weight, _C.QParams(0.002, 0, _C.qint8))
    layer.input_dtype = None
    layer.weight = codes
    assert layer.stage == "weight-only"
    x = rng.standard_normal((7, 40)).astype(np.float32)
    bias = np.asarray(layer.bias)
    want = oracle_int4.weight_only(
        x, np.asarray(codes), np.full((20, 1), 0.002, np.float32), np.zeros((20, 1), int), 128, bias
    )
    assert_everywhere(lambda: layer(x).numpy(), want)
    leaf = ot.tensor(x, requires_grad=True)
    layer(leaf).sum().backward()
    assert np.allclose(leaf.grad.numpy(), np.asarray(_C.dequantize(codes)).sum(0), atol=1e-5)


# --- the operator library ------------------------------------------------------------------------------------


def test_operator_library():
    rng = np.random.default_rng(3)
    w, bias = Int4Weight.quantize(rng.standard_normal((6, 50)), 32), rng.standard_normal(6).astype(np.float32)
    q, x = ot.ops.quantized, rng.standard_normal((4, 50)).astype(np.float32)
    packed = q.linear_prepack_int4(w, bias)
    assert (packed.in_features, packed.out_features, packed.group_size) == (50, 6, 32)
    real = x @ w.dequantize().numpy().T + bias
    assert np.abs(q.linear_dynamic_int4(x, packed).numpy() - real).max() < 0.2
    assert np.abs(q.linear_weight_only(x, packed).numpy() - real).max() < 1e-4
    relu = q.linear_relu_dynamic_int4(x, packed).numpy()
    support.assert_same(relu, np.maximum(q.linear_dynamic_int4(x, packed).numpy(), np.float32(0)))
    codes = _C.quantize(rng.standard_normal((6, 50)).astype(np.float32), _C.QParams(0.02, 3, _C.qint8))
    eight = q.linear_prepack_weight_only(codes, bias)
    real = np.maximum(x @ np.asarray(_C.dequantize(codes)).T + bias, 0)
    assert np.abs(q.linear_relu_weight_only(x, eight).numpy() - real).max() < 1e-4
    with pytest.raises(TypeError, match="linear_prepack_int4: weight: expected an Int4Weight"):
        q.linear_prepack_int4(codes)
    with pytest.raises(TypeError, match="linear_dynamic_int4: packed: expected what linear_prepack_int4 returns"):
        q.linear_dynamic_int4(x, eight)
    with pytest.raises(TypeError, match="linear_weight_only: packed: expected"):
        q.linear_weight_only(x, w)
    with pytest.raises(TypeError, match="linear_dynamic_int4: input: expected a float Tensor, got QTensor"):
        q.linear_dynamic_int4(codes, packed)


# --- errors -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_not_finite_is_refused(bad):
    packed = random_weight(np.random.default_rng(0), 3, 40, 32, "uniform", False).pack()
    for at in (0, 8, 39):
        x = np.zeros((3, 40), np.float32)
        x[2, at] = bad
        for isa, threads in backends():
            with backend(isa, threads), pytest.raises(ValueError, match="linear_int4: input: expected finite"):
                _C.linear_int4(x, packed)


def test_packed_arguments_are_checked():
    def make(weight=(2, 3), k=6, group=32, scales=(2, 1), zeros=None, bias=None, scale=1.0):
        return _C.PackedInt4Linear(
            np.zeros(weight, np.uint8), k, group, np.full(scales, scale, np.float32), zeros, bias
        )

    assert make().in_features == 6
    for wrong, message in [
        ({"group": 48}, "group_size: expected 32, 64 or 128, got 48"),
        ({"group": 2**63 - 1}, "group_size: expected 32, 64 or 128, got 9223372036854775807"),
        ({"k": 8}, r"weight: expected shape \(2, 4\), got \(2, 3\)"),
        ({"k": -1}, "in_features: expected a size, got -1"),
        ({"weight": (2,)}, "weight: expected shape"),
        ({"scales": (2, 2)}, r"scales: expected shape \(2, 1\), got \(2, 2\)"),
        ({"scale": 0.0}, "scales: expected finite, positive and normal"),
        ({"scale": np.nan}, "scales: expected finite, positive and normal"),
        ({"scale": 1e36}, "scales: expected sums inside float32"),
        ({"zeros": np.zeros((1, 1), np.int8)}, r"zero_points: expected shape \(2, 1\)"),
        ({"zeros": np.full((2, 1), 8, np.int8)}, r"zero_points: expected codes in \[-8, 7\], got 8"),
        ({"bias": np.zeros(3, np.float32)}, "bias: expected 2 values, one per output channel, got 3"),
        ({"bias": np.full(2, np.inf, np.float32)}, "bias: expected finite numbers"),
    ]:
        with pytest.raises(ValueError, match=message):
            make(**wrong)
    with pytest.raises(TypeError, match="weight: expected an array of uint8, got int8"):
        _C.PackedInt4Linear(np.zeros((2, 3), np.int8), 6, 32, np.ones((2, 1), np.float32))
    with pytest.raises(TypeError, match="scales: expected an array of float32"):
        _C.PackedInt4Linear(np.zeros((2, 3), np.uint8), 6, 32, np.ones((2, 1)))
    for run in (_C.linear_int4, _C.linear_weight_only):
        with pytest.raises(ValueError, match=r"input: expected shape \[..., 6\]"):
            run(np.ones((2, 5), np.float32), make())
        with pytest.raises(TypeError, match="input: expected float32, got float64"):
            run(np.ones((2, 6)), make())


def test_int4_weight_arguments_are_checked():
    scales = np.ones((2, 1), np.float32)
    for error, message, call in [
        (
            ValueError,
            "group_size: expected 32, 64 or 128, got 16",
            lambda: Int4Weight(np.zeros((2, 3), int), scales, 16),
        ),
        (
            ValueError,
            r"codes: expected values in \[-8, 7\], got 0 ... 8",
            lambda: Int4Weight(np.array([[0, 8]]), scales),
        ),
        (TypeError, "codes: expected integers, got float64", lambda: Int4Weight(np.zeros((2, 3)), scales)),
        (ValueError, r"codes: expected shape \(N, K\)", lambda: Int4Weight(np.zeros(3, int), scales)),
        (
            ValueError,
            r"scales: expected shape \(2, 1\), got \(3,\)",
            lambda: Int4Weight(np.zeros((2, 3), int), np.ones(3)),
        ),
        (ValueError, "scales: expected finite", lambda: Int4Weight(np.zeros((2, 3), int), -scales)),
        (ValueError, "quantize: weight: expected finite", lambda: Int4Weight.quantize(np.full((2, 3), np.nan))),
        (ValueError, r"quantize: weight: expected shape \(N, K\)", lambda: Int4Weight.quantize(np.ones(3))),
    ]:
        with pytest.raises(error, match=message):
            call()
