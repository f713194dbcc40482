"""Dynamic linear and recurrent layers, and embeddings, follow PyTorch's within a step of eight bits."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.ao.quantization as theirs
from pairs import assert_floats_within_one_step, both

import octensor as ot
import octensor.quantization as tq

pytestmark = pytest.mark.usefixtures("exact_products")
RNG = np.random.default_rng(0)


def twins(name, *args, **kwargs):
    """The same float layer in both libraries, quantized dynamically."""
    torch.manual_seed(0)
    other = torch.nn.Sequential(getattr(torch.nn, name)(*args, **kwargs)).eval()
    ours = ot.nn.Sequential(getattr(ot.nn, name)(*args, **kwargs)).eval()
    ours.load_state_dict({key: value.numpy() for key, value in other.state_dict().items()})
    return tq.quantize_dynamic(ours)[0], theirs.quantize_dynamic(other)[0]


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("shape", [(1, 30), (7, 30), (2, 5, 30)])
def test_linear_dynamic(shape, bias, count):
    ours, other = twins("Linear", 30, 11, bias=bias)
    x, y = both(RNG.standard_normal(shape).astype(np.float32))
    assert_floats_within_one_step(ours(ot.from_numpy(x)), other(y), count)


@pytest.mark.parametrize("kwargs", [{}, {"batch_first": True}, {"bidirectional": True}, {"num_layers": 2}])
@pytest.mark.parametrize("name", ["LSTM", "GRU"])
def test_recurrent(name, kwargs, count):
    ours, other = twins(name, 12, 16, **kwargs)
    x, y = both(RNG.standard_normal((9, 5, 12)).astype(np.float32))
    (a, state_a), (b, state_b) = ours(ot.from_numpy(x)), other(y)
    assert_floats_within_one_step(a, b, count)
    states = zip(state_a, state_b, strict=True) if name == "LSTM" else [(state_a, state_b)]
    for p, q in states:
        assert_floats_within_one_step(p, q, count)


@pytest.mark.parametrize("name", ["LSTMCell", "GRUCell", "RNNCell"])
def test_cells(name, count):
    ours, other = twins(name, 12, 16)
    x, y = both(RNG.standard_normal((5, 12)).astype(np.float32))
    a, b = ours(ot.from_numpy(x)), other(y)
    for p, q in zip(a, b, strict=True) if name == "LSTMCell" else [(a, b)]:
        assert_floats_within_one_step(p, q, count)


# --- embeddings -----------------------------------------------------------------------------------------------------

INDICES = np.array([3, 1, 4, 1, 5, 9, 2, 6, 5, 3], np.int64)
OFFSETS = np.array([0, 3, 3, 7], np.int64)


@pytest.mark.parametrize("kind", ["byte", "4bit", "2bit"])
def test_embedding_rows(kind, count):
    table = RNG.standard_normal((20, 16)).astype(np.float32)
    ours = getattr(ot.ops.quantized, f"embedding_bag_{kind}_prepack")(table)
    other = getattr(torch.ops.quantized, f"embedding_bag_{kind}_prepack")(torch.from_numpy(table)).numpy()
    ours = np.asarray(ours)
    assert ours.shape == other.shape
    count(np.count_nonzero(ours == other), other.size)
    a = getattr(ot.ops.quantized, f"embedding_bag_{kind}_unpack")(ours)
    b = getattr(torch.ops.quantized, f"embedding_bag_{kind}_unpack")(torch.from_numpy(other)).numpy()
    step = (table.max(1) - table.min(1)) / {"byte": 255, "4bit": 15, "2bit": 3}[kind]
    assert (np.abs(np.asarray(a) - b) <= step[:, None] * 1.01).all()


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("kind", ["byte", "4bit"])
def test_embedding_bag(kind, weighted, count):
    table = RNG.standard_normal((20, 16)).astype(np.float32)
    rows = getattr(torch.ops.quantized, f"embedding_bag_{kind}_prepack")(torch.from_numpy(table))
    per_sample = RNG.uniform(0.5, 1.5, INDICES.size).astype(np.float32)
    weight = both(per_sample) if weighted else (None, None)
    op = f"embedding_bag_{kind}_rowwise_offsets"
    ours = getattr(ot.ops.quantized, op)(rows.numpy(), INDICES, OFFSETS, per_sample_weights=weight[0])
    other = getattr(torch.ops.quantized, op)(
        rows, torch.from_numpy(INDICES), torch.from_numpy(OFFSETS), per_sample_weights=weight[1]
    )
    assert_floats_within_one_step(ours, other, count)


@pytest.mark.parametrize("dtype", ["quint8", "quint4x2"])
def test_embedding_bag_module(dtype, count):
    table = RNG.standard_normal((20, 16)).astype(np.float32)
    ours = ot.nn.EmbeddingBag(20, 16, mode="sum")
    other = torch.nn.EmbeddingBag(20, 16, mode="sum", include_last_offset=False)
    ours.weight.data = table
    other.weight.data = torch.from_numpy(table.copy())

    def quantized(layer, library, workflow):
        observer = workflow.PerChannelMinMaxObserver.with_args(
            dtype=getattr(library, dtype), qscheme=library.per_channel_affine_float_qparams, ch_axis=0
        )
        config = workflow.QConfig(activation=workflow.PlaceholderObserver, weight=observer)
        return workflow.quantize_dynamic(library.nn.Sequential(layer).eval(), {library.nn.EmbeddingBag: config})[0]

    a = quantized(ours, ot, tq)(ot.from_numpy(INDICES), ot.from_numpy(OFFSETS))
    b = quantized(other, torch, theirs)(torch.from_numpy(INDICES), torch.from_numpy(OFFSETS))
    assert_floats_within_one_step(a, b, count)
