"""EfficientNet-Lite0 (2020): EfficientNet-B0 without squeeze-and-excitation, with ReLU6; layers named as in timm."""

from __future__ import annotations

from octensor import nn
from octensor.quantization import DeQuantStub, QuantStub

# kernel, channels, blocks, stride of the first, expansion
STAGES = (
    (3, 16, 1, 1, 1),
    (3, 24, 2, 2, 6),
    (5, 40, 2, 2, 6),
    (3, 80, 3, 2, 6),
    (5, 112, 3, 1, 6),
    (5, 192, 4, 2, 6),
    (3, 320, 1, 1, 6),
)


def depthwise(channels: int, kernel: int, stride: int) -> nn.Conv2d:
    return nn.Conv2d(channels, channels, kernel, stride, padding=kernel // 2, groups=channels, bias=False)


def pointwise(c_in: int, c_out: int) -> nn.Conv2d:
    return nn.Conv2d(c_in, c_out, 1, bias=False)


class DepthwiseSeparable(nn.Module):
    """Filter each channel, mix channels."""

    FUSE = (("conv_dw", "bn1", "act1"), ("conv_pw", "bn2"))

    def __init__(self, c_in: int, c_out: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.conv_dw = depthwise(c_in, kernel, stride)
        self.bn1 = nn.BatchNorm2d(c_in)
        self.act1 = nn.ReLU6()
        self.conv_pw = pointwise(c_in, c_out)
        self.bn2 = nn.BatchNorm2d(c_out)

    def forward(self, x):
        return self.bn2(self.conv_pw(self.act1(self.bn1(self.conv_dw(x)))))


class InvertedResidual(nn.Module):
    """Widen, filter each channel, narrow; a shortcut where the shape stays."""

    FUSE = (("conv_pw", "bn1", "act1"), ("conv_dw", "bn2", "act2"), ("conv_pwl", "bn3"))

    def __init__(self, c_in: int, c_out: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = c_in * expansion
        self.conv_pw = pointwise(c_in, wide)
        self.bn1 = nn.BatchNorm2d(wide)
        self.act1 = nn.ReLU6()
        self.conv_dw = depthwise(wide, kernel, stride)
        self.bn2 = nn.BatchNorm2d(wide)
        self.act2 = nn.ReLU6()
        self.conv_pwl = pointwise(wide, c_out)
        self.bn3 = nn.BatchNorm2d(c_out)
        self.has_skip = stride == 1 and c_in == c_out
        if self.has_skip:
            self.skip_add = nn.quantized.FloatFunctional()

    def forward(self, x):
        out = self.act1(self.bn1(self.conv_pw(x)))
        out = self.act2(self.bn2(self.conv_dw(out)))
        out = self.bn3(self.conv_pwl(out))
        return self.skip_add.add(out, x) if self.has_skip else out


class EfficientNetLite(nn.Module):
    """The network of the given stages; stem and head are never scaled in the Lite variants."""

    FUSE = (("conv_stem", "bn1", "act1"), ("conv_head", "bn2", "act2"))

    def __init__(self, num_classes: int = 1000, stages: tuple[tuple[int, ...], ...] = STAGES) -> None:
        super().__init__()
        self.quant = QuantStub()
        self.conv_stem = nn.Conv2d(3, 32, 3, 2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(32)
        self.act1 = nn.ReLU6()
        c_in, blocks = 32, []
        for kernel, channels, count, first_stride, expansion in stages:
            stage: list[nn.Module] = []
            for index in range(count):
                stride = first_stride if index == 0 else 1
                if expansion == 1:
                    stage.append(DepthwiseSeparable(c_in, channels, kernel, stride))
                else:
                    stage.append(InvertedResidual(c_in, channels, kernel, stride, expansion))
                c_in = channels
            blocks.append(nn.Sequential(*stage))
        self.blocks = nn.Sequential(*blocks)
        self.conv_head = pointwise(c_in, 1280)
        self.bn2 = nn.BatchNorm2d(1280)
        self.act2 = nn.ReLU6()
        self.global_pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.classifier = nn.Linear(1280, num_classes)
        self.dequant = DeQuantStub()

    def forward(self, x):
        x = self.blocks(self.act1(self.bn1(self.conv_stem(self.quant(x)))))
        x = self.global_pool(self.act2(self.bn2(self.conv_head(x))))
        return self.dequant(self.classifier(self.flatten(x)))

    def fusable(self) -> list[list[str]]:
        """Names that belong together: convolution, batch norm and, where one follows, activation."""
        return [
            [f"{name}.{part}" if name else part for part in parts]
            for name, module in self.named_modules()
            for parts in getattr(module, "FUSE", ())
        ]


def efficientnet_lite0(**settings: int) -> EfficientNetLite:
    return EfficientNetLite(**settings)
