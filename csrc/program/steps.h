// The index of all steps: each function gives the planning function of one (program/step.h).
//
// A step does what the op of that name does (ops/ops.h), to the byte; its errors are the op's.
#pragma once
#include "ops/into.h"
#include "ops/weight_only.h"
#include "program/step.h"

namespace octensor::program {

template <class T>
using Shared = std::shared_ptr<const T>;

// Between reals and codes (steps_codes.cpp).
PlanStep quantize_step(QParamsPtr qparams, bool channels_last);
PlanStep dequantize_step();
PlanStep requantize_step(QParamsPtr qparams);
PlanStep lookup_step(const ops::CodeTable& table, QParamsPtr qparams);
PlanStep binary_step(ops::Binary which, QParamsPtr qparams, bool relu);

// Layers on codes (steps_layers.cpp).
PlanStep conv_step(Shared<PackedConv> w, QParamsPtr qparams, bool relu);
PlanStep linear_step(Shared<PackedLinear> w, QParamsPtr qparams, bool relu);
PlanStep max_pool_step(ops::Sizes kernel, ops::Sizes stride, ops::Sizes padding, ops::Sizes dilation, bool ceil_mode);
PlanStep avg_pool_step(ops::Sizes kernel, ops::Sizes stride, ops::Sizes padding, bool ceil_mode, bool count_include_pad,
                       std::optional<int64_t> divisor_override);
PlanStep adaptive_avg_pool_step(std::vector<std::optional<int64_t>> output_size);

// Layers on floats whose weights are quantized (steps_dynamic.cpp).
PlanStep linear_dynamic_step(Shared<PackedLinear> w, ops::DynamicLinear how);
PlanStep linear_int4_step(Shared<PackedInt4Linear> w, bool relu);
PlanStep linear_weight_only_step(Shared<PackedWeightOnly> w, bool relu);
PlanStep linear_weight_only_step(Shared<PackedInt4Linear> w, bool relu);

// Movement, of values of every kind (steps_views.cpp).
struct Cut {  // of one axis: a range, one index (the axis goes), or a new axis
  enum Kind : uint8_t { range, index, insert } kind;
  std::optional<int64_t> start, stop;
  int64_t step;
};
PlanStep reshape_step(std::vector<Size> shape);  // one size may be -1
PlanStep permute_step(std::vector<int> axes);
PlanStep expand_step(std::vector<Size> shape);
PlanStep cut_step(std::vector<Cut> cuts);
PlanStep contiguous_step(Layout layout);
PlanStep cat_step(int64_t axis, QParamsPtr qparams);  // no parameters: of floats or integers

}  // namespace octensor::program
