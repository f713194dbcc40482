"""PyTorch models in: `from_torch` makes a graph model of a `torch.nn.Module`.

PyTorch is imported by whoever has the module; octensor itself never needs it.
"""

from .convert import from_torch

__all__ = ["from_torch"]
