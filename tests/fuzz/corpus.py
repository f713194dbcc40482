"""Small valid files of every kind, from which the fuzzers start."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

TESTS = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TESTS))
MOST_BYTES = 2000  # of an ONNX model
PER_OPERATOR = 3


def torch_files(folder: Path) -> list[Path]:
    """Files as torch.save writes them, in both containers."""
    import torch_files as made_by

    values = np.arange(12, dtype=np.float32)
    codes = np.arange(6, dtype=np.uint8)
    made = []
    for legacy in (False, True):
        storage = made_by.Storage("FloatStorage", "0", values, legacy=legacy)
        other = made_by.Storage("QUInt8Storage", "1", codes, legacy=legacy)
        affine = (made_by.Global("torch", "per_tensor_affine"), 0.5, 7)
        rebuild = made_by.Global("torch._utils", "_rebuild_qtensor")
        saved = {
            "a": made_by.tensor(storage, 0, (3, 4), (4, 1)),
            "b": [made_by.tensor(storage, 1, (4, 2), (1, 4)), None, 2.5, "text"],
            "q": made_by.Reduce(rebuild, other, 0, (2, 3), (3, 1), affine, False, {}),
        }
        path = folder / f"torch-{legacy}.pt"
        if legacy:
            made_by.write_legacy(path, saved, {"0": values, "1": codes})
        else:
            made_by.write_zip(path, saved, {"0": values.tobytes(), "1": codes.tobytes()})
        made.append(path)
    return made


def safetensors_files(folder: Path) -> list[Path]:
    """Tensors of several dtypes, an empty one among them."""
    from safetensors.numpy import save_file

    path = folder / "a.safetensors"
    arrays = {k: np.ones((2, 3), k) for k in ("float32", "int64", "uint8", "bool", "float16")}
    save_file({**arrays, "empty": np.zeros((0, 3), np.float32)}, path, {"note": "text"})
    return [path]


def oct_files(folder: Path) -> list[Path]:
    """The models of the tests."""
    import octensor as ot
    import test_io_models as models

    made = [models.GOLDEN]
    for i, make in enumerate(models.CASES.values()):
        model, x = make()
        made.append(folder / f"{i}.oct")
        ot.save(model, made[-1], x)
    return made


def onnx_files(folder: Path) -> list[Path]:
    """The smallest of ONNX's own node tests of every operator that is read, quantized ones all, and a network."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from onnx.backend.test.case.node import collect_testcases

        cases = collect_testcases(None)
    import test_onnx_load as networks
    from octensor.onnx.importer import OPERATORS

    networks.RNG = np.random.default_rng(7)
    kept = {"cnn": networks._cnn().SerializeToString()}
    per_operator: dict[str, list[bytes]] = {}
    for case in cases:
        per_operator.setdefault(case.model.graph.node[0].op_type, []).append(case.model.SerializeToString())
    for name, models in sorted(per_operator.items()):
        if name in OPERATORS or name in ("Constant", "If", "Loop"):
            smallest = sorted(set(models), key=lambda data: (len(data), data))
            small = [data for data in smallest if len(data) < MOST_BYTES]
            kept |= {f"{name}-{i}": data for i, data in enumerate(small[: None if "Linear" in name else PER_OPERATOR])}
    made = []
    for name, data in kept.items():
        made.append(folder / f"{name}.onnx")
        made[-1].write_bytes(data)
    return made


CORPORA: dict[str, Any] = {
    "torch": torch_files,
    "safetensors": safetensors_files,
    "oct": oct_files,
    "onnx": onnx_files,
}
