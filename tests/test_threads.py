"""Threads, forks and the caller's floating-point environment: none of them changes a byte."""

from __future__ import annotations

import ctypes
import ctypes.util
import multiprocessing
import os
import platform
import signal
import subprocess
import sys
import threading
from collections.abc import Callable

import numpy as np
import pytest

import oracle
import support
from octensor import _C
from support import EMULATED, params, to_qparams, to_qtensor


def network() -> list[tuple[str, Callable[[], _C.QTensor | np.ndarray]]]:
    """One call of every function that computes, large enough for several threads; equal in every process."""
    rng = np.random.default_rng(11)
    side = 11 if EMULATED else 40
    image = oracle.Q(rng.integers(0, 256, (2, 24, side, side)).astype(np.uint8), np.float32(0.021), 118, "quint8")
    x, p = to_qtensor(image, "channels_last"), _C.QParams(0.5, 97, _C.quint8)
    floats = rng.normal(0, 3, (2, 24, side, side)).astype(np.float32)
    rows = to_qtensor(oracle.Q(rng.integers(0, 256, (70, 300)).astype(np.uint8), np.float32(0.013), 3, "quint8"))
    bias = rng.normal(0, 1, 24).astype(np.float32)

    def conv(groups: int) -> Callable[[], _C.QTensor]:
        shape = (24, 24 // groups, 3, 3)
        w = to_qtensor(support.weight(np.random.default_rng(12), shape, "qint8", "uniform", "channel"))
        # Packed inside: what packing computes must not depend on its surroundings either.
        return lambda: _C.conv(x, _C.PackedConv(w, bias, (1, 1), (1, 1), (1, 1), groups), p)

    dense = to_qtensor(support.weight(np.random.default_rng(13), (24, 300), "qint8", "uniform", "channel"))
    table = rng.integers(0, 256, 256).astype(np.uint8)
    return [
        ("quantize", lambda: _C.quantize(floats, p)),
        ("dequantize", lambda: _C.dequantize(x)),
        ("requantize", lambda: _C.requantize(x, p)),
        ("matmul_integer", lambda: _C.matmul_integer(rows.int_repr(), rows.int_repr().T, 7, 9)),
        ("linear", lambda: _C.linear(rows, _C.PackedLinear(dense, bias), p)),
        ("conv2d", conv(1)),
        ("conv2d of groups", conv(4)),
        ("conv2d depthwise", conv(24)),
        ("lookup", lambda: _C.lookup(x, table, p)),
        ("add", lambda: _C.add(x, x, p)),
        ("mul", lambda: _C.mul(x, x, p)),
        ("max_pool2d", lambda: _C.max_pool(x, (3, 3), (2, 2), (1, 1), (1, 1), False)),
        ("avg_pool2d", lambda: _C.avg_pool(x, (3, 3), (2, 2), (1, 1), False, True, None)),
        ("adaptive_avg_pool2d", lambda: _C.adaptive_avg_pool(x, (3, 2))),
        ("cat", lambda: _C.cat([x, x], 1, p)),
    ]


def results(calls: list[tuple[str, Callable[[], _C.QTensor | np.ndarray]]]) -> dict[str, bytes]:
    return {name: support.array_of(run()).tobytes() for name, run in calls}


@pytest.fixture(scope="module")
def expected() -> dict[str, bytes]:
    with support.backend("scalar", 1):
        return results(network())


@pytest.mark.parametrize("threads", [1, 2, 3, 8])
@pytest.mark.parametrize("isa", support.ISAS)
def test_thread_counts_and_instruction_sets_agree(isa, threads, expected):
    with support.backend(isa, threads):
        assert _C.get_isa() == isa
        assert _C.get_num_threads() == threads
        assert results(network()) == expected


def test_many_python_threads_at_once(expected):
    """Ten callers share one pool, one cache of packed weights, and change the thread count meanwhile."""
    calls = network()
    rounds, failures = (1 if EMULATED else 6), []
    start = threading.Barrier(10)

    def work(number: int) -> None:
        start.wait()
        for i in range(rounds):
            _C.set_num_threads(1 + (number + i) % 3)
            for name, run in calls[number % len(calls) :] + calls[: number % len(calls)]:
                if support.array_of(run()).tobytes() != expected[name]:
                    failures.append(name)

    before = _C.get_num_threads()
    workers = [threading.Thread(target=work, args=(i,)) for i in range(10)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    _C.set_num_threads(before)
    assert failures == []


def test_one_packed_weight_in_many_threads():
    """Callers with different parameters race for what a packed weight caches."""
    rng = np.random.default_rng(14)
    w = support.weight(rng, (37, 50), "qint8", "uniform", "channel")
    bias = rng.normal(0, 5, 37).astype(np.float32)
    cases = []
    for i in range(4):
        x = oracle.Q(rng.integers(0, 256, (9, 50)).astype(np.uint8), np.float32(0.01 * (i + 1)), 40 * i, "quint8")
        out = params(2.0 + i, 11 * i, "quint8")
        cases.append((to_qtensor(x), to_qparams(out), oracle.linear(x, w, bias, out).tobytes()))
    packed = _C.PackedLinear(to_qtensor(w), bias)
    failures = []

    def work(number: int) -> None:
        for i in range(20 if EMULATED else 300):
            x, p, want = cases[(number + i) % len(cases)]
            if _C.linear(x, packed, p).int_repr().tobytes() != want:
                failures.append((number, i))

    workers = [threading.Thread(target=work, args=(i,)) for i in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert failures == []


# --- processes ----------------------------------------------------------------------------------------


def child_results(_: int = 0) -> dict[str, bytes]:
    with support.backend(_C.get_isa(), 3):
        return results(network())


def wait_for(pid: int, seconds: float) -> int:
    """Exit status of a child that must end by itself in time."""
    previous = signal.signal(signal.SIGALRM, lambda *_: os.kill(pid, signal.SIGKILL))
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


# The emulator itself loses its way in forks of forks, and in forks while other threads run.
@pytest.mark.parametrize("generations", [1, pytest.param(2, marks=pytest.mark.native)])
def test_fork_after_use(generations, expected):
    """A forked child, and its own child, compute with several threads after their parent did."""
    with support.backend(_C.get_isa(), 3):
        assert results(network()) == expected
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                if generations == 2:
                    results(network())
                    grandchild = os.fork()
                    if grandchild:
                        status = os.waitstatus_to_exitcode(os.waitpid(grandchild, 0)[1])
                        os._exit(status)
                status = 0 if results(network()) == expected and _C.get_num_threads() == 3 else 2
            finally:
                os._exit(status)
        assert wait_for(pid, 120) == 0
        assert results(network()) == expected  # the parent's pool still works


@pytest.mark.native
def test_fork_while_other_threads_compute(expected):
    """A fork in the middle of somebody else's call leaves the child with a working pool."""
    stop = threading.Event()
    calls = [call for call in network() if call[0] == "conv2d"]

    def work() -> None:
        while not stop.is_set():
            results(calls)

    with support.backend(_C.get_isa(), 3):
        worker = threading.Thread(target=work)
        worker.start()
        try:
            for _ in range(2 if EMULATED else 10):
                pid = os.fork()
                if pid == 0:
                    os._exit(0 if results(calls)["conv2d"] == expected["conv2d"] else 2)
                assert wait_for(pid, 60) == 0
        finally:
            stop.set()
            worker.join()


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_multiprocessing(method, expected):
    results(network())
    with multiprocessing.get_context(method).Pool(2) as pool:
        for got in pool.map_async(child_results, range(2)).get(timeout=240):
            assert got == expected


def run_python(code: str, **environment: str) -> str:
    """Standard output of a fresh interpreter."""
    env = {**os.environ, **environment}
    return subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("isa", support.ISAS)
def test_environment_variables_choose_the_backend(isa):
    code = "from octensor import _C; print(_C.get_isa(), _C.get_num_threads())"
    assert run_python(code, OCTENSOR_ISA=isa, OCTENSOR_NUM_THREADS="3").split() == [isa, "3"]


def test_an_unknown_instruction_set_in_the_environment_is_an_error():
    code = """
from octensor import _C
try:
    _C.get_isa()
except ValueError as error:
    print(error)
"""
    message = run_python(code, OCTENSOR_ISA="avx9000")
    assert "OCTENSOR_ISA" in message
    assert "avx9000" in message
    assert "scalar" in message


# --- the caller's floating-point environment --------------------------------------------------------------

MACHINE = platform.machine()
ROUNDING = {"x86_64": {"upward": 0x800, "downward": 0x400, "toward zero": 0xC00}}.get(
    MACHINE, {"upward": 0x400000, "downward": 0x800000, "toward zero": 0xC00000}
)


def set_rounding(libm: ctypes.CDLL, mode: str) -> None:
    assert libm.fesetround(ROUNDING[mode]) == 0
    assert (float("1") / 3 > 0.3333333333333333) == (mode == "upward"), "the rounding mode was not set"


def set_flush_to_zero(libm: ctypes.CDLL, _: str) -> None:
    """Set FTZ and DAZ in MXCSR, or FZ in FPCR, through the saved form of the environment."""
    environment = (ctypes.c_uint32 * 16)()
    assert libm.fegetenv(environment) == 0
    if MACHINE == "x86_64":
        environment[7] |= 0x8040
    else:
        environment[0] |= 1 << 24
    assert libm.fesetenv(environment) == 0
    denormal = np.array([1e-40], np.float32)
    assert (denormal * np.float32(1))[0] == 0, "flush-to-zero was not set"


ENVIRONMENTS = dict.fromkeys(ROUNDING, set_rounding) | {"flush to zero": set_flush_to_zero}


@pytest.mark.skipif(MACHINE not in ("x86_64", "aarch64"), reason="layout of fenv_t unknown")
@pytest.mark.parametrize("mode", ENVIRONMENTS)
@pytest.mark.parametrize("threads", [1, 3])
def test_the_callers_floating_point_environment_does_not_matter(mode, threads, expected):
    libm = ctypes.CDLL(ctypes.util.find_library("m") or "libm.so.6")
    calls = network()
    # Denormal quotients, ties, and a bias whose rounding shows the mode.
    tiny = np.linspace(-2.5e-38, 2.5e-38, 101).astype(np.float32)
    tiny_params = _C.QParams(support.FLOAT32_TINY, 100, _C.quint8)
    ones = _C.QTensor.from_numpy(np.ones((1, 3), np.uint8), _C.QParams(1 / 3, 0, _C.quint8))
    weights = _C.QTensor.from_numpy(np.ones((101, 3), np.int8), _C.QParams(0.7, 0, _C.qint8))
    bias, wide = np.linspace(-5, 5, 101).astype(np.float32), _C.QParams(0.0123, 3, _C.qint8)
    calls += [
        ("quantize tiny", lambda: _C.quantize(tiny, tiny_params)),
        ("linear bias", lambda: _C.linear(ones, _C.PackedLinear(weights, bias), wide)),
    ]
    want = expected | results(calls[-2:])
    got: dict[str, bytes] = {}

    def work() -> None:  # in a thread of its own: the environment belongs to the thread
        ENVIRONMENTS[mode](libm, mode)
        got.update(results(calls))

    with support.backend(_C.get_isa(), threads):
        worker = threading.Thread(target=work)
        worker.start()
        worker.join()
    assert set(got) == set(want), "the worker failed"
    assert [name for name in want if got[name] != want[name]] == []


@pytest.mark.skipif(MACHINE not in ("x86_64", "aarch64"), reason="layout of fenv_t unknown")
@pytest.mark.parametrize("mode", ENVIRONMENTS)
def test_the_pool_does_not_inherit_the_environment_of_its_maker(mode):
    """New threads start with their creator's environment: whoever makes the pool must not matter later."""
    libm = ctypes.CDLL(ctypes.util.find_library("m") or "libm.so.6")
    n = 1 << (12 if EMULATED else 20)
    x = np.resize(np.linspace(-2.5e-38, 2.5e-38, 101).astype(np.float32), n)
    p = _C.QParams(support.FLOAT32_TINY, 100, _C.quint8)
    codes, table = _C.QTensor.from_numpy(np.zeros(n, np.uint8), p), np.zeros(256, np.uint8)
    calls = [lambda: _C.lookup(codes, table, p), lambda: _C.quantize(x, p)]
    want = oracle.quantize(x, support.FLOAT32_TINY, 100, "quint8")

    for number, first in enumerate(calls):

        def work(first: Callable[[], _C.QTensor] = first) -> None:
            ENVIRONMENTS[mode](libm, mode)
            first()

        with support.backend(_C.get_isa(), 4 + number):  # another size: the pool is made anew
            worker = threading.Thread(target=work)
            worker.start()
            worker.join()
            support.assert_same(_C.quantize(x, p), want, mode)


@pytest.mark.skipif(MACHINE not in ("x86_64", "aarch64"), reason="layout of fenv_t unknown")
def test_the_callers_floating_point_environment_is_left_alone():
    libm = ctypes.CDLL(ctypes.util.find_library("m") or "libm.so.6")
    seen: list[int] = []

    def work() -> None:
        libm.fesetround(ROUNDING["upward"])
        results(network())
        seen.append(libm.fegetround())

    worker = threading.Thread(target=work)
    worker.start()
    worker.join()
    assert seen == [ROUNDING["upward"]]
