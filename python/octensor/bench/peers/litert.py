"""LiteRT (TensorFlow Lite) with XNNPACK: one-operator flatbuffers, written with its own schema.

Its activations are signed and its weights have a scale to each output channel. Where its only padding,
``SAME``, is not symmetric (stride 2), it is given an image that is padded already.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..cases import Case, Conv, Dynamic, Elementwise, Gemm, Int4, Lstm, Network, Pool
from ..operands import OUT_ZERO, W_SCALE, X_SCALE, X_ZERO, Data
from . import Runner, Variant


class LiteRt:
    """An interpreter for each variant."""

    name = "litert"

    def __init__(self, threads: int) -> None:
        from importlib.metadata import version

        from ai_edge_litert import interpreter, schema_py_generated
        from flatbuffers import Builder

        self._interpreter, self._schema, self._builder = interpreter, schema_py_generated, Builder
        self.version = version("ai-edge-litert")
        self._threads = threads

    def variants(self, case: Case) -> Sequence[Variant]:
        """float32 and int8; for dynamic layers int8 weights."""
        if isinstance(case, Int4 | Lstm | Network):
            return []
        if isinstance(case, Elementwise):
            return [Variant("litert", "int8", lambda data: self._elementwise(case, data))]
        suffix = "dyn" if isinstance(case, Dynamic) else "int8"
        return [
            Variant("litert fp32", "fp32", lambda data: self._layer(case, data, False)),
            Variant(f"litert {suffix}", "int8", lambda data: self._layer(case, data, True)),
        ]

    # --- cases ------------------------------------------------------------------------------------------

    def _layer(self, case: Gemm | Conv | Pool, data: Data, integer: bool) -> Runner:
        graph = _Graph(self._schema)
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
            inputs.append(graph.tensor(w.shape, w.dtype, scales if integer else None, axis, np.ascontiguousarray(w)))
            zeros = np.zeros(w.shape[axis], np.int32 if static else np.float32)
            scale = scales * np.float32(X_SCALE) if static else None
            inputs.append(graph.tensor(zeros.shape, zeros.dtype, scale, 0, zeros))
        out_scale = X_SCALE if isinstance(case, Pool) else data.out_scale
        graph.tensor(_out_shape(case), x.dtype, out_scale if static else None)
        graph.operator(*self._operator(case, padding, integer), inputs)
        return self._run(graph, [x])

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
        graph, shape, schema = _Graph(self._schema), (case.n,), self._schema
        if case.op == "quantize":
            graph.tensor(shape, np.float32, None)
            graph.tensor(shape, np.int8, X_SCALE)
            graph.operator("QUANTIZE", "QuantizeOptions", schema.QuantizeOptionsT(), [0])
            return self._run(graph, [data.x_float])
        graph.tensor(shape, np.int8, X_SCALE)
        if case.op == "dequantize":
            graph.tensor(shape, np.float32, None)
            graph.operator("DEQUANTIZE", "DequantizeOptions", schema.DequantizeOptionsT(), [0])
            return self._run(graph, [_signed(data.x)])
        graph.tensor(shape, np.int8, X_SCALE)
        graph.tensor(shape, np.int8, data.out_scale)
        graph.operator("ADD", "AddOptions", schema.AddOptionsT(), [0, 1])
        return self._run(graph, [_signed(data.x), _signed(data.w.view(np.uint8))])

    def _run(self, graph: _Graph, inputs: Sequence[np.ndarray]) -> Runner:
        content = graph.serialise(self._builder, len(inputs))
        interpreter = self._interpreter.Interpreter(model_content=content, num_threads=self._threads)
        interpreter.allocate_tensors()
        for index, array in enumerate(inputs):
            interpreter.set_tensor(interpreter.get_input_details()[index]["index"], array)
        (out,) = interpreter.get_output_details()

        def read() -> np.ndarray:
            interpreter.invoke()
            result = np.asarray(interpreter.get_tensor(out["index"]))
            return (result.astype(np.int16) + OUT_ZERO).astype(np.uint8) if result.dtype == np.int8 else result

        return Runner(interpreter.invoke, read)


class _Graph:
    """Tensors and one operator, whose last tensor is its result."""

    def __init__(self, schema: Any) -> None:
        self._schema = schema
        self._tensors: list[Any] = []
        self._buffers = [schema.BufferT()]
        self._codes: list[Any] = []
        self._operators: list[Any] = []

    def tensor(
        self, shape: Sequence[int], dtype: Any, scale: Any, axis: int = 0, value: np.ndarray | None = None
    ) -> int:
        """Add a tensor, constant where it has a value, quantized where it has a scale; return its index."""
        types = self._schema.TensorType
        kind = {"float32": types.FLOAT32, "int8": types.INT8, "int32": types.INT32}[np.dtype(dtype).name]
        made = self._schema.TensorT(shape=list(shape), type=kind, name=f"t{len(self._tensors)}".encode())
        if scale is not None:
            scales = np.atleast_1d(np.asarray(scale, np.float32))
            made.quantization = self._schema.QuantizationParametersT(
                scale=scales, zeroPoint=np.zeros(scales.size, np.int64), quantizedDimension=axis
            )
        if value is not None:
            made.buffer = len(self._buffers)
            self._buffers.append(self._schema.BufferT(data=np.frombuffer(value.tobytes(), np.uint8)))
        self._tensors.append(made)
        return len(self._tensors) - 1

    def operator(self, code: str, options_type: str, options: Any, inputs: Sequence[int]) -> None:
        """Set the operator; version 3 or later of those that have quantized forms."""
        number = getattr(self._schema.BuiltinOperator, code)
        self._codes.append(self._schema.OperatorCodeT(deprecatedBuiltinCode=number, builtinCode=number, version=3))
        made = self._schema.OperatorT(inputs=list(inputs), outputs=[len(self._tensors) - 1])
        made.builtinOptionsType = getattr(self._schema.BuiltinOptions, options_type)
        made.builtinOptions = options
        self._operators.append(made)

    def serialise(self, builder_type: Any, inputs: int) -> bytes:
        """Write the flatbuffer; the first tensors are the inputs."""
        part = self._schema.SubGraphT(tensors=self._tensors, operators=self._operators)
        part.inputs, part.outputs = list(range(inputs)), [len(self._tensors) - 1]
        model = self._schema.ModelT(version=3, operatorCodes=self._codes, subgraphs=[part], buffers=self._buffers)
        builder = builder_type(1024)
        builder.Finish(model.Pack(builder), b"TFL3")
        return bytes(builder.Output())


def _signed(codes: np.ndarray) -> np.ndarray:
    """Codes around 128 as codes around 0."""
    return (codes.astype(np.int16) - X_ZERO).astype(np.int8)


def _out_shape(case: Gemm | Conv | Pool) -> tuple[int, ...]:
    if isinstance(case, Gemm):
        return case.m, case.n
    return 1, case.out_size, case.out_size, case.filters if isinstance(case, Conv) else case.channels
