#!/usr/bin/env bash
# build-sanitized.sh FOLDER [-Ccmake.define.NAME=VALUE...]: build the extension with GCC's address and
# undefined-behaviour sanitizers into FOLDER/site, for `make test-sanitize` and `make fuzz`, which have made .venv/test.
# What runs on it sources scripts/sanitized-env.sh.
set -euo pipefail
cd "$(dirname "$0")/.."
work=$PWD/$1 python=$PWD/.venv/test/bin/python
shift
rm -rf "$work/wheel" "$work/site"
"$python" -m pip wheel --quiet --no-deps --no-build-isolation -Cbuild-dir="$work/build" -Cinstall.strip=false \
  -Ccmake.define.OCTENSOR_SANITIZE=ON "$@" -w "$work/wheel" .
"$python" -m pip install --quiet --no-deps --target "$work/site" "$work"/wheel/*.whl
