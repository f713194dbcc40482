"""`octensor.compile`: programs give the model's bytes, whatever the model, batch, instruction set and thread count."""

from __future__ import annotations

import gc
import os
import threading
import time
import weakref

import numpy as np
import pytest

import octensor as ot
from octensor import _C, nn
from octensor import quantization as tq
from octensor.ops import packing
from octensor.ops.mathematics import sin
from octensor.ops.moving import UNFOLD
from octensor.ops.spec import apply
from octensor.program import fuse
from octensor.program.lower import lower
from support import backend, backends


class Residual(nn.Module):
    """Residual, depthwise, joined and clamped: what convolutional networks are made of."""

    def __init__(self) -> None:
        super().__init__()
        self.quant, self.dequant = tq.QuantStub(), tq.DeQuantStub()
        self.stem = nn.Conv2d(3, 16, 3, stride=2, padding=1)
        self.relu, self.relu6 = nn.ReLU(), nn.ReLU6()
        self.depthwise = nn.Conv2d(16, 16, 3, padding=1, groups=16)
        self.point = nn.Conv2d(16, 16, 1)
        self.add, self.cat = tq.FloatFunctional(), tq.FloatFunctional()
        self.swish = nn.Hardswish()
        self.pool, self.mean = nn.MaxPool2d(2), nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(32, 10)

    def forward(self, x):
        x = self.relu(self.stem(self.quant(x)))
        y = self.swish(self.point(self.relu6(self.depthwise(x))))
        x = self.add.add_relu(x, y)
        x = self.pool(self.cat.cat([x, y], 1))
        return self.dequant(self.head(self.mean(x).flatten(1)))


class Tagger(nn.Module):
    """A tag for every word."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(50, 8)
        self.lstm = nn.LSTM(8, 12, num_layers=2, bidirectional=True, batch_first=True)
        self.tags = nn.Linear(24, 5)

    def forward(self, words):
        states, (h, _) = self.lstm(self.words(words))
        return {"tags": self.tags(states), "last": h[-1]}


class Int4(nn.Module):
    """4-bit weights, with activations in 8 bits and in float."""

    def __init__(self) -> None:
        super().__init__()
        q = ot.ops.quantized
        self.first = q.linear_prepack_int4(q.Int4Weight.quantize(ot.randn(32, 64), 32), ot.randn(32))
        self.second = q.linear_prepack_int4(q.Int4Weight.quantize(ot.randn(9, 32), 32))

    def forward(self, x):
        q = ot.ops.quantized
        return q.linear_weight_only(q.linear_relu_dynamic_int4(x, self.first), self.second)


def static(model: nn.Module, *shape: int) -> nn.Module:
    model.eval().qconfig = tq.get_default_qconfig()
    prepared = tq.prepare(model)
    prepared(ot.randn(*shape))
    return tq.convert(prepared)


def float_cnn() -> nn.Module:
    layers = [nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.GELU(), nn.MaxPool2d(2)]
    layers += [nn.ConvTranspose2d(8, 6, 3, stride=2, groups=2), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(384, 4)]
    return nn.Sequential(*layers, nn.Softmax(-1)).eval()


def encoder() -> nn.Module:
    return nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True).eval()


def words(n: int) -> ot.Tensor:
    return ot.randint(0, 50, (n, 7))


MODELS = {
    "static cnn": (lambda: static(Residual(), 4, 3, 16, 16), lambda n: ot.randn(n, 3, 16, 16)),
    "float cnn": (float_cnn, lambda n: ot.randn(n, 3, 16, 16)),
    "float encoder": (encoder, lambda n: ot.randn(n, 5, 8)),
    "dynamic encoder": (lambda: tq.quantize_dynamic(encoder()), lambda n: ot.randn(n, 5, 8)),
    "lstm tagger": (lambda: tq.quantize_dynamic(Tagger().eval()), words),
    "float gru": (lambda: nn.GRU(4, 6), lambda n: ot.randn(n, 1, 4).reshape(1, n, 4)),
    "float16": (
        lambda: tq.quantize_dynamic(nn.Sequential(nn.Linear(6, 4)), dtype=ot.float16),
        lambda n: ot.randn(n, 6),
    ),
    "int4": (Int4, lambda n: ot.randn(n, 64)),
}


def leaves(tree) -> list[np.ndarray]:
    if isinstance(tree, dict):
        tree = list(tree.values())
    if isinstance(tree, (tuple, list)):
        return [leaf for part in tree for leaf in leaves(part)]
    return [np.asarray(tree)]


def assert_equal(got, want) -> None:
    assert type(got) is type(want)
    for a, b in zip(leaves(got), leaves(want), strict=True):
        assert a.shape == b.shape
        assert a.dtype == b.dtype
        assert a.tobytes() == b.tobytes()


@pytest.mark.parametrize("name", MODELS)
def test_a_program_gives_the_models_bytes(name):
    ot.manual_seed(1)
    make, inputs = MODELS[name]
    model = make()
    axis = 1 if name == "float gru" else 0
    program = ot.compile(model, inputs(3), batch_axis=axis)
    assert program.batch_bound is None
    for n in (3, 1, 6):
        x = inputs(n)
        want = model(x)
        for isa, threads in backends():
            with backend(isa, threads):
                assert_equal(program(x), want)
    memory = program.memory()
    assert memory["live"] <= memory["arena"] <= 1.1 * memory["live"] + 256


def test_a_batch_whole_and_split():
    ot.manual_seed(2)
    program = ot.compile(static(Residual(), 4, 3, 16, 16), ot.randn(2, 3, 16, 16))
    x = ot.randn(7, 3, 16, 16)
    whole = np.asarray(program(x))
    assert whole.tobytes() == b"".join(np.asarray(program(x[i : i + 1])).tobytes() for i in range(7))
    assert program(x[:0]).shape == (0, 10)


def test_what_follows_from_the_batch_otherwise_binds_the_program():
    class Odd(nn.Module):
        def forward(self, x):
            return x + ot.linspace(0, 1, x.shape[0]).reshape(-1, 1)

    program = ot.compile(Odd(), ot.ones(3, 2))
    assert "follows from the batch" in program.batch_bound
    assert_equal(program(ot.ones(3, 2)), Odd()(ot.ones(3, 2)))
    with pytest.raises(ValueError, match=r"'x': expected float32 \(3, 2\), got float32 \(4, 2\)"):
        program(ot.ones(4, 2))
    assert "bound to the example's batch" in repr(program)


def test_everything_that_has_no_step_is_named_at_once():
    class Sine(nn.Module):
        def forward(self, x):
            return sin(x)

    class Strange(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Sequential(nn.Linear(4, 4), Sine())

        def forward(self, x):
            return self.body(x), apply(UNFOLD, x, dim=1, size=2, step=1)

    with pytest.raises(ot.CompileError) as error:
        ot.compile(Strange(), ot.randn(2, 4))
    text = str(error.value)
    assert "2 operations have no step" in text
    assert "body.1: sin" in text
    assert "test_program.py" in text


def test_wrong_inputs():
    program = ot.compile(nn.Linear(3, 2), ot.ones(4, 3))
    with pytest.raises(ValueError, match=r"'input': expected float32 \(N, 3\), got float32 \(4, 2\)"):
        program(ot.ones(4, 2))
    with pytest.raises(TypeError, match=r"got float64"):
        program(np.ones((4, 3)))
    with pytest.raises(TypeError, match=r"expected 1 input \(input\), got 2"):
        program(ot.ones(4, 3), ot.ones(4, 3))
    with pytest.raises(TypeError, match="example_inputs"):
        ot.compile(nn.Linear(3, 2), [[1.0]])


# --- rules ----------------------------------------------------------------------------------------------------------


class Chain(nn.Module):
    """Quantized, then what `body` does."""

    def __init__(self, body) -> None:
        super().__init__()
        self.body = body

    def forward(self, x):
        return self.body(ot.quantize_per_tensor(x, 0.1, 100, ot.quint8))


def rules_fired(body) -> dict[str, int]:
    """Which rules fire; their results are the model's, with each of them and without."""
    model, x = Chain(body), ot.randn(2, 5)
    program = ot.compile(model, x)
    assert_equal(program(x), model(x))
    draft, _ = lower(ot.fx.record(model, x), {})
    return fuse.fuse(draft)


def test_rules_fire_where_they_may():
    q = ot.ops.quantized
    assert rules_fired(lambda x: q.relu6(ot.relu(x)))["merge_tables"] == 1
    assert rules_fired(lambda x: ot.quantize_per_tensor(x.dequantize(), 0.2, 7, ot.qint8))["merge_tables"] == 1
    assert rules_fired(lambda x: ot.relu(q.add(x, ot.flip(x, 1), 0.2, 90)))["fuse_relu"] == 1
    assert rules_fired(lambda x: q.mul(x, ot.sigmoid(x), 0.05, 90))["merge_pairs"] == 1
    assert rules_fired(lambda x: q.add_relu(ot.relu(x), q.relu6(x), 0.05, 90))["merge_pairs"] == 1
    assert rules_fired(lambda x: ot.quantize_per_tensor(x.dequantize()[:, 1:].T, 0.2, 7, ot.qint8))["quantize_before"]
    assert rules_fired(lambda x: (ot.relu(x), ot.relu(x)))["merge_duplicates"] == 1
    assert rules_fired(lambda x: q.cat([x, ot.relu(x)[:, :2]], 1, 0.2, 90))["requantize_parts"] == 2
    assert rules_fired(lambda x: ot.clamp(x, -1000.0, 1000.0))["drop_identity"] == 1


def test_floats_between_codes_are_tables():
    x = ot.randn(2, 3, 4, 5)
    slopes, factors = ot.tensor([0.1, 0.5, -2.0]), ot.tensor([1.0, 2.0, 3.0]).reshape(3, 1, 1)

    def again(y):
        return ot.quantize_per_tensor(y, 0.03, 40, ot.quint8)

    def gelu(x):
        x = x.dequantize()
        return again(x * (ot.erf(x / 1.41421) + 1.0) * 0.5)

    for body, ops in (
        (lambda x: again(ot.sigmoid(x.dequantize()) ** 2), ["quantize", "lookup"]),
        (gelu, ["quantize", "lookup"]),
        (lambda x: again(nn.functional.prelu(x.dequantize(), slopes)), ["quantize", "lookup_channels"]),
        (lambda x: again(x.dequantize() * factors - 1.0), ["quantize", "lookup_channels"]),
    ):
        program = ot.compile(Chain(body), x)
        assert_equal(program(x), Chain(body)(x))
        assert [step["op"] for step in program.steps()] == ops
    pooled = Chain(lambda x: again(nn.functional.max_pool2d(nn.functional.prelu(x.dequantize(), slopes), 3, 2, 1)))
    program = ot.compile(pooled, x)
    assert_equal(program(x), pooled(x))
    assert not any(step["op"].startswith("float") for step in program.steps())
    row = ot.tensor([1.0, 2.0, 3.0, 4.0, 5.0])
    for body in (
        lambda x: again(x.dequantize() * row),  # another one for each column
        lambda x: again(x.dequantize() + ot.flip(x, 0).dequantize()),  # of two codes
        lambda x: again(ot.softmax(x.dequantize(), -1)),
        lambda x: again(nn.functional.max_pool2d(ot.sqrt(x.dequantize()), 2)),  # NaN wins, and is the zero point
    ):
        with np.errstate(invalid="ignore"):
            program = ot.compile(Chain(body), x)
            assert_equal(program(x), Chain(body)(x))
        assert [step["op"] for step in program.steps()][-1] == "quantize"


def test_rules_do_not_fire_where_they_must_not():
    q = ot.ops.quantized

    def two_readers(x):
        total = q.add(x, ot.flip(x, 1), 0.2, 90)
        return ot.relu(total), total

    assert "fuse_relu" not in rules_fired(two_readers)
    assert "fuse_relu" not in rules_fired(lambda x: ot.clamp(q.add(x, ot.flip(x, 1), 0.2, 90), 0.5))
    assert "requantize_parts" not in rules_fired(lambda x: q.cat([x, ot.relu(x)], 1, 0.1, 100))
    assert "merge_pairs" not in rules_fired(lambda x: q.add(x, ot.flip(x, 1), 0.2, 90))
    assert "merge_duplicates" not in rules_fired(lambda x: (q.add(x, x, 0.2, 90), q.add(x, x, 0.2, 91)))
    assert "merge_tables" not in rules_fired(lambda x: ot.quantize_per_tensor(x.dequantize() * 2.0, 0.2, 7, ot.qint8))


# --- running --------------------------------------------------------------------------------------------------------


def test_sums_in_place_where_ties_are_frequent():
    """The kernel computes some blocks twice; a result that took an operand's place would be read the second time."""
    q = ot.ops.quantized
    model = Chain(lambda x: q.add(ot.relu(x), q.relu6(ot.flip(x, 1)), 0.2, 3))
    x = ot.randn(33, 1000) * 8
    program = ot.compile(model, x)
    assert any(step["in_place"] and step["op"] == "add" for step in program.steps())
    assert_equal(program(x), model(x))


def _resident() -> int:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_eight_threads_hammer_one_program():
    """For a second, or as long as `make hammer` says."""
    seconds = float(os.environ.get("OCTENSOR_HAMMER_SECONDS", "1"))
    ot.manual_seed(3)
    model = static(Residual(), 4, 3, 16, 16)
    program = ot.compile(model, ot.randn(2, 3, 16, 16))
    inputs = [ot.randn(n, 3, 16, 16) for n in (1, 2, 4)]
    wanted = [np.asarray(model(x)).tobytes() for x in inputs]
    runs, wrong = [0] * 8, [0] * 8

    def hammer(thread: int, until: float) -> None:
        while time.monotonic() < until:
            i = runs[thread] % 3
            wrong[thread] += np.asarray(program(inputs[i])).tobytes() != wanted[i]
            runs[thread] += 1

    def all_at_once(seconds: float) -> int:
        threads = [threading.Thread(target=hammer, args=(i, time.monotonic() + seconds)) for i in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return _resident()

    before = all_at_once(max(0.3, seconds / 10))
    after = all_at_once(seconds)
    print(f"{sum(runs)} runs in 8 threads; resident before {before / 1e6:.1f} MB, after {after / 1e6:.1f} MB")
    assert min(runs) > 0
    assert not any(wrong)
    if "libasan" not in os.environ.get("LD_PRELOAD", ""):  # which keeps what was freed for a while
        assert after - before < 4 << 20


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_after_fork():
    program = ot.compile(nn.Linear(64, 64), ot.ones(4, 64))
    want = np.asarray(program(ot.ones(4, 64))).tobytes()
    child = os.fork()
    if not child:
        os._exit(0 if np.asarray(program(ot.ones(4, 64))).tobytes() == want else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.native
def test_profile_text_and_chart(tmp_path):
    program = ot.compile(static(Residual(), 4, 3, 16, 16), ot.randn(2, 3, 16, 16))
    profile = program.profile(repeat=3)
    assert [step.op for step in profile.steps] == [step["op"] for step in program.steps()]
    conv = next(step for step in profile.steps if step.path == "stem")
    assert conv.multiply_adds == 2 * 16 * 8 * 8 * 27
    assert "stem" in repr(profile)
    assert "us a call" in repr(profile)
    assert "largest live set" in repr(program)
    assert "(N, 3, 16, 16)" in repr(program)
    pytest.importorskip("matplotlib")
    profile.chart(tmp_path / "steps.png")
    assert (tmp_path / "steps.png").stat().st_size > 1000


def test_isa_may_change_between_runs():
    program = ot.compile(nn.Linear(7, 5), ot.ones(2, 7))
    results = set()
    for name, usable in _C.isa_list():
        if usable:
            with backend(name, 1):
                results.add(np.asarray(program(ot.ones(2, 7))).tobytes())
    assert len(results) == 1


# --- what stays -----------------------------------------------------------------------------------------------------


def saved_and_loaded(model, x, folder):
    path = folder / "model.oct"
    ot.save(model, path, x)
    return ot.load(path)


def test_compiling_packs_each_weight_once(monkeypatch):
    made: list[int] = []
    plain = packing._packed
    monkeypatch.setattr(packing, "_packed", lambda *of, make: plain(*of, make=lambda: made.append(1) or make()))
    model = static(Residual(), 4, 3, 16, 16)
    ot.compile(model, ot.randn(2, 3, 16, 16))
    assert len(made) == 4
    ot.compile(model, ot.randn(2, 3, 16, 16))  # the layers have them now
    assert len(made) == 4


def test_a_loaded_model_is_compiled_without_running(tmp_path, monkeypatch):
    x = ot.randn(2, 3, 16, 16)
    model = static(Residual(), 4, 3, 16, 16)
    loaded = saved_and_loaded(model, x, tmp_path)
    before = [node.meta.get("tensor") for node in loaded.graph.nodes]
    monkeypatch.setattr(_C, "conv", None)
    program = ot.compile(loaded, x)
    monkeypatch.undo()
    assert [node.meta.get("tensor") for node in loaded.graph.nodes] == before
    assert program.batch_bound is None
    for n in (1, 2, 5):
        some = ot.randn(n, 3, 16, 16)
        assert_equal(program(some), model(some))
    for isa, threads in backends():  # whose weights come from the file again
        with backend(isa, threads):
            assert_equal(program(x), model(x))


def test_a_loaded_model_that_is_bound_says_why(tmp_path):
    x = ot.ones(2, 6)
    loaded = saved_and_loaded(Chain(lambda x: ot.cat([x[i : i + 1] for i in range(len(x))], 0)), x, tmp_path)
    program = ot.compile(loaded, x)
    assert program.batch_bound is not None
    assert_equal(program(x), loaded(x))


def test_a_program_keeps_neither_its_model_nor_a_second_form_of_its_weights(tmp_path):
    model = static(Residual(), 4, 3, 16, 16)
    alive = weakref.ref(model)
    program = ot.compile(model, ot.randn(2, 3, 16, 16))
    held = gc.get_referents(*(part for part in vars(program).values() if not isinstance(part, _C.Program)))
    assert not any(isinstance(part, (_C.PackedConv, _C.PackedLinear)) for part in held)
    del model
    gc.collect()
    assert alive() is None
