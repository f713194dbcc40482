#!/usr/bin/env bash
# The hash matrix over all instruction sets that can be reached: this CPU's, AVX-VNNI emulated where it has none, and
# those of aarch64 where `make test-arm` or `make wheel-arm` has left an emulated Python. Called by `make matrix`, which
# has installed the wheel into .venv/test.
set -euo pipefail
cd "$(dirname "$0")/.."

work=$PWD/build/matrix python=$PWD/.venv/test/bin/python
rm -rf "$work"
mkdir -p "$work"
"$python" scripts/hash_matrix.py --json "$work/native.json" >/dev/null || true # compared below, all together
if "$python" -c "from octensor import _C; raise SystemExit(dict(_C.isa_list()).get('avxvnni', True))"; then
  scripts/avx-vnni.sh
  build/vnni/python scripts/hash_matrix.py --json "$work/avxvnni.json" >/dev/null || true
fi
if [ -x build/arm/python ]; then
  build/arm/python scripts/hash_matrix.py --json "$work/arm.json" >/dev/null || true
else
  echo "no emulated aarch64: make test-arm leaves one"
fi
"$python" scripts/hash_matrix.py --merge "$work"/*.json
