"""`nn.utils`: helpers around layers; `nn.utils.rnn` packs sequences of different lengths."""

from __future__ import annotations

from . import rnn

__all__ = ["rnn"]
