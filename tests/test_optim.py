"""Optimisers against their formulas, written out in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import octensor as ot

START = np.array([1.0, -2.0, 0.5])


def gradients(steps: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((steps, 3))


def run(make: Any, steps: int = 5) -> np.ndarray:
    """Parameters after steps with the gradients above."""
    p = ot.nn.Parameter(START)
    optimizer = make([p])
    for g in gradients(steps):
        p.grad = ot.Tensor(g)
        optimizer.step()
        optimizer.zero_grad()
    return p.numpy()


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_sgd_with_momentum(nesterov: bool, decay: float) -> None:
    p, velocity = START.copy(), None
    for g in gradients(5):
        g = g + decay * p
        velocity = g if velocity is None else 0.9 * velocity + g
        p = p - 0.1 * (g + 0.9 * velocity if nesterov else velocity)
    got = run(lambda ps: ot.optim.SGD(ps, lr=0.1, momentum=0.9, nesterov=nesterov, weight_decay=decay))
    np.testing.assert_allclose(got, p, rtol=1e-5)


def test_sgd_dampening_starts_with_the_second_step() -> None:
    p, velocity = START.copy(), None
    for g in gradients(3):
        velocity = g if velocity is None else 0.5 * velocity + 0.25 * g
        p = p - 0.1 * velocity
    got = run(lambda ps: ot.optim.SGD(ps, lr=0.1, momentum=0.5, dampening=0.75), 3)
    np.testing.assert_allclose(got, p, rtol=1e-5)


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_adam(decay: float) -> None:
    p, m, v = START.copy(), np.zeros(3), np.zeros(3)
    for t, g in enumerate(gradients(5), 1):
        g = g + decay * p
        m = 0.8 * m + 0.2 * g
        v = 0.95 * v + 0.05 * g * g
        p = p - 0.01 * (m / (1 - 0.8**t)) / (np.sqrt(v / (1 - 0.95**t)) + 1e-8)
    got = run(lambda ps: ot.optim.Adam(ps, lr=0.01, betas=(0.8, 0.95), weight_decay=decay))
    np.testing.assert_allclose(got, p, rtol=1e-5)


def test_groups_have_settings_of_their_own() -> None:
    a, b = ot.nn.Parameter([1.0]), ot.nn.Parameter([1.0])
    optimizer = ot.optim.SGD([{"params": [a]}, {"params": b, "lr": 1.0}], lr=0.5)
    for p in (a, b):
        p.grad = ot.ones(1)
    optimizer.step()
    assert (a.item(), b.item()) == (0.5, 0.0)


def test_parameters_without_gradient_stay() -> None:
    a, b = ot.nn.Parameter([1.0]), ot.nn.Parameter([1.0])
    optimizer = ot.optim.Adam([a, b], lr=0.5)
    a.grad = ot.ones(1)
    optimizer.step()
    assert b.item() == 1.0
    assert a.item() != 1.0


def test_state_can_be_saved_and_continued() -> None:
    def train(p: Any, optimizer: Any, part: np.ndarray) -> None:
        for g in part:
            p.grad = ot.Tensor(g)
            optimizer.step()

    whole = ot.nn.Parameter(START)
    train(whole, ot.optim.Adam([whole], lr=0.1), gradients(4))
    first = ot.nn.Parameter(START)
    optimizer = ot.optim.Adam([first], lr=0.1)
    train(first, optimizer, gradients(4)[:2])
    second = ot.nn.Parameter(first.numpy().copy())
    continued = ot.optim.Adam([second], lr=9.0)
    continued.load_state_dict(optimizer.state_dict())
    train(second, continued, gradients(4)[2:])
    np.testing.assert_array_equal(second.numpy(), whole.numpy())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: ot.optim.SGD([], lr=0.1), "at least one parameter"),
        (lambda p: ot.optim.SGD([p, p], lr=0.1), "comes twice"),
        (lambda p: ot.optim.SGD([p], lr=-1), r"SGD: lr: expected a number in \[0.0, inf\), got -1"),
        (lambda p: ot.optim.SGD([p], lr=0.1, nesterov=True), "nesterov"),
        (lambda p: ot.optim.Adam([p], betas=(1.0, 0.9)), r"Adam: betas\[0\]"),
        (lambda p: ot.optim.Adam([p], lr=float("nan")), "Adam: lr"),
    ],
)
def test_wrong_settings_are_refused(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(ot.nn.Parameter([1.0]))


def test_what_is_not_a_parameter_is_refused() -> None:
    with pytest.raises(TypeError, match="got one Tensor"):
        ot.optim.SGD(ot.nn.Parameter([1.0]), lr=0.1)
    with pytest.raises(TypeError, match="float models"):
        ot.optim.SGD([np.ones(3)], lr=0.1)
