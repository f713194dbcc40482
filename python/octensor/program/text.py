"""A program for reading: its steps as lines, and its memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .program import Program

_UNITS = ("B", "KB", "MB", "GB")


def size_text(size: float) -> str:
    """Return bytes in a unit that fits: "12.3 KB"."""
    unit = 0
    while size >= 1000 and unit < len(_UNITS) - 1:
        size, unit = size / 1000, unit + 1
    return f"{size:.0f} {_UNITS[unit]}" if unit == 0 else f"{size:.1f} {_UNITS[unit]}"


def columns(rows: list[list[str]], right: set[int] = frozenset()) -> str:  # type: ignore[assignment]
    """Return rows of text as aligned columns."""
    widths = [max(len(line[i]) for line in rows) for i in range(len(rows[0]))]
    lines = []
    for line in rows:
        cells = [
            text.rjust(w) if i in right else text.ljust(w) for i, (text, w) in enumerate(zip(line, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def program_text(program: Program) -> str:
    """Return the text of `repr(program)`."""
    steps, memory = program.steps(), program.memory()
    names = ", ".join(f"{name}: {_input(program, value)}" for name, value in program._inputs)
    head = (
        f"Program({names}): {len(steps)} steps, arena {size_text(memory['arena'])} (largest live set "
        f"{size_text(memory['live'])}), weights {size_text(memory['weights'])}"
    )
    if program.batch_bound is not None:
        head += f"\nbound to the example's batch: {program.batch_bound}"
    rows = [[str(i), _op(step), ", ".join(step["outputs"]), step["path"]] for i, step in enumerate(steps)]
    return head + "\n" + columns([["", "op", "result", "module"], *rows], {0}) if rows else head


def _op(step: dict[str, Any]) -> str:
    return str(step["op"]) + (" (in place)" if step["in_place"] else "")


def _input(program: Program, value: Any) -> str:
    shape = list(map(str, value.meta.shape))
    if program.batch_bound is None and program._batch is not None:
        axis, size = program._batch
        if len(shape) > axis and value.meta.shape[axis] == size:
            shape[axis] = "N"
    return f"{value.meta.dtype} ({', '.join(shape)})"
