"""The operators, by subject; importing this package fills `OPERATORS`."""

from . import arithmetic, layers, logic, movement, quantized, recurrent, reduction, resize

__all__ = ["arithmetic", "layers", "logic", "movement", "quantized", "recurrent", "reduction", "resize"]
