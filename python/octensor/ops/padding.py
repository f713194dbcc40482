"""Padding with a constant, a reflection, the edge or a repetition; negative amounts of a constant cut off instead.

Quantized tensors keep their qparams; the constant is quantized with them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import _C
from .._C import QTensor
from .arguments import is_int
from .codes import move_codes
from .spec import Context, OpSpec, Sample, apply

Pads = tuple[tuple[int, int], ...]

_NUMPY = {"constant": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}


def _cut(pads: Pads, shape: tuple[int, ...]) -> tuple[slice, ...]:
    """Return the part of each axis that negative amounts leave."""
    return tuple(slice(max(-a, 0), n - max(-b, 0)) for (a, b), n in zip(pads, shape, strict=True))


def _grown(pads: Pads) -> Pads:
    return tuple((max(a, 0), max(b, 0)) for a, b in pads)


def _sources(n: int, ends: tuple[int, int], mode: str) -> np.ndarray:
    """Return for each place of a padded axis the place it is copied from."""
    result: np.ndarray = np.pad(np.arange(n), ends, mode=_NUMPY[mode])  # type: ignore[call-overload]
    return result


def _forward(x: Any, *, pads: Pads, mode: str, value: float) -> Any:
    if mode == "constant":
        return np.pad(x[_cut(pads, x.shape)], _grown(pads), constant_values=value)
    for axis, ends in enumerate(pads):
        if any(ends):
            x = np.take(x, _sources(x.shape[axis], ends, mode), axis=axis)
    return x


def _backward(ctx: Context, grad: np.ndarray) -> tuple[Any]:
    x, pads, mode = ctx.arrays[0], ctx.attrs["pads"], ctx.attrs["mode"]
    if mode == "constant":
        result = np.zeros(x.shape, grad.dtype)
        kept = tuple(slice(a, n - b) for (a, b), n in zip(_grown(pads), grad.shape, strict=True))
        result[_cut(pads, x.shape)] = grad[kept]
        return (result,)
    for axis, ends in enumerate(pads):
        if any(ends):
            moved = np.moveaxis(grad, axis, 0)
            part = np.zeros((x.shape[axis], *moved.shape[1:]), grad.dtype)
            np.add.at(part, _sources(x.shape[axis], ends, mode), moved)
            grad = np.moveaxis(part, 0, axis)
    return (grad,)


def _quantized(x: QTensor, *, pads: Pads, mode: str, value: float) -> QTensor:
    code = 0
    if mode == "constant":
        code = int(_C.quantize(np.array([value], np.float32), x.qparams).int_repr()[0])
    return move_codes("pad", x, lambda codes: _forward(codes, pads=pads, mode=mode, value=code))


def _samples(rng: np.random.Generator) -> list[Sample]:
    x = rng.standard_normal((1, 2, 3, 4))
    still = (0, 0)
    return [
        ((x,), {"pads": (still, still, (1, 2), (-1, 1)), "mode": "constant", "value": 2.5}),
        ((x,), {"pads": (still, still, (2, 1), (1, 3)), "mode": "reflect", "value": 0.0}),
        ((x,), {"pads": (still, still, (2, 1), (1, 5)), "mode": "replicate", "value": 0.0}),
        ((x,), {"pads": (still, still, (3, 1), (0, 4)), "mode": "circular", "value": 0.0}),
    ]


PAD = OpSpec("pad", forward=_forward, backward=_backward, quantized=_quantized, output_qparams="same", samples=_samples)


@PAD.public
def pad(input: Any, pad: Any, mode: str = "constant", value: float | None = None) -> Any:
    """Return the tensor with values added around it.

    Parameters
    ----------
    input : Tensor or QTensor
    pad : sequence of int
        Before and after the last axis, then before and after the one before it, and so on.
    mode : {"constant", "zeros", "reflect", "replicate", "circular"}
        "zeros" is "constant" with value 0; "reflect" mirrors at the outermost value without repeating it, "replicate"
        repeats it, "circular" goes on at the other end.
    value : float, optional
        The constant, 0 when left out.

    Raises
    ------
    ValueError
        If the amounts do not fit the tensor.
    """
    shape = tuple(input.shape)
    amounts = tuple(pad) if isinstance(pad, (tuple, list)) else (pad,)
    if mode == "zeros":
        mode, value = "constant", 0.0
    if mode not in _NUMPY:
        raise ValueError(f"pad: mode: expected one of {tuple(_NUMPY)}, got {mode!r}")
    if len(amounts) % 2 or len(amounts) > 2 * len(shape) or not all(is_int(p) for p in amounts):
        raise ValueError(f"pad: pad: expected two integers for each of at most {len(shape)} axes, got {pad!r}")
    pads = [(0, 0)] * len(shape)
    for i in range(len(amounts) // 2):
        pads[len(shape) - 1 - i] = (int(amounts[2 * i]), int(amounts[2 * i + 1]))
    if mode != "constant":
        if value not in (None, 0):
            raise ValueError(f"pad: value: expected none for mode {mode!r}, got {value!r}")
        for n, ends in zip(shape, pads, strict=True):
            most = {"reflect": n - 1, "circular": n}.get(mode, max(*ends, 0) if n else 0)
            if min(ends) < 0 or max(ends) > most:
                raise ValueError(f"pad: pad: expected 0 to {most} on an axis of size {n} for {mode!r}, got {ends}")
    elif any(n + a + b < 0 or a < -n or b < -n for n, (a, b) in zip(shape, pads, strict=True)):
        raise ValueError(f"pad: pad: {pad!r} cuts off more than shape {shape} has")
    return apply(PAD, input, pads=tuple(pads), mode=mode, value=float(value or 0))
