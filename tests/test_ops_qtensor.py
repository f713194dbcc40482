"""Quantized tensors: making them, reading them, viewing, moving and writing their codes."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

import octensor as ot
import oracle
import oracle_ops
from octensor import _C

DTYPES = pytest.mark.parametrize("dtype", [ot.quint8, ot.qint8], ids=str)


def sample(shape=(3, 4, 5), dtype=ot.quint8) -> ot.QTensor:
    return oracle_ops.sample(np.random.default_rng(1), shape, dtype)


def channels(axis: int = 0, shape=(3, 4)) -> ot.QTensor:
    n = shape[axis]
    values = np.random.default_rng(2).standard_normal(shape).astype(np.float32)
    return ot.quantize_per_channel(values, np.linspace(0.01, 0.03, n), np.arange(n) + 100, axis, ot.quint8)


def same(got: ot.QTensor, q: ot.QTensor, codes: np.ndarray) -> None:
    """The result has the codes wanted and the parameters of q."""
    assert got.qparams == q.qparams
    np.testing.assert_array_equal(got.int_repr(), codes)


# --- dtypes, schemes, making --------------------------------------------------------------------------


@pytest.mark.rows(1, 2)
@pytest.mark.parametrize(
    ("dtype", "storage", "low", "high"),
    [
        (ot.qint8, np.int8, -128, 127),
        (ot.quint8, np.uint8, 0, 255),
        (ot.qint32, np.int32, -(2**31), 2**31 - 1),
        (ot.quint4x2, np.uint8, 0, 15),
    ],
)
def test_dtypes(dtype, storage, low, high):
    assert (dtype.numpy, dtype.qmin, dtype.qmax) == (np.dtype(storage), low, high)
    q = ot.quantize_per_tensor(ot.tensor([-1e30, 0.0, 1e30]), 1.0, 0, dtype)
    assert q.dequantize().tolist() == [float(np.float32(low)), 0.0, float(np.float32(high))]


@pytest.mark.rows(3, 4, 5, 6, 7, 26)
def test_schemes():
    assert sample().qscheme() == ot.per_tensor_affine
    assert channels().qscheme() == ot.per_channel_affine
    floats = ot.quantize_per_channel(np.ones((2, 3), np.float32), [0.1, 0.2], [0.5, 1.5], 0, ot.quint8)
    assert floats.qscheme() == ot.per_channel_affine_float_qparams
    names = {s.name for s in (ot.per_tensor_symmetric, ot.per_channel_symmetric)}  # settings of observers
    assert names == {"per_tensor_symmetric", "per_channel_symmetric"}


@DTYPES
@pytest.mark.rows(8, 11)
def test_quantize_per_tensor(dtype):
    x = np.array([-1e9, -0.75, -0.25, 0.0, 0.25, 0.75, 1.25, 1e9, np.inf, -np.inf], np.float32)
    z = dtype.qmin + 101
    q = ot.quantize_per_tensor(x, 0.5, z, dtype)
    rounded = np.array([-999, -2, 0, 0, 0, 2, 2, 999, 999, -999])  # ties to even, before the zero point is added
    np.testing.assert_array_equal(q.int_repr(), np.clip(rounded + z, dtype.qmin, dtype.qmax))
    np.testing.assert_array_equal(q.dequantize().numpy(), oracle.dequantize(oracle_ops.of(q)))
    with pytest.raises(TypeError, match="float values"):
        ot.quantize_per_tensor(np.ones(3, np.int32), 0.5, z, dtype)
    with pytest.raises(ValueError, match="zero_point"):
        ot.quantize_per_tensor(x, 0.5, 300, dtype)


@pytest.mark.rows(9, 11)
def test_lists():
    xs = [ot.tensor([1.0, 2.0]), ot.tensor([[3.0]])]
    qs = ot.quantize_per_tensor(xs, ot.tensor([0.5, 0.1]), ot.tensor([3, 7]), ot.quint8)
    for q, x, s, z in zip(qs, xs, (0.5, 0.1), (3, 7), strict=True):
        assert q.equal(ot.quantize_per_tensor(x, s, z, ot.quint8))
    back = ot.dequantize(qs)
    assert [t.tolist() for t in back] == [q.dequantize().tolist() for q in qs]
    with pytest.raises(ValueError, match="one for each of 2 tensors, got 1 and 2"):
        ot.quantize_per_tensor(xs, ot.tensor([0.5]), ot.tensor([3, 7]), ot.quint8)
    x = ot.tensor([1.0])
    assert ot.dequantize(x) is x


@pytest.mark.rows(10)
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_quantize_per_channel(axis):
    x = np.random.default_rng(0).standard_normal((3, 4, 2)).astype(np.float32)
    n = x.shape[axis]
    scales, points = np.linspace(0.01, 0.05, n), np.arange(n) * 3
    got = ot.quantize_per_channel(x, scales, points, axis, ot.qint8)
    want = oracle.quantize(x, scales.astype(np.float32), points, "qint8", axis)
    np.testing.assert_array_equal(got.int_repr(), want)
    floats = points + 0.25
    by_floats = ot.quantize_per_channel(x, scales, floats, axis, ot.quint8)
    s, z = (oracle.along(v.astype(np.float32), axis, 3) for v in (scales, floats))
    codes = np.clip(np.rint(x / s + z), 0, 255)
    np.testing.assert_array_equal(by_floats.int_repr(), codes)
    np.testing.assert_array_equal(by_floats.dequantize().numpy(), (codes.astype(np.float32) - z) * s)


@pytest.mark.rows(12, 13)
def test_from_existing_codes():
    for codes, dtype in ((np.int8, ot.qint8), (np.uint8, ot.quint8), (np.int32, ot.qint32)):
        array = np.arange(6).reshape(2, 3).astype(codes)
        q = ot._make_per_tensor_quantized_tensor(array, 0.5, 3)
        assert (q.dtype, q.q_scale(), q.q_zero_point()) == (dtype, 0.5, 3)
        np.testing.assert_array_equal(q.int_repr(), array)
        p = ot._make_per_channel_quantized_tensor(array, [0.1, 0.2, 0.3], [0, 1, 2], 1)
        assert (p.dtype, p.q_per_channel_axis(), p.q_per_channel_zero_points().tolist()) == (dtype, 1, [0, 1, 2])
        np.testing.assert_array_equal(p.int_repr(), array)
    with pytest.raises(TypeError, match="int8, uint8 or int32, got int64"):
        ot._make_per_tensor_quantized_tensor(np.ones(2, np.int64), 0.5, 0)


@pytest.mark.rows(14, 15, 16)
def test_tensors_to_be_written():
    q = ot._empty_affine_quantized([2, 3], scale=0.3, zero_point=5, dtype=ot.qint8)
    assert (q.shape, q.q_scale(), q.q_zero_point(), q.dtype) == ((2, 3), np.float32(0.3), 5, ot.qint8)
    p = ot._empty_per_channel_affine_quantized((2, 3), scales=[0.1, 0.2], zero_points=[1, 2], axis=0, dtype=ot.quint8)
    assert (p.shape, p.q_per_channel_axis(), p.q_per_channel_zero_points().tolist()) == ((2, 3), 0, [1, 2])
    assert ot.empty_quantized((7,), q).qparams == q.qparams
    for like in (q, p):
        made = ot.empty_like(like)
        assert (made.shape, made.qparams) == (like.shape, like.qparams)
        assert made.copy_(ot.ones(2, 3)).dequantize().allclose(ot.ones(2, 3), atol=0.31)
    assert ot.empty_like(ot.ones(2)).shape == (2,)
    with pytest.raises(TypeError, match=r"zeros_like|expected a float"):
        ot.zeros_like(q)


@pytest.mark.rows(17)
def test_choose_qparams_per_tensor():
    assert ot._choose_qparams_per_tensor(ot.zeros(3)) == (np.float32(0.1), 0)
    assert ot._choose_qparams_per_tensor(ot.ones(3)) == (np.float32(1 / 255), 0)
    assert ot._choose_qparams_per_tensor(ot.tensor([-7.0, 7.0])) == (np.float32(14 / 255), 128)
    assert ot._choose_qparams_per_tensor(ot.tensor([-7.0, 7.0]), True)[0] == np.float32(14 / 127)


@pytest.mark.rows(19)
def test_saturate_weight_to_fp16():
    w = ot.tensor([1.0, 1e6, -1e6])
    with pytest.warns(UserWarning, match="float16"):
        assert ot._saturate_weight_to_fp16(w) is w
    assert w.tolist() == [1.0, 65504.0, -65504.0]


# --- reading ------------------------------------------------------------------------------------------


@pytest.mark.rows(20, 21, 22, 23, 24, 25, 27)
def test_accessors():
    q, p = sample(), channels()
    assert q.is_quantized
    assert not q.dequantize().is_quantized
    assert (q.q_scale(), q.q_zero_point()) == (np.float32(0.07), 97)
    assert q.int_repr().dtype == np.uint8
    np.testing.assert_array_equal(np.asarray(p.q_per_channel_scales()), np.linspace(0.01, 0.03, 3).astype(np.float32))
    np.testing.assert_array_equal(np.asarray(p.q_per_channel_zero_points()), [100, 101, 102])
    assert p.q_per_channel_axis() == 0
    for name in ("q_scale", "q_zero_point"):
        with pytest.raises(ValueError, match="per-channel"):
            getattr(p, name)()
    for name in ("q_per_channel_scales", "q_per_channel_zero_points", "q_per_channel_axis"):
        with pytest.raises(ValueError, match="per-tensor"):
            getattr(q, name)()


@pytest.mark.rows(51, 52)
def test_item_and_repr():
    q = ot.quantize_per_tensor(ot.tensor([1.5]), 0.5, 10, ot.quint8)
    assert q.item() == 1.5
    with pytest.raises(ValueError, match="one value"):
        sample().item()
    for part in ("1.5", "shape=(1,)", "scale=0.5", "zero_point=10", "quint8"):
        assert part in repr(q)
    assert "axis=0" in repr(channels())
    wide = repr(ot.quantize_per_tensor(ot.tensor([[0.0, 1.25, 2.5]]), 0.125, 10, ot.quint8))
    assert "shape=(1, 3)" in wide
    assert "1.25" in wide


@pytest.mark.rows(39, 53)
def test_copies():
    for q in (sample(), channels()):
        for other in (q.clone(), q.contiguous(), q.detach(), copy.deepcopy(q), pickle.loads(pickle.dumps(q))):
            assert other.equal(q)
        fresh = q.clone()
        fresh.fill_(0.0)
        assert not fresh.equal(q)


@pytest.mark.rows(54)
def test_channels_last():
    q = sample((2, 3, 4, 5))
    last = q.contiguous(memory_format="channels_last")
    assert last.is_contiguous(memory_format="channels_last")
    assert not last.is_contiguous()
    assert last.equal(q)
    assert last.stride() == (60, 1, 15, 3)


@pytest.mark.rows(43)
def test_equal():
    q = sample()
    assert q.equal(q.clone())
    others = [
        q[:2],
        q.dequantize(),
        _C.QTensor.from_numpy(q.int_repr(), _C.QParams(0.08, 97, ot.quint8)),
        _C.QTensor.from_numpy(q.int_repr(), _C.QParams(0.07, 96, ot.quint8)),
        _C.QTensor.from_numpy(255 - q.int_repr(), q.qparams),
    ]
    assert [q.equal(other) for other in others] == [False] * 5


@pytest.mark.rows(44)
@pytest.mark.parametrize("name", ["eq", "ne", "lt", "le", "gt", "ge"])
def test_comparisons(name):
    a, b = sample(), sample(dtype=ot.qint8)
    for other in (b, b.dequantize(), 0.0):
        plain = other if isinstance(other, float) else other.dequantize().numpy()
        want = getattr(np.ndarray, f"__{name}__")(a.dequantize().numpy(), plain)
        got = getattr(a, name)(other)
        np.testing.assert_array_equal(got.numpy(), want)
        assert got.dtype == np.bool_


# --- views and movement -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("view", "plain"),
    [
        pytest.param(lambda q: q.view(12, 5), lambda c: c.reshape(12, 5), id="view", marks=pytest.mark.rows(28)),
        pytest.param(lambda q: q.reshape(5, -1), lambda c: c.reshape(5, -1), id="reshape", marks=pytest.mark.rows(28)),
        pytest.param(lambda q: q.flatten(1), lambda c: c.reshape(3, 20), id="flatten", marks=pytest.mark.rows(28)),
        pytest.param(
            lambda q: q.transpose(0, 2), lambda c: c.swapaxes(0, 2), id="transpose", marks=pytest.mark.rows(29)
        ),
        pytest.param(
            lambda q: q.permute(2, 0, 1), lambda c: c.transpose(2, 0, 1), id="permute", marks=pytest.mark.rows(29)
        ),
        pytest.param(lambda q: q[0].t(), lambda c: c[0].T, id="t", marks=pytest.mark.rows(29)),
        pytest.param(
            lambda q: q[:, :1].expand(3, 6, -1),
            lambda c: np.broadcast_to(c[:, :1], (3, 6, 5)),
            id="expand",
            marks=pytest.mark.rows(30),
        ),
        pytest.param(
            lambda q: q.as_strided((4, 3), (1, 20), 2),
            lambda c: c.reshape(-1)[2 + np.arange(4)[:, None] + 20 * np.arange(3)],
            id="as_strided",
            marks=pytest.mark.rows(30),
        ),
        pytest.param(lambda q: q[1:, ::2, -1], lambda c: c[1:, ::2, -1], id="slice", marks=pytest.mark.rows(31)),
        pytest.param(lambda q: q.select(1, -2), lambda c: c[:, -2], id="select", marks=pytest.mark.rows(31)),
        pytest.param(lambda q: q.narrow(2, 1, 3), lambda c: c[:, :, 1:4], id="narrow", marks=pytest.mark.rows(31)),
        pytest.param(lambda q: q[:, :1].squeeze(1), lambda c: c[:, 0], id="squeeze", marks=pytest.mark.rows(33)),
        pytest.param(lambda q: q.unsqueeze(1), lambda c: c[:, None], id="unsqueeze", marks=pytest.mark.rows(33)),
        pytest.param(
            lambda q: q.unfold(2, 3, 2),
            lambda c: np.stack([c[:, :, 0:3], c[:, :, 2:5]], axis=2),
            id="unfold",
            marks=pytest.mark.rows(34),
        ),
    ],
)
@DTYPES
def test_views_share_the_codes(view, plain, dtype):
    q = sample(dtype=dtype)
    got = view(q)
    same(got, q, plain(q.int_repr()))
    assert np.shares_memory(got.int_repr(), q.int_repr())
    q.fill_(0.3)  # seen through the view
    same(got, q, plain(q.int_repr()))


@pytest.mark.rows(30)
def test_expand_and_as_strided_at_their_limits():
    q = sample()
    flat = q.int_repr().reshape(-1)
    same(q.as_strided((2, 3)), q, flat[:6].reshape(2, 3))
    same(q.as_strided((2,), (1,), 58), q, flat[58:])
    with pytest.raises(ValueError, match="reaches element 60"):
        q.as_strided((2,), (1,), 59)
    same(q[0].expand(2, 4, 5), q, np.broadcast_to(q.int_repr()[0], (2, 4, 5)))
    with pytest.raises(ValueError, match="expand: shape"):
        q[:, :3].expand(3, 6, 5)
    by_row = channels()
    wide = by_row.expand(2, 3, 4)
    assert wide.q_per_channel_axis() == 1
    np.testing.assert_array_equal(wide.dequantize()[1], by_row.dequantize())


@pytest.mark.rows(32)
def test_pieces_share_the_codes():
    q = sample()
    codes = q.int_repr()
    for pieces, cuts in (
        (q.chunk(2, 2), [slice(0, 3), slice(3, 5)]),
        (q.split(2, 2), [slice(0, 2), slice(2, 4), slice(4, 5)]),
        (q.split([1, 4], 2), [slice(0, 1), slice(1, 5)]),
        (q.unbind(2), list(range(5))),
    ):
        assert len(pieces) == len(cuts)
        for piece, cut in zip(pieces, cuts, strict=True):
            same(piece, q, codes[:, :, cut])
            assert np.shares_memory(piece.int_repr(), codes)


@pytest.mark.rows(35)
def test_indexing_gathers():
    q = sample()
    codes, mask = q.int_repr(), q.int_repr() > 100
    same(q[[2, 0, 2]], q, codes[[2, 0, 2]])
    same(q[ot.tensor([2, 0])], q, codes[[2, 0]])
    same(q[:, np.array([1, 3]), 1:], q, codes[:, [1, 3], 1:])
    same(q[ot.Tensor(mask)], q, codes[mask])
    same(q[q.gt(0.0)], q, codes[codes > 97])
    with pytest.raises(TypeError, match="per-tensor"):
        channels()[[0, 1]]


@DTYPES
@pytest.mark.rows(45, 46, 47)
def test_order(dtype):
    q = sample(dtype=dtype)
    codes = q.int_repr()
    for dim in (0, 1, -1):
        for descending in (False, True):
            values, indices = q.sort(dim, descending)
            want = np.sort(codes, axis=dim)
            same(values, q, np.flip(want, dim) if descending else want)
            np.testing.assert_array_equal(np.take_along_axis(codes, indices.numpy(), dim), values.int_repr())
            assert indices.dtype == np.int64
        for largest in (False, True):
            values, indices = q.topk(2, dim, largest)
            want = np.sort(codes, axis=dim)
            want = np.flip(want, dim) if largest else want
            same(values, q, np.take(want, [0, 1], axis=dim))
            np.testing.assert_array_equal(np.take_along_axis(codes, indices.numpy(), dim), values.int_repr())
        for name in ("max", "min"):
            values, indices = getattr(q, name)(dim)
            same(values, q, getattr(codes, name)(dim))
            np.testing.assert_array_equal(indices.numpy(), getattr(codes, f"arg{name}")(dim))
    for name in ("max", "min"):
        same(getattr(ot, name)(q), q, getattr(codes, name)())
    with pytest.raises(ValueError, match="k: expected an integer from 0 to 5"):
        q.topk(6)


@DTYPES
@pytest.mark.rows(48)
@pytest.mark.parametrize("dims", [None, 1, (0, 2), (0, 1, 2)])
@pytest.mark.parametrize("keepdim", [False, True])
def test_mean(dims, keepdim, dtype):
    q = sample(dtype=dtype)
    plain = oracle_ops.of(q)
    axes = (0, 1, 2) if dims is None else dims
    total = plain.centred.sum(axis=axes, keepdims=keepdim)
    want = oracle.mean(np.asarray(total), 60 // max(np.asarray(plain.centred.sum(axis=axes)).size, 1), 0, "qint32")
    want = np.clip(want + plain.zero_point, dtype.qmin, dtype.qmax)
    same(q.mean() if dims is None else q.mean(dims, keepdim), q, want.reshape(() if dims is None else want.shape))


@pytest.mark.rows(49, 50)
def test_flip_and_repeat():
    q = sample()
    codes = q.int_repr()
    same(q.flip(0, 2), q, codes[::-1, :, ::-1])
    same(q.flip([1]), q, codes[:, ::-1])
    same(q.repeat(2, 1, 3), q, np.tile(codes, (2, 1, 3)))
    same(q.repeat(2, 1, 1, 1), q, np.tile(codes, (2, 1, 1, 1)))
    same(q.repeat_interleave(2, 1), q, np.repeat(codes, 2, 1))
    same(q.repeat_interleave(ot.tensor([0, 2, 1]), 0), q, np.repeat(codes, [0, 2, 1], 0))
    same(q.repeat_interleave(3), q, np.repeat(codes, 3))


@pytest.mark.rows(56, 57)
def test_cat_and_stack_take_the_first_parameters():
    a, b = sample(), sample(dtype=ot.quint8)
    b = _C.requantize(b, _C.QParams(0.05, 20, ot.quint8))
    moved = oracle.requantize(oracle_ops.of(b), a.q_scale(), a.q_zero_point(), "quint8")
    same(ot.cat([a, b], 1), a, np.concatenate([a.int_repr(), moved], 1))
    same(ot.stack([a, b], -1), a, np.stack([a.int_repr(), moved], -1))


# --- writing ------------------------------------------------------------------------------------------


@pytest.mark.rows(22)
@pytest.mark.parametrize(("dtype", "zero_point"), [(ot.qint8, -100), (ot.quint8, 200), (ot.qint32, 0)])
def test_q_zero_point_is_the_one_given(dtype, zero_point):
    q = ot.quantize_per_tensor(ot.tensor([0.0, 1.0]), 0.5, zero_point, dtype)
    assert q.q_zero_point() == zero_point


@pytest.mark.rows(32)
def test_pieces_are_cut_along_the_first_axis_by_default():
    q = sample()
    codes = q.int_repr()
    for pieces, cuts in (
        (q.chunk(2), [slice(0, 2), slice(2, 3)]),
        (q.split(2), [slice(0, 2), slice(2, 3)]),
        (q.unbind(), list(range(3))),
    ):
        for piece, cut in zip(pieces, cuts, strict=True):
            same(piece, q, codes[cut])


@DTYPES
@pytest.mark.rows(46)
def test_topk_gives_the_largest_of_the_last_axis_by_default(dtype):
    q = sample(dtype=dtype)
    values, _ = q.topk(2)
    same(values, q, np.flip(np.sort(q.int_repr(), axis=-1), -1)[..., :2])


@DTYPES
@pytest.mark.rows(45, 46, 47)
def test_order_of_the_extreme_codes(dtype):
    codes = np.array([dtype.qmin + 1, dtype.qmin, dtype.qmax, dtype.qmax - 1], dtype.numpy)
    q = ot.QTensor.from_numpy(codes, _C.QParams(0.1, dtype.qmin + 7, dtype))
    assert q.topk(4)[1].tolist() == [2, 3, 0, 1]
    assert q.sort(descending=True)[1].tolist() == [2, 3, 0, 1]
