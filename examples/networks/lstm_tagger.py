"""A tagger of words: an embedding, an LSTM, a linear layer on each state; names as in PyTorch's tutorial.

Made for dynamic quantization: the LSTM and the linear layer turn to int8.
"""

from __future__ import annotations

from octensor import nn


class LSTMTagger(nn.Module):
    """Scores of every tag for every word of sentences [steps, batch]."""

    def __init__(self, vocabulary: int = 10_000, embedding: int = 512, hidden: int = 512, tags: int = 50) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(vocabulary, embedding)
        self.lstm = nn.LSTM(embedding, hidden)
        self.hidden2tag = nn.Linear(hidden, tags)

    def forward(self, sentences):
        states, _ = self.lstm(self.word_embeddings(sentences))
        return self.hidden2tag(states)
