"""Samples for a model from an .npz (or .npy) file: arrays by the names of its inputs, samples along axis 0."""

from __future__ import annotations

import argparse
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..graph.graph_module import GraphModule
from ..graph.meta import TensorMeta
from ..tensor import Tensor
from . import CommandError
from .models import inputs_of

MOST_BATCH = 32


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the options."""
    parser.add_argument(
        "--data", type=Path, required=True, metavar="FILE",
        help="samples: an .npz with an array for each input, by its name, samples along the first axis; or one .npy",
    )  # fmt: skip
    parser.add_argument(
        "--batch", type=int, default=None, metavar="N", help=f"samples at a time (default: up to {MOST_BATCH})"
    )


class Samples:
    """The samples of a file, in batches that fit a model.

    Parameters
    ----------
    path : Path
    model : GraphModule
    batch : int, optional
        How many at a time; by default what the model was made with, or 32.
    """

    def __init__(self, path: Path, model: GraphModule, batch: int | None) -> None:
        if batch is not None and batch < 1:
            raise CommandError(f"--batch {batch}: expected a positive integer")
        inputs = inputs_of(model)
        arrays = _read(path, list(inputs))
        self.columns = [_checked(path, name, arrays[name], meta) for name, meta in inputs.items()]
        counts = {len(array) for array in self.columns}
        if len(counts) != 1 or not min(counts):
            sizes = ", ".join(f"{n} {len(a)}" for n, a in zip(inputs, self.columns, strict=True))
            raise CommandError(f"--data {path}: expected as many samples of every input, and at least one, got {sizes}")
        self.count = counts.pop()
        self.batch = min(batch or MOST_BATCH, self.count)

    def __len__(self) -> int:
        return -(-self.count // self.batch)

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        for start in range(0, self.count, self.batch):
            yield tuple(_tensor(column[start : start + self.batch]) for column in self.columns)

    @property
    def example(self) -> tuple[Any, ...]:
        """The first batch."""
        return next(iter(self))


def _read(path: Path, names: list[str]) -> dict[str, np.ndarray]:
    if not path.is_file():
        raise CommandError(f"--data {path}: expected a file, found none")
    try:
        held = np.load(path, allow_pickle=False)
        arrays = {"": held} if isinstance(held, np.ndarray) else {key: held[key] for key in held.files}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, KeyError) as error:
        raise CommandError(f"--data {path}: expected an .npz or .npy file of arrays: {error!s:.100}") from None
    if len(names) == 1 and len(arrays) == 1:
        return {names[0]: next(iter(arrays.values()))}
    missing = [name for name in names if name not in arrays]
    if missing:
        raise CommandError(
            f"--data {path}: expected arrays named {', '.join(names)}, as the inputs are, found "
            f"{', '.join(arrays) or 'none'}"
        )
    return arrays


def _checked(path: Path, name: str, array: np.ndarray, meta: TensorMeta | None) -> np.ndarray:
    where = f"--data {path}: {name}"
    if array.dtype.kind not in "fiub" or array.ndim == 0:
        raise CommandError(f"{where}: expected numbers with samples along axis 0, got {array.dtype} {array.shape}")
    if meta is not None:
        if meta.dtype in ("float32", "float64", "float16", "int64", "int32", "uint8", "int8", "bool"):
            if np.dtype(meta.dtype).kind in "iub" and array.dtype.kind == "f":
                raise CommandError(f"{where}: expected {meta.dtype}, got {array.dtype}")
            array = array.astype(meta.dtype, copy=False)
        if len(meta.shape) != array.ndim or tuple(meta.shape[1:]) != array.shape[1:]:
            wanted = ", ".join(["samples", *map(str, meta.shape[1:])])
            raise CommandError(f"{where}: expected shape ({wanted}), got {array.shape}")
    elif array.dtype == np.float64:
        array = array.astype(np.float32)
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise CommandError(f"{where}: expected finite values, got NaN or an infinity")
    return array


def _tensor(array: np.ndarray) -> Any:
    return Tensor(np.ascontiguousarray(array)) if array.dtype == np.float32 else np.ascontiguousarray(array)
