"""`nn.quantizable`: layers made of parts that can be observed and converted one by one.

Recurrent and attention layers have sums and products inside, each with a range of its own. The layers here do the same
as their namesakes in `nn`, with a `FloatFunctional` or a layer at every such place, so that the ordinary `prepare` and
`convert` treat them. Put them into a model in place of the float ones with

    prepare(model, prepare_custom_config_dict={"float_to_observed_custom_module_class": nn.quantizable.MAPPING})
"""

from __future__ import annotations

from ... import nn
from .attention import MultiheadAttention
from .lstm import LSTM, LSTMCell
from .transformer import TransformerEncoderLayer

__all__ = ["LSTM", "MAPPING", "LSTMCell", "MultiheadAttention", "TransformerEncoderLayer"]

MAPPING = {
    nn.LSTM: LSTM,
    nn.LSTMCell: LSTMCell,
    nn.MultiheadAttention: MultiheadAttention,
    nn.TransformerEncoderLayer: TransformerEncoderLayer,
}
