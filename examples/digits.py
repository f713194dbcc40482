"""A small convolutional network for 8x8 images of digits, and how to train it: for quickstart.py and the tests.

The data are the 1,797 scanned digits that come with scikit-learn, split once: 1,437 to train on, 360 held out.
"""

from __future__ import annotations

import numpy as np

import octensor as ot
from octensor import nn
from octensor.quantization import DeQuantStub, FloatFunctional, QuantStub


def conv_block(c_in: int, c_out: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(c_in, c_out, 3, stride, padding=1, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(c_out), nn.ReLU())


class DigitsNet(nn.Module):
    """Convolution, depthwise convolution with a residual sum, strided convolution, pool, linear."""

    FUSE = [[f"{block}.{i}" for i in range(3)] for block in ("stem", "depthwise", "down")] + [
        ["pointwise.0", "pointwise.1"]
    ]

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.quant = QuantStub()
        self.stem = conv_block(1, width)
        self.depthwise = conv_block(width, width, groups=width)
        self.pointwise = nn.Sequential(nn.Conv2d(width, width, 1, bias=False), nn.BatchNorm2d(width))
        self.residual = FloatFunctional()
        self.down = conv_block(width, 2 * width, stride=2)
        self.pool = nn.AdaptiveAvgPool2d(2)
        self.flatten = nn.Flatten()
        self.classify = nn.Linear(8 * width, 10)
        self.dequant = DeQuantStub()

    def forward(self, x):
        x = self.stem(self.quant(x))
        x = self.residual.add_relu(x, self.pointwise(self.depthwise(x)))
        return self.dequant(self.classify(self.flatten(self.pool(self.down(x)))))


def load() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return train images (1437, 1, 8, 8) in [0, 1], train labels, held-out images, held-out labels."""
    from sklearn.datasets import load_digits

    data = load_digits()
    x, y = (data.images[:, None] / 16).astype(np.float32), data.target
    order = np.random.default_rng(0).permutation(len(x))
    train, held_out = order[:1437], order[1437:]
    return x[train], y[train], x[held_out], y[held_out]


def train(
    model: nn.Module, x: np.ndarray, y: np.ndarray, epochs: int = 10, seed: int = 0, lr: float = 4e-3
) -> nn.Module:
    """Train with Adam on batches of 64; return the model in eval mode."""
    optimizer, loss_fn = ot.optim.Adam(model.parameters(), lr=lr), nn.CrossEntropyLoss()
    rng = np.random.default_rng(seed)
    model.train()
    for _ in range(epochs):
        for batch in np.array_split(rng.permutation(len(x)), len(x) // 64):
            optimizer.zero_grad()
            loss_fn(model(ot.from_numpy(x[batch])), ot.from_numpy(y[batch])).backward()
            optimizer.step()
    return model.eval()


def accuracy(model: nn.Module, x: np.ndarray, y: np.ndarray) -> float:
    """Return the share of images whose largest logit is at the label."""
    with ot.no_grad():
        return float(np.mean(np.asarray(model(ot.from_numpy(x))).argmax(axis=1) == y))
