"""What is measured: frozen descriptions of layers, and the tables of them that each group runs.

A case knows its name, its work and how its operands are made; it knows nothing of who computes it. Work
counts multiply-adds twice (GOP/s) or, where nothing is multiplied, the bytes of 8-bit operands read and
written (GB/s), whatever type a float peer moves.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class Gemm:
    """A static linear layer: u8 [m, k] times s8 [n, k] transposed, requantized to u8."""

    m: int
    n: int
    k: int
    unit: ClassVar[str] = "GOP/s"

    @property
    def name(self) -> str:
        """M x N x K, as in a table."""
        return f"{self.m}x{self.n}x{self.k}"

    @property
    def work(self) -> float:
        """Two operations to a multiply-add."""
        return 2.0 * self.m * self.n * self.k

    @property
    def weight_bytes(self) -> int:
        """What one pass over 8-bit weights reads."""
        return self.n * self.k


@dataclass(frozen=True)
class Dynamic(Gemm):
    """A linear layer on float32 input that is quantized on the fly; float32 out."""

    @property
    def name(self) -> str:
        """As peers' tables have it."""
        return f"M={self.m} " + (f"K=N={self.k}" if self.n == self.k else f"N={self.n} K={self.k}")


@dataclass(frozen=True)
class Int4(Dynamic):
    """A dynamic layer with signed 4-bit weights, a scale to each group of `group` values of K."""

    group: int = 32

    @property
    def name(self) -> str:
        """M x N x K, group size."""
        return f"{self.m}x{self.n}x{self.k} g{self.group}"

    @property
    def weight_bytes(self) -> int:
        """Two weights to a byte."""
        return self.n * self.k // 2


@dataclass(frozen=True)
class Conv:
    """A 2-D convolution on a square image, batch 1, padded by half its kernel."""

    kernel: int
    channels: int
    filters: int
    size: int
    stride: int = 1
    groups: int = 1
    unit: ClassVar[str] = "GOP/s"

    @property
    def padding(self) -> int:
        """Keeps the size at stride 1."""
        return self.kernel // 2

    @property
    def out_size(self) -> int:
        """Height and width of the result."""
        return (self.size + 2 * self.padding - self.kernel) // self.stride + 1

    @property
    def is_depthwise(self) -> bool:
        """Whether every channel has its own filter."""
        return self.groups == self.channels == self.filters

    @property
    def name(self) -> str:
        """As peers' tables have it."""
        text = f"{self.kernel}x{self.kernel} {self.channels}->{self.filters} @{self.size}"
        text += f" s{self.stride}" if self.stride > 1 else ""
        return text + (" dw" if self.is_depthwise else f" g{self.groups}" if self.groups > 1 else "")

    @property
    def work(self) -> float:
        """Two operations to a multiply-add, padding included."""
        return 2.0 * self.out_size**2 * self.filters * self.channels // self.groups * self.kernel**2


@dataclass(frozen=True)
class Lstm:
    """A dynamically quantized LSTM layer, as many inputs as hidden values."""

    batch: int
    hidden: int
    steps: int = 50
    unit: ClassVar[str] = "GOP/s"

    @property
    def name(self) -> str:
        """As peers' tables have it."""
        return f"B={self.batch} H={self.hidden} S={self.steps}"

    @property
    def work(self) -> float:
        """Two operations to a multiply-add of the gates' products."""
        return 2.0 * self.steps * self.batch * 8 * self.hidden**2

    @property
    def probe(self) -> Dynamic:
        """A layer whose product is of the same kind."""
        return Dynamic(8, 64, 256)


@dataclass(frozen=True)
class Elementwise:
    """quantize, dequantize or add over a flat array."""

    op: str
    n: int
    unit: ClassVar[str] = "GB/s"

    @property
    def name(self) -> str:
        """Operation and mebi-elements."""
        return f"{self.op} {self.n >> 20}M" if self.n >> 20 else f"{self.op} {self.n}"

    @property
    def work(self) -> float:
        """Bytes read and written."""
        return float(self.n * {"quantize": 5, "dequantize": 5, "add": 3, "mul": 3, "relu": 2}[self.op])


@dataclass(frozen=True)
class Pool:
    """3x3 max pooling, stride 2, padded by 1."""

    channels: int
    size: int
    unit: ClassVar[str] = "GB/s"

    @property
    def out_size(self) -> int:
        """Height and width of the result."""
        return (self.size - 1) // 2 + 1

    @property
    def name(self) -> str:
        """As peers' tables have it."""
        return f"maxpool 3x3 s2 {self.channels}@{self.size}"

    @property
    def work(self) -> float:
        """Bytes read and written."""
        return float(self.channels * (self.size**2 + self.out_size**2))


@dataclass(frozen=True)
class Network:
    """A whole network, batch 1, float32 in and out; ``networks`` makes it.

    Attributes
    ----------
    name : str
    file, maker : str
        The file of ``examples/networks`` without ``.py``, and the function there.
    shape : tuple of int
        Of the input.
    adds : float
        Multiply-adds.
    dynamic : bool
        Whether activations are quantized as they come, without calibration.
    arguments : tuple
        For the maker.
    """

    name: str
    file: str
    maker: str
    shape: tuple[int, ...]
    adds: float
    dynamic: bool = False
    arguments: tuple[int, ...] = ()
    unit: ClassVar[str] = "GOP/s"

    @property
    def work(self) -> float:
        """Two operations to a multiply-add."""
        return 2.0 * self.adds

    @property
    def probe(self) -> Gemm | Conv:
        """A layer of the kind that decides whether the network is exact."""
        return Dynamic(8, 64, 256) if self.dynamic else Conv(3, 64, 64, 8)


Case = Gemm | Conv | Lstm | Elementwise | Pool | Network

_GEMM = (
    *((1, 1024, 1024), (1, 4096, 4096), (16, 768, 768), (64, 3072, 768), (128, 768, 768), (128, 768, 3072)),
    *((128, 3072, 768), (256, 1024, 1024), (1024, 1024, 1024), (196, 512, 4608)),
    # Twenty more: one row, few rows, tall, wide, short and long K, odd, tiny.
    *((1, 1000, 2048), (1, 768, 768), (1, 3072, 768), (2, 1024, 1024), (4, 1024, 1024), (8, 768, 3072)),
    *((32, 512, 512), (64, 1024, 1024), (100, 1000, 1000), (127, 509, 511), (197, 384, 384), (384, 384, 1536)),
    *((512, 64, 64), (512, 2048, 512), (784, 128, 512), (1024, 32, 256), (3136, 64, 256), (4096, 16, 64)),
    *((64, 64, 4096), (48, 4096, 128)),
)
_RESNET = (
    Conv(7, 3, 64, 224, 2),
    Conv(1, 64, 64, 56),
    Conv(3, 64, 64, 56),
    Conv(1, 256, 64, 56),
    Conv(3, 128, 128, 28),
    Conv(1, 512, 128, 28),
    Conv(3, 256, 256, 14),
    Conv(1, 1024, 256, 14),
    Conv(3, 512, 512, 7),
    Conv(1, 2048, 512, 7),
    Conv(1, 256, 512, 56, 2),
)
_POINTWISE = (
    Conv(1, 16, 96, 112),
    Conv(1, 144, 24, 56),
    Conv(1, 64, 384, 14),
    Conv(1, 384, 64, 14),
    Conv(1, 160, 960, 7),
    Conv(1, 960, 320, 7),
    Conv(1, 320, 1280, 7),
)

GROUPS: dict[str, tuple[Case, ...]] = {
    "gemm": tuple(Gemm(*shape) for shape in _GEMM),
    "conv": (*_RESNET, *_POINTWISE),
    "depthwise": (
        Conv(3, 32, 32, 112, 1, 32),
        Conv(3, 96, 96, 112, 2, 96),
        Conv(3, 144, 144, 56, 1, 144),
        Conv(3, 384, 384, 14, 1, 384),
        Conv(3, 960, 960, 7, 1, 960),
    ),
    "grouped": (Conv(3, 128, 128, 56, 1, 32), Conv(3, 512, 512, 14, 1, 32)),
    "dynamic": tuple(Dynamic(m, k, k) for k in (768, 1024, 3072, 4096) for m in (1, 4, 16, 128)),
    "lstm": (Lstm(1, 512), Lstm(16, 512), Lstm(1, 1024), Lstm(16, 1024)),
    "elementwise": tuple(Elementwise(op, n << 20) for n in (1, 16) for op in ("quantize", "dequantize", "add")),
    "pool": (Pool(64, 112), Pool(256, 56)),
    "int4": (
        *(Int4(m, 4096, 4096, g) for m in (1, 4, 64, 256) for g in (32, 128)),
        Int4(128, 768, 3072),
        Int4(1, 768, 3072),
    ),
    "networks": (
        Network("ResNet-50", "resnet", "resnet50", (1, 3, 224, 224), 4.089e9),
        Network("MobileNetV2", "mobilenet_v2", "mobilenet_v2", (1, 3, 224, 224), 0.3008e9),
        Network("EfficientNet-Lite0", "efficientnet_lite", "efficientnet_lite0", (1, 3, 224, 224), 0.4e9),
    ),
    "sequences": (
        Network("BERT-base layer", "bert", "bert_base", (1, 128, 768), 0.931e9, True, (1,)),
        Lstm(1, 512),
        Lstm(1, 1024),
    ),
}


@dataclass(frozen=True)
class Job:
    """A case to measure, under the name of its group; `at` where it lies on a sweep."""

    group: str
    case: Case
    at: int | None = None


def sweeps() -> dict[str, list[Job]]:
    """Lines along which cost should grow as the work, for charts that show cliffs."""
    steps = sorted({*range(1, 17), *range(20, 65, 4), *range(72, 129, 8), *range(144, 513, 16)})
    images = (*range(4, 33), *range(36, 65, 4), 72, 80, 96, 112)
    channels = (*range(1, 17), *range(20, 65, 4), *range(72, 257, 8))
    lines: dict[str, tuple[Callable[[int], Case], Sequence[int]]] = {
        "M": (lambda m: Gemm(m, 512, 512), steps),
        "N": (lambda n: Gemm(128, n, 512), steps),
        "K": (lambda k: Gemm(128, 512, k), steps),
        "M narrow": (lambda m: Gemm(m, 16, 512), steps),
        "channels 1x1": (lambda c: Conv(1, c, c, 28), channels),
        "channels 3x3": (lambda c: Conv(3, c, c, 28), channels),
        "channels dw": (lambda c: Conv(3, c, c, 28, 1, c), channels[1:]),
        "image 3x3": (lambda size: Conv(3, 64, 64, size), images),
        "image 3x3 s2": (lambda size: Conv(3, 64, 64, size, 2), images),
        "image dw": (lambda size: Conv(3, 64, 64, size, 1, 64), images),
    }
    return {name: [Job(f"sweep {name}", make(at), at) for at in values] for name, (make, values) in lines.items()}


def parse_shape(group: str, text: str) -> Case:
    """Read one shape of the command line.

    Parameters
    ----------
    group : str
        Which group the shape is for.
    text : str
        Integers joined by ``x``: M x N x K for gemm, dynamic and int4 (then the group size); kernel x channels x
        filters x image [x stride [x groups]] for convolutions; batch x hidden [x steps] for lstm; the number of
        elements for elementwise; channels x image for pool. Or the name of a case of the group's table: the only form
        for networks.

    Raises
    ------
    ValueError
        Where the text is neither.
    """
    for case in GROUPS[group]:
        if case.name == text:
            return case
    try:
        numbers = [int(part) for part in text.split("x")]
        if min(numbers) < 1:
            raise ValueError
        return _MAKERS[group](*numbers)
    except (ValueError, TypeError, KeyError):
        names = ", ".join(case.name for case in GROUPS[group])
        raise ValueError(f"shape {text!r}: expected {_FORMS.get(group, 'a name')} or one of: {names}") from None


_MAKERS: dict[str, Callable[..., Case]] = {
    "gemm": Gemm,
    "dynamic": Dynamic,
    "int4": Int4,
    "conv": Conv,
    "grouped": Conv,
    "depthwise": lambda kernel, channels, size, stride=1: Conv(kernel, channels, channels, size, stride, channels),
    "lstm": Lstm,
    "elementwise": lambda n: Elementwise("quantize", n),
    "pool": Pool,
    "sequences": Lstm,
}
_CONV_FORM = "KERNELxCHANNELSxFILTERSxSIZE[xSTRIDE[xGROUPS]]"
_FORMS = {
    "gemm": "MxNxK",
    "dynamic": "MxNxK",
    "int4": "MxNxK[xGROUP]",
    "conv": _CONV_FORM,
    "grouped": _CONV_FORM,
    "depthwise": "KERNELxCHANNELSxSIZE[xSTRIDE]",
    "lstm": "BATCHxHIDDEN[xSTEPS]",
    "elementwise": "ELEMENTS",
    "pool": "CHANNELSxSIZE",
    "sequences": "BATCHxHIDDEN[xSTEPS]",
}
