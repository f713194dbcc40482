"""`MultiheadAttention` with quantized projections and an attention of integers, for static quantization.

Until it is converted it computes as the float layer does. Converted, q, k and v are codes with qparams, and for each
head of each sample

    scores  = f32(sum of (q - zq)(k - zk)) · f32(sq · sk / sqrt(d)) + mask      an exact integer sum
    e       = rint(2²⁰ · exp(scores - their largest))                           integers, exp as in octensor's kernels
    p       = rint(65535 · e / Σ e)                                             16-bit weights
    output  = quantize(f32(Σ p (v - zv) · sv / 65535))                          exact integer sums of p's two bytes

so that the result has the same bits on every CPU, like all of the integer path. (PyTorch computes this part in
float.) The returned attention weights, p / 65535, are a float tensor.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ... import _C
from ..._C import QParams, QTensor
from ...arrays import as_array
from ...ops.exact import exact
from ...quantization.stubs import QuantStub
from ...tensor import Tensor
from .. import attention
from ..linear import Linear
from ..parameter import Parameter
from ..weighted import describe
from .base import Quantizable

_ONE = 65535
_EXP_SCALE = np.float32(1 << 20)


@exact("attend_integer")
def attend_integer(q: QTensor, k: QTensor, v: QTensor, mask: Any, qparams: QParams) -> tuple[QTensor, Tensor]:
    """Return (weights v, weights) of heads (B, L, d), (B, S, d) and (B, S, d), by the formula at the head."""
    codes_q, codes_k, codes_v = (np.ascontiguousarray(x.int_repr()) for x in (q, k, v))
    depth = np.float64(q.shape[-1])
    step = np.float32(np.float64(q.qparams.scale) * np.float64(k.qparams.scale) / np.sqrt(depth))
    weights = np.empty((*q.shape[:2], k.shape[1]), np.float32)
    output = np.empty(q.shape, np.float32)
    zero_q, zero_k, zero_v = (x.qparams.zero_point for x in (q, k, v))
    back = np.float64(v.qparams.scale) / _ONE
    masks = None if mask is None else np.broadcast_to(mask, weights.shape)
    for head in range(q.shape[0]):
        sums = _C.matmul_integer(codes_q[head], np.ascontiguousarray(codes_k[head].T), zero_q, zero_k)
        scores = sums.astype(np.float32) * step
        if masks is not None:
            scores = scores + masks[head]
        largest = scores.max(axis=1, keepdims=True)
        largest = np.where(np.isneginf(largest), np.float32(0), largest)  # a query kept from every key
        powers = np.rint(_C.exp(scores - largest) * _EXP_SCALE).astype(np.int64)
        total = np.maximum(powers.sum(axis=1, keepdims=True), 1)
        p = np.rint((powers * _ONE).astype(np.float64) / total).astype(np.int64)
        high, low = (p >> 8).astype(np.uint8), (p & 255).astype(np.uint8)
        acc = 256 * _C.matmul_integer(high, codes_v[head], 0, zero_v).astype(np.int64)
        acc += _C.matmul_integer(low, codes_v[head], 0, zero_v)
        output[head] = (acc * back).astype(np.float32)
        weights[head] = (p / _ONE).astype(np.float32)
    return _C.quantize(output, qparams), Tensor(weights)


class MultiheadAttention(attention.AttentionSteps, Quantizable):
    """Attention with a linear layer for each projection.

    Parameters
    ----------
    embed_dim, num_heads, dropout, bias, add_bias_kv, add_zero_attn, kdim, vdim, batch_first
        As for `nn.MultiheadAttention`; `dropout` acts in training only.

    Attributes
    ----------
    linear_Q, linear_K, linear_V, out_proj : Linear
    quant_attn_output : QuantStub
        Where the output of the heads is observed.
    """

    float_class = attention.MultiheadAttention

    def _make_projections(self, bias: bool) -> None:
        self.linear_Q = Linear(self.embed_dim, self.embed_dim, bias)
        self.linear_K = Linear(self.kdim, self.embed_dim, bias)
        self.linear_V = Linear(self.vdim, self.embed_dim, bias)
        self.quant_attn_output = QuantStub()
        self.out_proj = Linear(self.embed_dim, self.embed_dim, bias)

    def _projections(self, query: Any, key: Any, value: Any) -> tuple[Any, Any, Any]:
        return self.linear_Q(query), self.linear_K(key), self.linear_V(value)

    def _heads(self, q: Any, k: Any, v: Any, mask: Any) -> tuple[Any, Any]:
        qparams = self.quant_attn_output.activation_post_process
        quantized = [isinstance(x, QTensor) for x in (q, k, v)]
        if isinstance(qparams, QParams) and all(quantized):
            output_weights: tuple[Any, Any] = attend_integer(q, k, v, mask, qparams=qparams)
            return output_weights
        if isinstance(qparams, QParams) or any(quantized):
            got = ", ".join(describe(x) for x in (q, k, v))
            raise TypeError(
                f"expected all of linear_Q, linear_K, linear_V and quant_attn_output in one stage, got heads {got}: "
                "give all of them the same qconfig"
            )
        output, weights = attention.attend(q, k, v, mask, self.dropout if self.training else 0.0)
        return self.quant_attn_output(output), weights

    @classmethod
    def _from_float(cls, mod: Any) -> MultiheadAttention:
        new = cls(
            mod.embed_dim,
            mod.num_heads,
            mod.dropout,
            mod.in_proj_bias is not None,
            mod.bias_k is not None,
            mod.add_zero_attn,
            mod.kdim,
            mod.vdim,
            mod.batch_first,
        )
        parts = [*(mod.weight_of(i) for i in range(3)), (mod.out_proj.weight, mod.out_proj.bias)]
        layers = (new.linear_Q, new.linear_K, new.linear_V, new.out_proj)
        for layer, (weight, bias) in zip(layers, parts, strict=True):
            layer.weight = _copy(weight)
            if bias is not None:
                layer.bias = _copy(bias)
        if mod.bias_k is not None:
            new.bias_k, new.bias_v = _copy(mod.bias_k), _copy(mod.bias_v)
        return new

    def dequantize(self) -> attention.MultiheadAttention:
        """Return a float layer with the (dequantized) weights of this one."""
        bias = self.linear_Q.bias is not None
        options = bias, self.bias_k is not None, self.add_zero_attn, self.kdim, self.vdim, self.batch_first
        new = attention.MultiheadAttention(self.embed_dim, self.num_heads, self.dropout, *options)
        layers = (self.linear_Q, self.linear_K, self.linear_V)
        weights = [as_array(layer.weight.dequantize()) for layer in layers]
        if new.in_proj_weight is not None:
            new.in_proj_weight = Parameter(np.concatenate(weights))
        else:
            for name, weight in zip("qkv", weights, strict=True):
                setattr(new, f"{name}_proj_weight", Parameter(weight.copy()))
        new.out_proj.weight = Parameter(as_array(self.out_proj.weight.dequantize()).copy())
        if bias:
            new.in_proj_bias = Parameter(np.concatenate([as_array(layer.bias) for layer in layers]))
            new.out_proj.bias = _copy(self.out_proj.bias)
        if self.bias_k is not None:
            new.bias_k, new.bias_v = _copy(self.bias_k), _copy(self.bias_v)
        return new.train(self.training)


def _copy(values: Any) -> Parameter:
    return Parameter(as_array(values).copy())
