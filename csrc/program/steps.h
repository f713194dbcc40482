// The index of all steps: each function gives the planning function of one (program/step.h).
//
// A step does what the op of that name does (ops/ops.h), to the byte; its errors are the op's.
#pragma once
#include "kernels/recurrent_cell.h"
#include "ops/float_conv.h"
#include "ops/float_linear.h"
#include "ops/float_math.h"
#include "ops/float_pool.h"
#include "ops/float_power.h"
#include "ops/into.h"
#include "ops/resample.h"
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

// Recurrent layers over whole sequences and rows of tables (steps_sequences.cpp). `sizes` as ops/recurrent.h has them;
// inputs x, h and an LSTM's c; outputs h after every step, then the state.
PlanStep recurrent_step(RecurrentCell cell, Shared<PackedLinear> w_ih, Shared<PackedLinear> w_hh,
                        std::vector<Size> sizes, bool backward, bool reduce_range);
PlanStep embedding_step();  // inputs table and indices

// Float layers (steps_float.cpp, steps_float_layers.cpp).
PlanStep float_unary_step(const std::string& name, FloatParameters parameters);
PlanStep float_binary_step(FloatBinary op, bool relu);
PlanStep float_softmax_step(bool log);
PlanStep float_sum_step(int axes, bool mean);  // over the last axes
struct FloatNormStep {
  double eps;
  int64_t row, groups, run;  // elements of a row; ops/float_math.h
  std::vector<float> weight, bias;
};
PlanStep float_norm_step(FloatNormStep norm);
PlanStep code_norm_step(FloatNormStep norm);  // of codes, by exact statistics, to floats
PlanStep float_linear_step(Shared<PackedFloat> w, bool relu);
PlanStep float_matmul_step();
struct FloatConvStep {
  Shared<PackedFloatConv> w;
  FloatConvSpec spec;
  FloatWalk::Triple kernel;
  int64_t channels, outputs;
  bool relu;
};
PlanStep float_conv_step(FloatConvStep conv);
// The windows of an axis of this size.
using MakeWindows = std::function<std::vector<PoolWindow>(size_t axis, int64_t size)>;
PlanStep float_pool_step(FloatReduce reduce, size_t axes, MakeWindows windows, std::vector<int64_t> dilation,
                         std::optional<float> divisor);

// Movement, of values of every kind (steps_views.cpp).
struct Cut {  // of one axis: a range, one index (the axis goes), or a new axis
  enum Kind : uint8_t { range, index, insert } kind;
  std::optional<Size> start, stop;
  int64_t step;
};
PlanStep reshape_step(std::vector<Size> shape);  // one size may be -1
PlanStep permute_step(std::vector<int> axes);
PlanStep expand_step(std::vector<Size> shape);
PlanStep cut_step(std::vector<Cut> cuts);
PlanStep contiguous_step(Layout layout);
PlanStep cat_step(int64_t axis, QParamsPtr qparams);  // no parameters: of floats or integers

// Elements of every kind (steps_elements.cpp). Names of functions as ops/elements.h has them.
PlanStep unary_step(const std::string& name, double a, double b);
PlanStep cast_step(Element to);
PlanStep pair_step(const std::string& name);
PlanStep select_step();  // inputs condition, one, other
// Along axes (steps_reduce.cpp): over the last ones; the place is that of the first, or last, along the last one.
PlanStep place_step(bool largest, bool last);
PlanStep sorted_step(bool descending);  // places along the last axis, in order
PlanStep whole_sum_step(int axes);
PlanStep running_sums_step(int64_t dim);
PlanStep extreme_step(int axes, bool largest);  // over the last axes
PlanStep range_step(Size start, Size stop, int64_t step);
PlanStep float_power_step(float exponent);
PlanStep float_response_norm_step(ops::ResponseNorm norm);

// Codes whose parameters are computed (steps_integer.cpp).
PlanStep with_qparams_step(QParamsPtr qparams);            // the same codes, with these parameters
PlanStep dynamic_quantize_step();                          // outputs codes, scale and zero point
PlanStep matmul_integer_step(bool a_zeros, bool b_zeros);  // inputs a, b and the zero points there are

// Other places (steps_places.cpp).
struct AxisPick {  // what an axis is made of: itself; with places around it; its nearest ones; those of a list
  enum Kind : uint8_t { whole, pad, nearest, places } kind = whole;
  enum class Mode : uint8_t { constant, reflect, replicate, circular } mode = Mode::constant;
  int64_t before = 0, after = 0;  // of pad; negative amounts cut
  int64_t size = 0;               // of nearest: so many, `ratio` input places from one to the next
  float ratio = 0;
  std::vector<int64_t> list = {};
};
PlanStep pick_step(std::vector<AxisPick> axes, double fill);  // of codes: the code
PlanStep take_step(int64_t dim);                              // inputs values and indices
PlanStep take_along_step(int64_t dim);
PlanStep gather_nd_step();

// Images (steps_images.cpp).
PlanStep resample_step(std::vector<ops::ResampleAxis> axes, bool align_corners);
PlanStep lookup_channels_step(std::vector<uint8_t> tables, QParamsPtr qparams);  // 256 entries per channel

}  // namespace octensor::program
