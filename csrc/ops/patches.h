// The rows of a convolution's GEMM: patches gathered from the channels-last input while they are packed.
#pragma once
#include "ops/conv_geometry.h"
#include "ops/gemm_driver.h"

namespace octensor::ops {

class PatchPacker {
 public:
  // `g` must outlive this; w.upsample must be 1.
  PatchPacker(const Geometry& g, const KernelTable& table);

  // Rows [first, first + n) of a group, `row_bytes` apart: output positions in the order of memory.
  void operator()(int64_t first, int64_t n, int64_t group, uint8_t* out, int64_t row_bytes) const;

  // Where a patch is one input position that advances evenly, the rows lie in memory already.
  bool in_place() const;

 private:
  struct Line;
  void pack(const Line& line, int64_t position, int64_t rows, bool inside, uint8_t* out, int64_t row_bytes) const;

  const Geometry& g_;
  const KernelTable& table_;
  int64_t channels_;         // of a group
  bool adjacent_;            // a kernel row's taps lie side by side in memory
  int64_t inside_, beyond_;  // positions along a line whose taps all lie inside it
  std::vector<uint8_t> padding_;
};

}  // namespace octensor::ops
