"""Observers that search a histogram, merging, fixed parameters, state helpers, and the table of defaults."""

from __future__ import annotations

import numpy as np
import pytest

import octensor as ot
import octensor.quantization as tq
from octensor import _C, nn

RNG = np.random.default_rng(0)
SEARCH = [tq.PercentileObserver, tq.MSEObserver, tq.EntropyObserver]


def error(observer, x):
    return float(((_C.dequantize(_C.quantize(x, observer.qparams())) - x) ** 2).mean())


def test_percentiles_are_those_of_the_data():
    x = RNG.standard_normal(200_000).astype(np.float32)
    observer = tq.PercentileObserver(percentile=99, bins=4096)
    observer(x)
    lo, hi = observer.range()
    width = (x.max() - x.min()) / 4096
    np.testing.assert_allclose([lo, hi], np.percentile(x, [0.5, 99.5]), atol=2 * width)
    everything = tq.PercentileObserver(percentile=100)
    everything(x)
    assert everything.range() == (x.min(), x.max())
    with pytest.raises(ValueError, match="expected 0 < percentile <= 100, got 0"):
        tq.PercentileObserver(percentile=0)


@pytest.mark.parametrize("scheme", ["per_tensor_affine", "per_tensor_symmetric"])
@pytest.mark.parametrize("shape", ["gauss", "long tails", "one-sided", "outlier"])
def test_mse_is_the_best_of_the_ranges_it_tries(scheme, shape):
    x = {
        "gauss": RNG.standard_normal(20_000),
        "long tails": RNG.standard_t(2, 20_000),
        "one-sided": np.maximum(RNG.standard_normal(20_000), 0),
        "outlier": np.append(RNG.standard_normal(20_000), 30),
    }[shape].astype(np.float32)
    kwargs = {"dtype": ot.qint8 if "symmetric" in scheme else ot.quint8, "qscheme": getattr(ot, scheme)}
    mse, plain = tq.MSEObserver(**kwargs), tq.MinMaxObserver(**kwargs)
    mse(x)
    plain(x)
    found = error(mse, x)
    assert found <= error(plain, x) * 1.01
    for shrink in np.linspace(0.05, 1, 20):
        part = tq.MinMaxObserver(**kwargs)
        part(x * np.float32(shrink))
        assert found <= error(part, x) * 1.02


def test_entropy_cuts_an_outlier_off_and_keeps_a_flat_range():
    flat = np.linspace(-1, 1, 50_000).astype(np.float32)
    kept, cut = tq.EntropyObserver(), tq.EntropyObserver()
    kept(flat)
    np.testing.assert_allclose(kept.range(), [-1, 1], atol=0.02)
    cut(np.append(RNG.standard_normal(50_000).astype(np.float32), np.float32(100)))
    assert 3 < cut.range()[1] < 30


@pytest.mark.parametrize("cls", [*SEARCH, tq.MinMaxObserver, tq.HistogramObserver, tq.PerChannelMinMaxObserver])
def test_merged_observers_are_one_pass_bit_for_bit(cls):
    shards = [(RNG.standard_normal((4, 500)) * 3.0**i).astype(np.float32) for i in range(-3, 5)]
    whole = cls()
    for x in shards:
        whole(x)
    for _ in range(3):
        parts = []
        for i in RNG.permutation(len(shards)):
            part = cls()
            part(shards[i])
            parts.append(part)
        merged = cls()
        for part in parts:
            merged.merge(part)
        merged.merge(cls())
        assert merged.qparams() == whole.qparams()
        for (name, a), (_, b) in zip(merged.named_buffers(), whole.named_buffers(), strict=True):
            np.testing.assert_array_equal(a, b, err_msg=name)


def test_what_cannot_be_merged_says_so():
    average = tq.MovingAverageMinMaxObserver()
    with pytest.raises(TypeError, match="does not depend on the order of batches"):
        average.merge(tq.MovingAverageMinMaxObserver())
    with pytest.raises(TypeError, match=r"MinMaxObserver.merge: other: expected a MinMaxObserver, got Histogram"):
        tq.MinMaxObserver().merge(tq.HistogramObserver())
    with pytest.raises(ValueError, match=r"expected dtype=octensor.quint8, got dtype=octensor.qint8"):
        tq.MinMaxObserver().merge(tq.MinMaxObserver(dtype=ot.qint8))
    with pytest.raises(ValueError, match="expected bins=2048, got bins=64"):
        tq.MSEObserver().merge(tq.MSEObserver(bins=64))
    a, b = tq.PerChannelMinMaxObserver(), tq.PerChannelMinMaxObserver()
    a(np.ones((2, 3), np.float32))
    b(np.ones((4, 3), np.float32))
    with pytest.raises(ValueError, match="expected 2 channels, got 4"):
        a.merge(b)


def test_fixed_qparams_observer():
    observer = tq.FixedQParamsObserver(1 / 256, 0)
    x = ot.ones(3)
    assert observer(x) is x
    assert observer.is_observed
    assert observer.qparams() == ot.QParams(1 / 256, 0, ot.quint8)
    with pytest.raises(ValueError, match="zero_point"):
        tq.FixedQParamsObserver(1.0, 300)


@pytest.mark.rows(193)
def test_observer_state_alone():
    def prepared():
        model = tq.QuantWrapper(nn.Linear(3, 2)).eval()
        model.qconfig = tq.get_default_qconfig()
        return tq.prepare(model)

    a, b = prepared(), prepared()
    a(ot.randn(20, 3))
    state = tq.get_observer_state_dict(a)
    assert {key.rpartition(".")[2] for key in state} == {"min_val", "max_val", "histogram"}
    weight = np.array(b.module.weight)
    tq.load_observer_state_dict(b, state)
    np.testing.assert_array_equal(b.module.weight, weight)
    assert b.module.activation_post_process.qparams() == a.module.activation_post_process.qparams()
    state.pop(next(iter(state)))
    state["module.weight"] = state["other"] = weight
    with pytest.raises(ValueError, match=r"missing keys: .*min_val.*; unexpected keys: module.weight, other"):
        tq.load_observer_state_dict(b, state)


@pytest.mark.rows(192)
@pytest.mark.parametrize(
    ("name", "cls", "dtype", "qscheme", "reduce_range"),
    [
        ("default_weight_observer", "MinMaxObserver", "qint8", "per_tensor_symmetric", False),
        ("default_per_channel_weight_observer", "PerChannelMinMaxObserver", "qint8", "per_channel_symmetric", False),
        (
            "default_float_qparams_observer",
            "PerChannelMinMaxObserver",
            "quint8",
            "per_channel_affine_float_qparams",
            False,
        ),
        (
            "default_float_qparams_observer_4bit",
            "PerChannelMinMaxObserver",
            "quint4x2",
            "per_channel_affine_float_qparams",
            False,
        ),
        ("weight_observer_range_neg_127_to_127", "MinMaxObserver", "qint8", "per_tensor_symmetric", False),
    ],
)
def test_default_observers(name, cls, dtype, qscheme, reduce_range):
    observer = getattr(tq, name)()
    assert type(observer).__name__ == cls
    assert (observer.dtype.name, observer.qscheme.name, observer.reduce_range) == (dtype, qscheme, reduce_range)
    placeholder = tq.default_dynamic_quant_observer()
    assert (placeholder.dtype, placeholder.compute_dtype) == (np.float32, ot.quint8)
    assert isinstance(tq.default_debug_observer(), tq.RecordingObserver)
    assert isinstance(tq.default_placeholder_observer(), tq.PlaceholderObserver)


@pytest.mark.rows(
    192,
    294,
    differs="the default activation observers use all 8 bits: integer sums are exact here, so nothing can saturate",
)
@pytest.mark.parametrize("name", ["default_observer", "default_histogram_observer"])
def test_default_activation_observers_keep_the_full_range(name):
    observer = getattr(tq, name)()
    assert (observer.quant_min, observer.quant_max, observer.reduce_range) == (0, 255, False)


def test_zeros_after_a_relu_do_not_make_entropy_cut_off_the_rest():
    values = np.maximum(np.random.default_rng(0).standard_normal(100_000), 0).astype(np.float32)
    observer = tq.EntropyObserver()
    observer(values)
    assert float(observer.range()[1]) > 3.5  # of values up to 4.5
