"""What several test files need: every backend, sample data in many memory layouts, oracle <-> extension."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator

import numpy as np
from hypothesis import strategies as st

import oracle
from octensor import _C

ISAS = [name for name, supported in _C.isa_list() if supported]
THREADS = (1, 2, 3)
EMULATED = os.environ.get("OCTENSOR_TEST_PROFILE") == "emulated"

FLOAT32_TINY = float(np.finfo(np.float32).tiny)
FLOAT32_MAX = float(np.finfo(np.float32).max)
EXTREMES = [FLOAT32_TINY, 1e-25, 1e-12, 1.0, 1e12, 1e25, FLOAT32_MAX]


def dtype(name: str) -> _C.dtype:
    """`octensor.qint8` of "qint8"."""
    return getattr(_C, name)


# --- backends -------------------------------------------------------------------------------------


@contextlib.contextmanager
def backend(isa: str, threads: int) -> Iterator[None]:
    """Run a block on one instruction set with one thread count."""
    before = _C.get_isa(), _C.get_num_threads()
    try:
        _C.set_isa(isa)
        _C.set_num_threads(threads)
        yield
    finally:
        _C.set_isa(before[0])
        _C.set_num_threads(before[1])


def backends() -> list[tuple[str, int]]:
    return [(isa, threads) for isa in ISAS for threads in THREADS]


def array_of(result: _C.QTensor | np.ndarray) -> np.ndarray:
    return result.int_repr() if isinstance(result, _C.QTensor) else result


def assert_same(got: _C.QTensor | np.ndarray, want: np.ndarray, note: str = "") -> None:
    """Equal shape, dtype and every element (floats by their bits, so that -0.0 and NaN count too)."""
    codes = array_of(got)
    assert (codes.shape, codes.dtype) == (want.shape, want.dtype), note
    if codes.dtype.kind == "f":
        codes, want = np.array(codes).view(np.uint32), np.array(want).view(np.uint32)
    if not np.array_equal(codes, want):
        where = tuple(int(i) for i in np.argwhere(codes != want)[0])
        wrong = np.count_nonzero(codes != want)
        raise AssertionError(
            f"{note}: {wrong} of {want.size} elements differ, first at {where}: got {codes[where]}, want {want[where]}"
        )


def assert_everywhere(run: Callable[[], _C.QTensor | np.ndarray], want: np.ndarray) -> None:
    """``run()`` gives ``want`` on every instruction set and thread count."""
    for isa, threads in backends():
        with backend(isa, threads):
            assert_same(run(), want, f"{isa}, {threads} threads")


# --- data -----------------------------------------------------------------------------------------

LAYOUTS = ("contiguous", "fortran", "channels_last", "sliced", "reversed", "offset")


def relayout(x: np.ndarray, layout: str) -> np.ndarray:
    """Equal values in another memory layout."""
    if x.ndim == 0:
        return x
    if layout == "fortran":
        return np.asfortranarray(x)
    if layout == "channels_last" and x.ndim >= 3:
        return np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1)
    if layout == "sliced":  # every second element of every axis of something larger
        big = np.zeros([2 * n + 1 for n in x.shape], x.dtype)
        view = big[tuple(slice(1, None, 2) for _ in x.shape)]
    elif layout == "reversed":  # negative strides
        big = np.zeros(x.shape, x.dtype)
        view = big[tuple(slice(None, None, -1) for _ in x.shape)]
    elif layout == "offset":  # dense rows at an odd address inside something larger
        big = np.zeros([n + 3 for n in x.shape], x.dtype)
        view = big[tuple(slice(1, n + 1) for n in x.shape)]
    else:
        return np.array(x, order="C")
    view[...] = x
    return view


def sample_codes(rng: np.random.Generator, shape: tuple[int, ...], name: str, style: str) -> np.ndarray:
    """Codes of a dtype: uniform, only the two ends of its range, or one end everywhere."""
    t = oracle.DTYPES[name]
    if style == "ends":
        return rng.choice([t.qmin, t.qmax], shape).astype(t.storage)
    if style == "lowest" or style == "highest":
        return np.full(shape, t.qmin if style == "lowest" else t.qmax, t.storage)
    return rng.integers(t.qmin, t.qmax, shape, np.int64, endpoint=True).astype(t.storage)


STYLES = ("uniform", "uniform", "ends", "lowest", "highest")
seeds = st.integers(0, 2**32 - 1)
styles = st.sampled_from(STYLES)
layouts = st.sampled_from(LAYOUTS)
byte_dtypes = st.sampled_from(["qint8", "quint8"])
dtypes = st.sampled_from(["qint8", "quint8", "qint32"])
# Sizes around every vector length, tile and group, primes among them.
sizes = st.sampled_from([1, 2, 3, 4, 5, 7, 8, 9, 12, 15, 16, 17, 23, 31, 32, 33, 47, 64, 65])
small = st.integers(1, 5)
array_shapes = st.one_of(
    st.lists(small, min_size=0, max_size=4),
    st.lists(st.integers(0, 3), min_size=1, max_size=3),
    sizes.map(lambda n: [n]),
    st.tuples(small, sizes, small, small).map(list),
).map(tuple)
# Ordinary scales, and a power of two, for which products have exact ties.
scales = st.one_of(st.floats(2**-12, 4.0, width=32), st.sampled_from([2.0**-7, 2.0**-3, 0.5, 1.0]).map(float))


def zero_points(name: str) -> st.SearchStrategy[int]:
    t = oracle.DTYPES[name]
    return st.one_of(st.integers(t.qmin, t.qmax), st.sampled_from([t.qmin, t.qmax, 0]))


@st.composite
def qparams(draw: st.DrawFn, name: str | None = None) -> tuple[float, int, str]:
    """Per-tensor (scale, zero_point, dtype)."""
    name = name or draw(byte_dtypes)
    return draw(scales), draw(zero_points(name)), name


def weight(rng: np.random.Generator, shape: tuple[int, ...], name: str, style: str, how: str) -> oracle.Q:
    """Weights whose parameters are "tensor" (with a zero point), "symmetric" or "channel" (along axis 0)."""
    t = oracle.DTYPES[name]
    codes = sample_codes(rng, shape, name, style)
    if how == "symmetric":
        return oracle.Q(codes, np.float32(0.011), 0, name)
    if how == "tensor":
        return oracle.Q(codes, np.float32(0.013), int(rng.integers(t.qmin, t.qmax, endpoint=True)), name)
    scale = rng.uniform(0.001, 0.1, shape[0]).astype(np.float32)
    return oracle.Q(codes, scale, rng.integers(t.qmin, t.qmax, shape[0], endpoint=True).astype(np.int32), name, 0)


def output_like(acc_scale: float, spread: float, zero_point: int, name: str) -> oracle.Q:
    """Output parameters under which a sum of the size ``acc_scale`` covers about ``spread`` codes."""
    scale = float(np.clip(acc_scale / spread, FLOAT32_TINY, FLOAT32_MAX))
    return oracle.Q(np.empty(0), np.float32(scale), zero_point, name)


# --- oracle <-> extension -------------------------------------------------------------------------


def to_qparams(q: oracle.Q) -> _C.QParams:
    if q.axis is None:
        return _C.QParams(float(q.scale), int(q.zero_point), dtype(q.dtype))
    return _C.QParams(q.scale, q.zero_point, dtype(q.dtype), axis=q.axis)


def to_qtensor(q: oracle.Q, layout: str = "contiguous") -> _C.QTensor:
    return _C.QTensor.from_numpy(relayout(q.codes, layout), to_qparams(q))


def params(scale: float, zero_point: int, name: str) -> oracle.Q:
    """Parameters without codes."""
    return oracle.Q(np.empty(0), np.float32(scale), zero_point, name)
