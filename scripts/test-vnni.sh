#!/usr/bin/env bash
# Run the suite of the x86-64 wheel with the AVX-VNNI and AVX-512 VNNI kernels, whatever this CPU has (it must have
# AVX2). AVX-VNNI: natively, or with its instructions emulated (scripts/emulated/avx_vnni.cpp). AVX-512 VNNI: natively,
# or a part of the kernels on an emulated processor. Called by `make test-vnni`, which has built build/wheel and
# installed it into .venv/test.
set -euo pipefail
cd "$(dirname "$0")/.."
eval "pytest_args=(${PYTEST_ARGS-})" # quoted as in a shell, like make test's

root=$PWD work=$PWD/build/vnni python=$PWD/.venv/test/bin/python
mkdir -p "$work"
has() { "$python" -c "from octensor import _C; raise SystemExit(not dict(_C.isa_list())['$1'])"; }
export OCTENSOR_BUILD_DIR=build/native PYTHONDONTWRITEBYTECODE=1
OCTENSOR_WHEEL=$(echo build/wheel/*.whl)
export OCTENSOR_WHEEL

if has avx512vnni; then
  echo "AVX-512 VNNI: this CPU has it"
  "$python" -m pytest -p no:cacheprovider "${pytest_args[@]}"
fi
if has avxvnni; then
  echo "AVX-VNNI: this CPU has it"
  OCTENSOR_ISA=avxvnni "$python" -m pytest -p no:cacheprovider "${pytest_args[@]}"
else
  echo "AVX-VNNI: emulated"
  "$python" scripts/avx_vnni.py "$work/site"
  "${CXX:-g++}" -std=c++20 -O2 -shared -fPIC -o "$work/avx_vnni.so" scripts/emulated/avx_vnni.cpp -ldl
  export PYTHONPATH=$work/site LD_PRELOAD=$work/avx_vnni.so
  "$python" -c "from octensor import _C; assert _C.get_isa() == 'avxvnni', _C.get_isa()"
  "$python" -m pytest -p no:cacheprovider "${pytest_args[@]}"
fi
