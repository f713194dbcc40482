// The float kernels' part of the index (kernels/table.h): compiled on its own, because a set of kernels takes the
// compiler a while.
#pragma once
#include "kernels/float_elementwise.h"
#include "kernels/float_gemm.h"
#include "kernels/float_rows.h"
#include "kernels/float_taps.h"

namespace octensor {

struct FloatKernels {
  int panel;  // columns of float_gemm's panels
  void (*gemm)(const FloatGemmArgs&);
  void (*pack)(const FloatPackArgs&);
  void (*taps)(const FloatTapsArgs&);
  void (*unary)(FloatUnary op, const float* x, int64_t n, const FloatParameters& p, float* out);
  void (*binary)(const FloatBinaryArgs&);
  void (*affine)(const FloatAffineArgs&);
  void (*softmax)(const float* x, int64_t n, bool log, float* out);
  void (*norm)(const FloatNormArgs&);
  float (*sum)(const float* x, int64_t n);
};

template <class S>
constexpr FloatKernels make_float_table() {
  return {.panel = kernels::kFloatPanel<S>,
          .gemm = kernels::float_gemm<S>,
          .pack = kernels::float_pack<S>,
          .taps = kernels::float_taps<S>,
          .unary = kernels::float_unary<S>,
          .binary = kernels::float_binary<S>,
          .affine = kernels::float_affine<S>,
          .softmax = kernels::float_softmax<S>,
          .norm = kernels::float_norm<S>,
          .sum = kernels::float_sum<S>};
}

}  // namespace octensor
