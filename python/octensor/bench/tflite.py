"""Writes a convolutional network of ONNX as LiteRT's flatbuffer: what ``make_network`` needs, no more.

Two forms of the graph are read: float32, where ReLU and Clip become the activation of the layer before; and
quantize-dequantize form, where u8 codes become s8 codes (zero points less 128). LiteRT has no symmetric padding at
stride 2: there a PAD goes before, as its own converters do.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np


class Graph:
    """Tensors and operators of a flatbuffer.

    Parameters
    ----------
    schema : module
        ``ai_edge_litert.schema_py_generated``.
    """

    def __init__(self, schema: Any) -> None:
        self._schema = schema
        self._tensors: list[Any] = []
        self._buffers = [schema.BufferT()]
        self._codes: list[Any] = []
        self._operators: list[Any] = []

    def tensor(
        self,
        shape: Any,
        dtype: Any,
        scale: Any = None,
        zero: int = 0,
        axis: int = 0,
        value: np.ndarray | None = None,
    ) -> int:
        """Add a tensor, constant where it has a value, quantized where it has a scale; return its index."""
        types = self._schema.TensorType
        kind = {"float32": types.FLOAT32, "int8": types.INT8, "int32": types.INT32}[np.dtype(dtype).name]
        made = self._schema.TensorT(shape=list(shape), type=kind, name=f"t{len(self._tensors)}".encode())
        if scale is not None:
            scales = np.atleast_1d(np.asarray(scale, np.float32))
            made.quantization = self._schema.QuantizationParametersT(
                scale=scales, zeroPoint=np.full(scales.size, zero, np.int64), quantizedDimension=axis
            )
        if value is not None:
            made.buffer = len(self._buffers)
            self._buffers.append(self._schema.BufferT(data=np.frombuffer(value.tobytes(), np.uint8)))
        self._tensors.append(made)
        return len(self._tensors) - 1

    def operator(self, code: str, options_type: str, options: Any, inputs: list[int], output: int) -> None:
        """Add an operator; version 3 of those that have quantized forms."""
        number = getattr(self._schema.BuiltinOperator, code)
        made = self._schema.OperatorT(inputs=inputs, outputs=[output], opcodeIndex=len(self._codes))
        self._codes.append(self._schema.OperatorCodeT(deprecatedBuiltinCode=number, builtinCode=number, version=3))
        made.builtinOptionsType = getattr(self._schema.BuiltinOptions, options_type)
        made.builtinOptions = options
        self._operators.append(made)

    def serialise(self, builder: Any, inputs: list[int], output: int) -> bytes:
        """Write the flatbuffer with a ``flatbuffers.Builder``."""
        part = self._schema.SubGraphT(tensors=self._tensors, operators=self._operators)
        part.inputs, part.outputs = inputs, [output]
        model = self._schema.ModelT(version=3, operatorCodes=self._codes, subgraphs=[part], buffers=self._buffers)
        builder.Finish(model.Pack(builder), b"TFL3")
        return bytes(builder.Output())


class _Walk:
    """One pass over the nodes; values are known by the names of ONNX."""

    def __init__(self, model: Any, onnx: Any, schema: Any) -> None:
        self.schema, self.graph = schema, Graph(schema)
        array, get = onnx.numpy_helper.to_array, onnx.helper.get_attribute_value
        self.constants = {c.name: array(c) for c in model.graph.initializer}
        self.attributes: Callable[[Any], dict[str, Any]] = lambda node: {a.name: get(a) for a in node.attribute}
        self.nodes = list(model.graph.node)
        self.source = {o: n for n in self.nodes for o in n.output}
        self.readers: dict[str, list[Any]] = {}
        for node in self.nodes:
            for name in node.input:
                self.readers.setdefault(name, []).append(node)
        self.quantized = any(n.op_type == "QuantizeLinear" for n in self.nodes)
        self.index: dict[str, int] = {}  # tensors by the name of their float value
        self.shape: dict[str, tuple[int, ...]] = {}  # channels last

    def scale(self, name: str) -> dict[str, Any]:
        """Qparams that a value is quantized with, if it is."""
        for node in self.readers.get(name, []):
            if node.op_type == "QuantizeLinear":
                zero = int(self.constants[node.input[2]]) - 128
                return {"scale": self.constants[node.input[1]], "zero": zero}
        return {}

    def value(self, name: str) -> str:
        """Follow dequantize and quantize back to the value's first name."""
        while name in self.source and self.source[name].op_type in ("DequantizeLinear", "QuantizeLinear"):
            name = self.source[name].input[0]
        return name

    def weight(self, name: str, transpose: tuple[int, ...], axis: int) -> int:
        """Add a constant, of integers where it is dequantized."""
        node = self.source.get(name)
        quantization: dict[str, Any] = {}
        if node is not None:
            name = node.input[0]
            quantization = {"scale": self.constants[node.input[1]], "axis": axis}
        found = np.ascontiguousarray(self.constants[name].transpose(transpose))
        return self.graph.tensor(found.shape, found.dtype, value=found, **quantization)

    def emit(self, node: Any, code: str, options_type: str, options: Any, inputs: list[int], shape: Any) -> None:
        """Add the operator of a node, with the activation that follows it."""
        last = node.output[0]
        readers = self.readers.get(last, [])
        if len(readers) == 1 and readers[0].op_type in ("Relu", "Clip"):
            kinds = self.schema.ActivationFunctionType
            options.fusedActivationFunction = kinds.RELU if readers[0].op_type == "Relu" else kinds.RELU6
            last = readers[0].output[0]
        made = self.graph.tensor(shape, np.int8 if self.quantized else np.float32, **self.scale(last))
        self.graph.operator(code, options_type, options, inputs, made)
        self.index[last], self.shape[last] = made, tuple(shape)

    def padded(self, name: str, pad: int, lowest: bool = False) -> int:
        """Put a PAD before a layer of stride 2."""
        n, h, w, c = self.shape[name]
        shape, quantization = (n, h + 2 * pad, w + 2 * pad, c), self.scale(name)
        widths = np.array([[0, 0], [pad, pad], [pad, pad], [0, 0]], np.int32)
        inputs = [self.index[name], self.graph.tensor(widths.shape, np.int32, value=widths)]
        code, options = "PAD", self.schema.PadOptionsT()
        dtype = np.dtype(np.int8 if self.quantized else np.float32)
        if lowest:
            edge = np.full((1,), -128 if self.quantized else -1e30, dtype)
            inputs.append(self.graph.tensor((1,), dtype, value=edge, **quantization))
            code, options = "PADV2", self.schema.PadV2OptionsT()
        made = self.graph.tensor(shape, dtype, **quantization)
        self.graph.operator(code, f"{'PadV2' if lowest else 'Pad'}Options", options, inputs, made)
        return made

    def window(self, node: Any, x: str, channels: int) -> tuple[dict[str, int], int, tuple[int, ...]]:
        """Return stride and padding settings, the input, and the result's shape of a layer with a window."""
        attributes = self.attributes(node)
        kernel, stride, pad = attributes["kernel_shape"][0], attributes["strides"][0], attributes["pads"][0]
        size = (self.shape[x][1] + 2 * pad - kernel) // stride + 1
        given = self.padded(x, pad, node.op_type == "MaxPool") if stride > 1 and pad else self.index[x]
        settings = {"padding": int(stride > 1), "strideW": stride, "strideH": stride}
        return settings, given, (1, size, size, channels)

    def step(self, node: Any) -> None:
        """Write one node."""
        if node.op_type in ("QuantizeLinear", "DequantizeLinear", "Relu", "Clip", "Constant"):
            return
        schema, x = self.schema, self.value(node.input[0])
        kind = node.op_type
        if kind == "Conv":
            group = self.attributes(node).get("group", 1)
            order, axis = ((1, 2, 3, 0), 3) if group > 1 else ((0, 2, 3, 1), 0)
            bias = self.weight(node.input[2], (0,), 0)
            weight = self.weight(node.input[1], order, axis)
            filters = self.constants[self.value(node.input[1])].shape[0]
            settings, given, shape = self.window(node, x, filters)
            if group > 1:
                options = schema.DepthwiseConv2DOptionsT(depthMultiplier=1, **settings)
                self.emit(node, "DEPTHWISE_CONV_2D", "DepthwiseConv2DOptions", options, [given, weight, bias], shape)
            else:
                options = schema.Conv2DOptionsT(**settings)
                self.emit(node, "CONV_2D", "Conv2DOptions", options, [given, weight, bias], shape)
        elif kind == "MaxPool":
            settings, given, shape = self.window(node, x, self.shape[x][3])
            side = self.attributes(node)["kernel_shape"][0]
            options = schema.Pool2DOptionsT(filterWidth=side, filterHeight=side, **settings)
            self.emit(node, "MAX_POOL_2D", "Pool2DOptions", options, [given], shape)
        elif kind == "Add":
            inputs = [self.index[self.value(name)] for name in node.input]
            self.emit(node, "ADD", "AddOptions", schema.AddOptionsT(), inputs, self.shape[x])
        elif kind == "GlobalAveragePool":
            axes = np.array([1, 2], np.int32)
            inputs = [self.index[x], self.graph.tensor((2,), np.int32, value=axes)]
            shape = (1, 1, 1, self.shape[x][3])
            self.emit(node, "MEAN", "ReducerOptions", schema.ReducerOptionsT(keepDims=True), inputs, shape)
        elif kind == "Flatten":  # one value to a channel: a fully-connected layer takes it as it is
            self.index[node.output[0]], self.shape[node.output[0]] = self.index[x], self.shape[x]
        elif kind == "Gemm":
            weight, bias = self.weight(node.input[1], (0, 1), 0), self.weight(node.input[2], (0,), 0)
            shape = (1, self.constants[self.value(node.input[1])].shape[0])
            options = schema.FullyConnectedOptionsT()
            self.emit(node, "FULLY_CONNECTED", "FullyConnectedOptions", options, [self.index[x], weight, bias], shape)
        else:
            raise ValueError(f"tflite: expected no {kind}")


def convert(source: Path, target: Path) -> None:
    """Write an ONNX file with input x [1, C, H, W] as a flatbuffer with input [1, H, W, C]."""
    import onnx
    from ai_edge_litert import schema_py_generated as schema
    from flatbuffers import Builder

    model = onnx.load(str(source))
    walk = _Walk(model, onnx, schema)
    n, c, h, w = (d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim)
    first = walk.graph.tensor((n, h, w, c), np.float32)
    walk.index["x"], walk.shape["x"] = first, (n, h, w, c)
    if walk.quantized:
        walk.index["x"] = walk.graph.tensor((n, h, w, c), np.int8, **walk.scale("x"))
        walk.graph.operator("QUANTIZE", "QuantizeOptions", schema.QuantizeOptionsT(), [first], walk.index["x"])
    for node in walk.nodes:
        walk.step(node)
    name = walk.value(model.graph.output[0].name)
    last = walk.index[name]
    if walk.quantized:
        made = walk.graph.tensor(walk.shape[name], np.float32)
        walk.graph.operator("DEQUANTIZE", "DequantizeOptions", schema.DequantizeOptionsT(), [last], made)
        last = made
    target.write_bytes(walk.graph.serialise(Builder(1 << 20), [first], last))
