"""Fake quantization: the arithmetic of quantize and dequantize, straight-through gradients, switches, state."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import octensor as ot
import octensor.quantization as tq
from octensor import _C, nn
from octensor.grid import codes_of
from octensor.quantization import fake_ops

RNG = np.random.default_rng(0)
floats = arrays(np.float32, st.tuples(st.integers(1, 3), st.integers(1, 7)), elements=st.floats(width=32))
scales = st.floats(2.0**-20, 2.0**20, width=32)


def bits(x):
    return np.ascontiguousarray(np.asarray(x.detach() if isinstance(x, ot.Tensor) else x) + np.float32(0)).view(
        np.uint32
    )


# --- functions ------------------------------------------------------------------------------------


@pytest.mark.rows(196)
@given(x=floats, scale=scales, signed=st.booleans(), data=st.data())
def test_per_tensor_is_quantize_then_dequantize(x, scale, signed, data):
    dtype = ot.qint8 if signed else ot.quint8
    zero_point = data.draw(st.integers(dtype.qmin, dtype.qmax))
    want = _C.dequantize(_C.quantize(x, ot.QParams(scale, zero_point, dtype)))
    got = tq.fake_quantize_per_tensor_affine(ot.from_numpy(x), scale, zero_point, dtype.qmin, dtype.qmax)
    np.testing.assert_array_equal(bits(got), bits(want))


@pytest.mark.rows(197)
@given(x=floats, scale=scales, data=st.data())
def test_per_channel_is_quantize_then_dequantize(x, scale, data):
    axis = data.draw(st.integers(0, 1))
    n = x.shape[axis]
    s = (np.float32(scale) * np.linspace(1, 2, n)).astype(np.float32)
    z = np.array(data.draw(st.lists(st.integers(-128, 127), min_size=n, max_size=n)), np.int32)
    want = _C.dequantize(_C.quantize(x, ot.QParams(s, z, ot.qint8, axis)))
    got = tq.fake_quantize_per_channel_affine(ot.from_numpy(x), s, z, axis, -128, 127)
    np.testing.assert_array_equal(bits(got), bits(want))


@pytest.mark.rows(196, 197, 198)
@pytest.mark.parametrize("per_channel", [False, True])
def test_gradients_pass_where_the_code_is_in_range_both_ends_included(per_channel):
    # codes before clamping: -2, -1 (outside), 0 (the end), 1, 3 (the end), 4 (outside), and ties that round to even
    x = ot.tensor([[-1.0, -0.26, -0.25, 0.5, 1.5, 2.0, 1.75, 0.0]], requires_grad=True)
    if per_channel:
        call = fake_ops.fake_quantize_per_channel_affine_cachemask
        y, mask = call(x, np.array([0.5], np.float32), np.array([0]), 0, 0, 3)
    else:
        y, mask = tq.fake_quantize_per_tensor_affine_cachemask(x, 0.5, 0, 0, 3)
    np.testing.assert_array_equal(y.detach(), [[0, 0, 0, 0.5, 1.5, 1.5, 1.5, 0]])
    inside = np.array([[False, False, True, True, True, False, False, True]])
    np.testing.assert_array_equal(mask, inside)
    y.backward(np.arange(1, 9, dtype=np.float32).reshape(1, 8))
    np.testing.assert_array_equal(x.grad, np.arange(1, 9).reshape(1, 8) * inside)


@pytest.mark.rows(199, 200)
@pytest.mark.parametrize("per_channel", [False, True])
def test_learnable_gradients(per_channel):
    """Against the table written out with loops."""
    x = (RNG.standard_normal((3, 40)) * 4).astype(np.float32)
    s = np.array([0.1, 0.25, 0.07] if per_channel else [0.1], np.float32)
    zp = np.array([3.4, -1.5, 20.2] if per_channel else [3.4], np.float32)
    low, high, factor = -8, 24, 0.3
    dy = RNG.standard_normal(x.shape).astype(np.float32)
    tensors = [ot.tensor(v, requires_grad=True) for v in (x, s, zp)]
    if per_channel:
        y = fake_ops._fake_quantize_learnable_per_channel_affine(*tensors, 0, low, high, factor)
    else:
        y = fake_ops._fake_quantize_learnable_per_tensor_affine(*tensors, low, high, factor)
    y.backward(dy)
    dx, ds, dz = np.zeros_like(x), np.zeros_like(s), np.zeros_like(zp)
    for i, j in np.ndindex(x.shape):
        c = i if per_channel else 0
        z, back = int(np.clip(np.rint(zp[c]), low, high)), int(np.clip(zp[c] + 0.5, low, high))
        q = int(np.rint(x[i, j] / s[c])) + z
        value = (min(max(q, low), high) - z) * s[c]
        assert np.isclose(y.detach().numpy()[i, j], value)
        if low <= q <= high:
            dx[i, j] = dy[i, j]
            ds[c] += dy[i, j] * (value - x[i, j]) / s[c] * factor
        else:
            ds[c] += dy[i, j] * ((low if q < low else high) - back) * factor
            dz[c] -= dy[i, j] * s[c] * factor
    for tensor, want in zip(tensors, (dx, ds, dz), strict=True):
        np.testing.assert_allclose(tensor.grad, want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((0.5, 300, 0, 255), ValueError, r"zero_point: expected values in \[0, 255\]"),
        ((0.0, 0, 0, 255), ValueError, "scale: expected positive finite"),
        ((float("nan"), 0, 0, 255), ValueError, "scale: expected positive finite"),
        ((0.5, 0, 255, 0), ValueError, "quant_min < quant_max"),
        ((0.5, 1.5, 0, 255), TypeError, "zero_point: expected an integer"),
    ],
)
def test_wrong_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        tq.fake_quantize_per_tensor_affine(ot.zeros(3), *arguments)
    with pytest.raises(ValueError, match=r"expected shape \(3,\), one for each channel of axis 1"):
        tq.fake_quantize_per_channel_affine(ot.zeros(2, 3), np.ones(2), np.zeros(2, int), 1, 0, 255)


# --- modules --------------------------------------------------------------------------------------


@pytest.mark.rows(194)
def test_fake_quantize_observes_then_rounds():
    fake = tq.FakeQuantize(observer=tq.MinMaxObserver)
    x = ot.tensor([-1.0, 0.3, 2.0])
    y = fake(x)
    p = ot.QParams(3 / 255, 85, ot.quint8)
    assert fake.qparams() == p
    np.testing.assert_array_equal(y, _C.dequantize(_C.quantize(x.numpy(), p)))
    fake.disable_observer()
    np.testing.assert_array_equal(fake(x * 100), _C.dequantize(_C.quantize(x.numpy() * 100, p)))
    fake.disable_fake_quant()
    big = x * 100
    assert fake(big) is big
    fake.enable_observer()
    fake(big)
    assert fake.qparams().scale == np.float32(300 / 255)
    fake.enable_fake_quant()
    np.testing.assert_array_equal(fake.scale, [np.float32(300 / 255)])


@pytest.mark.rows(194)
def test_bounds_are_the_observers_too_unless_they_are_all_codes():
    narrow = tq.FakeQuantize(tq.MinMaxObserver, -8, 7, dtype=ot.qint8, qscheme=ot.per_tensor_symmetric)
    y = np.asarray(narrow(ot.linspace(-1, 1, 101)))
    assert len(np.unique(y)) <= 16
    assert narrow.qparams().scale == np.float32(1 / 7.5)
    reduced = tq.FakeQuantize(tq.MinMaxObserver, 0, 255, reduce_range=True)
    reduced(ot.tensor([0.0, 1.0]))
    assert reduced.qparams().scale == np.float32(1 / 127)
    reduced.disable_observer()
    assert np.asarray(reduced(ot.tensor([2.0])))[0] > 1.9  # planned for 127, clamped at 255
    with pytest.raises(ValueError, match=r"expected bounds inside octensor.quint8 \(0..255\), got -1 and 255"):
        tq.FakeQuantize(quant_min=-1, quant_max=255)


@pytest.mark.rows(194, 197)
def test_per_channel_and_state():
    fake = tq.default_per_channel_weight_fake_quant()
    w = RNG.standard_normal((3, 5)).astype(np.float32)
    y = np.asarray(fake(ot.from_numpy(w)))
    s = np.abs(w).max(1) / np.float32(127.5)
    np.testing.assert_array_equal(fake.scale, s)
    np.testing.assert_array_equal(y, np.clip(np.rint(w / s[:, None]), -128, 127) * s[:, None])
    state = fake.state_dict()
    assert set(state) == {
        "fake_quant_enabled",
        "observer_enabled",
        "scale",
        "zero_point",
        "activation_post_process.min_val",
        "activation_post_process.max_val",
    }
    other = tq.default_per_channel_weight_fake_quant()
    fake.disable_observer()
    other.load_state_dict(state)
    assert other.qparams() == fake.qparams()
    assert not other.observer_enabled[0]
    assert copy.deepcopy(fake).qparams() == fake.qparams()


@pytest.mark.rows(194)
def test_eval_mode_gives_the_codes_along():
    fake = tq.FakeQuantize(tq.MinMaxObserver).eval()
    x = ot.tensor([-1.0, 0.3, 2.0], requires_grad=True)
    y = fake(x)
    assert codes_of(y).equal(_C.quantize(np.asarray(x.detach()), fake.qparams()))
    y.sum().backward()
    np.testing.assert_array_equal(x.grad, [1, 1, 1])
    assert fake(y) is y


@pytest.mark.rows(195, 203)
def test_fixed_qparams():
    fake = tq.default_affine_fixed_qparams_fake_quant()
    np.testing.assert_array_equal(fake(ot.tensor([0.5, 2.0, -1.0])), [0.5, 255 / 256, 0])
    symmetric = tq.default_symmetric_fixed_qparams_fake_quant()
    np.testing.assert_array_equal(symmetric(ot.tensor([0.5, 2.0, -1.0])), [0.5, 127 / 128, -1])
    assert (symmetric.qparams(), symmetric.is_observed) == (ot.QParams(2 / 256, 128, ot.quint8), True)
    with pytest.raises(ValueError, match="expected bounds inside"):
        tq.FixedQParamsFakeQuantize(1.0, 5, quant_min=10, quant_max=20)
    with pytest.raises(TypeError, match="expected both"):
        tq.FixedQParamsFakeQuantize(1.0)


@pytest.mark.rows(199)
def test_learnable_modes():
    fake = tq._LearnableFakeQuantize(
        tq.MovingAverageMinMaxObserver,
        -8,
        7,
        dtype=ot.qint8,
        qscheme=ot.per_tensor_symmetric,
        use_grad_scaling=True,
    )
    assert fake.bitwidth == 4
    x = ot.from_numpy(RNG.standard_normal(64).astype(np.float32))
    fake.enable_static_observation()
    assert fake(x) is x
    fake.enable_static_estimate()
    fake(x)
    start = fake.scale.item()
    assert start == np.float32(np.abs(x.numpy()).max() / np.float32(7.5))
    fake.enable_param_learning()
    assert fake.scale.requires_grad
    fake.scale.data = np.array([start * 3], np.float32)
    optimiser = ot.optim.SGD([fake.scale], lr=0.5)
    first = last = None
    for _ in range(200):
        optimiser.zero_grad()
        error = fake(x) - x
        loss = (error * error).mean()
        loss.backward()
        optimiser.step()
        last = loss.item()
        first = last if first is None else first
    assert fake.scale.item() < start * 2.5
    assert last < first / 2
    assert fake.qparams().dtype == ot.qint8
    fake.scale.data = np.array([-1.0], np.float32)
    fake(x)
    assert fake.scale.item() == np.float32(fake.eps[0])
    with pytest.raises(ValueError, match="channel_len: expected the number of channels"):
        tq._LearnableFakeQuantize(tq.PerChannelMinMaxObserver)


@pytest.mark.rows(201)
def test_fused_is_the_moving_average_form():
    fused, plain = tq.default_fused_per_channel_wt_fake_quant(), tq.default_per_channel_weight_fake_quant()
    for _ in range(3):
        x = ot.from_numpy(RNG.standard_normal((3, 5)).astype(np.float32))
        np.testing.assert_array_equal(fused(x), plain(x))
    with pytest.raises(ValueError, match="use FakeQuantize for others"):
        tq.FusedMovingAvgObsFakeQuantize(tq.MinMaxObserver)


@pytest.mark.rows(202)
def test_switches_reach_every_module():
    model = nn.Sequential(nn.Linear(2, 2)).train()
    model.qconfig = tq.get_default_qat_qconfig()
    model = tq.prepare_qat(model)
    fakes = [m for m in model.modules() if isinstance(m, tq.FakeQuantizeBase)]
    assert len(fakes) == 2
    for switch, name, value in (
        (tq.disable_observer, "observer_enabled", 0),
        (tq.enable_observer, "observer_enabled", 1),
        (tq.disable_fake_quant, "fake_quant_enabled", 0),
        (tq.enable_fake_quant, "fake_quant_enabled", 1),
    ):
        model.apply(switch)
        assert all(getattr(f, name)[0] == value for f in fakes)


@pytest.mark.rows(203)
@pytest.mark.parametrize(
    ("name", "observer", "dtype", "qscheme", "bounds"),
    [
        ("default_fake_quant", "MovingAverageMinMax", "quint8", "per_tensor_affine", (0, 255)),
        ("default_weight_fake_quant", "MovingAverageMinMax", "qint8", "per_tensor_symmetric", (-128, 127)),
        (
            "default_per_channel_weight_fake_quant",
            "MovingAveragePerChannelMinMax",
            "qint8",
            "per_channel_symmetric",
            (-128, 127),
        ),
        ("default_histogram_fake_quant", "Histogram", "quint8", "per_tensor_affine", (0, 255)),
        ("default_embedding_fake_quant", "PerChannelMinMax", "quint8", "per_channel_affine_float_qparams", (0, 255)),
        ("default_dynamic_fake_quant", "MovingAverageMinMax", "quint8", "per_tensor_affine", (0, 255)),
        (
            "default_embedding_fake_quant_4bit",
            "PerChannelMinMax",
            "quint4x2",
            "per_channel_affine_float_qparams",
            (0, 15),
        ),
        ("default_fused_act_fake_quant", "MovingAverageMinMax", "quint8", "per_tensor_affine", (0, 255)),
        ("default_fused_wt_fake_quant", "MovingAverageMinMax", "qint8", "per_tensor_symmetric", (-128, 127)),
        (
            "default_fused_per_channel_wt_fake_quant",
            "MovingAveragePerChannelMinMax",
            "qint8",
            "per_channel_symmetric",
            (-128, 127),
        ),
        (
            "fused_wt_fake_quant_range_neg_127_to_127",
            "MovingAverageMinMax",
            "qint8",
            "per_tensor_symmetric",
            (-127, 127),
        ),
    ],
)
def test_default_fake_quants(name, observer, dtype, qscheme, bounds):
    fake = getattr(tq, name)()
    made = fake.activation_post_process
    assert type(made).__name__ == f"{observer}Observer"
    assert (made.dtype.name, made.qscheme.name) == (dtype, qscheme)
    assert (fake.quant_min, fake.quant_max) == bounds
    assert (made.quant_min, made.quant_max) == bounds
    if observer.startswith("MovingAverage"):
        assert made.averaging_constant == (1 if "dynamic" in name else 0.01)


@pytest.mark.rows(203)
def test_float_zero_points():
    fake = tq.default_embedding_fake_quant()
    w = RNG.uniform(1, 2, (4, 6)).astype(np.float32)
    y = np.asarray(fake(ot.from_numpy(w)))
    assert np.abs(y - w).max() <= (w.max(1) - w.min(1)).max() / 255
    assert fake.qparams().qscheme == ot.per_channel_affine_float_qparams
    np.testing.assert_allclose(_C.dequantize(_C.quantize(w, fake.qparams())), y, rtol=1e-6)
