"""`TraceError`, and where in the user's code something happened."""

from __future__ import annotations

import sys
from pathlib import Path
from types import FrameType

PACKAGE = str(Path(__file__).resolve().parents[1]) + "/"


class TraceError(ValueError):
    """Something in a model that tracing cannot follow; the message says where and what to do."""


def user_frame() -> FrameType | None:
    """Return the innermost running frame that is not octensor's own, nor generated code."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        name = frame.f_code.co_filename
        if not name.startswith(PACKAGE) and not (name.startswith("<") and not name.startswith(("<stdin", "<doctest"))):
            return frame
        frame = frame.f_back
    return None


def user_line() -> str | None:
    """Return "file:line" of the user's code that is running, or None."""
    frame = user_frame()
    return None if frame is None else f"{frame.f_code.co_filename}:{frame.f_lineno}"


def located(message: str) -> str:
    """Return the message with the line of the user's code at its head."""
    line = user_line()
    return message if line is None else f"{line}: {message}"
