"""Gradients: every op of the registry against central differences in float64, and the tape itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import octensor as ot
from octensor.ops import OPS, OpSpec, apply
from octensor.ops.spec import Context, unbroadcast

STEP = 1e-6

CASES = [
    pytest.param(spec, arrays, attrs, id=f"{spec.name}-{i}")
    for spec in OPS.values()
    if spec.backward is not None
    for i, (arrays, attrs) in enumerate(spec.samples(np.random.default_rng(7)))
]


def numeric_gradient(spec: OpSpec, arrays: tuple[Any, ...], attrs: dict[str, Any], which: int, grad: Any) -> Any:
    """Central differences of sum(forward · grad) with respect to one array."""
    x = np.array(arrays[which], np.float64)
    result = np.zeros_like(x)
    for index in np.ndindex(x.shape):
        ends = []
        for sign in (1, -1):
            moved = x.copy()
            moved[index] += sign * STEP
            changed = (*arrays[:which], moved, *arrays[which + 1 :])
            ends.append(np.sum(spec.forward(*changed, **attrs) * grad))
        result[index] = (ends[0] - ends[1]) / (2 * STEP)
    return result


@pytest.mark.parametrize(("spec", "arrays", "attrs"), CASES)
def test_gradient_is_that_of_central_differences(spec: OpSpec, arrays: Any, attrs: Any) -> None:
    out = np.asarray(spec.forward(*arrays, **attrs))
    assert out.dtype == np.float64
    grad = np.random.default_rng(3).standard_normal(out.shape)
    needs = tuple(isinstance(a, np.ndarray) for a in arrays)
    before = [np.copy(a) if isinstance(a, np.ndarray) else a for a in arrays]
    parts = spec.backward(Context(arrays, attrs, out, needs), grad)
    assert len(parts) == len(arrays)
    assert any(part is not None for part in parts)
    for i, (part, array) in enumerate(zip(parts, arrays, strict=True)):
        if part is None or not needs[i]:  # batch norm has none for its running statistics
            assert not needs[i] or (spec.name == "batch_norm" and i >= 3)
            continue
        part = unbroadcast(np.asarray(part), array.shape)
        assert part.dtype == np.float64
        np.testing.assert_allclose(part, numeric_gradient(spec, arrays, attrs, i, grad), rtol=1e-5, atol=1e-7)
    for a, b in zip(arrays, before, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(("spec", "arrays", "attrs"), CASES)
def test_float32_results_and_gradients_stay_float32(spec: OpSpec, arrays: Any, attrs: Any) -> None:
    narrow = [a.astype(np.float32) if isinstance(a, np.ndarray) else a for a in arrays]
    tensors = [ot.Tensor(a, requires_grad=True) if isinstance(a, np.ndarray) else a for a in narrow]
    assert np.asarray(spec.forward(*narrow, **attrs)).dtype == (np.float64 if spec.name == "dropout" else np.float32)
    result = apply(spec, *tensors, **attrs)
    result.backward(np.ones(result.shape, np.float32))
    for tensor in tensors:
        if isinstance(tensor, ot.Tensor) and tensor.grad is not None:
            assert tensor.grad.shape == tensor.shape
            assert tensor.grad.dtype == np.float32


def test_every_op_with_gradient_has_samples() -> None:
    for spec in OPS.values():
        assert spec.samples(np.random.default_rng(0)), spec.name


def test_a_tensor_used_twice_gathers_both_gradients() -> None:
    x = ot.tensor([1.0, 2.0], requires_grad=True)
    y = x * x
    (y + y * x).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), [2 + 3, 4 + 12])


def test_gradients_add_up_over_calls() -> None:
    x = ot.ones(2, requires_grad=True)
    for _ in range(3):
        (2 * x).sum().backward()
    assert x.grad.tolist() == [6.0, 6.0]


def test_the_first_gradient_is_not_shared_with_the_caller() -> None:
    x = ot.ones(2, requires_grad=True)
    given = np.ones(2, np.float32)
    (x + 0).backward(given)
    given[:] = 9
    assert x.grad.tolist() == [1.0, 1.0]


def test_deep_graphs_need_no_stack() -> None:
    x = ot.ones(1, requires_grad=True)
    y = x
    for _ in range(5000):
        y = y + 1
    y.backward()
    assert x.grad.tolist() == [1.0]


def test_a_used_graph_is_let_go_unless_retained() -> None:
    x = ot.ones(1, requires_grad=True)
    y = x * 2
    y.backward(retain_graph=True)
    y.backward()
    assert x.grad.tolist() == [4.0]
    with pytest.raises(RuntimeError, match="retain_graph=True"):
        y.backward()


def test_no_grad_records_nothing() -> None:
    x = ot.ones(1, requires_grad=True)
    with ot.no_grad():
        assert not ot.is_grad_enabled()
        assert not (x * 2).requires_grad
        with ot.enable_grad():
            assert (x * 2).requires_grad
    assert (x * 2).requires_grad

    @ot.no_grad()
    def double(t: Any) -> Any:
        return t * 2

    assert not double(x).requires_grad
    assert ot.is_grad_enabled()


def test_detached_tensors_stop_gradients() -> None:
    x = ot.ones(1, requires_grad=True)
    (x * x.detach()).backward()
    assert x.grad.tolist() == [1.0]


def test_writing_into_a_trained_tensor_is_refused_while_recording() -> None:
    x = ot.ones(2, requires_grad=True)
    with pytest.raises(RuntimeError, match="no_grad"):
        x.add_(1)
    with pytest.raises(RuntimeError, match="no_grad"):
        x[0] = 3
    with ot.no_grad():
        x.add_(1)
    x.data[0] = 5
    x.data -= 1
    assert x.tolist() == [4.0, 1.0]


def test_backward_says_what_it_needs() -> None:
    with pytest.raises(RuntimeError, match="does not require"):
        ot.ones(1).backward()
    x = ot.ones(2, requires_grad=True)
    with pytest.raises(ValueError, match=r"expected one of shape \(2,\)"):
        (x * 1).backward()
    with pytest.raises(ValueError, match=r"expected shape \(2,\), got \(3,\)"):
        (x * 1).backward(np.ones(3))
    with pytest.raises(TypeError, match="float32"):
        ot.arange(3).requires_grad_()


def test_arrays_are_taken_wherever_tensors_are() -> None:
    x = ot.ones(2, requires_grad=True)
    for y in (x + np.ones(2), np.ones(2) + x, np.ones(2) - x, 2 - x, 1 / x, 2**x):
        assert isinstance(y, ot.Tensor)
        assert y.dtype == np.float32
        assert y.requires_grad


def test_tensors_share_memory_with_arrays() -> None:
    array = np.arange(4, dtype=np.float32)
    tensor = ot.from_numpy(array)
    array[0] = 7
    assert tensor[0].item() == 7
    assert np.asarray(tensor) is array
    assert ot.Tensor(np.zeros(2)).dtype == np.float32
    assert ot.tensor([1, 2]).dtype == np.int64


@pytest.mark.rows(55)
def test_mixing_quantized_and_float_tensors_says_how_to_fix_it() -> None:
    q = ot.quantize_per_tensor(ot.ones(2), 0.1, 0, ot.quint8)
    with pytest.raises(TypeError, match="quantize the float one"):
        ot.cat([q, ot.ones(2)])
    with pytest.raises(TypeError, match="no quantized exp"):
        ot.exp(q)
    for operation in (lambda: q + q, lambda: ot.ones(2) + q, lambda: q * 2, lambda: 2 * q, lambda: np.ones(2) + q):
        with pytest.raises(TypeError, match=r"FloatFunctional|quantize the float one"):
            operation()
    with pytest.raises(TypeError, match=r"\.dequantize\(\)"):
        q - q


@pytest.mark.parametrize("dtype", [ot.quint8, ot.qint8], ids=str)
@pytest.mark.parametrize("spec", [s for s in OPS.values() if s.table], ids=lambda s: s.name)
def test_tables_hold_the_float_op_for_every_code(spec: OpSpec, dtype: Any) -> None:
    qparams = ot.QParams(0.06, (dtype.qmin + dtype.qmax) // 2 - 20, dtype)
    q = ot.QTensor.from_numpy(np.arange(256, dtype=np.uint8).view(dtype.numpy), qparams)
    _, attrs = spec.samples(np.random.default_rng(0))[0]
    chosen = ot.QParams(0.05, dtype.qmin + 100, dtype)
    given = {"qparams": chosen} if spec.output_qparams == "given" else {}
    result = apply(spec, q, **attrs, **given)
    unit = (1 / 256, dtype.qmin)
    wanted = {"sigmoid": unit, "hardsigmoid": unit, "tanh": (2 / 256, 128 + dtype.qmin)}
    other = (chosen.scale, chosen.zero_point) if given else (q.q_scale(), q.q_zero_point())
    scale, zero_point = wanted.get(spec.name, other)
    assert (result.q_scale(), result.q_zero_point()) == (scale, zero_point)
    exact = spec.forward(q.dequantize().numpy().astype(np.float64), **attrs).astype(np.float32)
    codes = np.clip(np.rint(exact / np.float32(scale)) + zero_point, dtype.qmin, dtype.qmax)
    np.testing.assert_array_equal(result.int_repr(), codes)
    if spec.output_qparams != "given":  # the caller may choose there too
        chosen_result = apply(spec, q, **attrs, qparams=chosen)
        codes = np.clip(np.rint(exact / np.float32(chosen.scale)) + chosen.zero_point, dtype.qmin, dtype.qmax)
        np.testing.assert_array_equal(chosen_result.int_repr(), codes)
