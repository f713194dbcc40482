"""What people get wrong, and what they are told: the type of the error, the place it names, and the remedy.

Every case is a function that does the wrong thing, the exception's type, and parts its message must have: first the
place (path of a module, or operation and argument), then what helps. Over 500 lines because it is one table of cases.
"""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import octensor as ot
import octensor.quantization as tq
from octensor import nn

X = np.random.default_rng(0).standard_normal((4, 1, 6, 6)).astype(np.float32)


class Net(nn.Module):
    """conv-bn-relu, then a linear layer; the stubs can be left out, as people do."""

    def __init__(self, quant=True, dequant=True):
        super().__init__()
        self.quant = tq.QuantStub() if quant else nn.Identity()
        self.features = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU())
        self.flatten = nn.Flatten()
        self.head = nn.Linear(32, 3)
        self.dequant = tq.DeQuantStub() if dequant else nn.Identity()

    def forward(self, x):
        return self.dequant(self.head(self.flatten(self.features(self.quant(x)))))


FUSE = ["features.0", "features.1", "features.2"]


def ready(**kwargs):
    model = tq.fuse_modules(Net(**kwargs).eval(), FUSE)
    model.qconfig = tq.get_default_qconfig()
    return model


def prepared(**kwargs):
    model = tq.prepare(ready(**kwargs))
    model(ot.from_numpy(X))
    return model


def static(**kwargs):
    return tq.convert(prepared(**kwargs))


def qtensor(shape=(4, 1, 6, 6), scale=0.1):
    return ot.quantize_per_tensor(np.ones(shape, np.float32), scale, 0, ot.quint8)


# --- running a model ------------------------------------------------------------------------------


def forgotten_quant_stub():
    static(quant=False)(ot.from_numpy(X))


def float_input_to_a_static_layer():
    static().head(ot.ones(1, 32))


def ndarray_into_a_static_layer():
    static().features[0](X)


def qtensor_into_a_float_layer():
    ready().features[0](qtensor())


def layer_left_in_float_after_quantized_ones():
    model = ready()
    model.head.qconfig = None
    model = tq.prepare(model)
    model(ot.from_numpy(X))
    tq.convert(model)(ot.from_numpy(X))


def quantized_input_to_a_quant_stub():
    static()(qtensor())


def integers_into_a_quant_stub():
    static()(ot.from_numpy(X.astype(np.int64)))


def mismatched_channels():
    static().features[0](qtensor((1, 3, 6, 6)))


def mismatched_features():
    static().head(qtensor((1, 31)))


def mismatched_channels_in_float():
    ready()(ot.ones(1, 3, 6, 6))


def too_few_dimensions():
    static().features[0](qtensor((6, 6)))


# --- the steps ------------------------------------------------------------------------------------


def prepare_without_qconfig():
    tq.prepare(Net().eval())


def prepare_in_train_mode():
    model = ready()
    model.train()
    tq.prepare(model)


def prepare_twice():
    tq.prepare(prepared())


def prepare_a_class():
    tq.prepare(Net)


def prepare_with_nothing_to_observe():
    model = nn.Sequential(nn.ReLU()).eval()
    model.qconfig = tq.default_qconfig
    tq.prepare(model)


def convert_before_prepare():
    tq.convert(ready())


def convert_twice():
    tq.convert(static())


def convert_without_calibration():
    tq.convert(tq.prepare(ready()))


def convert_with_a_recording_observer():
    model = ready()
    model.qconfig = tq.default_debug_qconfig
    model = tq.prepare(model)
    model(ot.from_numpy(X))
    tq.convert(model)


def calibrate_a_float_model():
    tq.calibrate(ready(), X)


def calibrate_with_nothing():
    tq.calibrate(tq.prepare(ready()), [])


def calibrate_with_a_number():
    tq.calibrate(tq.prepare(ready()), 3)


def nan_in_calibration():
    bad = X.copy()
    bad[1, 0, 2, 3] = np.nan
    tq.prepare(ready())(ot.from_numpy(bad))


def infinity_inside_the_network():
    model = ready()
    model.features[0].bias.data = np.array([np.inf, 0], np.float32)
    tq.prepare(model)(ot.from_numpy(X))


def nan_in_a_weight():
    model = prepared()
    model.head.weight.data = np.full((3, 32), np.nan, np.float32)
    tq.convert(model)


def float_state_into_a_static_model():
    static().load_state_dict(ready().state_dict())


def compare_with_an_unfused_model():
    tq.compare_layers(Net().eval(), static(), ot.from_numpy(X))


# --- qconfig and observers ------------------------------------------------------------------------


def instance_in_a_qconfig():
    tq.QConfig(activation=tq.MinMaxObserver(), weight=tq.default_weight_observer)


def name_in_a_qconfig():
    tq.QConfig(activation=tq.default_observer, weight="qint8")


def observer_as_qconfig():
    model = Net().eval()
    model.head.qconfig = tq.MinMaxObserver()
    tq.prepare(model)


def unknown_engine_for_a_qconfig():
    tq.get_default_qconfig("cuda")


def unknown_engine():
    ot.backends.quantized.engine = "cuda"


def qconfig_for_an_unknown_name():
    tq.propagate_qconfig_(Net(), {"haed": tq.default_qconfig})


def numpy_dtype_in_an_observer():
    tq.MinMaxObserver(dtype=np.int8)


def scheme_of_the_other_kind():
    tq.MinMaxObserver(qscheme=ot.per_channel_affine)


def one_bound_only():
    tq.MinMaxObserver(quant_min=0)


def bounds_without_zero():
    tq.MinMaxObserver(quant_min=5, quant_max=100)


def bounds_beyond_the_dtype():
    tq.MinMaxObserver(dtype=ot.qint8, quant_min=0, quant_max=255)


def eps_of_zero():
    tq.HistogramObserver(eps=0.0)


def averaging_constant_out_of_range():
    tq.MovingAverageMinMaxObserver(averaging_constant=1.5)


def negative_channel_axis():
    tq.PerChannelMinMaxObserver(ch_axis=-1)


def channel_axis_out_of_range():
    tq.PerChannelMinMaxObserver(ch_axis=4)(X)


def other_number_of_channels():
    observer = tq.PerChannelMinMaxObserver(ch_axis=1)
    observer(X)
    observer(X.transpose(0, 2, 1, 3))


def quantized_tensor_into_an_observer():
    tq.MinMaxObserver()(qtensor())


def labels_into_an_observer():
    tq.MinMaxObserver()(np.arange(3))


# --- qparams --------------------------------------------------------------------------------------


def scale(value):
    return lambda: ot.QParams(value, 0, ot.quint8)


def zero_point_out_of_range():
    ot.QParams(0.1, 256, ot.quint8)


def zero_point_with_a_fraction():
    ot.QParams(0.1, 0.5, ot.quint8)


def zero_point_of_the_other_dtype():
    ot.quantize_per_tensor(X, 0.1, -1, ot.quint8)


def qparams_of_two_lengths():
    ot.QParams(np.ones(3, np.float32), np.zeros(2, np.int32), ot.qint8, axis=0)


def fewer_scales_than_channels():
    ot.quantize_per_channel(X, np.ones(3, np.float32), np.zeros(3, np.int64), 2, ot.qint8)


def quantization_axis_out_of_range():
    ot.quantize_per_channel(X, np.ones(4, np.float32), np.zeros(4, np.int64), 4, ot.qint8)


# --- fusion ---------------------------------------------------------------------------------------


def fuse(names, model=None):
    return tq.fuse_modules(model or Net().eval(), names)


def fuse_unknown_name():
    fuse(["features.0", "features.9"])


def fuse_wrong_order():
    fuse(["features.0", "features.2", "features.1"])


def fuse_one_module():
    fuse(["features.0"])


def fuse_a_string():
    fuse("features.0")


def fuse_mixed_modes():
    model = Net().eval()
    model.features[1].train()
    fuse(FUSE, model)


def fuse_twice():
    model = fuse(["features.0", "features.1"])
    model.features[1] = nn.ReLU().eval()
    fuse(["features.0", "features.1"], fuse(["features.0", "features.1"], model))


def fuse_after_prepare():
    model = Net().eval()
    model.qconfig = tq.default_qconfig
    fuse(FUSE, tq.prepare(model))


def fuse_other_channels():
    model = Net().eval()
    model.features[1] = nn.BatchNorm2d(3).eval()
    fuse(FUSE, model)


def fuse_without_statistics():
    model = Net().eval()
    model.features[1] = nn.BatchNorm2d(2, track_running_stats=False).eval()
    fuse(FUSE, model)


def fuse_dead_variance():
    model = Net().eval()
    np.asarray(model.features[1].running_var)[1] = -1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fuse(FUSE, model)


# --- FloatFunctional and operators ----------------------------------------------------------------


def add_with_an_operator():
    return qtensor() + qtensor()


def functional_called():
    tq.FloatFunctional()(X, X)


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.quant, self.skip = tq.QuantStub(), tq.FloatFunctional()

    def forward(self, x, other):
        return self.skip.add(self.quant(x), other)


def functional_with_one_float_operand():
    model = Residual().eval()
    model.qconfig = tq.default_qconfig
    model = tq.prepare(model)
    model(ot.from_numpy(X), ot.from_numpy(X))
    tq.convert(model)(ot.from_numpy(X), ot.from_numpy(X))


def functional_not_converted():
    tq.FloatFunctional().mul(qtensor(), qtensor())


def functional_cat_of_one_tensor():
    tq.FloatFunctional().cat(ot.ones(2))


def functional_scalar_of_a_tensor():
    tq.FloatFunctional().add_scalar(qtensor(), ot.ones(1))


def functional_shapes():
    model = Residual().eval()
    model.qconfig = tq.default_qconfig
    model = tq.prepare(model)
    model(ot.from_numpy(X), ot.from_numpy(X))
    tq.convert(model)(ot.from_numpy(X), qtensor((5, 7)))


CASES = [
    (forgotten_quant_stub, TypeError, ["features.0 (Conv2d, static)", "QTensor", "QuantStub"]),
    (float_input_to_a_static_layer, TypeError, ["(Linear, static)", "(1, 32)", "QuantStub"]),
    (ndarray_into_a_static_layer, TypeError, ["(Conv2d, static)", "QuantStub"]),
    (qtensor_into_a_float_layer, TypeError, ["(Conv2d, float)", "QTensor", "DeQuantStub"]),
    (layer_left_in_float_after_quantized_ones, TypeError, ["head (Linear, float)", "DeQuantStub", "qconfig"]),
    (quantized_input_to_a_quant_stub, TypeError, ["quant (QuantStub, static)", "remove this QuantStub"]),
    (integers_into_a_quant_stub, TypeError, ["quant (QuantStub, static)", "int64", "astype"]),
    (mismatched_channels, ValueError, ["(Conv2d, static)", "3"]),
    (mismatched_features, ValueError, ["(Linear, static)", "31", "32"]),
    (mismatched_channels_in_float, ValueError, ["features.0 (Conv2d, float)", "3"]),
    (too_few_dimensions, ValueError, ["(Conv2d, static)", "(6, 6)"]),
    (prepare_without_qconfig, ValueError, ["prepare: Net", "get_default_qconfig()"]),
    (prepare_in_train_mode, ValueError, ["prepare", "features.0", "model.eval()"]),
    (prepare_twice, ValueError, ["prepare: quant", "calibrating", "once"]),
    (prepare_a_class, TypeError, ["prepare: model", "an instance of Net"]),
    (prepare_with_nothing_to_observe, ValueError, ["prepare: Sequential", "layers"]),
    (convert_before_prepare, ValueError, ["convert: Net", "call prepare(model) first"]),
    (convert_twice, ValueError, ["convert: Net", "quantized already"]),
    (convert_without_calibration, ValueError, ["convert", "quant, features.0, head", "calibrate(model, data)"]),
    (convert_with_a_recording_observer, ValueError, ["convert: quant", "RecordingObserver", "put MinMaxObserver"]),
    (calibrate_a_float_model, ValueError, ["calibrate: model", "float stage", "prepare(model)"]),
    (calibrate_with_nothing, ValueError, ["calibrate: data", "at least one batch"]),
    (calibrate_with_a_number, TypeError, ["calibrate: data", "iterable of batches"]),
    (nan_in_calibration, ValueError, ["quant.activation_post_process (HistogramObserver", "1 NaN", "calibration data"]),
    (infinity_inside_the_network, ValueError, ["features.0.activation_post_process", "infinite", "the layer"]),
    (nan_in_a_weight, ValueError, ["convert: head: weight", "96 NaN", "load a good state"]),
    (float_state_into_a_static_model, ValueError, ["head.weight", "QTensor", "prepare and convert"]),
    (compare_with_an_unfused_model, ValueError, ["compare_layers: float_model", "features.0", "fuse_modules"]),
    (instance_in_a_qconfig, ValueError, ["QConfig: activation", "MinMaxObserver.with_args"]),
    (name_in_a_qconfig, TypeError, ["QConfig: weight", "with_args"]),
    (observer_as_qconfig, TypeError, ["head", "QConfig(activation=MinMaxObserver"]),
    (unknown_engine_for_a_qconfig, ValueError, ["get_default_qconfig: backend", "'fbgemm'", "'cuda'"]),
    (unknown_engine, ValueError, ["engine", "fbgemm", "cuda"]),
    (qconfig_for_an_unknown_name, ValueError, ["propagate_qconfig_: qconfig_dict", "'haed'", "head"]),
    (numpy_dtype_in_an_observer, TypeError, ["MinMaxObserver: dtype", "octensor.qint8"]),
    (scheme_of_the_other_kind, ValueError, ["MinMaxObserver: qscheme", "PerChannel"]),
    (one_bound_only, ValueError, ["MinMaxObserver: quant_min, quant_max", "both"]),
    (bounds_without_zero, ValueError, ["MinMaxObserver: quant_min", "<= 0 <="]),
    (bounds_beyond_the_dtype, ValueError, ["MinMaxObserver: quant_min", "127"]),
    (eps_of_zero, ValueError, ["HistogramObserver: eps", "positive"]),
    (averaging_constant_out_of_range, ValueError, ["MovingAverageMinMaxObserver: averaging_constant", "<= 1"]),
    (negative_channel_axis, ValueError, ["PerChannelMinMaxObserver: ch_axis", "non-negative"]),
    (channel_axis_out_of_range, ValueError, ["PerChannelMinMaxObserver: ch_axis", "less than 4"]),
    (other_number_of_channels, ValueError, ["PerChannelMinMaxObserver: input", "1 channels on axis 1"]),
    (quantized_tensor_into_an_observer, TypeError, ["MinMaxObserver: input", "before conversion"]),
    (labels_into_an_observer, TypeError, ["MinMaxObserver: input", "int64"]),
    (scale(0.0), ValueError, ["QParams: scale", "positive"]),
    (scale(-1.0), ValueError, ["QParams: scale", "positive"]),
    (scale(np.nan), ValueError, ["QParams: scale", "finite"]),
    (scale(np.inf), ValueError, ["QParams: scale", "finite"]),
    (scale(1e-40), ValueError, ["QParams: scale", "normal"]),
    (zero_point_out_of_range, ValueError, ["QParams: zero_point", "[0, 255]", "256"]),
    (zero_point_with_a_fraction, (TypeError, ValueError), ["QParams: zero_point", "integer"]),
    (zero_point_of_the_other_dtype, ValueError, ["zero_point", "[0, 255]", "-1"]),
    (qparams_of_two_lengths, ValueError, ["QParams: zero_point", "one per scale"]),
    (fewer_scales_than_channels, ValueError, ["quantize_per_channel: scales", "6", "axis 2", "3"]),
    (quantization_axis_out_of_range, ValueError, ["axis", "4"]),
    (fuse_unknown_name, ValueError, ["fuse_modules: 'features.9'", "features.0, features.1"]),
    (
        fuse_wrong_order,
        ValueError,
        ["fuse_modules: ['features.0'", "Conv2d, BatchNorm2d, ReLU", "[Conv2d, ReLU, BatchNorm2d]"],
    ),
    (fuse_one_module, TypeError, ["fuse_modules: modules_to_fuse", "at least two"]),
    (fuse_a_string, TypeError, ["fuse_modules: modules_to_fuse", "['conv', 'relu']"]),
    (fuse_mixed_modes, ValueError, ["fuse_modules: ['features.0'", "BatchNorm2d: train", "call .eval()"]),
    (fuse_twice, ValueError, ["fuse_modules: ['features.0'", "already fused"]),
    (fuse_after_prepare, ValueError, ["fuse_modules: ['features.0'", "calibrating", "before prepare"]),
    (fuse_other_channels, ValueError, ["fuse_modules: ['features.0'", "num_features=2", "got 3"]),
    (fuse_without_statistics, ValueError, ["fuse_modules: ['features.0'", "track_running_stats=True"]),
    (fuse_dead_variance, ValueError, ["fuse_modules: ['features.0'", "channels [1]", "running_var"]),
    (add_with_an_operator, TypeError, ["add", "FloatFunctional"]),
    (functional_called, TypeError, ["FloatFunctional", "add_scalar"]),
    (functional_with_one_float_operand, TypeError, ["skip (FloatFunctional, static)", "add", "QuantStub"]),
    (functional_not_converted, TypeError, ["FloatFunctional.mul", "qconfig"]),
    (functional_cat_of_one_tensor, TypeError, ["FloatFunctional.cat: tensors", "list"]),
    (functional_scalar_of_a_tensor, TypeError, ["FloatFunctional.add_scalar: c", "number"]),
    (functional_shapes, ValueError, ["skip (FloatFunctional, static)", "add", "(5, 7)"]),
]


@pytest.mark.parametrize(
    ("wrong", "error", "parts"), CASES, ids=[f"{i}-{case[0].__name__}" for i, case in enumerate(CASES)]
)
def test_wrong_use(wrong, error, parts):
    with pytest.raises(error) as caught:
        wrong()
    message = str(caught.value)
    for part in parts:
        assert part in message
    assert len(message) < 700
