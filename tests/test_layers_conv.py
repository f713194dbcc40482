"""Convolution layers of every rank: float shapes and padding modes, static against the oracle, views."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import octensor as ot
import octensor.quantization as tq
import oracle
import support
from octensor import _C, nn
from octensor.nn import intrinsic as nni
from octensor.nn import quantized as nnq
from octensor.nn.intrinsic import quantized as nniq
from octensor.nn.quantized import _reference

RANKS = (1, 2, 3)
ROWS = {
    "Conv1d": 128,
    "Conv2d": 129,
    "Conv3d": 130,
    "ConvTranspose1d": 131,
    "ConvTranspose2d": 132,
    "ConvTranspose3d": 133,
}
KINDS = [pytest.param(name, int(name[-2]), marks=pytest.mark.rows(row)) for name, row in ROWS.items()]


@pytest.fixture(autouse=True)
def _seed() -> None:
    ot.manual_seed(0)


def images(axes: int, channels: int = 4, n: int = 2) -> Any:
    return ot.randn(n, channels, *(7, 6, 5)[:axes])


def q(t: Any) -> oracle.Q:
    """A QTensor as the oracle sees it."""
    p = t.qparams
    return oracle.Q(t.int_repr(), p.scale, p.zero_point, t.dtype.name, p.axis)


def prepared(layer: nn.Module, x: Any, qconfig: Any = None) -> tuple[Any, Any]:
    """A calibrated layer behind a stub, and the stub."""
    model = tq.QuantWrapper(layer.eval())
    model.qconfig = qconfig or tq.get_default_qconfig()
    model = tq.prepare(model)
    model(x)
    return model.module, model.quant


def static(layer: nn.Module, x: Any, qconfig: Any = None) -> tuple[Any, Any]:
    """The converted layer, and its quantized input."""
    model = tq.QuantWrapper(layer.eval())
    model.qconfig = qconfig or tq.get_default_qconfig()
    model = tq.prepare(model)
    model(x)
    model = tq.convert(model)
    return model.module, model.quant(x)


def expected(layer: Any, x: Any, relu: bool = False) -> np.ndarray:
    out = layer.activation_post_process
    want = oracle.Q(np.empty(0), out.scale, out.zero_point, out.dtype.name)
    bias = None if layer.bias is None else layer.bias.numpy()
    walk: dict[str, Any] = {"stride": layer.stride, "padding": layer.padding, "dilation": layer.dilation}
    run = oracle.conv
    if hasattr(layer, "output_padding"):
        run, walk["output_padding"] = oracle.conv_transpose, layer.output_padding
    return run(q(x), q(layer.weight), bias, want, groups=layer.groups, relu=relu, **walk)


@pytest.mark.parametrize(("kind", "axes"), KINDS)
@pytest.mark.parametrize("engine", ["fbgemm", "qnnpack"])
def test_static_layer_is_the_oracle(kind: str, axes: int, engine: str) -> None:
    extra = {"output_padding": 1} if "Transpose" in kind else {}
    layer = getattr(nn, kind)(4, 6, 3, stride=2, padding=1, groups=2, **extra)
    x = images(axes)
    float_result = layer(x).detach().numpy()
    made, codes = static(layer, x, tq.get_default_qconfig(engine))
    assert made.stage == "static"
    assert made.weight.qparams.is_per_channel == (engine == "fbgemm")
    support.assert_everywhere(lambda: made(codes), expected(made, codes))
    got = made(codes).dequantize().numpy()
    assert got.shape == float_result.shape
    assert ((got - float_result) ** 2).sum() < 2e-3 * (float_result**2).sum()


@pytest.mark.parametrize(("kind", "axes"), KINDS)
def test_static_view_makes_recognises_and_loads(kind: str, axes: int) -> None:
    view, layer, x = getattr(nnq, kind), getattr(nn, kind)(4, 6, 3), images(axes)
    assert not isinstance(layer, view)
    calibrated, stub = prepared(layer, x)
    made = view.from_float(calibrated)
    assert isinstance(made, view)
    assert not isinstance(made, nnq.Linear)
    codes = ot.quantize_per_tensor(x, *stub.activation_post_process.calculate_qparams(), ot.quint8)
    assert made.weight().dtype == _C.qint8
    assert made.bias().equal(layer.bias)
    empty = view(4, 6, 3)
    assert (empty.scale, empty.zero_point) == (1.0, 0)
    empty.load_state_dict(made.state_dict())
    assert empty(codes).equal(made(codes))
    empty.scale, empty.zero_point = 0.5, 3
    assert (empty(codes).q_scale(), empty(codes).q_zero_point()) == (0.5, 3)
    with pytest.raises(ValueError, match="from_float"):
        view.from_float(nn.Linear(2, 2))
    with pytest.raises(TypeError, match="QuantStub"):
        made(x)


@pytest.mark.parametrize("kind", ["Conv1d", "Conv2d", "Linear"])
@pytest.mark.rows(127, 128, 129)
def test_set_weight_bias_changes_what_is_computed(kind: str) -> None:
    arguments = (4, 6) if kind == "Linear" else (4, 6, 3)
    layer = getattr(nnq, kind)(*arguments)
    x = ot.quantize_per_tensor(ot.randn(2, 4) if kind == "Linear" else images(int(kind[-2])), 0.05, 128, ot.quint8)
    before = layer(x)
    weight = ot.quantize_per_tensor(ot.randn(*layer.weight.shape), 0.02, 0, ot.qint8)
    layer.set_weight_bias(weight, ot.ones(6))
    assert layer.weight().equal(weight)
    assert layer.bias().equal(ot.ones(6))
    assert not layer(x).equal(before)
    layer.set_weight_bias(weight, None)
    assert layer.bias is None


@pytest.mark.parametrize("axes", RANKS)
@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
@pytest.mark.rows(128, 129)
@pytest.mark.rows(130, differs="Conv3d takes the padding modes of the other ranks too")
def test_padding_modes_pad_first(axes: int, mode: str) -> None:
    layer = getattr(nn, f"Conv{axes}d")(4, 6, 3, padding=tuple(range(1, axes + 1)), padding_mode=mode)
    x = images(axes)
    names = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}
    widths = ((0, 0), (0, 0), *((p, p) for p in layer.padding))
    plain = getattr(nn, f"Conv{axes}d")(4, 6, 3)
    plain.load_state_dict(layer.state_dict())
    want = plain(np.pad(x.numpy(), widths, names[mode]))
    np.testing.assert_allclose(layer(x).detach().numpy(), want.detach().numpy(), atol=1e-5)
    made, codes = static(layer, x)
    padded = codes.int_repr()
    padded = ot.QTensor.from_numpy(np.pad(padded, widths, names[mode]), codes.qparams)
    packed = _C.PackedConv(made.weight, made.bias.numpy(), made.stride, (0,) * axes, made.dilation, 1)
    support.assert_same(made(codes), _C.conv(padded, packed, made.activation_post_process).int_repr())


@pytest.mark.parametrize("axes", RANKS)
@pytest.mark.rows(151, 153, 154, 156)
def test_fused_views(axes: int) -> None:
    conv = getattr(nn, f"Conv{axes}d")(4, 6, 3)
    bn, relu = getattr(nn, f"BatchNorm{axes}d")(6), nn.ReLU()
    with_relu = getattr(nni, f"ConvReLU{axes}d")(conv, relu)
    with_bn = getattr(nni, f"ConvBn{axes}d")(conv, bn)
    with_both = getattr(nni, f"ConvBnReLU{axes}d")(conv, bn, relu)
    fused = {"ConvReLU": with_relu, "ConvBn": with_bn, "ConvBnReLU": with_both}
    for name, layer in fused.items():
        kinds = {other for other in fused if isinstance(layer, getattr(nni, f"{other}{axes}d"))}
        assert kinds == {name}
        assert layer.weight is conv.weight
    assert not isinstance(conv, getattr(nni, f"ConvReLU{axes}d"))
    x = images(axes)
    for module in (bn, with_bn, with_both):
        module.eval()
    bn.running_mean.normal_()
    np.testing.assert_allclose(with_bn(x).detach(), bn(conv(x)).detach().numpy(), atol=1e-5)
    np.testing.assert_allclose(with_both(x).detach(), np.maximum(bn(conv(x)).detach().numpy(), 0), atol=1e-5)
    with pytest.raises(TypeError, match="expected modules"):
        getattr(nni, f"ConvReLU{axes}d")(conv, bn)
    with pytest.raises(TypeError, match="expected modules"):
        getattr(nni, f"ConvReLU{axes}d")(nn.Linear(2, 2), relu)

    made, codes = static(with_relu, x)
    view = getattr(nniq, f"ConvReLU{axes}d")
    assert isinstance(made, view)
    assert not isinstance(made, getattr(nnq, f"Conv{axes}d"))
    made.zero_point = 60  # calibration finds 0, where clamping to the dtype would hide a missing ReLU
    support.assert_everywhere(lambda: made(codes), expected(made, codes, relu=True))
    empty = view(4, 6, 3)
    empty.load_state_dict(made.state_dict())
    assert empty(codes).equal(made(codes))


@pytest.mark.rows(152, 157, 127)
def test_linear_views() -> None:
    linear = nn.Linear(4, 6)
    fused = nni.LinearReLU(linear, nn.ReLU())
    assert isinstance(fused, nni.LinearReLU)
    x = ot.randn(5, 4)
    np.testing.assert_array_equal(fused(x).detach(), np.maximum(linear(x).detach().numpy(), 0))
    for layer, view, relu in ((linear, nnq.Linear, False), (fused, nniq.LinearReLU, True)):
        made, codes = static(layer, x)
        assert isinstance(made, view)
        assert not isinstance(made, nniq.LinearReLU if view is nnq.Linear else nnq.Linear)
        made.zero_point = (
            60  # calibration finds 0 with a ReLU, where clamping to the dtype would hide that it is missing
        )
        out = made.activation_post_process
        want = oracle.Q(np.empty(0), out.scale, out.zero_point, out.dtype.name)
        support.assert_everywhere(
            lambda m=made, c=codes, w=want, r=relu: m(c),
            oracle.linear(q(codes), q(made.weight), made.bias.numpy(), want, relu),
        )
        empty = view(4, 6, bias_=True)
        empty.load_state_dict(made.state_dict())
        assert empty(codes).equal(made(codes))


@pytest.mark.rows(
    149, differs="a state dict holds weight, bias, scale and zero_point by name, with nothing packed to version"
)
def test_state_of_a_static_layer_is_plain() -> None:
    assert set(nnq.Linear(3, 2).state_dict()) == {"weight", "bias", "scale", "zero_point"}
    assert set(nnq.Conv2d(3, 2, 1, bias=False).state_dict()) == {"weight", "scale", "zero_point"}


@pytest.mark.rows(150)
@pytest.mark.parametrize("kind", ["Linear", "Conv1d", "Conv2d", "Conv3d"])
@pytest.mark.parametrize("relu", [False, True])
def test_reference_layers_compute_in_float(kind: str, relu: bool) -> None:
    axes = 0 if kind == "Linear" else int(kind[-2])
    layer = nn.Linear(4, 6) if not axes else getattr(nn, kind)(4, 6, 3)
    layer.activation = nn.ReLU() if relu else None
    x = images(axes) if axes else ot.randn(5, 4)
    made, codes = static(layer, x)
    reference = getattr(_reference, kind).from_float(made)
    assert reference is not made
    assert type(made) is getattr(nn, kind)
    assert isinstance(reference, getattr(_reference, kind))
    got = reference(codes)
    weight, values = made.weight.dequantize(), codes.dequantize()
    again = layer._compute(values, weight, made.bias)
    again = again.relu() if relu else again
    want = ot.quantize_per_tensor(again.detach(), made.scale, made.zero_point, ot.quint8)
    assert np.array_equal(got.int_repr(), want.int_repr())
    assert np.abs(got.int_repr().astype(int) - made(codes).int_repr().astype(int)).max() <= 1
    waiting, _ = prepared(layer, x)
    assert np.array_equal(getattr(_reference, kind).from_float(waiting)(codes).int_repr(), got.int_repr())
    reference.zero_point = 60  # calibration finds 0 behind a ReLU, where clamping to the dtype hides a missing one
    assert (reference(codes).int_repr().min() >= 60) == relu


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.Conv1d(3, 4, (3, 3)), "Conv1d: kernel_size"),
        (lambda: nn.Conv3d(3, 4, 0), "kernel_size"),
        (lambda: nn.Conv2d(3, 4, 3, groups=2), "groups: expected a divisor"),
        (lambda: nn.Conv2d(3, 4, 3, padding_mode="mirror"), "padding_mode: expected one of"),
        (lambda: nn.ConvTranspose2d(3, 4, 3, padding_mode="reflect"), "padding_mode: expected 'zeros'"),
        (lambda: nn.ConvTranspose2d(3, 4, 3, output_padding=1), "output_padding: expected less"),
        (lambda: nn.Conv1d(3, 4, 3)(ot.randn(1, 3, 4, 4)), "expected shape"),
        (lambda: nn.ConvTranspose3d(3, 4, 3)(ot.randn(1, 2, 4, 4, 4)), "channels"),
    ],
)
def test_wrong_arguments_are_refused(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
