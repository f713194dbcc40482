#!/usr/bin/env bash
# Write build/vnni/python: a Python (that of .venv/test, or $1) whose octensor runs on a CPU with AVX-VNNI and without
# AVX-512, whatever this AVX2 machine has (scripts/emulated/avx_vnni.cpp). Needs a C++ compiler and objdump.
set -euo pipefail
cd "$(dirname "$0")/.."

work=$PWD/build/vnni python=${1:-$PWD/.venv/test/bin/python}
command -v objdump >/dev/null || { echo "missing: objdump (Debian: binutils)" >&2; exit 1; }
mkdir -p "$work"
"$python" scripts/avx_vnni.py "$work/site"
"${CXX:-g++}" -std=c++20 -O2 -shared -fPIC -o "$work/avx_vnni.so" scripts/emulated/avx_vnni.cpp -ldl
cat >"$work/python" <<END
#!/bin/sh
export PYTHONPATH=$work/site LD_PRELOAD=$work/avx_vnni.so
exec $python "\$@"
END
chmod +x "$work/python"
"$work/python" -c "from octensor import _C; assert _C.get_isa() == 'avxvnni', _C.get_isa()"
