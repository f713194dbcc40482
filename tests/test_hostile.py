"""Every hostile file gives an error of its loader, in little memory; `scripts/hostile.py` measures each."""

from __future__ import annotations

import contextlib
import re
import tracemalloc
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import octensor as ot
from hostile import CASES, attributes, ops
from hostile.case import Case

onnx = pytest.importorskip("onnx")

MOST_BYTES = 100 << 20


def _load(case: Case, path: Path) -> None:
    """Load a case's file; what it raises must be the loader's error."""
    try:
        with np.errstate(all="ignore"):
            case.load(path)
    except ValueError as error:
        assert str(error).startswith(case.start), error  # noqa: PT017
        assert re.search(case.match or "", str(error)), error  # noqa: PT017
    else:
        assert case.match is None, "expected an error"


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What a loader imports when it is first used counts for no case."""
    for case in {case.loader: case for case in reversed(CASES)}.values():
        _load(case, case.write(tmp_path_factory.mktemp("first")))


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.loader}: {case.name}"[:80])
@pytest.mark.usefixtures("imported")
def test_a_hostile_file_gives_the_error_of_its_loader(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = case.write(tmp_path)
    tracemalloc.start()
    try:
        _load(case, path)
        assert tracemalloc.get_traced_memory()[1] < MOST_BYTES
    finally:
        tracemalloc.stop()
    assert not list(tmp_path.rglob("made")), "code of the file ran"


@pytest.mark.parametrize("name", attributes.node_tests())
def test_no_attribute_and_no_size_of_an_operator_breaks_it(name: str, tmp_path: Path) -> None:
    for change, data in attributes.models(name):
        case = Case("onnx", change, partial(attributes.write, data=data), None)
        _load(case, case.write(tmp_path))


@pytest.mark.parametrize("name", ops.NAMES)
def test_no_attribute_of_an_op_breaks_what_runs_it(name: str, tmp_path: Path) -> None:
    """A file may ask an op for anything; what the op cannot do is an exception, run or compiled, and nothing else."""
    for _, content, inputs in ops.models(name):
        kept = [np.array(x.int_repr() if isinstance(x, ot.QTensor) else x) for x in inputs]
        with np.errstate(all="ignore"), contextlib.suppress(Exception):
            model = ot.load(ops.save(tmp_path / "x.oct", content))
            with contextlib.suppress(Exception):
                model(*inputs)
            ot.compile(model, inputs)(*inputs)
        for x, before in zip(inputs, kept, strict=True):
            np.testing.assert_array_equal(x.int_repr() if isinstance(x, ot.QTensor) else x, before)
