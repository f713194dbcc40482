"""The C++ side of programs: steps on given memory, the arena, in-place and joined values, many threads."""

from __future__ import annotations

import gc
import threading

import numpy as np
import pytest

import octensor as ot
from octensor import _C
from support import backend, backends

N = -1


def qparams(scale: float = 0.05, zero: int = 100) -> _C.QParams:
    return _C.QParams(scale, zero, ot.quint8)


def conv(rng, out, inp, kernel=3, stride=1, padding=1, groups=1):
    codes = rng.integers(-128, 128, (out, inp // groups, kernel, kernel)).astype(np.int8)
    weight = _C.QTensor.from_numpy(codes, _C.QParams(np.full(out, 0.01), [0] * out, ot.qint8, axis=0))
    bias = rng.standard_normal(out).astype(np.float32)
    return _C.PackedConv(weight, bias, [stride] * 2, [padding] * 2, [1, 1], groups)


def linear(rng, out, inp):
    codes = rng.integers(-128, 128, (out, inp)).astype(np.int8)
    return _C.PackedLinear(_C.QTensor.from_numpy(codes, _C.QParams(0.01, 0, ot.qint8)), None)


class Network:
    """A small residual network twice: as a program, and by the ops themselves."""

    def __init__(self, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.stem, self.depthwise = conv(rng, 20, 3, stride=2), conv(rng, 20, 20, groups=20)
        self.point, self.side = conv(rng, 20, 20, 1, padding=0), conv(rng, 12, 20, 3)
        self.head = linear(rng, 10, 32)
        self.q = [qparams(0.3 + 0.1 * i, 90 + i) for i in range(6)]
        self.table = rng.integers(0, 256, 256).astype(np.uint8)
        p = self.program = _C.Program()
        x = p.add_input("x", np.zeros((1, 3, 9, 9), np.float32), [N, 3, 9, 9])
        x = p.quantize([x], "quant", self.q[0], True)
        stem = p.conv([x], "stem", self.stem, self.q[1], True)
        x = p.conv([stem], "depthwise", self.depthwise, self.q[2])
        x = p.lookup([x], "act", self.table, self.q[2])
        x = p.conv([x], "point", self.point, self.q[3])
        x = p.add([x, stem], "sum", self.q[4], True)
        x = p.max_pool([x], "pool", [3, 3], [1, 1], [1, 1], [1, 1], False)
        y = p.conv([x], "side", self.side, self.q[5])
        x = p.cat([x, y], "cat", 1, self.q[4])
        x = p.adaptive_avg_pool([x], "mean", [1, 1])
        x = p.reshape([x], "flat", [(0, 1), (32, 0)])
        x = p.linear([x], "head", self.head, self.q[1])
        self.program.set_outputs([p.dequantize([x], "dequant"), y])

    def __call__(self, x: np.ndarray):
        q = self.q
        stem = _C.conv(_C.quantize(x, q[0], True), self.stem, q[1], True)
        x = _C.lookup(_C.conv(stem, self.depthwise, q[2]), self.table, q[2])
        x = _C.add(_C.conv(x, self.point, q[3]), stem, q[4], True)
        x = _C.max_pool(x, [3, 3], [1, 1], [1, 1], [1, 1], False)
        y = _C.conv(x, self.side, q[5])
        x = _C.adaptive_avg_pool(_C.cat([x, y], 1, q[4]), [1, 1])
        return _C.dequantize(_C.linear(x.reshape(x.shape[0], 32), self.head, q[1])), y


def check(network: Network, x: np.ndarray) -> None:
    got, codes = network.program.run([x])
    want, want_codes = network(x)
    assert got.tobytes() == want.tobytes()
    assert got.shape == want.shape
    assert codes.equal(want_codes)


def images(*shape: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32) * 20


@pytest.mark.parametrize("batch", [1, 3, 0, 1000])
def test_a_program_does_what_its_ops_do(batch):
    check(Network(), images(batch, 3, 9, 9))


def test_on_every_instruction_set_and_thread_count():
    network, x = Network(), images(4, 3, 9, 9)
    for isa, threads in backends():
        with backend(isa, threads):
            check(network, x)


def test_inputs_of_any_strides():
    network = Network()
    check(network, images(2, 9, 9, 3).transpose(0, 3, 1, 2))
    check(network, images(4, 3, 9, 9)[::2])
    check(network, images(2, 3, 9, 9)[:, :, ::-1])
    check(network, images(3, 9, 9, 2).transpose(3, 0, 1, 2))


def test_wrong_inputs_are_named():
    p = Network().program
    good = images(2, 3, 9, 9)
    with pytest.raises(TypeError, match=r"expected 1 input \(x\), got 2"):
        p.run([good, good])
    with pytest.raises(ValueError, match=r"'x': expected float32 \(N, 3, 9, 9\), got float32 \(2, 3, 9, 8\)"):
        p.run([good[..., :8]])
    with pytest.raises(TypeError, match=r"'x': expected float32 \(N, 3, 9, 9\), got int64 \(2, 3, 9, 9\)"):
        p.run([good.astype(np.int64)])
    with pytest.raises(TypeError, match=r"'x'.* got float64"):
        p.run([good.astype(np.float64)])
    with pytest.raises(TypeError, match="expected arrays or QTensors, got <class 'list'>"):
        p.run([[1, 2]])
    with pytest.raises(TypeError, match=r"'x': expected float32 \(N, 3, 9, 9\), got quint8"):
        p.run([_C.quantize(good, qparams())])


def test_errors_of_steps_carry_their_path():
    p = _C.Program()
    x = p.add_input("x", np.zeros((1, 4), np.float32), [N, 4])
    p.set_outputs(
        [
            p.linear(
                [p.quantize([x], "quant", qparams(), False)],
                "body.fc",
                linear(np.random.default_rng(0), 3, 5),
                qparams(),
            )
        ]
    )
    with pytest.raises(ValueError, match=r"body\.fc \(linear\): linear: input: expected shape \[..., 5\]"):
        p.run([np.zeros((2, 4), np.float32)])
    p = _C.Program()
    x = p.add_input("x", np.zeros((1, 5), np.float32), [N, 5])
    p.set_outputs([p.linear_dynamic([x], "body.fc", linear(np.random.default_rng(0), 3, 5))])
    with pytest.raises(ValueError, match=r"body\.fc \(linear_dynamic\): .*finite"):
        p.run([np.full((2, 5), np.nan, np.float32)])
    p.run([np.ones((2, 5), np.float32)])  # the context is whole again


def test_the_arena_is_as_small_as_the_largest_live_set():
    network, x = Network(), images(2, 3, 9, 9)
    memory = network.program.memory([x])
    assert memory["live"] <= memory["arena"] <= 1.1 * memory["live"]
    rows = {row["path"]: row for row in network.program.describe([x])}
    assert rows["act"]["in_place"]
    assert not rows["stem"]["in_place"]
    assert rows["sum"]["in_place"]  # the last reader of both operands
    assert "flat" not in rows  # a view


def test_values_that_are_outputs_or_needed_later_are_not_written_over():
    table = np.arange(256, dtype=np.uint8)[::-1].copy()
    p = _C.Program()
    x = p.add_input("x", np.zeros((1, 7), np.float32), [N, 7])
    a = p.quantize([x], "a", qparams(), False)
    b = p.lookup([a], "b", table, qparams())
    c = p.lookup([b], "c", table, qparams())
    d = p.add([b, c], "d", qparams(0.1))
    e = p.cat([c, p.reshape([d], "", [(0, 1), (7, 0)]), c], "e", 0, qparams())
    p.set_outputs([c, d, e, a, x, c])
    x = images(3, 7)
    qa = _C.quantize(x, qparams())
    qb = _C.lookup(qa, table, qparams())
    qc = _C.lookup(qb, table, qparams())
    qd = _C.add(qb, qc, qparams(0.1))
    c, d, e, a, same, again = p.run([x])
    assert c.equal(qc)
    assert d.equal(qd)
    assert a.equal(qa)
    assert again.equal(qc)
    assert e.equal(_C.cat([qc, qd, qc], 0, qparams()))
    assert np.array_equal(same, x)
    assert not np.shares_memory(same, x)


def test_parts_of_a_join_are_made_in_place():
    table = np.random.default_rng(0).integers(0, 256, 256).astype(np.uint8)
    p = _C.Program()
    x = p.add_input("x", np.zeros((1, 70), np.float32), [N, 70])
    parts = [p.lookup([p.quantize([x], "", qparams(0.02 * (i + 1)), False)], "", table, qparams()) for i in range(3)]
    p.set_outputs([p.lookup([p.cat(parts, "cat", 0, qparams())], "after", table, qparams())])
    x = images(5, 70)
    whole = _C.cat(
        [_C.lookup(_C.quantize(x, qparams(0.02 * (i + 1))), table, qparams()) for i in range(3)], 0, qparams()
    )
    assert p.run([x])[0].equal(_C.lookup(whole, table, qparams()))
    row = next(row for row in p.describe([x]) if row["path"] == "cat")
    assert row["in_place"]


def test_views_broadcasts_and_integers():
    p = _C.Program()
    x = p.add_input("x", np.zeros((1, 2, 3, 4), np.float32), [N, 2, 3, 4])
    gate = p.add_constant(_C.quantize(np.arange(2, dtype=np.float32).reshape(2, 1, 1), qparams()))
    q = p.quantize([x], "", qparams(), True)
    values = [
        p.mul([q, gate], "", qparams(0.2)),
        p.permute([q], "", [0, 2, 3, 1]),
        p.cut([q], "", ((None, None, 1), 0, (None, None, -2), None)),
        p.reshape([p.permute([q], "", [2, 0, 1, 3])], "", [(-1, 0), (4, 0)]),
        p.contiguous([q], ""),
        p.expand([p.cut([x], "", (((0, 0), (1, 0), 1),))], "", [(0, 1), (-1, 0), (-1, 0), (-1, 0)]),
        p.cat([x, x], "", 3, None),
    ]
    p.set_outputs(values)
    x = images(3, 2, 3, 4)
    q = _C.quantize(x, qparams(), True)
    codes = np.asarray(q.int_repr())
    mul, permute, cut, reshape, dense, expand, cat = p.run([x])
    assert mul.equal(_C.mul(q, _C.quantize(np.arange(2, dtype=np.float32).reshape(2, 1, 1), qparams()), qparams(0.2)))
    for got, want in (
        (permute, codes.transpose(0, 2, 3, 1)),
        (cut, codes[:, 0, ::-2, None]),
        (reshape, codes.transpose(2, 0, 1, 3).reshape(-1, 4)),
        (dense, codes),
    ):
        assert np.array_equal(got.int_repr(), want)
    assert np.array_equal(expand, np.broadcast_to(x[:1], x.shape))
    assert np.array_equal(cat, np.concatenate([x, x], 3))
    assert dense.is_contiguous()


def test_eight_threads_on_one_program():
    network = Network()
    batches = [images(n, 3, 9, 9, seed=n) for n in (1, 2, 5)]
    wanted = [network(x)[0].tobytes() for x in batches]
    wrong = []
    before = _C.get_isa(), _C.get_num_threads()
    sets = [name for name, usable in _C.isa_list() if usable]

    def hammer(seed: int) -> None:
        order = np.random.default_rng(seed).integers(0, 3, 300)
        wrong.extend(i for i in order if network.program.run([batches[i]])[0].tobytes() != wanted[i])

    threads = [threading.Thread(target=hammer, args=(i,)) for i in range(8)]
    try:
        for t in threads:
            t.start()
        for i in range(50):
            _C.set_num_threads(1 + i % 3)
            _C.set_isa(sets[i % 2 % len(sets)])  # some machines have one
    finally:
        for t in threads:
            t.join()
        _C.set_isa(before[0])
        _C.set_num_threads(before[1])
    assert wrong == []
    gc.collect()
