"""`octensor info`: features, instruction sets, kernels, and why."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

import support
from octensor import cli
from octensor.backends import cpu


def section(text: str, title: str) -> list[str]:
    """The lines under a title."""
    lines, found = [], False
    for line in text.splitlines():
        found = line.startswith(title) if line[:1] != " " else found
        if found:
            lines.append(line[16:].strip())
    return lines


@pytest.mark.parametrize("isa", support.ISAS)
def test_every_set_can_be_forced_and_says_so(isa):
    environment = os.environ | {"OCTENSOR_ISA": isa}
    command = [sys.executable, "-m", "octensor", "info"]
    text = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    assert section(text, "in use") == [f"{isa}: OCTENSOR_ISA says so"]
    assert [line.split()[1] for line in section(text, "kernels")] == [f"{isa}:"] * 5


def test_all_sets_are_listed_with_what_they_miss():
    listed = {line.split()[0]: line for line in section(cli.info(), "instruction sets")}
    assert list(listed) == [name for name, _ in cpu.isa_list()]
    for name, supported in cpu.isa_list():
        missing = cpu.isa_missing(name)
        assert supported == (not missing)
        assert all(feature in listed[name] for feature in missing)
        assert all(not cpu.cpu_features()[feature] for feature in missing)


def test_every_feature_is_there_or_not_there():
    text = cli.info()
    (there,), (not_there,) = section(text, "cpu features"), section(text, "not there")
    features = cpu.cpu_features()
    assert there == (" ".join(name for name in features if features[name]) or "none of those asked for")
    assert not_there == (" ".join(name for name in features if not features[name]) or "nothing")


def test_a_chosen_set_is_said_to_be_chosen():
    with support.backend("scalar", 1):
        (line,) = section(cli.info(), "in use")
        assert line.startswith("scalar: ")
        if support.ISAS[0] != "scalar" and os.environ.get("OCTENSOR_ISA") != "scalar":
            assert line == "scalar: set_isa chose it"


def test_unknown_sets_have_no_needs():
    with pytest.raises(ValueError, match="isa_missing: name: expected an instruction set of this build, got 'mmx'"):
        cpu.isa_missing("mmx")
