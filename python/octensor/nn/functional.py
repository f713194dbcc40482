"""`nn.functional`: the ops under the names and signatures of PyTorch's functional interface.

All take float tensors or arrays; those with a quantized form that needs no new scale take QTensors too.
"""

from __future__ import annotations

from ..ops.activation import hardtanh, leaky_relu, relu, relu6, sigmoid, tanh
from ..ops.conv import conv2d
from ..ops.dropout import dropout
from ..ops.loss import cross_entropy, mse_loss
from ..ops.matmul import linear
from ..ops.norm import batch_norm
from ..ops.pool import adaptive_avg_pool2d, avg_pool2d, max_pool2d
from ..ops.softmax import log_softmax, softmax

__all__ = [
    "adaptive_avg_pool2d",
    "avg_pool2d",
    "batch_norm",
    "conv2d",
    "cross_entropy",
    "dropout",
    "hardtanh",
    "leaky_relu",
    "linear",
    "log_softmax",
    "max_pool2d",
    "mse_loss",
    "relu",
    "relu6",
    "sigmoid",
    "softmax",
    "tanh",
]
