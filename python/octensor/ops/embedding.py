"""Embedding: rows of a table, and sums, means or maxima of bags of rows.

The indices are an attribute of the op; its tensors are the table and, for bags, a weight for each index. A bag is a
range of the flat indices: bag b holds those from `starts[b]` up to `starts[b + 1]`. An empty bag gives zeros.

The table may be a QTensor (per tensor, or with a scale and integer or float zero point for each row). Results are
float: rows are (f32(q) - z) · s in float32, weighted in float32, and summed in the order of the indices.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .._C import QTensor
from ..arrays import as_array
from ..tensor import Tensor
from .exact import CAST
from .recording import RECORDING
from .spec import Context, OpSpec, Sample, apply

MODES = ("sum", "mean", "max")


def checked_indices(op: str, name: str, indices: Any, rows: int, least: int = 0) -> np.ndarray:
    """Return indices as int64, each in [least, rows).

    Raises
    ------
    TypeError
        If they are not integers.
    ValueError
        If one is out of range.
    """
    array = as_array(indices)
    if array.dtype.kind not in "iu":
        raise TypeError(f"{op}: {name}: expected integers, got dtype {array.dtype}")
    if array.size and not (array.min() >= least and array.max() < rows):
        raise ValueError(f"{op}: {name}: expected values in [{least}, {rows}), got {array.min()} to {array.max()}")
    wide = array.astype(np.int64, copy=False)
    if wide is not array and RECORDING.recorder is not None:
        RECORDING.recorder.note(CAST, (indices,), {"dtype": "int64"}, wide)
    return wide


def bag_starts(op: str, shape: tuple[int, ...], offsets: Any, include_last_offset: bool = False) -> np.ndarray:
    """Return where each bag starts, and where the last one ends.

    Parameters
    ----------
    op : str
    shape : tuple of int
        Of the indices: (N,) with offsets, or (bags, length) without.
    offsets : integer tensor, shape (bags,), or None
    include_last_offset : bool
        Whether the last offset is the end of the last bag.
    """
    if len(shape) == 2:
        if offsets is not None:
            raise ValueError(f"{op}: offsets: expected None for indices of shape {shape}, got offsets")
        return np.arange(shape[0] + 1, dtype=np.int64) * shape[1]
    if len(shape) != 1:
        raise ValueError(f"{op}: indices: expected 1 or 2 axes, got shape {shape}")
    if offsets is None:
        raise ValueError(f"{op}: offsets: expected the start of each bag for indices of shape {shape}, got None")
    starts = checked_indices(op, "offsets", offsets, shape[0] + 1)
    if starts.ndim != 1 or (starts.size and starts[0] != 0) or np.any(np.diff(starts) < 0):
        raise ValueError(f"{op}: offsets: expected values that start at 0 and do not fall, got {starts.tolist()}")
    if include_last_offset:
        if not starts.size:
            raise ValueError(f"{op}: offsets: expected at least one with include_last_offset, got none")
        return starts
    return np.append(starts, shape[0])


def bag_of(starts: np.ndarray) -> np.ndarray:
    """Return for each index the bag it is in."""
    return np.repeat(np.arange(starts.size - 1), np.diff(starts))


# --- single rows ----------------------------------------------------------------------------------


def _rows(table: Any, indices: np.ndarray, padding_idx: int | None = None) -> np.ndarray:
    return np.asarray(table[indices])


def _rows_back(ctx: Context, grad: np.ndarray) -> tuple[Any]:
    table, indices, padding = ctx.arrays[0], ctx.attrs["indices"], ctx.attrs["padding_idx"]
    result = np.zeros(table.shape, grad.dtype)
    np.add.at(result, indices.reshape(-1), grad.reshape(-1, table.shape[1]))
    if padding is not None:
        result[padding] = 0
    return (result,)


def _row_samples(rng: np.random.Generator) -> list[Sample]:
    return [((rng.standard_normal((5, 3)),), {"indices": np.array([[0, 2], [2, 4]]), "padding_idx": None})]


def dequantized_rows(table: QTensor, indices: np.ndarray) -> np.ndarray:
    """Return the rows that `indices` names, as float32."""
    qparams = table.qparams
    rows = np.asarray(table)[indices].astype(np.float32)
    scale, zero_point = np.float32(qparams.scale), np.asarray(qparams.zero_point, np.float32)
    if qparams.is_per_channel:
        if qparams.axis != 0:
            raise ValueError(f"embedding: weight: expected one scale for each row (axis 0), got axis {qparams.axis}")
        scale, zero_point = scale[indices][..., None], zero_point[indices][..., None]
    result: np.ndarray = (rows - zero_point) * scale
    return result


def _rows_q(table: QTensor, indices: np.ndarray, padding_idx: int | None = None) -> Tensor:
    return Tensor._wrap(dequantized_rows(table, indices))


EMBEDDING = OpSpec(
    "embedding",
    forward=_rows,
    backward=_rows_back,
    quantized=_rows_q,
    output_qparams="float",
    samples=_row_samples,
)


@EMBEDDING.public
def embedding(input: Any, weight: Any, padding_idx: int | None = None) -> Any:
    """Return the rows of `weight` that `input` names.

    Parameters
    ----------
    input : integer tensor, any shape
    weight : Tensor, shape (num_embeddings, embedding_dim)
    padding_idx : int, optional
        A row that gets no gradient.

    Returns
    -------
    Tensor, shape (*input.shape, embedding_dim)

    Raises
    ------
    TypeError
        If the indices are not integers.
    ValueError
        If one is out of range.
    """
    rows = _table_rows("embedding", weight)
    indices = checked_indices("embedding", "input", input, rows)
    return apply(EMBEDDING, weight, indices=indices, padding_idx=_padding("embedding", padding_idx, rows))


def _table_rows(op: str, weight: Any) -> int:
    if len(weight.shape) != 2:
        raise ValueError(f"{op}: weight: expected shape (num_embeddings, embedding_dim), got {tuple(weight.shape)}")
    return int(weight.shape[0])


def _padding(op: str, value: int | None, rows: int) -> int | None:
    if value is None:
        return None
    if not -rows <= value < rows:
        raise ValueError(f"{op}: padding_idx: expected an index in [{-rows}, {rows - 1}], got {value!r}")
    return value % rows


# --- bags -----------------------------------------------------------------------------------------


def _largest(table: Any, indices: np.ndarray, starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the largest value of each bag and column, and which index it came from (-1: none)."""
    bags = starts.size - 1
    out = np.zeros((bags, table.shape[1]), table.dtype)
    where = np.full(out.shape, -1, np.int64)
    for b in range(bags):
        chosen = indices[starts[b] : starts[b + 1]]
        if chosen.size:
            rows = table[chosen]
            best = rows.argmax(axis=0)
            out[b], where[b] = rows[best, np.arange(rows.shape[1])], chosen[best]
    return out, where


def _counts(starts: np.ndarray, dtype: Any) -> Any:
    return np.maximum(np.diff(starts), 1)[:, None].astype(dtype)


def _bags(
    table: Any,
    weights: Any = None,
    *,
    indices: np.ndarray,
    starts: np.ndarray,
    mode: str,
    padding_idx: int | None = None,
) -> np.ndarray:
    if mode == "max":
        return _largest(table, indices, starts)[0]
    rows = table[indices]
    if weights is not None:
        rows = rows * weights[:, None]
    out = np.zeros((starts.size - 1, table.shape[1]), rows.dtype)
    np.add.at(out, bag_of(starts), rows)
    return out / _counts(starts, out.dtype) if mode == "mean" else out


def _bags_back(ctx: Context, grad: np.ndarray) -> tuple[Any, ...]:
    table, weights = ctx.arrays
    indices, starts, mode = ctx.attrs["indices"], ctx.attrs["starts"], ctx.attrs["mode"]
    result = np.zeros(table.shape, grad.dtype)
    if mode == "max":
        where = _largest(table, indices, starts)[1]
        taken = where >= 0
        columns = np.broadcast_to(np.arange(table.shape[1]), where.shape)
        np.add.at(result, (where[taken], columns[taken]), grad[taken])
        return result, None
    if mode == "mean":
        grad = grad / _counts(starts, grad.dtype)
    of_row = grad[bag_of(starts)]
    to_weights = None
    if weights is not None:
        to_weights = (of_row * table[indices]).sum(axis=1)
        of_row = of_row * weights[:, None]
    np.add.at(result, indices, of_row)
    if ctx.attrs["padding_idx"] is not None:
        result[ctx.attrs["padding_idx"]] = 0
    return result, to_weights


def _bag_samples(rng: np.random.Generator) -> list[Sample]:
    table = rng.standard_normal((6, 3))
    base = {"indices": np.array([0, 2, 2, 5, 1]), "starts": np.array([0, 2, 2, 5]), "padding_idx": None}
    weights = rng.uniform(0.5, 2.0, 5)
    return [
        ((table, weights), base | {"mode": "sum"}),
        ((table, None), base | {"mode": "mean"}),
        ((table, None), base | {"mode": "max"}),
    ]


def _bags_q(table: QTensor, weights: Any = None, *, indices: np.ndarray, **attrs: Any) -> Tensor:
    rows = dequantized_rows(table, indices)
    factors = None if weights is None else as_array(weights)
    return Tensor._wrap(_bags(rows, factors, indices=np.arange(indices.size), **attrs))


EMBEDDING_BAG = OpSpec(
    "embedding_bag",
    forward=_bags,
    backward=_bags_back,
    quantized=_bags_q,
    output_qparams="float",
    quantized_inputs=1,
    samples=_bag_samples,
)


@EMBEDDING_BAG.public
def embedding_bag(
    input: Any,
    weight: Any,
    offsets: Any = None,
    mode: str = "mean",
    per_sample_weights: Any = None,
    include_last_offset: bool = False,
    padding_idx: int | None = None,
) -> Any:
    """Return the sum, mean or maximum of bags of rows.

    Parameters
    ----------
    input : integer tensor, shape (N,) with offsets or (bags, length) without
    weight : Tensor, shape (num_embeddings, embedding_dim)
    offsets : integer tensor, shape (bags,), optional
        Where in `input` each bag starts; the first is 0.
    mode : {"sum", "mean", "max"}
    per_sample_weights : Tensor, shape of `input`, optional
        Multiplies each row; for mode "sum" only.
    include_last_offset : bool
        Whether the last offset is the end of the last bag.
    padding_idx : int, optional
        Indices that are left out of their bags.

    Returns
    -------
    Tensor, shape (bags, embedding_dim)

    Raises
    ------
    TypeError
        If indices or offsets are not integers.
    ValueError
        If a shape does not fit or an index is out of range.
    """
    op = "embedding_bag"
    if mode not in MODES:
        raise ValueError(f"{op}: mode: expected one of {MODES}, got {mode!r}")
    rows = _table_rows(op, weight)
    indices = checked_indices(op, "input", input, rows)
    starts = bag_starts(op, indices.shape, offsets, include_last_offset)
    if per_sample_weights is not None:
        if mode != "sum":
            raise ValueError(f"{op}: per_sample_weights: expected None for mode {mode!r}, got weights: use mode='sum'")
        if tuple(per_sample_weights.shape) != indices.shape:
            raise ValueError(
                f"{op}: per_sample_weights: expected shape {indices.shape}, got {tuple(per_sample_weights.shape)}"
            )
        if len(indices.shape) == 2:
            per_sample_weights = per_sample_weights.reshape(-1)
    flat = indices.reshape(-1)
    if starts[-1] < flat.size:  # what is after the last offset belongs to no bag
        flat = flat[: starts[-1]]
        per_sample_weights = None if per_sample_weights is None else per_sample_weights[: int(starts[-1])]
    padding = _padding(op, padding_idx, rows)
    if padding is not None and np.any(flat == padding):
        kept = flat != padding
        starts = np.concatenate([[0], np.cumsum(kept)])[starts]
        flat = flat[kept]
        if per_sample_weights is not None:
            per_sample_weights = per_sample_weights[kept]
    attrs = {"indices": flat, "starts": starts, "mode": mode, "padding_idx": padding}
    return apply(EMBEDDING_BAG, weight, per_sample_weights, **attrs)
