"""Pools, interpolation, padding and shuffles of quantized tensors equal plain loops over the codes."""

from __future__ import annotations

import numpy as np
import pytest

import octensor as ot
import oracle
import oracle_ops
from octensor import _C
from octensor.nn.quantized import functional as qF
from octensor.ops import quantized as oq

F = ot.nn.functional
DTYPES = pytest.mark.parametrize("dtype", [_C.quint8, _C.qint8], ids=str)
SIZES = {1: (9,), 2: (5, 6), 3: (4, 5, 3)}
CASES = [
    {"kernel": 2, "stride": 2, "padding": 0, "ceil": False},
    {"kernel": 3, "stride": 1, "padding": 1, "ceil": False},
    {"kernel": 3, "stride": 2, "padding": 1, "ceil": True},
]


def same(got: ot.QTensor, q: ot.QTensor, want: np.ndarray) -> None:
    assert got.qparams == q.qparams
    np.testing.assert_array_equal(got.int_repr(), want)


@DTYPES
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.rows(67, 94, 118)
def test_max_pool(rank, case, dtype):
    q = oracle_ops.sample(np.random.default_rng(rank), (2, 3, *SIZES[rank]), dtype)
    k, s, p, ceil = case.values()
    want = oracle_ops.max_pool(oracle_ops.of(q), (k,) * rank, (s,) * rank, (p,) * rank, ceil=ceil)
    same(getattr(F, f"max_pool{rank}d")(q, k, s, p, 1, ceil), q, want)
    if rank < 3:
        same(getattr(oq, f"max_pool{rank}d")(q, k, s, p, 1, ceil), q, want)
        same(getattr(qF, f"max_pool{rank}d")(q, k, s, p, 1, ceil), q, want)


@pytest.mark.rows(67, 118)
def test_dilated_max_pool_and_indices():
    q = oracle_ops.sample(np.random.default_rng(0), (1, 2, 9), _C.quint8)
    same(F.max_pool1d(q, 2, 1, 0, 3), q, oracle_ops.max_pool(oracle_ops.of(q), (2,), (1,), (0,), (3,)))
    for call in (F.max_pool1d, qF.max_pool1d):
        with pytest.raises(ValueError, match="return_indices"):
            call(q, 2, return_indices=True)


@DTYPES
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.rows(68, 114)
def test_avg_pool(rank, case, dtype):
    q = oracle_ops.sample(np.random.default_rng(rank), (2, 3, *SIZES[rank]), dtype)
    k, s, p, ceil = case.values()
    for include, divisor in ((True, None), (False, None), (True, 5)):
        if rank == 1 and divisor:
            continue
        want = oracle_ops.avg_pool(oracle_ops.of(q), (k,) * rank, (s,) * rank, (p,) * rank, ceil, include, divisor)
        rule = (include,) if rank == 1 else (include, divisor)
        same(getattr(F, f"avg_pool{rank}d")(q, k, s, p, ceil, *rule), q, want)
        if rank > 1:
            same(getattr(qF, f"avg_pool{rank}d")(q, k, s, p, ceil, *rule), q, want)


@DTYPES
@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("wanted", [1, 2, 3, None])
@pytest.mark.rows(69, 115)
def test_adaptive_avg_pool(rank, wanted, dtype):
    q = oracle_ops.sample(np.random.default_rng(rank), (2, 3, *SIZES[rank]), dtype)
    plain, size = oracle_ops.of(q), SIZES[rank]
    out = tuple(wanted or n for n in size)
    want = np.empty((2, 3, *out), dtype.numpy)
    for place in np.ndindex(*out):
        ends = [(i * n // m, -(-(i + 1) * n // m)) for i, n, m in zip(place, size, out, strict=True)]
        part = plain.centred[(..., *(slice(a, b) for a, b in ends))].reshape(2, 3, -1)
        want[(..., *place)] = oracle.mean(part.sum(-1), part.shape[-1], plain.zero_point, dtype.name)
    same(getattr(F, f"adaptive_avg_pool{rank}d")(q, wanted), q, want)
    if rank > 1:
        same(getattr(qF, f"adaptive_avg_pool{rank}d")(q, wanted), q, want)


# --- interpolation ------------------------------------------------------------------------------------


@DTYPES
@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.rows(70, 119, 124)
def test_nearest(rank, dtype):
    q = oracle_ops.sample(np.random.default_rng(rank), (2, 2, *SIZES[rank]), dtype)
    out = tuple(2 * n + 1 for n in SIZES[rank])
    want = np.empty((2, 2, *out), dtype.numpy)
    for place in np.ndindex(*out):
        at = [
            min(int(np.float32(i) * np.float32(n / m)), n - 1) for i, n, m in zip(place, SIZES[rank], out, strict=True)
        ]
        want[(..., *place)] = q.int_repr()[(..., *at)]
    for call in (F.interpolate, qF.interpolate):
        same(call(q, out), q, want)
    with pytest.warns(UserWarning, match="deprecated"):
        same(qF.upsample(q, out), q, want)
    with pytest.warns(UserWarning, match="deprecated"):
        same(qF.upsample_nearest(q, out), q, want)
    doubled = q.int_repr()
    for axis in range(2, rank + 2):
        doubled = np.repeat(doubled, 2, axis)
    same(F.interpolate(q, scale_factor=2), q, doubled)


@DTYPES
@pytest.mark.parametrize("align", [False, True])
@pytest.mark.parametrize("out", [(9, 11), (3, 2), (1, 7)])
@pytest.mark.rows(71, 119, 124)
def test_bilinear(out, align, dtype):
    q = oracle_ops.sample(np.random.default_rng(3), (2, 2, 5, 6), dtype)
    plain, one, half = oracle_ops.of(q), np.float32(1), np.float32(0.5)

    def neighbours(i: int, n: int, m: int):
        if align:
            source = np.float32(i) * np.float32((n - 1) / (m - 1) if m > 1 else 0)
        else:
            source = max((np.float32(i) + half) * np.float32(n / m) - half, np.float32(0))
        low = min(int(source), n - 1)
        far = np.float32(source) - np.float32(low)
        return low, min(low + 1, n - 1), one - far, far

    values = plain.centred.astype(np.float32)
    want = np.empty((2, 2, *out), dtype.numpy)
    for i, j in np.ndindex(*out):
        a, b, near_row, far_row = neighbours(i, 5, out[0])
        c, d, near, far = neighbours(j, 6, out[1])
        rows = [values[:, :, r, c] * near + values[:, :, r, d] * far for r in (a, b)]
        real = rows[0] * near_row + rows[1] * far_row
        want[:, :, i, j] = oracle.clamp(np.rint(real), plain.zero_point, dtype.name)
    for call in (F.interpolate, qF.interpolate):
        same(call(q, out, None, "bilinear", align), q, want)
    if align:
        with pytest.warns(UserWarning, match="deprecated"):
            same(qF.upsample_bilinear(q, out), q, want)


def test_interpolate_names_what_does_not_fit():
    x = ot.zeros(1, 1, 3, 3)
    for call, message in (
        (lambda: F.interpolate(x), "either size or scale_factor"),
        (lambda: F.interpolate(x, 2, mode="linear"), "expected 'nearest' or 'bilinear'"),
        (lambda: F.interpolate(x, (2, 2, 2)), "one value or 2"),
        (lambda: F.interpolate(x, 2, align_corners=True), "align_corners"),
        (lambda: F.interpolate(x, scale_factor=0.1), "leaves nothing"),
    ):
        with pytest.raises(ValueError, match=message):
            call()


# --- padding and shuffles -----------------------------------------------------------------------------


@DTYPES
@pytest.mark.rows(72)
def test_pad(dtype):
    q = oracle_ops.sample(np.random.default_rng(4), (1, 2, 4, 5), dtype)
    codes = q.int_repr()
    same(F.pad(q, (2, 1, 1, 3), "reflect"), q, np.pad(codes, ((0, 0), (0, 0), (1, 3), (2, 1)), mode="reflect"))
    row = q[0]
    same(F.pad(row, [3, 2], "reflect"), q, np.pad(codes[0], ((0, 0), (0, 0), (3, 2)), mode="reflect"))
    same(F.pad(q, (1, 1), "replicate"), q, np.pad(codes, ((0, 0),) * 3 + ((1, 1),), mode="edge"))
    same(F.pad(q, (1, 1), "circular"), q, np.pad(codes, ((0, 0),) * 3 + ((1, 1),), mode="wrap"))
    code = oracle.quantize(np.float32(1.3), q.q_scale(), q.q_zero_point(), dtype.name)
    want = np.pad(codes, ((0, 0), (0, 0), (0, 2), (1, 0)), constant_values=code)
    same(F.pad(q, (1, 0, 0, 2), value=1.3), q, want)
    same(F.pad(q, (-1, 0)), q, codes[..., 1:])
    zeros = np.pad(codes, ((0, 0),) * 3 + ((0, 1),), constant_values=q.q_zero_point())
    same(F.pad(q, (0, 1)), q, zeros)
    with pytest.raises(ValueError, match="0 to 4 on an axis of size 5"):
        F.pad(q, (5, 0), "reflect")


@DTYPES
@pytest.mark.rows(73)
def test_shuffles(dtype):
    q = oracle_ops.sample(np.random.default_rng(4), (2, 8, 3, 2), dtype)
    codes = q.int_repr()
    shuffled = codes[:, [0, 4, 1, 5, 2, 6, 3, 7]]
    same(ot.channel_shuffle(q, 2), q, shuffled)
    big = np.empty((2, 2, 6, 4), dtype.numpy)
    for c, i, j in np.ndindex(2, 6, 4):
        big[:, c, i, j] = codes[:, c * 4 + (i % 2) * 2 + j % 2, i // 2, j // 2]
    same(F.pixel_shuffle(q, 2), q, big)
    same(F.pixel_unshuffle(F.pixel_shuffle(q, 2), 2), q, codes)
    with pytest.raises(ValueError, match="groups: expected a divisor of 8"):
        ot.channel_shuffle(q, 3)


@pytest.mark.rows(74)
def test_dropout_in_eval_is_the_identity():
    q = oracle_ops.sample(np.random.default_rng(0), (3, 4), _C.quint8)
    assert F.dropout(q, 0.5, training=False) is q
