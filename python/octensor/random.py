"""The one random generator of the float core: initial weights, `randn`, dropout masks.

Seeded by `manual_seed`; otherwise from the operating system. Quantized results never depend on it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

_generator: Any = None
_seed = 0


def generator() -> np.random.Generator:
    """Return the generator, made on first use."""
    global _generator, _seed
    if _generator is None:
        _seed = int(np.random.SeedSequence().entropy)  # type: ignore[arg-type]
        _generator = np.random.default_rng(_seed)
    return _generator  # type: ignore[no-any-return]


def manual_seed(seed: int) -> None:
    """Start the random sequence anew from `seed` (an integer of at least 0).

    Examples
    --------
    >>> import octensor as ot
    >>> ot.manual_seed(0)
    >>> a = ot.randn(3)
    >>> ot.manual_seed(0)
    >>> ot.equal(a, ot.randn(3))
    True
    """
    global _generator, _seed
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or seed < 0:
        raise ValueError(f"manual_seed: seed: expected an integer of at least 0, got {seed!r}")
    _seed = int(seed)
    _generator = np.random.default_rng(_seed)


def initial_seed() -> int:
    """Return the seed from which the random sequence started."""
    generator()
    return _seed


def get_rng_state() -> dict[str, Any]:
    """Return the generator's state, for `set_rng_state`."""
    return dict(generator().bit_generator.state)


def set_rng_state(state: dict[str, Any]) -> None:
    """Continue from a state that `get_rng_state` returned."""
    try:
        generator().bit_generator.state = state
    except (TypeError, ValueError, KeyError):
        raise TypeError(f"set_rng_state: state: expected what get_rng_state returned, got {state!r}") from None
