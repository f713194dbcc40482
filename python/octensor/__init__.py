"""octensor: quantized neural networks on CPUs. Exact int8, the same bits on every machine, NumPy and nothing else.

The names follow PyTorch's, so that `import octensor as torch` runs the examples of its quantization guide:

* `nn`, `nn.functional`, `optim`: a float model and how to train it;
* `quantization`: observe it, convert it, compare it with what it was;
* `fx`: models as graphs, to rewrite, quantize and compile;
* `compile`: a converted model as one planned program that runs without Python;
* `quantize_per_tensor`, `QTensor`, `ops.quantized`: quantized tensors by hand;
* `backends.cpu`: instruction sets and threads.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as _np

from . import ops as ops
from ._C import (
    QParams,
    QTensor,
    get_num_threads,
    qint8,
    qint32,
    qscheme,
    quint4x2,
    quint8,
    set_num_threads,
)
from ._C import dtype as dtype
from .autograd import enable_grad, is_grad_enabled, no_grad, set_grad_enabled
from .factories import (
    _choose_qparams_per_tensor as _choose_qparams_per_tensor,
)
from .factories import (
    _empty_affine_quantized as _empty_affine_quantized,
)
from .factories import (
    _empty_per_channel_affine_quantized as _empty_per_channel_affine_quantized,
)
from .factories import (
    _make_per_channel_quantized_tensor as _make_per_channel_quantized_tensor,
)
from .factories import (
    _make_per_tensor_quantized_tensor as _make_per_tensor_quantized_tensor,
)
from .factories import (
    _saturate_weight_to_fp16 as _saturate_weight_to_fp16,
)
from .factories import (
    arange,
    as_tensor,
    choose_qparams_optimized,
    empty,
    empty_like,
    empty_quantized,
    eye,
    from_numpy,
    full,
    linspace,
    normal,
    ones,
    ones_like,
    rand,
    rand_like,
    randint,
    randn,
    randn_like,
    randperm,
    tensor,
    zeros,
    zeros_like,
)
from .ops.activation import clamp, relu, sigmoid, tanh, threshold
from .ops.curves import celu, prelu, selu
from .ops.elementwise import add, div, masked_fill, mul, pow, sub
from .ops.matmul import bmm, matmul
from .ops.moving import flip, repeat_interleave, sort, topk
from .ops.reduce import amax, amin, max, mean, min, sum
from .ops.shape import (
    cat,
    chunk,
    flatten,
    narrow,
    permute,
    reshape,
    select,
    split,
    squeeze,
    stack,
    t,
    transpose,
    unbind,
    unsqueeze,
)
from .ops.shuffle import channel_shuffle, pixel_shuffle, pixel_unshuffle
from .ops.softmax import log_softmax, softmax
from .ops.unary import abs, clone, erf, exp, log, neg, sqrt
from .qtensor import dequantize, quantize_per_channel, quantize_per_tensor
from .random import get_rng_state, initial_seed, manual_seed, set_rng_state
from .tensor import Tensor

if TYPE_CHECKING:
    from . import ao, backends, fx, nn, optim, quantization
    from .program import CompileError, Program, compile

    __version__: str

__all__ = [
    # tensors
    "Tensor",
    "tensor",
    "as_tensor",
    "from_numpy",
    "arange",
    "empty",
    "empty_like",
    "eye",
    "full",
    "linspace",
    "normal",
    "ones",
    "ones_like",
    "rand",
    "rand_like",
    "randint",
    "randn",
    "randn_like",
    "randperm",
    "zeros",
    "zeros_like",
    "is_tensor",
    # quantized tensors
    "QTensor",
    "QParams",
    "choose_qparams_optimized",
    "dequantize",
    "empty_quantized",
    "quantize_per_channel",
    "quantize_per_tensor",
    # dtypes and schemes
    "dtype",
    "qint8",
    "quint8",
    "qint32",
    "quint4x2",
    "qscheme",
    # ops
    "abs",
    "add",
    "allclose",
    "amax",
    "amin",
    "argmax",
    "bmm",
    "cat",
    "celu",
    "channel_shuffle",
    "chunk",
    "clamp",
    "clone",
    "div",
    "equal",
    "erf",
    "exp",
    "flatten",
    "flip",
    "log",
    "log_softmax",
    "masked_fill",
    "matmul",
    "max",
    "mean",
    "min",
    "mul",
    "narrow",
    "neg",
    "permute",
    "pixel_shuffle",
    "pixel_unshuffle",
    "pow",
    "prelu",
    "relu",
    "repeat_interleave",
    "reshape",
    "select",
    "selu",
    "sigmoid",
    "softmax",
    "sort",
    "split",
    "sqrt",
    "squeeze",
    "stack",
    "sub",
    "sum",
    "t",
    "tanh",
    "threshold",
    "topk",
    "transpose",
    "unbind",
    "unsqueeze",
    # gradients, randomness, threads
    "enable_grad",
    "is_grad_enabled",
    "no_grad",
    "set_grad_enabled",
    "get_rng_state",
    "initial_seed",
    "manual_seed",
    "set_rng_state",
    "get_num_threads",
    "set_num_threads",
    # programs
    "CompileError",
    "Program",
    "compile",
    # packages
    "ao",
    "backends",
    "fx",
    "nn",
    "ops",
    "optim",
    "quantization",
]

float16, float32 = _np.float16, _np.float32
float = _np.float32
int8, int16, int32, int64, uint8 = _np.int8, _np.int16, _np.int32, _np.int64, _np.uint8
int, long, bool = _np.int32, _np.int64, _np.bool_

per_tensor_affine = qscheme.per_tensor_affine
per_channel_affine = qscheme.per_channel_affine
per_tensor_symmetric = qscheme.per_tensor_symmetric
per_channel_symmetric = qscheme.per_channel_symmetric
per_channel_affine_float_qparams = qscheme.per_channel_affine_float_qparams

# Loaded on first use, to keep `import octensor` short.
_LAZY = ("ao", "backends", "fx", "io", "nn", "onnx", "optim", "quantization", "torch")
# Functions whose home is a package that is loaded on first use.
_LAZY_FUNCTIONS = {
    "io": ("load", "save"),
    "program": ("CompileError", "Program", "compile"),
    "quantization.fake_ops": (
        "fake_quantize_per_tensor_affine",
        "fake_quantize_per_channel_affine",
        "fake_quantize_per_tensor_affine_cachemask",
        "fake_quantize_per_channel_affine_cachemask",
        "_fake_quantize_learnable_per_tensor_affine",
        "_fake_quantize_learnable_per_channel_affine",
        "fused_moving_avg_obs_fake_quant",
    ),
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return import_module(f"{__name__}.{name}")
    for home, names in _LAZY_FUNCTIONS.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{home}"), name)
    if name == "__version__":  # looked up in the installed distribution: reading it takes longer than the rest
        return import_module("importlib.metadata").version("octensor")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY, *(name for names in _LAZY_FUNCTIONS.values() for name in names)})


def is_tensor(obj: Any) -> Any:
    """Whether `obj` is a `Tensor` or a `QTensor`."""
    return isinstance(obj, (Tensor, QTensor))


def _tensor(op: str, input: Any) -> Any:
    if not is_tensor(input):
        raise TypeError(f"{op}: input: expected a Tensor or QTensor, got {type(input).__name__}")
    return input


def _float(op: str, input: Any) -> Tensor:
    if not isinstance(input, Tensor):
        remedy = ": call .dequantize() on it first" if isinstance(input, QTensor) else ""
        raise TypeError(f"{op}: input: expected a float Tensor, got {type(input).__name__}{remedy}")
    return input


def equal(input: Any, other: Any) -> Any:
    """Whether two tensors have the same shape and values (for QTensors: also the same qparams)."""
    return _tensor("equal", input).equal(other)


def allclose(input: Any, other: Any, rtol: Any = 1e-5, atol: Any = 1e-8) -> Any:
    """Whether all values of two float tensors are within `atol + rtol · |other|`."""
    return _float("allclose", input).allclose(other, rtol=rtol, atol=atol)


def argmax(input: Any, dim: Any = None, keepdim: Any = False) -> Tensor:
    """Return the index of the first largest value, over everything or along one axis."""
    return ops.reduce.argmax(input, dim, keepdim)
