"""Layers without a quantized weight: norms and activations whose output is observed, and those that pass qparams on."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

import octensor as ot
import octensor.quantization as tq
import support
from octensor import _C, nn
from octensor.nn import intrinsic as nni
from octensor.nn import quantized as nnq
from octensor.nn.intrinsic import quantized as nniq

F32 = np.float32


@pytest.fixture(autouse=True)
def _seed() -> None:
    ot.manual_seed(0)


def observed(layer: Any, x: Any) -> tuple[Any, Any]:
    """The prepared and calibrated layer, and the input as the stub before it quantizes it."""
    model = tq.QuantWrapper(layer.eval())
    model.qconfig = tq.get_default_qconfig()
    model = tq.prepare(model)
    model(x)
    return model.module, tq.convert(model).quant(x)


def quantized(values: np.ndarray, qparams: Any) -> np.ndarray:
    codes = np.rint(values.astype(F32) / F32(qparams.scale)) + qparams.zero_point
    return np.clip(codes, qparams.dtype.qmin, qparams.dtype.qmax).astype(qparams.dtype.numpy)


def shape(axes: int) -> tuple[int, ...]:
    return (3, 4, *(6, 5, 4)[:axes])


# --- norms ------------------------------------------------------------------------------------------

NORMS = [
    pytest.param("BatchNorm1d", (4,), shape(1), id="BatchNorm1d"),
    pytest.param("BatchNorm2d", (4,), shape(2), marks=pytest.mark.rows(134), id="BatchNorm2d"),
    pytest.param("BatchNorm3d", (4,), shape(3), marks=pytest.mark.rows(135), id="BatchNorm3d"),
    pytest.param("LayerNorm", (5,), shape(2), marks=pytest.mark.rows(136), id="LayerNorm"),
    pytest.param("LayerNorm", ((6, 5),), shape(2), marks=pytest.mark.rows(136), id="LayerNorm of two axes"),
    pytest.param("GroupNorm", (2, 4), shape(2), marks=pytest.mark.rows(137), id="GroupNorm"),
    pytest.param("InstanceNorm1d", (4,), shape(1), marks=pytest.mark.rows(138), id="InstanceNorm1d"),
    pytest.param("InstanceNorm2d", (4,), shape(2), marks=pytest.mark.rows(138), id="InstanceNorm2d"),
    pytest.param("InstanceNorm3d", (4,), shape(3), marks=pytest.mark.rows(138), id="InstanceNorm3d"),
]


def randomized(layer: Any) -> Any:
    """The layer with parameters and statistics that are not 0 and 1."""
    for name in ("weight", "running_var"):
        if getattr(layer, name, None) is not None:
            getattr(layer, name).data.uniform_(0.5, 2.0)
    for name in ("bias", "running_mean"):
        if getattr(layer, name, None) is not None:
            getattr(layer, name).data.normal_()
    return layer.eval()


def normalised(layer: Any, x: np.ndarray) -> np.ndarray:
    """The norm in float64, from its definition."""
    x = x.astype(np.float64)
    kind = type(layer).__name__
    channels = (-1, *(1,) * (x.ndim - 2))
    if kind.startswith("BatchNorm"):
        mean, var = (np.asarray(s, np.float64).reshape(channels) for s in (layer.running_mean, layer.running_var))
    elif kind == "LayerNorm":
        over = tuple(range(-len(layer.normalized_shape), 0))
        mean, var = x.mean(over, keepdims=True), x.var(over, keepdims=True)
    else:
        groups = getattr(layer, "num_groups", x.shape[1])
        rows = x.reshape(x.shape[0], groups, -1)
        spread = np.ones_like(rows)
        mean, var = ((s * spread).reshape(x.shape) for s in (rows.mean(-1, keepdims=True), rows.var(-1, keepdims=True)))
    y = (x - mean) / np.sqrt(var + layer.eps)
    for name, apply in (("weight", np.multiply), ("bias", np.add)):
        value = getattr(layer, name)
        if value is not None:
            y = apply(y, value.numpy() if kind == "LayerNorm" else value.numpy().reshape(channels))
    return y


@pytest.mark.parametrize(("kind", "arguments", "size"), NORMS)
@pytest.mark.parametrize("affine", [True, False])
def test_norm_is_its_definition_in_float_and_within_a_step_quantized(
    kind: str, arguments: Any, size: Any, affine: bool
) -> None:
    options = {"elementwise_affine": affine} if kind == "LayerNorm" else {"affine": affine}
    layer = randomized(getattr(nn, kind)(*arguments, **options))
    x = ot.randn(*size) * 2 + 1
    np.testing.assert_allclose(layer(x).detach().numpy(), normalised(layer, x.numpy()), atol=1e-5)
    calibrated, codes = observed(layer, x)
    made = getattr(nnq, kind).from_float(calibrated)
    assert made.stage == "static"
    assert isinstance(made, getattr(nnq, kind))
    got = made(codes)
    want = quantized(normalised(layer, codes.dequantize().numpy()), made.activation_post_process)
    away = np.abs(got.int_repr().astype(int) - want.astype(int))
    assert away.max() <= 1
    assert (away == 0).mean() > 0.99
    support.assert_everywhere(lambda: made(codes), got.int_repr())
    with pytest.raises(TypeError, match="QuantStub"):
        made(x)
    with pytest.raises(TypeError, match="give the layer a qconfig"):
        layer(codes)


@pytest.mark.parametrize(("kind", "arguments", "size"), NORMS)
def test_norm_views_take_pytorchs_arguments(kind: str, arguments: Any, size: Any) -> None:
    view, layer = getattr(nnq, kind), randomized(getattr(nn, kind)(*arguments))
    assert not isinstance(layer, view)
    if kind.startswith("BatchNorm"):
        made = view(*arguments, 1e-5, 0.1)
        assert (made.scale, made.zero_point) == (1.0, 0)
        for name in ("weight", "bias", "running_mean", "running_var"):
            np.asarray(getattr(made, name))[...] = np.asarray(getattr(layer, name))
        made.scale, made.zero_point = 0.1, 100
    else:
        made = view(*arguments, layer.weight, layer.bias, 0.1, 100)
    assert isinstance(made, view)
    codes = ot.quantize_per_tensor(ot.randn(*size), 0.05, 128, ot.quint8)
    out = made(codes)
    assert (out.q_scale(), out.q_zero_point()) == (F32(0.1), 100)
    want = quantized(normalised(layer, codes.dequantize().numpy()), out.qparams)
    assert np.abs(out.int_repr().astype(int) - want.astype(int)).max() <= 1
    assert {"scale", "zero_point"} <= set(made.state_dict())


@pytest.mark.parametrize(("kind", "arguments", "size"), NORMS)
def test_norms_use_their_eps(kind: str, arguments: Any, size: Any) -> None:
    layer = randomized(getattr(nn, kind)(*arguments, eps=0.5))
    x = ot.randn(*size)
    np.testing.assert_allclose(layer(x).detach().numpy(), normalised(layer, x.numpy()), atol=1e-5)
    calibrated, codes = observed(layer, x)
    made = getattr(nnq, kind).from_float(calibrated)
    want = quantized(normalised(layer, codes.dequantize().numpy()), made.activation_post_process)
    assert np.abs(made(codes).int_repr().astype(int) - want.astype(int)).max() <= 1


@pytest.mark.rows(155, 158)
@pytest.mark.parametrize("axes", [2, 3])
def test_batch_norm_with_relu(axes: int) -> None:
    layer = randomized(getattr(nn, f"BatchNorm{axes}d")(4, eps=0.5))
    fused = getattr(nni, f"BNReLU{axes}d")(layer, nn.ReLU())
    assert isinstance(fused, getattr(nni, f"BNReLU{axes}d"))
    assert not isinstance(layer, getattr(nni, f"BNReLU{axes}d"))
    x = ot.randn(*shape(axes))
    np.testing.assert_array_equal(fused(x).detach(), np.maximum(layer(x).detach().numpy(), 0))
    calibrated, codes = observed(fused, x)
    view = getattr(nniq, f"BNReLU{axes}d")
    made = view.from_float(calibrated)
    assert isinstance(made, view)
    assert not isinstance(made, getattr(nnq, f"BatchNorm{axes}d"))
    made.zero_point = 60  # calibration finds 0, where clamping to the dtype would hide a missing ReLU
    want = quantized(np.maximum(normalised(layer, codes.dequantize().numpy()), 0), made.activation_post_process)
    assert np.abs(made(codes).int_repr().astype(int) - want.astype(int)).max() <= 1
    assert made(codes).int_repr().min() == made.zero_point
    empty = view(4, eps=0.5)
    empty.load_state_dict(made.state_dict())
    assert empty(codes).equal(made(codes))
    with pytest.raises(TypeError, match="expected modules"):
        getattr(nni, f"BNReLU{axes}d")(layer, nn.Linear(2, 2))


# --- activations ------------------------------------------------------------------------------------


def sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


GIVEN = [
    pytest.param("Hardswish", {}, lambda x: x * np.clip(x + 3, 0, 6) / 6, marks=pytest.mark.rows(140)),
    pytest.param("ELU", {"alpha": 1.3}, lambda x: np.where(x > 0, x, 1.3 * np.expm1(x)), marks=pytest.mark.rows(141)),
    pytest.param("CELU", {"alpha": 2.0}, lambda x: np.where(x > 0, x, 2 * np.expm1(x / 2))),
    pytest.param(
        "LeakyReLU", {"negative_slope": 0.2}, lambda x: np.where(x > 0, x, 0.2 * x), marks=pytest.mark.rows(142)
    ),
    pytest.param("SiLU", {}, lambda x: x * sigmoid(x)),
    pytest.param("GELU", {"approximate": "tanh"}, lambda x: x * sigmoid(1.5957691216 * (x + 0.044715 * x**3))),
]
ONLY_FLOAT_NAMES = [
    ("SELU", {}, lambda x: 1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * np.expm1(x))),
    ("Mish", {}, lambda x: x * np.tanh(np.log1p(np.exp(x)))),
    ("Softplus", {"beta": 2.0}, lambda x: np.log1p(np.exp(2 * x)) / 2),
]


@pytest.mark.parametrize(("kind", "settings", "formula"), [*GIVEN, *ONLY_FLOAT_NAMES])
def test_observed_activation(kind: str, settings: dict[str, Any], formula: Any) -> None:
    layer, x = getattr(nn, kind)(**settings), ot.randn(4, 50) * 3
    np.testing.assert_allclose(layer(x).numpy(), formula(x.numpy().astype(np.float64)), atol=1e-5)
    calibrated, codes = observed(layer, x)
    static = tq.convert(copy.deepcopy(calibrated))
    assert static.stage == "static"
    want = quantized(formula(codes.dequantize().numpy().astype(np.float64)), static.activation_post_process)
    support.assert_everywhere(lambda: static(codes), want)
    with pytest.raises(TypeError, match="QuantStub"):
        static(x)
    if not hasattr(nnq, kind):
        return
    view = getattr(nnq, kind)
    assert isinstance(static, view)
    assert not isinstance(layer, view)
    made = view(scale=0.1, zero_point=90, **settings)
    out = made(codes)
    assert (out.q_scale(), out.q_zero_point()) == (F32(0.1), 90)
    assert np.array_equal(out.int_repr(), quantized(formula(codes.dequantize().numpy().astype(float)), out.qparams))


@pytest.mark.rows(141, 142)
def test_activation_views_take_their_arguments_in_pytorchs_order() -> None:
    assert nnq.ELU(0.1, 3, 1.5).alpha == 1.5
    assert nnq.LeakyReLU(0.1, 3, 0.3).negative_slope == 0.3
    with pytest.raises(TypeError, match="at most 3 arguments"):
        nnq.ELU(0.1, 3, 1.5, 4)


@pytest.mark.rows(143)
def test_sigmoid_with_qparams_of_its_own() -> None:
    codes = ot.quantize_per_tensor(ot.randn(50) * 3, 0.05, 128, ot.quint8)
    made = nnq.Sigmoid(0.01, 20)
    assert isinstance(made, nnq.Sigmoid)
    assert not isinstance(nn.Sigmoid(), nnq.Sigmoid)
    out = made(codes)
    assert (out.q_scale(), out.q_zero_point()) == (F32(0.01), 20)
    assert np.array_equal(out.int_repr(), quantized(sigmoid(codes.dequantize().numpy().astype(float)), out.qparams))
    plain = nn.Sigmoid()(codes)
    assert (plain.q_scale(), plain.q_zero_point()) == (1 / 256, 0)


@pytest.mark.rows(139)
def test_relu6_keeps_the_qparams() -> None:
    codes = ot.quantize_per_tensor(ot.randn(50) * 5, 0.08, 100, ot.quint8)
    out = nnq.ReLU6()(codes)
    assert out.qparams == codes.qparams
    want = np.clip(codes.int_repr(), 100, 100 + round(6 / 0.08))
    assert np.array_equal(out.int_repr(), want)


@pytest.mark.parametrize(
    ("layer", "formula"),
    [
        (nn.Threshold(0.5, -1.0), lambda x: np.where(x > 0.5, x, -1.0)),
        (nn.Hardtanh(-0.5, 1.5), lambda x: np.clip(x, -0.5, 1.5)),
        (nn.LeakyReLU(0.2), lambda x: np.where(x > 0, x, 0.2 * x)),
        (nn.ReLU(), lambda x: np.maximum(x, 0)),
    ],
)
def test_activations_that_keep_the_qparams(layer: Any, formula: Any) -> None:
    codes = ot.quantize_per_tensor(ot.randn(50) * 3, 0.05, 128, ot.quint8)
    out = layer(codes)
    assert out.qparams == codes.qparams
    values = codes.dequantize().numpy()
    np.testing.assert_allclose(layer(ot.from_numpy(values)).numpy(), formula(values), atol=1e-6)
    assert np.array_equal(out.int_repr(), quantized(formula(values), codes.qparams))


def test_hardsigmoid_prelu_and_float_only_activations() -> None:
    x = ot.randn(3, 4, 5)
    codes = ot.quantize_per_tensor(x, 0.05, 128, ot.quint8)
    out = nn.Hardsigmoid()(codes)
    assert out.q_scale() == 1 / 256
    prelu = nn.PReLU(4, init=0.1)
    values = x.numpy()
    np.testing.assert_allclose(prelu(x).detach().numpy(), np.where(values > 0, values, values * F32(0.1)), rtol=1e-6)
    prelu(x).sum().backward()
    assert prelu.weight.grad.shape == (4,)
    np.testing.assert_allclose(nn.LogSigmoid()(x).numpy(), np.log(sigmoid(values)), atol=1e-5)
    for layer in (nn.PReLU(), nn.LogSigmoid(), nn.Softmax(), nn.LogSoftmax()):
        with pytest.raises(TypeError, match="QTensor"):
            layer(codes)


# --- stubs and functionals --------------------------------------------------------------------------


@pytest.mark.rows(125, 126)
def test_quantize_and_dequantize() -> None:
    made = nnq.Quantize(0.1, 20, ot.quint8)
    assert isinstance(made, nnq.Quantize)
    assert isinstance(made, tq.QuantStub)
    assert not isinstance(tq.QuantStub(), nnq.Quantize)
    x = ot.randn(3, 4)
    q = made(x)
    assert q.equal(ot.quantize_per_tensor(x, 0.1, 20, ot.quint8))
    state = made.state_dict()
    assert (state["scale"].item(), state["zero_point"].item()) == (F32(0.1), 20)
    made.load_state_dict({"scale": np.float32(0.2), "zero_point": np.int64(5)})
    assert made(x).equal(ot.quantize_per_tensor(x, 0.2, 5, ot.quint8))
    back = nnq.DeQuantize()
    assert isinstance(back, nnq.DeQuantize)
    assert back(q).equal(q.dequantize())


@pytest.mark.rows(146, 147, 148)
def test_functionals_in_their_states() -> None:
    x, y = ot.randn(3, 4), ot.randn(3, 4)
    qx, qy = (ot.quantize_per_tensor(v, 0.05, 128, ot.quint8) for v in (x, y))
    observed_one = nnq.FloatFunctional()
    observed_one.qconfig = tq.default_qconfig
    prepared = tq.prepare(nn.Sequential(observed_one).eval())[0]
    prepared.add(x, y)
    made = nnq.QFunctional.from_float(prepared)
    assert isinstance(made, nnq.QFunctional)
    assert made.add(qx, qy).qparams == prepared.activation_post_process.qparams()
    empty = nnq.QFunctional()
    assert (empty.scale, empty.zero_point) == (1.0, 0)
    empty.scale, empty.zero_point = 0.1, 100
    for name in ("add", "mul", "add_relu"):
        want = getattr(ot.ops.quantized, name)(qx, qy, 0.1, 100)
        assert getattr(empty, name)(qx, qy).equal(want)
    assert empty.cat([qx, qy], 1).equal(ot.ops.quantized.cat([qx, qy], 1, 0.1, 100))
    assert empty.mul_scalar(qx, 2.0).q_scale() == F32(0.1)
    plain = nnq.FXFloatFunctional()
    assert plain.add(x, y).equal(x + y)
    model = nn.Sequential(plain, nn.Linear(4, 4)).eval()
    model.qconfig = tq.default_qconfig
    assert tq.prepare(model)[0].stage == "float"
    with pytest.raises(TypeError, match="call add"):
        plain(x)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.LayerNorm(0), "normalized_shape"),
        (lambda: nn.LayerNorm(4, eps=0), "eps"),
        (lambda: nn.GroupNorm(3, 4), "num_groups: expected a divisor"),
        (lambda: nn.InstanceNorm2d(3)(ot.randn(2, 3, 4)), "with C = 3"),
        (lambda: nn.BatchNorm3d(3)(ot.randn(2, 3, 4, 4)), "with C = 3"),
        (lambda: nn.LayerNorm(4)(ot.randn(2, 3)), "expected shape"),
        (lambda: nn.GELU("exact"), "approximate"),
        (lambda: nn.PReLU(0), "num_parameters"),
        (lambda: nn.LeakyReLU("a"), "LeakyReLU: negative_slope: expected a number"),
        (lambda: nn.Threshold("a", 0.0), "Threshold: threshold: expected a number"),
        (lambda: nnq.Quantize(-1.0, 0, _C.quint8), "scale"),
    ],
)
def test_wrong_arguments_are_refused(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
