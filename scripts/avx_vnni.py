"""Make a copy of the installed package that finds itself on a CPU with AVX-VNNI (scripts/emulated/avx_vnni.cpp).

python scripts/avx_vnni.py FOLDER    writes FOLDER/octensor, for PYTHONPATH
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import octensor
from octensor.bench import mask


def multiplications(library: Path) -> list[str]:
    """Addresses of the VEX forms of vpdpbusd and vpdpwssd."""
    command = ["objdump", "--disassemble", "--wide", "--no-show-raw-insn", str(library)]
    listing = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return re.findall(r"^\s*([0-9a-f]+):\s+\{vex\} vpdp(?:busd|wssd)\b", listing, re.MULTILINE)


def main() -> None:
    """Copy, replace cpuid, list the multiplications."""
    package = Path(sys.argv[1], "octensor")
    shutil.rmtree(package, ignore_errors=True)
    shutil.copytree(Path(octensor.__file__).parent, package)
    (library,) = package.glob("_C*.so")
    content = bytearray(library.read_bytes())
    for offset in mask.cpuid_offsets(library):
        content[offset : offset + 2] = b"\x0f\x0a"
    library.write_bytes(content)
    library.with_name(f"{library.name}.sites").write_text("\n".join(multiplications(library)))


if __name__ == "__main__":
    main()
