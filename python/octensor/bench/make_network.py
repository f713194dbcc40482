"""Makes one network's files: ``python -m octensor.bench.make_network CASE FOLDER``, the case as JSON; see ``networks``.

A part whose package is missing is left out; the runtimes that need it then say so.

========================= ==========================================================================================
x.npy, y.npy              the input of the bench, and octensor's float result
weights.npz               the state dict
octensor.oct              octensor's quantized model, saved
float.onnx                PyTorch's export of the same model with the same weights
u8s8.onnx, u8u8.onnx      static: ONNX Runtime's `quantize_static`, quantize-dequantize form, weights per channel
s8.onnx, u8.onnx          dynamic: its transformer fusions, then its `quantize_dynamic`
w8.onnx                   dynamic: weights alone as integers with a scale to each output
float.pt                  PyTorch's model, traced
fbgemm.pt, onednn.pt      its eager quantization for an engine, traced; with ReLU for ReLU6, which it fuses
float.tflite, int8.tflite static: float.onnx and u8s8.onnx in LiteRT's format
========================= ==========================================================================================
"""

# mypy: disable-error-code="no-untyped-call"
from __future__ import annotations

import json
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np

import octensor as ot

from . import networks, tflite
from .cases import Network


def make(case: Network, folder: Path) -> None:
    """Write all that can be made here."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(1)
    if case.dynamic:
        x, batches = rng.standard_normal(case.shape, np.float32), []
    else:
        batches = [smooth(rng, (4, *case.shape[1:]))]
        x = batches[0][: case.shape[0]]
    library = networks.weights()
    model = library.initialise(networks.model(case), x if case.dynamic else batches[0])
    with ot.no_grad():
        y = np.asarray(model(ot.from_numpy(x)))
    np.save(folder / "x.npy", x)
    np.save(folder / "y.npy", y)
    state: dict[str, Any] = {name: np.asarray(value) for name, value in model.state_dict().items()}
    np.savez(folder / "weights.npz", **state)
    converted = library.quantize_dynamic(model) if case.dynamic else library.quantize_static(model, batches)
    ot.save(converted, folder / "octensor.oct", x)
    try:
        torch_files(case, folder, x, batches)
        onnx_files(case, folder, x, batches)
    except ImportError as error:
        print(f"octensor bench: {case.name}: no files for some runtimes: {error}", file=sys.stderr)
    (folder / "ready").touch()


def smooth(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Images as normalised photographs are: neighbours alike, values around ±2."""
    coarse = rng.standard_normal((*shape[:2], shape[2] // 8, shape[3] // 8))
    fine = rng.standard_normal(shape)
    return np.asarray(coarse.repeat(8, 2).repeat(8, 3) + 0.5 * fine, np.float32)


def torch_model(case: Network, folder: Path, changes: tuple[tuple[str, str], ...] = ()) -> Any:
    """Make PyTorch's float model with the same weights, which are found by name."""
    import torch

    made = networks.model(case, "torch", changes)
    with np.load(folder / "weights.npz") as state:
        made.load_state_dict({name: torch.from_numpy(np.asarray(value)) for name, value in state.items()})
    return made.eval()


def torch_files(case: Network, folder: Path, x: np.ndarray, batches: list[np.ndarray]) -> None:
    """Trace PyTorch's models."""
    import torch

    library, given = networks.weights("torch"), torch.from_numpy(x)
    torch.set_grad_enabled(False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.ao.quantization and torch.jit are deprecated
        torch.jit.trace(torch_model(case, folder), given).save(str(folder / "float.pt"))
        for engine in ("fbgemm", "onednn"):
            torch.backends.quantized.engine = engine
            if case.dynamic:
                model = library.quantize_dynamic(torch_model(case, folder))
            else:
                changed = torch_model(case, folder, (("ReLU6", "ReLU"),))
                model = library.quantize_static(changed, batches, engine)
            torch.jit.trace(model, given, check_trace=False).save(str(folder / f"{engine}.pt"))


def onnx_files(case: Network, folder: Path, x: np.ndarray, batches: list[np.ndarray]) -> None:
    """Export with PyTorch, quantize with ONNX Runtime."""
    import onnxruntime.quantization as tools
    import torch

    path = folder / "float.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the older exporter, which needs no further package
        torch.onnx.export(
            torch_model(case, folder),
            (torch.from_numpy(x),),
            str(path),
            dynamo=False,
            opset_version=17,
            input_names=["x"],
            output_names=["y"],
        )
    if case.dynamic:
        dynamic_files(case, folder, tools)
        return

    class Reader(tools.CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._left = [image[None] for batch in batches for image in batch]

        def get_next(self) -> dict[str, np.ndarray] | None:
            return {"x": self._left.pop()} if self._left else None

    with tempfile.TemporaryDirectory() as temporary:
        prepared = str(Path(temporary) / "prepared.onnx")
        tools.shape_inference.quant_pre_process(str(path), prepared)
        for name, kind in (("u8s8", tools.QuantType.QInt8), ("u8u8", tools.QuantType.QUInt8)):
            tools.quantize_static(
                prepared,
                str(folder / f"{name}.onnx"),
                Reader(),
                quant_format=tools.QuantFormat.QDQ,
                per_channel=True,
                activation_type=tools.QuantType.QUInt8,
                weight_type=kind,
            )
    tflite.convert(path, folder / "float.tflite")
    tflite.convert(folder / "u8s8.onnx", folder / "int8.tflite")


def dynamic_files(case: Network, folder: Path, tools: Any) -> None:
    """Fuse attention, GELU and layer norms as ONNX Runtime's users do, then quantize weights; weights alone."""
    from onnxruntime.transformers import optimizer

    hidden = case.shape[-1]
    fused = optimizer.optimize_model(
        str(folder / "float.onnx"), model_type="bert", num_heads=hidden // 64, hidden_size=hidden, opt_level=0
    )
    fused.save_model_to_file(str(folder / "fused.onnx"))
    for name, kind in (("s8", tools.QuantType.QInt8), ("u8", tools.QuantType.QUInt8)):
        tools.quantize_dynamic(
            str(folder / "fused.onnx"),
            str(folder / f"{name}.onnx"),
            weight_type=kind,
            per_channel=True,
            extra_options={"DefaultTensorType": 1},  # float32, of what the fused operators give
        )
    weight_only(folder / "float.onnx", folder / "w8.onnx")


def weight_only(source: Path, target: Path) -> None:
    """Give every constant matrix of a product a scale to each output, and dequantize it before the product."""
    import onnx

    model = onnx.load(str(source))
    graph, constants = model.graph, {c.name: c for c in model.graph.initializer}
    nodes = []
    for node in graph.node:
        if node.op_type == "MatMul" and node.input[1] in constants:
            name = node.input[1]
            w = onnx.numpy_helper.to_array(constants[name])
            scale = np.abs(w).max(0) / np.float32(127)
            graph.initializer.remove(constants[name])
            parts = {"_q": np.rint(w / scale).astype(np.int8), "_s": scale, "_z": np.zeros(scale.size, np.int8)}
            graph.initializer.extend(onnx.numpy_helper.from_array(value, name + k) for k, value in parts.items())
            nodes.append(onnx.helper.make_node("DequantizeLinear", [name + k for k in parts], [name], axis=1))
        nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)
    onnx.save(model, str(target))


if __name__ == "__main__":
    fields: dict[str, Any] = json.loads(sys.argv[1])
    lists: dict[str, Any] = {name: tuple(value) for name, value in fields.items() if isinstance(value, list)}
    made = Network(**(fields | lists))
    make(made, Path(sys.argv[2]))
