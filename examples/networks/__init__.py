"""Well-known architectures in octensor's layers, and what quantizes them.

Each file reads the same with PyTorch's layers: only its import lines say whose they are. Layers have the names that
torchvision, timm and transformers gave them, so that their state dicts load by name. Weights are random here
(`weights`): what is shown is structure, workflow and, by `octensor bench networks sequences`, speed.
"""

from __future__ import annotations

from .bert import BertEncoder, SentenceEncoder, bert_base
from .depthwise_cnn import DepthwiseCNN
from .efficientnet_lite import EfficientNetLite, efficientnet_lite0
from .lstm_tagger import LSTMTagger
from .mobilenet_v2 import MobileNetV2, mobilenet_v2
from .resnet import ResNet, resnet18, resnet50
from .rnet import RNet

__all__ = [
    "BertEncoder",
    "DepthwiseCNN",
    "EfficientNetLite",
    "LSTMTagger",
    "MobileNetV2",
    "RNet",
    "ResNet",
    "SentenceEncoder",
    "bert_base",
    "efficientnet_lite0",
    "mobilenet_v2",
    "resnet18",
    "resnet50",
]
