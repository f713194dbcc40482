"""A small network of depthwise separable convolutions for images of one channel, 28x28."""

from __future__ import annotations

from octensor import nn


class Separable(nn.Sequential):
    """A filter for each channel, then a mixture of channels; batch norm and ReLU after both."""

    def __init__(self, c_in: int, c_out: int, stride: int = 1) -> None:
        depthwise = nn.Conv2d(c_in, c_in, 3, stride, padding=1, groups=c_in, bias=False)
        pointwise = nn.Conv2d(c_in, c_out, 1, bias=False)
        super().__init__(depthwise, nn.BatchNorm2d(c_in), nn.ReLU(), pointwise, nn.BatchNorm2d(c_out), nn.ReLU())


class DepthwiseCNN(nn.Module):
    """Stem, three separable blocks, mean over positions, linear layer."""

    def __init__(self, width: int = 32, num_classes: int = 10) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, width, 3, 2, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
        self.blocks = nn.Sequential(
            Separable(width, 2 * width), Separable(2 * width, 4 * width, 2), Separable(4 * width, 4 * width)
        )
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.classify = nn.Linear(4 * width, num_classes)

    def forward(self, x):
        return self.classify(self.flatten(self.pool(self.blocks(self.stem(x)))))
