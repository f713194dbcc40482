// Float ops on rows and elements with one order of operations (docs/numerics.md; kernels/float_*.h have the formulas).
// Everything is dense unless strides are given; `out` may be the first operand where shapes are equal.
#pragma once
#include <cstdint>
#include <vector>

#include "kernels/float_elementwise.h"

namespace octensor::ops {

// A name of FloatUnary ("exp", "gelu_tanh", ...), ValueError where there is none.
FloatUnary float_unary_named(const char* name);
void float_unary_into(FloatUnary op, const float* x, int64_t n, const FloatParameters& p, float* out);

// Broadcast: strides in elements, 0 along axes where an operand repeats; out is dense of `shape`.
using Extents = std::vector<int64_t>;
void float_binary_into(FloatBinary op, bool relu, const float* a, const Extents& a_strides, const float* b,
                       const Extents& b_strides, const Extents& shape, float* out);

// x [rows][channels] * scale + shift: a batch norm in eval mode.
void float_affine_into(const float* x, int64_t rows, int64_t channels, const float* scale, const float* shift,
                       bool relu, float* out);

// Along the last axis of [rows][n].
void float_softmax_into(const float* x, int64_t rows, int64_t n, bool log, float* out);
// sum / divisor of each row; a mean has divisor n. A divisor of 1 gives the sum itself.
void float_sum_into(const float* x, int64_t rows, int64_t n, float divisor, float* out);

struct FloatNorm {
  float eps;
  bool centre = true;  // false: rms norm
  const float* weight = nullptr;
  const float* bias = nullptr;
  // Entries of weight and bias: layer and rms norm have one for every element of a row; group and instance norm one for
  // every channel, row i being group i modulo `groups`, its channels one after the other.
  int64_t groups = 1, run = 1;  // run: elements of a channel
};
void float_norm_into(const float* x, int64_t rows, int64_t n, const FloatNorm& norm, float* out);

// Rows of a table [.][width]; indices are trusted.
void float_embedding_into(const float* table, int64_t width, const int64_t* indices, int64_t n, float* out);

}  // namespace octensor::ops
