"""Convolutions of any rank, plain and transposed: quantized codes equal plain loops, and float ones agree with them."""

from __future__ import annotations

import numpy as np
import pytest

import octensor as ot
import oracle
import oracle_ops
from octensor import _C
from octensor.nn.quantized import functional as qF
from octensor.ops import quantized as oq

F = ot.nn.functional

# rank, input, weight, options
PLAIN = [
    (1, (2, 4, 9), (6, 4, 3), {"stride": (2,), "padding": (1,)}),
    (1, (1, 4, 8), (4, 1, 3), {"groups": 4, "dilation": (2,)}),
    (2, (2, 4, 5, 6), (6, 2, 3, 2), {"groups": 2, "padding": (1, 0), "stride": (1, 2)}),
    (3, (1, 3, 4, 5, 4), (4, 3, 2, 3, 2), {"padding": (1, 0, 1), "stride": (2, 1, 1)}),
    (3, (1, 4, 3, 4, 3), (4, 2, 2, 2, 1), {"groups": 2, "dilation": (1, 2, 1)}),
]
TRANSPOSED = [
    (1, (2, 4, 5), (4, 3, 3), {"stride": (2,), "padding": (1,), "output_padding": (1,)}),
    (2, (1, 4, 3, 4), (4, 2, 3, 2), {"stride": (2, 1), "groups": 2}),
    (2, (1, 3, 4, 3), (3, 4, 2, 2), {"dilation": (2, 1), "padding": (1, 0)}),
    (3, (1, 2, 2, 3, 2), (2, 3, 2, 1, 2), {"stride": (2, 2, 1), "output_padding": (1, 0, 0)}),
]


def geometry(rank: int, options: dict, transposed: bool = False) -> dict:
    base = {"stride": (1,) * rank, "padding": (0,) * rank, "dilation": (1,) * rank, "groups": 1}
    return base | ({"output_padding": (0,) * rank} if transposed else {}) | options


def weights(rng: np.random.Generator, shape, per_channel: bool) -> tuple[_C.QTensor, oracle.Q]:
    codes = rng.integers(-128, 127, shape, endpoint=True).astype(np.int8)
    if not per_channel:
        return _C.QTensor.from_numpy(codes, _C.QParams(0.02, 0, _C.qint8)), oracle.Q(
            codes, np.float32(0.02), 0, "qint8"
        )
    scales = rng.uniform(0.005, 0.03, shape[0]).astype(np.float32)
    points = np.zeros(shape[0], np.int32)
    return _C.QTensor.from_numpy(codes, _C.QParams(scales, points, _C.qint8, axis=0)), oracle.Q(
        codes, scales, points, "qint8", 0
    )


OUT = oracle.Q(np.empty(0), np.float32(1.7), 101, "quint8")


@pytest.mark.rows(100, 101, 102, 116)
@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize(("rank", "x_shape", "w_shape", "options"), PLAIN)
def test_convolution(rank, x_shape, w_shape, options, per_channel):
    rng = np.random.default_rng(rank)
    x, args = oracle_ops.sample(rng, x_shape, _C.quint8), geometry(rank, options)
    w, plain_w = weights(rng, w_shape, per_channel)
    bias = rng.standard_normal(w_shape[0]).astype(np.float32)
    plain = oracle_ops.of(x)
    acc = oracle_ops.correlate(plain.centred, plain_w.codes, **args)
    want = oracle_ops.epilogue(acc, bias, plain, plain_w, OUT)
    name = f"conv{rank}d"
    packed = getattr(oq, f"{name}_prepack")(w, bias, **args)
    got = getattr(oq, name)(x, packed, 1.7, 101)
    np.testing.assert_array_equal(got.int_repr(), want)
    assert (got.q_scale(), got.q_zero_point(), got.dtype) == (np.float32(1.7), 101, _C.quint8)
    limited = getattr(oq, f"{name}_relu")(x, packed, 1.7, 101)
    np.testing.assert_array_equal(limited.int_repr(), np.maximum(want, 101))
    unpacked, b = getattr(oq, f"{name}_unpack")(packed)
    assert unpacked.equal(w)
    np.testing.assert_array_equal(np.asarray(b), bias)
    by_functional = getattr(qF, name)(x, w, bias, **args, scale=1.7, zero_point=101)
    assert by_functional.equal(got)
    # The float op on the numbers that the codes stand for.
    real = getattr(F, name)(x.dequantize(), w.dequantize(), bias, **args).numpy()
    s = oracle.along(np.float64(plain.scale) * plain_w.scale, 1 if per_channel else None, acc.ndim)
    exact = acc * s + bias.reshape(-1, *(1,) * rank)
    np.testing.assert_allclose(real, exact, rtol=1e-4, atol=1e-3)


@pytest.mark.rows(103)
@pytest.mark.parametrize(("rank", "x_shape", "w_shape", "options"), TRANSPOSED)
def test_transposed_convolution(rank, x_shape, w_shape, options):
    rng = np.random.default_rng(rank + 10)
    x, args = oracle_ops.sample(rng, x_shape, _C.quint8), geometry(rank, options, transposed=True)
    w, plain_w = weights(rng, w_shape, False)
    bias = rng.standard_normal(w_shape[1] * args["groups"]).astype(np.float32)
    plain = oracle_ops.of(x)
    acc = oracle_ops.correlate_transposed(plain.centred, plain_w.codes, **args)
    want = oracle_ops.epilogue(acc, bias, plain, plain_w, OUT)
    name = f"conv_transpose{rank}d"
    packed = getattr(oq, f"{name}_prepack")(w, bias, **args)
    got = getattr(oq, name)(x, packed, 1.7, 101)
    np.testing.assert_array_equal(got.int_repr(), want)
    unpacked, b = getattr(oq, f"{name}_unpack")(packed)
    assert unpacked.equal(w)
    np.testing.assert_array_equal(np.asarray(b), bias)
    real = getattr(F, name)(x.dequantize(), w.dequantize(), bias, **args).numpy()
    exact = acc * (np.float64(plain.scale) * np.float64(plain_w.scale)) + bias.reshape(-1, *(1,) * rank)
    np.testing.assert_allclose(real, exact, rtol=1e-4, atol=1e-3)


@pytest.mark.rows(103)
def test_transposed_weights_have_one_scale():
    w, _ = weights(np.random.default_rng(0), (4, 3, 3), True)
    with pytest.raises((ValueError, TypeError), match=r"weight.*per-tensor|per-channel"):
        oq.conv_transpose1d_prepack(w)


@pytest.mark.rows(104)
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_packed_parameters_say_their_geometry(rank):
    w, _ = weights(np.random.default_rng(0), (4, 2, *(2,) * rank), False)
    plain = getattr(oq, f"conv{rank}d_prepack")(w, None, 2, 1, 3, 2)
    wanted = {"stride": [2] * rank, "padding": [1] * rank, "output_padding": [0] * rank, "dilation": [3] * rank}
    for attribute, value in (wanted | {"groups": 2, "transpose": 0}).items():
        assert getattr(oq, f"conv{rank}d_{attribute}")(plain) == value
    turned = getattr(oq, f"conv_transpose{rank}d_prepack")(w, None, 2, 1, 1, 3, 2)
    for attribute, value in (wanted | {"output_padding": [1] * rank, "groups": 2, "transpose": 1}).items():
        assert getattr(oq, f"conv_transpose{rank}d_{attribute}")(turned) == value
    with pytest.raises(TypeError, match=f"conv{rank}d_prepack"):
        getattr(oq, f"conv{rank}d_stride")(turned)


@pytest.mark.rows(104)
@pytest.mark.parametrize("rank", [2, 3])
def test_getters_keep_the_order_of_axes(rank):
    w, _ = weights(np.random.default_rng(0), (4, 4, *(2,) * rank), False)
    steps = {"stride": [2, 3, 4], "padding": [0, 1, 0], "output_padding": [0, 1, 1], "dilation": [1, 2, 3]}
    wanted = {key: values[:rank] for key, values in steps.items()}
    plain = {key: values for key, values in wanted.items() if key != "output_padding"}
    packs = {"conv": plain, "conv_transpose": wanted}
    for kind, given in packs.items():
        packed = getattr(oq, f"{kind}{rank}d_prepack")(w, None, **given)
        for key, values in given.items():
            assert getattr(oq, f"{kind}{rank}d_{key}")(packed) == values


@pytest.mark.rows(100)
def test_the_two_dimensional_forms_have_a_short_name():
    assert oq.conv_prepack is oq.conv2d_prepack
    assert oq.conv_unpack is oq.conv2d_unpack


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: F.conv1d(ot.zeros(1, 3, 4), ot.zeros(2, 2, 3)), r"conv1d: input: expected 2 channels, got 3"),
        (lambda: F.conv3d(ot.zeros(1, 3, 4, 4), ot.zeros(2, 3, 1, 1, 1)), r"conv3d: input: expected shape \(N, C, D"),
        (lambda: F.conv1d(ot.zeros(1, 2, 4), ot.zeros(2, 2, 5)), "does not fit"),
        (lambda: F.conv1d(ot.zeros(1, 2, 4), ot.zeros(2, 2, 3), stride=(1, 2)), "stride: expected an integer"),
        (lambda: F.conv_transpose2d(ot.zeros(1, 2, 4, 4), ot.zeros(3, 2, 3, 3)), "expected 3 channels, got 2"),
        (
            lambda: F.conv_transpose1d(ot.zeros(1, 2, 4), ot.zeros(2, 2, 3), output_padding=1),
            "output_padding: expected less than",
        ),
        (lambda: F.conv_transpose1d(ot.zeros(1, 2, 1), ot.zeros(2, 2, 2), padding=2), "leaves nothing"),
    ],
)
def test_wrong_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.rows(116)
def test_functional_convolution_takes_quint8_and_zeros_padding_only():
    rng = np.random.default_rng(0)
    w, _ = weights(rng, (2, 2, 3), False)
    x = oracle_ops.sample(rng, (1, 2, 5), _C.quint8)
    with pytest.raises(NotImplementedError, match="padding_mode"):
        qF.conv1d(x, w, padding_mode="reflect")
    with pytest.raises(NotImplementedError, match="quint8"):
        qF.conv1d(oracle_ops.sample(rng, (1, 2, 5), _C.qint8), w)
    with pytest.raises(ValueError, match="expected a QTensor"):
        qF.conv1d(x.dequantize(), w)
    assert (qF.conv1d(x, w).q_scale(), qF.conv1d(x, w).q_zero_point()) == (1.0, 0)
