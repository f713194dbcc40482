"""Seeded mutations of files: of bytes, of the JSON inside of safetensors headers, and of what other formats hold."""

from __future__ import annotations

import json
import random
from typing import Any

import mutate_onnx
import mutate_torch

NUMBERS = [0, 1, -1, 2, 7, 127, 128, 255, 256, 65535, 1 << 31, (1 << 31) - 1, 1 << 32, 1 << 62, 1 << 63, -(1 << 63), 33]
OPERATIONS = [
    "add", "mul", "conv1d", "conv2d", "conv3d", "conv_transpose2d", "linear", "linear_dynamic", "linear_weight_only",
    "matmul", "relu", "cat", "stack", "reshape", "permute", "getitem", "expand", "repeat", "flip", "pad", "gather",
    "unfold", "topk", "cumsum", "max_pool2d", "avg_pool2d", "adaptive_avg_pool2d", "quantize", "dequantize",
    "int_repr", "embedding", "softmax", "lstm", "layer_norm", "batch_norm", "sum", "mean", "where", "cast",
    "interpolate", "add_relu", "attend_integer", "call.item", "call.to", "call.argmax", "call.order",
]  # fmt: skip
VALUES: list[Any] = [*NUMBERS, None, True, False, "", "x", "../x", [], {}, [[]], 0.5, 1e-46, 1e300, "add", "float32"]


def mutate(kind: str, data: bytes, others: list[bytes], rng: random.Random) -> bytes:
    """Return a file like `data`, most often one of the same structure."""
    changed = None
    if rng.random() < 0.7:
        if data[8:9] == b"{":
            changed = header(data, rng)
        elif kind == "onnx":
            changed = mutate_onnx.model(data, others, rng)
        elif data[:2] == b"PK":
            changed = mutate_torch.archive(data, rng, lambda entry: flip(entry, others, rng))
        elif kind == "torch" and rng.random() < 0.7:
            changed = _later_pickle(data, rng)
    return flip(data, others, rng) if changed is None else changed


def flip(data: bytes, others: list[bytes], rng: random.Random) -> bytes:
    """Return bytes with a few places changed, lost, doubled, or taken from other files."""
    out = bytearray(data)
    for _ in range(rng.choice([1, 1, 1, 2, 4, 16])):
        place, length = rng.randrange(len(out) + 1), rng.choice([1, 1, 2, 4, 8, 32, 200])
        match rng.randrange(7):
            case 0 if out:
                out[min(place, len(out) - 1)] ^= 1 << rng.randrange(8)
            case 1 if out:
                out[min(place, len(out) - 1)] = rng.randrange(256)
            case 2:
                del out[place : place + length]
            case 3:
                out[place:place] = out[place : place + length]
            case 4:
                number = rng.choice(NUMBERS) & ((1 << 64) - 1)
                width = rng.choice([1, 2, 4, 8])
                out[place : place + width] = (number & ((1 << 8 * width) - 1)).to_bytes(width, "little")
            case 5:
                other = rng.choice(others)
                start = rng.randrange(len(other) + 1)
                out[place : place + length] = other[start : start + length]
            case 6:
                out[place:place] = bytes(rng.randrange(256) for _ in range(length))
    return bytes(out)


def _later_pickle(data: bytes, rng: random.Random) -> bytes | None:
    """Return an old file of torch with another pickle behind its magic number, version and facts of the machine."""
    begin = -1
    for _ in range(rng.choice([3, 3, 3, 4])):
        begin = data.find(b".\x80\x02", begin + 1)
    changed = mutate_torch.opcodes(data[begin + 1 :], rng) if begin >= 0 else None
    return None if changed is None else data[: begin + 1] + changed


def header(data: bytes, rng: random.Random) -> bytes | None:
    """Return a file of safetensors with another header, whose lengths fit; None if it cannot be read."""
    length = int.from_bytes(data[:8], "little")
    try:
        content = json.loads(data[8 : 8 + length])
        metadata = content.get("__metadata__")
        if metadata and "octensor" in metadata and rng.random() < 0.9:
            inner = json.loads(metadata["octensor"])
            for _ in range(rng.choice([1, 1, 2, 5])):
                inner = change(inner, rng)
            metadata["octensor"] = json.dumps(inner)
        else:
            content = change(content, rng)
    except (ValueError, AttributeError, TypeError, RecursionError):
        return None
    text = json.dumps(content).encode()
    return len(text).to_bytes(8, "little") + text + data[8 + length :]


def change(value: Any, rng: random.Random) -> Any:
    """Return JSON with one place changed: another value, one from elsewhere, one more or less."""
    places: list[tuple[Any, Any]] = []

    def look(part: Any) -> None:
        for key in list(part) if isinstance(part, dict) else range(len(part)):
            places.append((part, key))
            if isinstance(part[key], (dict, list)):
                look(part[key])

    if not isinstance(value, (dict, list)) or not value:
        return rng.choice(VALUES)
    look(value)
    part, key = rng.choice(places)
    if rng.random() < 0.4:  # what stays of its kind is seldom refused at once
        numbers = [p for p in places if type(p[0][p[1]]) is int]
        names = [p for p in places if p[1] == "op"]
        if names and rng.random() < 0.2:
            part, key = rng.choice(names)
            part[key] = rng.choice(OPERATIONS)
        elif numbers:
            part, key = rng.choice(numbers)
            part[key] = rng.choice([part[key] + 1, part[key] - 1, -part[key], 0, 1, 2, 3, rng.choice(NUMBERS)])
        return value
    match rng.randrange(6):
        case 0:
            part[key] = rng.choice(VALUES)
        case 1:
            other, name = rng.choice(places)
            part[key] = json.loads(json.dumps(other[name])) if name in other or isinstance(other, list) else None
        case 2:
            del part[key]
        case 3 if isinstance(part, list):
            part.insert(key, json.loads(json.dumps(part[key])))
        case 4 if isinstance(part, dict):
            part[rng.choice(["out", "qparams", "batch", "node", "x", "shape", str(key) + "_"])] = rng.choice(VALUES)
        case _:
            if isinstance(part[key], int):
                part[key] = rng.choice(
                    [part[key] + 1, part[key] - 1, -part[key], part[key] * 1000, rng.choice(NUMBERS)]
                )
            else:
                part[key] = rng.choice(VALUES)
    return value
