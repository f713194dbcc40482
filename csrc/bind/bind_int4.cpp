// Linear layers with 4-bit weights, and with quantized weights on float activations.
#include "bind/bind.h"
#include "core/check.h"
#include "ops/weight_only.h"

namespace octensor::bind {
namespace {

// A dense array of element type T and of the given shape, as a vector.
template <class T>
std::vector<T> values(const char* argument, const py::object& object, const Shape& shape) {
  check<TypeError>(py::isinstance<py::array>(object) && py::array(object).dtype().equal(py::dtype::of<T>()),
                   "linear_int4: ", argument, ": expected an array of ", std::string(py::str(py::dtype::of<T>())),
                   ", got ",
                   py::isinstance<py::array>(object) ? std::string(py::str(py::array(object).dtype()))
                                                     : std::string(py::str(py::type::of(object))));
  const auto array = py::array_t<T, py::array::c_style>::ensure(object);
  const Shape got(array.shape(), array.shape() + array.ndim());
  check(got == shape, "linear_int4: ", argument, ": expected shape ", to_text(shape), ", got ", to_text(got));
  return {array.data(), array.data() + array.size()};
}

std::shared_ptr<PackedInt4Linear> pack(const py::object& weight, int64_t in_features, int64_t group_size,
                                       const py::object& scales, const py::object& zero_points,
                                       const py::object& bias) {
  check(in_features >= 0 && in_features < int64_t{1} << 40, "linear_int4: in_features: expected a size, got ",
        in_features);
  check(group_size >= 1 && group_size <= 128, "linear_int4: group_size: expected 32, 64 or 128, got ", group_size);
  check<TypeError>(py::isinstance<py::array>(weight), "linear_int4: weight: expected an array of uint8, got ",
                   std::string(py::str(py::type::of(weight))));
  const py::array bytes = weight;
  check(bytes.ndim() == 2, "linear_int4: weight: expected shape [N, (K + 1) / 2], got ", bytes.ndim(), " dimensions");
  const int64_t n = bytes.shape(0), groups = (in_features + group_size - 1) / group_size;
  return std::make_shared<PackedInt4Linear>(
      values<uint8_t>("weight", weight, {n, (in_features + 1) / 2}), n, in_features, group_size,
      values<float>("scales", scales, {n, groups}),
      zero_points.is_none() ? std::vector<int8_t>() : values<int8_t>("zero_points", zero_points, {n, groups}),
      float_vector("linear_int4", "bias", bias));
}

// Values as an array of their own; None where there are none to have.
template <class T>
py::object array_of(const std::vector<T>& held, const Shape& shape, bool optional) {
  if (optional && held.empty()) return py::none();
  py::array_t<T> out(shape);
  std::copy(held.begin(), held.end(), out.mutable_data());
  return out;
}

// A float32 result [..., N] of input [..., K], computed by `run(view, out)`.
template <class Packed, class F>
py::array on_floats(const char* op, const py::array& x, const Packed& packed, F run) {
  py::array keep;
  const ops::FloatView view = float_view(op, "input", x, keep);
  check(!view.shape.empty() && view.shape.back() == packed.in_features(), op, ": input: expected shape [..., ",
        packed.in_features(), "] (in_features of the weight), got ", to_text(view.shape));
  Shape shape = view.shape;
  shape.back() = packed.out_features();
  py::array_t<float> out(shape);
  float* data = out.mutable_data();
  {
    py::gil_scoped_release unlocked;
    const DefaultFloatEnvironment environment;
    run(view, data);
  }
  return out;
}

py::array linear_int4(const py::array& x, const PackedInt4Linear& packed, bool relu) {
  return on_floats("linear_int4", x, packed,
                   [&](const ops::FloatView& view, float* out) { ops::linear_int4(view, packed, relu, out); });
}

template <class Packed>
py::array linear_weight_only(const py::array& x, const Packed& packed, bool relu) {
  return on_floats("linear_weight_only", x, packed,
                   [&](const ops::FloatView& view, float* out) { ops::linear_weight_only(view, packed, relu, out); });
}

}  // namespace

void bind_int4(py::module_& m) {
  py::class_<PackedInt4Linear, std::shared_ptr<PackedInt4Linear>>(
      m, "PackedInt4Linear", "A linear layer's 4-bit group-wise weight [N, K] made ready for the kernels.")
      .def(py::init(&pack), py::arg("weight"), py::arg("in_features"), py::arg("group_size"), py::arg("scales"),
           py::arg("zero_points") = py::none(), py::arg("bias") = py::none(),
           R"(Pack codes that come two to a byte.

Parameters
----------
weight : ndarray of uint8, shape [N, (K + 1) / 2]
    Two's complement, the even k in the lower half of a byte.
in_features : int
    K.
group_size : int
    32, 64 or 128; the last group of K may be shorter.
scales : ndarray of float32, shape [N, groups]
zero_points : ndarray of int8, shape [N, groups], optional
    Codes; all 0 when not given.
bias : ndarray of float32, shape [N], optional)")
      .def_property_readonly("in_features", &PackedInt4Linear::in_features, "K.")
      .def_property_readonly("out_features", &PackedInt4Linear::out_features, "N.")
      .def_property_readonly("group_size", &PackedInt4Linear::group_size, "How many K share a scale.")
      .def_property_readonly(
          "weight",
          [](const PackedInt4Linear& p) {
            return array_of(p.nibbles(), {p.out_features(), (p.in_features() + 1) / 2}, false);
          },
          "A copy of the codes, two to a byte.")
      .def_property_readonly(
          "scales",
          [](const PackedInt4Linear& p) { return array_of(p.scales(), {p.out_features(), p.groups()}, false); },
          "A copy of the scales [N, groups].")
      .def_property_readonly(
          "zero_points",
          [](const PackedInt4Linear& p) { return array_of(p.zero_points(), {p.out_features(), p.groups()}, true); },
          "A copy of the zero points [N, groups], or None.")
      .def_property_readonly(
          "bias", [](const PackedInt4Linear& p) { return array_of(p.bias(), {p.out_features()}, true); },
          "A copy of the float32 bias, or None.");
  m.def("linear_int4", &linear_int4, py::arg("input"), py::arg("packed"), py::arg("relu") = false,
        R"(A linear layer with 4-bit weights on float32 input, each row of which is quantized to 8 bits on the fly.

The result is ``sum over groups of float32(exact sum) * scale[n, group]``, in order, ``* s_row + bias[n]``; see
docs/numerics.md.

Raises
------
ValueError
    Where the input holds NaN or an infinity, or shapes do not fit.)");
  py::class_<PackedWeightOnly, std::shared_ptr<PackedWeightOnly>>(
      m, "PackedWeightOnly", "A linear layer's 8-bit weight [N, K] made ready for float activations.")
      .def(py::init([](const QTensor& weight, const py::object& bias) {
             return std::make_shared<PackedWeightOnly>(weight, float_vector("linear_weight_only", "bias", bias));
           }),
           py::arg("weight"), py::arg("bias"))
      .def_property_readonly(
          "weight", [](const PackedWeightOnly& p) { return p.weight(); }, "The quantized weight.")
      .def_property_readonly(
          "bias", [](const PackedWeightOnly& p) { return array_of(p.bias(), {p.out_features()}, true); },
          "A copy of the float32 bias, or None.");
  constexpr const char* kText =
      "A linear layer on float32 input with the real values of its quantized weight, summed in one order of operations "
      "(docs/numerics.md).";
  m.def("linear_weight_only", &linear_weight_only<PackedWeightOnly>, py::arg("input"), py::arg("packed"),
        py::arg("relu") = false, kText);
  m.def("linear_weight_only", &linear_weight_only<PackedInt4Linear>, py::arg("input"), py::arg("packed"),
        py::arg("relu") = false, kText);
}

}  // namespace octensor::bind
