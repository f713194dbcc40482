"""Layers, containers and losses. A layer is one class in all stages, from float to integer."""

from __future__ import annotations

from . import functional, init
from .activation import Hardtanh, LeakyReLU, LogSoftmax, ReLU, ReLU6, Sigmoid, Softmax, Tanh
from .batchnorm import BatchNorm1d, BatchNorm2d
from .container import ModuleDict, ModuleList, Sequential
from .conv import Conv2d
from .dropout import Dropout
from .flatten import Flatten
from .linear import Identity, Linear
from .loss import CrossEntropyLoss, MSELoss
from .module import Module
from .parameter import Parameter
from .pooling import AdaptiveAvgPool2d, AvgPool2d, MaxPool2d

from . import intrinsic, quantized  # isort: skip - made of the layers above

__all__ = [
    "Module",
    "Parameter",
    # containers
    "Sequential",
    "ModuleList",
    "ModuleDict",
    # layers
    "Linear",
    "Conv2d",
    "BatchNorm1d",
    "BatchNorm2d",
    "ReLU",
    "ReLU6",
    "Hardtanh",
    "LeakyReLU",
    "Sigmoid",
    "Tanh",
    "Softmax",
    "LogSoftmax",
    "MaxPool2d",
    "AvgPool2d",
    "AdaptiveAvgPool2d",
    "Flatten",
    "Dropout",
    "Identity",
    # losses
    "CrossEntropyLoss",
    "MSELoss",
    # parts
    "functional",
    "init",
    "intrinsic",
    "quantized",
]
