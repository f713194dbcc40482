"""The encoder of BERT (Devlin et al., 2018), layers named as in transformers.

Made for dynamic quantization: the linear layers turn to int8, attention, softmax, GELU and layer norm stay float.
"""

from __future__ import annotations

import octensor as ot
from octensor import nn


class BertSelfAttention(nn.Module):
    """Every position reads from all positions, in several heads."""

    def __init__(self, hidden: int, heads: int) -> None:
        super().__init__()
        self.heads, self.head_size = heads, hidden // heads
        self.query = nn.Linear(hidden, hidden)
        self.key = nn.Linear(hidden, hidden)
        self.value = nn.Linear(hidden, hidden)

    def forward(self, x):
        query, key, value = (self.split(part(x)) for part in (self.query, self.key, self.value))
        scores = ot.matmul(query, key.transpose(-1, -2)) / self.head_size**0.5
        mixed = ot.matmul(ot.softmax(scores, -1), value).permute(0, 2, 1, 3)
        return mixed.reshape(mixed.shape[0], mixed.shape[1], self.heads * self.head_size)

    def split(self, x):
        """[batch, steps, hidden] as [batch, heads, steps, head_size]."""
        return x.reshape(x.shape[0], x.shape[1], self.heads, self.head_size).permute(0, 2, 1, 3)


class Residual(nn.Module):
    """A linear layer, a sum, a layer norm: what transformers calls an output."""

    def __init__(self, c_in: int, hidden: int) -> None:
        super().__init__()
        self.dense = nn.Linear(c_in, hidden)
        self.LayerNorm = nn.LayerNorm(hidden, eps=1e-12)

    def forward(self, x, shortcut):
        return self.LayerNorm(self.dense(x) + shortcut)


class BertAttention(nn.Module):
    def __init__(self, hidden: int, heads: int) -> None:
        super().__init__()
        self.self = BertSelfAttention(hidden, heads)
        self.output = Residual(hidden, hidden)

    def forward(self, x):
        return self.output(self.self(x), x)


class BertIntermediate(nn.Module):
    def __init__(self, hidden: int, wide: int) -> None:
        super().__init__()
        self.dense = nn.Linear(hidden, wide)
        self.intermediate_act_fn = nn.GELU()

    def forward(self, x):
        return self.intermediate_act_fn(self.dense(x))


class BertLayer(nn.Module):
    """Attention, then two linear layers with a GELU between."""

    def __init__(self, hidden: int, heads: int, wide: int) -> None:
        super().__init__()
        self.attention = BertAttention(hidden, heads)
        self.intermediate = BertIntermediate(hidden, wide)
        self.output = Residual(wide, hidden)

    def forward(self, x):
        x = self.attention(x)
        return self.output(self.intermediate(x), x)


class BertEncoder(nn.Module):
    """Layers, one after the other, on embedded tokens [batch, steps, hidden].

    Parameters
    ----------
    layers : int
    hidden, heads : int
        Features, and the heads they are cut into.
    wide : int, optional
        Features between the two linear layers; four times `hidden` by default.
    """

    def __init__(self, layers: int = 12, hidden: int = 768, heads: int = 12, wide: int | None = None) -> None:
        super().__init__()
        self.layer = nn.ModuleList([BertLayer(hidden, heads, wide or 4 * hidden) for _ in range(layers)])

    def forward(self, x):
        for layer in self.layer:
            x = layer(x)
        return x


def bert_base(layers: int = 12) -> BertEncoder:
    return BertEncoder(layers)


class BertEmbeddings(nn.Module):
    """The sum of a token's, its position's and the first segment's vectors, normed."""

    def __init__(self, tokens: int, positions: int, hidden: int) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(tokens, hidden)
        self.position_embeddings = nn.Embedding(positions, hidden)
        self.token_type_embeddings = nn.Embedding(2, hidden)
        self.LayerNorm = nn.LayerNorm(hidden, eps=1e-12)

    def forward(self, tokens):
        x = self.word_embeddings(tokens) + self.position_embeddings(ot.arange(tokens.shape[1]))
        return self.LayerNorm(x + self.token_type_embeddings(ot.zeros_like(tokens)))


class SentenceEncoder(nn.Module):
    """A vector of length 1 for each sentence, from tokens [batch, steps] without padding; all-MiniLM-L6-v2's sizes."""

    def __init__(self, tokens: int = 30522, layers: int = 6, hidden: int = 384, heads: int = 12) -> None:
        super().__init__()
        self.embeddings = BertEmbeddings(tokens, 512, hidden)
        self.encoder = BertEncoder(layers, hidden, heads)

    def forward(self, tokens):
        x = self.encoder(self.embeddings(tokens)).mean(1)
        return x / (x * x).sum(-1, keepdim=True).sqrt()
