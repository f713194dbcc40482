"""What NumPy and pickle may do with a QTensor."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from test_qtensor import tensor


@pytest.mark.parametrize(
    "use",
    [
        lambda q: np.add(q, 1),
        np.exp,
        lambda q: np.ones(3) + q,
        lambda q: np.concatenate([q, q]),
        lambda q: np.dot(q, q),
    ],
)
def test_numpy_functions_do_not_compute_with_codes(use):
    with pytest.raises(TypeError, match="not defined for QTensor"):
        use(tensor((3,)))
    assert np.shape(tensor((3,))) == (3,)


def test_pickles_name_python_functions():
    """Nothing that a restricted unpickler refuses: no eval, no getattr."""
    data = pickle.dumps(tensor((3,)), 4)
    assert b"eval" not in data
    assert b"octensor.qtensor" in data
