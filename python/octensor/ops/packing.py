"""Weights as the integer kernels read them: made here, and once for all who ask while they are being shared.

A model that is compiled reads each weight several times: its layers pack it when they run, the ops of a loaded model
do so on every call, and the program wants it too. Within `sharing` all of them get one object: a weight is packed once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np

from .._C import PackedConv, PackedLinear, PackedWeightOnly, QParams, QTensor
from ..arrays import as_array

P = TypeVar("P")
_GEOMETRY = ("stride", "padding", "output_padding", "dilation", "groups", "is_transposed")


class _Shared(threading.local):
    known: dict[Any, Any] | None = None
    shapes_only: bool = False


_SHARED = _Shared()


@contextmanager
def sharing(ready: Iterable[Any] = (), *, shapes_only: bool = False, inherit: bool = False) -> Iterator[None]:
    """Let all who pack a weight in this thread have the same packed object.

    Parameters
    ----------
    ready : iterable
        Packed weights that are there already; anything else in it is passed over.
    shapes_only : bool
        Whether nobody looks at the values of what the ops of packed weights return: then nothing is multiplied.
    inherit : bool
        Whether to share with those who do already.
    """
    before = _SHARED.known, _SHARED.shapes_only
    known = before[0] if inherit and before[0] is not None else {}
    _SHARED.known, _SHARED.shapes_only = known, shapes_only
    for packed in ready:
        if isinstance(packed, (PackedConv, PackedLinear, PackedWeightOnly)):
            known[_key(type(packed), packed.weight, packed.bias, _geometry(packed))] = packed
    try:
        yield
    finally:
        _SHARED.known, _SHARED.shapes_only = before


def shapes_only() -> bool:
    """Whether the values of results do not matter."""
    return _SHARED.shapes_only


def blank(shape: tuple[int, ...], qparams: QParams) -> QTensor:
    """Return real zeros, of a layer whose values do not matter: channels last, as layers give images."""
    last = (shape[0], *shape[2:], shape[1]) if len(shape) > 2 else shape
    codes = np.full(last, qparams.zero_point, np.int8 if qparams.dtype.name == "qint8" else np.uint8)
    return QTensor.from_numpy(np.moveaxis(codes, -1, 1) if len(shape) > 2 else codes, qparams)


def pack_linear(weight: QTensor, bias: Any = None) -> PackedLinear:
    """Return weights (out, in) and a float bias (out,) in the form the kernels read."""
    values = _floats(bias)
    return _packed(PackedLinear, weight, values, (), make=lambda: PackedLinear(weight, values))


def pack_weight_only(weight: QTensor, bias: Any = None) -> PackedWeightOnly:
    """Return weights (out, in) that are multiplied as floats."""
    values = _floats(bias)
    return _packed(PackedWeightOnly, weight, values, (), make=lambda: PackedWeightOnly(weight, values))


def pack_conv(weight: QTensor, bias: Any, stride: Any, padding: Any, dilation: Any, groups: int) -> PackedConv:
    """Return weights (O, C/groups, kernel...) and a float bias (O,) in the form the kernels read."""
    values, geometry = _floats(bias), (tuple(stride), tuple(padding), (), tuple(dilation), groups, False)
    make = lambda: PackedConv(weight, values, stride, padding, dilation, groups)  # noqa: E731
    return _packed(PackedConv, weight, values, geometry, make=make)


def pack_conv_transpose(
    weight: QTensor, bias: Any, stride: Any, padding: Any, output_padding: Any, dilation: Any, groups: int
) -> PackedConv:
    """Return weights (C, O/groups, kernel...) and a float bias (O,) in the form the kernels read."""
    values = _floats(bias)
    geometry = (tuple(stride), tuple(padding), tuple(output_padding), tuple(dilation), groups, True)
    make = lambda: PackedConv.transposed(weight, values, stride, padding, output_padding, dilation, groups)  # noqa: E731
    return _packed(PackedConv, weight, values, geometry, make=make)


def _floats(bias: Any) -> Any:
    return None if bias is None else as_array(bias, np.float32)


def _packed(kind: type[P], weight: QTensor, bias: Any, geometry: tuple[Any, ...], *, make: Callable[[], P]) -> P:
    if _SHARED.known is None:
        return make()
    key = _key(kind, weight, bias, geometry)
    found = _SHARED.known.get(key)
    if found is None or found.weight.qparams != weight.qparams:
        found = _SHARED.known[key] = make()  # it keeps the weight, and with it the address
    packed: P = found
    return packed


def _key(kind: type, weight: QTensor, bias: Any, geometry: tuple[Any, ...]) -> Any:
    codes = np.asarray(weight)  # not int_repr(), of which a recorder would hear
    place = codes.__array_interface__["data"][0], codes.shape, codes.strides
    return kind, place, None if bias is None else bias.tobytes(), geometry


def _geometry(packed: Any) -> tuple[Any, ...]:
    if not isinstance(packed, PackedConv):
        return ()
    return tuple(tuple(v) if isinstance(v, list) else v for v in (getattr(packed, name) for name in _GEOMETRY))
