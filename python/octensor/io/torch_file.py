"""Files that `torch.save` wrote, read without executing anything: state dicts and checkpoints of plain data.

Two containers are known. Since torch 1.6 a zip archive of stored entries: `*/data.pkl` and `*/data/KEY`, one per
storage. Before, five pickles in a row (a magic number, a protocol, facts of the machine, the object, the storages'
keys), then per storage its length as int64 and its bytes. `pickle_data` reads the pickles; what it returns is
matched against the few functions by which torch rebuilds tensors. Tensors are views of the mapped file.

Every size, stride and offset is checked against its storage, every storage against the file.
"""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from .._C import QParams, QTensor, qint8, qint32, quint8
from ..mapped import map_file
from ..tensor import Tensor
from .limits import LEGACY_MAGIC, MOST_AXES, empty_array
from .pickle_data import Call, Name, Object, Persistent, read_pickle

LEGACY_PROTOCOL = 1001
MOST_PICKLE_BYTES = 64 << 20
MOST_VALUES = 1_000_000
MOST_DEPTH = 64

_STORAGES = {
    "FloatStorage": "<f4",
    "DoubleStorage": "<f8",
    "HalfStorage": "<f2",
    "BFloat16Storage": "<u2",  # the upper half of a float32
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "|i1",
    "ByteStorage": "|u1",
    "BoolStorage": "|b1",
    "QInt8Storage": "|i1",
    "QUInt8Storage": "|u1",
    "QInt32Storage": "<i4",
}
_QUANTIZED = {"QInt8Storage": qint8, "QUInt8Storage": quint8, "QInt32Storage": qint32}


class _Storage:
    """A run of values of one type in the mapped file."""

    def __init__(self, kind: str, values: np.ndarray) -> None:
        self.kind = kind
        self.values = values


class TorchFile:
    """An open file of `torch.save`; `read` gives what was saved.

    Parameters
    ----------
    path : path
        The file, which is not empty.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.where = f"load: {self.path.name}"
        self.map = map_file(self.path)
        self.bytes = np.frombuffer(self.map, np.uint8)
        self.storage: Callable[[str, int], np.ndarray]
        self.made: dict[str, _Storage] = {}
        self.values = 0

    def _error(self, text: str) -> ValueError:
        return ValueError(f"{self.where}: {text}")

    def read(self) -> Any:
        """Return the saved object; tensors as Tensor or QTensor, on memory that cannot be written to.

        Raises
        ------
        ValueError
            If the file is damaged, or holds anything but tensors in plain containers.
        """
        return self._convert(self._read_zip() if bytes(self.bytes[:2]) == b"PK" else self._read_legacy(), 0)

    # Containers

    def _read_zip(self) -> Any:
        try:
            with zipfile.ZipFile(self.path) as archive:
                entries = {info.filename: info for info in archive.infolist()}
                if len(entries) != len(archive.infolist()):
                    raise self._error("expected an archive of torch.save, got one where a name stands twice")
                pickles = [name for name in entries if name.endswith("/data.pkl") and name.count("/") == 1]
                if len(pickles) != 1:
                    raise self._error("expected an archive of torch.save with one data.pkl, got another zip archive")
                prefix = pickles[0][: -len("data.pkl")]
                order = entries.get(prefix + "byteorder")
                if order is not None and bytes(self._entry(order)) != b"little":
                    raise self._error("expected little-endian data")
                pickle = self._entry(entries[pickles[0]])
                if pickle.size > MOST_PICKLE_BYTES:
                    raise self._error(f"expected a pickle of at most {MOST_PICKLE_BYTES} bytes, got {pickle.size}")
        except (zipfile.BadZipFile, NotImplementedError, struct.error, UnicodeError, EOFError, OSError) as error:
            raise self._error(f"expected a zip archive, got a damaged one: {error}") from None

        def storage(key: str, size: int) -> np.ndarray:
            info = entries.get(f"{prefix}data/{key}")
            if info is None:
                raise self._error(f"storage {key!r:.60}: the archive has no such entry")
            return self._entry(info)

        self.storage = storage
        return read_pickle(io.BytesIO(pickle.tobytes()), self.where)

    def _entry(self, info: zipfile.ZipInfo) -> np.ndarray:
        """Return the bytes of a stored entry, from the map."""
        if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size or info.flag_bits & 1:
            raise self._error(f"entry {info.filename!r:.60}: expected a stored entry, got a compressed one")
        header = bytes(self.bytes[info.header_offset : info.header_offset + 30])
        if len(header) < 30 or header[:4] != b"PK\x03\x04":
            raise self._error(f"entry {info.filename!r:.60}: its header is damaged")
        name, extra = struct.unpack("<HH", header[26:30])
        begin = info.header_offset + 30 + name + extra
        coding = "utf-8" if info.flag_bits & 0x800 else "cp437"
        if bytes(self.bytes[info.header_offset + 30 :][:name]) != info.orig_filename.encode(coding):
            raise self._error(f"entry {info.filename!r:.60}: the archive and the entry itself call it by other names")
        data = self.bytes[begin : begin + info.file_size]
        if data.size != info.file_size:
            raise self._error(
                f"entry {info.filename!r:.60}: expected {info.file_size} bytes, the file ends after {data.size}"
            )
        return data

    def _read_legacy(self) -> Any:
        self.map.seek(0)
        magic, protocol, machine = (read_pickle(self.map, self.where) for _ in range(3))
        if magic != LEGACY_MAGIC or protocol != LEGACY_PROTOCOL or not isinstance(machine, dict):
            raise self._error("expected the beginning of a file of torch.save, got another")
        if machine.get("little_endian") is not True:
            raise self._error("expected little-endian data")
        saved, keys = (read_pickle(self.map, self.where) for _ in range(2))
        begin = self.map.tell()
        if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys) or len(set(keys)) != len(keys):
            raise self._error("expected a list of the storages' keys")
        # Where a storage lies depends on the sizes of those before it, which only their tensors know.
        sizes = self._storage_sizes(saved)
        places: dict[str, np.ndarray] = {}
        for key in keys:
            if key not in sizes:
                raise self._error(f"storage {key!r:.60}: no tensor refers to it")
            header = bytes(self.bytes[begin : begin + 8])
            if len(header) < 8 or struct.unpack("<q", header)[0] < 0:
                raise self._error(f"storage {key!r:.60}: expected its length, the file ends or is damaged there")
            length = struct.unpack("<q", header)[0] * sizes[key]
            begin += 8
            if length > self.bytes.size - begin:
                raise self._error(
                    f"storage {key!r:.60}: expected {length} bytes, the file ends after {self.bytes.size - begin}"
                )
            places[key] = self.bytes[begin : begin + length]
            begin += length

        def storage(key: str, size: int) -> np.ndarray:
            if key not in places:
                raise self._error(f"storage {key!r:.60}: the file has no such storage")
            return places[key]

        self.storage = storage
        return saved

    def _storage_sizes(self, saved: Any) -> dict[str, int]:
        """Return {key: bytes per value} of the storages that a saved object refers to."""
        sizes: dict[str, int] = {}
        seen: set[int] = set()
        pending = [saved]
        while pending:
            value = pending.pop()
            if isinstance(value, Persistent):
                kind, key = self._storage_type(value)
                if sizes.setdefault(key, np.dtype(_STORAGES[kind]).itemsize) != np.dtype(_STORAGES[kind]).itemsize:
                    raise self._error(f"storage {key!r:.60}: two tensors see it as of different types")
            elif isinstance(value, (dict, list, tuple, Object)) and id(value) not in seen:
                seen.add(id(value))
                if isinstance(value, dict):
                    pending.extend(value.values())
                elif isinstance(value, Object):
                    pending.extend((value.args, value.state, value.items))
                else:
                    pending.extend(value)
        return sizes

    # What was saved

    def _convert(self, value: Any, depth: int) -> Any:
        self.values += 1
        if depth > MOST_DEPTH or self.values > MOST_VALUES:
            raise self._error(f"expected at most {MOST_VALUES} values in containers {MOST_DEPTH} deep")
        if value is None or isinstance(value, (bool, int, float, str, bytes)):
            return value
        if isinstance(value, dict):
            return {key: self._convert(item, depth + 1) for key, item in value.items()}
        if isinstance(value, Call):
            return self._rebuild(value.function, value.args)
        if type(value) in (list, tuple, set, frozenset):
            return type(value)(self._convert(item, depth + 1) for item in value)
        if isinstance(value, Object) and value.function == Name("torch", "Size") and isinstance(value.args, tuple):
            return tuple(self._convert(value.args, depth + 1)[0])
        if isinstance(value, Object):
            raise self._error(
                f"expected tensors in plain containers, got an object of {_text(value.function)}, which only its code "
                "could rebuild: save model.state_dict() in torch and load that"
            )
        raise self._error(f"expected tensors in plain containers, got {_text(value)}")

    def _rebuild(self, function: Any, args: Any) -> Tensor | QTensor:
        if not isinstance(args, tuple):
            raise self._error(f"{_text(function)}: expected arguments")
        match function:
            case Name("torch._utils", "_rebuild_parameter") if len(args) >= 1:
                if not isinstance(args[0], Call):
                    raise self._error("parameter: expected a tensor")
                if args[0].function == function:
                    raise self._error("parameter: expected a tensor, got a parameter of a parameter")
                return self._rebuild(args[0].function, args[0].args)
            case Name("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2") if len(args) >= 4:
                storage = self._storage_of(args[0])
                if storage.kind in _QUANTIZED:
                    raise self._error("tensor: expected a storage of floats or integers, got a quantized one")
                return _tensor(storage.kind, self._view(storage, *args[1:4]))
            case Name("torch._utils", "_rebuild_qtensor") if len(args) >= 5:
                storage = self._storage_of(args[0])
                if storage.kind not in _QUANTIZED:
                    raise self._error("quantized tensor: expected a storage of codes")
                return self._quantized(storage, self._view(storage, *args[1:4]), args[4])
        raise self._error(f"expected a tensor, got a call of {_text(function)}, which is not made")

    def _quantized(self, storage: _Storage, codes: np.ndarray, parameters: Any) -> QTensor:
        try:
            return QTensor.from_numpy(np.ascontiguousarray(codes), self._qparams(storage, parameters))
        except (ValueError, TypeError, OverflowError) as error:
            text = str(error)
            raise error if text.startswith(self.where) else self._error(f"quantized tensor: {text}") from None

    def _qparams(self, storage: _Storage, parameters: Any) -> QParams:
        match parameters:
            case (Name("torch", "per_tensor_affine"), float() | int() as scale, int() as zero_point):
                return QParams(scale, zero_point, _QUANTIZED[storage.kind])
            case (Name("torch", "per_channel_affine"), Call() as scales, Call() as zero_points, int() as axis):
                return QParams(
                    np.asarray(self._rebuild(scales.function, scales.args)).astype(np.float64),
                    np.asarray(self._rebuild(zero_points.function, zero_points.args)).astype(np.int64),
                    _QUANTIZED[storage.kind],
                    axis,
                )
        raise self._error(f"quantized tensor: expected per-tensor or per-channel parameters, got {_text(parameters)}")

    def _storage_type(self, reference: Any) -> tuple[str, str]:
        """Return the type's name and the key of a reference to a storage."""
        match reference:
            case Persistent(("storage", Name("torch", kind), str() as key, str(), int(), *rest)) if kind in _STORAGES:
                if rest not in ([], [None]):
                    raise self._error(f"storage {key!r:.60}: expected a whole storage, got a view of one")
                return kind, key
        raise self._error(f"expected a reference to a storage of a known type, got {_text(reference)}")

    def _storage_of(self, reference: Any) -> _Storage:
        kind, key = self._storage_type(reference)
        known = self.made.get(key)
        if known is None:
            dtype = np.dtype(_STORAGES[kind])
            data = self.storage(key, dtype.itemsize)
            if data.size % dtype.itemsize:
                raise self._error(
                    f"storage {key!r:.60}: expected whole values of {dtype.itemsize} bytes, got {data.size}"
                )
            count = reference.key[4]
            if count != data.size // dtype.itemsize:
                raise self._error(f"storage {key!r:.60}: expected {count} values, got {data.size // dtype.itemsize}")
            aligned = data if data.ctypes.data % dtype.itemsize == 0 else data.copy()
            known = self.made[key] = _Storage(kind, aligned.view(dtype))
        if known.kind != kind:
            raise self._error(f"storage {key!r:.60}: two tensors see it as of different types")
        return known

    def _view(self, storage: _Storage, offset: Any, size: Any, stride: Any) -> np.ndarray:
        """Return the values of a tensor; its last one must lie inside the storage, and no value may come twice."""
        if isinstance(size, Object) and size.function == Name("torch", "Size"):
            size = size.args[0] if isinstance(size.args, tuple) and size.args else None
        numbers = (offset, *size, *stride) if isinstance(size, tuple) and isinstance(stride, tuple) else (None,)
        if not all(type(n) is int and 0 <= n < 1 << 62 for n in numbers) or not len(size) == len(stride) <= MOST_AXES:
            raise self._error(
                f"tensor: expected an offset, a size and a stride of counts, got {offset!r:.30}, {_text(size)}, "
                f"{_text(stride)}"
            )
        values = storage.values
        count, last = 1, offset
        for n, step in zip(size, stride, strict=True):
            count *= n
            last += max(n - 1, 0) * step
        if count == 0:
            return empty_array(f"{self.where}: tensor", size, values.dtype)
        if last >= values.size or count > values.size:
            raise self._error(
                f"tensor: expected to lie inside its storage of {values.size} values, got size {tuple(size)}, stride "
                f"{tuple(stride)} from value {offset} on"
            )
        step_bytes = tuple(s * values.itemsize for s in stride)
        return np.lib.stride_tricks.as_strided(values[offset:], size, step_bytes, writeable=False)


def _tensor(kind: str, values: np.ndarray) -> Tensor:
    if kind == "BFloat16Storage":
        values = (values.astype(np.uint32) << 16).view(np.float32)
    return Tensor(values)


def _text(value: Any) -> str:
    """Return a short text for a message, whatever the value holds."""
    if isinstance(value, Name):
        return f"{value.module:.60}.{value.name:.60}"
    if isinstance(value, Persistent) and isinstance(value.key, tuple) and value.key[:1] == ("module",):
        return _text(value.key[1]) if len(value.key) > 1 else "a module"
    if isinstance(value, tuple) and len(value) <= 8 and all(type(v) is int for v in value):
        return f"{value!r:.120}"
    return f"a {type(value).__name__}"
