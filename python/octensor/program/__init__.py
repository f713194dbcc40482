"""Whole models as programs: one flat plan of C++ steps, one block of memory per call.

`octensor.compile` records a model (`graph.record`), lowers each op by a row of a table (`rows`) to an instruction,
applies the rules of `fuse`, and hands the instructions to `_C.Program`, which plans memory and runs (docs/program.md).
"""

from .lower import CompileError as CompileError
from .program import Program as Program
from .program import compile as compile
