"""LiteRT (TensorFlow Lite) with XNNPACK: one-operator flatbuffers, written with its own schema.

Its activations are signed and its weights have a scale to each output channel. Where its only padding,
``SAME``, is not symmetric (stride 2), it is given an image that is padded already.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import networks
from ..cases import Case, Conv, Dynamic, Elementwise, Gemm, Int4, Lstm, Network, Pool
from ..operands import OUT_ZERO, W_SCALE, X_SCALE, X_ZERO, Data
from ..tflite import Graph
from . import Runner, Variant


class LiteRt:
    """An interpreter for each variant."""

    name = "litert"

    def __init__(self, threads: int) -> None:
        from importlib.metadata import version

        from ai_edge_litert import interpreter, schema_py_generated

        self._interpreter, self._schema = interpreter, schema_py_generated
        self.version = version("ai-edge-litert")
        self._threads = threads

    def variants(self, case: Case) -> Sequence[Variant]:
        """float32 and int8; for dynamic layers int8 weights."""
        if isinstance(case, Int4 | Lstm) or (isinstance(case, Network) and case.dynamic):
            return []
        if isinstance(case, Network):
            return [
                Variant("litert fp32", "fp32", lambda data: self._network(data, "float")),
                Variant("litert int8", "int8", lambda data: self._network(data, "int8")),
            ]
        if isinstance(case, Elementwise):
            return [Variant("litert", "int8", lambda data: self._elementwise(case, data))]
        suffix = "dyn" if isinstance(case, Dynamic) else "int8"
        return [
            Variant("litert fp32", "fp32", lambda data: self._layer(case, data, False)),
            Variant(f"litert {suffix}", "int8", lambda data: self._layer(case, data, True)),
        ]

    # --- cases ------------------------------------------------------------------------------------------

    def _layer(self, case: Gemm | Conv | Pool, data: Data, integer: bool) -> Runner:
        graph = Graph(self._schema)
        static = integer and not isinstance(case, Dynamic)
        x = _signed(data.x) if static else data.x_float
        padding = 0  # SAME
        if isinstance(case, Conv | Pool):
            stride, pad = (2, 1) if isinstance(case, Pool) else (case.stride, case.padding)
            if stride > 1 and pad:
                lowest = np.iinfo(np.int8).min if static else -1e9
                edge = lowest if isinstance(case, Pool) else 0
                x = np.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)), constant_values=edge)
                padding = 1  # VALID
        graph.tensor(x.shape, x.dtype, X_SCALE if static else None)
        inputs = [0]
        if not isinstance(case, Pool):
            w = data.w if integer else data.w_float
            axis = 0
            if isinstance(case, Conv):
                axis = 3 if case.is_depthwise else 0
                w = w.transpose(1, 2, 3, 0) if case.is_depthwise else w.transpose(0, 2, 3, 1)
            scales = np.full(w.shape[axis], W_SCALE, np.float32)
            inputs.append(graph.tensor(w.shape, w.dtype, scales if integer else None, 0, axis, np.ascontiguousarray(w)))
            zeros = np.zeros(w.shape[axis], np.int32 if static else np.float32)
            scale = scales * np.float32(X_SCALE) if static else None
            inputs.append(graph.tensor(zeros.shape, zeros.dtype, scale, value=zeros))
        out_scale = X_SCALE if isinstance(case, Pool) else data.out_scale
        made = graph.tensor(_out_shape(case), x.dtype, out_scale if static else None)
        graph.operator(*self._operator(case, padding, integer), inputs, made)
        return self._run(graph, [x], made)

    def _operator(self, case: Gemm | Conv | Pool, padding: int, integer: bool) -> tuple[str, str, Any]:
        schema = self._schema
        if isinstance(case, Gemm):
            options = schema.FullyConnectedOptionsT(asymmetricQuantizeInputs=integer and isinstance(case, Dynamic))
            return "FULLY_CONNECTED", "FullyConnectedOptions", options
        if isinstance(case, Pool):
            options = schema.Pool2DOptionsT(padding=padding, strideW=2, strideH=2, filterWidth=3, filterHeight=3)
            return "MAX_POOL_2D", "Pool2DOptions", options
        if case.is_depthwise:
            options = schema.DepthwiseConv2DOptionsT(
                padding=padding, strideW=case.stride, strideH=case.stride, depthMultiplier=1
            )
            return "DEPTHWISE_CONV_2D", "DepthwiseConv2DOptions", options
        return (
            "CONV_2D",
            "Conv2DOptions",
            schema.Conv2DOptionsT(padding=padding, strideW=case.stride, strideH=case.stride),
        )

    def _elementwise(self, case: Elementwise, data: Data) -> Runner:
        graph, shape, schema = Graph(self._schema), (case.n,), self._schema
        if case.op == "quantize":
            graph.tensor(shape, np.float32, None)
            made = graph.tensor(shape, np.int8, X_SCALE)
            graph.operator("QUANTIZE", "QuantizeOptions", schema.QuantizeOptionsT(), [0], made)
            return self._run(graph, [data.x_float], made)
        graph.tensor(shape, np.int8, X_SCALE)
        if case.op == "dequantize":
            made = graph.tensor(shape, np.float32)
            graph.operator("DEQUANTIZE", "DequantizeOptions", schema.DequantizeOptionsT(), [0], made)
            return self._run(graph, [_signed(data.x)], made)
        graph.tensor(shape, np.int8, X_SCALE)
        made = graph.tensor(shape, np.int8, data.out_scale)
        graph.operator("ADD", "AddOptions", schema.AddOptionsT(), [0, 1], made)
        return self._run(graph, [_signed(data.x), _signed(data.w.view(np.uint8))], made)

    def _network(self, data: Data, name: str) -> Runner:
        model = self._interpreter.Interpreter(
            model_path=str(networks.file(data, f"{name}.tflite")), num_threads=self._threads
        )
        return self._bound(model, [np.ascontiguousarray(data.x.transpose(0, 2, 3, 1))])

    def _run(self, graph: Graph, inputs: Sequence[np.ndarray], output: int) -> Runner:
        """Interpret a graph whose first tensors are its inputs."""
        from flatbuffers import Builder

        content = graph.serialise(Builder(1024), list(range(len(inputs))), output)
        return self._bound(self._interpreter.Interpreter(model_content=content, num_threads=self._threads), inputs)

    def _bound(self, interpreter: Any, inputs: Sequence[np.ndarray]) -> Runner:
        interpreter.allocate_tensors()
        for index, array in enumerate(inputs):
            interpreter.set_tensor(interpreter.get_input_details()[index]["index"], array)
        (out,) = interpreter.get_output_details()

        def read() -> np.ndarray:
            interpreter.invoke()
            result = np.asarray(interpreter.get_tensor(out["index"]))
            return (result.astype(np.int16) + OUT_ZERO).astype(np.uint8) if result.dtype == np.int8 else result

        return Runner(interpreter.invoke, read)


def _signed(codes: np.ndarray) -> np.ndarray:
    """Codes around 128 as codes around 0."""
    return (codes.astype(np.int16) - X_ZERO).astype(np.int8)


def _out_shape(case: Gemm | Conv | Pool) -> tuple[int, ...]:
    if isinstance(case, Gemm):
        return case.m, case.n
    return 1, case.out_size, case.out_size, case.filters if isinstance(case, Conv) else case.channels
