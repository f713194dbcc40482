"""Tables of quantized rows (embeddings): packing them, looking rows up, and summing bags of rows.

Two forms. A `PackedRows` holds a QTensor (quint8 or quint4x2, a scale and zero point for each row) and is what
`embedding_byte`, `embedding_bag_byte` and `embedding_bag_4bit` read. Rows of bytes with scale and bias behind the codes
(`octensor.ops.rowwise`) are made by `embedding_bag_byte_prepack` and its like and read by the `_rowwise_offsets` forms.
Bags are summed in float32 in the order of their indices.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..._C import QTensor
from ...arrays import as_array
from ...tensor import Tensor
from .. import rowwise
from ..embedding import bag_of, bag_starts, checked_indices, dequantized_rows
from .checks import quantized

__all__ = [
    "PackedRows",
    "embedding_4bit",
    "embedding_bag_2bit_prepack",
    "embedding_bag_2bit_rowwise_offsets",
    "embedding_bag_2bit_unpack",
    "embedding_bag_4bit",
    "embedding_bag_4bit_prepack",
    "embedding_bag_4bit_rowwise_offsets",
    "embedding_bag_4bit_unpack",
    "embedding_bag_byte",
    "embedding_bag_byte_prepack",
    "embedding_bag_byte_rowwise_offsets",
    "embedding_bag_byte_unpack",
    "embedding_bag_prepack",
    "embedding_bag_unpack",
    "embedding_byte",
]


class PackedRows:
    """A quantized table (rows, D) for lookups.

    Parameters
    ----------
    weight : QTensor
        quint8 or quint4x2, with a scale and zero point for each row, or for all.
    """

    __slots__ = ("weight",)

    def __init__(self, weight: QTensor) -> None:
        quantized("embedding_bag_prepack", weight, "weight")
        if weight.dtype.name not in ("quint8", "quint4x2") or weight.ndim != 2:
            raise ValueError(
                "quantized.embedding_bag_prepack: weight: expected quint8 or quint4x2 of shape (rows, D), got "
                f"{weight.dtype} {tuple(weight.shape)}"
            )
        if weight.qparams.is_per_channel and weight.qparams.axis != 0:
            raise ValueError(
                f"quantized.embedding_bag_prepack: weight: expected one scale for each row (axis 0), got axis "
                f"{weight.qparams.axis}"
            )
        self.weight = weight


def embedding_bag_prepack(weight: QTensor) -> PackedRows:
    """Return a quantized table (rows, D), quint8 or quint4x2, ready for lookups."""
    return PackedRows(weight)


def embedding_bag_unpack(packed: PackedRows) -> QTensor:
    """Return the table of a pack."""
    if not isinstance(packed, PackedRows):
        raise TypeError(
            "quantized.embedding_bag_unpack: packed: expected what embedding_bag_prepack returns, got "
            f"{type(packed).__name__}"
        )
    return packed.weight


def _table(op: str, packed: Any, dtype: str) -> QTensor:
    if not isinstance(packed, PackedRows):
        raise TypeError(
            f"quantized.{op}: packed: expected what embedding_bag_prepack returns, got {type(packed).__name__}"
        )
    if packed.weight.dtype.name != dtype:
        raise TypeError(f"quantized.{op}: packed: expected a {dtype} table, got {packed.weight.dtype}")
    return packed.weight


def _kept(op: str, indices: Any, rows: int, pruned: bool, mapping: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return the indices into the table, and which of them are there (a pruned row is not)."""
    if not pruned or mapping is None:
        if pruned:
            raise ValueError(f"quantized.{op}: compressed_indices_mapping: expected one with pruned_weights, got None")
        found = checked_indices(f"quantized.{op}", "indices", indices, rows)
        return found, np.ones(found.size, bool)
    table = checked_indices(f"quantized.{op}", "compressed_indices_mapping", mapping, rows, least=-1)
    found = table[checked_indices(f"quantized.{op}", "indices", indices, table.size)]
    return found, found.reshape(-1) >= 0


def _lookup(op: str, table: QTensor, indices: Any) -> Tensor:
    return Tensor._wrap(dequantized_rows(table, checked_indices(f"quantized.{op}", "indices", indices, table.shape[0])))


def embedding_byte(packed: PackedRows, indices: Any, pruned_weights: bool = False) -> Tensor:
    """Return the float rows of a quint8 table that `indices` names."""
    return _lookup("embedding_byte", _table("embedding_byte", packed, "quint8"), indices)


def embedding_4bit(packed: PackedRows, indices: Any, pruned_weights: bool = False) -> Tensor:
    """Return the float rows of a quint4x2 table that `indices` names."""
    return _lookup("embedding_4bit", _table("embedding_4bit", packed, "quint4x2"), indices)


def _bags(
    op: str,
    rows: int,
    values: Any,
    indices: Any,
    offsets: Any,
    mode: int,
    pruned: bool,
    weights: Any,
    mapping: Any,
    include_last_offset: bool,
) -> Tensor:
    """Sum bags of `values(indices)`."""
    if mode != 0:
        raise ValueError(f"quantized.{op}: mode: expected 0 (sum, the only one offered), got {mode!r}")
    found, there = _kept(op, indices, rows, pruned, mapping)
    starts = bag_starts(f"quantized.{op}", found.shape, offsets, include_last_offset)
    flat = found.reshape(-1)[: starts[-1]]
    there = there[: starts[-1]]
    read = values(flat[there])
    if weights is not None:
        factors = as_array(weights, np.float32).reshape(-1)
        if factors.size != found.size:
            raise ValueError(f"quantized.{op}: per_sample_weights: expected {found.size} values, got {factors.size}")
        read = read * factors[: starts[-1]][there][:, None]
    total = np.zeros((starts.size - 1, read.shape[1]), np.float32)
    np.add.at(total, bag_of(starts)[there], read)
    return Tensor._wrap(total)


def _packed_bag(op: str, dtype: str, packed: Any, args: tuple[Any, ...]) -> Tensor:
    table = _table(op, packed, dtype)
    return _bags(op, table.shape[0], lambda found: dequantized_rows(table, found), *args)


def embedding_bag_byte(
    packed: PackedRows,
    indices: Any,
    offsets: Any = None,
    scale_grad_by_freq: bool = False,
    mode: int = 0,
    pruned_weights: bool = False,
    per_sample_weights: Any = None,
    compressed_indices_mapping: Any = None,
    include_last_offset: bool = False,
) -> Tensor:
    """Return sums of bags of rows of a quint8 table.

    Parameters
    ----------
    packed : PackedRows
    indices : integer tensor, shape (N,) with offsets or (bags, length) without
    offsets : integer tensor, shape (bags,), optional
    scale_grad_by_freq : bool
        Accepted for compatibility; there is no gradient.
    mode : int
        0, sum; the only one.
    pruned_weights : bool
        Whether `compressed_indices_mapping` leads from indices to rows (-1: the row was pruned and counts as 0).
    per_sample_weights : Tensor, shape of `indices`, optional
    compressed_indices_mapping : integer tensor, optional
    include_last_offset : bool
        Whether the last offset is the end of the last bag.

    Returns
    -------
    Tensor, shape (bags, D)
    """
    args = (indices, offsets, mode, pruned_weights, per_sample_weights, compressed_indices_mapping, include_last_offset)
    return _packed_bag("embedding_bag_byte", "quint8", packed, args)


def embedding_bag_4bit(
    packed: PackedRows,
    indices: Any,
    offsets: Any = None,
    scale_grad_by_freq: bool = False,
    mode: int = 0,
    pruned_weights: bool = False,
    per_sample_weights: Any = None,
    compressed_indices_mapping: Any = None,
    include_last_offset: bool = False,
) -> Tensor:
    """Return sums of bags of rows of a quint4x2 table; the arguments are those of `embedding_bag_byte`."""
    args = (indices, offsets, mode, pruned_weights, per_sample_weights, compressed_indices_mapping, include_last_offset)
    return _packed_bag("embedding_bag_4bit", "quint4x2", packed, args)


# --- rows of bytes ----------------------------------------------------------------------------------


def _floats(op: str, weight: Any, bits: int) -> np.ndarray:
    if isinstance(weight, QTensor):
        raise TypeError(f"quantized.{op}: weight: expected floats, got QTensor: call .dequantize() on it first")
    values = as_array(weight)
    if values.dtype != np.float32 or values.ndim != 2 or 0 in values.shape:
        raise ValueError(
            f"quantized.{op}: weight: expected floats of shape (rows, D), got {values.dtype} {values.shape}"
        )
    if not np.all(np.isfinite(values)):
        raise ValueError(f"quantized.{op}: weight: expected finite values, got NaN or an infinity")
    if values.shape[1] % rowwise.per_byte(bits):
        raise ValueError(
            f"quantized.{op}: weight: expected D to be a multiple of {rowwise.per_byte(bits)}, got {values.shape[1]}"
        )
    return values


def _bytes(op: str, packed: Any, bits: int) -> np.ndarray:
    rows = as_array(packed)
    tail = 8 if bits == 8 else 4
    if rows.dtype != np.uint8 or rows.ndim != 2 or rows.shape[1] <= tail:
        raise ValueError(
            f"quantized.{op}: packed: expected uint8 rows of more than {tail} bytes, got {rows.dtype} {rows.shape}"
        )
    return rows


def embedding_bag_byte_prepack(weight: Any) -> Tensor:
    """Return float rows (rows, D) as bytes (rows, D + 8): codes, float32 scale, float32 bias."""
    return Tensor._wrap(rowwise.pack(_floats("embedding_bag_byte_prepack", weight, 8), 8))


def embedding_bag_byte_unpack(packed: Any) -> Tensor:
    """Return the float rows of what `embedding_bag_byte_prepack` made."""
    return Tensor._wrap(rowwise.unpack(_bytes("embedding_bag_byte_unpack", packed, 8), 8))


def embedding_bag_4bit_prepack(
    weight: Any, optimized_qparams: bool = False, nbins: int = 200, ratio: float = 0.16
) -> Tensor:
    """Return float rows (rows, D) as bytes (rows, D/2 + 4): codes, float16 scale, float16 bias.

    With `optimized_qparams` each row's range is searched for less error.
    """
    values = _floats("embedding_bag_4bit_prepack", weight, 4)
    return Tensor._wrap(rowwise.pack(values, 4, optimized_qparams, nbins, ratio))


def embedding_bag_4bit_unpack(packed: Any) -> Tensor:
    """Return the float rows of what `embedding_bag_4bit_prepack` made."""
    return Tensor._wrap(rowwise.unpack(_bytes("embedding_bag_4bit_unpack", packed, 4), 4))


def embedding_bag_2bit_prepack(
    weight: Any, optimized_qparams: bool = False, nbins: int = 200, ratio: float = 0.16
) -> Tensor:
    """Return float rows (rows, D) as bytes (rows, D/4 + 4): codes, float16 scale, float16 bias.

    With `optimized_qparams` each row's range is searched for less error.
    """
    values = _floats("embedding_bag_2bit_prepack", weight, 2)
    return Tensor._wrap(rowwise.pack(values, 2, optimized_qparams, nbins, ratio))


def embedding_bag_2bit_unpack(packed: Any) -> Tensor:
    """Return the float rows of what `embedding_bag_2bit_prepack` made."""
    return Tensor._wrap(rowwise.unpack(_bytes("embedding_bag_2bit_unpack", packed, 2), 2))


def _byte_bag(op: str, bits: int, packed: Any, args: tuple[Any, ...]) -> Tensor:
    rows = _bytes(op, packed, bits)
    return _bags(op, rows.shape[0], lambda found: rowwise.unpack(rows[found], bits), *args)


def embedding_bag_byte_rowwise_offsets(
    weight: Any,
    indices: Any,
    offsets: Any = None,
    scale_grad_by_freq: bool = False,
    mode: int = 0,
    pruned_weights: bool = False,
    per_sample_weights: Any = None,
    compressed_indices_mapping: Any = None,
    include_last_offset: bool = False,
) -> Tensor:
    """Return sums of bags of 8-bit rows of bytes; the arguments are those of `embedding_bag_byte`."""
    args = (indices, offsets, mode, pruned_weights, per_sample_weights, compressed_indices_mapping, include_last_offset)
    return _byte_bag("embedding_bag_byte_rowwise_offsets", 8, weight, args)


def embedding_bag_4bit_rowwise_offsets(
    weight: Any,
    indices: Any,
    offsets: Any = None,
    scale_grad_by_freq: bool = False,
    mode: int = 0,
    pruned_weights: bool = False,
    per_sample_weights: Any = None,
    compressed_indices_mapping: Any = None,
    include_last_offset: bool = False,
) -> Tensor:
    """Return sums of bags of 4-bit rows of bytes; the arguments are those of `embedding_bag_byte`."""
    args = (indices, offsets, mode, pruned_weights, per_sample_weights, compressed_indices_mapping, include_last_offset)
    return _byte_bag("embedding_bag_4bit_rowwise_offsets", 4, weight, args)


def embedding_bag_2bit_rowwise_offsets(
    weight: Any,
    indices: Any,
    offsets: Any = None,
    scale_grad_by_freq: bool = False,
    mode: int = 0,
    pruned_weights: bool = False,
    per_sample_weights: Any = None,
    compressed_indices_mapping: Any = None,
    include_last_offset: bool = False,
) -> Tensor:
    """Return sums of bags of 2-bit rows of bytes; the arguments are those of `embedding_bag_byte`."""
    args = (indices, offsets, mode, pruned_weights, per_sample_weights, compressed_indices_mapping, include_last_offset)
    return _byte_bag("embedding_bag_2bit_rowwise_offsets", 2, weight, args)
