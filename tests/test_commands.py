"""`octensor quantize`, `run`, `compare` and `info FILE`: what they do, and one line for each wrong use."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import octensor as ot
from octensor import cli

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402


def _write(path: Path, nodes: list[Any], shape: list[Any], arrays: dict[str, np.ndarray], inputs: int = 1) -> Path:
    names = ["x", "z"][:inputs]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in names],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value, name) for name, value in arrays.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    path.write_bytes(model.SerializeToString())
    return path


@pytest.fixture
def files(tmp_path: Path, monkeypatch: Any) -> Path:
    """A folder with a CNN, a network of linear layers, a sum of two inputs, and samples."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)

    def floats(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape).astype(np.float32)

    node = helper.make_node
    _write(
        tmp_path / "cnn.onnx",
        [
            node("Conv", ["x", "conv.weight", "conv.bias"], ["a"], pads=[1, 1, 1, 1]),
            node("Relu", ["a"], ["b"]),
            node("GlobalAveragePool", ["b"], ["c"]),
            node("Flatten", ["c"], ["d"]),
            node("Gemm", ["d", "fc.weight", "fc.bias"], ["e"], transB=1),
            node("Softmax", ["e"], ["y"]),
        ],
        ["N", 3, 8, 8],
        {"conv.weight": floats(8, 3, 3, 3), "conv.bias": floats(8), "fc.weight": floats(5, 8), "fc.bias": floats(5)},
    )
    _write(
        tmp_path / "mlp.onnx",
        [
            node("Gemm", ["x", "a.weight", "a.bias"], ["h"], transB=1),
            node("Relu", ["h"], ["r"]),
            node("Gemm", ["r", "b.weight"], ["y"], transB=1),
        ],
        ["N", 6],
        {"a.weight": floats(16, 6), "a.bias": floats(16), "b.weight": floats(4, 16)},
    )
    _write(tmp_path / "sum.onnx", [node("Add", ["x", "z"], ["y"])], ["N", 3], {}, 2)
    np.savez(tmp_path / "images.npz", x=floats(40, 3, 8, 8))
    np.savez(tmp_path / "rows.npz", x=floats(10, 6))
    np.savez(tmp_path / "two.npz", x=floats(4, 3), z=floats(4, 3))
    return tmp_path


@pytest.mark.parametrize(
    ("model", "data", "options"),
    [
        ("cnn", "images", []),
        ("cnn", "images", ["--no-per-channel", "--observer", "minmax", "--batch", "7"]),
        ("mlp", "rows", ["--observer", "mse"]),
        ("mlp", "rows", ["--dynamic"]),
    ],
)
def test_quantize_run_and_compare(files: Path, capsys: Any, model: str, data: str, options: list[str]) -> None:
    arguments = ["quantize", f"{model}.onnx", "--data", f"{data}.npz", "--out", "q.oct", "--report", "r.txt", *options]
    assert cli.main(arguments) == 0
    text = capsys.readouterr().out
    assert "100.0% of" in text
    assert "times smaller" in text
    assert (files / "r.txt").read_text() == text
    assert cli.main(["run", "q.oct", "--data", f"{data}.npz", "--out", "y.npz"]) == 0
    assert "ms each" in capsys.readouterr().out
    assert cli.main(["run", f"{model}.onnx", "--data", f"{data}.npz", "--out", "f.npz", "--no-compile"]) == 0
    capsys.readouterr()
    got, want = (np.load(files / name) for name in ("y.npz", "f.npz"))
    assert got.files == want.files == ["output"]
    x = ot.Tensor(np.load(files / f"{data}.npz")["x"])
    assert np.array_equal(got["output"], np.asarray(ot.load(files / "q.oct")(x)))
    assert cli.main(["compare", f"{model}.onnx", "q.oct", "--data", f"{data}.npz"]) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("output  "))
    (row,) = [line for line in text.splitlines() if line.startswith("output  ") and " dB" in line]
    noise = want["output"].astype(np.float64) - got["output"]
    sqnr = 10 * np.log10((want["output"].astype(np.float64) ** 2).sum() / (noise**2).sum())
    assert f"{sqnr:.1f} dB" in row
    assert sqnr > 25
    assert line != row or "dB" in line


def test_info_of_files(files: Path, capsys: Any) -> None:
    assert cli.main(["quantize", "cnn.onnx", "--data", "images.npz", "--out", "q.oct"]) == 0
    capsys.readouterr()
    for name, parts in {
        "cnn.onnx": ["input   x: of any type", "1 Conv2d"],
        "q.oct": ["input   x: float32 (32, 3, 8, 8)", "1 conv2d", "256 qint8"],
    }.items():
        assert cli.main(["info", name]) == 0
        text = capsys.readouterr().out
        assert all(part in text for part in parts), text
    from safetensors.numpy import save_file

    save_file({"w": np.ones((2, 3), np.float32)}, files / "w.safetensors")
    assert cli.main(["info", "w.safetensors"]) == 0
    assert "w       float32  (2, 3)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("quantize nothing.onnx --data rows.npz --out q.oct", "nothing.onnx: expected a model file, found none"),
        ("quantize mlp.onnx --data nothing.npz --out q.oct", "nothing.npz: expected a file, found none"),
        ("quantize mlp.onnx --data rows.npz --out q.onnx", "ends in .oct"),
        ("quantize rows.npz --data rows.npz --out q.oct", "ends in .onnx or .oct"),
        ("quantize m.oct --data rows.npz --out q.oct", "expected a float .onnx model"),
        ("quantize mlp.onnx --data rows.npz --out q.oct --dynamic --observer mse", "observes nothing"),
        ("quantize mlp.onnx --data images.npz --out q.oct", "expected"),
        ("quantize mlp.onnx --data cut.npz --out q.oct", "expected an .npz or .npy file of arrays"),
        ("quantize mlp.onnx --data rows.npz --out q.oct --batch 0", "expected a positive integer"),
        ("quantize mlp.onnx --data nan.npz --out q.oct", "expected finite values"),
        ("quantize mlp.onnx --data rows.npz --out no/q.oct", "no"),
        ("quantize sum.onnx --data rows.npz --out q.oct", "expected arrays named x, z"),
        ("quantize sum.onnx --data two.npz --out q.oct --dynamic", "quantize_dynamic"),
        ("quantize bad.onnx --data rows.npz --out q.oct", "bad.onnx"),
        ("run mlp.onnx --data objects.npz", "expected an .npz or .npy file of arrays"),
        ("run mlp.onnx --data empty.npz", "at least one"),
        ("run mlp.onnx --data rows.npz --out y.txt", "ends in .npz"),
        ("run bad.oct --data rows.npz", "bad.oct"),
        ("compare mlp.onnx sum.onnx --data rows.npz", "expected arrays named x, z"),
        ("compare mlp.onnx cnn.onnx --data rows.npz", "expected"),
        ("info nothing.oct", "found none"),
        ("info cut.npz", "expected a zip archive"),
    ],
)
def test_wrong_uses_are_one_line(files: Path, capsys: Any, arguments: str, message: str) -> None:
    np.savez(files / "nan.npz", x=np.full((2, 6), np.nan, np.float32))
    np.savez(files / "empty.npz", x=np.zeros((0, 6), np.float32))
    np.savez(files / "objects.npz", x=np.array([{"a": 1}], object))
    (files / "cut.npz").write_bytes((files / "rows.npz").read_bytes()[:50])
    (files / "bad.onnx").write_bytes(b"not a model")
    (files / "bad.oct").write_bytes(b"not a model")
    (files / "m.oct").write_bytes(b"")
    assert cli.main(arguments.split()) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith(f"octensor {arguments.split()[0]}: ")
    assert error.count("\n") == 1
    assert not (files / "q.oct").exists()


def test_the_parser_knows_its_options(files: Path, capsys: Any) -> None:
    for arguments in (["quantize"], ["quantize", "a", "--observer", "x"], ["run", "a"], ["nothing"]):
        with pytest.raises(SystemExit) as stop:
            cli.main(arguments)
        assert stop.value.code == 2
    capsys.readouterr()
    command = [sys.executable, "-m", "octensor", "quantize", "--help"]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "--observer" in text
    assert "percentile" in text


def test_a_model_of_token_ids(tmp_path: Path, capsys: Any) -> None:
    """Its ids go through operators on whole numbers, which the file holds."""
    table = np.random.default_rng(0).standard_normal((9, 4)).astype(np.float32)
    weight = np.random.default_rng(1).standard_normal((4, 3)).astype(np.float32)
    nodes = [
        helper.make_node("Unsqueeze", ["ids", "axes"], ["up"]),
        helper.make_node("Cast", ["up"], ["real"], to=TensorProto.FLOAT),
        helper.make_node("Gather", ["table", "ids"], ["rows"]),
        helper.make_node("MatMul", ["rows", "weight"], ["product"]),
        helper.make_node("Mul", ["product", "real"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("ids", TensorProto.INT64, ["n", 5])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(a, n) for n, a in {"table": table, "weight": weight, "axes": np.array([2])}.items()],
    )
    path = tmp_path / "ids.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    np.savez(tmp_path / "ids.npz", ids=np.arange(20).reshape(4, 5) % 9)
    out = tmp_path / "out.oct"
    for options in (["--dynamic"], []):
        assert cli.main(["quantize", str(path), "--data", str(tmp_path / "ids.npz"), "--out", str(out), *options]) == 0
        text = capsys.readouterr().out
        assert "100.0% of" in text
        assert "qint8 per-channel" in text
        assert "runs node by node" not in text
