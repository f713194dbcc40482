// Float ops with one order of operations (docs/numerics.md): what the eager float layers call.
#include "bind/bind.h"
#include "core/check.h"
#include "isa/dispatch.h"
#include "ops/float_conv.h"
#include "ops/float_linear.h"
#include "ops/float_math.h"
#include "ops/float_pool.h"
#include "ops/float_rows.h"
#include "ops/pool_windows.h"

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
  Input(const char* op, const char* argument, const py::array& array) : view(float_view(op, argument, array, keep)) {}
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
FloatWalk::Triple triple(const char* name, const py::object& values, int spatial, int64_t missing) {
  const std::vector<int64_t> given = integers(text("conv: ", name), values);
  check(static_cast<int>(given.size()) == spatial, "conv: ", name, ": expected ", spatial, " values, got ",
        given.size());
  FloatWalk::Triple out{missing, missing, missing};
  for (int i = 0; i < spatial; ++i) out[3 - spatial + i] = given[i];
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
  spec.stride = triple("stride", stride, spec.spatial, 1);
  spec.padding = triple("padding", padding, spec.spatial, 0);
  spec.dilation = triple("dilation", dilation, spec.spatial, 1);
  spec.transposed = !output_padding.is_none();
  if (spec.transposed) spec.output_padding = triple("output_padding", output_padding, spec.spatial, 0);
  FloatWalk::Triple kernel{1, 1, 1};
  for (int i = 0; i < spec.spatial; ++i) kernel[3 - spec.spatial + i] = filters[2 + i];
  spec.check_for(filters[0], kernel);
  const int64_t channels = spec.transposed ? filters[0] : filters[1] * groups;
  const int64_t outputs = spec.transposed ? filters[1] * groups : filters[0];
  check(shape[1] == channels, "conv: input: expected ", channels, " channels, got shape ", to_text(shape));
  const std::vector<float> b = float_vector("conv", "bias", bias);
  check(bias.is_none() || static_cast<int64_t>(b.size()) == outputs, "conv: bias: expected ", outputs, " values, got ",
        b.size());
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

// The same values, dense in logical order, as [rows][k]; a scalar is one row of one.
ops::FloatRows dense_rows(const ops::FloatView& x) {
  return ops::FloatRows(x.shape.empty() ? ops::FloatView{x.data, {1}, {1}} : x);
}

bool is_dense(const Array& x, const ops::FloatView& view) {
  return (x.flags() & (py::array::c_style | py::array::f_style)) != 0 ||
         view.strides == dense_strides(view.shape, Layout::channels_last);
}

Array float_unary(const char* name, const Array& x, float a, float b, float c) {
  const FloatUnary op = ops::float_unary_named(name);
  const Input in(name, "input", x);
  const Shape dense = dense_strides(in.view.shape, Layout::contiguous);
  const bool as_it_lies = is_dense(in.keep, in.view);  // the result has the argument's layout
  Array out = float_result(in.view.shape, as_it_lies ? in.view.strides : dense);
  unlocked([&, to = data_of(out)] {
    const int64_t n = count(in.view.shape);
    if (n == 0) return;
    if (as_it_lies) return ops::float_unary_into(op, in.view.data, n, {a, b, c}, to);
    ops::float_unary_into(op, dense_rows(in.view).values, n, {a, b, c}, to);
  });
  return out;
}

// An op on the rows of the last axis, whose result has the same shape.
template <class F>
Array on_rows(const char* op, const Array& x, F run) {
  const Input in(op, "input", x);
  check(!in.view.shape.empty(), op, ": input: expected at least one axis, got a scalar");
  Array out = dense_result(in.view.shape);
  unlocked([&, to = data_of(out)] {
    if (count(in.view.shape) == 0) return;
    const ops::FloatRows rows(in.view);
    run(rows, to);
  });
  return out;
}

Array float_softmax(const Array& x, bool log) {
  return on_rows("softmax", x, [&](const ops::FloatRows& rows, float* out) {
    ops::float_softmax_into(rows.values, rows.rows, rows.k, log, out);
  });
}

// x [rows, n]; weight and bias [groups * n / run].
Array float_norm(const Array& x, const py::object& weight, const py::object& bias, float eps, bool centre,
                 int64_t groups, int64_t run) {
  check(x.ndim() >= 1 && groups >= 1 && run >= 1 && x.shape(x.ndim() - 1) % run == 0,
        "norm: expected rows of a multiple of ", run, " values");
  const std::vector<float> w = float_vector("norm", "weight", weight), b = float_vector("norm", "bias", bias);
  const int64_t entries = groups * x.shape(x.ndim() - 1) / run;
  for (const auto* v : {&w, &b})
    check(v->empty() || static_cast<int64_t>(v->size()) == entries, "norm: expected ", entries, " weights, got ",
          v->size());
  return on_rows("norm", x, [&](const ops::FloatRows& rows, float* out) {
    ops::float_norm_into(rows.values, rows.rows, rows.k,
                         {.eps = eps,
                          .centre = centre,
                          .weight = w.empty() ? nullptr : w.data(),
                          .bias = b.empty() ? nullptr : b.data(),
                          .groups = groups,
                          .run = run},
                         out);
  });
}

Array float_sum(const Array& x, float divisor) {
  const Input in("sum", "input", x);
  check(!in.view.shape.empty(), "sum: input: expected at least one axis, got a scalar");
  Array out = dense_result({in.view.shape.begin(), in.view.shape.end() - 1});
  unlocked([&, to = data_of(out)] {
    const ops::FloatRows rows(in.view);
    ops::float_sum_into(rows.values, rows.rows, rows.k, divisor, to);
  });
  return out;
}

// a [..., M, K] and b [..., K, N] with the same leading axes, or none in b.
Array float_matmul(const Array& a, const Array& b) {
  const Input x("matmul", "input", a), y("matmul", "other", b);
  const Shape &left = x.view.shape, &right = y.view.shape;
  check(left.size() >= 2 && right.size() >= 2 && left.back() == right[right.size() - 2] &&
            (right.size() == 2 || std::equal(left.begin(), left.end() - 2, right.begin(), right.end() - 2)),
        "matmul: expected [..., M, K] and [..., K, N], got ", to_text(left), " and ", to_text(right));
  Shape shape = left;
  shape.back() = right.back();
  Array out = dense_result(shape);
  unlocked([&, to = data_of(out)] {
    const int64_t m = left[left.size() - 2], k = left.back(), n = right.back();
    const int64_t batch = count({left.begin(), left.end() - 2});
    if (batch * m * n == 0) return;
    const ops::FloatRows rows(x.view);
    // The matrices of b one after the other, each in any strides; a copy where they are not.
    Shape strides = y.view.strides;
    const Shape lead(right.begin(), right.end() - 2);
    int64_t step = 0;
    StoragePtr copy;
    const float* values = y.view.data;
    if (!lead.empty()) {
      step = strides[lead.size() - 1];
      bool even = true;
      for (size_t i = 0; i + 1 < lead.size(); ++i) even &= lead[i] == 1 || strides[i] == strides[i + 1] * lead[i + 1];
      if (!even) {
        strides = dense_strides(right, Layout::contiguous);
        copy = allocate(count(right) * sizeof(float));
        copy_strided(reinterpret_cast<const uint8_t*>(values), y.view.strides, copy.get(), strides, right,
                     sizeof(float));
        values = reinterpret_cast<const float*>(copy.get());
        step = k * n;
      }
    }
    const FloatMatrix matrix{values, k, n, strides[strides.size() - 2], strides.back()};
    if (lead.empty())
      ops::float_product_into({rows.values, batch * m, k}, matrix, {}, to, n);
    else
      ops::float_matmul_into({rows.values, m, k}, m * k, matrix, step, batch, to);
  });
  return out;
}

using Counts = std::vector<int64_t>;

Array float_pool(const char* op, const Array& x, ops::FloatPool pool) {
  const Input in(op, "input", x);
  Shape shape{in.view.shape[0], in.view.shape[1]};
  for (size_t i = 5 - in.view.shape.size(); i < 3; ++i) shape.push_back(static_cast<int64_t>(pool.windows[i].size()));
  Array out = float_result(shape, dense_strides(shape, Layout::channels_last));
  unlocked([&, to = data_of(out)] {
    if (count(shape) == 0) return;
    const ChannelsLast image(in.view);
    ops::float_pool_into(image.values, shape[0], image.size, shape[1], pool, to);
  });
  return out;
}

// Windows of the last axes, made by `windows(axis, size)`; one of the missing ones.
template <class F>
ops::FloatPool pool_of(const char* op, const Array& x, FloatReduce reduce, size_t axes, F windows) {
  check(axes >= 1 && axes <= 3 && x.ndim() == static_cast<py::ssize_t>(axes) + 2, op, ": input: expected ", axes + 2,
        " dimensions, got ", x.ndim());
  ops::FloatPool pool{.reduce = reduce, .windows = {}, .divisor = {}};
  for (size_t i = 0; i < 3; ++i)
    pool.windows[i] = i + axes < 3 ? std::vector<PoolWindow>{{0, 1, 1}}
                                   : windows(i + axes - 3, static_cast<int64_t>(x.shape(i + axes - 1)));
  return pool;
}

Array float_max_pool(const Array& x, const Counts& kernel, const Counts& stride, const Counts& padding,
                     const Counts& dilation, bool ceil_mode) {
  const size_t axes = kernel.size();
  check(stride.size() == axes && padding.size() == axes && dilation.size() == axes,
        "max_pool: expected a value for every axis");
  auto pool = pool_of("max_pool", x, FloatReduce::largest, axes, [&](size_t a, int64_t size) {
    return ops::sliding_windows("max_pool", size, kernel[a], stride[a], padding[a], dilation[a], ceil_mode, false);
  });
  for (size_t a = 0; a < axes; ++a) pool.dilation[a + 3 - axes] = dilation[a];
  return float_pool("max_pool", x, pool);
}

Array float_avg_pool(const Array& x, const Counts& kernel, const Counts& stride, const Counts& padding, bool ceil_mode,
                     bool count_include_pad, std::optional<int64_t> divisor_override) {
  const size_t axes = kernel.size();
  check(stride.size() == axes && padding.size() == axes, "avg_pool: expected a value for every axis");
  auto pool = pool_of("avg_pool", x, FloatReduce::sums, axes, [&](size_t a, int64_t size) {
    return ops::sliding_windows("avg_pool", size, kernel[a], stride[a], padding[a], 1, ceil_mode, count_include_pad);
  });
  if (divisor_override) pool.divisor = static_cast<float>(*divisor_override);
  return float_pool("avg_pool", x, pool);
}

Array float_adaptive_avg_pool(const Array& x, const Counts& output_size) {
  return float_pool("adaptive_avg_pool", x,
                    pool_of("adaptive_avg_pool", x, FloatReduce::sums, output_size.size(), [&](size_t a, int64_t size) {
                      return ops::adaptive_windows("adaptive_avg_pool", size, output_size[a]);
                    }));
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
  m.def("float_matmul", &float_matmul, py::arg("input"), py::arg("other"),
        "``[..., M, K]`` times ``[..., K, N]`` or ``[K, N]``.");
  m.def("float_unary", &float_unary, py::arg("name"), py::arg("input"), py::arg("a") = 0.0f, py::arg("b") = 0.0f,
        py::arg("c") = 0.0f, "A function of kernels/float_elementwise.h, element by element, with its parameters.");
  m.def("float_softmax", &float_softmax, py::arg("input"), py::arg("log") = false,
        "Softmax along the last axis, or its logarithm.");
  m.def("float_norm", &float_norm, py::arg("input"), py::arg("weight"), py::arg("bias"), py::arg("eps"),
        py::arg("centre") = true, py::arg("groups") = 1, py::arg("run") = 1,
        "Layer norm of the last axis (rms norm without centre); group norm with groups, and run elements per channel.");
  m.def("float_sum", &float_sum, py::arg("input"), py::arg("divisor") = 1.0f, "Sums over the last axis, divided.");
  m.def("float_max_pool", &float_max_pool, py::arg("input"), py::arg("kernel_size"), py::arg("stride"),
        py::arg("padding"), py::arg("dilation"), py::arg("ceil_mode"), "The largest value of each window.");
  m.def("float_avg_pool", &float_avg_pool, py::arg("input"), py::arg("kernel_size"), py::arg("stride"),
        py::arg("padding"), py::arg("ceil_mode"), py::arg("count_include_pad"), py::arg("divisor_override"),
        "The mean of each window.");
  m.def("float_adaptive_avg_pool", &float_adaptive_avg_pool, py::arg("input"), py::arg("output_size"),
        "Means over windows that cut the spatial axes into output_size parts.");
}

}  // namespace octensor::bind
