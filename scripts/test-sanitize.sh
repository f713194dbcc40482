#!/usr/bin/env bash
# Run the suite on an extension built with GCC's address and undefined-behaviour sanitizers. A finding
# ends the run with its report. Called by `make test-sanitize`, which has made .venv/test.
set -euo pipefail
cd "$(dirname "$0")/.."
eval "pytest_args=(${PYTEST_ARGS-})" # quoted as in a shell, like make test's

work=$PWD/build/sanitize python=$PWD/.venv/test/bin/python
rm -rf "$work/wheel" "$work/site"
"$python" -m pip wheel --quiet --no-deps --no-build-isolation -Cbuild-dir="$work/build" -Cinstall.strip=false \
  -Ccmake.define.OCTENSOR_SANITIZE=ON -w "$work/wheel" .
"$python" -m pip install --quiet --no-deps --target "$work/site" "$work"/wheel/*.whl

# Uncaptured, for a report that ends the process must be seen. The size and import time of this wheel mean
# nothing, and its objects are not those that users get.
export PYTHONPATH=$work/site PYTHONMALLOC=malloc ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1
export UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
LD_PRELOAD="$(gcc -print-file-name=libasan.so) $(gcc -print-file-name=libstdc++.so)" \
  "$python" -m pytest -p no:faulthandler -s --ignore tests/test_packaging.py "${pytest_args[@]}"
