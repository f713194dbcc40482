"""Rules that make a program shorter and keep every byte of its results. Each looks for one pattern in a `Draft`.

================== ==================================================================================================
merge_tables       table after table is one table; quantize after dequantize is one
quantize_before    quantization goes before movement, where it is a table
requantize_parts   parts of a join get its parameters before, which is often a table less
put_channels_last  images that a convolution reads are quantized with channels last
merge_floats       float functions of a code, quantized again, are a table (`tables`)
merge_pairs        a sum or product of a code with a table of itself (x · sigmoid(x)) is a table
fuse_relu          a ReLU after a layer or sum that nobody else reads is that one's lower bound: both clamp codes at the
                   zero point
drop_identity      what changes nothing is its input
merge_duplicates   what is computed twice from the same values is computed once
drop_dead          what nobody reads is not computed
================== ==================================================================================================
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import _C
from .._C import QParams, QTensor
from .ir import WHOLE, Draft, Instruction, Value
from .tables import all_codes, merge_floats, tabulates

Rule = Callable[[Draft], bool]


def _bytes(x: QTensor) -> np.ndarray:
    return np.ascontiguousarray(x.int_repr()).view(np.uint8)


def _is_byte(qparams: QParams | None) -> bool:
    return qparams is not None and not qparams.is_per_channel and qparams.dtype.itemsize == 1


def _table_of(instruction: Instruction) -> np.ndarray | None:
    """Return what an instruction does to each code, if it is a table or a requantization."""
    if instruction.name == "lookup":
        table: np.ndarray = instruction.attrs["table"]
        return table
    source = instruction.inputs[0].qparams if instruction.inputs else None
    if instruction.name == "requantize" and source is not None and _is_byte(source):
        return _bytes(_C.requantize(all_codes(source), instruction.attrs["qparams"]))
    return None


def merge_tables(draft: Draft) -> bool:
    """Make one table of two, and of a quantization of what was dequantized."""
    changed = False
    for step in draft.instructions:
        before = step.inputs[0].producer if step.inputs else None
        if before is None:
            continue
        if step.name == "quantize" and before.name == "dequantize":
            source = before.inputs[0].qparams
            if source is not None and _is_byte(source) and _is_byte(step.attrs["qparams"]):
                step.attrs = {"table": _bytes(_C.requantize(all_codes(source), step.attrs["qparams"])), **step.attrs}
                step.attrs.pop("channels_last")
                step.name, step.inputs = "lookup", [before.inputs[0]]
                changed = True
            continue
        second = _table_of(step)
        first = None if second is None else _table_of(before)
        if first is not None and second is not None:
            step.attrs = {"table": second[first], "qparams": step.attrs["qparams"]}
            step.name, step.inputs = "lookup", [before.inputs[0]]
            changed = True
    return changed


# What moves values, or takes the largest of them, and what it is on codes.
_MOVES = {name: name for name in ("cut", "reshape", "permute", "expand", "contiguous")} | {"float_max_pool": "max_pool"}


def quantize_before(draft: Draft) -> bool:
    """Let a quantization happen before the values are moved, where it then is a table.

    It may change places with the largest value of a window as well: larger values have no smaller codes.
    """
    for at, step in enumerate(draft.instructions):
        if step.name != "quantize" or step.attrs["qparams"].is_per_channel:
            continue
        value, moves = _moved(step.inputs[0])
        if not moves or not tabulates(value, draft, any(move.name == "float_max_pool" for move in moves)):
            continue
        added = _again(Instruction("quantize", step.path, [value], {**step.attrs}), moves, step.attrs["qparams"])
        draft.replace(step.output, added[-1].output)
        draft.instructions[at : at + 1] = added
        return True
    return False


def _moved(value: Value) -> tuple[Value, list[Instruction]]:
    """Return what a value was before it was moved, and how it was, in order."""
    moves: list[Instruction] = []
    while value.producer is not None and value.producer.name in _MOVES:
        moves.append(value.producer)
        value = value.producer.inputs[0]
    return value, moves[::-1]


def _again(first: Instruction, moves: list[Instruction], qparams: QParams) -> list[Instruction]:
    """Return an instruction that makes codes, and the moves again behind it; all with outputs."""
    added = [first, *(Instruction(_MOVES[move.name], move.path, [], {**move.attrs}) for move in moves)]
    for made, real in zip(added, (first.inputs[0], *(move.output for move in moves)), strict=True):
        meta = real.meta._replace(dtype=qparams.dtype.name, qparams=qparams)
        made.outputs = [Value(meta, producer=made)]
    for made, before in zip(added[1:], added, strict=False):
        made.inputs = [before.output]
    return added


def requantize_parts(draft: Draft) -> bool:
    """Give the parts of a join its parameters where they are dense, not part by part as they are joined."""
    for at, step in enumerate(draft.instructions):
        qparams = step.attrs.get("qparams")
        if step.name != "cat" or qparams is None or not _is_byte(qparams):
            continue
        for i, part in enumerate(step.inputs):
            if part.qparams == qparams or not _is_byte(part.qparams) or part.constant is not None:
                continue
            value, moves = _moved(part)
            assert part.qparams is not None
            attrs = {"table": _bytes(_C.requantize(all_codes(part.qparams), qparams)), "qparams": qparams}
            added = _again(Instruction("lookup", step.path, [value], attrs), moves, qparams)
            step.inputs[i] = added[-1].output
            draft.instructions[at:at] = added
            return True
    return False


_IMAGE_READERS = ("conv", "max_pool", "avg_pool", "adaptive_avg_pool")


def put_channels_last(draft: Draft) -> bool:
    """Quantize images that convolutions and pools read with channels last."""
    users, changed = draft.users(), False
    for step in draft.instructions:
        if step.name == "quantize" and not step.attrs["channels_last"] and step.output.ndim == 4:
            step.attrs["channels_last"] = any(u.name in _IMAGE_READERS for u in users.get(step.output, ()))
            changed = changed or step.attrs["channels_last"]
    return changed


def _root(value: Value) -> tuple[Value, np.ndarray]:
    """Return what a value is a table of, and the table."""
    made = value.producer
    table = None if made is None else _table_of(made)
    return (value, np.arange(256, dtype=np.uint8)) if made is None or table is None else (made.inputs[0], table)


def merge_pairs(draft: Draft) -> bool:
    """Make one table of a sum or product whose operands are both tables of one value."""
    changed = False
    for step in draft.instructions:
        if step.name not in ("add", "mul"):
            continue
        (a, first), (b, second) = (_root(value) for value in step.inputs)
        if a is b and _is_byte(a.qparams):
            run = _C.add if step.name == "add" else _C.mul
            left, right = _coded(first, step.inputs[0]), _coded(second, step.inputs[1])
            result = run(left, right, step.attrs["qparams"], relu=step.attrs["relu"])
            step.attrs = {"table": _bytes(result), "qparams": step.attrs["qparams"]}
            step.name, step.inputs = "lookup", [a]
            changed = True
    return changed


def _coded(table: np.ndarray, value: Value) -> QTensor:
    assert value.qparams is not None
    return QTensor.from_numpy(table.view(value.qparams.dtype.numpy), value.qparams)


def fuse_relu(draft: Draft) -> bool:
    """Give a ReLU to the layer before it."""
    users = draft.users()
    for step in draft.instructions:
        before = step.inputs[0].producer if step.inputs else None
        if step.name != "lookup" or before is None or "relu" not in before.attrs or len(users[step.inputs[0]]) > 1:
            continue
        qparams = before.attrs.get("qparams")
        if qparams is None or qparams != step.attrs["qparams"]:
            continue
        codes = np.asarray(all_codes(qparams).int_repr()).astype(np.int64)
        clamped = np.maximum(codes, qparams.zero_point).astype(qparams.dtype.numpy).view(np.uint8)
        if np.array_equal(step.attrs["table"], clamped):
            before.attrs["relu"] = True
            draft.replace(step.output, before.output)
            draft.instructions.remove(step)
            return True
    return False


def drop_identity(draft: Draft) -> bool:
    """Let what changes nothing be its input."""
    for step in draft.instructions:
        if not step.inputs:
            continue
        x = step.inputs[0]
        same = step.name == "requantize" and x.qparams == step.attrs["qparams"]
        if step.name == "lookup":
            same = x.qparams == step.attrs["qparams"] and np.array_equal(step.attrs["table"], np.arange(256))
        elif step.name == "permute":
            same = step.attrs["dims"] == sorted(step.attrs["dims"])
        elif step.name == "cut":
            same = all(i == WHOLE for i in step.attrs["index"])
        elif step.name == "cat":
            same = len(step.inputs) == 1 and x.qparams == step.attrs["qparams"]
        if same:
            draft.replace(step.output, x)
            draft.instructions.remove(step)
            return True
    return False


def _frozen(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, value.tobytes()
    if isinstance(value, (list, tuple)):
        return tuple(_frozen(part) for part in value)
    return value if isinstance(value, (int, float, str, bool, QParams, type(None))) else id(value)


def merge_duplicates(draft: Draft) -> bool:
    """Compute once what is computed twice."""
    seen: dict[Any, Instruction] = {}
    for step in draft.instructions:
        inputs = tuple(id(v.constant) if v.constant is not None else id(v) for v in step.inputs)
        key = (step.name, inputs, tuple((name, _frozen(v)) for name, v in step.attrs.items()))
        first = seen.setdefault(key, step)
        if first is not step:
            for old, new in zip(step.outputs, first.outputs, strict=True):
                draft.replace(old, new)
            draft.instructions.remove(step)
            return True
    return False


def drop_dead(draft: Draft) -> bool:
    """Drop what nobody reads."""
    needed: set[Value] = set(draft.outputs)
    kept: list[Instruction] = []
    for step in reversed(draft.instructions):
        if any(value in needed for value in step.outputs):
            needed.update(step.inputs)
            kept.append(step)
    changed = len(kept) < len(draft.instructions)
    draft.instructions = kept[::-1]
    return changed


RULES: tuple[Rule, ...] = (
    drop_dead,
    drop_identity,
    merge_duplicates,
    quantize_before,
    requantize_parts,
    put_channels_last,
    merge_tables,
    merge_floats,
    merge_pairs,
    fuse_relu,
)


def fuse(draft: Draft) -> dict[str, int]:
    """Apply all rules until none fires; return how often each did."""
    fired: dict[str, int] = {}
    while True:
        changed = [rule for rule in RULES if rule(draft)]
        if not changed:
            return fired
        for rule in changed:
            fired[rule.__name__] = fired.get(rule.__name__, 0) + 1
