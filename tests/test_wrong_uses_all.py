"""A wrong use of every public function, and what is said about it: the type of the error and parts of its message.

One table: an expression, the error, and what the message must hold (the place first, then what was expected or what
helps). `test_every_public_function_is_here` keeps it whole. Mistakes that take several steps to make are in
test_wrong_uses.py, those of the extension in test_errors.py. Over 500 lines because it is one table.
"""

from __future__ import annotations

import copy
import re
import warnings

import numpy as np
import pytest

import octensor as ot
import octensor.quantization as tq
from octensor import nn
from octensor.backends import cpu
from octensor.backends import quantized as engines
from octensor.quantization import _correct_bias, _equalize
from octensor.quantization import _numeric_suite as ns

V, T, A = ValueError, TypeError, AttributeError
OUT_OF_RANGE = (ValueError, IndexError)


def _names():
    """What the expressions of the table may use."""
    rng = np.random.default_rng(0)
    f = rng.standard_normal((2, 4, 6, 6)).astype(np.float32)  # float images
    q = ot.quantize_per_tensor(f, 0.05, 128, ot.quint8)
    w = ot.quantize_per_tensor(f[0, 0], 0.05, 0, ot.qint8)  # a weight of a linear layer
    linear, conv = nn.Linear(6, 3).eval(), nn.Conv2d(4, 2, 3).eval()
    linear.qconfig = conv.qconfig = tq.default_qconfig
    wrapped = tq.QuantWrapper(linear).eval()
    return {
        "ot": ot,
        "np": np,
        "tq": tq,
        "nn": nn,
        "copy": copy,
        "cpu": cpu,
        "engines": engines,
        "ns": ns,
        "_correct_bias": _correct_bias,
        "_equalize": _equalize,
        "F": nn.functional,
        "Q": ot.ops.quantized,
        "nnq": nn.quantized,
        "QF": nn.quantized.functional,
        "f": f,
        "t": ot.from_numpy(f),
        "v": ot.from_numpy(f[0, 0]),  # a float matrix
        "q": q,
        "q8": ot.quantize_per_tensor(f, 0.05, 0, ot.qint8),
        "qv": ot.quantize_per_tensor(f[0, 0], 0.05, 128, ot.quint8),
        "w": w,
        "wc": ot.quantize_per_tensor(f[:, :, :3, :3].copy(), 0.05, 0, ot.qint8),  # a kernel
        "pc": ot.quantize_per_channel(f[0, 0], np.full(6, 0.05, np.float32), np.zeros(6, np.int64), 0, ot.qint8),
        "packed": ot.ops.quantized.linear_prepack(w, None),
        "linear": linear,
        "conv": conv,
        "static": tq.convert(tq.calibrate(tq.prepare(wrapped), f[0, 0])),
        "sequential_with_qconfig": tq.QuantWrapper(linear).eval(),
        "sequential": nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 2)).eval(),
        "OBSERVER": tq.MinMaxObserver.with_args(),
    }


NAMES = _names()
ACTIVATIONS = ("ELU", "CELU", "SELU", "GELU", "SiLU", "Mish", "Softplus", "LogSigmoid", "Hardsigmoid", "Hardswish")
RECURRENT = ("LSTM", "GRU", "RNN", "LSTMCell", "GRUCell", "RNNCell")

TENSORS = [
    ("ot.tensor(object())", T, "tensor"),
    ("ot.as_tensor('a')", T, "expected"),
    ("ot.from_numpy([1.0])", T, "from_numpy: array; ndarray; list"),
    ("ot.zeros(-1)", V, "zeros"),
    ("ot.ones('a')", T, "ones"),
    ("ot.empty(-2)", V, "empty"),
    ("ot.full((2,), 'a')", (T, V), "full"),
    ("ot.eye(-1)", V, "eye"),
    ("ot.arange(0, 10, 0)", V, "arange: step"),
    ("ot.linspace(0, 1, -1)", V, "linspace: steps"),
    ("ot.normal(0.0, -1.0, (2,))", V, "normal: std"),
    ("ot.rand(-1)", V, "rand"),
    ("ot.randn(-1)", V, "randn"),
    ("ot.randint(5, 5, (2,))", V, "randint: high"),
    ("ot.randperm(-1)", V, "randperm"),
    ("ot.zeros_like(3)", T, "zeros_like"),
    ("ot.ones_like('a')", T, "ones_like"),
    ("ot.rand_like(None)", T, "rand_like"),
    ("ot.randn_like(3)", T, "randn_like"),
    ("ot.manual_seed('a')", V, "manual_seed"),
    ("ot.set_rng_state(3)", T, "set_rng_state"),
    ("ot.set_num_threads(0)", V, "set_num_threads"),
    ("ot.set_grad_enabled('yes')", T, "set_grad_enabled"),
    ("ot.equal(3, t)", T, "equal"),
    ("ot.allclose('a', t)", T, "allclose"),
    ("t.backward()", RuntimeError, "backward"),
    ("ot.Tensor('abc')", T, "Tensor"),
    ("t.item()", V, "item"),
    ("bool(t)", V, "bool"),
]

FLOAT_OPS = [
    ("ot.add(t, q)", T, "add; QTensor"),
    ("ot.sub(t, q)", T, "sub; QTensor"),
    ("ot.mul(q, t)", T, "mul; QTensor"),
    ("ot.div(q, q)", T, "div"),
    ("ot.pow(q, 2)", T, "pow"),
    ("ot.neg(q)", T, "neg"),
    ("ot.abs(q)", T, "abs"),
    ("ot.exp(q)", T, "exp"),
    ("ot.log(q)", T, "log"),
    ("ot.sqrt(q)", T, "sqrt"),
    ("ot.sum(q)", T, "sum"),
    ("ot.matmul(q, q)", T, "matmul"),
    ("ot.matmul(t, v[:5])", V, "matmul"),
    ("ot.softmax(q, 1)", T, "softmax"),
    ("ot.softmax(t, 7)", OUT_OF_RANGE, "softmax; dim"),
    ("ot.log_softmax(q, 1)", T, "log_softmax"),
    ("ot.add(t, 'a')", T, "add"),
    ("ot.add(t, ot.ones(5))", V, "add; (2, 4, 6, 6); (5,)"),
    ("ot.mean(t, 4)", OUT_OF_RANGE, "mean; dim"),
    ("ot.max(t, 9)", OUT_OF_RANGE, "max; dim"),
    ("ot.min(t, 9)", OUT_OF_RANGE, "min; dim"),
    ("ot.amax(t, 9)", OUT_OF_RANGE, "amax; dim"),
    ("ot.amin(t, 9)", OUT_OF_RANGE, "amin; dim"),
    ("ot.argmax(t, 9)", OUT_OF_RANGE, "argmax; dim"),
    ("ot.relu('a')", T, "relu"),
    ("ot.sigmoid(None)", T, "sigmoid"),
    ("ot.tanh('a')", T, "tanh"),
    ("ot.clamp(t)", (T, V), "clamp"),
    ("ot.clone('a')", T, "clone"),
    ("ot.celu('a')", T, "celu"),
    ("ot.selu('a')", T, "selu"),
    ("ot.erf('a')", T, "erf"),
    ("ot.prelu(t, ot.ones(3))", V, "prelu: weight"),
    ("ot.threshold(t, 'a', 0.0)", (T, V), "threshold"),
]

SHAPES = [
    ("ot.reshape(t, (7, 3))", V, "reshape; (2, 4, 6, 6)"),
    ("ot.flatten(t, 3, 1)", V, "flatten"),
    ("ot.permute(t, (0, 1))", V, "permute"),
    ("ot.transpose(t, 0, 9)", OUT_OF_RANGE, "transpose"),
    ("ot.squeeze(t, 9)", OUT_OF_RANGE, "squeeze; dim"),
    ("ot.unsqueeze(t, 9)", OUT_OF_RANGE, "unsqueeze; dim"),
    ("ot.compile(nn.Linear(2, 2), [[1.0]])", T, "compile: example_inputs[0]"),
    ("ot.cat([])", V, "cat"),
    ("ot.cat(t)", V, "cat: tensors; list"),
    ("ot.cat([t, q])", T, "cat; QTensor"),
    ("ot.cat([t, v])", V, "cat"),
    ("ot.stack([t, v])", V, "stack"),
    ("ot.chunk(t, 0)", V, "chunk: chunks"),
    ("ot.split(t, 0)", V, "split"),
    ("ot.bmm(t, t)", V, "bmm"),
    ("ot.channel_shuffle(t, 3)", V, "channel_shuffle: groups"),
    ("ot.pixel_shuffle(t, 3)", V, "pixel_shuffle"),
    ("ot.pixel_unshuffle(t, 4)", V, "pixel_unshuffle"),
    ("ot.flip(t, [9])", OUT_OF_RANGE, "flip"),
    ("ot.narrow(t, 2, 5, 3)", OUT_OF_RANGE, "narrow"),
    ("ot.select(t, 1, 9)", OUT_OF_RANGE, "select"),
    ("ot.repeat_interleave(t, -1)", V, "repeat_interleave"),
    ("ot.sort(t, 9)", OUT_OF_RANGE, "sort"),
    ("ot.topk(t, 99)", OUT_OF_RANGE, "topk: k"),
    ("ot.t(t)", V, "t"),
    ("ot.unbind(t, 9)", OUT_OF_RANGE, "unbind"),
    ("ot.masked_fill(t, f, 0.0)", T, "masked_fill: mask"),
]

QUANTIZED_TENSORS = [
    ("ot.QParams(0.0, 0, ot.quint8)", V, "QParams: scale; positive"),
    ("ot.QParams(0.1, 300, ot.quint8)", V, "QParams: zero_point; [0, 255]; 300"),
    ("ot.QParams(0.1, 0, np.int8)", T, "QParams"),
    ("ot.quantize_per_tensor(f, -1.0, 0, ot.quint8)", V, "scale; positive"),
    ("ot.quantize_per_tensor(f, 0.1, 0, ot.float32)", T, "quantize_per_tensor: dtype"),
    ("ot.quantize_per_tensor(q, 0.1, 0, ot.quint8)", T, "quantize_per_tensor; QTensor"),
    ("ot.quantize_per_tensor('a', 0.1, 0, ot.quint8)", T, "quantize_per_tensor"),
    ("ot.quantize_per_channel(f, [0.1], [0], 1, ot.qint8)", V, "quantize_per_channel: scales; 4; axis 1"),
    ("ot.dequantize('a')", T, "dequantize"),
    ("ot.empty_like(3)", T, "empty_like"),
    ("ot.empty_quantized((2,), t)", T, "empty_quantized"),
    ("ot.choose_qparams_optimized(t, 288, 200, 0.16, 99)", V, "choose_qparams_optimized: bit_width"),
    ("ot.QTensor.from_numpy(f, ot.QParams(0.1, 0, ot.quint8))", (T, V), "from_numpy; float32"),
    ("q.q_per_channel_scales()", V, "q_per_channel_scales"),
    ("pc.q_scale()", V, "q_scale"),
    ("q + q", T, "FloatFunctional"),
    ("q.reshape(5, 5)", V, "reshape"),
    ("q.permute(0, 0, 1, 2)", V, "permute"),
    ("q[9]", IndexError, "9"),
    ("q.view(7)", V, "view"),
    ("q.transpose(0, 5)", OUT_OF_RANGE, "transpose"),
]

OPS = [
    ("Q.add(t, q, 0.1, 0)", T, "add; QTensor; quantize it first"),
    ("Q.add(q, 3, 0.1, 0)", T, "add; QTensor"),
    ("Q.add_relu(q, q, 0.0, 0)", V, "scale"),
    ("Q.mul(q, q, 0.1, 300)", V, "zero_point"),
    ("Q.mul_relu(q, t, 0.1, 0)", T, "mul_relu; QTensor"),
    ("Q.cat([], 0, 0.1, 0)", T, "cat"),
    ("Q.cat_relu(q, 0, 0.1, 0)", T, "cat_relu; list"),
    ("Q.linear_prepack(v, None)", T, "linear_prepack; QTensor"),
    ("Q.linear_unpack(w)", T, "linear_unpack"),
    ("Q.linear(v, packed, 0.1, 0)", T, "linear; QTensor"),
    ("Q.linear(qv[:, :5], packed, 0.1, 0)", V, "linear; 6; 5"),
    ("Q.linear_relu(qv, w, 0.1, 0)", T, "linear_relu; prepack"),
    ("Q.conv2d_prepack(w, None, [1, 1], [0, 0], [1, 1], 1)", V, "conv: weight; (6, 6)"),
    ("Q.conv2d_unpack(packed)", T, "conv2d: packed; conv2d_prepack"),
    ("Q.conv2d(q, packed, 0.1, 0)", T, "conv2d; conv2d_prepack"),
    ("Q.conv2d_relu(t, packed, 0.1, 0)", T, "conv2d: input; QTensor"),
    ("Q.leaky_relu(t, 0.1, False, 0.1, 0)", T, "leaky_relu; QTensor"),
    ("Q.sigmoid(t, 0.1, 0)", T, "sigmoid; QTensor"),
    ("Q.tanh(t, 0.1, 0)", T, "tanh; QTensor"),
    ("Q.clamp(t, 0.0, 1.0)", T, "clamp; QTensor"),
    ("Q.relu6(t)", T, "relu6; QTensor"),
    ("Q.max_pool2d(t, [2, 2], [2, 2], [0, 0], [1, 1], False)", T, "max_pool2d; QTensor"),
    ("Q.add_out(q, q, t)", T, "add_out"),
    ("Q.add_relu_out(q, q, t)", T, "add_relu_out"),
    ("Q.mul_out(q, q, t)", T, "mul_out"),
    ("Q.mul_relu_out(q, q, t)", T, "mul_relu_out"),
    ("Q.cat_out([q], 0, t)", T, "cat_out"),
    ("Q.cat_relu_out([q], 0, t)", T, "cat_relu_out"),
    ("Q.add_scalar(t, 1.0)", T, "add_scalar; QTensor"),
    ("Q.add_scalar(q, float('nan'))", V, "add_scalar; finite"),
    ("Q.add_scalar_relu(t, 1.0)", T, "add_scalar; QTensor"),
    ("Q.add_scalar_out(t, 1.0, q)", T, "add_scalar; QTensor"),
    ("Q.add_scalar_relu_out(t, 1.0, q)", T, "add_scalar; QTensor"),
    ("Q.mul_scalar(t, 1.0)", T, "mul_scalar; QTensor"),
    ("Q.mul_scalar(q, 'a')", T, "mul_scalar"),
    ("Q.mul_scalar_relu(t, 1.0)", T, "mul_scalar; QTensor"),
    ("Q.mul_scalar_out(t, 1.0, q)", T, "mul_scalar; QTensor"),
    ("Q.mul_scalar_relu_out(t, 1.0, q)", T, "mul_scalar; QTensor"),
    *(
        (f"Q.batch_norm{name}(t, None, None, ot.zeros(4), ot.ones(4), 1e-5, 0.1, 0)", T, "batch_norm; QTensor")
        for name in ("1d", "2d", "3d", "_relu", "1d_relu", "2d_relu", "3d_relu", "")
    ),
    ("Q.batch_norm2d(q, None, None, ot.zeros(3), ot.ones(3), 1e-5, 0.1, 0)", V, "batch_norm; 4"),
    ("Q.layer_norm(t, [6, 6], None, None, 1e-5, 0.1, 0)", T, "layer_norm; QTensor"),
    ("Q.layer_norm(q, [5], None, None, 1e-5, 0.1, 0)", V, "layer_norm: input; (..., 5); (2, 4, 6, 6)"),
    ("Q.group_norm(q, 3, None, None, 1e-5, 0.1, 0)", V, "group_norm; 3"),
    ("Q.instance_norm(t, None, None, 1e-5, 0.1, 0)", T, "instance_norm; QTensor"),
    ("Q.celu(t, 0.1, 0)", T, "celu; QTensor"),
    ("Q.elu(t, 0.1, 0)", T, "elu; QTensor"),
    ("Q.hardswish(t, 0.1, 0)", T, "hardswish; QTensor"),
    ("Q.threshold(t, 0.0, 0.0)", T, "threshold; QTensor"),
    ("Q.max_pool1d(t, [2], [2], [0], [1], False)", T, "max_pool1d; QTensor"),
    *((f"Q.conv{d}d(t, packed, 0.1, 0)", T, f"conv{d}d") for d in (1, 3)),
    *((f"Q.conv{d}d_relu(q, packed, 0.1, 0)", T, f"conv{d}d") for d in (1, 3)),
    *((f"Q.conv{d}d_prepack(v, None, [1], [0], [1], 1)", T, "conv") for d in (1, 3)),
    *((f"Q.conv{d}d_unpack(w)", T, f"conv{d}d") for d in (1, 3)),
    ("Q.conv_prepack(v, None, [1, 1], [0, 0], [1, 1], 1)", T, "conv"),
    ("Q.conv_unpack(w)", T, "conv"),
    *((f"Q.conv_transpose{d}d(q, packed, 0.1, 0)", T, f"conv_transpose{d}d") for d in (1, 2, 3)),
    *((f"Q.conv_transpose{d}d_prepack(v, None, [1], [0], [0], [1], 1)", T, "conv") for d in (1, 2, 3)),
    *((f"Q.conv_transpose{d}d_unpack(w)", T, f"conv_transpose{d}d") for d in (1, 2, 3)),
    *(
        (f"Q.{conv}_{what}(packed)", T, f"{conv}")
        for conv in ("conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d")
        for what in ("stride", "padding", "output_padding", "dilation", "groups", "transpose")
    ),
    ("Q.linear_dynamic(qv, packed)", T, "linear_dynamic; float"),
    ("Q.linear_dynamic(ot.ones(2, 5), packed)", V, "linear; 6; 5"),
    ("Q.linear_relu_dynamic(v, w)", T, "linear_relu_dynamic; linear_prepack"),
    ("Q.linear_prepack_fp16(w, None)", T, "linear_prepack_fp16"),
    ("Q.linear_unpack_fp16(packed)", T, "linear_unpack_fp16"),
    ("Q.linear_dynamic_fp16(v, packed)", T, "linear_dynamic_fp16"),
    ("Q.Int4Weight(v, v)", T, "codes: expected integers"),
    ("Q.linear_prepack_int4(w)", T, "linear_prepack_int4: weight"),
    ("Q.linear_dynamic_int4(v, packed)", T, "linear_dynamic_int4: packed"),
    ("Q.linear_relu_dynamic_int4(v, packed)", T, "linear_relu_dynamic_int4: packed"),
    ("Q.linear_prepack_weight_only(v)", T, "linear_prepack_weight_only"),
    ("Q.linear_weight_only(v, packed)", T, "linear_weight_only: packed"),
    ("Q.linear_relu_weight_only(v, packed)", T, "linear_relu_weight_only: packed"),
]

ROWS_AND_CELLS = [
    ("Q.embedding_byte(w, [0])", T, "embedding_byte"),
    ("Q.embedding_4bit(w, [0])", T, "embedding_4bit"),
    ("Q.embedding_bag_byte(w, [0], [0])", T, "embedding_bag_byte"),
    ("Q.embedding_bag_4bit(w, [0], [0])", T, "embedding_bag_4bit"),
    ("Q.embedding_bag_prepack(v)", T, "embedding_bag_prepack; QTensor"),
    ("Q.embedding_bag_unpack(w)", T, "embedding_bag_unpack"),
    *((f"Q.embedding_bag_{bits}_prepack(w)", T, f"embedding_bag_{bits}_prepack") for bits in ("byte", "4bit", "2bit")),
    *((f"Q.embedding_bag_{bits}_unpack(f)", (T, V), f"embedding_bag_{bits}") for bits in ("byte", "4bit", "2bit")),
    *(
        (f"Q.embedding_bag_{bits}_rowwise_offsets(f, [0], [0])", (T, V), f"embedding_bag_{bits}")
        for bits in ("byte", "4bit", "2bit")
    ),
    ("Q.embedding_bag_byte_rowwise_offsets(Q.embedding_bag_byte_prepack(v), [9], [0])", OUT_OF_RANGE, "6; 9"),
    ("Q.make_quantized_cell_params(v, v, None, None)", T, "linear_prepack; QTensor"),
    ("Q.make_quantized_cell_params_dynamic(w, w, None, None)", T, "w_ih; linear_prepack"),
    ("Q.make_quantized_cell_params_fp16(w, w)", T, "w_ih; linear_prepack_fp16"),
    ("Q.quantized_lstm_cell_dynamic(v, v, packed, packed, None, None)", (T, V), "lstm"),
    ("Q.quantized_lstm(t[0], (v, v), [packed])", (T, V), "quantized_lstm"),
    ("Q.quantized_gru(t[0], v, [packed])", (T, V), "quantized_gru"),
    ("Q.quantized_gru_cell_dynamic(v, qv, packed, packed, None, None)", (T, V), "gru"),
    ("Q.quantized_rnn_relu_cell_dynamic(v, v, w, w, None, None)", T, "w_ih; linear_prepack"),
    ("Q.quantized_rnn_tanh_cell_dynamic(v, v, w, w, None, None)", T, "w_ih; linear_prepack"),
]

FUNCTIONAL = [
    ("F.linear(t, ot.ones(3, 5))", V, "linear; 5; 6"),
    ("F.linear(q, w)", T, "linear"),
    ("F.conv2d(t, ot.ones(2, 3, 3, 3))", V, "conv2d"),
    ("F.conv2d(q, wc)", T, "conv2d"),
    ("F.conv2d(t, ot.ones(2, 4, 3, 3), stride=0)", V, "conv2d: stride"),
    ("F.batch_norm(q, ot.zeros(4), ot.ones(4))", T, "batch_norm"),
    ("F.batch_norm(t, ot.zeros(3), ot.ones(3))", V, "batch_norm; 4"),
    ("F.max_pool2d(t, 0)", V, "max_pool2d: kernel_size"),
    ("F.max_pool2d(q, 2, padding=2)", V, "max_pool2d; padding"),
    ("F.avg_pool2d(t, 3, divisor_override=0)", V, "avg_pool2d: divisor_override"),
    ("F.adaptive_avg_pool2d(t, 0)", V, "adaptive_avg_pool2d: output_size"),
    ("F.hardtanh(t, 1.0, -1.0)", V, "hardtanh"),
    ("F.leaky_relu('a')", T, "leaky_relu"),
    ("F.relu6('a')", T, "relu6"),
    ("F.dropout(t, 1.5)", V, "dropout: p"),
    ("F.cross_entropy(v, ot.zeros(5).numpy())", (T, V), "cross_entropy"),
    ("F.mse_loss(t, v)", V, "mse_loss"),
    ("F.sigmoid('a')", T, "sigmoid"),
    ("F.tanh('a')", T, "tanh"),
    ("F.relu('a')", T, "relu"),
    ("F.softmax(t, 9)", OUT_OF_RANGE, "softmax; dim"),
    ("F.log_softmax(t, 9)", OUT_OF_RANGE, "log_softmax; dim"),
    *((f"F.conv{d}d(v, ot.ones(2, 2))", V, "conv") for d in (1, 3)),
    *((f"F.conv_transpose{d}d(v, ot.ones(2, 2))", V, "conv") for d in (1, 2, 3)),
    *((f"F.max_pool{d}d(v[0], 2)", V, f"max_pool{d}d") for d in (1, 3)),
    *((f"F.avg_pool{d}d(v[0], 2)", V, f"avg_pool{d}d") for d in (1, 3)),
    *((f"F.adaptive_avg_pool{d}d(v[0], 2)", V, f"adaptive_avg_pool{d}d") for d in (1, 3)),
    ("F.interpolate(t)", V, "interpolate; size; scale_factor"),
    ("F.interpolate(t, scale_factor=2, mode='cubic')", V, "interpolate: mode; 'nearest'"),
    ("F.pad(t, [1])", V, "pad"),
    ("F.pad(t, [9, 9], mode='reflect')", V, "pad"),
    ("F.pad(t, [1, 1], mode='wrong')", V, "pad: mode"),
    ("F.layer_norm(t, (5,))", V, "layer_norm: input; (..., 5); (2, 4, 6, 6)"),
    ("F.group_norm(t, 3)", V, "group_norm; 3"),
    ("F.instance_norm(v[0])", V, "instance_norm"),
    ("F.layer_norm(q, (6,))", T, "layer_norm: the scale; FloatFunctional().layer_norm"),
    ("F.embedding(ot.tensor([9]), v)", OUT_OF_RANGE, "embedding; 9"),
    ("F.embedding(v, v)", T, "embedding"),
    ("F.embedding_bag(ot.tensor([0]), v, mode='median')", V, "embedding_bag: mode"),
    ("F.elu(q)", T, "elu: the scale; FloatFunctional().elu"),
    ("F.celu(q)", T, "elu: the scale"),
    ("F.gelu('a')", T, "gelu"),
    ("F.silu('a')", T, "silu"),
    ("F.selu('a')", T, "selu"),
    ("F.mish('a')", T, "mish"),
    ("F.softplus('a')", T, "softplus"),
    ("F.logsigmoid('a')", T, "logsigmoid"),
    ("F.hardsigmoid('a')", T, "hardsigmoid"),
    ("F.hardswish(q)", T, "hardswish: the scale; FloatFunctional().hardswish"),
    ("F.prelu(t, ot.ones(3))", V, "prelu: weight"),
    ("F.threshold(t, 'a', 0.0)", (T, V), "threshold"),
    ("F.channel_shuffle(t, 3)", V, "channel_shuffle: groups"),
    ("F.pixel_shuffle(t, 3)", V, "pixel_shuffle"),
    ("F.pixel_unshuffle(t, 4)", V, "pixel_unshuffle"),
    ("QF.avg_pool2d(t, 2)", V, "avg_pool2d; quantized"),
    ("QF.avg_pool3d(t, 2)", V, "avg_pool3d; quantized"),
    ("QF.adaptive_avg_pool2d(t, 2)", V, "adaptive_avg_pool2d; quantized"),
    ("QF.adaptive_avg_pool3d(t, 2)", V, "adaptive_avg_pool3d; quantized"),
    *((f"QF.conv{d}d(t, wc, None)", (T, V), f"conv{d}d; quantized") for d in (1, 2, 3)),
    ("QF.linear(v, w)", V, "linear; quantized"),
    ("QF.max_pool1d(t, 2)", V, "max_pool1d; quantized"),
    ("QF.max_pool2d(t, 2)", V, "max_pool2d; quantized"),
    ("QF.interpolate(t, scale_factor=2)", V, "interpolate; quantized"),
    ("QF.celu(t, 0.1, 0)", V, "celu; quantized"),
    ("QF.elu(t, 0.1, 0)", V, "elu; quantized"),
    ("QF.hardswish(t, 0.1, 0)", V, "hardswish; quantized"),
    ("QF.leaky_relu(q, 0.1, inplace=True, scale=0.1, zero_point=0)", V, "leaky_relu; inplace"),
    ("QF.hardtanh(t)", V, "hardtanh; quantized"),
    ("QF.threshold(t, 0.0, 0.0)", V, "threshold; quantized"),
    ("QF.clamp(t, 0.0, 1.0)", V, "clamp; quantized"),
    ("QF.hardsigmoid(t)", V, "hardsigmoid; quantized"),
    ("QF.upsample(t, scale_factor=2)", V, "quantized"),
    ("QF.upsample_bilinear(t, scale_factor=2)", V, "quantized"),
    ("QF.upsample_nearest(t, scale_factor=2)", V, "quantized"),
]

LAYERS = [
    ("nn.Linear(0, 3)", V, "Linear: in_features"),
    ("nn.Linear(3, 2.5)", V, "Linear: out_features"),
    *((f"nn.Conv{d}d(3, 4, 3, groups=2)", V, f"Conv{d}d: groups") for d in (1, 2, 3)),
    ("nn.Conv2d(3, 4, 3, padding_mode='wrap')", V, "Conv2d: padding_mode"),
    *((f"nn.ConvTranspose{d}d(3, 4, 0)", V, f"ConvTranspose{d}d: kernel_size") for d in (1, 2, 3)),
    *((f"nn.BatchNorm{d}d(0)", V, f"BatchNorm{d}d: num_features") for d in (1, 2, 3)),
    *((f"nn.InstanceNorm{d}d(0)", V, f"InstanceNorm{d}d: num_features") for d in (1, 2, 3)),
    *((f"nn.MaxPool{d}d(0)", V, f"MaxPool{d}d: kernel_size") for d in (1, 3)),
    *((f"nn.AvgPool{d}d(0)", V, f"AvgPool{d}d: kernel_size") for d in (1, 3)),
    *((f"nn.AdaptiveAvgPool{d}d(0)(t)", V, "output_size") for d in (1, 3)),
    *((f"nn.ReflectionPad{d}d('a')", (T, V), f"ReflectionPad{d}d: padding") for d in (1, 2, 3)),
    *((f"nn.ReplicationPad{d}d('a')", (T, V), f"ReplicationPad{d}d: padding") for d in (1, 2, 3)),
    *((f"nn.ConstantPad{d}d('a', 0.0)", (T, V), f"ConstantPad{d}d: padding") for d in (1, 2, 3)),
    ("nn.ZeroPad2d((1, 2, 3))", V, "ZeroPad2d: padding"),
    ("nn.GroupNorm(3, 4)", V, "GroupNorm: num_groups"),
    ("nn.LayerNorm(5)(t)", V, "LayerNorm"),
    ("nn.PixelShuffle(0)", V, "PixelShuffle"),
    ("nn.PixelUnshuffle(0)", V, "PixelUnshuffle"),
    ("nn.ChannelShuffle(0)", V, "ChannelShuffle"),
    ("nn.Upsample(scale_factor=2, mode='cubic')(t)", V, "mode"),
    ("nn.UpsamplingNearest2d()(t)", V, "size"),
    ("nn.UpsamplingBilinear2d()(t)", V, "size"),
    *((f"nn.{name}()('a')", T, name) for name in ACTIVATIONS),
    ("nn.Threshold('a', 0.0)(t)", (T, V), "Threshold"),
    ("nn.PReLU(3)(t)", V, "PReLU; 3"),
    ("nn.Embedding(0, 4)", V, "Embedding: num_embeddings"),
    ("nn.Embedding(5, 4)(ot.tensor([5]))", OUT_OF_RANGE, "Embedding; 5"),
    ("nn.EmbeddingBag(5, 4, mode='median')", V, "EmbeddingBag: mode"),
    *((f"nn.{name}(0, 4)", V, f"{name}: input_size") for name in RECURRENT),
    *((f"nn.{name}(3, 4)(v)", V, f"{name}; 3; 6") for name in RECURRENT),
    ("nn.RNN(3, 4, nonlinearity='sin')", V, "RNN: nonlinearity"),
    ("nn.MultiheadAttention(6, 4)", V, "MultiheadAttention: num_heads"),
    ("nn.TransformerEncoderLayer(8, 2, activation='sin')", V, "TransformerEncoderLayer: activation"),
    ("nn.TransformerEncoder(linear, -1)", V, "TransformerEncoder: num_layers"),
    *((f"nnq.dynamic.{name}.from_float(linear)", (T, V), f"{name}.from_float") for name in RECURRENT),
    ("nnq.dynamic.Linear.from_float(conv)", (T, V), "Linear.from_float"),
    ("nnq.Embedding.from_float(linear)", (T, V), "Embedding.from_float"),
    ("nnq.EmbeddingBag.from_float(linear)", (T, V), "EmbeddingBag.from_float"),
    *((f"nnq.Conv{d}d.from_float(linear)", V, f"Conv{d}d.from_float; prepared") for d in (1, 3)),
    *((f"nnq.ConvTranspose{d}d.from_float(linear)", V, f"ConvTranspose{d}d.from_float") for d in (1, 2, 3)),
    ("nnq.Quantize(0.0, 0, ot.quint8)", V, "scale"),
    ("nnq.Quantize(0.1, 0, ot.quint8)(q)", T, "QTensor"),
    ("nnq.QFunctional()(q)", T, "FloatFunctional; add"),
    ("nnq.FXFloatFunctional()(t)", T, "FloatFunctional"),
    ("nn.quantizable.LSTM.from_float(linear)", T, "LSTM.from_float: mod"),
    ("nn.quantizable.LSTMCell.from_float(linear)", T, "LSTMCell.from_float: mod"),
    ("nn.quantizable.MultiheadAttention.from_float(linear)", T, "MultiheadAttention.from_float: mod"),
    ("nn.quantizable.TransformerEncoderLayer.from_float(linear)", T, "TransformerEncoderLayer.from_float: mod"),
    ("nn.qat.Linear(3, 4)", (T, V), "qconfig"),
    *((f"nn.qat.Conv{d}d(3, 4, 3)", (T, V), "qconfig") for d in (1, 2, 3)),
    ("nn.intrinsic.qat.LinearReLU(3, 4)", (T, V), "qconfig"),
    *(
        (f"nn.intrinsic.qat.{name}{d}d(3, 4, 3)", (T, V), "qconfig")
        for name in ("ConvReLU", "ConvBn", "ConvBnReLU")
        for d in (1, 2, 3)
    ),
    *((f"nn.intrinsic.{name}{d}d(linear)", T, f"{name}{d}d") for name in ("ConvReLU", "ConvBn") for d in (1, 3)),
    *((f"nn.intrinsic.ConvBnReLU{d}d(linear)", T, f"ConvBnReLU{d}d") for d in (1, 3)),
    *((f"nn.intrinsic.BNReLU{d}d(linear)", T, f"BNReLU{d}d") for d in (2, 3)),
    ("nn.BatchNorm2d(4)(v)", V, "BatchNorm2d"),
    ("nn.MaxPool2d(0)", V, "kernel_size"),
    ("nn.AvgPool2d(2, divisor_override=0)(t)", V, "divisor_override"),
    ("nn.AdaptiveAvgPool2d(0)(t)", V, "output_size"),
    ("nn.Dropout(2.0)", V, "Dropout: p"),
    ("nn.Hardtanh(1.0, -1.0)", V, "Hardtanh"),
    ("nn.LeakyReLU('a')(t)", (T, V), "negative_slope"),
    ("nn.Softmax(9)(t)", OUT_OF_RANGE, "dim"),
    ("nn.LogSoftmax(9)(t)", OUT_OF_RANGE, "dim"),
    ("nn.Flatten(3, 1)(t)", V, "flatten"),
    ("nn.Sequential(3)", T, "add_module: 0; Module; int"),
    ("nn.ModuleList([3])", T, "add_module: 0; Module; int"),
    ("nn.ModuleDict({'a': 3})", T, "add_module: a; Module; int"),
    ("nn.Parameter('a')", T, "Parameter"),
    ("nn.Module()(t)", NotImplementedError, "forward"),
    ("nn.CrossEntropyLoss()(v, v)", (T, V), "cross_entropy"),
    ("nn.MSELoss()(t, v)", V, "mse_loss"),
    ("nn.ReLU()('a')", T, "ReLU"),
    ("nn.ReLU6()('a')", T, "ReLU6"),
    ("nn.Sigmoid()('a')", T, "Sigmoid"),
    ("nn.Tanh()('a')", T, "Tanh"),
    ("linear(q)", T, "Linear, float; DeQuantStub"),
    ("static.module(v)", T, "Linear, static; QuantStub"),
    ("nn.intrinsic.ConvReLU2d(linear, nn.ReLU())", T, "ConvReLU2d; Conv2d"),
    ("nn.intrinsic.LinearReLU(linear)", T, "LinearReLU"),
    ("nn.intrinsic.ConvBn2d(conv, nn.BatchNorm2d(2), nn.ReLU())", T, "ConvBn2d"),
    ("nn.intrinsic.ConvBnReLU2d(conv, nn.ReLU())", T, "ConvBnReLU2d"),
    ("nn.intrinsic.LinearBn1d(conv, nn.BatchNorm1d(2))", T, "LinearBn1d"),
    ("nnq.Linear.from_float(linear)", V, "Linear.from_float; prepared"),
    ("nnq.Conv2d.from_float(conv)", V, "Conv2d.from_float; prepared"),
    ("linear.train('yes')", T, "train: mode"),
    ("linear.to('cuda')", V, "to: device; CPU"),
    ("linear.register_buffer('a.b', f)", V, "name"),
    ("linear.get_submodule('x')", A, "x"),
    ("linear.load_state_dict({})", V, "load_state_dict; missing"),
]

TRAINING = [
    ("ot.optim.SGD([], lr=0.1)", V, "parameter"),
    ("ot.optim.SGD(linear.parameters(), lr=-1)", V, "lr"),
    ("ot.optim.Adam(linear.parameters(), betas=(1.0, 0.9))", V, "betas"),
    ("ot.optim.Adam([3])", T, "Parameter"),
    ("nn.init.calculate_gain('nothing')", V, "calculate_gain"),
]

WORKFLOWS = [
    ("tq.prepare(nn.Linear(2, 2).eval())", V, "prepare: Linear; qconfig"),
    ("tq.prepare(nn.Linear)", T, "prepare: model; instance"),
    ("tq.calibrate(linear, f)", V, "calibrate; prepare(model)"),
    ("tq.convert(linear)", V, "convert: Linear; prepare"),
    ("tq.convert(static)", V, "quantized already"),
    ("tq.quantize('a', print, ())", T, "quantize: model"),
    ("tq.fuse_modules(sequential, ['0', '9'])", V, "fuse_modules: '9'"),
    ("tq.fuse_modules(sequential, '01')", T, "fuse_modules: modules_to_fuse"),
    ("tq.fuse_known_modules([nn.ReLU(), nn.ReLU()])", V, "ReLU, ReLU"),
    ("tq.get_fuser_method((nn.ReLU,))", V, "ReLU"),
    ("tq.fuse_conv_bn(copy.deepcopy(conv), nn.BatchNorm2d(3).eval())", V, "num_features=2; 3"),
    ("tq.fuse_conv_bn_relu(copy.deepcopy(conv), nn.BatchNorm2d(3).eval(), nn.ReLU())", V, "num_features=2"),
    ("tq.fuse_linear_bn(copy.deepcopy(linear), nn.BatchNorm1d(9).eval())", V, "num_features=3"),
    ("tq.propagate_qconfig_(linear, {'x': None})", V, "propagate_qconfig_: qconfig_dict; 'x'"),
    ("tq.add_observer_(3)", T, "add_observer_"),
    ("tq.default_eval_fn(linear, [3])", T, "default_eval_fn: calib_data; pairs; int"),
    ("tq.QuantWrapper(3)", T, "QuantWrapper: module"),
    ("tq.prepare(tq.QuantStub('a').eval())", T, "qconfig; QConfig"),
    ("tq.quantize_layer_dynamic_(nn.ReLU(), 3)", (T, V), "quantize_layer_dynamic_"),
    ("static.quant(q)", T, "QuantStub; remove this QuantStub"),
    ("tq.FloatFunctional()(t)", T, "FloatFunctional; add"),
    ("tq.FloatFunctional().add(q, q)", T, "FloatFunctional.add; float"),
    ("tq.QConfig(tq.MinMaxObserver(), OBSERVER)", V, "QConfig: activation; with_args"),
    ("tq.get_default_qconfig('cuda')", V, "get_default_qconfig: backend; 'fbgemm'"),
    ("tq.assert_valid_qconfig(3)", T, "qconfig; QConfig"),
    ("tq.MinMaxObserver(dtype=np.int8)", T, "MinMaxObserver: dtype"),
    ("tq.MinMaxObserver()(q)", T, "MinMaxObserver: input; before conversion"),
    ("tq.MovingAverageMinMaxObserver(0.0)", V, "averaging_constant"),
    ("tq.PerChannelMinMaxObserver(-1)", V, "ch_axis"),
    ("tq.MovingAveragePerChannelMinMaxObserver(ch_axis=5)(f)", V, "ch_axis; 4"),
    ("tq.HistogramObserver(bins=0)", V, "HistogramObserver: bins"),
    ("tq.RecordingObserver().calculate_qparams()", V, "RecordingObserver.calculate_qparams"),
    ("tq.PlaceholderObserver().calculate_qparams()", V, "PlaceholderObserver.calculate_qparams"),
    ("tq.NoopObserver().calculate_qparams()", V, "NoopObserver.calculate_qparams"),
    ("tq.ObserverBase(ot.quint8).calculate_qparams()", V, "calculate_qparams"),
    ("tq.UniformQuantizationObserverBase(eps=-1.0)", V, "eps"),
    ("tq.choose_qparams(1.0, -1.0, ot.quint8)", V, "choose_qparams"),
    ("tq.PercentileObserver(percentile=101)", V, "PercentileObserver"),
    ("tq.MSEObserver(dtype=np.int8)", T, "MSEObserver: dtype"),
    ("tq.EntropyObserver(bins=0)", V, "EntropyObserver: bins"),
    ("tq.FixedQParamsObserver(0.0, 0)", V, "QParams: scale; positive"),
    ("tq.MovingAverageMinMaxObserver().merge(tq.MinMaxObserver())", T, "MovingAverageMinMaxObserver.merge"),
    ("tq.MinMaxObserver().merge(tq.HistogramObserver())", T, "MinMaxObserver.merge: other"),
    ("tq.HistogramObserver(bins=64).merge(tq.HistogramObserver(bins=32))", V, "HistogramObserver.merge: other"),
    ("tq.FakeQuantize(quant_min=0, quant_max=300)", V, "FakeQuantize: quant"),
    ("tq.FakeQuantize()(q)", T, "QTensor"),
    ("tq.FixedQParamsFakeQuantize(0.0, 0)", V, "scale"),
    ("tq.FusedMovingAvgObsFakeQuantize(quant_min=5, quant_max=0)", V, "quant"),
    ("tq.fake_quantize_per_tensor_affine(t, 0.0, 0, 0, 255)", V, "fake_quantize_per_tensor_affine: scale"),
    ("tq.fake_quantize_per_tensor_affine(t, 0.1, 300, 0, 255)", V, "fake_quantize_per_tensor_affine: zero_point"),
    ("tq.fake_quantize_per_tensor_affine_cachemask(q, 0.1, 0, 0, 255)", T, "fake_quantize_per_tensor_affine"),
    ("tq.fake_quantize_per_channel_affine(t, [0.1], [0], 1, 0, 255)", V, "fake_quantize_per_channel_affine: scale"),
    ("tq.fake_quantize_per_channel_affine_cachemask(t, [0.1], [0], 9, 0, 255)", OUT_OF_RANGE, "axis"),
    ("tq.get_default_qat_qconfig('cuda')", V, "get_default_qat_qconfig: backend; 'fbgemm'"),
    ("tq.QConfigDynamic(activation=tq.MinMaxObserver())", V, "activation; with_args"),
    ("tq.get_quant_type(3)", (T, V), "get_quant_type"),
    ("tq.quant_type_to_str('static')", (T, V), "quant_type_to_str"),
    ("tq.prepare_qat(linear)", V, "prepare_qat; train"),
    ("tq.prepare_qat(nn.Linear)", T, "prepare_qat: model; instance"),
    ("tq.quantize_qat(3, print, ())", T, "quantize_qat: model"),
    ("tq.quantize_dynamic(linear, dtype=ot.qint32)", V, "quantize_dynamic: dtype"),
    ("tq.quantize_dynamic(sequential, {'9'})", V, "quantize_dynamic: qconfig_spec; '9'"),
    ("tq.quantize_dynamic(3)", T, "quantize_dynamic: model"),
    ("tq.add_quant_dequant(3)", T, "add_quant_dequant"),
    ("tq.swap_module(3, {})", T, "swap_module"),
    ("tq.get_observer_state_dict(3)", T, "get_observer_state_dict"),
    ("tq.load_observer_state_dict(linear, {'x': f})", V, "load_observer_state_dict; x"),
    ("tq.register_activation_post_process_hook(3)", T, "register_activation_post_process_hook"),
    ("tq.get_static_quant_module_class(3)", (T, V), "get_static_quant_module_class"),
    ("tq.get_dynamic_quant_module_class(nn.ReLU)", V, "get_dynamic_quant_module_class; ReLU"),
    ("tq.get_quantized_operator(print)", V, "get_quantized_operator"),
    ("tq.report(3)", T, "report: model"),
    ("tq.merge_observers_(linear)", V, "merge_observers_: model; prepare(model)"),
    (
        "tq.merge_observers_(tq.prepare(linear), tq.prepare(sequential_with_qconfig))",
        V,
        "merge_observers_: others; copies",
    ),
    ("tq.get_observer_dict(3, {})", T, "get_observer_dict"),
]

ACCURACY = [
    ("tq.sqnr(f, f[0])", V, "sqnr: approximation; (2, 4, 6, 6)"),
    ("tq.compare_layers(linear, conv, t)", V, "compare_layers: float_model; Conv2d"),
    ("tq.compare_layers(3, linear, t)", T, "compare_layers: float_model"),
    ("ns.compare_weights(linear, static.state_dict())", T, "compare_weights: float_dict; state_dict()"),
    ("ns.compare_weights({}, static.state_dict())", V, "compare_weights: quantized_dict; fuse_modules"),
    ("ns.compare_model_stub(linear, linear, [nn.Linear], v)", V, "compare_model_stub: q_model; float stage"),
    ("ns.compare_model_stub(tq.QuantWrapper(linear), static, [nn.Conv2d], v)", V, "module_swap_list; Conv2d"),
    ("ns.compare_model_outputs(linear, 3, v)", T, "compare_model_outputs: q_model"),
    ("ns.compare_model_outputs(sequential, static, v)", V, "compare_model_outputs: q_model; prepare"),
    ("ns.Logger()(t)", NotImplementedError, "forward"),
    ("_correct_bias.bias_correction(tq.QuantWrapper(linear), static, iter([]))", T, "img_data; list"),
    ("_correct_bias.bias_correction(tq.QuantWrapper(linear), static, [])", V, "img_data; at least one"),
    ("_correct_bias.bias_correction(tq.QuantWrapper(linear), static, [(v,)], [nnq.Conv2d])", V, "target_modules"),
    ("_equalize.cross_layer_equalization(linear, nn.ReLU())", T, "module2; ReLU"),
    ("_equalize.cross_layer_equalization(linear, nn.Linear(4, 1))", V, "module2; 3; 4"),
    ("_equalize.cross_layer_equalization(static.module, linear)", V, "module1; static; before prepare"),
    ("_equalize.equalize(sequential, [['0', '7']])", V, "paired_modules_list; '7'"),
    ("_equalize.equalize(sequential, ['0', '2'])", V, "paired_modules_list"),
    ("_equalize.equalize(sequential, [['0', '2']], threshold=0)", V, "threshold"),
    ("_equalize.converged({'a': linear}, {})", V, "converged: prev_modules"),
]

BACKENDS = [
    ("setattr(engines, 'engine', 'cuda')", V, "engine; fbgemm; 'cuda'"),
    ("cpu.set_isa('mmx')", V, "set_isa; scalar; mmx"),
    ("cpu.set_num_threads(-1)", V, "set_num_threads"),
]

TABLES = [
    TENSORS,
    FLOAT_OPS,
    SHAPES,
    QUANTIZED_TENSORS,
    OPS,
    ROWS_AND_CELLS,
    FUNCTIONAL,
    LAYERS,
    TRAINING,
    WORKFLOWS,
    ACCURACY,
    BACKENDS,
]
CASES = [case for table in TABLES for case in table]


@pytest.mark.parametrize(("use", "error", "parts"), CASES, ids=[case[0] for case in CASES])
def test_wrong_use(use, error, parts):
    with warnings.catch_warnings(), pytest.raises(error) as caught:
        warnings.simplefilter("ignore")
        eval(use, NAMES)
    message = str(caught.value)
    assert all(part in message for part in parts.split("; ")), message


def test_there_are_many():
    assert len({case[0] for case in CASES}) == len(CASES) >= 150


# What cannot be used wrongly, because it takes nothing or anything, and what is no function.
HARMLESS = {
    *("Program", "CompileError"),  # made by compile
    *("is_tensor", "is_grad_enabled", "enable_grad", "no_grad", "initial_seed", "get_rng_state", "get_num_threads"),
    *("Identity", "DeQuantStub", "DeQuantize", "is_activation_post_process", "ObserverFactory", "Optimizer"),
    *("LayerError", "LayerReport", "Report", "QuantType", "CellParams", "PackedLinearFp16", "PackedRows"),
    *("disable_fake_quant", "disable_observer", "enable_fake_quant", "enable_observer", "no_observer_set"),
    *("freeze_bn_stats", "update_bn_stats", "FakeQuantizeBase", "QTensor", "dtype", "qscheme"),
}
PACKAGES = [
    *(ot, nn, nn.functional, nn.quantized, nn.quantized.functional, nn.quantized.dynamic, nn.quantizable, nn.qat),
    *(nn.intrinsic, nn.intrinsic.qat, nn.intrinsic.quantized, ot.ops.quantized, ot.optim, tq),
]


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.__name__)
def test_every_public_function_is_here(package):
    used = set(re.findall(r"\w+", " ".join(case[0] for case in CASES)))
    public = {name for name in package.__all__ if callable(getattr(package, name))}
    missing = {name for name in public - used - HARMLESS if not name.startswith(("default_", "get_default_"))}
    assert {name for name in missing if not isinstance(getattr(package, name), tq.observer.ObserverFactory)} == set()
