"""octensor itself, through the functions that its layers call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import octensor as ot
from octensor import _C

from .. import networks
from ..cases import Case, Conv, Dynamic, Elementwise, Gemm, Int4, Lstm, Network, Pool
from ..operands import OUT_ZERO, W_SCALE, X_SCALE, X_ZERO, Data
from . import Runner, Variant


def _x_params() -> _C.QParams:
    return _C.QParams(X_SCALE, X_ZERO, _C.quint8)


def _channels_last(codes: np.ndarray) -> _C.QTensor:
    """[N, H, W, C] as a logical [N, C, H, W] view."""
    return _C.QTensor.from_numpy(codes.transpose(0, 3, 1, 2), _x_params())


def _weight(codes: np.ndarray) -> _C.QTensor:
    return _C.QTensor.from_numpy(codes, _C.QParams(W_SCALE, 0, _C.qint8))


class Octensor:
    """The instruction set is the process's; it is set before."""

    name = "octensor"
    version = _C.__version__

    def __init__(self, threads: int) -> None:
        _C.set_num_threads(threads)

    def variants(self, case: Case) -> Sequence[Variant]:
        """One for each case, where the operation exists."""
        if isinstance(case, Int4):  # beside the same product on 8-bit weights
            return [
                Variant("octensor 8-bit", "int8", lambda data: _dynamic(case, data)),
                Variant("octensor 4-bit", "int4", lambda data: _int4(case, data)),
            ]
        build = {Gemm: _gemm, Dynamic: _dynamic, Conv: _conv, Elementwise: _elementwise, Pool: _pool, Lstm: _lstm}
        build[Network] = _network
        return [Variant("octensor", "int8", lambda data: build[type(case)](case, data))]  # type: ignore[operator]


def _int4(case: Int4, data: Data) -> Runner:
    codes = data.w.astype(np.uint8) & 15
    if case.k % 2:
        codes = np.pad(codes, ((0, 0), (0, 1)))
    pairs = np.ascontiguousarray(codes[:, ::2] | codes[:, 1::2] << 4)
    scales = np.full((case.n, -(-case.k // case.group)), W_SCALE, np.float32)
    native: Any = _C  # a build without this product says so when it is asked
    packed, x = native.PackedInt4Linear(pairs, case.k, case.group, scales), data.x_float
    return Runner(lambda: native.linear_int4(x, packed), lambda: np.asarray(native.linear_int4(x, packed)))


def _gemm(case: Gemm, data: Data) -> Runner:
    x = _C.QTensor.from_numpy(data.x, _x_params())
    packed = _C.PackedLinear(_weight(data.w), None)
    out = _C.QParams(data.out_scale, OUT_ZERO, _C.quint8)
    return Runner(lambda: _C.linear(x, packed, out), lambda: _C.linear(x, packed, out).int_repr())


def _dynamic(case: Dynamic, data: Data) -> Runner:
    x, packed = data.x_float, _C.PackedLinear(_weight(data.w), None)
    return Runner(lambda: _C.linear_dynamic(x, packed), lambda: np.asarray(_C.linear_dynamic(x, packed)))


def _conv(case: Conv, data: Data) -> Runner:
    x = _channels_last(data.x)
    stride, padding = [case.stride] * 2, [case.padding] * 2
    packed = _C.PackedConv(_weight(data.w), None, stride, padding, [1, 1], case.groups)
    out = _C.QParams(data.out_scale, OUT_ZERO, _C.quint8)
    return Runner(lambda: _C.conv(x, packed, out), lambda: _C.conv(x, packed, out).int_repr().transpose(0, 2, 3, 1))


def _elementwise(case: Elementwise, data: Data) -> Runner:
    q = _C.QTensor.from_numpy(data.x, _x_params())
    params, x = q.qparams, data.x_float
    if case.op == "quantize":
        return Runner(lambda: _C.quantize(x, params), lambda: _C.quantize(x, params).int_repr())
    if case.op == "dequantize":
        return Runner(lambda: _C.dequantize(q), lambda: np.asarray(_C.dequantize(q)))
    other = _C.QTensor.from_numpy(data.w.view(np.uint8), _x_params())
    out = _C.QParams(data.out_scale, OUT_ZERO, _C.quint8)
    return Runner(lambda: _C.add(q, other, out), lambda: _C.add(q, other, out).int_repr())


def _pool(case: Pool, data: Data) -> Runner:
    x = _channels_last(data.x)

    def call() -> _C.QTensor:
        return _C.max_pool(x, [3, 3], [2, 2], [1, 1], [1, 1], False)

    return Runner(call, lambda: call().int_repr().transpose(0, 2, 3, 1))


def _lstm(case: Lstm, data: Data) -> Runner:
    layer = ot.nn.LSTM(case.hidden, case.hidden)
    for name, value in zip(("weight_ih_l0", "weight_hh_l0"), np.split(data.w_float, 2), strict=True):
        getattr(layer, name).data = ot.tensor(value)
    for name in ("bias_ih_l0", "bias_hh_l0"):
        getattr(layer, name).data = ot.tensor(np.zeros(4 * case.hidden, np.float32))
    quantized = ot.quantization.quantize_dynamic(ot.nn.Sequential(layer), {ot.nn.LSTM})
    run, _ = _planned(quantized, ot.tensor(data.x_float))
    return Runner(run, lambda: np.asarray(run()[0]))


def _network(case: Network, data: Data) -> Runner:
    assert data.folder is not None
    run, facts = _planned(networks.quantized(data.folder), ot.tensor(data.x))
    return Runner(run, lambda: np.asarray(run()), facts)


def _planned(model: Any, x: Any) -> tuple[Callable[[], Any], dict[str, float]]:
    """Say how octensor runs a model, and what is known of that: as a program, where this version has them."""
    compile_ = getattr(ot, "compile", None)
    if compile_ is not None:
        program = compile_(model, x)
        return lambda: program(x), {f"{name} MB": size / 1e6 for name, size in program.memory().items()}

    def call() -> Any:
        with ot.no_grad():
            return model(x)

    return call, {}
