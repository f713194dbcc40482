"""ResNet-18 and ResNet-50 (He et al., 2015), stride in the 3x3 convolution, layers named as in torchvision."""

from __future__ import annotations

from octensor import nn
from octensor.quantization import DeQuantStub, QuantStub


def conv3x3(c_in: int, c_out: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(c_in, c_out, 3, stride, padding=1, bias=False)


def conv1x1(c_in: int, c_out: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(c_in, c_out, 1, stride, bias=False)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut."""

    expansion = 1
    FUSE = (("conv1", "bn1", "relu"), ("conv2", "bn2"))

    def __init__(self, c_in: int, width: int, stride: int = 1, downsample: nn.Module | None = None) -> None:
        super().__init__()
        self.conv1 = conv3x3(c_in, width, stride)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU()
        self.conv2 = conv3x3(width, width)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = downsample
        self.skip_add = nn.quantized.FloatFunctional()

    def forward(self, x):
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        return self.skip_add.add_relu(out, x if self.downsample is None else self.downsample(x))


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions, four times as wide at the end, beside a shortcut."""

    expansion = 4
    FUSE = (("conv1", "bn1", "relu1"), ("conv2", "bn2", "relu2"), ("conv3", "bn3"))

    def __init__(self, c_in: int, width: int, stride: int = 1, downsample: nn.Module | None = None) -> None:
        super().__init__()
        self.conv1 = conv1x1(c_in, width)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu1 = nn.ReLU()
        self.conv2 = conv3x3(width, width, stride)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu2 = nn.ReLU()
        self.conv3 = conv1x1(width, width * self.expansion)
        self.bn3 = nn.BatchNorm2d(width * self.expansion)
        self.downsample = downsample
        self.skip_add = nn.quantized.FloatFunctional()

    def forward(self, x):
        out = self.relu1(self.bn1(self.conv1(x)))
        out = self.relu2(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        return self.skip_add.add_relu(out, x if self.downsample is None else self.downsample(x))


class ResNet(nn.Module):
    """A stem, four stages of blocks, an average, a linear layer.

    Parameters
    ----------
    block : type
        `BasicBlock` or `Bottleneck`.
    layers : sequence of int
        How many blocks each stage has.
    num_classes : int
    width : int
        Channels of the stem and of the first stage; 64 in the paper.
    """

    def __init__(self, block: type, layers: tuple[int, ...], num_classes: int = 1000, width: int = 64) -> None:
        super().__init__()
        self.quant = QuantStub()
        self.conv1 = nn.Conv2d(3, width, 7, 2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, 2, padding=1)
        c_in = width
        for stage, blocks in enumerate(layers):
            c_out = width << stage
            stage_layers = []
            for index in range(blocks):
                stride = 2 if index == 0 and stage else 1
                wide = c_out * block.expansion
                changes = stride > 1 or c_in != wide
                shortcut = nn.Sequential(conv1x1(c_in, wide, stride), nn.BatchNorm2d(wide)) if changes else None
                stage_layers.append(block(c_in, c_out, stride, shortcut))
                c_in = wide
            setattr(self, f"layer{stage + 1}", nn.Sequential(*stage_layers))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(c_in, num_classes)
        self.dequant = DeQuantStub()

    def forward(self, x):
        x = self.maxpool(self.relu(self.bn1(self.conv1(self.quant(x)))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.dequant(self.fc(self.flatten(self.avgpool(x))))

    def fusable(self) -> list[list[str]]:
        """Names that belong together: convolution, batch norm and, where one follows, activation."""
        found = [["conv1", "bn1", "relu"]]
        for name, module in self.named_modules():
            found += [[f"{name}.{part}" for part in parts] for parts in getattr(module, "FUSE", ())]
            if name.endswith("downsample"):
                found.append([f"{name}.0", f"{name}.1"])
        return found


def resnet18(**settings: int) -> ResNet:
    return ResNet(BasicBlock, (2, 2, 2, 2), **settings)


def resnet50(**settings: int) -> ResNet:
    return ResNet(Bottleneck, (3, 4, 6, 3), **settings)
