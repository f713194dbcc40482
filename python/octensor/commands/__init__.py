"""The commands of `octensor` that work on model files: one module each, with `add_arguments(parser)`, `main(options)`.

A wrong use raises `CommandError`, or what the library raises for it; `octensor.cli` prints that in one line.
"""

from __future__ import annotations


class CommandError(ValueError):
    """Something is wrong with what was asked for; the text says what, and what to do."""
