"""Observers and the formulas from a range to qparams: values worked out by hand, and properties on random data."""

from __future__ import annotations

import copy
import pickle
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import octensor as ot
from octensor.quantization import (
    HistogramObserver,
    MinMaxObserver,
    MovingAverageMinMaxObserver,
    MovingAveragePerChannelMinMaxObserver,
    NoopObserver,
    PerChannelMinMaxObserver,
    PlaceholderObserver,
    RecordingObserver,
    choose_qparams,
)
from octensor.quantization.histogram import best_window, grid_exponent, window_errors
from octensor.quantization.qparams import fit_bias, integer_range

PER_TENSOR = [MinMaxObserver, MovingAverageMinMaxObserver, HistogramObserver]
PER_CHANNEL = [PerChannelMinMaxObserver, MovingAveragePerChannelMinMaxObserver]

finite = st.floats(width=32, allow_nan=False, allow_infinity=False)
batches = st.lists(arrays(np.float32, st.integers(1, 20), elements=finite), min_size=1, max_size=4)


def observed(observer, *data):
    for values in data:
        observer(np.asarray(values, np.float32))
    return observer


# --- formulas -------------------------------------------------------------------------------------


@pytest.mark.rows(5, 185, 186, 190)
@pytest.mark.parametrize(
    ("lo", "hi", "dtype", "scheme", "scale", "zero_point"),
    [
        (-1, 2, "quint8", "per_tensor_affine", 3 / 255, 85),
        (-1, 2, "qint8", "per_tensor_affine", 3 / 255, -43),
        (-1, 2, "qint8", "per_tensor_symmetric", 2 / 127.5, 0),
        (-1, 2, "quint8", "per_tensor_symmetric", 2 / 127.5, 128),
        (5, 5, "quint8", "per_tensor_affine", 5 / 255, 0),
        (-5, -5, "quint8", "per_tensor_affine", 5 / 255, 255),
        (0, 0, "quint8", "per_tensor_affine", 2.0**-23, 0),
        (0, 0, "qint8", "per_tensor_affine", 2.0**-23, -128),
        (0, 1e-40, "quint8", "per_tensor_affine", 2.0**-23, 0),
        (-3e38, 3e38, "quint8", "per_tensor_affine", 6e38 / 255, 128),
    ],
)
def test_choose_qparams(lo, hi, dtype, scheme, scale, zero_point):
    s, z = choose_qparams(lo, hi, getattr(ot, dtype), getattr(ot.qscheme, scheme))
    assert (s.dtype, z.dtype, s.shape, z.shape) == (np.float32, np.int32, (1,), (1,))
    np.testing.assert_allclose(s, scale, rtol=2e-7)
    assert z[0] == zero_point


@pytest.mark.rows(187)
def test_float_qparams_keep_the_minimum_and_floor_at_one():
    s, z = choose_qparams([-1, 0], [4.1, 0], ot.quint8, ot.qscheme.per_channel_affine_float_qparams)
    np.testing.assert_allclose(s, [5.1 / 255, 1], rtol=1e-6)
    np.testing.assert_allclose(z, [50, 0], rtol=1e-6)


@given(lo=finite, hi=finite, signed=st.booleans(), symmetric=st.booleans())
def test_zero_is_exact_and_ends_are_within_a_code(lo, hi, signed, symmetric):
    lo, hi = min(lo, hi), max(lo, hi)
    dtype = ot.qint8 if signed else ot.quint8
    scheme = ot.qscheme.per_tensor_symmetric if symmetric else ot.qscheme.per_tensor_affine
    s, z = choose_qparams(lo, hi, dtype, scheme)
    assert dtype.qmin <= z[0] <= dtype.qmax
    assert s[0] >= np.finfo(np.float32).eps
    wide = np.float64(s[0])
    for end in (min(lo, 0), max(hi, 0)):
        code = np.clip(np.rint(end / wide) + z[0], dtype.qmin, dtype.qmax)
        assert abs((code - z[0]) * wide - end) <= wide * 1.001


@pytest.mark.rows(188, 189)
def test_ranges_of_codes():
    assert integer_range(ot.qint8)[:2] == (-128, 127)
    assert integer_range(ot.qint8, reduce_range=True)[:2] == (-64, 63)
    assert integer_range(ot.quint8, reduce_range=True)[:2] == (0, 127)
    assert integer_range(ot.qint8, quant_min=-127, quant_max=127) == (-127, 127, False)  # literal bounds


@pytest.mark.rows(188, 189)
def test_reduced_and_custom_ranges_reach_the_scale():
    s, _ = observed(MinMaxObserver(reduce_range=True), [0, 127]).calculate_qparams()
    assert s.item() == 1
    s, z = observed(MinMaxObserver(quant_min=0, quant_max=15), [0, 15]).calculate_qparams()
    assert (s.item(), z.item()) == (1, 0)


@given(
    scales=arrays(np.float32, 5, elements=st.floats(2**-23, 1, width=32)),
    bias=arrays(np.float32, 5, elements=finite),
    input_scale=st.floats(2**-23, 1e3, width=32),
)
def test_fit_bias_raises_only_what_it_must(scales, bias, input_scale):
    fitted = fit_bias(scales, bias, input_scale)
    codes = np.rint(bias.astype(np.float64) / (np.float64(input_scale) * fitted))
    assert (np.abs(codes) <= 2**31 - 1).all()
    fits = np.abs(np.rint(bias.astype(np.float64) / (np.float64(input_scale) * scales))) < 2**31 - 1
    assert (fitted[fits] == scales[fits]).all()
    assert (fitted >= scales).all()


# --- min and max ----------------------------------------------------------------------------------


@pytest.mark.rows(176)
@given(batches)
def test_minmax_is_that_of_all_data(data):
    whole = np.concatenate(data)
    observer = observed(MinMaxObserver(), *data)
    assert (observer.min_val, observer.max_val) == (whole.min(), whole.max())


@pytest.mark.rows(178)
@given(arrays(np.float32, (3, 4, 5), elements=finite), st.integers(0, 2))
def test_per_channel_is_per_tensor_of_each_channel(x, axis):
    qparams = observed(PerChannelMinMaxObserver(ch_axis=axis), x).qparams()
    assert qparams.axis == axis
    for c, channel in enumerate(np.moveaxis(x, axis, 0)):
        one = observed(MinMaxObserver(), channel).qparams()
        assert (one.scale, one.zero_point) == (qparams.scale[c], qparams.zero_point[c])


@pytest.mark.rows(177, 179)
@pytest.mark.parametrize("cls", [MovingAverageMinMaxObserver, MovingAveragePerChannelMinMaxObserver])
def test_moving_average(cls):
    observer = observed(cls(averaging_constant=0.25), [[-1, 1]], [[-2, 3]])
    assert observer.min_val.ravel() == -1.25
    assert observer.max_val.ravel() == 1.5


def test_moving_average_of_extremes_stays_finite():
    observer = observed(MovingAverageMinMaxObserver(averaging_constant=1), [-3e38], [3e38], [-3e38])
    assert np.isfinite(observer.qparams().scale)


# --- every observer -------------------------------------------------------------------------------


@pytest.mark.parametrize("cls", PER_TENSOR + PER_CHANNEL)
def test_input_comes_back_and_empty_batches_are_ignored(cls):
    observer = cls()
    x = ot.ones(2, 3)
    assert observer(x) is x
    before = observer.qparams()
    observer(np.empty((0, 3), np.float32))
    assert observer.qparams() == before


@pytest.mark.parametrize("cls", PER_TENSOR + PER_CHANNEL)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_refused_and_changes_nothing(cls, value):
    observer = observed(cls(), [[1, 2]])
    before = observer.qparams()
    with pytest.raises(ValueError, match=f"{cls.__name__}: input: expected finite values"):
        observer(np.array([[0, value]], np.float32))
    assert observer.qparams() == before


@pytest.mark.rows(191)
@pytest.mark.parametrize("cls", PER_TENSOR + PER_CHANNEL)
def test_nothing_observed_warns(cls):
    with pytest.warns(UserWarning, match=f"{cls.__name__}.calculate_qparams: nothing was observed"):
        scale, zero_point = cls().calculate_qparams()
    assert (scale.item(), zero_point.item()) == (1.0, 0)


@pytest.mark.parametrize("cls", PER_TENSOR + PER_CHANNEL)
def test_state_survives_copying_and_loading(cls):
    observer = observed(cls(), [[1, 2, -3]], [[1, 7, 0]])
    fresh = cls()
    fresh.load_state_dict(observer.state_dict())
    for other in (fresh, copy.deepcopy(observer), pickle.loads(pickle.dumps(observer))):
        assert other.qparams() == observer.qparams()
        observed(other, [[9, 9, 9]])
    assert observer.max_val.max() <= 7


@pytest.mark.rows(175)
def test_factories_chain_and_compare():
    factory = MinMaxObserver.with_args(dtype=ot.qint8).with_args(reduce_range=True)
    assert factory == MinMaxObserver.with_args(reduce_range=True, dtype=ot.qint8)
    assert factory != MinMaxObserver.with_args(dtype=ot.qint8)
    assert factory(reduce_range=False).quant_max == 127
    assert factory().quant_max == 63
    assert pickle.loads(pickle.dumps(factory)) == factory


@pytest.mark.rows(182, 183, 184)
def test_observers_without_qparams():
    recorder = observed(RecordingObserver(), [1, 2], [3])
    assert [v.tolist() for v in recorder.get_tensor_value()] == [[1, 2], [3]]
    for observer in (recorder, PlaceholderObserver(compute_dtype=ot.quint8), NoopObserver()):
        x = ot.ones(2)
        assert observer(x) is x
        with pytest.raises(ValueError, match="chooses no scale"):
            observer.calculate_qparams()


# --- histogram ------------------------------------------------------------------------------------


@pytest.mark.rows(180)
@given(batches, st.integers(2, 40), st.randoms())
def test_histogram_depends_on_the_data_alone(data, bins, random):
    whole = observed(HistogramObserver(bins), np.concatenate(data))
    random.shuffle(data)
    parts = observed(HistogramObserver(bins), *data)
    merged = HistogramObserver(bins)
    for part in data:
        merged.merge(observed(HistogramObserver(bins), part))
    for other in (parts, merged):
        np.testing.assert_array_equal(other.histogram, whole.histogram)
        assert (other.min_val, other.max_val) == (whole.min_val, whole.max_val)
        assert other.qparams() == whole.qparams()
    assert whole.histogram.sum() == sum(map(len, data))
    assert whole.histogram.size <= 2 * bins


@given(arrays(np.float32, 50, elements=finite))
def test_histogram_range_stays_inside_the_data(x):
    lo, hi = observed(HistogramObserver(), x).range()
    assert x.min() <= lo <= hi <= x.max()


@pytest.mark.parametrize("values", [[0] * 5, [5], [1e-45, -1e-44], [1000, 1000.0001], [-3e38, 3e38], [-1, 0, 0, 6]])
def test_histogram_of_few_values_keeps_their_range(values):
    observer = observed(HistogramObserver(), values)
    assert observer.range() == (np.float32(min(values)), np.float32(max(values)))
    assert np.isfinite(observer.qparams().scale)


@pytest.mark.rows(180)
def test_histogram_memory_is_bounded_when_the_range_explodes():
    observer = HistogramObserver(bins=64)
    for power in range(-40, 38):
        observed(observer, [10.0**power, -(10.0**power)])
    assert observer.histogram.size <= 128
    assert observer.histogram.sum() == 2 * 78


@pytest.mark.rows(181)
def test_histogram_clips_tails_when_that_is_better():
    x = np.random.default_rng(0).laplace(size=200_000).astype(np.float32)

    def squared_error(observer):
        q = observed(observer, x).qparams()
        return np.mean((ot.quantize_per_tensor(x, q.scale, q.zero_point, ot.quint8).dequantize().numpy() - x) ** 2)

    assert squared_error(HistogramObserver()) < 0.8 * squared_error(MinMaxObserver())


@pytest.mark.rows(181)
def test_histogram_range_is_the_window_of_the_search():
    x = np.random.default_rng(0).laplace(size=200_000).astype(np.float32)
    for bounds in ({}, {"quant_min": 0, "quant_max": 15}):  # the latter clips
        observer = observed(HistogramObserver(bins=512, **bounds), x)
        lo, hi = float(observer.min_val), float(observer.max_val)
        e = grid_exponent(lo, hi, 512)
        first, last = best_window(observer.histogram, 16 if bounds else 256)
        edges = np.ldexp(np.floor(np.ldexp(lo, -e)) + np.array([first, last + 1]), e)
        assert [float(v) for v in observer.range()] == [max(lo, edges[0]), min(hi, edges[1])]


def plain_error(counts, start, end, codes):
    """The error of one window, cell by cell, as the literature writes it."""
    width = (end - start + 1) / codes

    def norm(a, b):
        return (b**3 - a**3) / 3

    total = 0.0
    for i, n in enumerate(counts):
        b, e = i - start, i - start + 1
        kb, ke = (int(np.clip(np.floor(v / width), 0, codes - 1)) for v in (b, e))
        cb, ce = (kb + 0.5) * width, (ke + 0.5) * width
        inner = (ke - kb - 1) * norm(-width / 2, width / 2)
        total += n * (norm(b - cb, width / 2) + inner + norm(-width / 2, e - ce))
    return total


@given(arrays(np.int64, st.integers(2, 60), elements=st.integers(0, 50)), st.integers(2, 20), st.data())
def test_window_errors_match_the_plain_formula(counts, codes, data):
    start = data.draw(st.integers(0, counts.size - 1))
    end = data.draw(st.integers(start, counts.size - 1))
    got = window_errors(counts, np.array([[start, end]]), codes)[0]
    np.testing.assert_allclose(got, plain_error(counts, start, end, codes), rtol=1e-9, atol=1e-9)


@pytest.mark.rows(181)
@given(arrays(np.int64, st.integers(2, 200), elements=st.integers(0, 1000)).filter(lambda c: c[0] and c[-1]))
def test_search_is_never_worse_than_the_full_range(counts):
    first, last = best_window(counts, 16)
    assert 0 <= first <= last < counts.size
    found, full = window_errors(counts, np.array([[first, last], [0, counts.size - 1]]), 16)
    assert found <= full


def test_observing_and_searching_is_quick_enough_to_be_used_on_every_layer():
    x = np.random.default_rng(0).standard_normal(1 << 16).astype(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        observer = observed(HistogramObserver(), x, 2 * x, 4 * x)
        assert observer.histogram.dtype == np.int64
        observer.calculate_qparams()


@pytest.mark.rows(179)
def test_moving_average_of_every_channel_is_its_own():
    observer = observed(
        MovingAveragePerChannelMinMaxObserver(averaging_constant=0.25, ch_axis=1),
        [[-1, 10], [1, 30]],
        [[-2, 20], [3, 70]],
    )
    np.testing.assert_array_equal(observer.min_val, [-1.25, 12.5])
    np.testing.assert_array_equal(observer.max_val, [1.5, 40])
