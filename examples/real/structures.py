"""The nine ImageNet structures in the onnx package: they load, run in float as in ONNX Runtime, and in int8.

Their files have no weights: ConstantOfShape makes every one of them 0.02. Then all channels are equal and so are all
classes, whatever a loader does. So the weights are made random here, as a network has them before training, and what
is compared is what goes into the softmax. Images are random as well: this is about import, not about accuracy.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import common
import numpy as np
import onnx
import onnx.version_converter
import peer
from onnx import numpy_helper

import octensor as ot
from octensor import nn
from octensor.quantization import calibrate, get_default_qconfig, quantize_fx, sqnr

FOLDER = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
NAMES = tuple(path.stem.removeprefix("light_") for path in sorted(FOLDER.glob("*.onnx")))
CALIBRATION, TEST = 8, 8


def without_softmax(path: Path) -> onnx.ModelProto:
    """Return a structure whose output is what went into its last softmax."""
    model = onnx.load(path)
    graph = model.graph
    if graph.node[-1].op_type == "Softmax":
        del graph.node[-1]
        graph.output[0].name = graph.node[-1].output[0]
        graph.output[0].type.tensor_type.ClearField("shape")
    return model


def with_weights(model: onnx.ModelProto, seed: int = 0) -> onnx.ModelProto:
    """Return a structure as a network: with random weights, its input named "x"."""
    graph, rng = model.graph, np.random.default_rng(seed)
    constants = {value.name: numpy_helper.to_array(value) for value in graph.initializer}
    users = {name: (node, place) for node in graph.node for place, name in enumerate(node.input)}
    (source,) = (value for value in graph.input if value.name not in constants)
    kept, made = [], []
    for node in graph.node:
        if node.op_type == "ConstantOfShape":
            weight = _weight(rng, constants[node.input[0]], *_role(users, node.output[0]))
            made.append(numpy_helper.from_array(weight, node.output[0]))
        else:
            node.input[:] = ["x" if name == source.name else name for name in node.input]
            kept.append(node)
    source.name = "x"
    del graph.node[:], graph.input[:]
    graph.node.extend(kept)
    graph.input.append(source)
    used = {name for node in kept for name in node.input}
    others = [value for value in graph.initializer if value.name in used]
    del graph.initializer[:]
    graph.initializer.extend(others + made)
    model.ir_version = 4  # from which initializers need not be inputs
    return model


def _role(users: dict[str, tuple[onnx.NodeProto, int]], name: str) -> tuple[onnx.NodeProto, int]:
    """Return the node that computes with a weight, and which of its inputs that is; behind changes of shape."""
    node, place = users[name]
    return _role(users, node.output[0]) if node.op_type in ("Unsqueeze", "Reshape") else (node, place)


def _weight(rng: np.random.Generator, shape: np.ndarray, node: onnx.NodeProto, place: int) -> np.ndarray:
    """Return values under which the spread of what flows stays about what it is."""
    if node.op_type in ("Conv", "Gemm") and place == 1:
        inputs = np.prod(shape[1:])  # Gemm: of its transposed weight
        return rng.standard_normal(shape, np.float32) * np.float32(np.sqrt(2 / inputs))
    if (node.op_type, place) in (("BatchNormalization", 1), ("BatchNormalization", 4), ("Mul", 1)):
        return rng.uniform(0.5, 1.5, shape).astype(np.float32)
    return rng.standard_normal(shape, np.float32) * np.float32(0.1)


def images(count: int, seed: int) -> np.ndarray:
    """Return random images: patches of colour, and noise."""
    rng = np.random.default_rng(seed)
    coarse = rng.standard_normal((count, 3, 14, 14), np.float32)
    return coarse.repeat(16, 2).repeat(16, 3) + rng.standard_normal((count, 3, 224, 224), np.float32) / 2


def quantize(model: nn.Module, calibration: np.ndarray) -> nn.Module:
    """Return the int8 model."""
    prepared = quantize_fx.prepare_fx(model, {"": get_default_qconfig()})
    return quantize_fx.convert_fx(calibrate(prepared, calibration, batch_size=1))


def measure(name: str) -> list[object]:
    """Return a line of the table."""
    x, calibration = images(TEST, 1), images(CALIBRATION, 2)
    with tempfile.TemporaryDirectory() as folder:
        path, newer, target = (Path(folder) / f"{kind}.onnx" for kind in ("float", "newer", "int8"))
        structure = without_softmax(FOLDER / f"light_{name}.onnx")
        onnx.save(with_weights(onnx.version_converter.convert_version(structure, 13)), newer)  # for scales per channel
        onnx.save(with_weights(structure), path)
        theirs = common.run(peer.Session(path), x, 1)
        peer.quantize(newer, target, calibration[:, None])
        noise = sqnr(theirs, common.run(peer.Session(target), x, 1))
        start = time.perf_counter()
        model = ot.onnx.load(path)
        took = time.perf_counter() - start
    expected = common.run(model, x, 1)
    int8 = quantize(model, calibration)
    got = common.run(int8, x, 1)
    error = f"{common.relative_error(theirs, expected):.1e}"
    return [name, f"{took:.1f}", error, sqnr(expected, got), noise, common.as_program(int8, ot.from_numpy(x[:1]))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", default=NAMES, help=f"of {', '.join(NAMES)}")
    given = parser.parse_args()
    rows = []
    for name in given.names:
        rows.append(measure(name))
        print(*rows[-1], flush=True)
    columns = ["load, s", "float, to ONNX Runtime's", "int8, dB", "ONNX Runtime's int8, dB", "int8 as a program"]
    common.table("ImageNet structures with random weights", columns, rows)


if __name__ == "__main__":
    main()
