// The operators. Their arithmetic is in docs/numerics.md.
#include "bind/bind.h"
#include "core/check.h"

namespace octensor::bind {
namespace {

using ops::Pair;

py::array dequantize(const QTensor& q) {
  const bool last = !q.is_dense(Layout::contiguous) && q.is_dense(Layout::channels_last);
  const Shape strides = dense_strides(q.shape(), last ? Layout::channels_last : Layout::contiguous);
  Shape bytes = strides;
  for (auto& s : bytes) s *= sizeof(float);
  py::array_t<float> out(q.shape(), bytes);
  float* data = out.mutable_data();
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
  check<TypeError>(table.dtype().kind() == 'i' || table.dtype().kind() == 'u', "lookup: table: expected integers, got ",
                   std::string(py::str(table.dtype())));
  const auto wide = py::array_t<int64_t, py::array::c_style | py::array::forcecast>::ensure(table);
  std::array<uint8_t, 256> bytes;
  const DTypeInfo& t = info(qparams->dtype());
  for (int i = 0; i < 256; ++i) {
    const int64_t v = wide.data()[i];
    check(v >= t.qmin && v <= t.qmax, "lookup: table: expected codes of ", t.name, " in [", t.qmin, ", ", t.qmax,
          "], got ", v);
    bytes[i] = static_cast<uint8_t>(v);
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

template <class Packed>
void bind_packed(py::class_<Packed>& c) {
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

ops::FloatView float_view(const char* op, const char* argument, const py::array& array, py::array& keep) {
  check<TypeError>(array.dtype().equal(py::dtype::of<float>()), op, ": ", argument, ": expected float32, got ",
                   std::string(py::str(array.dtype())));
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

  auto linear =
      py::class_<PackedLinear>(m, "PackedLinear", "A linear layer's weight [N, K] made ready for the kernels.");
  linear.def(py::init([](const QTensor& weight, const py::object& bias) {
               return std::make_unique<PackedLinear>(weight, float_vector("linear", "bias", bias));
             }),
             py::arg("weight"), py::arg("bias"));
  bind_packed(linear);
  m.def(
      "linear",
      [](const QTensor& x, const PackedLinear& w, QParamsArg q, bool relu) { return ops::linear(x, w, q, relu); },
      py::arg("input"), py::arg("packed"), py::arg("qparams").none(false), py::arg("relu") = false, Unlocked(),
      "``x [..., K]`` times the weight transposed, plus bias, requantized; see docs/numerics.md.");

  auto conv = py::class_<PackedConv2d>(m, "PackedConv2d",
                                       "A convolution's weight [O, C / groups, kh, kw] made ready for the kernels.");
  conv.def(py::init([](const QTensor& weight, const py::object& bias, Pair stride, Pair padding, Pair dilation,
                       int64_t groups) {
             return std::make_unique<PackedConv2d>(weight, float_vector("conv2d", "bias", bias), stride, padding,
                                                   dilation, groups);
           }),
           py::arg("weight"), py::arg("bias"), py::arg("stride") = Pair{1, 1}, py::arg("padding") = Pair{0, 0},
           py::arg("dilation") = Pair{1, 1}, py::arg("groups") = 1);
  bind_packed(conv);
  conv.def_readonly("stride", &PackedConv2d::stride)
      .def_readonly("padding", &PackedConv2d::padding)
      .def_readonly("dilation", &PackedConv2d::dilation)
      .def_readonly("groups", &PackedConv2d::groups);
  m.def(
      "conv2d",
      [](const QTensor& x, const PackedConv2d& w, QParamsArg q, bool relu) { return ops::conv2d(x, w, q, relu); },
      py::arg("input"), py::arg("packed"), py::arg("qparams").none(false), py::arg("relu") = false, Unlocked(),
      "2-D convolution of ``x [N, C, H, W]``, requantized; padding is real 0. The result is channels-last.");

  m.def("max_pool2d", &ops::max_pool2d, py::arg("input"), py::arg("kernel_size"), py::arg("stride"), py::arg("padding"),
        py::arg("dilation"), py::arg("ceil_mode"), Unlocked(), "Largest code of each window; same parameters.");
  m.def("avg_pool2d", &ops::avg_pool2d, py::arg("input"), py::arg("kernel_size"), py::arg("stride"), py::arg("padding"),
        py::arg("ceil_mode"), py::arg("count_include_pad"), py::arg("divisor_override"), Unlocked(),
        "``round_half_even(sum(q - z) / divisor) + z`` of each window; same parameters.");
  m.def("adaptive_avg_pool2d", &ops::adaptive_avg_pool2d, py::arg("input"), py::arg("output_size"), Unlocked(),
        "Mean over windows that cut the input into output_size parts; None keeps a size.");
  m.def(
      "cat", [](const std::vector<QTensor>& xs, int64_t dim, QParamsArg q) { return ops::cat(xs, dim, q); },
      py::arg("tensors"), py::arg("dim"), py::arg("qparams").none(false), Unlocked(),
      "Tensors joined along an axis, each requantized to the result's parameters.");
}

}  // namespace octensor::bind
