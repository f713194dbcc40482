"""The frozen digits network gives one hash, on every instruction set, thread count and batch split."""

from __future__ import annotations

import pytest

import golden
import support


@pytest.fixture(scope="module")
def network():
    return golden.load(), *golden.held_out()


@pytest.mark.parametrize(("isa", "threads"), support.backends())
def test_one_hash_everywhere(network, isa, threads):
    model, images, _ = network
    with support.backend(isa, threads):
        assert golden.output_hash(model, images) == golden.SHA256
        assert golden.output_hash(model, images, batch=77) == golden.SHA256


def test_it_still_reads_digits(network):
    model, images, labels = network
    assert golden.digits.accuracy(model, images, labels) > 0.97
