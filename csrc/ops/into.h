// Ops in two halves, for callers that plan memory ahead: the shape of a result, and the work, into memory they give.
// The ops of ops/ops.h are these two around a fresh tensor.
//
// Shapes are checked here; that operands have the layout and the parameters said below is the caller's affair.
#pragma once
#include "core/copy.h"
#include "ops/ops.h"

namespace octensor::ops {

using EpiloguePtr = std::shared_ptr<const Epilogue>;  // PackedWeight::epilogue of the input's and output's parameters

// x with adjacent channels; out channels-last.
Shape conv_shape(const PackedConv& w, const Shape& input);
void conv_into(const QTensor& x, const PackedConv& w, const EpiloguePtr& epilogue, bool relu, QTensor& out);

// x [..., K] contiguous, or [M, K] with adjacent columns; out contiguous.
Shape linear_shape(const PackedLinear& packed, const Shape& input);
void linear_into(const QTensor& x, const PackedLinear& packed, const Epilogue& epilogue, bool relu, QTensor& out);

// All three of one shape and dense in one layout; out may be one of the operands.
enum class Binary : uint8_t { add, mul };
void binary_into(Binary which, const QTensor& a, const QTensor& b, bool relu, QTensor& out);

// Both of one shape and dense in one layout; out may be x.
void lookup_into(const QTensor& x, const uint8_t* table, QTensor& out);

// The table by which codes of one set of parameters become codes of another.
using CodeTable = std::array<uint8_t, 256>;
CodeTable requantize_table(const QParams& from, const QParams& to);
// Codes of any strides through a table; `plan` is copy_plan's, and not empty of elements.
void map_strided(const std::vector<CopyAxis>& plan, const uint8_t* table, const uint8_t* from, uint8_t* out);
// x and out of any strides, 8-bit and per tensor.
void requantize_into(const QTensor& x, QTensor& out);

// Whether quantize_into can read x as it lies for a result of these parameters and strides: dense in the same layout,
// or channels-first for channels-last. `plan` is copy_plan's, from x to out.
bool quantizes_in_one_pass(const FloatView& x, const QParams& qparams, const Shape& out_strides);
void quantize_into(const FloatView& x, const std::vector<CopyAxis>& plan, QTensor& out);

Shape cat_shape(const std::vector<Shape>& shapes, int64_t axis);

// Pooling, prepared for an input's shape: x and out channels-last.
struct PoolCall;
std::shared_ptr<const PoolCall> max_pool_call(const QTensor& x, const Sizes& kernel, const Sizes& stride,
                                              const Sizes& padding, const Sizes& dilation, bool ceil_mode);
std::shared_ptr<const PoolCall> avg_pool_call(const QTensor& x, const Sizes& kernel, const Sizes& stride,
                                              const Sizes& padding, bool ceil_mode, bool count_include_pad,
                                              std::optional<int64_t> divisor_override);
std::shared_ptr<const PoolCall> adaptive_avg_pool_call(const QTensor& x,
                                                       const std::vector<std::optional<int64_t>>& output_size);
Shape pool_shape(const PoolCall& call);
void pool_into(const PoolCall& call, const QTensor& x, QTensor& out);

}  // namespace octensor::ops
