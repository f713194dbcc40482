// The float kernels' part of the index (kernels/table.h): compiled on its own, because a set of kernels takes the compiler
// a while.
#pragma once
#include "kernels/float_gemm.h"
#include "kernels/float_taps.h"

namespace octensor {

struct FloatKernels {
  int panel;  // columns of float_gemm's panels
  void (*gemm)(const FloatGemmArgs&);
  void (*pack)(const FloatPackArgs&);
  void (*taps)(const FloatTapsArgs&);
};

template <class S>
constexpr FloatKernels make_float_table() {
  return {.panel = kernels::kFloatPanel<S>,
          .gemm = kernels::float_gemm<S>,
          .pack = kernels::float_pack<S>,
          .taps = kernels::float_taps<S>};
}

}  // namespace octensor
