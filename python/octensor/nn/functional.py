"""`nn.functional`: the ops under the names and signatures of PyTorch's functional interface.

All take float tensors or arrays; those with a quantized form that needs no new scale take QTensors too.
"""

from __future__ import annotations

from ..ops.activation import clamp, hardsigmoid, hardtanh, leaky_relu, relu, relu6, sigmoid, tanh, threshold
from ..ops.conv import conv1d, conv2d, conv3d, conv_transpose1d, conv_transpose2d, conv_transpose3d
from ..ops.curves import celu, elu, gelu, hardswish, logsigmoid, mish, prelu, selu, silu, softplus
from ..ops.dropout import dropout
from ..ops.embedding import embedding, embedding_bag
from ..ops.loss import cross_entropy, mse_loss
from ..ops.matmul import linear
from ..ops.norm import batch_norm
from ..ops.padding import pad
from ..ops.pool import (
    adaptive_avg_pool1d,
    adaptive_avg_pool2d,
    adaptive_avg_pool3d,
    avg_pool1d,
    avg_pool2d,
    avg_pool3d,
    max_pool1d,
    max_pool2d,
    max_pool3d,
)
from ..ops.resample import interpolate
from ..ops.row_norm import group_norm, instance_norm, layer_norm
from ..ops.shuffle import channel_shuffle, pixel_shuffle, pixel_unshuffle
from ..ops.softmax import log_softmax, softmax

__all__ = [
    "adaptive_avg_pool1d",
    "adaptive_avg_pool2d",
    "adaptive_avg_pool3d",
    "avg_pool1d",
    "avg_pool2d",
    "avg_pool3d",
    "batch_norm",
    "celu",
    "channel_shuffle",
    "clamp",
    "conv1d",
    "conv2d",
    "conv3d",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
    "cross_entropy",
    "dropout",
    "elu",
    "embedding",
    "embedding_bag",
    "gelu",
    "group_norm",
    "hardsigmoid",
    "hardswish",
    "hardtanh",
    "instance_norm",
    "interpolate",
    "layer_norm",
    "leaky_relu",
    "linear",
    "log_softmax",
    "logsigmoid",
    "max_pool1d",
    "max_pool2d",
    "max_pool3d",
    "mish",
    "mse_loss",
    "pad",
    "pixel_shuffle",
    "pixel_unshuffle",
    "prelu",
    "relu",
    "relu6",
    "selu",
    "sigmoid",
    "silu",
    "softmax",
    "softplus",
    "tanh",
    "threshold",
]
