"""ONNX Runtime: one-operator models, bound to fixed buffers.

Integer convolutions and pools are given channels-last, as they run inside a network that ONNX Runtime has
optimised; where it refuses that form, the plain one with its transposes runs. u8u8 and "precise" avoid the
instruction that saturates.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from .. import networks
from ..cases import Case, Conv, Dynamic, Elementwise, Gemm, Int4, Lstm, Network, Pool
from ..operands import OUT_ZERO, W_SCALE, X_SCALE, X_ZERO, Data
from . import Runner, Variant

_MICROSOFT = "com.microsoft"


class OnnxRuntime:
    """A session for each variant."""

    name = "onnxruntime"

    def __init__(self, threads: int) -> None:
        import onnxruntime

        self._ort, self._threads = onnxruntime, threads
        onnxruntime.set_default_logger_severity(3)
        self.version = str(onnxruntime.__version__)

    @cached_property
    def _onnx(self) -> Any:
        """What builds models; a network's exist already, and its memory is not ONNX Runtime's."""
        import onnx

        return onnx

    def variants(self, case: Case) -> Sequence[Variant]:
        """u8s8, u8u8 and precise where weights are; float32."""
        if isinstance(case, Network):
            names = ("dyn s8", "dyn u8", "dyn s8 precise") if case.dynamic else ("u8s8", "u8u8", "u8s8 precise")
            kinds = {"fp32": "fp32"} | dict.fromkeys(names, "int8")
            return [Variant(f"ort {n}", kind, partial(self._network, name=n)) for n, kind in kinds.items()]
        if isinstance(case, Int4):
            return []
        if isinstance(case, Elementwise):
            return [Variant("ort", "int8", lambda data: self._elementwise(case, data))]
        if isinstance(case, Pool):
            return [
                Variant("ort fp32", "fp32", lambda data: self._pool_float(case, data)),
                Variant("ort u8", "int8", lambda data: self._pool(case, data)),
            ]
        fp32: Callable[[Any, Data], Runner]
        int8: Callable[[Any, Data, bool, bool], Runner]
        layer: Any = case
        if isinstance(case, Dynamic):
            fp32, int8, prefix = self._matmul, self._dynamic, "ort dyn "
        elif isinstance(case, Gemm):
            fp32, int8, prefix = self._matmul, self._qlinear_matmul, "ort u8"
        elif isinstance(case, Conv):
            fp32, int8, prefix = self._conv, self._qlinear_conv, "ort u8"
        else:
            fp32, int8, prefix = self._lstm, self._lstm_dynamic, "ort dyn "
        found = [
            Variant("ort fp32", "fp32", lambda data: fp32(layer, data)),
            Variant(f"{prefix}s8", "int8", lambda data: int8(layer, data, False, False)),
            Variant(f"{prefix}u8", "int8", lambda data: int8(layer, data, True, False)),
            Variant(f"{prefix}s8 precise", "int8", lambda data: int8(layer, data, False, True)),
        ]
        return found[:3] if isinstance(case, Lstm) else found  # whose node knows nothing of "precise"

    # --- models -----------------------------------------------------------------------------------------

    def _run(
        self,
        node: Any,
        inputs: dict[str, np.ndarray],
        constants: dict[str, np.ndarray],
        output: tuple[type, Sequence[int]],
        precise: bool = False,
    ) -> Runner:
        """Make a session over one node; its first output is Y, channels last where it is an image of codes."""
        onnx = self._onnx
        value = onnx.helper.make_tensor_value_info
        kind = onnx.helper.np_dtype_to_tensor_dtype
        graph = onnx.helper.make_graph(
            [node],
            "bench",
            [value(name, kind(array.dtype), array.shape) for name, array in inputs.items()],
            [value("Y", kind(np.dtype(output[0])), output[1])],
            [onnx.numpy_helper.from_array(array, name) for name, array in constants.items()],
        )
        domains = [onnx.helper.make_opsetid("", 17), onnx.helper.make_opsetid(_MICROSOFT, 1)]
        model = onnx.helper.make_model(graph, opset_imports=domains, ir_version=10)
        return self._session(model.SerializeToString(), inputs, ("Y", *output), precise)

    def _session(
        self,
        model: bytes | Path,
        inputs: dict[str, np.ndarray],
        output: tuple[str, type, Sequence[int]],
        precise: bool,
    ) -> Runner:
        """Make a session over a model whose inputs and output are bound to buffers."""
        ort = self._ort
        options = ort.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = self._threads, 1
        options.add_session_config_entry("session.force_spinning_stop", "1")  # the process has other sessions
        if precise:
            options.add_session_config_entry("session.x64quantprecision", "1")
        session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        binding = session.io_binding()
        for name, array in inputs.items():
            binding.bind_ortvalue_input(name, ort.OrtValue.ortvalue_from_numpy(array))
        out = ort.OrtValue.ortvalue_from_shape_and_type(list(output[2]), output[1])
        binding.bind_ortvalue_output(output[0], out)
        run = session.run_with_iobinding

        def read() -> np.ndarray:
            run(binding)
            return np.asarray(out.numpy())

        return Runner(lambda: run(binding), read)

    def _network(self, data: Data, name: str) -> Runner:
        files = {"fp32": "float", "dyn s8": "s8", "dyn u8": "u8", "dyn s8 precise": "s8"}
        path = networks.file(data, files.get(name, name.split()[0]) + ".onnx")
        return self._session(path, {"x": data.x}, ("y", np.float32, data.result.shape), name.endswith("precise"))

    def _node(self, kind: str, inputs: Sequence[str], domain: str = "", **attributes: Any) -> Any:
        return self._onnx.helper.make_node(kind, list(inputs), ["Y"], domain=domain, **attributes)

    @staticmethod
    def _weight(data: Data, unsigned: bool) -> dict[str, np.ndarray]:
        w = (data.w.astype(np.int16) + 128).astype(np.uint8) if unsigned else data.w
        zero = np.uint8(128) if unsigned else np.int8(0)
        return {"w": w, "ws": np.array(W_SCALE, np.float32), "wz": np.array(zero)}

    @staticmethod
    def _scalars(data: Data) -> dict[str, np.ndarray]:
        scales = {"xs": np.array(X_SCALE, np.float32), "ys": np.array(data.out_scale, np.float32)}
        return scales | {"xz": np.array(X_ZERO, np.uint8), "yz": np.array(OUT_ZERO, np.uint8)}

    # --- float32 ----------------------------------------------------------------------------------------

    def _matmul(self, case: Gemm, data: Data) -> Runner:
        w = np.ascontiguousarray(data.w_float.T)
        return self._run(
            self._node("MatMul", ["x", "w"]), {"x": data.x_float}, {"w": w}, (np.float32, [case.m, case.n])
        )

    def _conv(self, case: Conv, data: Data) -> Runner:
        node = self._node("Conv", ["x", "w"], **_geometry(case))
        x = np.ascontiguousarray(data.x_float.transpose(0, 3, 1, 2))
        out = [1, case.filters, case.out_size, case.out_size]
        return self._run(node, {"x": x}, {"w": data.w_float}, (np.float32, out))

    def _pool_float(self, case: Pool, data: Data) -> Runner:
        x = np.ascontiguousarray(data.x_float.transpose(0, 3, 1, 2))
        out = [1, case.channels, case.out_size, case.out_size]
        return self._run(self._node("MaxPool", ["x"], **_WINDOW), {"x": x}, {}, (np.float32, out))

    def _lstm(self, case: Lstm, data: Data) -> Runner:
        w, r = (_onnx_gates(part)[None] for part in np.split(data.w_float, 2))
        node = self._node("LSTM", ["x", "w", "r"], hidden_size=case.hidden)
        out = [case.steps, 1, case.batch, case.hidden]
        return self._run(node, {"x": data.x_float}, {"w": w, "r": r}, (np.float32, out))

    # --- integers ---------------------------------------------------------------------------------------

    def _qlinear_matmul(self, case: Gemm, data: Data, unsigned: bool, precise: bool) -> Runner:
        weight = self._weight(data, unsigned)
        weight["w"] = np.ascontiguousarray(weight["w"].T)
        node = self._node("QLinearMatMul", ["x", "xs", "xz", "w", "ws", "wz", "ys", "yz"])
        return self._run(node, {"x": data.x}, weight | self._scalars(data), (np.uint8, [case.m, case.n]), precise)

    def _dynamic(self, case: Dynamic, data: Data, unsigned: bool, precise: bool) -> Runner:
        weight = self._weight(data, unsigned)
        weight["w"] = np.ascontiguousarray(weight["w"].T)
        node = self._node("DynamicQuantizeMatMul", ["x", "w", "ws", "wz"], _MICROSOFT)
        return self._run(node, {"x": data.x_float}, weight, (np.float32, [case.m, case.n]), precise)

    def _qlinear_conv(self, case: Conv, data: Data, unsigned: bool, precise: bool) -> Runner:
        constants = self._weight(data, unsigned) | self._scalars(data)
        names = ["x", "xs", "xz", "w", "ws", "wz", "ys", "yz"]
        size = case.out_size
        if not precise:  # which is a rewrite of the plain form
            with contextlib.suppress(Exception):
                node = self._node("QLinearConv", names, _MICROSOFT, channels_last=1, **_geometry(case))
                return self._run(node, {"x": data.x}, constants, (np.uint8, [1, size, size, case.filters]))
        node = self._node("QLinearConv", names, **_geometry(case))
        x = np.ascontiguousarray(data.x.transpose(0, 3, 1, 2))
        made = self._run(node, {"x": x}, constants, (np.uint8, [1, case.filters, size, size]), precise)
        assert made.output is not None
        read = made.output
        return Runner(made.call, lambda: read().transpose(0, 2, 3, 1))

    def _pool(self, case: Pool, data: Data) -> Runner:
        out = [1, case.out_size, case.out_size, case.channels]
        return self._run(self._node("NhwcMaxPool", ["x"], _MICROSOFT, **_WINDOW), {"x": data.x}, {}, (np.uint8, out))

    def _elementwise(self, case: Elementwise, data: Data) -> Runner:
        constants, shape = self._scalars(data), list(data.x.shape)
        if case.op == "quantize":
            node = self._node("QuantizeLinear", ["x", "xs", "xz"])
            return self._run(node, {"x": data.x_float}, _only(constants, "xs", "xz"), (np.uint8, shape))
        if case.op == "dequantize":
            node = self._node("DequantizeLinear", ["x", "xs", "xz"])
            return self._run(node, {"x": data.x}, _only(constants, "xs", "xz"), (np.float32, shape))
        node = self._node("QLinearAdd", ["x", "xs", "xz", "b", "xs", "xz", "ys", "yz"], _MICROSOFT)
        return self._run(node, {"x": data.x, "b": data.w.view(np.uint8)}, constants, (np.uint8, shape))

    def _lstm_dynamic(self, case: Lstm, data: Data, unsigned: bool, precise: bool) -> Runner:
        codes = self._weight(data, unsigned)
        w, r = (np.ascontiguousarray(_onnx_gates(part).T)[None] for part in np.split(codes["w"], 2))
        scale, zero = codes["ws"].reshape(1), codes["wz"].reshape(1)
        names = ["x", "w", "r", "", "", "", "", "", "scale", "zero", "scale", "zero"]
        node = self._node("DynamicQuantizeLSTM", names, _MICROSOFT, hidden_size=case.hidden)
        out = [case.steps, 1, case.batch, case.hidden]
        constants = {"w": w, "r": r, "scale": scale, "zero": zero}
        return self._run(node, {"x": data.x_float}, constants, (np.float32, out), precise)


_WINDOW: dict[str, Any] = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1] * 4}


def _geometry(case: Conv) -> dict[str, Any]:
    return {
        "kernel_shape": [case.kernel] * 2,
        "strides": [case.stride] * 2,
        "pads": [case.padding] * 4,
        "group": case.groups,
    }


def _onnx_gates(weight: np.ndarray) -> np.ndarray:
    """Rows in ONNX's order i, o, f, c instead of i, f, g, o."""
    i, f, g, o = np.split(weight, 4)
    return np.concatenate([i, o, f, g])


def _only(values: dict[str, np.ndarray], *names: str) -> dict[str, np.ndarray]:
    return {name: values[name] for name in names}
