"""Quantized tensors: writing their codes, and what has no quantized form."""

from __future__ import annotations

import numpy as np
import pytest

import octensor as ot
import oracle
import oracle_ops
from octensor import _C
from test_ops_qtensor import channels, same, sample


@pytest.mark.rows(36)
def test_item_assignment():
    q, p = sample(), channels()
    for t in (q, p):
        want = t.dequantize().numpy().copy()
        want[1, 1:3] = 0.123
        want[0] = np.ones_like(want[0])
        t[1, 1:3] = 0.123
        t[0] = ot.ones(*want[0].shape)
        codes = oracle.quantize(want, t.qparams.scale, t.qparams.zero_point, "quint8", t.qparams.axis)
        same(t, t, codes)
    q[q.gt(0.0)] = 0.0
    assert q.dequantize().numpy().max() == 0
    q[2] = ot.quantize_per_tensor(ot.full((4, 5), 1.0), 0.01, 3, ot.qint8)
    assert set(q[2].int_repr().reshape(-1).tolist()) == {97 + round(1 / 0.07)}


@pytest.mark.rows(37, 38)
def test_copy_():
    q, source = sample(), oracle_ops.sample(np.random.default_rng(9), (3, 4, 5), ot.quint8, 0.2)
    view = q[1]
    floats = np.random.default_rng(4).standard_normal((4, 5)).astype(np.float32)
    assert q.copy_(floats) is q
    want = oracle.quantize(np.broadcast_to(floats, (3, 4, 5)), 0.07, 97, "quint8")
    np.testing.assert_array_equal(q.int_repr(), want)
    np.testing.assert_array_equal(view.int_repr(), want[1])
    q.copy_(source)
    assert q.equal(source)
    p = channels()
    p.copy_(np.ones((3, 4), np.float32))
    np.testing.assert_array_equal(
        p.int_repr(), oracle.quantize(np.ones((3, 4)), p.qparams.scale, [100, 101, 102], "quint8", 0)
    )
    with pytest.raises(TypeError, match=r"copy_: src: expected octensor.quint8"):
        q.copy_(sample(dtype=ot.qint8))
    with pytest.raises(TypeError, match="per_channel"):
        ot.empty_quantized((3, 4), q).copy_(p)


@pytest.mark.rows(40, 41, 42)
def test_resize_fill_set():
    q = sample((2, 3))
    codes = q.int_repr().copy()
    assert q.resize_(3, 3) is q
    np.testing.assert_array_equal(q.int_repr().reshape(-1), [*codes.reshape(-1), 97, 97, 97])
    q.resize_((2, 2))
    np.testing.assert_array_equal(q.int_repr(), codes.reshape(-1)[:4].reshape(2, 2))
    assert q.fill_(1.0) is q
    assert set(q.int_repr().reshape(-1).tolist()) == {97 + round(1 / 0.07)}
    other = sample((4, 4))
    q.set_(other)
    assert q.equal(other)
    assert np.shares_memory(q.int_repr(), other.int_repr())
    q.set_(other, 1, (3,), (4,))
    np.testing.assert_array_equal(q.int_repr(), other.int_repr().reshape(-1)[1:10:4])
    with pytest.raises(TypeError, match="per-tensor"):
        channels().resize_(4)
    with pytest.raises(TypeError, match="set_: source"):
        q.set_(sample(dtype=ot.qint8))
    with pytest.raises(ValueError, match="reaches element 16"):
        other.as_strided((5,), (4,))


def test_codes_over_read_only_memory_are_not_written():
    q = _C.QTensor.from_numpy(np.frombuffer(b"abcd", np.uint8), _C.QParams(0.1, 0, ot.quint8))
    for write in (lambda: q.fill_(0), lambda: q.copy_(np.zeros(4)), lambda: q.__setitem__(0, 0.0)):
        with pytest.raises(ValueError, match="read-only"):
            write()


# --- refusals -----------------------------------------------------------------------------------------


@pytest.mark.rows(55)
@pytest.mark.parametrize(
    "operation",
    [
        lambda q: q + q,
        lambda q: q - q,
        lambda q: q * q,
        lambda q: q / q,
        lambda q: q @ q,
        lambda q: 2 - q,
        lambda q: -q,
        lambda q: abs(q),
        lambda q: q**2,
        *(
            lambda q, name=name: getattr(q, name)()
            for name in ("neg", "abs", "sum", "cumsum", "argmax", "any", "round", "norm", "softmax", "float", "exp")
        ),
        lambda q: q.matmul(q),
        lambda q: q.to(np.float32),
        lambda q: ot.matmul(q, q),
        lambda q: ot.sum(q),
        lambda q: ot.zeros_like(q),
        lambda q: ot.softmax(q, 0),
    ],
)
def test_what_has_no_quantized_form_says_what_to_do(operation):
    with pytest.raises(TypeError, match=r"dequantize|ops.quantized"):
        operation(sample((3, 3)))


@pytest.mark.rows(55)
def test_there_is_no_gradient():
    q = sample()
    assert not q.requires_grad
    for ask in (lambda: q.requires_grad_(), lambda: setattr(q, "requires_grad", True)):
        with pytest.raises(TypeError, match="no gradient"):
            ask()
    assert q.requires_grad_(False) is q


@pytest.mark.rows(63)
def test_leaky_relu_into_a_tensor():
    q = sample()
    out = ot._empty_affine_quantized(q.shape, scale=0.1, zero_point=30, dtype=ot.quint8)
    assert ot.nn.functional.leaky_relu(q, 0.2, out=out) is out
    want = oracle_ops.unary(oracle_ops.of(q), lambda x: x if x > 0 else 0.2 * x, 0.1, 30, "quint8")
    np.testing.assert_array_equal(out.int_repr(), want)
