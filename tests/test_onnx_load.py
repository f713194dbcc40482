"""`onnx.load` on whole models: against ONNX's own reference evaluator, and on models that are damaged or hostile."""

from __future__ import annotations

import tracemalloc
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import octensor as ot

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402
from onnx.reference import ReferenceEvaluator  # noqa: E402

RNG = np.random.default_rng(7)


def _model(
    nodes: Sequence[Any],
    shape: Sequence[Any] | None = (1, 3, 8, 8),
    outputs: Sequence[str] = ("y",),
    opset: int = 17,
    **arrays: Any,
) -> Any:
    inputs = [] if shape is None else [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)]
    graph = helper.make_graph(
        nodes,
        "net",
        inputs,
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(np.asarray(value), name.replace("__", ".")) for name, value in arrays.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)


def _floats(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype(np.float32)


def _node(kind: str, inputs: Sequence[str], outputs: Sequence[str] = ("y",), **attributes: Any) -> Any:
    return helper.make_node(kind, list(inputs), list(outputs), name=f"the {kind}", **attributes)


def _cnn() -> Any:
    return _model(
        [
            _node("Conv", ["x", "features.0.weight", "features.0.bias"], ["a"], pads=[0, 1, 2, 1], strides=[2, 2]),
            _node("BatchNormalization", ["a", "bn.weight", "bn.bias", "bn.mean", "bn.var"], ["b"]),
            _node("Relu", ["b"], ["c"]),
            _node("MaxPool", ["c"], ["d"], kernel_shape=[2, 2], strides=[1, 1]),
            _node("GlobalAveragePool", ["d"], ["e"]),
            _node("Flatten", ["e"], ["f"]),
            _node("Gemm", ["f", "fc.weight", "fc.bias"], ["y"], transB=1),
        ],
        features__0__weight=_floats(5, 3, 3, 3),
        features__0__bias=_floats(5),
        bn__weight=_floats(5),
        bn__bias=_floats(5),
        bn__mean=_floats(5),
        bn__var=np.abs(_floats(5)) + 1,
        fc__weight=_floats(4, 5),
        fc__bias=_floats(4),
    )


def test_layers_become_modules_under_the_names_of_their_weights() -> None:
    model = _cnn()
    loaded = ot.onnx.load(model.SerializeToString())
    x = _floats(1, 3, 8, 8)
    (want,) = ReferenceEvaluator(model).run(None, {"x": x})
    np.testing.assert_allclose(np.asarray(loaded(x)), want, rtol=1e-4, atol=1e-5)
    kinds = {name: type(m).__name__ for name, m in loaded.named_modules() if not list(m.children())}
    assert kinds["features.0"] == "Conv2d"
    assert kinds["fc"] == "Linear"
    assert kinds["bn"] == "BatchNorm2d"
    again = loaded(np.concatenate([x, x]))
    np.testing.assert_array_equal(np.asarray(again)[0], np.asarray(again)[1])


def test_a_loaded_model_is_prepared_and_converted() -> None:
    from octensor.quantization import get_default_qconfig
    from octensor.quantization.quantize_fx import convert_fx, prepare_fx

    loaded = ot.onnx.load(_cnn().SerializeToString())
    x = ot.Tensor(_floats(16, 3, 8, 8))
    want = np.asarray(loaded(x))
    prepared = prepare_fx(loaded, {"": get_default_qconfig("fbgemm")})
    prepared(x)
    converted = convert_fx(prepared)
    assert converted.get_submodule("features.0").stage == "static"
    assert np.abs(np.asarray(converted(x)) - want).max() < 0.05 * np.abs(want).max()


@pytest.mark.parametrize("first", ["Conv", "BatchNormalization"])
def test_constants_for_each_channel_become_part_of_the_layer(first: str) -> None:
    bn = {name: np.abs(_floats(3)) + 1 for name in ("scale", "shift", "mean", "var")}
    arrays = {"w": _floats(3, 3, 2, 2)} if first == "Conv" else bn
    nodes = [
        _node(first, ["x", *arrays], ["a"]),
        _node("Mul", ["factor", "a"], ["b"]),
        _node("Add", ["b", "offset"], ["c"]),
        _node("Mul", ["c", "columns"], ["d"]),
        _node("Add", ["d", "offset"]),
    ]
    square = 7 if first == "Conv" else 8
    arrays |= {"factor": _floats(3, 1, 1), "offset": _floats(1, 3, 1, 1), "columns": _floats(1, 1, square)}
    model = _model(nodes, **arrays)
    loaded, x = ot.onnx.load(model.SerializeToString()), _floats(1, 3, 8, 8)
    (want,) = ReferenceEvaluator(model).run(None, {"x": x})
    np.testing.assert_allclose(np.asarray(loaded(x)), want, rtol=1e-4, atol=1e-5)
    calls = [node.op for node in loaded.graph.nodes if node.op.startswith("call")]
    assert calls == ["call_module", "call_function", "call_function"]  # columns are not channels


def test_a_layer_whose_result_is_used_again_keeps_its_weights() -> None:
    nodes = [
        _node("Conv", ["x", "w"], ["a"]),
        _node("Mul", ["a", "factor"], ["b"]),
        _node("Sub", ["a", "b"]),
    ]
    model = _model(nodes, w=_floats(3, 3, 2, 2), factor=_floats(3, 1, 1))
    x = _floats(1, 3, 8, 8)
    (want,) = ReferenceEvaluator(model).run(None, {"x": x})
    np.testing.assert_allclose(np.asarray(ot.onnx.load(model.SerializeToString())(x)), want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", [7, 8, 9, 10])
def test_what_is_between_layers_does_not_keep_them_from_being_layers(size: int) -> None:
    """A reshape with known sizes, dropout, padding that only rounds the number of windows up."""
    bn = {name: np.abs(_floats(2)) + 1 for name in ("scale", "shift", "mean", "var")}
    nodes = [
        _node("Reshape", ["x", "sizes"], ["a"]),
        _node("BatchNormalization", ["a", *bn], ["b"]),
        _node("Dropout", ["b"], ["c", "mask"]),
        _node("MaxPool", ["c"], ["d"], kernel_shape=[3, 3], strides=[2, 2], pads=[0, 0, 1, 1]),
        _node("AveragePool", ["d"], kernel_shape=[3, 3], strides=[2, 1], pads=[1, 0, 2, 0]),
    ]
    model = _model(nodes, (1, 4, size, size), sizes=[2, 2, size, size], **bn)
    loaded, x = ot.onnx.load(model.SerializeToString()), _floats(1, 4, size, size)
    (want,) = ReferenceEvaluator(model).run(None, {"x": x})
    np.testing.assert_allclose(np.asarray(loaded(x)), want, rtol=1e-4, atol=1e-5)
    calls = [node.op for node in loaded.graph.nodes if node.op.startswith("call")]
    assert calls == ["call_function", "call_module", "call_module", "call_module"]


def test_operators_stay_whole_when_a_loaded_model_is_traced() -> None:
    """Their functions look at shapes and numbers, which tracing into them would not know."""
    from octensor.quantization import default_dynamic_qconfig
    from octensor.quantization.quantize_fx import convert_fx, prepare_fx

    nodes = [
        _node("Pad", ["x", "amounts"], ["a"], mode="reflect"),
        _node("Slice", ["a", "starts", "ends"], ["b"]),
        _node("LSTM", ["b", "w", "r"], ["c", "d", "e"], hidden_size=6),
        _node("Squeeze", ["d", "first"]),
    ]
    arrays = {"amounts": [0, 0, 1, 0, 0, 2], "starts": [1], "ends": [4], "first": [0]}
    model = _model(nodes, (5, 2, 4), w=_floats(1, 24, 7), r=_floats(1, 24, 6), **arrays)
    loaded = ot.onnx.load(model.SerializeToString())
    converted = convert_fx(prepare_fx(loaded, {"object_type": [(ot.nn.LSTM, default_dynamic_qconfig)]}))
    x = _floats(5, 2, 4)
    assert [m.stage for m in converted.modules() if isinstance(m, ot.nn.LSTM)] == ["dynamic"]
    assert np.abs(np.asarray(converted(x)) - np.asarray(loaded(x))).max() < 0.1


def test_a_branch_is_chosen_when_it_is_known_or_when_the_model_runs() -> None:
    def branch(kind: str) -> Any:
        out = helper.make_tensor_value_info("r", TensorProto.FLOAT, None)
        return helper.make_graph([_node(kind, ["x", "k"], ["r"])], kind, [], [out])

    nodes = [
        _node("ReduceSum", ["x"], ["s"], keepdims=0),
        _node("Greater", ["s", "zero"], ["positive"]),
        _node("If", ["positive"], then_branch=branch("Add"), else_branch=branch("Mul")),
    ]
    model = _model(nodes, (2,), k=np.float32(3.0), zero=np.float32(0.0))
    loaded = ot.onnx.load(model.SerializeToString())
    assert loaded(np.array([1.0, 2.0], np.float32)).tolist() == [4.0, 5.0]
    assert loaded(np.array([-1.0, -2.0], np.float32)).tolist() == [-3.0, -6.0]
    fixed = ot.onnx.load(model.SerializeToString(), constants={"x": np.array([1.0, 2.0], np.float32)})
    assert np.asarray(fixed()).tolist() == [4.0, 5.0]


def test_shapes_are_computed_when_the_model_runs() -> None:
    nodes = [
        _node("Shape", ["x"], ["s"]),
        _node("Gather", ["s", "first"], ["n"]),
        _node("Concat", ["n", "rest"], ["t"], axis=0),
        _node("Reshape", ["x", "t"]),
    ]
    model = _model(nodes, ("n", 2, 3), first=np.array([0]), rest=np.array([-1]))
    loaded = ot.onnx.load(model.SerializeToString())
    assert loaded(_floats(4, 2, 3)).shape == (4, 6)
    assert loaded(_floats(1, 2, 3)).shape == (1, 6)


@pytest.mark.parametrize("kind", [np.uint8, np.int8])
def test_quantized_models_run_in_integers(kind: Any) -> None:
    """Between quantize and dequantize the reference rounds to float32 several times: one step may differ, rarely."""
    zero = kind(3)

    def quantize(name: str, scale: float) -> list[Any]:
        return [
            _node("QuantizeLinear", [name, f"{name}_s", "z"], [f"{name}_q"]),
            _node("DequantizeLinear", [f"{name}_q", f"{name}_s", "z"], [f"{name}_d"]),
        ]

    scales = {"x": 0.03, "c": 0.05, "d": 0.06, "e": 0.09, "f": 0.09}
    weight = RNG.integers(-128, 128, (6, 3, 3, 3), np.int8)
    nodes = [
        *quantize("x", 0.03),
        _node("DequantizeLinear", ["w", "w_s", "w_z"], ["w_d"], axis=0),
        _node("DequantizeLinear", ["b", "b_s", "b_z"], ["b_d"], axis=0),
        _node("Conv", ["x_d", "w_d", "b_d"], ["r"], pads=[1, 1, 1, 1]),
        _node("Relu", ["r"], ["c"]),
        *quantize("c", 0.05),
        _node("MaxPool", ["c_d"], ["m"], kernel_shape=[2, 2], strides=[2, 2]),
        _node("DequantizeLinear", ["w2", "w2_s", "w2_z"], ["w2_d"]),
        _node("Conv", ["m", "w2_d"], ["d"]),
        *quantize("d", 0.06),
        _node("Add", ["d_d", "m"], ["e"]),
        *quantize("e", 0.09),
        _node("Reshape", ["e_d", "sizes"], ["f"]),
        *quantize("f", 0.09),
        _node("Identity", ["f_d"]),
    ]
    w_s = np.linspace(0.001, 0.004, 6, dtype=np.float32)
    model = _model(
        nodes,
        opset=21,
        z=zero,
        w=weight,
        w_s=w_s,
        w_z=np.zeros(6, np.int8),
        b=RNG.integers(-2000, 2000, 6, np.int32),
        b_s=w_s * np.float32(0.03),
        b_z=np.zeros(6, np.int32),
        w2=RNG.integers(-128, 128, (6, 6, 1, 1), np.int8),
        w2_s=np.float32(0.01),
        w2_z=np.int8(0),
        sizes=np.array([1, -1]),
        **{f"{name}_s": np.float32(scale) for name, scale in scales.items()},
    )
    loaded = ot.onnx.load(model.SerializeToString())
    stages = [m.stage for m in loaded.modules() if hasattr(m, "weight")]
    assert stages == ["static", "static"]
    targets = [n.target for n in loaded.graph.nodes if n.op in ("call_function", "call_method")]
    assert targets.count("dequantize") == 1
    assert ot.ops.quantized.add in targets
    x = _floats(1, 3, 8, 8)
    (want,) = ReferenceEvaluator(model).run(None, {"x": x})
    steps = np.abs(np.asarray(loaded(x)) - want) / 0.09
    assert steps.max() < 1.5
    assert (steps > 0.5).mean() < 0.02


def test_qgemm_is_exact_before_it_rounds() -> None:
    a, b = RNG.integers(0, 256, (3, 5), np.uint8), RNG.integers(-128, 128, (4, 5), np.int8)
    c = RNG.integers(-500, 500, 4, np.int32)
    scales = np.array([0.01, 0.02, 0.005, 0.01], np.float32)
    arrays = {"a": a, "as": np.float32(0.03), "az": np.uint8(7), "b": b, "bs": scales, "bz": np.zeros(4, np.int8)}
    arrays |= {"c": c, "ys": np.float32(0.5), "yz": np.uint8(100)}
    model = _model([helper.make_node("QGemm", list(arrays), ["y"], domain="com.microsoft", transB=1)], None, **arrays)
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    sums = (a.astype(np.int64) - 7) @ b.astype(np.int64).T + c
    want = np.clip(np.rint(sums * (np.float64(np.float32(0.03)) * scales) / 0.5) + 100, 0, 255)
    np.testing.assert_array_equal(np.asarray(ot.onnx.load(model.SerializeToString())()), want)


# --- damaged and hostile ---------------------------------------------------------------------------------------------


def _refused(model: Any, match: str) -> None:
    data = model if isinstance(model, bytes) else model.SerializeToString()
    tracemalloc.start()
    with pytest.raises(ValueError, match=match):
        ot.onnx.load(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100 << 20


def test_sums_and_biases_that_do_not_fit_int32_are_refused() -> None:
    terms = 70_000
    codes = {"a": np.full((1, terms), 255, np.uint8), "b": np.full((terms, 1), -128, np.int8)}
    loaded = ot.onnx.load(_model([_node("MatMulInteger", ["a", "b"])], (1,), **codes).SerializeToString())
    with pytest.raises(ValueError, match="expected sums that fit int32"):
        loaded(np.zeros(1, np.float32))
    nodes = [
        _node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        _node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        _node("DequantizeLinear", ["codes", "s"], ["w"]),
        _node("DequantizeLinear", ["bias", "bs"], ["b"]),
        _node("Conv", ["d", "w", "b"], ["c"]),
        _node("QuantizeLinear", ["c", "s", "z"], ["e"]),
        _node("DequantizeLinear", ["e", "s", "z"]),
    ]
    arrays = {"s": np.float32(0.1), "z": np.uint8(3), "codes": np.full((2, 3, 1, 1), -128, np.int8)}
    arrays |= {"bias": np.array([1 << 30, -(1 << 30)], np.int32)}
    for scale, match in ((1e30, "bias: expected finite"), (0.02, "expected sums that fit int32|bias")):
        loaded = ot.onnx.load(_model(nodes, **arrays, bs=np.float32(scale)).SerializeToString())
        with pytest.raises(ValueError, match=match):
            loaded(np.ones((1, 3, 8, 8), np.float32))


def test_unknown_operators_are_named_all_at_once() -> None:
    nodes = [_node("Conv", ["x", "w"], ["a"]), _node("Bernoulli", ["a"], ["b"]), _node("Einsum", ["b"], equation="i")]
    _refused(_model(nodes, w=_floats(2, 3, 1, 1)), r"Bernoulli \(1 times: the Bernoulli\); Einsum \(1 times")


def test_names_of_the_file_are_never_names_of_python(tmp_path: Path) -> None:
    made = tmp_path / "made"
    evil = f"x); open({str(made)!r}, 'w'); ("
    for name in (evil, "__class__", "forward", "lambda", "0", "", "a.b", "_modules", "self", "training", "x" * 1000):
        conv = helper.make_node("Conv", ["in", f"{name}.weight"], ["out"], name=name)
        pad = helper.make_node("Pad", ["out", "amounts"], [f"{name}!"], mode="reflect", name=name)
        info = helper.make_tensor_value_info("in", TensorProto.FLOAT, (1, 3, 8, 8))
        weights = [numpy_helper.from_array(_floats(2, 3, 1, 1), f"{name}.weight")]
        weights.append(numpy_helper.from_array(np.array([0, 0, 1, 1, 0, 0, 1, 1]), "amounts"))
        out = helper.make_tensor_value_info(f"{name}!", TensorProto.FLOAT, None)
        graph = helper.make_graph([conv, pad], name, [info], [out], weights)
        graph.node[0].input[0] = graph.input[0].name = name or "in"
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
        loaded = ot.onnx.load(model.SerializeToString())
        assert loaded(_floats(1, 3, 8, 8)).shape == (1, 2, 10, 10)
    assert not made.exists()


def test_inputs_whose_names_become_one_word_stay_apart() -> None:
    model = _model([_node("Sub", ["a.b", "a_b"], ["c"]), _node("Sub", ["c", "a/b"])], None)
    for name in ("a.b", "a_b", "a/b", "a_b_1"):
        model.graph.input.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, (1,)))
    values = (np.array([v], np.float32) for v in (9, 3, 2, 0))
    assert ot.onnx.load(model.SerializeToString())(*values).tolist() == [4.0]


@pytest.mark.parametrize("names", [("a.b", "a.b.c"), ("a.b.c", "a.b"), ("a.b", "a.b.weight.weight"), ("a", "a.b.c")])
def test_a_name_that_leads_through_another_one_ends(names: Any) -> None:
    nodes = [_node("Conv", ["x", f"{names[0]}.weight"], ["a"]), _node("Conv", ["a", f"{names[1]}.weight"])]
    model = _model(nodes)
    for name in names:
        model.graph.initializer.append(numpy_helper.from_array(_floats(3, 3, 1, 1), f"{name}.weight"))
    assert ot.onnx.load(model.SerializeToString())(_floats(1, 3, 2, 2)).shape == (1, 3, 2, 2)


def test_external_data_stays_beside_the_model(tmp_path: Path) -> None:
    inside = tmp_path / "model"
    inside.mkdir()
    (inside / "w.bin").write_bytes(np.arange(2, dtype=np.float32).tobytes())
    (tmp_path / "secret").write_bytes(b"\0" * 8)
    (inside / "link").symlink_to(tmp_path / "secret")

    def load(**entries: str) -> Any:
        model = _model([_node("Add", ["x", "w"])], (2,))
        tensor = TensorProto(name="w", dims=(2,), data_type=1, data_location=1)
        for key, value in entries.items():
            tensor.external_data.add(key=key, value=value)
        model.graph.initializer.append(tensor)
        (inside / "m.onnx").write_bytes(model.SerializeToString())
        return ot.onnx.load(inside / "m.onnx")

    assert load(location="w.bin")(np.zeros(2, np.float32)).tolist() == [0.0, 1.0]
    for wrong in (
        {"location": "../secret"},
        {"location": "a/../../secret"},
        {"location": str(tmp_path / "secret")},
        {"location": "link"},
        {"location": "missing"},
        {"location": "w.bin", "offset": "4"},
        {"location": "w.bin", "offset": "-4"},
        {"location": "w.bin", "length": "4"},
        {"location": "w.bin", "offset": "x"},
        {"location": "w.bin", "__class__": "x"},
        {"offset": "0"},
    ):
        with pytest.raises(ValueError, match="external data"):
            load(**wrong)
    load(location="w.bin")
    with pytest.raises(ValueError, match="another file"):
        ot.onnx.load((inside / "m.onnx").read_bytes())


def test_damaged_models_give_errors_of_the_loader() -> None:
    data = _cnn().SerializeToString()
    rng = np.random.default_rng(0)
    for i in range(400):
        changed = bytearray(data[: rng.integers(len(data))] if i % 4 == 0 else data)
        for _ in range(int(rng.integers(1, 4))):
            if changed:
                changed[rng.integers(len(changed))] = rng.integers(256)
        try:
            ot.onnx.load(bytes(changed))
        except ValueError as error:
            assert str(error).startswith("onnx.load"), error  # noqa: PT017


def test_what_is_too_large_to_compute_while_loading_is_computed_later() -> None:
    nodes = [_node("Add", ["p", "q"], ["a"]), _node("ReduceMean", ["a"], ["y"], keepdims=0)]
    side = 3000
    p, q = np.arange(side, dtype="f")[:, None], np.ones((1, side), "f")
    loaded = ot.onnx.load(_model(nodes, None, p=p, q=q).SerializeToString())
    assert [n.op for n in loaded.graph.nodes].count("call_function") == 2
    np.testing.assert_allclose(np.asarray(loaded()), side / 2 + 0.5, rtol=1e-5)
