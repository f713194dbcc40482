"""Comparisons with PyTorch, run by `make parity` in an environment of their own; where torch is missing, none is run.

Every comparison of int8 results counts the elements that are equal; the shares are printed at the end.
"""

from __future__ import annotations

import importlib.util

import pytest

collect_ignore_glob: list[str] = []
if importlib.util.find_spec("torch") is None:
    collect_ignore_glob.append("*.py")
else:
    import torch

    torch.backends.quantized.engine = "fbgemm"
    torch.set_num_threads(1)

_SHARES: dict[str, list[int]] = {}


@pytest.fixture
def exact_products():
    """Run PyTorch's products under qnnpack, which is exact: fbgemm and x86 may saturate in 16 bits.

    Not for all ops: qnnpack's pools ignore some of their arguments.
    """
    torch.backends.quantized.engine = "qnnpack"
    yield
    torch.backends.quantized.engine = "fbgemm"


@pytest.fixture
def count(request: pytest.FixtureRequest):
    """``count(equal, total)`` adds to the share that is printed for this test function."""
    name = request.node.originalname

    def add(equal: int, total: int) -> None:
        share = _SHARES.setdefault(name, [0, 0])
        share[0] += int(equal)
        share[1] += int(total)

    return add


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if not _SHARES:
        return
    terminalreporter.section("share of results that equal PyTorch's exactly")
    for name, (equal, total) in sorted(_SHARES.items()):
        terminalreporter.write_line(f"{name.removeprefix('test_'):<32} {equal / total:9.4%} of {total}")
