"""ncnn: one-layer networks, written as its param and bin files.

Its integers are signed and symmetric. Convolutions take and give int8; fully-connected layers give float32,
because they have no other form.
"""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..cases import Case, Conv, Dynamic, Gemm, Int4
from ..operands import OUT_ZERO, W_SCALE, X_SCALE, X_ZERO, Data
from . import Runner, Variant

_INT8_TAG = 0x000D4B38


class Ncnn:
    """A network for each variant."""

    name = "ncnn"

    def __init__(self, threads: int) -> None:
        from importlib.metadata import version

        import ncnn

        self._ncnn, self._threads = ncnn, threads
        self.version = version("ncnn")

    def variants(self, case: Case) -> Sequence[Variant]:
        """float32 and int8 of static layers."""
        if not isinstance(case, Gemm | Conv) or isinstance(case, Int4 | Dynamic):
            return []
        return [
            Variant("ncnn fp32", "fp32", lambda data: self._run(case, data, False)),
            Variant("ncnn int8", "int8", lambda data: self._run(case, data, True)),
        ]

    def _run(self, case: Gemm | Conv, data: Data, integer: bool) -> Runner:
        net = self._ncnn.Net()
        net.opt.num_threads = self._threads
        with tempfile.TemporaryDirectory() as folder:
            param, weights = Path(folder) / "net.param", Path(folder) / "net.bin"
            param.write_text(f"7767517\n2 2\nInput x 0 1 x\n{_layer(case, data, integer)}\n", encoding="ascii")
            weights.write_bytes(_weights(case, data, integer))
            if net.load_param(str(param)) or net.load_model(str(weights)):
                raise RuntimeError("ncnn refused the model")
        x = data.x_float
        if integer:  # its own quantization never gives -128, and its kernels do not expect it
            x = np.maximum(data.x.astype(np.int16) - X_ZERO, -127).astype(np.int8)
        if isinstance(case, Conv):
            x = np.ascontiguousarray(x[0].transpose(2, 0, 1))
        given = self._ncnn.Mat(x).clone()

        def call() -> Any:
            extractor = net.create_extractor()
            extractor.input("x", given)
            return extractor.extract("y")[1]

        return Runner(call, lambda: _codes(case, data, np.array(call())))


def _layer(case: Gemm | Conv, data: Data, integer: bool) -> str:
    count = data.w.size
    if isinstance(case, Gemm):
        return f"InnerProduct y 1 1 x y 0={case.n} 1=0 2={count}" + (" 8=2" if integer else "")
    kind = "Convolution" if case.groups == 1 else "ConvolutionDepthWise"
    text = f"{kind} y 1 1 x y 0={case.filters} 1={case.kernel} 3={case.stride} 4={case.padding} 5=0 6={count}"
    if case.groups > 1:
        text += f" 7={case.groups}"
    return text + (" 8=101" if integer else "")


def _weights(case: Gemm | Conv, data: Data, integer: bool) -> bytes:
    if not integer:
        return struct.pack("<I", 0) + data.w_float.tobytes()
    channels = case.groups if isinstance(case, Conv) and case.groups > 1 else len(data.w)
    scales = [1 / W_SCALE] * channels + [1 / X_SCALE]
    if isinstance(case, Conv):
        scales.append(1 / data.out_scale)
    codes = data.w.tobytes()
    return struct.pack("<I", _INT8_TAG) + codes + bytes(-len(codes) % 4) + struct.pack(f"<{len(scales)}f", *scales)


def _codes(case: Gemm | Conv, data: Data, output: np.ndarray) -> np.ndarray:
    """Give the result as u8 codes, channels last."""
    if isinstance(case, Gemm):
        output = np.rint(output / np.float32(data.out_scale))
    else:
        output = output.transpose(1, 2, 0)[None]
    return np.clip(output.astype(np.float32) + OUT_ZERO, 0, 255).astype(np.uint8)
