#!/usr/bin/env bash
# Run the suite on an extension built with GCC's address and undefined-behaviour sanitizers. A finding
# ends the run with its report. Called by `make test-sanitize`, which has built it.
set -euo pipefail
cd "$(dirname "$0")/.."
eval "pytest_args=(${PYTEST_ARGS-})" # quoted as in a shell, like make test's
source scripts/sanitized-env.sh

# Uncaptured, for a report that ends the process must be seen. The size and import time of this wheel mean
# nothing, and its objects are not those that users get.
sanitized build/sanitize .venv/test/bin/python -m pytest -p no:faulthandler -s --ignore tests/test_packaging.py "${pytest_args[@]}"
