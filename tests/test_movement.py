"""Copies, transpositions and layouts move every element once and touch nothing else; results reuse memory safely."""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import oracle
import support
from octensor import _C
from support import EMULATED, assert_everywhere, params, seeds, to_qparams, to_qtensor

# Around the blocks of 8 x 16, the tiles of 256 x 64 and the rows that are moved without memcpy.
CHANNELS = [1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 24, 33, 64, 257, 515]
PIXELS = [(1, 1), (1, 2), (3, 5), (4, 4), (1, 17), (7, 9), (8, 8), (5, 13), (1, 130)]


@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.parametrize("pixels", PIXELS)
def test_layouts_there_and_back(channels, pixels):
    codes = np.random.default_rng(0).integers(0, 256, (2, channels, *pixels)).astype(np.uint8)
    first = to_qtensor(oracle.Q(codes, 0.5, 3, "quint8"))
    last = to_qtensor(oracle.Q(codes, 0.5, 3, "quint8"), "channels_last")
    for run in (
        lambda: first.contiguous(memory_format="channels_last"),
        lambda: last.contiguous(),
        lambda: first[:, :, ::-1].contiguous(memory_format="channels_last")[:, :, ::-1],
        lambda: last[:, 1:].contiguous() if channels > 1 else last,
    ):
        want = codes[:, 1:] if run().shape[1] < channels else codes
        assert_everywhere(run, np.ascontiguousarray(want))


@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.parametrize("pixels", PIXELS)
def test_images_are_quantized_to_channels_last(channels, pixels):
    rng = np.random.default_rng(channels)
    x = rng.uniform(-40, 40, (2, channels, *pixels)).astype(np.float32)
    want, p = oracle.quantize(x, 0.25, 100, "quint8"), to_qparams(params(0.25, 100, "quint8"))
    for layout in ("contiguous", "channels_last", "sliced", "offset", "fortran"):
        view = support.relayout(x, layout)
        assert_everywhere(lambda view=view: _C.quantize(view, p, channels_last=True), want)
        assert_everywhere(lambda view=view: _C.quantize(view, p), want)
    assert _C.quantize(x, p, channels_last=True).is_contiguous(memory_format="channels_last")


def test_large_images_are_quantized_and_moved():
    """Runs of pixels beyond one task, channels beyond one tile."""
    rng = np.random.default_rng(3)
    p = to_qparams(params(0.25, 100, "quint8"))
    for shape in [(1, 3, 20, 30)] if EMULATED else [(2, 3, 101, 103), (1, 130, 61, 40), (3, 64, 64, 64)]:
        x = rng.uniform(-40, 40, shape).astype(np.float32)
        want = oracle.quantize(x, 0.25, 100, "quint8")
        assert_everywhere(lambda x=x: _C.quantize(x, p, channels_last=True), want)
        q = _C.quantize(x, p, channels_last=True)
        assert_everywhere(lambda q=q: q.contiguous(), want)
        assert_everywhere(lambda q=q: _C.dequantize(q), oracle.dequantize(oracle.Q(want, 0.25, 100, "quint8")))


@given(st.lists(st.integers(1, 40), min_size=2, max_size=4), seeds, st.sampled_from([1, 2, 4]))
def test_joined_channels_do_not_spill_into_each_other(widths, seed, spread):
    """Rows of every short length, written side by side into channels-last memory."""
    rng = np.random.default_rng(seed)
    out = params(0.5, 7, "quint8")
    parts = [
        oracle.Q(rng.integers(0, 256, (spread, n, 3, spread)).astype(np.uint8), np.float32(0.5), 7 + i % 2, "quint8")
        for i, n in enumerate(widths)
    ]
    p = to_qparams(out)
    for layout in ("contiguous", "channels_last"):
        qs = [to_qtensor(part, layout) for part in parts]
        qs[0] = to_qtensor(parts[0], "channels_last")
        assert_everywhere(lambda qs=qs: _C.cat(qs, 1, p), oracle.cat(parts, 1, out))


# --- reused memory --------------------------------------------------------------------------------------

P = _C.QParams(0.5, 3, _C.quint8)


def test_results_that_are_alive_share_no_memory():
    """Blocks are reused only when nobody holds them: neither a tensor, nor a view, nor an array."""
    n = 1 << 16
    x = np.zeros(n, np.float32)
    kept: list[tuple[np.ndarray, int]] = []
    for i in range(40):
        q = _C.quantize(x + i, P)
        values = _C.dequantize(q)[::2]
        codes = q.int_repr()[5:]
        if i % 3 == 0:
            kept += [(values, i), (codes, 2 * i + 3)]
    for array, value in kept:
        assert (array == value).all()


def test_large_float_results_are_ordinary_arrays():
    values = _C.dequantize(_C.quantize(np.zeros((300, 400), np.float32), P))
    values[0, 0] = 5
    assert values.flags.writeable
    assert values.flags.c_contiguous
    assert np.array(values)[0, 0] == 5
    assert values.ctypes.data % 64 == 0


def resident() -> int:
    """Bytes of memory that this process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(EMULATED, reason="an emulator's own memory would be counted")
def test_memory_does_not_grow():
    """Results of many sizes, made and dropped: what is kept for reuse stays below its limit of 128 MiB."""
    rng = np.random.default_rng(0)
    before = resident()
    for n in rng.integers(1 << 14, 6 << 20, 60):
        _C.dequantize(_C.quantize(np.ones(n, np.float32), P))
    assert resident() - before < (128 + 64) << 20


def _use_in_a_child() -> None:
    assert (_C.dequantize(_C.quantize(np.ones(1 << 20, np.float32), P)) == 1).all()


def test_a_forked_child_allocates():
    _use_in_a_child()
    child = multiprocessing.get_context("fork").Process(target=_use_in_a_child)
    child.start()
    child.join(60)
    assert child.exitcode == 0
