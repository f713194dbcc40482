"""Files of weights: what torch and safetensors write is read, and what is damaged is refused by name."""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

import octensor as ot
from hostile.safetensors import write as write_safetensors
from torch_files import Global, Reduce, Storage, tensor, write_legacy, write_zip

VALUES = np.arange(12, dtype=np.float32)


@pytest.mark.parametrize("legacy", [False, True])
def test_a_file_of_torch_is_read_as_data(tmp_path: Path, legacy: bool) -> None:
    storage = Storage("FloatStorage", "0", VALUES, legacy=legacy)
    codes = np.arange(6, dtype=np.uint8)
    quantized = Reduce(
        Global("torch._utils", "_rebuild_qtensor"),
        Storage("QUInt8Storage", "1", codes, legacy=legacy),
        *(0, (2, 3), (3, 1), (Global("torch", "per_tensor_affine"), 0.5, 7), False, OrderedDict()),
    )
    parameter = Reduce(
        Global("torch._utils", "_rebuild_parameter"), tensor(storage, 0, (3, 4), (4, 1)), True, OrderedDict()
    )
    saved = OrderedDict(a=parameter, b=tensor(storage, 1, (4, 2), (1, 4)), c={"epoch": 3, "q": quantized})
    if legacy:
        path = write_legacy(tmp_path / "x.pt", saved, {"0": VALUES, "1": codes})
    else:
        path = write_zip(tmp_path / "x.pt", saved, {"0": VALUES.tobytes(), "1": codes.tobytes()})
    loaded = ot.load(path)
    assert np.array_equal(loaded["a"], VALUES.reshape(3, 4))
    assert np.array_equal(loaded["b"], [[1, 5], [2, 6], [3, 7], [4, 8]])
    assert loaded["c"]["epoch"] == 3
    assert loaded["c"]["q"].q_zero_point() == 7
    assert np.array_equal(loaded["c"]["q"].int_repr(), codes.reshape(2, 3))
    layer = ot.nn.Linear(4, 3, bias=False)
    layer.load_state_dict({"weight": loaded["a"]})
    assert np.array_equal(np.asarray(layer.weight), VALUES.reshape(3, 4))


def test_damaged_files_are_refused_at_every_length(tmp_path: Path) -> None:
    storage = Storage("FloatStorage", "0", VALUES)
    whole = {
        "zip": write_zip(tmp_path / "z.pt", {"a": tensor(storage, 0, (12,), (1,))}, {"0": VALUES.tobytes()}),
        "legacy": write_legacy(
            tmp_path / "l.pt",
            {"a": tensor(Storage("FloatStorage", "0", VALUES, legacy=True), 0, (12,), (1,))},
            {"0": VALUES},
        ),
    }
    save_file({"a": VALUES}, tmp_path / "s.safetensors")
    whole["safetensors"] = tmp_path / "s.safetensors"
    for path in whole.values():
        data = path.read_bytes()
        assert np.array_equal(ot.load(path)["a"], VALUES)
        for length in range(len(data)):
            (tmp_path / "cut").write_bytes(data[:length])
            with pytest.raises(ValueError, match=r"load: cut: "):
                ot.load(tmp_path / "cut")
        rng = np.random.default_rng(0)
        for _ in range(300):  # a changed byte gives an error of the loader, or another state; nothing else
            changed = bytearray(data)
            changed[rng.integers(len(data))] = rng.integers(256)
            (tmp_path / "cut").write_bytes(changed)
            with contextlib.suppress(ValueError):
                ot.load(tmp_path / "cut")


def test_no_metadata_is_none(tmp_path: Path) -> None:
    assert ot.load(write_safetensors(tmp_path / "x", {"__metadata__": None})) == {}


def test_bfloat16_and_empty_tensors(tmp_path: Path) -> None:
    half = (np.array([1.5, -2.0], np.float32).view(np.uint32) >> 16).astype("<u2")
    entry = {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]}
    empty = {"dtype": "I64", "shape": [0, 3], "data_offsets": [4, 4]}
    loaded = ot.load(write_safetensors(tmp_path / "x", {"a": entry, "e": empty}, half.tobytes()))
    assert np.array_equal(loaded["a"], [1.5, -2.0])
    assert loaded["e"].shape == (0, 3)
