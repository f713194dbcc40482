"""`nn.quantized.dynamic`: names for layers in the dynamic stage, or with float16 weights (see `nn.views`)."""

from __future__ import annotations

from .. import cells, linear, recurrent
from ..views import DynamicView

__all__ = ["GRU", "LSTM", "RNN", "GRUCell", "LSTMCell", "Linear", "RNNCell"]


class Linear(DynamicView):
    """`nn.Linear` in the dynamic stage."""

    layer = linear.Linear


class LSTM(DynamicView):
    """`nn.LSTM` in the dynamic stage."""

    layer = recurrent.LSTM


class GRU(DynamicView):
    """`nn.GRU` in the dynamic stage."""

    layer = recurrent.GRU


class RNN(DynamicView):
    """`nn.RNN` in the dynamic stage."""

    layer = recurrent.RNN


class LSTMCell(DynamicView):
    """`nn.LSTMCell` in the dynamic stage."""

    layer = cells.LSTMCell


class GRUCell(DynamicView):
    """`nn.GRUCell` in the dynamic stage."""

    layer = cells.GRUCell


class RNNCell(DynamicView):
    """`nn.RNNCell` in the dynamic stage."""

    layer = cells.RNNCell
