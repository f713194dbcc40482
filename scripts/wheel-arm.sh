#!/usr/bin/env bash
# Cross-build the aarch64 wheel for CPython 3.11, with its manylinux tag, into build/arm/wheel. Nothing is registered
# with the kernel and the host's package database stays as it is. Called by `make wheel-arm`, which has made .venv/cross.
#
# The unpacked arm64 Python in build/arm/system, from apt's configured sources, gives the headers; it is kept.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/need.sh
need g++-aarch64-linux-gnu mmdebstrap

work=$PWD/build/arm bin=$PWD/.venv/cross/bin
mkdir -p "$work"
step() { echo "[$(date +%T)] $*"; }

if [ ! -f "$work/system.done" ]; then
  step "arm64 Python"
  rm -rf "$work/system"
  mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Codename: bookworm' | head -n 1)
  mmdebstrap --quiet --mode=root --variant=extract --architectures=arm64 \
    --include=python3.11-minimal,libpython3.11-stdlib,libpython3.11-dev,libstdc++6 \
    bookworm "$work/system" "$mirror"
  touch "$work/system.done"
fi

step "cross-build"
extension=.cpython-311-aarch64-linux-gnu.so
rm -rf "$work/dist" "$work/wheel"
PATH=$bin:$PATH
_PYTHON_HOST_PLATFORM=linux-aarch64 SETUPTOOLS_EXT_SUFFIX=$extension CMAKE_ARGS="
  -DCMAKE_TOOLCHAIN_FILE=$PWD/scripts/aarch64.cmake
  -DPython_INCLUDE_DIR=$work/system/usr/include/python3.11
  -DPYTHON_MODULE_EXTENSION=$extension
  -DPYBIND11_USE_CROSSCOMPILING=ON
  -DCMAKE_CXX_FLAGS=-I$work/system/usr/include" \
  pip wheel --quiet --no-deps --no-build-isolation -Cbuild-dir="$work/build" -w "$work/dist" .
auditwheel repair -w "$work/wheel" "$work"/dist/*.whl 2>&1 | tail -n 1
