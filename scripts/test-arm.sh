#!/usr/bin/env bash
# Cross-build the aarch64 wheel and run the whole pytest suite under user-mode emulation, once per CPU
# model. Nothing is registered with the kernel and the host's package database stays as it is.
#
#   scripts/test-arm.sh [CPU...]     max: all extensions; cortex-a76: dot product; cortex-a72: plain NEON
#
# Steps, each kept in build/arm and skipped when done: an unpacked arm64 Python from apt's configured
# sources, aarch64 wheels of what the tests import, the cross-built wheel. Called by `make test-arm`,
# which has made .venv/cross.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/need.sh
eval "pytest_args=(${PYTEST_ARGS-})" # quoted as in a shell, like make test's
need g++-aarch64-linux-gnu qemu-user mmdebstrap

root=$PWD work=$PWD/build/arm pip=$PWD/.venv/cross/bin/pip
cpus=("${@:-max}")
mkdir -p "$work"

step() { echo "[$(date +%T)] $*"; }
# Wheels for aarch64 with any glibc tag up to that of the unpacked system.
arm_pip() {
  local tags=() glibc
  for glibc in 2_17 2_26 2_27 2_28 2_31 2_34 2_35 2_36; do tags+=(--platform "manylinux_${glibc}_aarch64"); done
  "$pip" install --quiet --target "$work/site" "${tags[@]}" --platform manylinux2014_aarch64 \
    --implementation cp --python-version 311 --only-binary=:all: "$@"
}

if [ ! -f "$work/system.done" ]; then
  step "arm64 Python"
  rm -rf "$work/system"
  mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Codename: bookworm' | head -n 1)
  mmdebstrap --quiet --mode=root --variant=extract --architectures=arm64 \
    --include=python3.11-minimal,libpython3.11-stdlib,libpython3.11-dev,libstdc++6 \
    bookworm "$work/system" "$mirror"
  touch "$work/system.done"
fi

if ! cmp -s requirements/run.txt "$work/run.txt"; then
  step "aarch64 wheels"
  rm -rf "$work/site"
  arm_pip -r requirements/run.txt
  cp requirements/run.txt "$work/run.txt"
fi

step "cross-build"
extension=.cpython-311-aarch64-linux-gnu.so
cat >"$work/toolchain.cmake" <<END
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)
set(CMAKE_STRIP aarch64-linux-gnu-strip)
set(CMAKE_FIND_ROOT_PATH /usr/aarch64-linux-gnu)
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
END
rm -rf "$work/dist" "$work/wheel"
PATH=$PWD/.venv/cross/bin:$PATH
_PYTHON_HOST_PLATFORM=linux-aarch64 SETUPTOOLS_EXT_SUFFIX=$extension CMAKE_ARGS="
  -DCMAKE_TOOLCHAIN_FILE=$work/toolchain.cmake
  -DPython_INCLUDE_DIR=$work/system/usr/include/python3.11
  -DPYTHON_MODULE_EXTENSION=$extension
  -DPYBIND11_USE_CROSSCOMPILING=ON
  -DCMAKE_CXX_FLAGS=-I$work/system/usr/include" \
  "$pip" wheel --quiet --no-deps --no-build-isolation -Cbuild-dir="$work/build" -w "$work/dist" .
auditwheel repair -w "$work/wheel" "$work"/dist/*.whl 2>&1 | tail -n 1
arm_pip --no-deps --upgrade "$work"/wheel/*.whl

cat >"$work/python" <<END
#!/bin/sh
export QEMU_LD_PREFIX=$work/system PYTHONPATH=$work/site:$root/scripts/emulated PYTHONDONTWRITEBYTECODE=1
export OCTENSOR_TEST_PYTHON=$work/python OPENBLAS_CORETYPE=ARMV8
exec qemu-aarch64 $work/system/usr/bin/python3.11 "\$@"
END
chmod +x "$work/python"

export OCTENSOR_TEST_PROFILE=emulated OCTENSOR_BUILD_DIR=$work/build NM=aarch64-linux-gnu-nm
OCTENSOR_WHEEL=$(echo "$work"/wheel/*.whl)
export OCTENSOR_WHEEL
status=0
for cpu in "${cpus[@]}"; do
  step "pytest on $cpu"
  QEMU_CPU=$cpu "$work/python" -m pytest -p no:cacheprovider "${pytest_args[@]}" || status=1
done
step "done"
exit $status
