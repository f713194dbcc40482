// What the tiles of a mixed GEMM share (kernels/gemm_mixed.h, gemm_plain.h).
#pragma once
#include "kernels/args.h"

namespace octensor::kernels {

template <class S>
inline constexpr bool kMixed = requires { S::Operand::kBlock; };

// One block of one panel.
struct MixedBlock {
  const int8_t* weights;
  const uint16_t *order, *singles, *splits, *end;  // 8 times each group's place in the block: twins, singles, splits
  const int8_t* next;                              // the weights of the block to come, or null
  int64_t next_groups;
};

}  // namespace octensor::kernels
