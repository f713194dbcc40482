"""`_LearnableFakeQuantize`: scale and zero point are parameters, trained with the rest (formulas in `fake_ops`)."""

from __future__ import annotations

from typing import Any

import numpy as np

from octensor import _C
from octensor.autograd import no_grad
from octensor.nn.module import Module
from octensor.nn.parameter import Parameter
from octensor.quantization import fake_ops
from octensor.quantization.fake_quantize import FakeQuantizeBase
from octensor.tensor import Tensor


class _LearnableFakeQuantize(FakeQuantizeBase):
    """Rounds with a trained scale and zero point.

    Parameters
    ----------
    observer : type
        Finds the values to start from, in the modes of static estimation.
    quant_min, quant_max : int
        The codes; the observer plans with them too.
    scale, zero_point : float
        Initial values.
    channel_len : int
        The number of channels; -1 for one scale.
    use_grad_scaling : bool
        Whether gradients of both are scaled by ``1 / sqrt(elements * quant_max)``.
    **observer_kwargs
        Arguments of the observer.

    Notes
    -----
    Three modes: `enable_param_learning` (train them, no observing; the mode to train in), `enable_static_estimate`
    (observe, and take the observer's choice; the initial one), `enable_static_observation` (observe, do not round).
    """

    def __init__(
        self,
        observer: Any,
        quant_min: int = 0,
        quant_max: int = 255,
        scale: float = 1.0,
        zero_point: float = 0.0,
        channel_len: int = -1,
        use_grad_scaling: bool = False,
        **observer_kwargs: Any,
    ) -> None:
        super().__init__()
        if not quant_min < quant_max:
            raise ValueError(
                f"_LearnableFakeQuantize: quant_min: expected less than quant_max={quant_max}, got {quant_min}"
            )
        made = observer(quant_min=quant_min, quant_max=quant_max, **observer_kwargs)
        self.is_per_channel = made.ch_axis is not None
        if self.is_per_channel != (channel_len != -1) or channel_len == 0 or channel_len < -1:
            raise ValueError(
                "_LearnableFakeQuantize: channel_len: expected the number of channels with a per-channel observer and "
                f"-1 with any other, got {channel_len} with {type(made).__name__}"
            )
        self.quant_min, self.quant_max = quant_min, quant_max
        self.use_grad_scaling = use_grad_scaling
        self.dtype, self.qscheme = made.dtype, made.qscheme
        self.ch_axis = made.ch_axis if self.is_per_channel else -1
        size = channel_len if self.is_per_channel else 1
        self.scale = Parameter(np.full(size, scale, np.float32))
        self.zero_point = Parameter(np.full(size, zero_point, np.float32))
        self.activation_post_process = made
        self.register_buffer("static_enabled", np.ones(1, np.uint8))
        self.register_buffer("learning_enabled", np.zeros(1, np.uint8))
        self.register_buffer("eps", np.array([made.eps], np.float32))
        self.toggle_qparam_learning(False)
        self.bitwidth = int(np.log2(quant_max - quant_min + 1))

    def enable_param_learning(self) -> Module:
        """Train scale and zero point; round; do not observe."""
        return self.toggle_qparam_learning(True).toggle_fake_quant(True).toggle_observer_update(False)

    def enable_static_estimate(self) -> Module:
        """Take scale and zero point from the observer; round; do not train them."""
        return self.toggle_qparam_learning(False).toggle_fake_quant(True).toggle_observer_update(True)

    def enable_static_observation(self) -> Module:
        """Take scale and zero point from the observer; do not round."""
        return self.toggle_qparam_learning(False).toggle_fake_quant(False).toggle_observer_update(True)

    def toggle_observer_update(self, enabled: bool = True) -> _LearnableFakeQuantize:
        """Turn observing on or off."""
        self.static_enabled[0] = bool(enabled)
        return self

    def toggle_qparam_learning(self, enabled: bool = True) -> _LearnableFakeQuantize:
        """Turn training of scale and zero point on or off."""
        self.learning_enabled[0] = bool(enabled)
        self.scale.requires_grad = bool(enabled)
        self.zero_point.requires_grad = bool(enabled)
        return self

    def toggle_fake_quant(self, enabled: bool = True) -> _LearnableFakeQuantize:
        """Turn rounding on or off."""
        self.fake_quant_enabled[0] = bool(enabled)
        return self

    def enable_observer(self, enabled: bool = True) -> None:
        """Turn observing on or off."""
        self.toggle_observer_update(enabled)

    def observe_quant_params(self) -> None:
        """Print scale and zero point."""
        print(f"_LearnableFakeQuantize scale: {self.scale}\n_LearnableFakeQuantize zero_point: {self.zero_point}")

    def calculate_qparams(self) -> tuple[Tensor, Tensor]:
        """Return (scale, zero_point) as they are used: the scale at least eps, the zero point rounded into bounds."""
        scale = np.maximum(np.asarray(self.scale), self.eps[0])
        zero_point = np.clip(np.rint(np.asarray(self.zero_point)), self.quant_min, self.quant_max)
        return Tensor(scale), Tensor(zero_point.astype(np.int32))

    def qparams(self) -> _C.QParams:
        """Return scale and zero point as a converted layer holds them."""
        scale, zero_point = (np.asarray(v) for v in self.calculate_qparams())
        if self.is_per_channel:
            return _C.QParams(scale, zero_point, self.dtype, self.ch_axis)
        return _C.QParams(float(scale[0]), int(zero_point[0]), self.dtype)

    def forward(self, x: Any) -> Any:
        """Observe, then round, as far as the mode says."""
        with no_grad():
            observer = self.activation_post_process
            if self.static_enabled[0] and (self.training or self.observe_in_eval or not observer.is_observed):
                observer.forward(x)
                if observer.is_observed:
                    for parameter, value in zip(
                        (self.scale, self.zero_point), observer.calculate_qparams(), strict=True
                    ):
                        parameter.copy_(np.asarray(value).astype(np.float32))
            elif not self.static_enabled[0]:
                self.scale.clamp_(min=self.eps[0])
            if self.qscheme in (_C.qscheme.per_tensor_symmetric, _C.qscheme.per_channel_symmetric) and (
                self.dtype.qmin < 0
            ):
                self.zero_point.zero_()
        if not self.fake_quant_enabled[0]:
            return x
        if not self.training:
            return self._rounded(x)
        factor = 1.0
        if self.use_grad_scaling:
            factor = 1.0 / float(np.sqrt(np.size(np.asarray(x)) * self.quant_max))
        bounds = self.quant_min, self.quant_max
        if self.is_per_channel:
            return fake_ops._fake_quantize_learnable_per_channel_affine(
                x, self.scale, self.zero_point, self.ch_axis, *bounds, factor
            )
        return fake_ops._fake_quantize_learnable_per_tensor_affine(x, self.scale, self.zero_point, *bounds, factor)
