// Float ops with one order of operations (docs/numerics.md): what the eager float layers call.
#include "bind/bind.h"
#include "core/check.h"
#include "ops/float_linear.h"
#include "ops/float_rows.h"

namespace octensor::bind {
namespace {

using Array = py::array;

// Runs without the interpreter's lock, in the default floating-point environment.
template <class F>
void unlocked(F run) {
  py::gil_scoped_release released;
  const DefaultFloatEnvironment environment;
  run();
}

float* data_of(Array& out) { return static_cast<float*>(out.mutable_data()); }

Array dense_result(const Shape& shape) { return float_result(shape, dense_strides(shape, Layout::contiguous)); }

// A view and what keeps it alive.
struct Input {
  py::array keep;
  ops::FloatView view;
  Input(const char* op, const char* argument, const py::array& array)
      : view(float_view(op, argument, array, keep)) {}
};

Array float_linear(const Array& x, const Array& weight, const py::object& bias, bool relu) {
  const Input in("linear", "input", x), w("linear", "weight", weight);
  check(w.view.shape.size() == 2, "linear: weight: expected shape [N, K], got ", to_text(w.view.shape));
  const int64_t n = w.view.shape[0], k = w.view.shape[1];
  check(!in.view.shape.empty() && in.view.shape.back() == k, "linear: input: expected shape [..., ", k, "], got ",
        to_text(in.view.shape));
  const std::vector<float> b = float_vector("linear", "bias", bias);
  check(bias.is_none() || static_cast<int64_t>(b.size()) == n, "linear: bias: expected ", n, " values, got ", b.size());
  Shape shape = in.view.shape;
  shape.back() = n;
  Array out = dense_result(shape);
  unlocked([&, to = data_of(out)] {
    const ops::FloatRows rows(in.view);
    ops::float_product_into({rows.values, rows.rows, k}, {w.view.data, k, n, w.view.strides[1], w.view.strides[0]},
                            {bias.is_none() ? nullptr : b.data(), relu}, to, n);
  });
  return out;
}

Array float_linear_packed(const Array& x, const PackedFloat& w, bool relu) {
  const Input in("linear", "input", x);
  check(!in.view.shape.empty() && in.view.shape.back() == w.k(), "linear: input: expected shape [..., ", w.k(),
        "], got ", to_text(in.view.shape));
  Shape shape = in.view.shape;
  shape.back() = w.columns();
  Array out = dense_result(shape);
  unlocked([&, to = data_of(out)] {
    const ops::FloatRows rows(in.view);
    ops::float_linear_into(rows.values, rows.rows, w, relu, to);
  });
  return out;
}

std::unique_ptr<PackedFloat> pack(const Array& weight, const py::object& bias) {
  const Input w("linear", "weight", weight);
  check(w.view.shape.size() == 2, "linear: weight: expected shape [N, K], got ", to_text(w.view.shape));
  std::vector<float> b = float_vector("linear", "bias", bias);
  const int64_t n = w.view.shape[0];
  check(bias.is_none() || static_cast<int64_t>(b.size()) == n, "linear: bias: expected ", n, " values, got ", b.size());
  const ops::FloatRows rows(w.view);
  return std::make_unique<PackedFloat>(rows.values, n, rows.k, std::move(b));
}

}  // namespace

void bind_float(py::module_& m) {
  py::class_<PackedFloat>(m, "PackedFloat", "A float32 weight [N, K] made ready for the kernels.")
      .def(py::init(&pack), py::arg("weight"), py::arg("bias") = py::none());
  m.def("float_linear", &float_linear_packed, py::arg("input"), py::arg("packed"), py::arg("relu") = false,
        "``input [..., K]`` times the packed weight transposed, plus its bias.");
  m.def("float_linear", &float_linear, py::arg("input"), py::arg("weight"), py::arg("bias") = py::none(),
        py::arg("relu") = false, "``input [..., K]`` times the float32 weight [N, K] transposed, plus bias.");
}

}  // namespace octensor::bind
