"""What runs the kernels: `backends.cpu` (instruction sets, threads), `backends.quantized` (engine names)."""

from __future__ import annotations

from . import cpu, quantized

__all__ = ["cpu", "quantized"]
