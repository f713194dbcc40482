"""MobileNetV2 (Sandler et al., 2018), layers named as in torchvision."""

from __future__ import annotations

from octensor import nn
from octensor.quantization import DeQuantStub, QuantStub

# expansion, channels, blocks, stride of the first
STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))


def divisible(channels: float, by: int = 8) -> int:
    """Round to a multiple, never down by more than a tenth."""
    rounded = max(by, int(channels + by / 2) // by * by)
    return rounded + by if rounded < 0.9 * channels else rounded


class Conv2dNormActivation(nn.Sequential):
    """Convolution, batch norm, ReLU6."""

    def __init__(self, c_in: int, c_out: int, kernel: int = 3, stride: int = 1, groups: int = 1) -> None:
        conv = nn.Conv2d(c_in, c_out, kernel, stride, padding=kernel // 2, groups=groups, bias=False)
        super().__init__(conv, nn.BatchNorm2d(c_out), nn.ReLU6())


class InvertedResidual(nn.Module):
    """Widen, filter each channel on its own, narrow; a shortcut where the shape stays."""

    def __init__(self, c_in: int, c_out: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = c_in * expansion
        layers = [Conv2dNormActivation(c_in, wide, 1)] if expansion != 1 else []
        layers += [Conv2dNormActivation(wide, wide, 3, stride, wide)]
        layers += [nn.Conv2d(wide, c_out, 1, bias=False), nn.BatchNorm2d(c_out)]
        self.conv = nn.Sequential(*layers)
        self.use_res_connect = stride == 1 and c_in == c_out
        if self.use_res_connect:
            self.skip_add = nn.quantized.FloatFunctional()

    def forward(self, x):
        return self.skip_add.add(x, self.conv(x)) if self.use_res_connect else self.conv(x)


class MobileNetV2(nn.Module):
    """The network at a given width.

    Parameters
    ----------
    num_classes : int
    width_mult : float
        Factor on all channels.
    """

    def __init__(self, num_classes: int = 1000, width_mult: float = 1.0) -> None:
        super().__init__()
        self.quant = QuantStub()
        c_in, last = divisible(32 * width_mult), divisible(1280 * max(1.0, width_mult))
        features: list[nn.Module] = [Conv2dNormActivation(3, c_in, stride=2)]
        for expansion, channels, blocks, first_stride in STAGES:
            c_out = divisible(channels * width_mult)
            for index in range(blocks):
                features.append(InvertedResidual(c_in, c_out, first_stride if index == 0 else 1, expansion))
                c_in = c_out
        self.features = nn.Sequential(*features, Conv2dNormActivation(c_in, last, 1))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(last, num_classes))
        self.dequant = DeQuantStub()

    def forward(self, x):
        x = self.pool(self.features(self.quant(x)))
        return self.dequant(self.classifier(self.flatten(x)))

    def fusable(self) -> list[list[str]]:
        """Names that belong together: convolution, batch norm and, where one follows, activation."""
        found = []
        for name, module in self.named_modules():
            if isinstance(module, Conv2dNormActivation):
                found.append([f"{name}.{i}" for i in range(3)])
            elif isinstance(module, InvertedResidual):
                last = len(module.conv)
                found.append([f"{name}.conv.{last - 2}", f"{name}.conv.{last - 1}"])
        return found


def mobilenet_v2(**settings: float) -> MobileNetV2:
    return MobileNetV2(**settings)
