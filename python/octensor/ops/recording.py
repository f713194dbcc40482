"""Where a recorder hears of ops: `RECORDING.recorder` is None, or has a method `note(op, tensors, attrs, result)`.

`apply` tells it of every op. Code that calls a kernel without `apply`, because it holds packed weights, says itself
which op it has run:

    result = _C.linear(x, packed, qparams, relu=relu)
    return result if RECORDING.recorder is None else RECORDING.recorder.note(LINEAR, (x, weight, bias), attrs, result)

so that without a recorder an op costs one attribute check more. `octensor.graph.record` has the recorder.
"""

from __future__ import annotations

from typing import Any, Protocol


class Recorder(Protocol):
    """What is told of ops."""

    def note(self, op: Any, tensors: tuple[Any, ...], attrs: dict[str, Any], result: Any) -> Any:
        """Hear that `op` made `result` of tensors and attributes; return the result."""

    def knows(self, value: Any) -> bool:
        """Whether a tensor or array is an input of the model, or was made of one by ops."""


class Recording:
    """Holds the recorder of the process, if there is one; it looks itself for its own thread."""

    __slots__ = ("recorder",)

    def __init__(self) -> None:
        self.recorder: Recorder | None = None


RECORDING = Recording()
