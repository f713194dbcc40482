"""Steps that move, choose and compare: programs give the ops' bytes, whatever the shape, batch, element and backend."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import octensor as ot
from octensor import _C, nn
from octensor.nn import functional as F
from octensor.onnx.operators.values import run
from octensor.ops import integer_products, mathematics, moving, reduce
from octensor.ops.exact import CAST, DEQUANTIZE
from octensor.ops.spec import apply
from octensor.ops.whole import ARG_EXTREME, ELEMENTWISE, PAIRWISE, RANGE, REDUCE_WHOLE, RUNNING_SUMS
from support import backend, backends
from test_program import leaves

Q = (_C.QParams(0.05, 117, ot.quint8), _C.QParams(0.04, -3, ot.qint8))
IMAGE = (3, 5, 7)  # channels, height, width; no size is a vector's


def floats(*shape: int) -> np.ndarray:
    """Numbers of many sizes, some of them 0, -0 and alike."""
    rng = np.random.default_rng(sum(shape))
    x = rng.standard_normal(shape) * 10.0 ** rng.integers(-3, 3, shape)
    x.reshape(-1)[::7] = 0.0
    x.reshape(-1)[::11] = -0.0
    return x.astype(np.float32)


def assert_equal(got: Any, want: Any) -> None:
    """Equal bytes of all tensors and arrays; programs return tensors where models return arrays."""
    for a, b in zip(leaves(got), leaves(want), strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        assert a.tobytes() == b.tobytes()


def check(model: Callable[..., Any], inputs: Callable[[int], tuple[Any, ...]]) -> ot.Program:
    """Compile for three samples; run with three, one and five on every instruction set and thread count."""
    program = ot.compile(model, inputs(3))
    assert program.batch_bound is None
    for n in (3, 1, 5):
        given = inputs(n)
        want = model(*given)
        for isa, threads in backends():
            with backend(isa, threads):
                assert_equal(program(*given), want)
    return program


def images(n: int, *more: int) -> tuple[ot.Tensor]:
    return (ot.Tensor(floats(n, *(more or IMAGE))),)


def coded(function: Callable[[Any], Any], qparams: _C.QParams, last: bool) -> Callable[[Any], Any]:
    """The function of codes, with channels last or first."""

    def model(x: Any) -> Any:
        q = ot.quantize_per_tensor(x, qparams.scale, qparams.zero_point, qparams.dtype)
        q = ot.ops.quantized.relu6(q) if not last else F.max_pool2d(q, 1)
        return function(q)

    return model


MOVES: dict[str, Callable[[Any], Any]] = {
    "nearest by sizes": lambda x: F.interpolate(x, size=(9, 4)),
    "nearest by two": lambda x: F.interpolate(x, scale_factor=2),
    "nearest by a fraction": lambda x: F.interpolate(x, scale_factor=(0.7, 2.3)),
    "linear": lambda x: F.interpolate(x, size=(11, 3), mode="bilinear"),
    "linear by corners": lambda x: F.interpolate(x, size=(1, 13), mode="bilinear", align_corners=True),
    "linear by a fraction": lambda x: F.interpolate(x, scale_factor=1.7, mode="bilinear"),
    "pad": lambda x: F.pad(x, (1, 2, 0, 3, 2, 0), value=1.5),
    "pad and cut": lambda x: F.pad(x, (-1, 2, 3, -4)),
    "pad the batch": lambda x: F.pad(x, (0, 0, 0, 0, 0, 0, 1, 2)),
    "pad by reflection": lambda x: F.pad(x, (6, 3, 0, 4), mode="reflect"),
    "pad by the edge": lambda x: F.pad(x, (9, 0, 1, 8), mode="replicate"),
    "pad around": lambda x: F.pad(x, (7, 2, 5, 1), mode="circular"),
    "flip": lambda x: ot.flip(x, 1, 3),
    "repeat": lambda x: x.repeat(2, 1, 3, 1, 2) if isinstance(x, ot.Tensor) else moving.repeat(x, 2, 1, 3, 1, 2),
    "take": lambda x: x[:, :, np.array([[4, 0], [-1, 2]])],
    "largest": lambda x: (ot.amax(x, (1, 3)), ot.amin(x, 2, True), ot.amax(x, 0)),
}


@pytest.mark.parametrize("name", MOVES)
def test_values_that_move(name: str) -> None:
    function = MOVES[name]
    for size in (IMAGE, (1, 5, 7), (33, 8, 9)):
        check(function, lambda n, size=size: images(n, *size))
    for qparams in Q:
        for last in (False, True):
            check(coded(function, qparams, last), images)


def test_interpolation_of_other_ranks() -> None:
    for shape, mode in (((4, 9), "linear"), ((3, 4, 2, 5), "trilinear")):
        for how in ("nearest", mode):
            check(lambda x, how=how: F.interpolate(x, scale_factor=1.6, mode=how), lambda n, s=shape: images(n, *s))


def test_indices_that_are_inputs() -> None:
    table = ot.Tensor(floats(13, 6))
    codes = ot.quantize_per_tensor(table, 0.1, 90, ot.quint8)
    rng = np.random.default_rng(0)

    def model(ids: Any) -> Any:
        rows = apply(moving.TAKE, table, indices=ids, dim=0)
        places = PAIRWISE(ids, 1, function="add")
        return rows, apply(moving.TAKE, codes, indices=places, dim=0), apply(moving.TAKE, table, indices=ids, dim=1)

    check(model, lambda n: (rng.integers(-6, 6, (n, 4)),))
    program = ot.compile(model, (rng.integers(-6, 6, (2, 4)),))
    with pytest.raises(ValueError, match=r"indices: expected values in \[-13, 13\), got -6 to 99"):
        program(np.array([[0, 1, 2, 99], [0, 0, 0, -6]]))

    def along(x: Any, ids: Any) -> Any:
        tuples = ot.stack([ids[..., 0], ids[..., 1]], -1)._array
        return apply(moving.GATHER, x, indices=ids._array, dim=1), apply(moving.GATHER_ND, x, indices=tuples)

    check(along, lambda n: (*images(n, 5, 7), ot.Tensor(rng.integers(0, n if n < 5 else 5, (n, 4, 7)))))


def test_comparisons_logic_and_choices() -> None:
    def model(x: Any, y: Any, ids: Any) -> Any:
        masks = x > y, x >= 0.0, ~(x == y), x != y, x < y, x <= y
        both = PAIRWISE(masks[0], masks[1], function="and")
        either = PAIRWISE(both, masks[2], function="xor")
        chosen = mathematics.where(either, x, y), mathematics.where(ids > 2, 1.0, -1.0), x.masked_fill(masks[4], -2)
        return masks, both, either, chosen, mathematics.maximum(x, y), mathematics.minimum(y, x)

    def inputs(n: int) -> tuple[Any, ...]:
        y = floats(n, 1, 7)
        y.reshape(-1)[:2] = np.nan, np.inf
        return *images(n, 5, 7), ot.Tensor(y), ot.Tensor(np.arange(7 * n).reshape(n, 1, 7) % 5)

    check(model, inputs)
    with pytest.raises(ot.CompileError, match="float32 and int64"):
        ot.compile(lambda x, y, ids: ids == y, inputs(2))


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_whole_numbers(dtype: Any) -> None:
    info = np.iinfo(dtype)
    edges = np.array([0, 1, -1, 2, -2, 7, -7, info.max, info.min, info.max - 1], dtype)

    def model(a: Any, b: Any) -> Any:
        functions = ("add", "sub", "mul", "div", "mod", "fmod", "maximum", "minimum", "less", "equal")
        pairs = [PAIRWISE(a, b, function=f) for f in functions]
        return pairs, [ELEMENTWISE(a, function=f) for f in ("neg", "abs", "sign")], ot.amax(a, 0), ot.amin(b, 1)

    def inputs(n: int) -> tuple[Any, ...]:
        return np.tile(edges, (n, 1, 1)), np.tile(edges[:, None], (n, 1, 1))

    def wraps(a: Any, b: Any) -> Any:
        return [PAIRWISE(a, b, function=f) for f in ("add", "sub", "mul", "maximum", "greater_equal")]

    with np.errstate(all="ignore"):
        check(wraps, inputs)
        edges = edges[np.abs(edges.astype(object)) < 1 << 30]  # no quotient or absolute value beyond the ends
        check(model, inputs)


def test_along_axes() -> None:
    def model(x: Any, ids: Any, codes: Any) -> Any:
        q = ot.quantize_per_tensor(codes, 0.1, 90, ot.quint8)
        floats_ = [ot.argmax(x, 1), reduce.argmin(x, 2, True), ot.max(x, 1), mathematics.cumsum(x, 2), ot.max(q, 0)]
        lasts = [ARG_EXTREME(v, dim=1, keepdim=False, largest=large, last=True) for v in (x, ids) for large in (0, 1)]
        whole = [REDUCE_WHOLE(ids, function=f, dim=(0, 2), keepdim=True) for f in ("sum", "max", "min")]
        return floats_, lasts, whole, RUNNING_SUMS(ids, dim=1), RUNNING_SUMS(ids, dim=-1)

    def inputs(n: int) -> tuple[Any, ...]:
        x = floats(n, 5, 7)
        x[0, 2, 3] = np.nan
        return ot.Tensor(x), np.arange(n * 35).reshape(n, 5, 7) * 7 % 11 - 3, *images(n, 4, 3)

    check(model, inputs)


def test_sorting() -> None:
    def model(x: Any, ids: Any) -> Any:
        q = ot.quantize_per_tensor(x, 0.5, 90, ot.quint8)
        sorted_ = [ot.sort(v, d, down) for v in (x, q) for d in (1, 2) for down in (False, True)]
        return sorted_, ot.topk(x, 3, 1), ot.topk(q, 2, -1, largest=False), ot.sort(ids, -1, True)

    def inputs(n: int) -> tuple[Any, ...]:
        x = floats(n, 5, 37)
        x[:, ::2] = np.rint(x[:, ::2])  # many alike
        return ot.Tensor(x), ot.Tensor(np.arange(n * 35).reshape(n, 5, 7) * 7 % 11 - 3)

    check(model, inputs)


def test_masks_of_attention() -> None:
    ot.manual_seed(0)
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True).eval()
    extra = nn.MultiheadAttention(8, 2, add_zero_attn=True, batch_first=True).eval()
    causal = ot.Tensor(np.triu(np.ones((5, 5), bool), 1))

    def model(x: Any, padding: Any) -> Any:
        y = layer(x, src_mask=causal, src_key_padding_mask=padding)
        return y, extra(y, y, y, key_padding_mask=padding)[0], extra(x, y, y, attn_mask=causal)[0]

    def inputs(n: int) -> tuple[Any, ...]:
        return *images(n, 5, 8), ot.Tensor(np.arange(5)[None] > 1 + np.arange(n)[:, None] % 4)

    check(model, inputs)


def test_casts() -> None:
    values = {
        "float32": np.array([0.0, -0.0, 1.5, -1.5, 2.5, 1e9, -1e9, np.inf, -np.inf, np.nan, 3e18, 1e30], np.float32),
        "int64": np.array([0, 1, -1, 1 << 40, (1 << 24) + 1, -(1 << 62)], np.int64),
        "int32": np.array([0, 1, -1, (1 << 24) + 1, -(1 << 31)], np.int32),
        "bool": np.array([True, False]),
    }
    for source, array in values.items():
        for target in values:
            if source != target:
                check(lambda x, to=target: CAST(x, dtype=to), lambda n, a=array: (np.tile(a, (n, 1)),))
    ends = CAST(values["float32"][5:], dtype="int32")
    assert ends.tolist() == [10**9, -(10**9), *[-(1 << 31)] * 5]


def test_counting_follows_the_batch() -> None:
    def model(x: Any) -> Any:
        return x, RANGE(start=0, stop=x.shape[0], step=1), RANGE(start=9, stop=1 - x.shape[0], step=-2)

    check(model, lambda n: images(n, 4))


def test_functions_of_one_number_and_norms_across_channels() -> None:
    names = ("sign", "floor", "ceil", "round", "reciprocal")

    def model(x: Any) -> Any:
        powers = [ot.abs(x) ** e for e in (2, 0.5, 0.75, 1.5, -0.25, 3.7, 0.0)]
        more = [x**e for e in (2, 3, -1, 5.0)]
        functions = [getattr(mathematics, name)(x) for name in names]
        return powers, more, functions, ot.abs(x), F.prelu(x, ot.tensor([0.3, -1.0, 2.0]))

    with np.errstate(all="ignore"):
        check(model, lambda n: images(n, 3, 7))
    for size, beta in ((5, 0.75), (4, 0.6), (1, 1.0)):
        check(lambda x, s=size, b=beta: mathematics.local_response_norm(x, s, 0.01, b, 2.0), images)


def test_powers_are_those_of_float64() -> None:
    rng = np.random.default_rng(0)
    x = np.exp(rng.uniform(-40, 40, 4000)).astype(np.float32)
    for exponent in (0.75, 2.0, 0.3, -1.7, 11.1, 1e-3, -0.5):
        with np.errstate(all="ignore"):
            want = np.power(x.astype(np.float64), np.float64(np.float32(exponent))).astype(np.float32)
        got = _C.float_power(x, exponent)
        apart = np.abs(got.view(np.int32).astype(np.int64) - want.view(np.int32))
        assert apart.max() <= 1
        assert np.mean(apart) < 1e-3
    special = np.array([0.0, -0.0, 1, -1, 2, -2, np.inf, -np.inf, np.nan], np.float32)
    for exponent in (3.0, -3.0, 2.0, 0.5, 40.0, 41.0, -41.0, 0.0, 1.3):
        with np.errstate(all="ignore"):
            want = np.power(special.astype(np.float64), exponent).astype(np.float32)
        got = _C.float_power(special, exponent)
        whole = exponent == int(exponent)
        taken = slice(None) if whole else [0, 2, 4, 6, 8]
        assert np.array_equal(got[taken], want[taken], equal_nan=True), (exponent, got, want)


@pytest.mark.parametrize("qparams", Q)
def test_tables_and_statistics_of_codes(qparams: _C.QParams) -> None:
    out = {"qparams": _C.QParams(0.03, 120, ot.quint8)}
    rng = np.random.default_rng(3)
    a, b, mean = (ot.Tensor(rng.standard_normal(3).astype(np.float32)) for _ in range(3))
    var = ot.Tensor(rng.uniform(0.1, 2, 3).astype(np.float32))
    for relu in (False, True):
        for last in (False, True):
            norm = coded(lambda q, relu=relu: F.batch_norm(q, mean, var, a, b, relu=relu, **out), qparams, last)
            program = check(norm, images)
            assert any(step["op"] == "lookup_channels" for step in program.steps())
    wide = ot.Tensor(floats(5, 7))
    check(coded(lambda q: F.layer_norm(q, (5, 7), wide, wide, **out), qparams, True), images)
    check(coded(lambda q: F.layer_norm(q, (7,), None, None, **out), qparams, False), images)
    check(coded(lambda q: F.group_norm(q, 3, a, b, **out), qparams, True), images)
    check(coded(lambda q: F.instance_norm(q, weight=a, **out), qparams, False), images)


def test_what_constants_alone_make_is_computed_while_compiling() -> None:
    steps = ot.Tensor(np.arange(7, dtype=np.float32))

    def model(x: Any) -> Any:
        grid = (steps + 0.5) * 2.0
        return x * grid + F.pad(grid.reshape(1, 7), (0, 0, 2, 2))[2]

    program = check(model, lambda n: images(n, 7))
    assert [step["op"] for step in program.steps()] == ["float_mul", "float_add"]


def test_codes_whose_scale_is_computed() -> None:
    w = np.random.default_rng(0).integers(-128, 128, (7, 4)).astype(np.int8)
    table = np.random.default_rng(1).integers(0, 256, (9, 7)).astype(np.uint8)
    zeros = np.array([0, 3, -4, 9], np.int8)

    def model(x: Any, y: Any, ids: Any, picture: Any) -> Any:
        codes, scale, zero = integer_products.DYNAMIC_QUANTIZE(x)
        others, _, zero_y = integer_products.DYNAMIC_QUANTIZE(y)
        products = [
            integer_products.MATMUL_INTEGER(codes, w, zero, zeros),
            integer_products.MATMUL_INTEGER(codes, others, zero, zero_y),
            integer_products.MATMUL_INTEGER(codes, others, None, zero_y),
        ]
        rows = run(moving.TAKE, table, indices=ids, dim=0)
        real = DEQUANTIZE(integer_products.AS_CODES(rows, qparams=Q[0]))
        brightness = CAST(picture, dtype="float32")
        return products, scale, zero, integer_products.DEQUANTIZE_BY(codes, scale, zero), real, brightness, codes

    def inputs(n: int) -> tuple[Any, ...]:
        picture = (np.arange(n * 6).reshape(n, 6) * 50 % 256).astype(np.uint8)
        return *images(n, 5, 7), *images(n, 7, 3), np.arange(2 * n).reshape(n, 2) % 9 - 4, picture

    check(model, inputs)


def test_arrays_of_codes_go_into_files(tmp_path: Any) -> None:
    """ONNX's operators on codes whose scales are computed."""
    w = np.random.default_rng(0).integers(-128, 128, (7, 4)).astype(np.int8)

    def model(x: Any) -> Any:
        codes, scale, zero = integer_products.DYNAMIC_QUANTIZE(x)
        sums = integer_products.MATMUL_INTEGER(codes, w, zero, None)
        real = integer_products.DEQUANTIZE_BY(codes, scale, zero)
        again = integer_products.QUANTIZE_BY(real, scale, zero)
        return sums, real, again, ARG_EXTREME(sums, dim=1, keepdim=False, largest=True)

    x = images(3, 7)
    ot.save(model, tmp_path / "m.oct", x)
    loaded = ot.load(tmp_path / "m.oct")
    for n in (3, 1):
        assert_equal(loaded(*images(n, 7)), model(*images(n, 7)))


def test_a_step_refuses_what_does_not_fit() -> None:
    for step, arguments, message in (
        ("pick", {"axes": [None, ("pad", 9, 0, "reflect")]}, "do not fit an axis of size 5"),
        ("pick", {"axes": [None, ("places", [0, 5])]}, r"expected an index in \[-5, 4\], got 5"),
        ("pick", {"axes": [None]}, "expected 1 axes"),
        ("extreme", {"axes": 3, "largest": True}, "at least 3 axes"),
        ("unary", {"name": "neither"}, "expected a function of float32, got 'neither'"),
        ("resample", {"axes": [(3, 1.0)], "align_corners": False}, "expected 1 spatial axes"),
        ("float_response_norm", {"size": 0, "alpha": 1.0, "beta": 1.0, "bias": 1.0}, "expected shape"),
    ):
        program = _C.Program()
        x = program.add_input("x", np.zeros((2, 5), np.float32), [-1, 5])
        program.set_outputs([getattr(program, step)([x], "here", **arguments)])
        with pytest.raises(ValueError, match=rf"here \({step}\).*{message}"):
            program.run([np.zeros((2, 5), np.float32)])


def test_a_network_of_all_of_it_in_integers() -> None:
    """What detectors are made of: split, upsampled, joined, with a product that is a table."""

    class Neck(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(12, 6, 3, padding=1)

        def forward(self, x: Any) -> Any:
            y = self.a(x)
            y = y * ot.sigmoid(y)
            left, right = ot.split(y, 4, 1)
            up = F.interpolate(ot.cat([left, right], 1), scale_factor=2)[:, :, :5, :7]
            return self.b(ot.cat([up, F.interpolate(left, size=(5, 7))], 1))

    ot.manual_seed(5)
    from octensor.quantization import get_default_qconfig, quantize_fx

    prepared = quantize_fx.prepare_fx(Neck().eval(), {"": get_default_qconfig()})
    prepared(*images(8))
    program = check(quantize_fx.convert_fx(prepared), images)
    assert "dequantize" not in [step["op"] for step in program.steps()][:-1]
