#!/usr/bin/env bash
# Run the whole pytest suite of the aarch64 wheel under user-mode emulation, once per CPU model. Nothing is registered
# with the kernel and the host's package database stays as it is.
#
#   scripts/test-arm.sh [CPU...]     max: all extensions; neoverse-n1: dot product; cortex-a72: plain NEON
#
# The wheel and the emulated Python come from scripts/wheel-arm.sh; aarch64 wheels of what the tests import are kept in
# build/arm/site. Called by `make test-arm`, which has made .venv/cross.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/need.sh
eval "pytest_args=(${PYTEST_ARGS-})" # quoted as in a shell, like make test's
need qemu-user
scripts/wheel-arm.sh

root=$PWD work=$PWD/build/arm pip=$PWD/.venv/cross/bin/pip
cpus=("${@:-max}")
step() { echo "[$(date +%T)] $*"; }
# Wheels for aarch64 with any glibc tag up to that of the unpacked system.
arm_pip() {
  local tags=() glibc
  for glibc in 2_17 2_26 2_27 2_28 2_31 2_34 2_35 2_36; do tags+=(--platform "manylinux_${glibc}_aarch64"); done
  "$pip" install --quiet --target "$work/site" "${tags[@]}" --platform manylinux2014_aarch64 \
    --implementation cp --python-version 311 --only-binary=:all: "$@"
}

if ! cmp -s requirements/run.txt "$work/run.txt"; then
  step "aarch64 wheels"
  rm -rf "$work/site"
  arm_pip -r requirements/run.txt
  cp requirements/run.txt "$work/run.txt"
fi
arm_pip --no-deps --upgrade "$work"/wheel/*.whl

cat >"$work/python" <<END
#!/bin/sh
export QEMU_LD_PREFIX=$work/system PYTHONPATH=$work/site:$root/scripts/emulated PYTHONDONTWRITEBYTECODE=1
export OCTENSOR_TEST_PYTHON=$work/python OPENBLAS_CORETYPE=ARMV8
exec qemu-aarch64 $work/system/usr/bin/python3.11 "\$@"
END
chmod +x "$work/python"

export OCTENSOR_TEST_PROFILE=emulated OCTENSOR_BUILD_DIR=$work/build NM=aarch64-linux-gnu-nm OBJDUMP=aarch64-linux-gnu-objdump
OCTENSOR_WHEEL=$(echo "$work"/wheel/*.whl)
export OCTENSOR_WHEEL
status=0
for cpu in "${cpus[@]}"; do
  step "pytest on $cpu"
  QEMU_CPU=$cpu "$work/python" -m pytest -p no:cacheprovider "${pytest_args[@]}" || status=1
done
step "done"
exit $status
