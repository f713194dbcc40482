"""What a hostile case is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import octensor as ot


@dataclass(frozen=True)
class Case:
    """A file that a loader must refuse, or at least survive."""

    loader: str  # torch, safetensors, oct or onnx
    name: str
    write: Callable[[Path], Path]  # into an empty folder; returns the file's path
    match: str | None = ""  # a pattern of the ValueError's message; None: it may load, within the limits of memory

    def load(self, path: Path) -> Any:
        """Give the file to its loader."""
        return ot.onnx.load(path) if self.loader == "onnx" else ot.load(path)

    @property
    def start(self) -> str:
        """How messages begin."""
        return "onnx.load: " if self.loader == "onnx" else "load: x"
