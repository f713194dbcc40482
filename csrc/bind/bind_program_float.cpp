// The steps of programs that work on floats.
#include "bind/program_steps.h"
#include "core/check.h"
#include "ops/float_rows.h"
#include "ops/pool_windows.h"
#include "program/steps.h"

namespace octensor::bind {
namespace {

using program::PlanStep;
using Counts = std::vector<int64_t>;

struct Dense {
  py::array keep;
  Shape shape;
  const float* values;
  explicit Dense(const char* op, const py::array& array)
      : keep(py::module_::import("numpy").attr("ascontiguousarray")(array)) {
    check_dtype(op, "weight", keep, py::dtype::of<float>());
    shape = {keep.shape(), keep.shape() + keep.ndim()};
    values = static_cast<const float*>(keep.data());
  }
};

PlanStep linear(const py::array& weight, const py::object& bias, bool relu) {
  const Dense w("linear", weight);
  check(w.shape.size() == 2, "linear: weight: expected shape [N, K], got ", to_text(w.shape));
  return program::float_linear_step(
      std::make_shared<PackedFloat>(w.values, w.shape[0], w.shape[1], float_vector("linear", "bias", bias)), relu);
}

FloatWalk::Triple triple(const Counts& values, int64_t missing) {
  FloatWalk::Triple out{missing, missing, missing};
  check(!values.empty() && values.size() <= 3, "conv: expected 1 to 3 values, got ", values.size());
  std::copy(values.begin(), values.end(), out.end() - static_cast<int64_t>(values.size()));
  return out;
}

PlanStep conv(const py::array& weight, const py::object& bias, const Counts& stride, const Counts& padding,
              const Counts& dilation, int64_t groups, const std::optional<Counts>& output_padding, bool relu) {
  const Dense w("conv", weight);
  check(w.shape.size() >= 3 && w.shape.size() <= 5, "conv: weight: expected 3 to 5 axes, got ", to_text(w.shape));
  FloatConvSpec spec{.spatial = static_cast<int>(w.shape.size()) - 2,
                     .stride = triple(stride, 1),
                     .padding = triple(padding, 0),
                     .dilation = triple(dilation, 1),
                     .groups = groups,
                     .transposed = output_padding.has_value()};
  if (output_padding) spec.output_padding = triple(*output_padding, 0);
  const FloatWalk::Triple kernel = triple({w.shape.begin() + 2, w.shape.end()}, 1);
  spec.check_for(w.shape[0], kernel);
  auto packed = std::make_shared<PackedFloatConv>(w.values, w.shape[0], w.shape[1], kernel, spec,
                                                  float_vector("conv", "bias", bias));
  return program::float_conv_step({.w = std::move(packed),
                                   .spec = spec,
                                   .kernel = kernel,
                                   .channels = spec.transposed ? w.shape[0] : w.shape[1] * groups,
                                   .outputs = spec.transposed ? w.shape[1] * groups : w.shape[0],
                                   .relu = relu});
}

PlanStep max_pool(const Counts& kernel, const Counts& stride, const Counts& padding, const Counts& dilation,
                  bool ceil_mode) {
  return program::float_pool_step(
      FloatReduce::largest, kernel.size(),
      [=](size_t a, int64_t size) {
        return ops::sliding_windows("max_pool", size, kernel[a], stride[a], padding[a], dilation[a], ceil_mode, false);
      },
      dilation, std::nullopt);
}

PlanStep avg_pool(const Counts& kernel, const Counts& stride, const Counts& padding, bool ceil_mode,
                  bool count_include_pad, std::optional<int64_t> divisor) {
  return program::float_pool_step(
      FloatReduce::sums, kernel.size(),
      [=](size_t a, int64_t size) {
        return ops::sliding_windows("avg_pool", size, kernel[a], stride[a], padding[a], 1, ceil_mode,
                                    count_include_pad);
      },
      {}, divisor ? std::optional(static_cast<float>(*divisor)) : std::nullopt);
}

PlanStep adaptive_avg_pool(const std::vector<std::optional<int64_t>>& output_size) {
  return program::float_pool_step(
      FloatReduce::sums, output_size.size(),
      [=](size_t a, int64_t size) {
        return ops::adaptive_windows("adaptive_avg_pool", size, output_size[a].value_or(size));
      },
      {}, std::nullopt);
}

}  // namespace

void bind_program_floats(ProgramClass& c) {
  using namespace program;
  step<const std::string&, float, float, float>(
      c, "float_unary",
      [](const std::string& name, float x, float y, float z) { return float_unary_step(name, {x, y, z}); },
      py::arg("name"), py::arg("a") = 0.0f, py::arg("b") = 0.0f, py::arg("c") = 0.0f);
  for (auto [name, op] : {std::pair("float_add", FloatBinary::add), std::pair("float_sub", FloatBinary::sub),
                          std::pair("float_mul", FloatBinary::mul), std::pair("float_div", FloatBinary::div)})
    step<bool>(c, name, [op = op](bool relu) { return float_binary_step(op, relu); }, py::arg("relu") = false);
  step<bool>(c, "float_softmax", &float_softmax_step, py::arg("log") = false);
  step<int, bool>(c, "float_sum", &float_sum_step, py::arg("axes"), py::arg("mean") = false);
  for (auto [name, make] : {std::pair("float_norm", &float_norm_step), std::pair("code_norm", &code_norm_step)})
    step<double, int64_t, int64_t, int64_t, const py::object&, const py::object&>(
        c, name,
        [make = make](double eps, int64_t row, int64_t groups, int64_t run, const py::object& weight,
                      const py::object& bias) {
          FloatNormStep norm{
              eps, row, groups, run, float_vector("norm", "weight", weight), float_vector("norm", "bias", bias)};
          check(row >= 0 && run >= 1 && groups >= 1, "norm: expected sizes of at least 1");
          for (const auto* v : {&norm.weight, &norm.bias})
            check(v->empty() || static_cast<int64_t>(v->size()) == groups * row / run, "norm: expected ",
                  groups * row / run, " weights, got ", v->size());
          return make(std::move(norm));
        },
        py::arg("eps"), py::arg("row"), py::arg("groups"), py::arg("run"), py::arg("weight"), py::arg("bias"));
  step<const py::array&, const py::object&, bool>(c, "float_linear", &linear, py::arg("weight"), py::arg("bias"),
                                                  py::arg("relu") = false);
  step(c, "float_matmul", &float_matmul_step);
  step<const py::array&, const py::object&, const Counts&, const Counts&, const Counts&, int64_t,
       const std::optional<Counts>&, bool>(
      c, "float_conv", &conv, py::arg("weight"), py::arg("bias"), py::arg("stride"), py::arg("padding"),
      py::arg("dilation"), py::arg("groups"), py::arg("output_padding") = py::none(), py::arg("relu") = false);
  step<const Counts&, const Counts&, const Counts&, const Counts&, bool>(
      c, "float_max_pool", &max_pool, py::arg("kernel_size"), py::arg("stride"), py::arg("padding"),
      py::arg("dilation"), py::arg("ceil_mode"));
  step<const Counts&, const Counts&, const Counts&, bool, bool, std::optional<int64_t>>(
      c, "float_avg_pool", &avg_pool, py::arg("kernel_size"), py::arg("stride"), py::arg("padding"),
      py::arg("ceil_mode"), py::arg("count_include_pad"), py::arg("divisor_override"));
  step<const std::vector<std::optional<int64_t>>&>(c, "float_adaptive_avg_pool", &adaptive_avg_pool,
                                                   py::arg("output_size"));
  step(c, "embedding", &embedding_step);
  c.def(
      "recurrent",
      [](Program& p, std::vector<int> inputs, std::string path, const std::string& kernel,
         std::shared_ptr<PackedLinear> w_ih, std::shared_ptr<PackedLinear> w_hh, const SizePairs& sizes, bool backward,
         bool reduce_range) {
        const RecurrentCell cell = cell_of(kernel);
        check(inputs.size() == (cell == RecurrentCell::lstm ? 3 : 2), "recurrent: state: expected ",
              cell == RecurrentCell::lstm ? 2 : 1, " tensors, got ", inputs.size() - 1);
        const int outputs = static_cast<int>(inputs.size());
        return p.add_step(
            "recurrent", std::move(path), std::move(inputs), outputs,
            recurrent_step(cell, std::move(w_ih), std::move(w_hh), sizes_of(sizes), backward, reduce_range));
      },
      py::arg("inputs"), py::arg("path"), py::arg("kernel"), py::arg("w_ih").none(false), py::arg("w_hh").none(false),
      py::arg("sizes"), py::arg("backward") = false, py::arg("reduce_range") = false);
}

}  // namespace octensor::bind
