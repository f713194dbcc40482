// Float ops with one order of operations (docs/numerics.md): what the eager float layers call.
#include "bind/bind.h"
#include "core/check.h"
#include "isa/dispatch.h"
#include "ops/float_conv.h"
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

// [N, C, ...] as dense [N, ..., C]: a copy where it is not already so.
struct ChannelsLast {
  StoragePtr copy;
  const float* values;
  FloatWalk::Triple size{1, 1, 1};

  explicit ChannelsLast(const ops::FloatView& x) : values(x.data) {
    for (size_t i = 2; i < x.shape.size(); ++i) size[i + 3 - x.shape.size()] = x.shape[i];
    const Shape dense = dense_strides(x.shape, Layout::channels_last);
    bool is_dense = true;
    for (size_t i = 0; i < dense.size(); ++i) is_dense &= x.shape[i] == 1 || x.strides[i] == dense[i];
    if (is_dense) return;
    copy = allocate(count(x.shape) * sizeof(float));
    copy_strided(reinterpret_cast<const uint8_t*>(x.data), x.strides, copy.get(), dense, x.shape, sizeof(float));
    values = reinterpret_cast<const float*>(copy.get());
  }
};

// One value per spatial axis -> the last of three.
FloatWalk::Triple triple(const char* name, const py::object& values, int spatial, int64_t missing, int64_t least) {
  const std::vector<int64_t> given = integers(text("conv: ", name), values);
  check(static_cast<int>(given.size()) == spatial, "conv: ", name, ": expected ", spatial, " values, got ",
        given.size());
  FloatWalk::Triple out{missing, missing, missing};
  for (int i = 0; i < spatial; ++i) {
    check(given[i] >= least && given[i] < int64_t{1} << 31, "conv: ", name, ": expected at least ", least, ", got ",
          given[i]);
    out[3 - spatial + i] = given[i];
  }
  return out;
}

Array float_conv(const Array& x, const Array& weight, const py::object& bias, const py::object& stride,
                 const py::object& padding, const py::object& dilation, int64_t groups,
                 const py::object& output_padding, bool relu) {
  const Input in("conv", "input", x), w("conv", "weight", weight);
  const Shape &shape = in.view.shape, &filters = w.view.shape;
  check(filters.size() >= 3 && filters.size() <= 5 && shape.size() == filters.size(),
        "conv: expected input [N, C, ...] and weight of as many axes, 3 to 5, got ", to_text(shape), " and ",
        to_text(filters));
  FloatConvSpec spec{.spatial = static_cast<int>(shape.size()) - 2, .groups = groups};
  spec.stride = triple("stride", stride, spec.spatial, 1, 1);
  spec.padding = triple("padding", padding, spec.spatial, 0, 0);
  spec.dilation = triple("dilation", dilation, spec.spatial, 1, 1);
  spec.transposed = !output_padding.is_none();
  if (spec.transposed) spec.output_padding = triple("output_padding", output_padding, spec.spatial, 0, 0);
  FloatWalk::Triple kernel{1, 1, 1};
  for (int i = 0; i < spec.spatial; ++i) kernel[3 - spec.spatial + i] = filters[2 + i];
  const int64_t channels = spec.transposed ? filters[0] : filters[1] * groups;
  const int64_t outputs = spec.transposed ? filters[1] * groups : filters[0];
  check(groups >= 1 && filters[0] % groups == 0, "conv: groups: expected a divisor of ", filters[0], ", got ", groups);
  check(shape[1] == channels, "conv: input: expected ", channels, " channels, got shape ", to_text(shape));
  const std::vector<float> b = float_vector("conv", "bias", bias);
  check(bias.is_none() || static_cast<int64_t>(b.size()) == outputs, "conv: bias: expected ", outputs,
        " values, got ", b.size());
  FloatWalk::Triple size{1, 1, 1}, out_size;
  for (int i = 0; i < spec.spatial; ++i) size[3 - spec.spatial + i] = shape[2 + i];
  for (int a = 0; a < 3; ++a) {
    out_size[a] = FloatFilters::output_size(spec, kernel, size)[a];
    check(out_size[a] >= 0 && (spec.transposed || out_size[a] > 0 || shape[0] == 0),
          "conv: input: the kernel does not fit an input of shape ", to_text(shape));
  }
  Shape result{shape[0], outputs};
  result.insert(result.end(), out_size.end() - spec.spatial, out_size.end());
  Array out = float_result(result, dense_strides(result, Layout::channels_last));
  unlocked([&, to = data_of(out)] {
    if (count(result) == 0) return;
    const ChannelsLast image(in.view);
    const ops::FloatRows rows(w.view);
    const FloatFilters packed(rows.values, filters[0], filters[1], kernel, spec, kernel_table());
    ops::float_conv_into(image.values, shape[0], image.size, packed, bias.is_none() ? nullptr : b.data(), relu, to);
  });
  return out;
}

}  // namespace

void bind_float(py::module_& m) {
  py::class_<PackedFloat>(m, "PackedFloat", "A float32 weight [N, K] made ready for the kernels.")
      .def(py::init(&pack), py::arg("weight"), py::arg("bias") = py::none());
  m.def("float_linear", &float_linear_packed, py::arg("input"), py::arg("packed"), py::arg("relu") = false,
        "``input [..., K]`` times the packed weight transposed, plus its bias.");
  m.def("float_linear", &float_linear, py::arg("input"), py::arg("weight"), py::arg("bias") = py::none(),
        py::arg("relu") = false, "``input [..., K]`` times the float32 weight [N, K] transposed, plus bias.");
  m.def("float_conv", &float_conv, py::arg("input"), py::arg("weight"), py::arg("bias"), py::arg("stride"),
        py::arg("padding"), py::arg("dilation"), py::arg("groups"), py::arg("output_padding") = py::none(),
        py::arg("relu") = false,
        "Convolution of float32 ``input [N, C, ...]``, transposed where output_padding is given. The result is "
        "channels-last.");
}

}  // namespace octensor::bind
