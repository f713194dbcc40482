"""The same tensor in both libraries, and how results are compared."""

from __future__ import annotations

import numpy as np
import torch

import octensor as ot
from octensor import _C

DTYPES = {"quint8": (ot.quint8, torch.quint8), "qint8": (ot.qint8, torch.qint8)}


class Pair:
    """A quantized tensor twice: ``.ot`` and ``.torch``, with the same codes and parameters."""

    def __init__(self, codes, scale, zero_point, dtype="quint8", axis=None):
        ours, _ = DTYPES[dtype]
        codes = np.ascontiguousarray(codes, ours.numpy)
        self.ot = ot.QTensor.from_numpy(codes, _C.QParams(scale, zero_point, ours, axis=axis))
        raw = torch.from_numpy(codes.copy())
        if axis is None:
            self.torch = torch._make_per_tensor_quantized_tensor(raw, float(np.float32(scale)), zero_point)
        else:
            scales = torch.from_numpy(np.asarray(scale, np.float32)).double()
            zeros = torch.from_numpy(np.asarray(zero_point, np.int64))
            self.torch = torch._make_per_channel_quantized_tensor(raw, scales, zeros, axis)


def activations(rng, shape, dtype="quint8", scale=0.05, zero_point=None):
    """Random codes around the zero point, ends of the range included."""
    ours, _ = DTYPES[dtype]
    zero_point = int((ours.qmin + ours.qmax + 1) // 2 if zero_point is None else zero_point)
    codes = np.clip(np.rint(rng.normal(zero_point, 45, shape)), ours.qmin, ours.qmax)
    return Pair(codes, scale, zero_point, dtype)


def weights(rng, shape, per_channel=True):
    """Random qint8 weights with zero point 0."""
    codes = np.clip(np.rint(rng.normal(0, 45, shape)), -127, 127)
    if not per_channel:
        return Pair(codes, 0.01, 0, "qint8")
    scales = rng.uniform(0.002, 0.02, shape[0]).astype(np.float32)
    return Pair(codes, scales, np.zeros(shape[0], np.int32), "qint8", axis=0)


def both(array):
    """A float array as an argument for either library."""
    return array, torch.from_numpy(array.copy())


def assert_within_one_step(ours, theirs, count, steps=1):
    """Equal parameters, and codes that differ by at most one; adds to the share of exact equality."""
    assert ours.q_zero_point() == theirs.q_zero_point()
    np.testing.assert_allclose(ours.q_scale(), theirs.q_scale(), rtol=1e-6)
    a, b = ours.int_repr().astype(np.int64), theirs.int_repr().numpy().astype(np.int64)
    assert a.shape == b.shape
    difference = np.abs(a - b)
    count(np.count_nonzero(difference == 0), a.size)
    assert difference.max(initial=0) <= steps, f"{np.count_nonzero(difference > steps)} of {a.size}"


def assert_floats_within_one_step(ours, theirs, count, codes=255):
    """Float results that differ by at most one step of 8 bits over their range; equal means to 1e-6 of the range."""
    a, b = np.asarray(ours, np.float64), theirs.detach().numpy().astype(np.float64)
    assert a.shape == b.shape
    spread = max(b.max() - b.min(), 1e-12)
    difference = np.abs(a - b)
    count(np.count_nonzero(difference <= 1e-6 * spread), a.size)
    assert difference.max() <= spread / codes
