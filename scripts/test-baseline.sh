#!/usr/bin/env bash
# Run the suite of the x86-64 wheel on an emulated CPU without AVX (Nehalem: SSE4.2): the wheel must
# import, choose its portable kernels, and give the same bits. Called by `make test-baseline`, which
# has built build/wheel and installed it into .venv/test.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/need.sh
eval "pytest_args=(${PYTEST_ARGS-})" # quoted as in a shell, like make test's
need qemu-user

root=$PWD work=$PWD/build/baseline
mkdir -p "$work"
cat >"$work/python" <<END
#!/bin/sh
export OCTENSOR_TEST_PYTHON=$work/python PYTHONPATH=$root/scripts/emulated
exec qemu-x86_64 -cpu Nehalem $root/.venv/test/bin/python "\$@"
END
chmod +x "$work/python"

"$work/python" -c "from octensor import _C; assert _C.get_isa() == 'scalar', _C.get_isa()"
export OCTENSOR_TEST_PROFILE=emulated OCTENSOR_BUILD_DIR=build/native PYTHONDONTWRITEBYTECODE=1
OCTENSOR_WHEEL=$(echo build/wheel/*.whl) "$work/python" -m pytest -p no:cacheprovider "${pytest_args[@]}"
