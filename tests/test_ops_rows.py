"""Embedding tables: packing rows in 8, 4 and 2 bits, lookups and bags, against plain loops."""

from __future__ import annotations

import numpy as np
import pytest

import octensor as ot
from octensor import _C
from octensor.ops import quantized as oq

F32, F16 = np.float32, np.float16
RNG = np.random.default_rng(11)
TABLE = RNG.standard_normal((10, 8)).astype(F32)
TABLE[3] = 0.7  # a constant row
INDICES = np.array([1, 9, 3, 3, 0, 5, 7])
OFFSETS = np.array([0, 2, 2, 6])
WEIGHTS = RNG.uniform(0.5, 2, 7).astype(F32)


def pack_row(row: np.ndarray, bits: int) -> bytes:
    """One row by the rules of the format."""
    low, high = row.min(), row.max()
    if bits == 8:
        inverse = F32(255) / (F32(high - low) + F32(1e-8))
        codes = [int(np.rint(F32(x - low) * inverse)) for x in row]
        return bytes(codes) + F32((high - low) / F32(255)).tobytes() + low.tobytes()
    levels = 2**bits - 1
    low = F32(F16(low))
    scale = F32(F16(F32(high - low) / F32(levels))) if high != low else F32(1)
    scale = scale or F32(1)
    codes = [min(max(int(np.rint(F32(x - low) * (F32(1) / scale))), 0), levels) for x in row]
    many = 8 // bits
    packed = [sum(c << (bits * i) for i, c in enumerate(codes[k : k + many])) for k in range(0, len(codes), many)]
    return bytes(packed) + F16(scale).tobytes() + F16(low).tobytes()


def unpack_row(row: bytes, bits: int) -> list[np.float32]:
    kind, tail = (F32, 8) if bits == 8 else (F16, 4)
    scale, bias = (F32(v) for v in np.frombuffer(row[-tail:], kind))
    codes = [(byte >> shift) & (2**bits - 1) for byte in row[:-tail] for shift in range(0, 8, bits)]
    return [F32(c) * scale + bias for c in codes]


def name(bits: int) -> str:
    return "byte" if bits == 8 else f"{bits}bit"


def bags(rows, indices, starts, ends, weights=None) -> np.ndarray:
    out = np.zeros((len(starts), len(rows[0])), F32)
    for b, (start, end) in enumerate(zip(starts, ends, strict=True)):
        for i in range(start, end):
            out[b] += np.array(rows[indices[i]], F32) * (F32(1) if weights is None else weights[i])
    return out


@pytest.mark.parametrize("bits", [8, 4, 2])
@pytest.mark.rows(109)
def test_rows_of_bytes(bits):
    packed = getattr(oq, f"embedding_bag_{name(bits)}_prepack")(TABLE).numpy()
    want = [pack_row(row, bits) for row in TABLE]
    assert packed.shape == (10, 8 * bits // 8 + (8 if bits == 8 else 4))
    assert [row.tobytes() for row in packed] == want
    values = getattr(oq, f"embedding_bag_{name(bits)}_unpack")(packed).numpy()
    np.testing.assert_array_equal(values, np.array([unpack_row(row, bits) for row in want]))


@pytest.mark.rows(109)
def test_rows_must_fill_whole_bytes():
    with pytest.raises(ValueError, match="multiple of 4, got 6"):
        oq.embedding_bag_2bit_prepack(np.zeros((2, 6), F32))
    with pytest.raises(ValueError, match="expected uint8 rows of more than 8 bytes"):
        oq.embedding_bag_byte_unpack(np.zeros((2, 6), np.uint8))


@pytest.mark.parametrize("bits", [8, 4, 2])
@pytest.mark.rows(106, 107)
def test_bags_of_rows_of_bytes(bits):
    packed = getattr(oq, f"embedding_bag_{name(bits)}_prepack")(TABLE)
    rows = [unpack_row(pack_row(row, bits), bits) for row in TABLE]
    call = getattr(oq, f"embedding_bag_{name(bits)}_rowwise_offsets")
    ends = [*OFFSETS[1:], 7]
    np.testing.assert_array_equal(call(packed, INDICES, OFFSETS).numpy(), bags(rows, INDICES, OFFSETS, ends))
    weighted = call(packed, INDICES, OFFSETS, per_sample_weights=WEIGHTS).numpy()
    np.testing.assert_array_equal(weighted, bags(rows, INDICES, OFFSETS, ends, WEIGHTS))
    closed = call(packed, INDICES.astype(np.int32), OFFSETS, include_last_offset=True).numpy()
    np.testing.assert_array_equal(closed, bags(rows, INDICES, OFFSETS[:-1], OFFSETS[1:]))
    square = call(packed, INDICES[:6].reshape(2, 3)).numpy()
    np.testing.assert_array_equal(square, bags(rows, INDICES, [0, 3], [3, 6]))
    mapping = np.array([0, -1, 4, 2, -1, 1, 3, 9])
    pruned = call(packed, INDICES % 8, OFFSETS, pruned_weights=True, compressed_indices_mapping=mapping).numpy()
    kept = [np.zeros(8, F32) if m < 0 else rows[m] for m in mapping]
    np.testing.assert_array_equal(pruned, bags(kept, INDICES % 8, OFFSETS, ends))
    both = call(
        packed,
        INDICES % 8,
        OFFSETS,
        pruned_weights=True,
        compressed_indices_mapping=mapping,
        per_sample_weights=WEIGHTS,
    ).numpy()
    np.testing.assert_array_equal(both, bags(kept, INDICES % 8, OFFSETS, ends, WEIGHTS))
    with pytest.raises(ValueError, match="mode: expected 0"):
        call(packed, INDICES, OFFSETS, mode=1)
    with pytest.raises(ValueError, match=r"indices: expected values in \[0, 10\)"):
        call(packed, INDICES + 5, OFFSETS)


def quantized(dtype: _C.dtype, floats: bool) -> tuple[ot.QTensor, np.ndarray]:
    """A table with parameters per row, and its float values."""
    low, high = np.minimum(TABLE.min(1), 0), np.maximum(TABLE.max(1), 0)
    scales = ((high - low) / dtype.qmax).astype(F32)
    points = (-low / scales).astype(F32) if floats else np.rint(-low / scales).astype(np.int64)
    q = ot.quantize_per_channel(TABLE, scales, points, 0, dtype)
    if floats:
        codes = np.clip(np.rint(TABLE / scales[:, None] + points[:, None]), 0, dtype.qmax).astype(F32)
    else:
        codes = np.clip(np.rint(TABLE / scales[:, None]) + points[:, None], 0, dtype.qmax).astype(F32)
    return q, (codes - points.astype(F32)[:, None]) * scales[:, None]


@pytest.mark.parametrize("floats", [False, True])
@pytest.mark.parametrize("dtype", [_C.quint8, _C.quint4x2], ids=str)
@pytest.mark.rows(2, 7, 10, 105, 106, 107, 108)
def test_tables_with_parameters_per_row(dtype, floats):
    q, rows = quantized(dtype, floats)
    assert q.qscheme() == (ot.per_channel_affine_float_qparams if floats else ot.per_channel_affine)
    packed = oq.embedding_bag_prepack(q)
    assert oq.embedding_bag_unpack(packed).equal(q)
    byte = dtype == _C.quint8
    lookup = oq.embedding_byte if byte else oq.embedding_4bit
    np.testing.assert_array_equal(lookup(packed, INDICES.reshape(7, 1)).numpy(), rows[INDICES][:, None])
    bag = oq.embedding_bag_byte if byte else oq.embedding_bag_4bit
    ends = [*OFFSETS[1:], 7]
    got = bag(packed, INDICES, OFFSETS, per_sample_weights=WEIGHTS).numpy()
    np.testing.assert_array_equal(got, bags(rows, INDICES, OFFSETS, ends, WEIGHTS))
    closed = bag(packed, INDICES, OFFSETS, include_last_offset=True).numpy()
    np.testing.assert_array_equal(closed, bags(rows, INDICES, OFFSETS[:-1], OFFSETS[1:]))
    mapping = np.array([0, -1, 4, 2, -1, 1, 3, 9])
    kept = [np.zeros(8, F32) if m < 0 else rows[m] for m in mapping]
    pruned = bag(packed, INDICES % 8, OFFSETS, pruned_weights=True, compressed_indices_mapping=mapping).numpy()
    np.testing.assert_array_equal(pruned, bags(kept, INDICES % 8, OFFSETS, ends))
    other = oq.embedding_bag_4bit if byte else oq.embedding_bag_byte
    with pytest.raises(TypeError, match="packed: expected a quint"):
        other(packed, INDICES, OFFSETS)


@pytest.mark.rows(2)
def test_four_bit_codes_share_bytes():
    q = ot.quantize_per_tensor(ot.tensor([0.0, 1.0, 2.0, 3.0, 4.0]), 1.0, 0, ot.quint4x2)
    assert q.int_repr().tolist() == [16, 50, 4]
    assert q.shape == (5,)


# --- the range search ---------------------------------------------------------------------------------


def loss(x: np.ndarray, low: np.float32, high: np.float32, bits: int) -> np.float32:
    low, levels = F32(F16(low)), 2**bits - 1
    scale = F32(F16(F32(high - low) / F32(levels))) if high != low else F32(1)
    total = F32(0)
    for v in x:
        code = F32(min(max(np.rint(F32(v - low) * (F32(1) / scale)), 0), levels))
        error = v - F32(code * scale + low)
        total = F32(total + error * error)
    return np.sqrt(total)


def searched(x: np.ndarray, bits: int, n_bins: int, ratio: float) -> tuple[np.float32, np.float32]:
    low, high = x.min(), x.max()
    step = F32((high - low) / F32(n_bins))
    least = F32(int(n_bins * (1 - float(F32(ratio))))) * step
    best, found, current = loss(x, low, high, bits), (high, low), loss(x, low, high, bits)
    while F32(low + least) < high:
        left, right = loss(x, F32(low + step), high, bits), loss(x, low, F32(high - step), bits)
        if current < min(left, right, best):
            best, found = current, (high, low)
        if left < right:
            low, current = F32(low + step), left
        else:
            high, current = F32(high - step), right
    return found


@pytest.mark.parametrize("bits", [4, 2])
@pytest.mark.rows(18)
def test_choose_qparams_optimized(bits):
    for seed in range(4):
        x = np.random.default_rng(seed).standard_normal(40).astype(F32) ** 3
        high, low = ot.choose_qparams_optimized(x, 40, 100, 0.3, bits)
        assert (high.item(), low.item()) == tuple(map(float, searched(x, bits, 100, 0.3)))


@pytest.mark.rows(18, 109)
def test_an_optimized_pack_loses_less():
    x = np.random.default_rng(5).standard_normal((6, 32)).astype(F32) ** 3

    def lost(optimized: bool) -> float:
        packed = oq.embedding_bag_4bit_prepack(x, optimized, 200, 0.5)
        return float(np.sum((oq.embedding_bag_4bit_unpack(packed).numpy() - x) ** 2))

    assert lost(True) < lost(False)


@pytest.mark.rows(109)
@pytest.mark.parametrize("bits", [4, 2])
def test_an_optimized_pack_searches_each_row_with_its_settings(bits):
    x = np.random.default_rng(5).standard_normal((6, 32)).astype(F32) ** 3
    packed = getattr(oq, f"embedding_bag_{name(bits)}_prepack")(x, True, 100, 0.5).numpy()
    ranges = [searched(row, bits, 100, 0.5) for row in x]
    assert ranges != [searched(row, bits, 200, 0.16) for row in x]
    lows = np.ascontiguousarray(packed[:, -2:]).view(F16)[:, 0]  # the bias comes last
    scales = np.ascontiguousarray(packed[:, -4:-2]).view(F16)[:, 0]
    np.testing.assert_array_equal(lows, np.array([low for _, low in ranges], F16))
    want = [F16(F32(high - F32(F16(low))) / F32(2**bits - 1)) for high, low in ranges]
    np.testing.assert_array_equal(scales, np.array(want))
