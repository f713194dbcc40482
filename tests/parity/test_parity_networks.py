"""The architectures of examples/networks, their import lines changed, are PyTorch models that load the same weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import octensor as ot
from octensor.bench import networks
from octensor.bench.cases import GROUPS, Network

CASES = [case for group in ("networks", "sequences") for case in GROUPS[group] if isinstance(case, Network)]


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_float_results_agree(case):
    shape = (2, 3, 64, 64) if len(case.shape) == 4 else (1, 8, case.shape[-1])
    x = np.random.default_rng(0).standard_normal(shape, np.float32)
    model = networks.weights().initialise(networks.model(case), x)
    other = networks.model(case, "torch")
    other.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in model.state_dict().items()})
    with ot.no_grad(), torch.no_grad():
        expected = other.eval()(torch.from_numpy(x)).numpy()
        assert networks.sqnr(np.asarray(model(ot.from_numpy(x))), expected) > 80
