"""A quantized tensor plus, or times, a number: the result's parameters follow from the input's.

With scale ``s``, zero point ``z``, codes ``q`` in ``qmin..qmax``, ``Q = qmax - qmin`` and, for the sum,
``c_q = rint(c / s)``:

=========== =========================== ============================== ============== =============================
operation   case                        scale                          zero point     codes
=========== =========================== ============================== ============== =============================
``q + c``   qmin <= z - c_q <= qmax     s                              z - c_q        q
..          z - c_q < qmin              s (qmax - (z - c_q)) / Q       qmin           requantized from q - z + c_q
..          z - c_q > qmax              s ((z - c_q) - qmin) / Q       qmax           requantized from q - z + c_q
``q * c``   c > 0                       c s                            z              q
..          c = 0                       1                              0              all 0
..          c < 0                       abs(c) s                       qmax + qmin - z qmax + qmin - q
=========== =========================== ============================== ============== =============================

Requantized: rint(f32(q - z + c_q) · f32(f64(s) / f64(s'))) + z', clamped. With a ReLU, max(q', z').
"""

from __future__ import annotations

import numpy as np

from .. import _C
from .._C import QParams, QTensor
from .codes import byte_codes
from .exact import exact


@exact("add_scalar")
def add_scalar(x: QTensor, c: float, relu: bool = False) -> QTensor:
    """Return ``x + c`` with the parameters of the table above (8-bit, per-tensor)."""
    old, dtype = _checked("add_scalar", x, c), x.dtype
    c_q = int(np.rint(c / old.scale))
    zero_point = old.zero_point - c_q
    if dtype.qmin <= zero_point <= dtype.qmax:
        return _relabelled(x, QParams(old.scale, zero_point, dtype), relu)
    edge, reach = (
        (dtype.qmin, dtype.qmax - zero_point) if zero_point < dtype.qmin else (dtype.qmax, zero_point - dtype.qmin)
    )
    scale = np.float32(old.scale * reach / (dtype.qmax - dtype.qmin))
    ratio = np.float32(np.float64(np.float32(old.scale)) / np.float64(scale))
    moved = np.rint((_codes(dtype) - old.zero_point + c_q).astype(np.float32) * ratio) + edge
    return _mapped(x, moved, QParams(float(scale), edge, dtype), relu)


@exact("mul_scalar")
def mul_scalar(x: QTensor, c: float, relu: bool = False) -> QTensor:
    """Return ``x * c`` with the parameters of the table above (8-bit, per-tensor)."""
    old, dtype = _checked("mul_scalar", x, c), x.dtype
    if c > 0:
        return _relabelled(x, QParams(c * old.scale, old.zero_point, dtype), relu)
    if c == 0:
        return _mapped(x, np.zeros(256), QParams(1.0, 0, dtype), relu)
    flip = dtype.qmax + dtype.qmin
    return _mapped(x, flip - _codes(dtype), QParams(-c * old.scale, flip - old.zero_point, dtype), relu)


def _checked(op: str, x: QTensor, c: float) -> QParams:
    qparams = byte_codes(op, x)
    if not abs(c) <= np.finfo(np.float32).max:
        raise ValueError(f"{op}: c: expected a finite float32 number, got {c}")
    return qparams


def _codes(dtype: _C.dtype) -> np.ndarray:
    """Return the code that each raw byte 0..255 stands for."""
    return np.asarray(np.arange(256, dtype=np.uint8).view(dtype.numpy), np.int64)


def _relabelled(x: QTensor, qparams: QParams, relu: bool) -> QTensor:
    """Return the same codes with other parameters."""
    return _mapped(x, _codes(x.dtype), qparams, True) if relu else QTensor.from_numpy(x.int_repr(), qparams)


def _mapped(x: QTensor, table: np.ndarray, qparams: QParams, relu: bool) -> QTensor:
    """Replace every code by its entry in a table indexed by the raw byte."""
    lowest = qparams.zero_point if relu else qparams.dtype.qmin
    return _C.lookup(x, np.clip(table, lowest, qparams.dtype.qmax).astype(qparams.dtype.numpy), qparams)
