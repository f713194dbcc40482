"""`Quantizable`: what the classes of `nn.quantizable` share, the way from a float layer to one of them."""

from __future__ import annotations

from typing import Any, ClassVar

from ..module import Module
from ..weighted import describe


class Quantizable(Module):
    """A layer made of a float one, of class `float_class`, by `from_float`."""

    float_class: ClassVar[type[Module]]

    @classmethod
    def _from_float(cls, mod: Any) -> Any:
        """Build the layer and copy the parameters."""
        raise NotImplementedError

    @classmethod
    def from_float(cls, mod: Any) -> Any:
        """Return the same layer in its quantizable form; all its parts get the qconfig of `mod`."""
        if type(mod) is not cls.float_class:
            raise TypeError(
                f"{cls.__name__}.from_float: mod: expected a float {cls.float_class.__name__}, "
                f"got a {type(mod).__name__}"
            )
        if mod.stage != "float":
            raise ValueError(f"{cls.__name__}.from_float: mod: expected the float stage, got {mod.stage}")
        new = cls._from_float(mod)
        if "qconfig" in mod.__dict__:
            for part in new.modules():
                part.qconfig = mod.qconfig
        return new.train(mod.training)

    @classmethod
    def from_observed(cls, other: Any) -> Any:
        """Return `other`: `convert` treats the parts of an observed layer like those of any model."""
        if not isinstance(other, cls):
            raise TypeError(f"{cls.__name__}.from_observed: expected a {cls.__name__}, got {describe(other)}")
        return other
