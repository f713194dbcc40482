"""OpenVINO: small ONNX models in dequantize - operation - quantize form, which it turns into int8 kernels.

Images go in and come out channels-last, so that no layout is changed inside. The precision of float models
is fixed: on CPUs that have it, bfloat16 would be taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np

from .. import networks
from ..cases import Case, Conv, Dynamic, Elementwise, Gemm, Int4, Lstm, Network, Pool
from ..operands import OUT_ZERO, W_SCALE, X_SCALE, X_ZERO, Data
from . import Runner, Variant


class OpenVino:
    """A compiled model for each variant."""

    name = "openvino"

    def __init__(self, threads: int) -> None:
        import openvino

        self._ov = openvino
        self.version = str(openvino.__version__).split("-")[0]
        self._core = openvino.Core()
        self._settings = {
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "f32",
            "ENABLE_CPU_PINNING": False,
        }

    @cached_property
    def _onnx(self) -> Any:
        """What builds models; a network's exist already, and its memory is not OpenVINO's."""
        import onnx

        return onnx

    def variants(self, case: Case) -> Sequence[Variant]:
        """float32 and int8; for dynamic layers float32 and 8-bit weights."""
        if isinstance(case, Network):
            fp32 = Variant("openvino fp32", "fp32", lambda data: self._network(data, "float"))
            if case.dynamic:
                return [fp32, Variant("openvino w8 dynq", "int8", lambda data: self._network(data, "w8"))]
            return [fp32, Variant("openvino int8", "int8", lambda data: self._network(data, "u8s8"))]
        if isinstance(case, Int4 | Elementwise | Lstm):
            return []
        if isinstance(case, Dynamic):
            return [
                Variant("openvino fp32", "fp32", lambda data: self._run(case, data, "float")),
                Variant("openvino w8 dynq", "int8", lambda data: self._run(case, data, "weights")),
            ]
        return [
            Variant("openvino fp32", "fp32", lambda data: self._run(case, data, "float")),
            Variant("openvino int8", "int8", lambda data: self._run(case, data, "static")),
        ]

    def _run(self, case: Gemm | Conv | Pool, data: Data, mode: str) -> Runner:
        model = self._core.read_model(self._model(case, data, mode), b"")
        return self._request(model, data.x if mode == "static" else data.x_float, mode == "weights")

    def _network(self, data: Data, name: str) -> Runner:
        return self._request(self._core.read_model(networks.file(data, f"{name}.onnx")), data.x, name == "w8")

    def _request(self, model: Any, x: np.ndarray, weights_only: bool) -> Runner:
        """Compile a model of one input and one output."""
        settings = dict(self._settings)
        if weights_only:
            settings["DYNAMIC_QUANTIZATION_GROUP_SIZE"] = 128
        request = self._core.compile_model(model, "CPU", settings).create_infer_request()
        tensor = self._ov.Tensor(x, shared_memory=True)
        request.set_input_tensor(tensor)
        alive = x, tensor, model  # the request holds pointers only

        def call() -> None:
            request.start_async()  # quicker than infer(), which builds a dictionary of results
            request.wait()

        def read() -> np.ndarray:
            call()
            assert alive
            return np.array(request.get_output_tensor().data)

        return Runner(call, read)

    def _model(self, case: Gemm | Conv | Pool, data: Data, mode: str) -> bytes:
        make, array = self._onnx.helper, self._onnx.numpy_helper.from_array
        nodes: list[Any] = []
        constants: list[Any] = []
        static, image = mode == "static", not isinstance(case, Gemm)
        last = "x"

        def then(kind: str, *others: str, **settings: Any) -> None:
            nonlocal last
            nodes.append(make.make_node(kind, [last, *others], [f"v{len(nodes)}"], **settings))
            last = f"v{len(nodes) - 1}"

        def quantization(name: str, scale: float, zero: Any) -> list[str]:
            constants.extend([array(np.float32(scale), f"{name}s"), array(zero, f"{name}z")])
            return [f"{name}s", f"{name}z"]

        w_name = "w"
        if not isinstance(case, Pool):
            w = data.w_float if mode == "float" else data.w
            constants.append(array(w if image else np.ascontiguousarray(w.T), "w"))
            if mode != "float":
                w_name = "wf"
                nodes.append(make.make_node("DequantizeLinear", ["w", *quantization("w", W_SCALE, np.int8(0))], ["wf"]))
        # Transposes stand where OpenVINO sees through them: after dequantizing, after quantizing.
        if static:
            then("DequantizeLinear", *quantization("x", X_SCALE, np.uint8(X_ZERO)))
        if image:
            then("Transpose", perm=[0, 3, 1, 2])
        if isinstance(case, Pool):
            then("MaxPool", kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
        elif isinstance(case, Conv):
            then("Conv", w_name, **_geometry(case))
        else:
            then("MatMul", w_name)
        if static:
            out = (X_SCALE, np.uint8(X_ZERO)) if isinstance(case, Pool) else (data.out_scale, np.uint8(OUT_ZERO))
            then("QuantizeLinear", *quantization("y", *out))
        if image:
            then("Transpose", perm=[0, 2, 3, 1])
        codes = make.np_dtype_to_tensor_dtype(np.dtype(np.uint8 if static else np.float32))
        given, result = _shapes(case)
        ends = [make.make_tensor_value_info(n, codes, shape) for n, shape in (("x", given), (last, result))]
        graph = make.make_graph(nodes, "bench", ends[:1], ends[1:], constants)
        model = make.make_model(graph, opset_imports=[make.make_opsetid("", 17)], ir_version=10)
        return bytes(model.SerializeToString())


def _geometry(case: Conv) -> dict[str, Any]:
    return {
        "kernel_shape": [case.kernel] * 2,
        "strides": [case.stride] * 2,
        "pads": [case.padding] * 4,
        "group": case.groups,
    }


def _shapes(case: Gemm | Conv | Pool) -> tuple[list[int], list[int]]:
    if isinstance(case, Gemm):
        return [case.m, case.k], [case.m, case.n]
    filters = case.filters if isinstance(case, Conv) else case.channels
    return [1, case.size, case.size, case.channels], [1, case.out_size, case.out_size, filters]
