"""Children of an emulated Python must be emulated too: point `sys.executable` at the wrapper script."""

import os
import sys

sys.executable = sys._base_executable = os.environ.get("OCTENSOR_TEST_PYTHON", sys.executable)
