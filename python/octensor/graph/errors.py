"""`TraceError`, and where in the user's code something happened."""

from __future__ import annotations

import sys
from pathlib import Path
from types import FrameType

PACKAGE = str(Path(__file__).resolve().parents[1]) + "/"


class TraceError(ValueError):
    """Something in a model that tracing cannot follow; the message says where and what to do."""


def is_users(frame: FrameType) -> bool:
    """Whether a frame runs the user's code: not octensor's own, nor generated code."""
    name = frame.f_code.co_filename
    return not name.startswith((PACKAGE, "<octensor.graph", "<frozen", "<__array_function__"))


def user_line() -> str | None:
    """Return "file:line" of the user's code that is running, or None."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and not is_users(frame):
        frame = frame.f_back
    return None if frame is None else f"{frame.f_code.co_filename}:{frame.f_lineno}"


def raised_at(error: BaseException) -> str | None:
    """Return "file:line" of the innermost user's code that an error came through, or None."""
    line, traceback = None, error.__traceback__
    while traceback is not None:
        if is_users(traceback.tb_frame):
            line = f"{traceback.tb_frame.f_code.co_filename}:{traceback.tb_lineno}"
        traceback = traceback.tb_next
    return line


def located(message: str) -> str:
    """Return the message with the line of the user's code at its head."""
    line = user_line()
    return message if line is None else f"{line}: {message}"
