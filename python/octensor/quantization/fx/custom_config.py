"""The custom-config dictionaries of graph mode, read and checked.

Each dictionary has a class with one attribute for each key; `from_dict` reads the dictionary and refuses keys it does
not know, `to_dict` writes it back. An instance may be passed wherever the dictionary may.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple, TypeVar

from octensor.nn.module import Module
from octensor.quantization.quant_type import QuantType, quant_type_to_str

C = TypeVar("C", bound="_Config")

QUANT_TYPES = {quant_type_to_str(kind): kind for kind in QuantType}


class Standalone(NamedTuple):
    """How a module that is its own unit is prepared."""

    qconfig_dict: Any
    prepare_custom_config_dict: Any


@dataclass
class _Config:
    @classmethod
    def from_dict(cls: type[C], config: Any) -> C:
        """Read a dictionary; None gives the defaults, an instance is returned as it is."""
        name = cls.argument  # type: ignore[attr-defined]
        if config is None:
            return cls()
        if isinstance(config, cls):
            return config
        if not isinstance(config, Mapping):
            raise TypeError(f"{name}: expected a dict or a {cls.__name__}, got {type(config).__name__}")
        known = [f.name for f in fields(cls)]
        unknown = [key for key in config if key not in known]
        if unknown:
            raise ValueError(f"{name}: expected keys out of {', '.join(known)}, got {', '.join(map(repr, unknown))}")
        return cls(**config)

    def to_dict(self) -> dict[str, Any]:
        """Return the dictionary that `from_dict` reads back; empty entries are left out."""
        return {f.name: value for f in fields(self) if (value := getattr(self, f.name))}

    def _classes(self, key: str, quant_type: QuantType | None = None) -> dict[type[Module], Any]:
        """Return ``{class: class}`` of an entry that has a table for each quant type, or of all of them."""
        table: Mapping[Any, Any] = getattr(self, key)
        if any(isinstance(k, type) for k in table):  # the eager form, one table for all
            return dict(table)
        unknown = [k for k in table if k not in QUANT_TYPES]
        if unknown:
            raise ValueError(
                f"{self.argument}: {key}: expected tables under {', '.join(map(repr, QUANT_TYPES))}, got "  # type: ignore[attr-defined]
                f"{', '.join(map(repr, unknown))}"
            )
        wanted = [t for t in table if quant_type is None or QUANT_TYPES[t] is quant_type]
        return {source: target for t in wanted for source, target in table[t].items()}


@dataclass
class FuseCustomConfig(_Config):
    """``fuse_custom_config_dict``.

    Attributes
    ----------
    additional_fuser_method_mapping : dict
        ``{(TypeA, TypeB): function}``, as in `fuse_modules`.
    additional_fusion_pattern : dict
        ``{pattern: FuseHandler class}``.
    preserved_attributes : list of str
        Attributes of the model to keep on the graph module.
    """

    argument = "fuse_custom_config_dict"

    additional_fuser_method_mapping: dict[Any, Any] = field(default_factory=dict)
    additional_fusion_pattern: dict[Any, Any] = field(default_factory=dict)
    preserved_attributes: list[str] = field(default_factory=list)


@dataclass
class PrepareCustomConfig(_Config):
    """``prepare_custom_config_dict``.

    Attributes
    ----------
    standalone_module_name, standalone_module_class : list
        Of (path or class, qconfig_dict or None, prepare_custom_config_dict): traced and quantized as units of their
        own. A qconfig_dict of None is ``{"": what holds for the module}``. The path wins over the class.
    float_to_observed_custom_module_class : dict
        ``{"static": {Float: Observed}, ...}``: replaced by ``Observed.from_float(module)``.
    non_traceable_module_name, non_traceable_module_class : list
        Modules that are called as they are.
    additional_fuser_method_mapping, additional_qat_module_mapping : dict
        More sequences to fuse, and more swaps before training.
    additional_fusion_pattern, additional_quant_pattern : dict
        ``{pattern: FuseHandler class}``, ``{pattern: QuantizeHandler class}``.
    input_quantized_idxs, output_quantized_idxs : list of int
        Inputs that come quantized, outputs that stay so.
    preserved_attributes : list of str
        Attributes of the model to keep on the graph module.
    """

    argument = "prepare_custom_config_dict"

    standalone_module_name: list[Any] = field(default_factory=list)
    standalone_module_class: list[Any] = field(default_factory=list)
    float_to_observed_custom_module_class: dict[Any, Any] = field(default_factory=dict)
    non_traceable_module_name: list[str] = field(default_factory=list)
    non_traceable_module_class: list[type] = field(default_factory=list)
    additional_fuser_method_mapping: dict[Any, Any] = field(default_factory=dict)
    additional_qat_module_mapping: dict[Any, Any] = field(default_factory=dict)
    additional_fusion_pattern: dict[Any, Any] = field(default_factory=dict)
    additional_quant_pattern: dict[Any, Any] = field(default_factory=dict)
    input_quantized_idxs: list[int] = field(default_factory=list)
    output_quantized_idxs: list[int] = field(default_factory=list)
    preserved_attributes: list[str] = field(default_factory=list)

    def standalone(self, path: str, kind: type) -> Standalone | None:
        """Return how the module is prepared as a unit of its own; None if it is not."""
        for key, wanted in (("standalone_module_name", path), ("standalone_module_class", kind)):
            for entry in getattr(self, key):
                if not isinstance(entry, (list, tuple)) or not 2 <= len(entry) <= 3:
                    raise TypeError(
                        f"{self.argument}: {key}: expected (name or class, qconfig_dict, prepare_custom_config_dict), "
                        f"got {entry!r}"
                    )
                if entry[0] == wanted:
                    return Standalone(entry[1], entry[2] if len(entry) == 3 else None)
        return None

    def observed_classes(self, quant_type: QuantType | None = None) -> dict[type[Module], Any]:
        """Return {float class: observed class} of a quant type, or of all."""
        return self._classes("float_to_observed_custom_module_class", quant_type)


@dataclass
class ConvertCustomConfig(_Config):
    """``convert_custom_config_dict``.

    Attributes
    ----------
    additional_object_mapping : dict
        ``{"static": {FloatClass: QuantizedClass, function: function}, "dynamic": {...}}``: classes are replaced by
        ``QuantizedClass.from_float(module)``, functions called in the place of others.
    static, dynamic : dict
        The same tables, without `additional_object_mapping` around them.
    observed_to_quantized_custom_module_class : dict
        ``{"static": {Observed: Quantized}, ...}``: replaced by ``Quantized.from_observed(module)``.
    preserved_attributes : list of str
        Attributes to keep on the graph module.
    """

    argument = "convert_custom_config_dict"

    additional_object_mapping: dict[Any, Any] = field(default_factory=dict)
    static: dict[Any, Any] = field(default_factory=dict)
    dynamic: dict[Any, Any] = field(default_factory=dict)
    observed_to_quantized_custom_module_class: dict[Any, Any] = field(default_factory=dict)
    preserved_attributes: list[str] = field(default_factory=list)

    def objects(self) -> dict[Any, Any]:
        """Return the additional replacements of all quant types."""
        return {**self._classes("additional_object_mapping"), **self.static, **self.dynamic}

    def quantized_classes(self) -> dict[type[Module], Any]:
        """Return {observed class: quantized class} of all quant types."""
        return self._classes("observed_to_quantized_custom_module_class")
