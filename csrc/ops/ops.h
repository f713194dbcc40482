// The index of all ops. An op checks its arguments, allocates its result, splits the work over
// threads and calls kernels; errors are "op: argument: expected ..., got ...".
//
// Numerics are written out in docs/numerics.md. Shapes are logical NCHW; results of spatial ops are
// laid out channels-last.
#pragma once
#include <array>
#include <optional>
#include <vector>

#include "core/qtensor.h"
#include "ops/packed.h"

namespace octensor::ops {

// A float32 array as NumPy has it: any strides, counted in elements.
struct FloatView {
  const float* data;
  Shape shape, strides;
};

QTensor quantize(const FloatView& x, QParamsPtr qparams, Layout layout);
void dequantize(const QTensor& x, float* out, const Shape& out_strides);
QTensor requantize(const QTensor& x, QParamsPtr qparams);

// table[code & 0xFF] is the output's byte.
QTensor lookup(const QTensor& x, const uint8_t* table, QParamsPtr qparams);

QTensor add(const QTensor& a, const QTensor& b, QParamsPtr qparams, bool relu);
QTensor mul(const QTensor& a, const QTensor& b, QParamsPtr qparams, bool relu);

// a [m, k] and b [k, n], 8-bit, per-tensor parameters for a; out [m, n] int32, dense.
void matmul_integer(const QTensor& a, const QTensor& b, int32_t* out);
QTensor linear(const QTensor& x, const PackedLinear& packed, QParamsPtr qparams, bool relu);
QTensor conv(const QTensor& x, const PackedConv& packed, QParamsPtr qparams, bool relu);
// The name of the algorithm that conv chooses for an input of this shape (ops/conv_choice.h).
std::string conv_algorithm(const PackedConv& packed, const Shape& input);

// The parameters that a dynamic op quantizes its float input with (docs/numerics.md).
QParamsPtr choose_qparams(float lo, float hi, DType dtype, bool reduce_range);
struct DynamicLinear {
  bool reduce_range, relu;
  bool per_row;  // each row of K values has its own range
};
// x [..., K] is quantized over its whole range or row by row, the result is float: out [..., N], dense.
void linear_dynamic(const FloatView& x, const PackedLinear& packed, const DynamicLinear& how, float* out);

// Over the last one to three axes of [N, C, ...], one value per axis.
using Sizes = std::vector<int64_t>;
QTensor max_pool(const QTensor& x, const Sizes& kernel, const Sizes& stride, const Sizes& padding,
                 const Sizes& dilation, bool ceil_mode);
QTensor avg_pool(const QTensor& x, const Sizes& kernel, const Sizes& stride, const Sizes& padding, bool ceil_mode,
                 bool count_include_pad, std::optional<int64_t> divisor_override);
// A missing size keeps the input's.
QTensor adaptive_avg_pool(const QTensor& x, const std::vector<std::optional<int64_t>>& output_size);

QTensor cat(const std::vector<QTensor>& xs, int64_t axis, QParamsPtr qparams);

}  // namespace octensor::ops
