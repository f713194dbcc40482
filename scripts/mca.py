"""What an instruction-scheduling model says of the compiled inner loops, beside the bound of the multiply ports.

    python scripts/mca.py [BUILD_FOLDER...]     default: build/native build/arm/build

For each instruction set's object found there, the innermost loops of `LOOPS` are taken out of the disassembly and given
to llvm-mca (19, or another that knows the core) for a named core. The bound is the time that the loop's multiply
instructions alone take on the ports that the model gives them. Prints a table in Markdown (docs/isa.md).
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ITERATIONS = 200
CORES = {  # instruction set: (core of the model, architecture)
    "avx2": ("znver3", "x86_64"),
    "avxvnni": ("alderlake", "x86_64"),
    "avx512vnni": ("icelake-server", "x86_64"),
    "neon": ("cortex-a72", "aarch64"),
    "neondot": ("neoverse-n1", "aarch64"),
    "neoni8mm": ("neoverse-v1", "aarch64"),
}
MULTIPLY = r"\b(vpmadd\w+|vpdp\w+|smlal2?|sdot|usdot|usmmla)\b"
BYTES = r"\b(vpmaddubsw|vpdpbusd|sdot|usdot|usmmla)\b"  # those that a set has for codes as they are
LOOPS = {  # what: the mangled symbol that holds the loop
    "GEMM": r"kernels(4gemm|9gemm_tile|11mixed_tiles)I",
    "grouped": r"kernels7groupedI.*(Words|Bytes)",
    "Winograd": r"kernels(9gemm_tile|12gemm_tile_of)I.*Words.*sLi8192",
    "depthwise": r"kernels\d+\w*(window|depthwise)\w*I",
    "4-bit": r"kernels(10int4_group|12int4_gemm_of)I",
}


@dataclass
class Loop:
    """An innermost loop: its instructions, the jump back last."""

    lines: list[str]

    @property
    def multiplies(self) -> int:
        return sum(bool(re.search(MULTIPLY, line)) for line in self.lines)

    @property
    def of_bytes(self) -> bool:
        return any(re.search(BYTES, line) for line in self.lines)


def loops(listing: str, symbol: str) -> list[Loop]:
    """All innermost loops of the functions whose mangled name matches."""
    found = []
    for function in re.split(r"\n(?=[0-9a-f]{16} <)", listing):
        head, *rest = function.splitlines()
        if not re.search(symbol, head):
            continue
        code = [m.groups() for line in rest if (m := re.match(r"\s*([0-9a-f]+):\t(.+)", line))]
        place = {int(address, 16): i for i, (address, _) in enumerate(code)}
        for end, (_, text) in enumerate(code):
            jump = re.match(r"(?:j\w+|b\.\w+|cbn?z\s+\w+,)\s+([0-9a-f]+) <", text)
            begin = place.get(int(jump[1], 16)) if jump else None
            if begin is None or begin > end:
                continue
            body = [text for _, text in code[begin : end + 1]]
            if not any(re.match(r"(?:j\w+|b\.?\w*|cbn?z|tbn?z|ret\w*)\s", text) for text in body[:-1]):
                found.append(Loop(body))
    return found


def analyse(loop: Loop, core: str, architecture: str) -> tuple[float, float]:
    """Return cycles of a turn by the ports of its multiplies alone, and by the model."""
    tool = shutil.which("llvm-mca-19") or shutil.which("llvm-mca")
    if tool is None:
        raise SystemExit("llvm-mca: not found (Debian: apt-get install llvm-19)")
    comment = r"\s*//.*" if architecture == "aarch64" else r"\s*#.*"
    source = ".L0:\n" + "\n".join(re.sub(r"\s[0-9a-f]+ <.*", " .L0", re.sub(comment, "", t)) for t in loop.lines)
    command = [tool, f"-mtriple={architecture}", f"-mcpu={core}", f"-iterations={ITERATIONS}"]
    out = subprocess.run(command, input=source, capture_output=True, text=True, check=True).stdout
    total = float(re.search(r"Total Cycles:\s+(\d+)", out)[1])  # type: ignore[index]
    table = re.findall(r"^ \d+ +\d+ +([\d.]+) +(.*)$", out, re.MULTILINE)
    bound = sum(float(inverse) for inverse, text in table if re.search(MULTIPLY, text))
    return bound, total / ITERATIONS


def main() -> None:
    """Print the table for every object found."""
    folders = [Path(name) for name in sys.argv[1:]] or [ROOT / "build" / "native", ROOT / "build" / "arm" / "build"]
    print("| set | core | loop | multiplies | bound, cycles | model, cycles | share |\n" + "| --- " * 7 + "|")
    for isa, (core, architecture) in CORES.items():
        for path in (path for folder in folders for path in folder.rglob(f"isa/{isa}.cpp.o")):
            prefix = "aarch64-linux-gnu-" if architecture == "aarch64" else ""
            command = [f"{prefix}objdump", "-d", "-w", "--no-show-raw-insn", str(path)]
            listing = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            for what, symbol in LOOPS.items():
                candidates = [loop for loop in loops(listing, symbol) if loop.multiplies]
                if not candidates:
                    continue
                loop = max(candidates, key=lambda loop: (loop.of_bytes, loop.multiplies))
                bound, cycles = analyse(loop, core, architecture)
                share = f"{bound / cycles:.0%}"
                print(f"| {isa} | {core} | {what} | {loop.multiplies} | {bound:.1f} | {cycles:.1f} | {share} |")
            break


if __name__ == "__main__":
    main()
