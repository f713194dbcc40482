"""From an observed range to quantization parameters: every formula of that kind, as pure functions.

Let ``mn = min(lo, 0)``, ``mx = max(hi, 0)`` (real 0 always gets an exact code) and ``Q = qmax - qmin``.

=============== ========================================== =======================================
scheme          scale                                      zero point
=============== ========================================== =======================================
affine          ``max((mx - mn) / Q, eps)``                ``clamp(qmin - rint(mn / s), qmin, qmax)``
symmetric       ``max(max(-mn, mx) / (Q / 2), eps)``       the code in the middle of the range
float qparams   ``(hi - lo) / Q``, or 1 if not above eps   ``-lo / s``, a float
=============== ========================================== =======================================

``rint`` rounds half to even. Each step is rounded to float32, as PyTorch does it, so that both give the
same scale bit for bit. The *middle* is 0 for signed dtypes; for unsigned ones ``(qmin + qmax + 1) // 2``
over the dtype's full range (128) and ``(qmin + qmax) // 2`` over any other. A symmetric signed range
divides by 127.5: the most negative code is in use.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from octensor import _C

#: Smallest scale an observer hands out: the float32 machine epsilon.
EPS = float(np.finfo(np.float32).eps)

_SYMMETRIC = (_C.qscheme.per_tensor_symmetric, _C.qscheme.per_channel_symmetric)
_PER_CHANNEL = (
    _C.qscheme.per_channel_affine,
    _C.qscheme.per_channel_symmetric,
    _C.qscheme.per_channel_affine_float_qparams,
)
_MAX_BIAS_CODE = 2**31 - 1


class IntegerRange(NamedTuple):
    """The codes an observer may plan with: ``qmin..qmax``, and whether these are all codes of the dtype."""

    qmin: int
    qmax: int
    is_full: bool


def is_per_channel(qscheme: _C.qscheme) -> bool:
    """Whether a scheme has one scale for every channel."""
    return qscheme in _PER_CHANNEL


def integer_range(
    dtype: _C.dtype, reduce_range: bool = False, quant_min: int | None = None, quant_max: int | None = None
) -> IntegerRange:
    """Find the codes to plan with: the dtype's own, or literally ``quant_min..quant_max``; halved by ``reduce_range``.

    Raises
    ------
    ValueError
        If only one bound is given, or the bounds do not hold ``qmin <= 0 <= qmax``, ``qmin < qmax``, or
        do not lie inside the dtype.

    >>> from octensor import quint8
    >>> integer_range(quint8, reduce_range=True)
    IntegerRange(qmin=0, qmax=127, is_full=False)
    """
    if (quant_min is None) != (quant_max is None):
        raise ValueError(f"quant_min, quant_max: expected both or none, got {quant_min} and {quant_max}")
    if quant_min is None or quant_max is None:
        qmin, qmax = dtype.qmin, dtype.qmax
    else:
        qmin, qmax = quant_min, quant_max
        if not (dtype.qmin <= qmin <= 0 <= qmax <= dtype.qmax and qmin < qmax):
            raise ValueError(
                f"quant_min, quant_max: expected {dtype.qmin} <= quant_min <= 0 <= quant_max <= {dtype.qmax} "
                f"for {dtype.name} and quant_min < quant_max, got {qmin} and {qmax}"
            )
    if reduce_range:
        qmin, qmax = -(-qmin // 2), qmax // 2
    return IntegerRange(qmin, qmax, (qmin, qmax) == (dtype.qmin, dtype.qmax))


def choose_qparams(
    lo: np.ndarray | float,
    hi: np.ndarray | float,
    dtype: _C.dtype,
    qscheme: _C.qscheme = _C.qscheme.per_tensor_affine,
    codes: IntegerRange | None = None,
    eps: float = EPS,
) -> tuple[np.ndarray, np.ndarray]:
    """Choose scale and zero point for values in ``[lo, hi]``.

    Parameters
    ----------
    lo, hi
        Finite bounds with ``lo <= hi``: a number, or one per channel. Read as float32.
    codes
        The codes to plan with; by default all of ``dtype``.
    eps
        Floor of the scale.

    Returns
    -------
    scale : float32 array of shape (channels,), or (1,)
    zero_point : int32 array of that shape; float32 for ``per_channel_affine_float_qparams``

    Raises
    ------
    ValueError
        If a bound is not finite or ``lo > hi``.

    >>> from octensor import quint8
    >>> scale, zero_point = choose_qparams(-1.0, 2.0, quint8)
    >>> print(scale, zero_point)
    [0.01176471] [85]
    """
    lo, hi = np.atleast_1d(np.asarray(lo, np.float32)), np.atleast_1d(np.asarray(hi, np.float32))
    if not (np.isfinite(lo).all() and np.isfinite(hi).all() and (lo <= hi).all()):
        raise ValueError(f"choose_qparams: lo, hi: expected finite bounds with lo <= hi, got {lo} and {hi}")
    qmin, qmax, is_full = codes or integer_range(dtype)
    if qscheme == _C.qscheme.per_channel_affine_float_qparams:
        scale = _divide(_subtract(hi, lo), qmax - qmin)
        scale = np.where(scale > np.float32(eps), scale, np.float32(1))
        return scale, -lo / scale
    mn, mx = np.minimum(lo, np.float32(0)), np.maximum(hi, np.float32(0))
    if qscheme in _SYMMETRIC:
        scale = np.maximum(_divide(np.maximum(-mn, mx), (qmax - qmin) / 2), np.float32(eps))
        middle = 0 if dtype.qmin < 0 else (qmin + qmax + is_full) // 2
        return scale, np.full(scale.shape, middle, np.int32)
    scale = np.maximum(_divide(_subtract(mx, mn), qmax - qmin), np.float32(eps))
    return scale, np.clip(qmin - np.rint(mn / scale), qmin, qmax).astype(np.int32)


def _subtract(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Subtract as float32 does, where that does not overflow (the double result is kept where it does)."""
    wide = a.astype(np.float64) - b.astype(np.float64)
    with np.errstate(over="ignore"):
        narrow = wide.astype(np.float32)
    return np.where(np.isfinite(narrow), narrow.astype(np.float64), wide)


def _divide(a: np.ndarray, b: float) -> np.ndarray:
    """Divide and round once to float32."""
    return (a.astype(np.float64) / b).astype(np.float32)


def fit_bias(weight_scale: np.ndarray, bias: np.ndarray, input_scale: float) -> np.ndarray:
    """Raise every weight scale whose channel's bias would not fit int32, just enough that it does.

    The bias of channel ``c`` is stored as ``rint(bias[c] / (input_scale * weight_scale[c]))`` in int32. A
    channel of (nearly) zero weights has a tiny scale and may still have a bias of any size.

    Parameters
    ----------
    weight_scale
        float32, shape (1,) or (channels,).
    bias
        Shape (channels,), finite.

    Returns
    -------
    float32 array of ``weight_scale``'s shape, nowhere below it.
    """
    needed = np.abs(bias.astype(np.float64)) / (_MAX_BIAS_CODE * float(input_scale))
    if weight_scale.size == 1:
        needed = needed.max(keepdims=True, initial=0.0)
    rounded_up = np.nextafter(needed.astype(np.float32), np.float32(np.inf))
    return np.where(needed > weight_scale, rounded_up, weight_scale).astype(np.float32)
