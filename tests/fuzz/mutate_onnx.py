"""Seeded mutations of ONNX models: of the messages of their protobuf, so that the result parses."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

NUMBERS = [0, 1, -1, 2, 3, 7, 8, 13, 16, 21, 33, 127, 128, 255, 65536, 1 << 20, (1 << 31) - 1, -(1 << 31)]
LARGE = [1 << 31, 1 << 40, (1 << 62) + 1, (1 << 63) - 1, -(1 << 63)]
FLOATS = [0.0, -1.0, 0.5, 1e-46, 1e-30, 1e30, float("nan"), float("inf"), -0.0]
TEXTS = ["", "x", "y", "../x", "Conv", "QLinearConv", "MatMulInteger", "reflect", "SAME_UPPER", "class", "a.weight"]
MOST_DEPTH = 8


def model(data: bytes, others: list[bytes], rng: random.Random) -> bytes | None:
    """Return a model with a few places changed; None if `data` does not parse."""
    import onnx

    try:
        made = onnx.ModelProto.FromString(data)
        for _ in range(rng.choice([1, 1, 1, 2, 4, 8])):
            other = onnx.ModelProto.FromString(rng.choice(others)) if rng.random() < 0.2 else made
            _change(made, other, rng)
        return bytes(made.SerializeToString())
    except Exception:
        return None


def _messages(message: Any, depth: int = 0) -> Iterator[Any]:
    yield message
    for field, value in message.ListFields():
        if field.message_type is not None and depth < MOST_DEPTH:
            for part in value if field.is_repeated else [value]:
                yield from _messages(part, depth + 1)


def _change(made: Any, other: Any, rng: random.Random) -> None:
    message = rng.choice(list(_messages(made)))
    fields = [field for field, _ in message.ListFields()]
    field = rng.choice(fields if fields and rng.random() < 0.85 else list(message.DESCRIPTOR.fields))
    held = getattr(message, field.name)
    alike = [m for m in _messages(other) if m.DESCRIPTOR is field.message_type] if field.message_type else []
    if field.is_repeated:
        place = rng.randrange(len(held)) if len(held) else None
        match rng.randrange(5):
            case 0 if place is not None:
                del held[place]
            case 1 if place is not None and len(held) < 200:
                held.append(_copy(held[place]) if field.message_type else held[place])
            case 2 if place is not None and not field.message_type:
                held[place] = _value(field, held[place], message, rng)
            case 3 if alike:
                held.insert(rng.randrange(len(held) + 1), _copy(rng.choice(alike)))
            case _ if not field.message_type:
                held.append(_value(field, rng.choice(held) if len(held) else 0, message, rng))
    elif field.message_type:
        if alike and rng.random() < 0.7:
            held.CopyFrom(_copy(rng.choice(alike)))
        else:
            message.ClearField(field.name)
    elif rng.random() < 0.1:
        message.ClearField(field.name)
    else:
        setattr(message, field.name, _value(field, held, message, rng))


def _copy(message: Any) -> Any:
    """Return a copy: a message that is put into one of its own parts leads protobuf astray."""
    made = type(message)()
    made.CopyFrom(message)
    return made


def _value(field: Any, held: Any, message: Any, rng: random.Random) -> Any:
    """Return a value for a scalar field, somewhat like the one it holds."""
    match field.cpp_type:
        case field.CPPTYPE_STRING if field.type == field.TYPE_BYTES:
            grown = bytearray(held or b"\0\0\0\0")
            if grown and rng.random() < 0.8:
                start = rng.randrange(len(grown))
                width = rng.choice([1, 4, 8])
                number = rng.choice(NUMBERS + LARGE) & ((1 << 8 * width) - 1)
                grown[start : start + width] = number.to_bytes(width, "little")[: len(grown) - start]
                return bytes(grown)
            return bytes(grown[: rng.randrange(len(grown) + 1)]) if rng.random() < 0.5 else bytes(grown) * 2
        case field.CPPTYPE_STRING:
            return rng.choice(TEXTS) if rng.random() < 0.6 else f"{held}{rng.choice(TEXTS)}"
        case field.CPPTYPE_FLOAT | field.CPPTYPE_DOUBLE:
            return rng.choice(FLOATS)
        case field.CPPTYPE_ENUM:
            return rng.choice([v.number for v in field.enum_type.values])
    if rng.random() < 0.4 and isinstance(held, int):
        return max(-(1 << 31), min(held + rng.choice([-2, -1, 1, 2]), (1 << 31) - 1))
    return rng.choice(NUMBERS + (LARGE if field.cpp_type == field.CPPTYPE_INT64 else []))
