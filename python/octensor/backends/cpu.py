"""Instruction sets and threads of the CPU kernels. Results never depend on either: they are the same bits."""

from __future__ import annotations

from .._C import (
    cpu_features,
    get_isa,
    get_num_threads,
    isa_list,
    isa_missing,
    kernel_forms,
    set_isa,
    set_num_threads,
)

__all__ = [
    "cpu_features",
    "get_isa",
    "get_num_threads",
    "isa_list",
    "isa_missing",
    "kernel_forms",
    "set_isa",
    "set_num_threads",
]
