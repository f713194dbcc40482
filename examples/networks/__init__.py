"""Well-known architectures in octensor's layers, and what quantizes them.

Each file reads the same with PyTorch's layers: its only ties are the import lines, the names are those that torchvision,
timm and transformers gave the layers, so their state dicts load by name. Weights are random here (`weights`): what is
shown is structure, workflow and speed.

`NETWORKS` has them all, with the shape of an input and the way each is quantized; `octensor bench networks` runs them.
"""

from __future__ import annotations

from .bert import BertEncoder, bert_base
from .efficientnet_lite import EfficientNetLite, efficientnet_lite0
from .lstm_tagger import LSTMTagger
from .mobilenet_v2 import MobileNetV2, mobilenet_v2
from .resnet import ResNet, resnet18, resnet50

__all__ = [
    "BertEncoder",
    "EfficientNetLite",
    "LSTMTagger",
    "MobileNetV2",
    "ResNet",
    "bert_base",
    "efficientnet_lite0",
    "mobilenet_v2",
    "resnet18",
    "resnet50",
]
