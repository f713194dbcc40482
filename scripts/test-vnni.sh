#!/usr/bin/env bash
# Run the suite of the x86-64 wheel on the kernels that use VNNI. This CPU must have AVX2.
#   AVX-VNNI      natively where the CPU has it, else with its few instructions emulated (scripts/avx-vnni.sh)
#   AVX-512 VNNI  natively, and not at all on a CPU without it
# Called by `make test-vnni`, which has built build/wheel and installed it into .venv/test. Ends with pytest's summaries.
set -euo pipefail
cd "$(dirname "$0")/.."
eval "pytest_args=(${PYTEST_ARGS-})" # quoted as in a shell, like make test's

python=$PWD/.venv/test/bin/python
has() { "$python" -c "from octensor import _C; raise SystemExit(not dict(_C.isa_list())['$1'])"; }
export OCTENSOR_BUILD_DIR=build/native PYTHONDONTWRITEBYTECODE=1
OCTENSOR_WHEEL=$(echo build/wheel/*.whl)
export OCTENSOR_WHEEL

summaries=()
suite() { # title, python: all sets of that machine, the named one by default
  local log
  echo "$1"
  log=$(mktemp)
  "$2" -m pytest -p no:cacheprovider "${pytest_args[@]}" | tee "$log"
  summaries+=("$1: $(tail -n 1 "$log")")
  rm "$log"
}

if has avx512vnni; then
  suite "AVX-512 VNNI, which this CPU has" "$python"
else
  summaries+=("AVX-512 VNNI: not run, this CPU has none")
fi
if has avxvnni; then
  OCTENSOR_ISA=avxvnni suite "AVX-VNNI, which this CPU has" "$python"
else
  scripts/avx-vnni.sh
  suite "AVX-VNNI, emulated" build/vnni/python
fi
printf '%s\n' "${summaries[@]}"
