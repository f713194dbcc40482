"""Files as `torch.save` writes them, and wrong ones, without torch: pickles of the globals that it names."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from octensor.io.torch_file import LEGACY_MAGIC, LEGACY_PROTOCOL


class Global:
    """Pickles as the name of a global, or as a call of it."""

    def __init__(self, module: str, name: str) -> None:
        self.module, self.name = module, name


class Reduce:
    def __init__(self, function: Global, *args: Any) -> None:
        self.function, self.args = function, args


class Storage:
    def __init__(self, kind: str, key: str, values: np.ndarray, count: int | None = None, legacy: bool = False) -> None:
        self.id = ("storage", Global("torch", kind), key, "cpu", values.size if count is None else count)
        self.id += (None,) if legacy else ()


class _Pickler(pickle._Pickler):  # the one in Python, whose dispatch can be extended
    dispatch: ClassVar = dict(pickle._Pickler.dispatch)

    def persistent_id(self, obj: Any) -> Any:
        return obj.id if isinstance(obj, Storage) else None

    def save_stub(self, obj: Global) -> None:
        self.write(pickle.GLOBAL + f"{obj.module}\n{obj.name}\n".encode())

    def save_call(self, obj: Reduce) -> None:
        self.save(obj.function)
        self.save(obj.args)
        self.write(pickle.REDUCE)

    dispatch[Global] = save_stub
    dispatch[Reduce] = save_call


def pickled(value: Any) -> bytes:
    buffer = io.BytesIO()
    _Pickler(buffer, 2).dump(value)
    return buffer.getvalue()


def tensor(storage: Storage, offset: Any, size: Any, stride: Any) -> Reduce:
    rebuild = Global("torch._utils", "_rebuild_tensor_v2")
    return Reduce(rebuild, storage, offset, size, stride, False, OrderedDict())


def write_zip(path: Path, saved: Any, storages: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("model/data.pkl", pickled(saved))
        archive.writestr("model/byteorder", "little", zipfile.ZIP_STORED)
        for key, data in storages.items():
            archive.writestr(f"model/data/{key}", data)
    return path


def write_legacy(path: Path, saved: Any, storages: dict[str, np.ndarray]) -> Path:
    parts = [pickled(v) for v in (LEGACY_MAGIC, LEGACY_PROTOCOL, {"little_endian": True}, saved, list(storages))]
    path.write_bytes(b"".join(parts) + b"".join(struct.pack("<q", v.size) + v.tobytes() for v in storages.values()))
    return path
