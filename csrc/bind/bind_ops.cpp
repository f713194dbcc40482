// The operators. Their arithmetic is in docs/numerics.md.
#include "bind/bind.h"
#include "core/check.h"
#include "isa/dispatch.h"

namespace octensor::bind {
namespace {

py::array dequantize(const QTensor& q) {
  const bool last = !q.is_dense(Layout::contiguous) && q.is_dense(Layout::channels_last);
  const Shape strides = dense_strides(q.shape(), last ? Layout::channels_last : Layout::contiguous);
  py::array out = float_result(q.shape(), strides);
  auto* data = static_cast<float*>(out.mutable_data());
  py::gil_scoped_release unlocked;
  const DefaultFloatEnvironment environment;
  ops::dequantize(q, data, strides);
  return out;
}

QTensor quantize(const py::array& x, QParamsArg qparams, bool channels_last) {
  py::array keep;
  const ops::FloatView view = float_view("quantize", "input", x, keep);
  check(!channels_last || view.shape.size() == 4, "quantize: channels_last: expected shape [N, C, H, W], got ",
        to_text(view.shape));
  py::gil_scoped_release unlocked;
  const DefaultFloatEnvironment environment;
  return ops::quantize(view, qparams, channels_last ? Layout::channels_last : Layout::contiguous);
}

QTensor lookup(const QTensor& x, const py::array& table, QParamsArg qparams) {
  check(table.ndim() == 1 && table.size() == 256, "lookup: table: expected 256 entries, got ", table.size());
  std::array<uint8_t, 256> bytes;
  if (has_dtype(table, numpy_dtype(qparams->dtype())) && table.strides(0) == 1) {
    std::copy_n(static_cast<const uint8_t*>(table.data()), 256, bytes.begin());
  } else {
    const char kind = table.dtype().kind();
    if (kind != 'i' && kind != 'u')
      throw TypeError(text("lookup: table: expected integers, got ", std::string(py::str(table.dtype()))));
    const auto wide = py::array_t<int64_t, py::array::c_style | py::array::forcecast>::ensure(table);
    const DTypeInfo& t = info(qparams->dtype());
    for (int i = 0; i < 256; ++i) {
      const int64_t v = wide.data()[i];
      check(v >= t.qmin && v <= t.qmax, "lookup: table: expected codes of ", t.name, " in [", t.qmin, ", ", t.qmax,
            "], got ", v);
      bytes[i] = static_cast<uint8_t>(v);
    }
  }
  py::gil_scoped_release unlocked;
  return ops::lookup(x, bytes.data(), qparams);
}

QTensor codes_of(const char* argument, const py::array& array, const py::object& zero_point, int axis) {
  const py::dtype t = array.dtype();
  const bool is_signed = t.equal(numpy_dtype(DType::qint8));
  check<TypeError>(is_signed || t.equal(numpy_dtype(DType::quint8)), "matmul_integer: ", argument,
                   ": expected int8 or uint8, got ", std::string(py::str(t)));
  const std::string where = text("matmul_integer: ", argument, "_zero_point");
  std::vector<int32_t> zeros = zero_points(where, zero_point);
  const bool vector =
      zeros.size() != 1 || py::isinstance<py::array>(zero_point) || py::isinstance<py::sequence>(zero_point);
  const int64_t columns = array.shape(1);
  check(!vector || (axis == 1 && static_cast<int64_t>(zeros.size()) == columns), where, ": expected one integer",
        axis == 1 ? text(", or ", columns, " of them") : "", ", got ", zeros.size());
  return from_array("matmul_integer", array,
                    std::make_shared<QParams>(std::vector<float>(zeros.size(), 1.0f), zeros,
                                              is_signed ? DType::qint8 : DType::quint8, vector ? axis : -1));
}

py::array matmul_integer(const py::array& a, const py::array& b, const py::object& a_zero_point,
                         const py::object& b_zero_point) {
  check(a.ndim() == 2, "matmul_integer: a: expected shape [M, K], got ", a.ndim(), " dimensions");
  check(b.ndim() == 2, "matmul_integer: b: expected shape [K, N], got ", b.ndim(), " dimensions");
  const QTensor x = codes_of("a", a, a_zero_point, -1), y = codes_of("b", b, b_zero_point, 1);
  py::array_t<int32_t> out(Shape{x.size(0), y.size(1)});
  int32_t* data = out.mutable_data();
  {
    py::gil_scoped_release unlocked;
    const DefaultFloatEnvironment environment;
    std::fill_n(data, x.size(0) * y.size(1), 0);
    ops::matmul_integer(x, y, data);
  }
  return out;
}

py::array linear_dynamic(const py::array& x, const PackedLinear& packed, bool reduce_range, bool relu, bool per_row) {
  py::array keep;
  const ops::FloatView view = float_view("linear_dynamic", "input", x, keep);
  if (view.shape.empty() || view.shape.back() != packed.matrix().k)
    check(false, "linear_dynamic: input: expected shape [..., ", packed.matrix().k,
          "] (in_features of the weight), got ", to_text(view.shape));
  Shape shape = view.shape;
  shape.back() = packed.matrix().columns;
  py::array out = float_result(shape, dense_strides(shape, Layout::contiguous));
  auto* data = static_cast<float*>(out.mutable_data());
  {
    py::gil_scoped_release unlocked;
    const DefaultFloatEnvironment environment;
    ops::linear_dynamic(view, packed, {reduce_range, relu, per_row}, data);
  }
  return out;
}

template <class Packed>
void bind_packed(py::class_<Packed, std::shared_ptr<Packed>>& c) {
  c.def_property_readonly(
       "weight", [](const Packed& p) { return p.weight(); }, "The quantized weight.")
      .def_property_readonly(
          "bias",
          [](const Packed& p) -> py::object {
            if (p.bias().empty()) return py::none();
            return py::array_t<float>(p.bias().size(), p.bias().data());
          },
          "The float32 bias, or None.");
}

}  // namespace

void check_dtype(const char* op, const char* argument, const py::array& array, const py::dtype& t) {
  if (!has_dtype(array, t))
    throw TypeError(text(op, ": ", argument, ": expected ", std::string(py::str(t)), ", got ",
                         std::string(py::str(array.dtype()))));
}

ops::FloatView float_view(const char* op, const char* argument, const py::array& array, py::array& keep) {
  check_dtype(op, argument, array, py::dtype::of<float>());
  constexpr py::ssize_t item = sizeof(float);
  keep = array;
  bool readable = reinterpret_cast<uintptr_t>(keep.data()) % item == 0;
  for (py::ssize_t i = 0; i < keep.ndim(); ++i) readable &= keep.strides(i) % item == 0;
  if (!readable) keep = py::module_::import("numpy").attr("ascontiguousarray")(keep);
  ops::FloatView view{.data = static_cast<const float*>(keep.data()),
                      .shape = {keep.shape(), keep.shape() + keep.ndim()},
                      .strides = {keep.strides(), keep.strides() + keep.ndim()}};
  for (auto& s : view.strides) s /= item;
  return view;
}

std::vector<float> float_vector(const char* op, const char* argument, const py::object& object) {
  if (object.is_none()) return {};
  check<TypeError>(py::isinstance<py::array>(object), op, ": ", argument, ": expected a float32 array or None, got ",
                   std::string(py::str(py::type::of(object))));
  py::array keep;
  const ops::FloatView v = float_view(op, argument, object, keep);
  check(v.shape.size() == 1, op, ": ", argument, ": expected 1 dimension, got ", v.shape.size());
  std::vector<float> out(v.shape[0]);
  for (size_t i = 0; i < out.size(); ++i) out[i] = v.data[static_cast<int64_t>(i) * v.strides[0]];
  return out;
}

void bind_ops(py::module_& m) {
  m.def("quantize", &quantize, py::arg("input"), py::arg("qparams").none(false), py::arg("channels_last") = false,
        R"(Quantize float32 values: ``clamp(round_half_even(x / scale) + zero_point)``; NaN gives the zero point.

Parameters
----------
input : ndarray of float32
    Any shape and strides.
qparams : QParams
channels_last : bool
    Lay a 4-D result out channels-last.)");
  m.def("dequantize", &dequantize, py::arg("input"), "``(q - zero_point) * scale`` as a float32 array.");
  m.def(
      "requantize", [](const QTensor& x, QParamsArg q) { return ops::requantize(x, q); }, py::arg("input"),
      py::arg("qparams").none(false), Unlocked(), "Dequantize, then quantize with other parameters.");
  m.def("lookup", &lookup, py::arg("input"), py::arg("table"), py::arg("qparams").none(false),
        R"(Map 8-bit codes through a table: ``out = table[q & 0xFF]``. Every unary 8-bit op is one of these.

Parameters
----------
input : QTensor
    qint8 or quint8, per tensor.
table : ndarray of int, 256 entries
    Codes of ``qparams.dtype``, indexed by the raw byte of the input's code.
qparams : QParams
    The result's parameters.)");
  m.def(
      "add", [](const QTensor& a, const QTensor& b, QParamsArg q, bool relu) { return ops::add(a, b, q, relu); },
      py::arg("a"), py::arg("b"), py::arg("qparams").none(false), py::arg("relu") = false, Unlocked(),
      "``quantize(dequantize(a) + dequantize(b))``, shapes broadcast; with relu the result is at least real 0.");
  m.def(
      "mul", [](const QTensor& a, const QTensor& b, QParamsArg q, bool relu) { return ops::mul(a, b, q, relu); },
      py::arg("a"), py::arg("b"), py::arg("qparams").none(false), py::arg("relu") = false, Unlocked(),
      "The exact integer product, rescaled by ``float32(sa * sb / so)`` with one rounding; shapes broadcast.");
  m.def("matmul_integer", &matmul_integer, py::arg("a"), py::arg("b"), py::arg("a_zero_point") = 0,
        py::arg("b_zero_point") = 0, R"(Exact integer matrix product, as ONNX MatMulInteger.

Parameters
----------
a : ndarray of int8 or uint8, shape [M, K]
b : ndarray of int8 or uint8, shape [K, N]
a_zero_point : int
b_zero_point : int or 1-D ndarray of N ints

Returns
-------
ndarray of int32, shape [M, N]

Raises
------
ValueError
    Where shapes do not fit or a sum could leave int32.)");

  auto linear = py::class_<PackedLinear, std::shared_ptr<PackedLinear>>(
      m, "PackedLinear", "A linear layer's weight [N, K] made ready for the kernels.");
  linear.def(py::init([](const QTensor& weight, const py::object& bias) {
               return std::make_shared<PackedLinear>(weight, float_vector("linear", "bias", bias));
             }),
             py::arg("weight"), py::arg("bias"));
  bind_packed(linear);
  m.def(
      "linear",
      [](const QTensor& x, const PackedLinear& w, QParamsArg q, bool relu) { return ops::linear(x, w, q, relu); },
      py::arg("input"), py::arg("packed"), py::arg("qparams").none(false), py::arg("relu") = false, Unlocked(),
      "``x [..., K]`` times the weight transposed, plus bias, requantized; see docs/numerics.md.");

  m.def("linear_dynamic", &linear_dynamic, py::arg("input"), py::arg("packed"), py::arg("reduce_range") = false,
        py::arg("relu") = false, py::arg("per_row") = false,
        R"(A linear layer on float32 input, quantized on the fly.

The whole input, or with per_row each row of K values, is quantized to quint8 with the parameters that
:func:`choose_qparams` gives for its range; the result is ``float32(sum) * float32(s_x * s_w[c]) + bias[c]``.

Raises
------
ValueError
    Where the input holds NaN or an infinity, or shapes do not fit.)");
  m.def(
      "choose_qparams",
      [](float lo, float hi, DType dtype, bool reduce_range) {
        return std::make_shared<QParams>(*ops::choose_qparams(lo, hi, dtype, reduce_range));
      },
      py::arg("lo"), py::arg("hi"), py::arg("dtype"), py::arg("reduce_range") = false, Unlocked(),
      "Parameters of an 8-bit dtype for values in [lo, hi], as dynamic quantization chooses them.");

  using Object = const py::object&;
  auto conv = py::class_<PackedConv, std::shared_ptr<PackedConv>>(
      m, "PackedConv",
      "A convolution's weight made ready for the kernels: [O, C / groups, k...], or "
      "[C, O / groups, k...] when transposed; 1 to 3 spatial axes.");
  conv.def(py::init(
               [](const QTensor& weight, Object bias, Object stride, Object padding, Object dilation, int64_t groups) {
                 return std::make_shared<PackedConv>(PackedConv::conv(
                     weight, float_vector("conv", "bias", bias), integers("conv: stride", stride),
                     integers("conv: padding", padding), integers("conv: dilation", dilation), groups));
               }),
           py::arg("weight"), py::arg("bias"), py::arg("stride"), py::arg("padding"), py::arg("dilation"),
           py::arg("groups"))
      .def_static(
          "transposed",
          [](const QTensor& weight, Object bias, Object stride, Object padding, Object output_padding, Object dilation,
             int64_t groups) {
            return std::make_shared<PackedConv>(PackedConv::transposed(
                weight, float_vector("conv_transpose", "bias", bias), integers("conv_transpose: stride", stride),
                integers("conv_transpose: padding", padding),
                integers("conv_transpose: output_padding", output_padding),
                integers("conv_transpose: dilation", dilation), groups));
          },
          py::arg("weight"), py::arg("bias"), py::arg("stride"), py::arg("padding"), py::arg("output_padding"),
          py::arg("dilation"), py::arg("groups"), "The weight of a transposed convolution.");
  bind_packed(conv);
  conv.def_readonly("stride", &PackedConv::stride, "One value per spatial axis.")
      .def_readonly("padding", &PackedConv::padding, "One value per spatial axis.")
      .def_readonly("output_padding", &PackedConv::output_padding,
                    "One value per spatial axis; empty unless transposed.")
      .def_readonly("dilation", &PackedConv::dilation, "One value per spatial axis.")
      .def_readonly("groups", &PackedConv::groups, "Number of groups.")
      .def_readonly("is_transposed", &PackedConv::is_transposed, "Whether this is a transposed convolution.")
      .def("algorithm", &ops::conv_algorithm, py::arg("input_shape"),
           "Which algorithm a dense convolution of this input takes now: direct, winograd2 or winograd4, the "
           "latter as winograd4/2 where the input channels are summed in two parts.");
  m.def(
      "conv", [](const QTensor& x, const PackedConv& w, QParamsArg q, bool relu) { return ops::conv(x, w, q, relu); },
      py::arg("input"), py::arg("packed"), py::arg("qparams").none(false), py::arg("relu") = false, Unlocked(),
      "Convolution of ``x [N, C, ...]``, requantized; padding is real 0. The result is channels-last.");

  m.def("max_pool", &ops::max_pool, py::arg("input"), py::arg("kernel_size"), py::arg("stride"), py::arg("padding"),
        py::arg("dilation"), py::arg("ceil_mode"), Unlocked(),
        "Largest code of each window, over 1 to 3 spatial axes; same parameters.");
  m.def("avg_pool", &ops::avg_pool, py::arg("input"), py::arg("kernel_size"), py::arg("stride"), py::arg("padding"),
        py::arg("ceil_mode"), py::arg("count_include_pad"), py::arg("divisor_override"), Unlocked(),
        "``round_half_even(sum(q - z) / divisor) + z`` of each window, over 1 to 3 spatial axes; same parameters.");
  m.def("adaptive_avg_pool", &ops::adaptive_avg_pool, py::arg("input"), py::arg("output_size"), Unlocked(),
        "Mean over windows that cut 1 to 3 spatial axes into output_size parts; None keeps a size.");
  m.def(
      "cat", [](const std::vector<QTensor>& xs, int64_t dim, QParamsArg q) { return ops::cat(xs, dim, q); },
      py::arg("tensors"), py::arg("dim"), py::arg("qparams").none(false), Unlocked(),
      "Tensors joined along an axis, each requantized to the result's parameters.");
}

}  // namespace octensor::bind
