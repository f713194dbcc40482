"""Fixed networks and ops give the recorded bytes on every instruction set, thread count and batch split.

`scripts/hash_matrix.py` prints the matrix and merges those of several machines.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import support

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))
import hash_matrix


@pytest.mark.parametrize("name", hash_matrix.hash_cases.CASES)
def test_every_setting_gives_the_recorded_hash(name):
    matrix = hash_matrix.run([name])
    assert len(matrix) == len(support.ISAS) * len(hash_matrix.THREADS) * len(hash_matrix.SPLITS)
    assert hash_matrix.differences(matrix, {name: hash_matrix.recorded()[name]}) == []


def test_recorded_hashes_are_those_of_the_cases():
    assert list(hash_matrix.recorded()) == list(hash_matrix.hash_cases.CASES)


def test_a_single_wrong_hash_is_reported(tmp_path, capsys):
    good = dict(hash_matrix.recorded())
    for machine, hashes in (("here", good), ("there", good | {"conv_1x1": "0" * 64})):
        matrix = {f"{machine}/scalar/1/{split}": hashes for split in hash_matrix.SPLITS}
        (tmp_path / f"{machine}.json").write_text(hash_matrix.json.dumps(matrix))
    here, there = (str(tmp_path / f"{name}.json") for name in ("here", "there"))
    assert hash_matrix.main(["--merge", here]) == 0
    assert hash_matrix.main(["--merge", here, there]) == 1
    assert "conv_1x1: 2 of 4 differ: there/scalar/1/whole" in capsys.readouterr().out


def test_splitting_cuts_every_tensor_of_a_batch():
    x = hash_matrix.np.arange(10).reshape(5, 2)
    pieces = hash_matrix.parts((x, 2 * x), "split")
    assert [len(a) for a, _ in pieces] == [1, 2, 2]
    assert all((b == 2 * a).all() for a, b in pieces)
