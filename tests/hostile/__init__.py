"""Hostile files, one list: `test_hostile.py` loads each, `scripts/hostile.py` measures what each costs.

They are after what has broken other readers of weights and models: sizes whose product wraps, counts and offsets that
leave the file, names that stand twice, paths that leave the folder, code in pickles and names, few bytes that ask for
much memory or time, zeros where something divides.
"""

from __future__ import annotations

from . import models, onnx_nodes, onnx_tensors, safetensors, torch_pickles, torch_tensors
from .case import Case

CASES: list[Case] = [
    *torch_tensors.cases(),
    *torch_pickles.cases(),
    *safetensors.cases(),
    *models.cases(),
    *onnx_tensors.cases(),
    *onnx_nodes.cases(),
]
