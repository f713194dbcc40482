#include "ops/float_math.h"

#include <algorithm>
#include <cstring>

#include "core/check.h"
#include "core/integers.h"
#include "isa/dispatch.h"
#include "kernels/float_table.h"
#include "ops/tasks.h"

namespace octensor::ops {
namespace {

constexpr int64_t kTask = 1 << 13;  // elements that a thread takes at a time

const FloatKernels& kernels() { return *kernel_table().floats; }

// body(first, n) for stretches of [0, n) on as many threads as `work` pays.
template <class Body>
void in_stretches(int64_t n, int64_t stretch, int64_t work, const Body& body) {
  run_tasks(ceil_div(n, stretch), threads_for(work), [&](int64_t task) {
    const int64_t first = task * stretch;
    body(first, std::min(stretch, n - first));
  });
}

// body(row) for every row of n elements, each `cost` times as much work as a multiply-add.
template <class Body>
void for_rows(int64_t rows, int64_t n, int64_t cost, const Body& body) {
  in_stretches(rows, std::max<int64_t>(1, kTask / std::max<int64_t>(n, 1)), rows * n * cost,
               [&](int64_t first, int64_t some) {
                 for (int64_t row = first; row < first + some; ++row) body(row);
               });
}

}  // namespace

FloatUnary float_unary_named(const char* name) {
  static constexpr const char* kNames[] = {"exp",  "log",       "sqrt",       "erf",         "sigmoid",   "tanh",
                                           "relu", "clamp",     "leaky_relu", "hardsigmoid", "hardswish", "silu",
                                           "gelu", "gelu_tanh", "elu",        "softplus",    "mish"};
  for (size_t i = 0; i < std::size(kNames); ++i)
    if (std::strcmp(name, kNames[i]) == 0) return static_cast<FloatUnary>(i);
  throw ValueError(text("float_unary: name: expected a function's name, got '", name, "'"));
}

void float_unary_into(FloatUnary op, const float* x, int64_t n, const FloatParameters& p, float* out) {
  in_stretches(n, kTask, n * 8,
               [&](int64_t first, int64_t some) { kernels().unary(op, x + first, some, p, out + first); });
}

void float_binary_into(FloatBinary op, bool relu, const float* a, const Extents& a_strides, const float* b,
                       const Extents& b_strides, const Extents& shape, float* out) {
  // Axes with equal steps are one; what is left of the last is the kernel's run.
  struct Axis {
    int64_t size, a, b;
  };
  Axis axes[32];
  int count = 0;
  for (size_t i = 0; i < shape.size(); ++i) {
    if (shape[i] == 0) return;
    if (shape[i] == 1) continue;
    const Axis axis{shape[i], a_strides[i], b_strides[i]};
    Axis* before = count > 0 ? &axes[count - 1] : nullptr;
    if (before && before->a == axis.a * axis.size && before->b == axis.b * axis.size)
      *before = {before->size * axis.size, axis.a, axis.b};
    else
      axes[count++] = axis;
  }
  Axis run{1, 1, 1};
  if (count > 0 && axes[count - 1].a <= 1 && axes[count - 1].b <= 1 && axes[count - 1].a >= 0 && axes[count - 1].b >= 0)
    run = axes[--count];
  int64_t runs = 1;
  for (int i = 0; i < count; ++i) runs *= axes[i].size;
  const int64_t pieces = count == 0 ? ceil_div(run.size, kTask) : 1, piece = count == 0 ? kTask : run.size;
  const int64_t some = std::max<int64_t>(1, kTask / piece);  // runs that a task takes
  run_tasks(ceil_div(runs, some) * pieces, threads_for(runs * run.size * 4), [&](int64_t task) {
    const int64_t begin = task / pieces * some, at = task % pieces * piece;
    for (int64_t r = begin; r < std::min(runs, begin + some); ++r) {
      const float *from_a = a + at * run.a, *from_b = b + at * run.b;
      int64_t rest = r;
      for (int i = count - 1; i >= 0; --i) {
        from_a += rest % axes[i].size * axes[i].a;
        from_b += rest % axes[i].size * axes[i].b;
        rest /= axes[i].size;
      }
      kernels().binary({.op = op,
                        .relu = relu,
                        .a = from_a,
                        .b = from_b,
                        .a_step = run.a,
                        .b_step = run.b,
                        .n = std::min(piece, run.size - at),
                        .out = out + r * run.size + at});
    }
  });
}

void float_affine_into(const float* x, int64_t rows, int64_t channels, const float* scale, const float* shift,
                       bool relu, float* out) {
  in_stretches(rows, std::max<int64_t>(1, kTask / std::max<int64_t>(channels, 1)), rows * channels * 4,
               [&](int64_t first, int64_t some) {
                 const int64_t at = first * channels;
                 kernels().affine({x + at, some, channels, scale, shift, relu, out + at});
               });
}

void float_softmax_into(const float* x, int64_t rows, int64_t n, bool log, float* out) {
  for_rows(rows, n, 8, [&](int64_t row) { kernels().softmax(x + row * n, n, log, out + row * n); });
}

void float_sum_into(const float* x, int64_t rows, int64_t n, float divisor, float* out) {
  for_rows(rows, n, 1, [&](int64_t row) {
    const float y = kernels().sum(x + row * n, n) / divisor;
    out[row] = y == y ? y : __builtin_nanf("");
  });
}

void float_norm_into(const float* x, int64_t rows, int64_t n, const FloatNorm& norm, float* out) {
  const int64_t entries = norm.groups > 1 || norm.run > 1 ? n / norm.run : 0;  // from one row's to the next's
  for_rows(rows, n, 6, [&](int64_t row) {
    const int64_t at = row % norm.groups * entries;
    kernels().norm({.x = x + row * n,
                    .n = n,
                    .eps = norm.eps,
                    .centre = norm.centre,
                    .weight = norm.weight ? norm.weight + at : nullptr,
                    .bias = norm.bias ? norm.bias + at : nullptr,
                    .run = norm.run,
                    .out = out + row * n});
  });
}

void float_embedding_into(const float* table, int64_t width, const int64_t* indices, int64_t n, float* out) {
  in_stretches(n, std::max<int64_t>(1, kTask / std::max<int64_t>(width, 1)), n * width,
               [&](int64_t first, int64_t some) {
                 for (int64_t i = first; i < first + some; ++i)
                   std::copy_n(table + indices[i] * width, width, out + i * width);
               });
}

}  // namespace octensor::ops
