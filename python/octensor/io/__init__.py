"""Models and states in files: `load` reads them, `save` writes them; nothing in a file is ever executed."""

from .load import load
from .save import save

__all__ = ["load", "save"]
