"""How thoroughly the suite runs, and on what kind of machine.

``OCTENSOR_TEST_PROFILE`` chooses the number of examples of every property test:

* ``default``: the same examples on every run;
* ``thorough``: many more, drawn anew each time;
* ``emulated``: few, for processors emulated in software; tests marked ``native`` are left out, for they
  look at the host's tools or clock rather than at octensor's results.
"""

from __future__ import annotations

import faulthandler
import os
from collections.abc import Iterator

import hypothesis
import pytest

PROFILE = os.environ.get("OCTENSOR_TEST_PROFILE", "default")

_common = {
    "deadline": None,
    "suppress_health_check": [hypothesis.HealthCheck.too_slow, hypothesis.HealthCheck.data_too_large],
}
hypothesis.settings.register_profile("default", max_examples=400, derandomize=True, database=None, **_common)
hypothesis.settings.register_profile("emulated", max_examples=6, derandomize=True, database=None, **_common)
hypothesis.settings.register_profile("thorough", max_examples=4000, **_common)
hypothesis.settings.load_profile(PROFILE)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "native: looks at the host's tools or clock; not run on an emulated CPU")
    config.addinivalue_line(
        "markers",
        "rows(*numbers, differs=None): proves these rows of tests/coverage_rows.py, or, with the reason in `differs`, "
        "tests a behaviour that is different on purpose",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if PROFILE != "emulated":
        return
    native = [item for item in items if item.get_closest_marker("native")]
    config.hook.pytest_deselected(items=native)
    items[:] = [item for item in items if item not in native]


@pytest.fixture(scope="session")
def terminal(request: pytest.FixtureRequest) -> int:
    """The real standard error, which pytest does not capture."""
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        return os.dup(2)


@pytest.fixture(autouse=True)
def no_test_hangs(terminal: int) -> Iterator[None]:
    """A kernel that loops for ever cannot be interrupted from Python: end the run, with a traceback."""
    faulthandler.dump_traceback_later(1200 if PROFILE != "default" else 240, exit=True, file=terminal)
    yield
    faulthandler.cancel_dump_traceback_later()
