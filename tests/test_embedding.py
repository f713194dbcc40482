"""Embedding layers: float with gradients, and tables of 8- and 4-bit rows."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

import octensor as ot
import octensor.quantization as tq
import support
from octensor import _C, nn
from octensor.nn import quantized as nnq

F32 = np.float32


@pytest.fixture(autouse=True)
def _seed() -> None:
    ot.manual_seed(0)


def table(rows: int, columns: int, dtype: Any, float_zero: bool = True) -> Any:
    """A quantized table with different parameters for each row, and its real values."""
    values = np.random.default_rng(0).standard_normal((rows, columns)).astype(F32)
    lo, hi = values.min(1), values.max(1)
    scale = (hi - lo) / F32(dtype.qmax)
    zero = -lo / scale
    qparams = _C.QParams(scale, zero if float_zero else np.rint(zero).astype(np.int32), dtype, 0, float_zero)
    q = _C.quantize(values, qparams)
    codes = q.int_repr()
    if dtype is _C.quint4x2:  # two codes to a byte, the first in the low half
        codes = np.stack([codes & 15, codes >> 4], 1).reshape(-1)[: values.size].reshape(values.shape)
    real = (codes.astype(F32) - np.asarray(qparams.zero_point, F32)[:, None]) * scale[:, None]
    return q, real


def bags(real: np.ndarray, indices: Any, offsets: Any, mode: str, weights: Any = None) -> np.ndarray:
    """Bags one by one."""
    ends = [*offsets[1:], len(indices)]
    rows = []
    for start, end in zip(offsets, ends, strict=True):
        part = real[indices[start:end]].astype(np.float64)
        if weights is not None:
            part = part * weights[start:end, None]
        empty = np.zeros(real.shape[1])
        rows.append(empty if end == start else {"sum": np.sum, "mean": np.mean, "max": np.max}[mode](part, axis=0))
    return np.stack(rows)


def test_float_rows_and_their_gradient() -> None:
    layer = nn.Embedding(5, 3, padding_idx=-1)
    assert layer.padding_idx == 4
    assert not layer.weight.numpy()[4].any()
    indices = np.array([[0, 2], [2, 4]])
    out = layer(indices)
    np.testing.assert_array_equal(out.detach().numpy(), layer.weight.numpy()[indices])
    (out * 2).sum().backward()
    np.testing.assert_array_equal(layer.weight.grad.numpy()[:, 0], [2, 0, 4, 0, 0])
    frozen = nn.Embedding.from_pretrained(ot.randn(4, 2))
    assert not frozen.weight.requires_grad


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
def test_float_bags(mode: str) -> None:
    layer = nn.EmbeddingBag(6, 3, mode=mode)
    indices, offsets = np.array([0, 2, 2, 5, 1]), np.array([0, 2, 2])
    want = bags(layer.weight.numpy(), indices, offsets, mode)
    np.testing.assert_allclose(layer(indices, offsets).detach().numpy(), want, rtol=1e-5, atol=1e-6)
    last = nn.EmbeddingBag(6, 3, mode=mode, include_last_offset=True, _weight=layer.weight)
    np.testing.assert_allclose(last(indices, np.array([0, 2, 2, 5])).detach().numpy(), want, rtol=1e-5, atol=1e-6)
    layer(indices.reshape(1, -1)).sum().backward()
    assert layer.weight.grad.shape == (6, 3)


@pytest.mark.rows(144)
@pytest.mark.parametrize("float_zero", [True, False])
@pytest.mark.parametrize("dtype", [_C.quint8, pytest.param(_C.quint4x2, marks=pytest.mark.rows(145))])
def test_quantized_rows_are_dequantized_codes(dtype: Any, float_zero: bool) -> None:
    q, real = table(6, 5, dtype, float_zero)
    layer = nn.Embedding(6, 5)
    layer.weight = q
    assert layer.stage == "weight-only"
    indices = np.array([[0, 5], [3, 3]], np.int32)
    out = layer(indices)
    assert out.dtype == np.float32
    support.assert_everywhere(lambda: layer(indices).numpy(), real[indices])


@pytest.mark.rows(145)
@pytest.mark.parametrize("dtype", [_C.quint8, _C.quint4x2])
def test_quantized_bags_sum_weighted_rows(dtype: Any) -> None:
    q, real = table(6, 5, dtype)
    layer = nnq.EmbeddingBag(6, 5, dtype=dtype)
    assert layer.mode == "sum"
    layer.weight = q
    indices, offsets = np.array([0, 2, 2, 5, 1], np.int64), np.array([0, 2, 2])
    weights = np.random.default_rng(1).uniform(0.5, 2, 5).astype(F32)
    got = layer(indices, offsets, weights)
    np.testing.assert_allclose(got.numpy(), bags(real, indices, offsets, "sum", weights), rtol=1e-5, atol=1e-5)
    support.assert_everywhere(lambda: layer(indices, offsets, weights).numpy(), got.numpy())
    two_d = layer(indices[:4].reshape(2, 2))
    np.testing.assert_allclose(two_d.numpy(), bags(real, indices[:4], [0, 2], "sum"), rtol=1e-5, atol=1e-5)


@pytest.mark.rows(145, differs="a converted EmbeddingBag keeps its mode and include_last_offset, mean included")
@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
def test_a_converted_bag_keeps_its_settings(mode: str) -> None:
    layer = nn.EmbeddingBag(6, 5, mode=mode, include_last_offset=True)
    layer.qconfig = tq.float_qparams_weight_only_qconfig
    made = nnq.EmbeddingBag.from_float(layer)
    assert (made.mode, made.include_last_offset) == (mode, True)
    indices, offsets = np.array([0, 2, 2, 5, 1]), np.array([0, 2, 5])
    want = bags(made.weight.dequantize().numpy(), indices, offsets[:-1], mode)
    np.testing.assert_allclose(made(indices, offsets).numpy(), want, rtol=1e-5, atol=1e-5)
    assert np.abs(made(indices, offsets).numpy() - layer(indices, offsets).detach().numpy()).max() < 0.05


@pytest.mark.rows(144, 145)
@pytest.mark.parametrize("kind", ["Embedding", "EmbeddingBag"])
def test_views_make_and_recognise_tables(kind: str) -> None:
    view, layer = getattr(nnq, kind), getattr(nn, kind)(6, 5)
    assert not isinstance(layer, view)
    layer.qconfig = tq.float_qparams_weight_only_qconfig
    made = view.from_float(layer)
    assert isinstance(made, view)
    assert made.weight().dtype == _C.quint8
    assert made.weight.qscheme() == ot.per_channel_affine_float_qparams
    assert made.weight.qparams.axis == 0
    empty = view(6, 5)
    assert not empty.weight.dequantize().numpy().any()
    empty.load_state_dict(made.state_dict())
    indices = np.array([[1, 2], [0, 5]])
    empty_result = empty(indices)
    if kind == "Embedding":
        assert empty_result.equal(made(indices))
        np.testing.assert_allclose(made(indices).numpy(), layer(indices).detach().numpy(), atol=0.02)
    assert copy.deepcopy(made)(indices).equal(made(indices))
    with pytest.raises(ValueError, match="dtype: expected quint8 or quint4x2"):
        view(6, 5, dtype=_C.qint8)
    with pytest.raises(ValueError, match="expected a float"):
        view.from_float(nn.Linear(2, 2))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.Embedding(0, 3), "num_embeddings"),
        (lambda: nn.Embedding(4, 3, padding_idx=4), "padding_idx"),
        (lambda: nn.Embedding(4, 3, max_norm=1.0), "max_norm: expected its default"),
        (lambda: nn.Embedding(4, 3, _weight=ot.zeros(3, 4)), "_weight: expected shape"),
        (lambda: nn.EmbeddingBag(4, 3, mode="product"), "mode: expected one of"),
        (lambda: nn.Embedding(4, 3)(np.array([4])), "expected values in"),
        (lambda: nn.EmbeddingBag(4, 3)(np.array([1, 2])), "offsets"),
    ],
)
def test_wrong_arguments_are_refused(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.rows(145)
@pytest.mark.parametrize("quantized", [False, True])
def test_a_bag_leaves_out_its_padding_index(quantized):
    q, _ = table(6, 4, _C.quint8)
    make = nnq.EmbeddingBag if quantized else nn.EmbeddingBag
    layer = make(6, 4, mode="sum", padding_idx=2, _weight=q if quantized else q.dequantize())
    rows = q.dequantize().numpy()
    got = np.asarray(layer(ot.tensor([1, 2, 3, 2]), ot.tensor([0, 3])).detach())
    np.testing.assert_allclose(got, [rows[1] + rows[3], np.zeros(4)], rtol=1e-6)
