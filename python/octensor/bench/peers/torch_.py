"""PyTorch: float32, and its quantized operators on each engine."""

# mypy: disable-error-code="no-untyped-call"
from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .. import networks
from ..cases import Case, Conv, Dynamic, Elementwise, Gemm, Int4, Lstm, Network, Pool
from ..operands import OUT_ZERO, W_SCALE, X_SCALE, X_ZERO, Data
from . import Runner, Variant

_ENGINES = ("fbgemm", "onednn", "qnnpack")  # x86 hands each case to one of the first two


class Torch:
    """The engine is chosen when a weight is packed."""

    name = "torch"

    def __init__(self, threads: int) -> None:
        import torch

        self.version = str(torch.__version__)
        self._torch = torch
        torch.set_num_threads(threads)
        torch.set_grad_enabled(False)
        supported = torch.backends.quantized.supported_engines
        self._engines = [name for name in _ENGINES if name in supported]

    def variants(self, case: Case) -> Sequence[Variant]:
        """float32 and one for each engine."""
        if isinstance(case, Int4):
            return []
        if isinstance(case, Network):  # on qnnpack many times slower than on the others
            suffix = "dyn" if case.dynamic else "int8"
            found = [
                self._variant(suffix, engine, self._network, case) for engine in self._engines if engine != "qnnpack"
            ]
            return [self._variant("fp32", None, self._network_float, case), *found]
        float_build: Callable[[Any, Data], Runner] | None = None
        int_build: Callable[[Any, Data], Runner]
        engines = self._engines
        suffix = "int8"
        if isinstance(case, Dynamic):
            float_build, int_build, suffix = self._linear, self._linear_dynamic, "dyn"
        elif isinstance(case, Gemm):
            float_build, int_build = self._linear, self._linear_static
        elif isinstance(case, Conv):
            float_build, int_build = self._conv, self._conv_static
        elif isinstance(case, Lstm):
            float_build, int_build, suffix = self._lstm, self._lstm_dynamic, "dyn"
        elif isinstance(case, Pool):
            float_build, int_build = self._pool, self._pool_static
            engines = engines[::2]
        else:
            int_build = self._elementwise
            engines = engines[:1] if case.op != "add" else engines[::2]
        variants = [] if float_build is None else [self._variant("fp32", None, float_build, case)]
        return variants + [self._variant(suffix, engine, int_build, case) for engine in engines]

    def _variant(self, suffix: str, engine: str | None, build: Callable[[Any, Data], Runner], case: Case) -> Variant:
        def built(data: Data) -> Runner:
            if engine is None:
                return build(case, data)
            self._torch.backends.quantized.engine = engine
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # torch.ao.quantization is deprecated
                return build(case, data)

        name = f"torch {engine} {suffix}" if engine else f"torch {suffix}"
        return Variant(name, "int8" if engine else "fp32", built)

    # --- tensors ----------------------------------------------------------------------------------------

    def _image(self, array: np.ndarray) -> Any:
        """[N, H, W, C] as a channels-last tensor."""
        return self._torch.from_numpy(array).permute(0, 3, 1, 2)

    def _quantized(self, codes: Any, scale: float, zero: int) -> Any:
        return self._torch._make_per_tensor_quantized_tensor(codes, scale, zero)

    def _weight(self, codes: np.ndarray) -> Any:
        return self._quantized(self._torch.from_numpy(codes), W_SCALE, 0)

    # --- float32 ----------------------------------------------------------------------------------------

    def _linear(self, case: Gemm, data: Data) -> Runner:
        x, w = self._torch.from_numpy(data.x_float), self._torch.from_numpy(data.w_float)
        linear = self._torch.nn.functional.linear
        return Runner(lambda: linear(x, w))

    def _conv(self, case: Conv, data: Data) -> Runner:
        x = self._image(data.x_float)
        w = self._torch.from_numpy(data.w_float).contiguous(memory_format=self._torch.channels_last)
        conv = self._torch.nn.functional.conv2d
        return Runner(lambda: conv(x, w, None, case.stride, case.padding, 1, case.groups))

    def _pool(self, case: Pool, data: Data) -> Runner:
        x, pool = self._image(data.x_float), self._torch.nn.functional.max_pool2d
        return Runner(lambda: pool(x, 3, 2, 1))

    def _lstm_layer(self, case: Lstm, data: Data) -> tuple[Any, Any]:
        layer = self._torch.nn.LSTM(case.hidden, case.hidden)
        for name, value in zip(("weight_ih_l0", "weight_hh_l0"), np.split(data.w_float, 2), strict=True):
            getattr(layer, name).data = self._torch.from_numpy(value)
        return layer.eval(), self._torch.from_numpy(data.x_float)

    def _lstm(self, case: Lstm, data: Data) -> Runner:
        layer, x = self._lstm_layer(case, data)
        return Runner(lambda: layer(x))

    def _network_float(self, case: Network, data: Data) -> Runner:
        """Frozen and handed to oneDNN, images channels last."""
        torch, x = self._torch, self._torch.from_numpy(data.x)
        model = torch.jit.load(networks.file(data, "float.pt"))
        if x.dim() == 4:
            x, model = x.contiguous(memory_format=torch.channels_last), model.to(memory_format=torch.channels_last)
        model = torch.jit.optimize_for_inference(model)
        return Runner(lambda: model(x), lambda: model(x).numpy())

    # --- integers ---------------------------------------------------------------------------------------

    def _linear_static(self, case: Gemm, data: Data) -> Runner:
        ops = self._torch.ops.quantized
        x = self._quantized(self._torch.from_numpy(data.x), X_SCALE, X_ZERO)
        packed = ops.linear_prepack(self._weight(data.w), None)

        def call() -> Any:
            return ops.linear(x, packed, data.out_scale, OUT_ZERO)

        return Runner(call, lambda: call().int_repr().numpy())

    def _linear_dynamic(self, case: Dynamic, data: Data) -> Runner:
        ops, x = self._torch.ops.quantized, self._torch.from_numpy(data.x_float)
        packed = ops.linear_prepack(self._weight(data.w), None)
        reduce_range = self._torch.backends.quantized.engine == "fbgemm"  # its default: 7-bit activations

        def call() -> Any:
            return ops.linear_dynamic(x, packed, reduce_range)

        return Runner(call, lambda: call().numpy())

    def _conv_static(self, case: Conv, data: Data) -> Runner:
        ops = self._torch.ops.quantized
        x = self._quantized(self._image(data.x), X_SCALE, X_ZERO)
        geometry = [case.stride] * 2, [case.padding] * 2, [1, 1], case.groups
        packed = ops.conv2d_prepack(self._weight(data.w), None, *geometry)

        def call() -> Any:
            return ops.conv2d(x, packed, data.out_scale, OUT_ZERO)

        return Runner(call, lambda: call().int_repr().permute(0, 2, 3, 1).numpy())

    def _pool_static(self, case: Pool, data: Data) -> Runner:
        x = self._quantized(self._image(data.x), X_SCALE, X_ZERO)
        engine = self._torch.backends.quantized.engine

        def call() -> Any:
            self._torch.backends.quantized.engine = engine  # asked when it runs
            return self._torch.max_pool2d(x, 3, 2, 1)

        return Runner(call, lambda: call().int_repr().permute(0, 2, 3, 1).numpy())

    def _elementwise(self, case: Elementwise, data: Data) -> Runner:
        torch, engine = self._torch, self._torch.backends.quantized.engine
        real, codes = torch.from_numpy(data.x_float), torch.from_numpy(data.x)
        q = self._quantized(codes, X_SCALE, X_ZERO)
        if case.op == "quantize":
            return Runner(
                lambda: torch.quantize_per_tensor(real, X_SCALE, X_ZERO, torch.quint8),
                lambda: torch.quantize_per_tensor(real, X_SCALE, X_ZERO, torch.quint8).int_repr().numpy(),
            )
        if case.op == "dequantize":
            return Runner(q.dequantize, lambda: q.dequantize().numpy())
        other = self._quantized(torch.from_numpy(data.w.view(np.uint8)), X_SCALE, X_ZERO)

        def call() -> Any:
            torch.backends.quantized.engine = engine
            return torch.ops.quantized.add(q, other, data.out_scale, OUT_ZERO)

        return Runner(call, lambda: call().int_repr().numpy())

    def _lstm_dynamic(self, case: Lstm, data: Data) -> Runner:
        layer, x = self._lstm_layer(case, data)
        torch = self._torch
        quantized = torch.ao.quantization.quantize_dynamic(torch.nn.Sequential(layer), {torch.nn.LSTM})[0]
        return Runner(lambda: quantized(x))

    def _network(self, case: Network, data: Data) -> Runner:
        torch, x = self._torch, self._torch.from_numpy(data.x)
        engine = torch.backends.quantized.engine
        model = torch.jit.load(networks.file(data, f"{engine}.pt"))

        def call() -> Any:
            torch.backends.quantized.engine = engine  # dynamic layers and pools ask when they run
            return model(x)

        return Runner(call, lambda: call().numpy())
