"""Files of weights: what torch and safetensors write is read, and what is damaged or hostile is refused by name."""

from __future__ import annotations

import contextlib
import io
import json
import pickle
import struct
import tracemalloc
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from safetensors.numpy import save_file

import octensor as ot
from octensor.io.pickle_data import read_pickle
from octensor.io.torch_file import LEGACY_MAGIC, LEGACY_PROTOCOL


class _Global:
    """Pickles as the name of a global, or as a call of it."""

    def __init__(self, module: str, name: str) -> None:
        self.module, self.name = module, name


class _Reduce:
    def __init__(self, function: _Global, *args: Any) -> None:
        self.function, self.args = function, args


class _Storage:
    def __init__(self, kind: str, key: str, values: np.ndarray, count: int | None = None, legacy: bool = False) -> None:
        self.id = ("storage", _Global("torch", kind), key, "cpu", values.size if count is None else count)
        self.id += (None,) if legacy else ()


class _Pickler(pickle._Pickler):  # the one in Python, whose dispatch can be extended
    dispatch: ClassVar = dict(pickle._Pickler.dispatch)

    def persistent_id(self, obj: Any) -> Any:
        return obj.id if isinstance(obj, _Storage) else None

    def save_stub(self, obj: _Global) -> None:
        self.write(pickle.GLOBAL + f"{obj.module}\n{obj.name}\n".encode())

    def save_call(self, obj: _Reduce) -> None:
        self.save(obj.function)
        self.save(obj.args)
        self.write(pickle.REDUCE)

    dispatch[_Global] = save_stub
    dispatch[_Reduce] = save_call


def _pickled(value: Any) -> bytes:
    buffer = io.BytesIO()
    _Pickler(buffer, 2).dump(value)
    return buffer.getvalue()


def _tensor(storage: _Storage, offset: Any, size: Any, stride: Any) -> _Reduce:
    rebuild = _Global("torch._utils", "_rebuild_tensor_v2")
    return _Reduce(rebuild, storage, offset, size, stride, False, OrderedDict())


def _zip(path: Path, saved: Any, storages: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("model/data.pkl", _pickled(saved))
        archive.writestr("model/byteorder", "little", zipfile.ZIP_STORED)
        for key, data in storages.items():
            archive.writestr(f"model/data/{key}", data)
    return path


def _legacy(path: Path, saved: Any, storages: dict[str, np.ndarray]) -> Path:
    parts = [_pickled(v) for v in (LEGACY_MAGIC, LEGACY_PROTOCOL, {"little_endian": True}, saved, list(storages))]
    path.write_bytes(b"".join(parts) + b"".join(struct.pack("<q", v.size) + v.tobytes() for v in storages.values()))
    return path


VALUES = np.arange(12, dtype=np.float32)


@pytest.mark.parametrize("legacy", [False, True])
def test_a_file_of_torch_is_read_as_data(tmp_path: Path, legacy: bool) -> None:
    storage = _Storage("FloatStorage", "0", VALUES, legacy=legacy)
    codes = np.arange(6, dtype=np.uint8)
    quantized = _Reduce(
        _Global("torch._utils", "_rebuild_qtensor"),
        _Storage("QUInt8Storage", "1", codes, legacy=legacy),
        *(0, (2, 3), (3, 1), (_Global("torch", "per_tensor_affine"), 0.5, 7), False, OrderedDict()),
    )
    parameter = _Reduce(
        _Global("torch._utils", "_rebuild_parameter"), _tensor(storage, 0, (3, 4), (4, 1)), True, OrderedDict()
    )
    saved = OrderedDict(a=parameter, b=_tensor(storage, 1, (4, 2), (1, 4)), c={"epoch": 3, "q": quantized})
    if legacy:
        path = _legacy(tmp_path / "x.pt", saved, {"0": VALUES, "1": codes})
    else:
        path = _zip(tmp_path / "x.pt", saved, {"0": VALUES.tobytes(), "1": codes.tobytes()})
    loaded = ot.load(path)
    assert np.array_equal(loaded["a"], VALUES.reshape(3, 4))
    assert np.array_equal(loaded["b"], [[1, 5], [2, 6], [3, 7], [4, 8]])
    assert loaded["c"]["epoch"] == 3
    assert loaded["c"]["q"].q_zero_point() == 7
    assert np.array_equal(loaded["c"]["q"].int_repr(), codes.reshape(2, 3))
    layer = ot.nn.Linear(4, 3, bias=False)
    layer.load_state_dict({"weight": loaded["a"]})
    assert np.array_equal(np.asarray(layer.weight), VALUES.reshape(3, 4))


@pytest.mark.parametrize(
    ("offset", "size", "stride"),
    [
        (0, (4, 4), (4, 1)),
        (1, (12,), (1,)),
        (0, (2, 2), (11, 1)),
        (-1, (2,), (1,)),
        (0, (2,), (-1,)),
        (0, (-2,), (1,)),
        (0, (2, 2), (1,)),
        (0, (1 << 31, 1 << 31), (0, 0)),
        (0, (1 << 40,), (0,)),
        (0, (4194305, 211106198978564), (1, 1)),
        (1 << 62, (1,), (1,)),
        (0, (0, 1 << 61), (1, 1)),
        (True, (2,), (1,)),
        (0, [2], (1,)),
        (0, ("2",), (1,)),
        (0, (1,) * 33, (1,) * 33),
    ],
)
def test_a_tensor_outside_its_storage_is_refused(tmp_path: Path, offset: Any, size: Any, stride: Any) -> None:
    storage = _Storage("FloatStorage", "0", VALUES)
    path = _zip(tmp_path / "x.pt", {"a": _tensor(storage, offset, size, stride)}, {"0": VALUES.tobytes()})
    with pytest.raises(ValueError, match=r"load: x.pt: tensor: expected"):
        ot.load(path)


def test_what_a_pickle_would_run_is_only_named(tmp_path: Path) -> None:
    target = tmp_path / "made"
    for function, args in (
        (_Global("os", "system"), (f"touch {target}",)),
        (_Global("builtins", "eval"), (f"open({str(target)!r}, 'w')",)),
        (_Global("torch._utils", "_rebuild_other"), (1,)),
        (_Global("builtins", "getattr"), (_Global("os", "path"), "join")),
    ):
        with pytest.raises(ValueError, match=r"expected tensors in plain containers|which is not made"):
            ot.load(_zip(tmp_path / "x.pt", {"a": _Reduce(function, *args)}, {}))
    assert not target.exists()


def test_damaged_files_are_refused_at_every_length(tmp_path: Path) -> None:
    storage = _Storage("FloatStorage", "0", VALUES)
    whole = {
        "zip": _zip(tmp_path / "z.pt", {"a": _tensor(storage, 0, (12,), (1,))}, {"0": VALUES.tobytes()}),
        "legacy": _legacy(
            tmp_path / "l.pt",
            {"a": _tensor(_Storage("FloatStorage", "0", VALUES, legacy=True), 0, (12,), (1,))},
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


def test_a_storage_is_what_its_reference_says(tmp_path: Path) -> None:
    floats = VALUES.tobytes()
    for storage, message in (
        (_Storage("FloatStorage", "1", VALUES), "has no such entry"),
        (_Storage("DoubleStorage", "0", VALUES), "expected 12 values, got 6"),
        (_Storage("FloatStorage", "0", VALUES, count=1 << 60), "values, got 12"),
        (_Storage("EvilStorage", "0", VALUES), "known type"),
        (_Storage("FloatStorage", "../../etc/passwd", VALUES), "has no such entry"),
    ):
        with pytest.raises(ValueError, match=message):
            ot.load(_zip(tmp_path / "x.pt", {"a": _tensor(storage, 0, (1,), (1,))}, {"0": floats}))
    tensor = _tensor(_Storage("FloatStorage", "0", VALUES), 0, (1,), (1,))
    with pytest.raises(ValueError, match="stored entry"):
        ot.load(_zip(tmp_path / "x.pt", {"a": tensor}, {"0": floats}, zipfile.ZIP_DEFLATED))
    with pytest.raises(ValueError, match="different types"):
        both = [tensor, _tensor(_Storage("IntStorage", "0", VALUES), 0, (1,), (1,))]
        ot.load(_zip(tmp_path / "x.pt", both, {"0": floats}))


@pytest.mark.parametrize(
    "program",
    [
        b"\x80\x02.",
        b"\x80\x02(.",
        b"\x80\x02a.",
        b"\x80\x02]K\x01K\x02s.",
        b"\x80\x02h\x05.",
        b"\x80\x02\x82\x01.",
        b"\x80\x02K\x01K\x02.",
        b"\x80\x02" + b"]" * 100 + b".",
        b"\x80\x02" + b"(" * 2_000_000 + b".",
        b"\x80\x05\x8e\xff\xff\xff\xff\xff\xff\xff\x7f.",
        b"\x80\x02}" + b")" + b"2\x86" * 70 + b"K\x01s.",  # a tuple of tuples, whose hash takes 2^70 steps
        b"\x80\x02I" + b"9" * 100_000 + b"\n.",
    ],
)
def test_malformed_pickles_cost_nothing(program: bytes) -> None:
    tracemalloc.start()
    with pytest.raises(ValueError, match="there: expected"):
        read_pickle(io.BytesIO(program), "there")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100 << 20


def _safetensors(path: Path, header: Any, data: bytes = b"") -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


@pytest.mark.parametrize(
    ("header", "data"),
    [
        ({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}, b"\0" * 4),
        ({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}, b"\0" * 8),
        ({"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}, b"\0" * 8),
        ({"a": {"dtype": "F32", "shape": [4194305, 211106198978564], "data_offsets": [0, 16]}}, b"\0" * 16),
        ({"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}, b"\0" * 4),
        ({"a": {"dtype": "F99", "shape": [1], "data_offsets": [0, 4]}}, b"\0" * 4),
        ({"a": {"dtype": "F32", "shape": [1]}}, b"\0" * 4),
        ({"a": 3}, b""),
        ([], b""),
        (b'{"a": NaN}', b""),
        (b"{" + b'"a": {' * 100_000, b""),
        (b"\xff\xfe", b""),
        (
            b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},'
            b' "a": {"dtype": "I32", "shape": [1], "data_offsets": [0, 4]}}',
            b"\0" * 4,
        ),
        ({"__metadata__": {"a": 3}}, b""),
        ({"__metadata__": 3}, b""),
    ],
)
def test_a_header_that_contradicts_itself_is_refused(tmp_path: Path, header: Any, data: bytes) -> None:
    with pytest.raises(ValueError, match=r"load: x: "):
        ot.load(_safetensors(tmp_path / "x", header, data))


def test_a_header_is_bounded(tmp_path: Path) -> None:
    path = tmp_path / "x"
    with path.open("wb") as file:
        file.write(struct.pack("<Q", 1 << 30) + b"{")
        file.truncate((1 << 30) + 100)  # sparse
    with pytest.raises(ValueError, match="header of at most"):
        ot.load(path)


def test_a_global_among_data_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected tensors in plain containers"):
        ot.load(_zip(tmp_path / "x.pt", {"a": [_Global("os", "system")]}, {}))


def test_no_metadata_is_none(tmp_path: Path) -> None:
    assert ot.load(_safetensors(tmp_path / "x", {"__metadata__": None})) == {}


def test_bfloat16_and_empty_tensors(tmp_path: Path) -> None:
    half = (np.array([1.5, -2.0], np.float32).view(np.uint32) >> 16).astype("<u2")
    entry = {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]}
    empty = {"dtype": "I64", "shape": [0, 3], "data_offsets": [4, 4]}
    loaded = ot.load(_safetensors(tmp_path / "x", {"a": entry, "e": empty}, half.tobytes()))
    assert np.array_equal(loaded["a"], [1.5, -2.0])
    assert loaded["e"].shape == (0, 3)
