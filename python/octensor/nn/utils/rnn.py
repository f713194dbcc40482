"""Sequences of different lengths, packed for recurrent layers under PyTorch's names.

A packed batch holds no padding: the rows of all sequences that are still running at time 0, then those at time 1, and
so on, longest sequence first. `batch_sizes[t]` is how many run at time t; it never grows with t.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ...arrays import as_array
from ...ops.shape import cat, stack
from ...tensor import Tensor


class PackedSequence(NamedTuple):
    """A batch of sequences without padding; made by `pack_padded_sequence` or `pack_sequence`.

    Attributes
    ----------
    data : Tensor, shape (sum of lengths, features)
    batch_sizes : Tensor of int64, shape (longest length,)
    sorted_indices : Tensor of int64, or None
        The sequence at each place, where packing sorted them.
    unsorted_indices : Tensor of int64, or None
        The place of each sequence.
    """

    data: Any
    batch_sizes: Any
    sorted_indices: Any = None
    unsorted_indices: Any = None


def pack_padded_sequence(
    input: Any, lengths: Any, batch_first: bool = False, enforce_sorted: bool = True
) -> PackedSequence:
    """Pack a padded batch.

    Parameters
    ----------
    input : Tensor, shape (T, N, ...), or (N, T, ...) with `batch_first`
    lengths : sequence of int, shape (N,)
        From 1 to T.
    enforce_sorted : bool
        Whether lengths must fall; with False the sequences are sorted, and sorted back by what unpacks them.

    Raises
    ------
    ValueError
        If the lengths do not fit the input, or are not sorted where they must be.
    """
    x = input if isinstance(input, Tensor) else Tensor(input)
    if batch_first:
        x = x.transpose(0, 1)
    sizes = np.asarray(as_array(lengths), np.int64)
    steps, count = x.shape[0], x.shape[1]
    if sizes.shape != (count,) or (count and (sizes.min() < 1 or sizes.max() > steps)):
        raise ValueError(
            f"pack_padded_sequence: lengths: expected {count} integers in [1, {steps}], got {sizes.tolist()}"
        )
    order = None
    if not enforce_sorted:
        order = np.argsort(-sizes, kind="stable")
        sizes, x = sizes[order], x[:, order]
    elif np.any(np.diff(sizes) > 0):
        raise ValueError(
            f"pack_padded_sequence: lengths: expected them to fall, got {sizes.tolist()}: "
            "sort the batch, or pass enforce_sorted=False"
        )
    batch_sizes = (sizes[None, :] > np.arange(sizes.max(initial=0))[:, None]).sum(1)
    data = cat([x[t, :n] for t, n in enumerate(batch_sizes.tolist())], 0)
    if order is None:
        return PackedSequence(data, Tensor(batch_sizes))
    return PackedSequence(data, Tensor(batch_sizes), Tensor(order), Tensor(np.argsort(order)))


def pad_packed_sequence(
    sequence: PackedSequence, batch_first: bool = False, padding_value: float = 0.0, total_length: int | None = None
) -> tuple[Tensor, Tensor]:
    """Undo `pack_padded_sequence`.

    Returns
    -------
    Tensor, shape (T, N, ...), or (N, T, ...) with `batch_first`
        T is the longest length, or `total_length`.
    Tensor of int64, shape (N,)
        The lengths.
    """
    sizes = as_array(sequence.batch_sizes).tolist()
    steps = len(sizes) if total_length is None else total_length
    if steps < len(sizes):
        raise ValueError(
            f"pad_packed_sequence: total_length: expected at least the longest length {len(sizes)}, got {total_length}"
        )
    data = sequence.data if isinstance(sequence.data, Tensor) else Tensor(sequence.data)
    rows, first = [], 0
    for n in sizes + [0] * (steps - len(sizes)):
        filler = Tensor(np.full((sizes[0] - n, *data.shape[1:]), padding_value, np.float32))
        rows.append(cat([data[first : first + n], filler], 0))
        first += n
    padded = stack(rows, 0)
    lengths = (np.asarray(sizes)[:, None] > np.arange(sizes[0])).sum(0)
    if sequence.unsorted_indices is not None:
        order = as_array(sequence.unsorted_indices)
        padded, lengths = padded[:, order], lengths[order]
    return (padded.transpose(0, 1) if batch_first else padded), Tensor(lengths)


def pad_sequence(sequences: Sequence[Any], batch_first: bool = False, padding_value: float = 0.0) -> Tensor:
    """Stack sequences (T_i, ...) of different lengths, padded to the longest: (T, N, ...)."""
    if not sequences:
        raise ValueError("pad_sequence: sequences: expected at least one, got none")
    longest = max(len(s) for s in sequences)
    padded = []
    for s in sequences:
        filler = Tensor(np.full((longest - len(s), *s.shape[1:]), padding_value, np.float32))
        padded.append(cat([s, filler], 0))
    result: Tensor = stack(padded, 0 if batch_first else 1)
    return result


def pack_sequence(sequences: Sequence[Any], enforce_sorted: bool = True) -> PackedSequence:
    """Pack sequences (T_i, ...) of different lengths."""
    return pack_padded_sequence(pad_sequence(sequences), [len(s) for s in sequences], enforce_sorted=enforce_sorted)
