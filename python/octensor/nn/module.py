"""`Module`: the base of every layer and model.

It holds parameters, buffers and child modules under the names PyTorch uses, and two things of its own:

*Slots.* Every module has one output slot, `activation_post_process`. It holds nothing (None), a module through
which each output goes (an observer while calibrating, a fake-quantize module while training for quantization), or
the `QParams` that the outputs of the converted layer have. Layers with a weight have a second slot,
`weight_fake_quant`. A module in a slot is a normal child: it is in `state_dict`, `children` and the repr.

*Stage.* What a layer does follows from what is in its slots and from the form of its weights; the property `stage`
names it. Nothing stores the stage. A slot module says what it is through the class attribute `slot_stage`:
"calibrating" (observers, the default) or "qat" (fake-quantize modules, which in eval mode also have a say in what the
layer returns, through `as_converted(layer, args, kwargs, output)`).

=========== =================================== ==================== =====================================
stage       weights                             output slot          input and output
=========== =================================== ==================== =====================================
float       Parameters                          empty                float
calibrating Parameters                          an observer          float
qat         Parameters                          a fake quantize      float
static      QTensors, or the layer has none     QParams              QTensors
dynamic     QTensors; `input_dtype` is set      empty                float; the input is quantized inside
weight-only QTensors or float16 arrays          empty                float; computed in float
=========== =================================== ==================== =====================================

The weights are the parameters named in `weight_names`. Assigning a `QTensor` or a float16 array to one of them
takes the Parameter's place; there is nothing else to do to bring a layer to the dynamic or weight-only stage.

*Located errors.* A `ValueError` or `TypeError` that leaves a module's call carries the path of the innermost module
that was running: `features.0.conv (Conv2d, static): …`.

A call is: forward pre-hooks, `forward`, forward hooks, then the module in the output slot if there is one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, ClassVar, Literal, TypeVar

import numpy as np

from .._C import QParams, QTensor
from ..tensor import Tensor
from .hooks import HookTable, RemovableHandle
from .parameter import Parameter
from .state import StateMixin

Stage = Literal["float", "calibrating", "qat", "static", "dynamic", "weight-only", "mixed"]
OutputRule = Literal["given", "same", "fixed", "float"]
T = TypeVar("T", bound="Module")

_REGISTRIES = ("_parameters", "_buffers", "_modules")


class Module(StateMixin):
    """Base class of layers and models; subclasses define `forward`.

    Attributes
    ----------
    training : bool
        Train or eval mode; set by `train()` and `eval()`.
    activation_post_process : None, Module or QParams
        The output slot (see the head of this file).
    output_rule : str
        Where the output's qparams come from in a quantized model: "given" (the layer is observed), "same" (the
        input's; never observed), "fixed" (constants of the op) or "float" (the result is a float tensor).
    slots : tuple of str
        Names of this class's slots.
    weight_names : tuple of str
        Names of the parameters that quantization replaces by QTensors or float16 arrays.
    input_dtype : octensor.dtype or None
        What a layer with quantized weights and an empty output slot quantizes its float input to (stage "dynamic");
        None where it computes in float with the dequantized weights (stage "weight-only").

    Examples
    --------
    >>> import octensor as ot
    >>> class Twice(ot.nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.fc = ot.nn.Linear(2, 2)
    ...
    ...     def forward(self, x):
    ...         return self.fc(self.fc(x))
    >>> sorted(Twice().state_dict())
    ['fc.bias', 'fc.weight']
    """

    output_rule: ClassVar[OutputRule] = "same"
    slots: ClassVar[tuple[str, ...]] = ("activation_post_process",)
    slot_stage: ClassVar[Literal["calibrating", "qat"]] = "calibrating"
    weight_names: tuple[str, ...] = ()
    input_dtype: Any = None

    training: bool
    _parameters: dict[str, Parameter | None]
    _buffers: dict[str, Any]
    _modules: dict[str, Module | None]

    def __init__(self) -> None:
        state = self.__dict__
        state["training"] = True
        state["_parameters"] = {}
        state["_buffers"] = {}
        state["_transient_buffers"] = set()
        state["_modules"] = {}
        state["_forward_pre_hooks"] = HookTable()
        state["_forward_hooks"] = HookTable()
        # What a layer derives from its parameters (packed weights). Never saved or copied; dropped on every assignment
        # to a parameter, buffer or slot, and by load_state_dict.
        state["_cache"] = None
        for slot in self.slots:
            state[slot] = None

    # --- calling -----------------------------------------------------------------------------------------------------
    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Compute the output; every subclass defines it."""
        raise NotImplementedError(f"{type(self).__name__} defines no forward()")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run pre-hooks, `forward`, hooks and the module in the output slot."""
        state = self.__dict__
        try:
            if state["_forward_pre_hooks"]:
                args = state["_forward_pre_hooks"].before(self, args)
            output = self.forward(*args, **kwargs)
            if state["_forward_hooks"]:
                output = state["_forward_hooks"].after(self, args, output)
            slot = state["_modules"].get("activation_post_process")
            if slot is None or not self.slots:
                return output
            if slot.slot_stage == "qat" and not self.training:
                return slot.as_converted(self, args, kwargs, slot(output))
            return slot(output)
        except (ValueError, TypeError) as error:
            self._locate(error)
            raise

    def _locate(self, error: BaseException) -> None:
        """Prefix `error`'s message with the path from this module to the innermost one that was running.

        Every module on the way out calls this; each puts its own, longer path in place of the last one, so the
        message that leaves the outermost call holds the path from there, once.
        """
        innermost, message = getattr(error, "_octensor_origin", (None, None))
        if innermost is None:
            if len(error.args) != 1 or not isinstance(error.args[0], str):
                return  # not a plain message: keep what the raiser built
            innermost, message = self, error.args[0]
            error._octensor_origin = (innermost, message)  # type: ignore[attr-defined]
        path = next((name for name, module in self.named_modules() if module is innermost), "")
        label = f"({type(innermost).__name__}, {innermost.stage})"
        error.args = (f"{path} {label}: {message}" if path else f"{label}: {message}",)

    def register_forward_pre_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call `hook(module, args)` before each forward; a result that is not None replaces the arguments."""
        return self._forward_pre_hooks.add(hook)  # type: ignore[no-any-return]

    def register_forward_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Call `hook(module, args, output)` after each forward; a result that is not None replaces the output."""
        return self._forward_hooks.add(hook)  # type: ignore[no-any-return]

    # --- stage -------------------------------------------------------------------------------------------------------
    @property
    def stage(self) -> Stage:
        """What the module is now; the table at the head of `nn.module` says how it follows from slots and weights.

        A module whose own slots and weights say nothing answers for its children: the one stage other than "float"
        found there, or "mixed" where there are several.
        """
        in_slots = [m for m in (self._modules.get(name) for name in self.slots) if m is not None]
        if in_slots:
            return "qat" if any(m.slot_stage == "qat" for m in in_slots) else "calibrating"
        if isinstance(self.activation_post_process, QParams):
            return "static"
        buffers = self.__dict__["_buffers"]
        weights = [buffers[name] for name in self.weight_names if buffers.get(name) is not None]
        if weights:
            integers = isinstance(weights[0], QTensor) and self.input_dtype is not None
            return "dynamic" if integers else "weight-only"
        stages = {child.stage for child in self.children()} - {"float"}
        if not stages:
            return "float"
        return stages.pop() if len(stages) == 1 else "mixed"

    # --- attributes --------------------------------------------------------------------------------------------------
    def __getattr__(self, name: str) -> Any:
        state = self.__dict__
        if "_modules" not in state:
            raise AttributeError(
                f"{type(self).__name__}.{name}: call super().__init__() first in {type(self).__name__}.__init__"
            )
        for registry in _REGISTRIES:
            if name in state[registry]:
                return state[registry][name]
        if name in ("scale", "zero_point") and isinstance(state.get("activation_post_process"), QParams):
            return getattr(state["activation_post_process"], name)
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")

    def __setattr__(self, name: str, value: Any) -> None:
        state = self.__dict__
        if isinstance(value, (Parameter, Module)):
            if "_modules" not in state:
                raise AttributeError(
                    f"{type(self).__name__}.{name}: call super().__init__() before assigning parameters or modules"
                )
            self._place("_modules" if isinstance(value, Module) else "_parameters", name, value)
            return
        if "_modules" not in state:
            object.__setattr__(self, name, value)
        elif name in self.slots:
            self._place(None, name, value)
        elif is_reduced(value) and (name in state["_parameters"] or name in state["_buffers"]):
            self._place("_buffers", name, value)  # a quantized weight takes the place of the Parameter
        elif value is None and name in state["_modules"]:
            state["_modules"][name] = None
        elif name in state["_parameters"]:
            if value is not None:
                raise TypeError(
                    f"{name}: expected a Parameter, a QTensor or None, got {type(value).__name__}: "
                    f"wrap it as nn.Parameter(...), or write into its values with {name}.data = ..."
                )
            self._place("_parameters", name, None)
        elif name in state["_buffers"]:
            self._place("_buffers", name, _check_buffer(name, value))
        elif name in ("scale", "zero_point") and isinstance(state.get("activation_post_process"), QParams):
            old = state["activation_post_process"]
            fields = {"scale": old.scale, "zero_point": old.zero_point, name: value}
            self._place(None, "activation_post_process", QParams(dtype=old.dtype, axis=old.axis, **fields))
        else:
            object.__setattr__(self, name, value)

    def __delattr__(self, name: str) -> None:
        if name in self.slots:
            self._place(None, name, None)
            return
        for registry in _REGISTRIES:
            if name in self.__dict__[registry]:
                del self.__dict__[registry][name]
                self.__dict__["_cache"] = None
                return
        object.__delattr__(self, name)

    def _place(self, registry: str | None, name: str, value: Any) -> None:
        """Put `value` under `name` into one registry (None: the instance dict) and out of all others."""
        state = self.__dict__
        state["_cache"] = None
        home = state if registry is None else state[registry]
        for other in (state, *(state[r] for r in _REGISTRIES)):
            if other is not home:
                other.pop(name, None)
        home[name] = value

    def __dir__(self) -> list[str]:
        names = list(super().__dir__())
        for registry in _REGISTRIES:
            names.extend(self.__dict__.get(registry, ()))
        return sorted(set(names))

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__.copy()
        state["_cache"] = None
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)

    def shallow_copy(self: T) -> T:
        """Return a module of the same class that shares parameters, buffers and children with this one."""
        other = type(self).__new__(type(self))
        state = self.__getstate__()
        for name in (*_REGISTRIES, "_transient_buffers", "_forward_pre_hooks", "_forward_hooks"):
            state[name] = state[name].copy()
        other.__dict__.update(state)
        return other

    # --- registration ------------------------------------------------------------------------------------------------
    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Add a parameter, or None as the place of one that this layer does without (a missing bias)."""
        if param is not None and not isinstance(param, Parameter):
            raise TypeError(f"register_parameter: {name}: expected a Parameter or None, got {type(param).__name__}")
        self._check_new_name(name, "_parameters")
        self._place("_parameters", name, param)

    def register_buffer(self, name: str, tensor: Any, persistent: bool = True) -> None:
        """Add state that is saved but not trained: a `Tensor`, a `QTensor`, an ndarray, or None.

        An ndarray is kept as it is, in its own dtype. With `persistent=False` it is left out of `state_dict`.
        """
        self._check_new_name(name, "_buffers")
        self._place("_buffers", name, _check_buffer(name, tensor))
        (self._transient_buffers.discard if persistent else self._transient_buffers.add)(name)

    def add_module(self, name: str, module: Module | None) -> None:
        """Add a child under `name` (None keeps the place empty)."""
        if module is not None and not isinstance(module, Module):
            raise TypeError(f"add_module: {name}: expected a Module or None, got {type(module).__name__}")
        self._check_new_name(name, "_modules")
        self._place("_modules", name, module)

    register_module = add_module

    def _check_new_name(self, name: str, registry: str) -> None:
        if not isinstance(name, str) or not name or "." in name:
            raise ValueError(f"name: expected a non-empty string without '.', got {name!r}")
        if name not in self.__dict__[registry] and name not in self.slots and hasattr(self, name):
            raise ValueError(f"{name}: {type(self).__name__} already has an attribute of this name")

    # --- traversal ---------------------------------------------------------------------------------------------------
    def named_children(self) -> Iterator[tuple[str, Module]]:
        """Yield (name, child) for direct children; a child held twice comes once."""
        seen = set()
        for name, module in self._modules.items():
            if module is not None and id(module) not in seen:
                seen.add(id(module))
                yield name, module

    def children(self) -> Iterator[Module]:
        """Yield direct children."""
        for _, module in self.named_children():
            yield module

    def named_modules(
        self, memo: set[int] | None = None, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Module]]:
        """Yield (dotted path, module) for this module (path "") and all below it, parents first."""
        memo = set() if memo is None else memo
        if id(self) in memo:
            return
        if remove_duplicate:
            memo.add(id(self))
        yield prefix, self
        for name, module in self._modules.items():
            if module is not None:
                below = f"{prefix}.{name}" if prefix else name
                yield from module.named_modules(memo, below, remove_duplicate)

    def modules(self) -> Iterator[Module]:
        """Yield this module and all below it."""
        for _, module in self.named_modules():
            yield module

    def _named_members(self, registry: str, prefix: str, recurse: bool) -> Iterator[tuple[str, Any]]:
        seen = set()
        for path, module in self.named_modules(prefix=prefix) if recurse else [(prefix, self)]:
            for name, value in module.__dict__[registry].items():
                if value is not None and id(value) not in seen:
                    seen.add(id(value))
                    yield (f"{path}.{name}" if path else name), value

    def named_parameters(self, prefix: str = "", recurse: bool = True) -> Iterator[tuple[str, Parameter]]:
        """Yield (dotted name, parameter); a shared parameter comes once."""
        return self._named_members("_parameters", prefix, recurse)

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """Yield the parameters."""
        for _, parameter in self.named_parameters(recurse=recurse):
            yield parameter

    def named_buffers(self, prefix: str = "", recurse: bool = True) -> Iterator[tuple[str, Any]]:
        """Yield (dotted name, buffer)."""
        return self._named_members("_buffers", prefix, recurse)

    def buffers(self, recurse: bool = True) -> Iterator[Any]:
        """Yield the buffers."""
        for _, buffer in self.named_buffers(recurse=recurse):
            yield buffer

    def get_submodule(self, target: str) -> Module:
        """Return the module at a dotted path ("" is this module); AttributeError names the part that is missing."""
        module: Module = self
        walked: list[str] = []
        for part in target.split(".") if target else []:
            child = module._modules.get(part)
            if child is None:
                held = ", ".join(repr(name) for name, m in module._modules.items() if m is not None) or "none"
                raise AttributeError(
                    f"get_submodule: {target!r}: {'.'.join(walked) or type(self).__name__!s} has no child {part!r} "
                    f"(its children: {held})"
                )
            walked.append(part)
            module = child
        return module

    def get_parameter(self, target: str) -> Parameter:
        """Return the parameter at a dotted path."""
        path, _, name = target.rpartition(".")
        found = self.get_submodule(path)._parameters.get(name)
        if found is None:
            raise AttributeError(f"get_parameter: no parameter {target!r}")
        return found

    def get_buffer(self, target: str) -> Any:
        """Return the buffer at a dotted path."""
        path, _, name = target.rpartition(".")
        found = self.get_submodule(path)._buffers.get(name)
        if found is None:
            raise AttributeError(f"get_buffer: no buffer {target!r}")
        return found

    # --- whole-tree changes ------------------------------------------------------------------------------------------
    def apply(self: T, fn: Callable[[Module], Any]) -> T:
        """Call `fn` on every module below this one, then on this one; return self."""
        for module in self.children():
            module.apply(fn)
        fn(self)
        return self

    def train(self: T, mode: bool = True) -> T:
        """Set train mode (or eval mode) here and below; return self."""
        if not isinstance(mode, bool):
            raise TypeError(f"train: mode: expected True or False, got {mode!r}")
        self.training = mode
        for module in self.children():
            module.train(mode)
        return self

    def eval(self: T) -> T:
        """Set eval mode here and below; return self."""
        return self.train(False)

    def requires_grad_(self: T, requires_grad: bool = True) -> T:
        """Set `requires_grad` of every parameter; return self."""
        for parameter in self.parameters():
            parameter.requires_grad = requires_grad
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget (or zero) the gradients of all parameters."""
        for parameter in self.parameters():
            if set_to_none:
                parameter.grad = None
            elif parameter.grad is not None:
                parameter.grad.zero_()

    def to(self: T, device: str = "cpu") -> T:
        """Return self: everything lives on the CPU, and any other device is an error."""
        if str(device) != "cpu":
            raise ValueError(f"to: device: expected 'cpu' (octensor runs on CPUs only), got {device!r}")
        return self

    def cpu(self: T) -> T:
        """Return self."""
        return self

    # --- text --------------------------------------------------------------------------------------------------------
    def _get_name(self) -> str:
        return type(self).__name__

    def extra_repr(self) -> str:
        """Text shown in the parentheses of the repr."""
        return ""

    def __repr__(self) -> str:
        lines = self.extra_repr().split("\n") if self.extra_repr() else []
        children = [f"({name}): {module!r}" for name, module in self._modules.items() if module is not None]
        if not children and len(lines) <= 1:
            return f"{self._get_name()}({''.join(lines)})"
        if len(lines) == 1 and children:
            head, lines = f"{self._get_name()}(\n  {lines[0]}", []
        else:
            head = f"{self._get_name()}("
        body = "\n".join([*lines, *children]).replace("\n", "\n  ")
        return f"{head}\n  {body}\n)"


def is_reduced(value: Any) -> bool:
    """Whether a weight is held in fewer bits than float32: a `QTensor` or a float16 array."""
    return isinstance(value, QTensor) or (isinstance(value, np.ndarray) and value.dtype == np.float16)


def _check_buffer(name: str, value: Any) -> Any:
    if value is None or isinstance(value, (Tensor, QTensor, np.ndarray)):
        return value
    raise TypeError(f"buffer {name}: expected a Tensor, QTensor, ndarray or None, got {type(value).__name__}")
