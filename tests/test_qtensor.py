"""QTensor as a container: views share storage, mean what NumPy's mean, and outlive what they came from."""

from __future__ import annotations

import contextlib
import copy
import gc
import pickle
import weakref

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import oracle
import support
from octensor import _C
from support import dtype, layouts, relayout, sample_codes, to_qtensor

names = st.sampled_from(["qint8", "quint8", "qint32"])
shapes = st.lists(st.integers(0, 5), max_size=4).map(tuple)


def codes_like(shape: tuple[int, ...], name: str = "quint8") -> np.ndarray:
    """Distinct codes as far as the dtype allows."""
    storage = oracle.DTYPES[name].storage
    return np.arange(int(np.prod(shape)), dtype=np.int64).astype(storage).reshape(shape)


def tensor(shape: tuple[int, ...], name: str = "quint8", layout: str = "contiguous") -> _C.QTensor:
    return to_qtensor(oracle.Q(codes_like(shape, name), np.float32(0.5), 3, name), layout)


def per_channel(shape: tuple[int, ...], axis: int) -> _C.QTensor:
    n = shape[axis]
    params = _C.QParams(np.arange(1, n + 1, dtype=np.float32), np.arange(n, dtype=np.int32), _C.qint8, axis=axis)
    return _C.QTensor.from_numpy(codes_like(shape, "qint8"), params)


def address(q: _C.QTensor) -> int:
    return q.int_repr().__array_interface__["data"][0]


def assert_reals(q: _C.QTensor, want: np.ndarray) -> None:
    """The tensor stands for these real numbers: codes and parameters moved together."""
    support.assert_same(_C.dequantize(q), want)


# --- parameters -------------------------------------------------------------------------------------------


@pytest.mark.rows(1)
def test_dtypes():
    for name, t in oracle.DTYPES.items():
        d = dtype(name)
        assert (d.name, d.qmin, d.qmax) == (name, t.qmin, t.qmax)
        assert d.numpy == np.dtype(t.storage)
        assert d.itemsize == d.numpy.itemsize
        assert repr(d) == f"octensor.{name}"
        assert pickle.loads(pickle.dumps(d)) is d
        assert copy.deepcopy(d) is d
        assert d != "qint8"
    assert len({_C.qint8, _C.quint8, _C.qint32, _C.qint8}) == 3


@pytest.mark.rows(3)
def test_qparams_per_tensor():
    p = _C.QParams(0.1, 3, _C.quint8)
    assert p.scale == float(np.float32(0.1))
    assert isinstance(p.scale, float)
    assert (p.zero_point, p.dtype, p.axis, p.is_per_channel) == (3, _C.quint8, None, False)
    assert isinstance(p.zero_point, int)
    assert p.qscheme is _C.qscheme.per_tensor_affine
    assert p == _C.QParams(np.float32(0.1), np.int64(3), _C.quint8)
    assert hash(p) == hash(_C.QParams(0.1, 3, _C.quint8))
    for other in [
        _C.QParams(0.2, 3, _C.quint8),
        _C.QParams(0.1, 4, _C.quint8),
        _C.QParams(0.1, 3, _C.qint8),
        None,
        0.1,
    ]:
        assert p != other
    assert eval(repr(p), {"QParams": _C.QParams, "octensor": _C}) == p


@pytest.mark.rows(4)
def test_qparams_per_channel():
    p = _C.QParams([0.1, 0.2], [3, -4], _C.qint8, axis=1)
    np.testing.assert_array_equal(p.scale, np.float32([0.1, 0.2]))
    np.testing.assert_array_equal(p.zero_point, np.int32([3, -4]))
    assert (p.scale.dtype, p.zero_point.dtype) == (np.float32, np.int32)
    assert (p.axis, p.is_per_channel, p.qscheme) == (1, True, _C.qscheme.per_channel_affine)
    assert p == _C.QParams(np.float32([0.1, 0.2]), np.int8([3, -4]), _C.qint8, axis=1)
    assert hash(p) == hash(_C.QParams([0.1, 0.2], [3, -4], _C.qint8, axis=1))
    assert p != _C.QParams([0.1, 0.2], [3, -4], _C.qint8, axis=0)
    assert p != _C.QParams([0.1, 0.2], [3, -5], _C.qint8, axis=1)
    assert _C.QParams([0.1], [0], _C.qint8, axis=0) != _C.QParams(0.1, 0, _C.qint8)


def test_qparams_cannot_be_changed():
    p = _C.QParams([0.1, 0.2], [3, 4], _C.qint8, axis=0)
    for name in ("scale", "zero_point", "dtype", "axis"):
        with pytest.raises(AttributeError):
            setattr(p, name, 0)
    for values in (p.scale, p.zero_point):
        with pytest.raises(ValueError, match="read-only"):
            values[0] = 1


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_qparams_are_copied_and_pickled(protocol):
    for p in [_C.QParams(0.1, 3, _C.quint8), _C.QParams([0.1, 0.2], [3, 4], _C.qint8, axis=2)]:
        for other in (pickle.loads(pickle.dumps(p, protocol)), copy.copy(p), copy.deepcopy(p)):
            assert other == p
            assert hash(other) == hash(p)
            assert repr(other) == repr(p)


def test_qparams_of_no_channels():
    p = _C.QParams([], [], _C.qint8, axis=0)
    assert hash(p) == hash(pickle.loads(pickle.dumps(p)))
    assert p == per_channel((3, 2), 0)[0:0].qparams
    assert p.scale.shape == p.zero_point.shape == (0,)
    assert "axis=0" in repr(p)


# --- memory shared with NumPy -------------------------------------------------------------------------------


@pytest.mark.rows(20)
@given(shapes, names, layouts)
def test_from_numpy_and_int_repr_copy_nothing(shape, name, layout):
    codes = relayout(codes_like(shape, name), layout)
    q = _C.QTensor.from_numpy(codes, _C.QParams(0.5, 3, dtype(name)))
    seen = q.int_repr()
    support.assert_same(seen, np.array(codes))
    if codes.size:
        assert np.shares_memory(seen, codes)
        assert seen.__array_interface__["data"][0] == codes.__array_interface__["data"][0]
        codes[(0,) * codes.ndim] = 77
        assert seen[(0,) * codes.ndim] == 77
    assert not seen.flags.writeable
    assert (q.shape, q.ndim, q.dim(), q.numel(), q.size()) == (shape, len(shape), len(shape), codes.size, shape)
    for axis in range(-len(shape), len(shape)):
        assert q.size(axis) == shape[axis]
        if codes.size > 1 and shape[axis] > 1:
            assert q.stride(axis) * codes.itemsize == codes.strides[axis]


@given(shapes, names, layouts)
def test_buffer_protocol_array_and_dlpack_share_memory(shape, name, layout):
    q = tensor(shape, name, layout)
    for view in (np.asarray(memoryview(q)), np.asarray(q), np.from_dlpack(q)):
        support.assert_same(view, codes_like(shape, name))
        assert not q.numel() or np.shares_memory(view, q.int_repr())
    assert memoryview(q).readonly


def test_no_way_to_change_the_codes_of_a_read_only_array():
    """A QTensor over read-only memory hands out no writable view of it."""
    codes = np.frombuffer(b"abcdef", np.uint8)
    q = _C.QTensor.from_numpy(codes, _C.QParams(0.5, 3, _C.quint8))
    views = [q.int_repr(), np.asarray(q), np.asarray(memoryview(q))]
    with contextlib.suppress(BufferError, ValueError):  # refusing to export is fine too
        views.append(np.from_dlpack(q))
    assert not any(view.flags.writeable for view in views)


def test_unaligned_and_foreign_arrays():
    """Elements at odd addresses are copied; another byte order is another dtype."""
    raw = np.zeros(4 * 5 + 1, np.uint8)[1:].view(np.int32)
    raw[:] = np.arange(5)
    q = _C.QTensor.from_numpy(raw, _C.QParams(0.5, 0, _C.qint32))
    support.assert_same(q, np.arange(5, dtype=np.int32))
    record = np.zeros(3, [("a", np.uint8), ("x", np.float32)])
    record["x"] = [1, 2, 3]
    support.assert_same(_C.quantize(record["x"], _C.QParams(1.0, 0, _C.quint8)), np.uint8([1, 2, 3]))
    with pytest.raises(TypeError, match="int32"):
        _C.QTensor.from_numpy(np.arange(5).astype(">i4"), _C.QParams(0.5, 0, _C.qint32))


# --- views ------------------------------------------------------------------------------------------------


@pytest.mark.rows(29)
@given(shapes, names, layouts, st.data())
def test_permute_and_transpose(shape, name, layout, data):
    q, codes = tensor(shape, name, layout), codes_like(shape, name)
    axes = data.draw(st.permutations(range(len(shape))))
    signed = [a - len(shape) * data.draw(st.booleans()) for a in axes]
    for view in (q.permute(*signed), q.permute(signed), q.permute(tuple(signed))):
        support.assert_same(view, codes.transpose(axes))
        assert not codes.size or address(view) == address(q)
    if shape:
        a, b = data.draw(st.integers(-len(shape), len(shape) - 1)), data.draw(st.integers(0, len(shape) - 1))
        support.assert_same(q.transpose(a, b), codes.swapaxes(a, b))


indices = st.one_of(
    st.integers(-6, 6),
    st.slices(7),
    st.builds(slice, *[st.one_of(st.none(), st.integers(-9, 9))] * 2, st.sampled_from([None, 1, 2, 3, -1, -2, 9])),
    st.none(),
    st.just(...),
)


@pytest.mark.rows(31)
@given(shapes, names, layouts, st.lists(indices, max_size=5))
def test_slicing_is_numpys(shape, name, layout, key):
    assume(key.count(...) <= 1)
    q, codes = tensor(shape, name, layout), codes_like(shape, name)
    item = tuple(key)
    try:
        want = codes[item]
    except IndexError:
        with pytest.raises(IndexError, match=r"QTensor: index"):
            q[item]
        return
    view = q[item]
    support.assert_same(view, np.asarray(want))
    if want.size:
        assert np.shares_memory(view.int_repr(), q.int_repr())
    if len(key) == 1:
        support.assert_same(q[key[0]], np.asarray(want))


@pytest.mark.rows(28)
@given(shapes, layouts, st.data())
def test_reshape_view_and_flatten(shape, layout, data):
    """NumPy decides what a reshape means, and whether it can do without a copy."""
    codes = codes_like(shape)
    q, base = tensor(shape, "quint8", layout), relayout(codes, layout)
    factors = [n for n in shape if n > 1] or [1]
    target = list(data.draw(st.permutations(factors)))
    if len(target) > 1 and data.draw(st.booleans()):
        target[:2] = [target[0] * target[1]]
    if 0 in shape:
        target.append(0)
    for _ in range(data.draw(st.integers(0, 2))):
        target.insert(data.draw(st.integers(0, len(target))), 1)
    spelled = list(target)
    if codes.size and spelled and data.draw(st.booleans()):
        spelled[data.draw(st.integers(0, len(spelled) - 1))] = -1
    want = codes.reshape(target)
    for result in (q.reshape(*spelled), q.reshape(tuple(spelled))):
        support.assert_same(result, want)
    shared = np.shares_memory(base.reshape(target), base) if codes.size else True
    if shared:
        support.assert_same(q.view(*spelled), want)
        assert not codes.size or np.shares_memory(q.view(*spelled).int_repr(), q.int_repr())
        assert not codes.size or np.shares_memory(q.reshape(*spelled).int_repr(), q.int_repr())
    else:
        with pytest.raises(ValueError, match="view: shape"):
            q.view(*spelled)
    support.assert_same(q.flatten(), codes.reshape(-1))
    if len(shape) == 4:
        support.assert_same(q.flatten(1), codes.reshape(shape[0], int(np.prod(shape[1:]))))
        support.assert_same(q.flatten(1, -2), codes.reshape(shape[0], shape[1] * shape[2], shape[3]))


def test_length_and_iteration():
    q = tensor((3, 2))
    assert len(q) == 3
    assert [row.int_repr().tolist() for row in q] == [[0, 1], [2, 3], [4, 5]]
    with pytest.raises(TypeError):
        len(tensor(()))


@pytest.mark.rows(39)
@given(st.sampled_from(layouts_4d := ["contiguous", "channels_last", "sliced", "reversed"]), names)
def test_contiguous_and_clone(layout, name):
    q, codes = tensor((2, 3, 4, 5), name, layout), codes_like((2, 3, 4, 5), name)
    assert q.is_contiguous() == (layout == "contiguous")
    assert q.is_contiguous("channels_last") == (layout == "channels_last")
    for form in (None, "contiguous_format", "channels_last"):
        dense = q.contiguous() if form is None else q.contiguous(form)
        assert dense.is_contiguous() if form is None else dense.is_contiguous(form)
        support.assert_same(dense, codes)
        assert (address(dense) == address(q)) == (q.is_contiguous() if form is None else q.is_contiguous(form))
    clone = q.clone()
    support.assert_same(clone, codes)
    assert not np.shares_memory(clone.int_repr(), q.int_repr())
    if layout in ("contiguous", "channels_last"):
        assert clone.stride() == q.stride()


# --- per-channel parameters follow their axis -----------------------------------------------------------------


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_views_of_per_channel_tensors(axis):
    q = per_channel((2, 3, 4), axis)
    reals = _C.dequantize(q)
    assert_reals(q.permute(2, 0, 1), reals.transpose(2, 0, 1))
    assert q.permute(2, 0, 1).q_per_channel_axis() == [1, 2, 0][axis]
    assert_reals(q.transpose(0, 2), reals.swapaxes(0, 2))
    for key in [
        0,
        (slice(None), 1),
        (..., 2),
        (..., slice(None, None, -1)),
        slice(1, None),
        (slice(None), slice(0, 3, 2)),
        None,
        (0, 0),
        (..., slice(0, 0)),
        (None, ..., None, 1),
    ]:
        assert_reals(q[key], reals[key])
    chosen = q[(slice(None),) * axis + (1,)]
    assert chosen.qscheme() is _C.qscheme.per_tensor_affine
    assert (chosen.q_scale(), chosen.q_zero_point()) == (2.0, 1)
    assert_reals(q.clone(), reals)
    assert_reals(q.contiguous(), reals)
    assert_reals(q.reshape(1, 2, 3, 4), reals.reshape(1, 2, 3, 4))


def test_reshaping_must_keep_the_channel_axis():
    q = per_channel((2, 3, 4), 1)
    reals = _C.dequantize(q)
    for shape in [(2, 3, 2, 2), (1, 2, 3, 4), (2, 1, 3, 4), (2, 3, 4, 1), (2, 3, -1)]:
        assert_reals(q.reshape(*shape), reals.reshape(shape))
    for shape in [(24,), (6, 4), (2, 12), (3, 2, 4), (4, 3, 2)]:
        with pytest.raises(ValueError, match="channel axis"):
            q.reshape(*shape)


# --- accessors, equality, repr ------------------------------------------------------------------------------


@pytest.mark.rows(21, 22, 23, 24, 25, 26, 27)
def test_accessors():
    q = tensor((2, 2))
    assert q.is_quantized is True
    assert (q.dtype, q.q_scale(), q.q_zero_point()) == (_C.quint8, 0.5, 3)
    assert q.qscheme() is _C.qscheme.per_tensor_affine
    assert q.qparams == _C.QParams(0.5, 3, _C.quint8)
    for name in ("q_per_channel_scales", "q_per_channel_zero_points", "q_per_channel_axis"):
        with pytest.raises(ValueError, match=name):
            getattr(q, name)()
    c = per_channel((2, 3), 1)
    assert c.qscheme() is _C.qscheme.per_channel_affine
    np.testing.assert_array_equal(c.q_per_channel_scales(), np.float32([1, 2, 3]))
    np.testing.assert_array_equal(c.q_per_channel_zero_points(), [0, 1, 2])
    assert c.q_per_channel_axis() == 1
    for name in ("q_scale", "q_zero_point"):
        with pytest.raises(ValueError, match=name):
            getattr(c, name)()


@pytest.mark.rows(43)
def test_equal():
    a = tensor((2, 3, 4, 5))
    assert a.equal(tensor((2, 3, 4, 5), layout="channels_last"))
    assert a.equal(a[:])
    assert not a.equal(tensor((2, 3, 5, 4)))
    assert not a.equal(a[:, :, :, ::-1])
    other = _C.QTensor.from_numpy(codes_like((2, 3, 4, 5)), _C.QParams(0.25, 3, _C.quint8))
    assert not a.equal(other)
    assert tensor((0, 3)).equal(tensor((0, 3)))
    assert not tensor((0, 3)).equal(tensor((3, 0)))
    assert not per_channel((3, 3), 0).equal(per_channel((3, 3), 1))


@pytest.mark.rows(52)
@pytest.mark.parametrize(
    "q",
    [tensor(()), tensor((0,)), tensor((3,)), tensor((2, 3, 4, 5)), per_channel((3, 2), 0), tensor((2, 3), "qint32")],
    ids=lambda q: f"{q.dtype.name}-{q.shape}",
)
def test_repr_names_what_matters(q):
    text = repr(q)
    assert q.dtype.name in text
    assert "scale" in text
    assert "zero_point" in text
    assert len(repr(tensor((300, 300)))) < 5000


# --- copies and pickles -----------------------------------------------------------------------------------------


@pytest.mark.rows(53)
@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
@given(shapes, names, layouts)
def test_pickle(protocol, shape, name, layout):
    q = tensor(shape, name, layout)
    other = pickle.loads(pickle.dumps(q, protocol))
    assert other.equal(q)
    assert other.qparams == q.qparams
    assert not q.numel() or not np.shares_memory(other.int_repr(), q.int_repr())


@pytest.mark.rows(53, 54)
def test_pickle_keeps_the_layout_and_channels():
    q = tensor((2, 3, 4, 5), layout="channels_last")
    assert pickle.loads(pickle.dumps(q)).stride() == q.stride()
    c = per_channel((2, 3, 4), 1)
    assert pickle.loads(pickle.dumps(c)).equal(c)
    assert pickle.loads(pickle.dumps(c[:, 1:])).equal(c[:, 1:])


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_pickle_out_of_band_copies_nothing(layout):
    q = tensor((2, 30, 40, 50), layout=layout)
    buffers: list[pickle.PickleBuffer] = []
    data = pickle.dumps(q, protocol=5, buffer_callback=buffers.append)
    assert len(data) < 1000
    assert len(buffers) == 1
    assert np.shares_memory(np.frombuffer(buffers[0], np.uint8), q.int_repr())
    other = pickle.loads(data, buffers=buffers)
    assert other.equal(q)
    assert np.shares_memory(other.int_repr(), q.int_repr())
    elsewhere = pickle.loads(data, buffers=[bytearray(buffers[0].raw())])
    assert elsewhere.equal(q)
    with pytest.raises(ValueError, match="QTensor"):
        pickle.loads(data, buffers=[bytes(7)])


@pytest.mark.rows(53)
def test_copy_and_deepcopy():
    for q in (tensor((2, 3, 4, 5), layout="channels_last"), per_channel((2, 3), 1)[:, 1:]):
        shallow, deep = copy.copy(q), copy.deepcopy(q)
        assert shallow.equal(q)
        assert deep.equal(q)
        assert np.shares_memory(shallow.int_repr(), q.int_repr())
        assert not np.shares_memory(deep.int_repr(), q.int_repr())


# --- lifetime ------------------------------------------------------------------------------------------------


def test_views_outlive_their_parents():
    """Every chain of views keeps the memory alive, and lets go of it in the end."""
    codes = np.arange(4096, dtype=np.uint8).reshape(64, 64)
    base = codes.copy()
    alive = weakref.ref(base)
    q = _C.QTensor.from_numpy(base, _C.QParams(0.5, 3, _C.quint8))
    views = [
        q[3:9].permute(1, 0)[::2],
        q.reshape(16, 256),
        q.int_repr()[5:],
        np.asarray(memoryview(q)),
        np.from_dlpack(q),
    ]
    del base, q
    gc.collect()
    np.full((64, 64), 255, np.uint8)  # would land in freed memory
    support.assert_same(views[0], codes[3:9].T[::2])
    support.assert_same(views[1], codes.reshape(16, 256))
    for view, want in zip(views[2:], [codes[5:], codes, codes], strict=True):
        support.assert_same(view, want)
    while views:
        assert alive() is not None
        del view
        view = views.pop()
    del view
    gc.collect()
    assert alive() is None


def test_results_outlive_their_operands():
    p = _C.QParams(0.5, 3, _C.quint8)
    x = _C.quantize(np.linspace(0, 100, 64, dtype=np.float32).reshape(8, 8), p)
    want = x.int_repr().copy()
    same = _C.requantize(x, p)
    w = _C.QTensor.from_numpy(np.eye(8, dtype=np.int8), _C.QParams(1.0, 0, _C.qint8))
    packed = _C.PackedLinear(w, np.zeros(8, np.float32))
    del x, w
    gc.collect()
    support.assert_same(same, want)
    support.assert_same(_C.linear(same, packed, p), want)
    np.testing.assert_array_equal(packed.weight.int_repr(), np.eye(8, dtype=np.int8))
    np.testing.assert_array_equal(packed.bias, np.zeros(8, np.float32))


def test_sampled_codes_cover_the_range():
    """The generator behind the kernel tests reaches both ends of every dtype."""
    for name, t in oracle.DTYPES.items():
        codes = sample_codes(np.random.default_rng(0), (1000,), name, "ends")
        assert {int(codes.min()), int(codes.max())} == {t.qmin, t.qmax}
