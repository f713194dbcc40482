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
  Line line_of(int64_t line, int64_t group) const;
  int64_t inner_runs(const Line& line, int64_t position, PatchRun* runs) const;
  int64_t outer_runs(const Line& line, int64_t position, bool inside, PatchRun* runs) const;

  const Geometry& g_;
  const KernelTable& table_;
  int64_t channels_;              // of a group
  int64_t run_taps_;              // taps of a kernel row that lie side by side in memory and make one run
  int64_t inside_, beyond_;       // positions along a line whose taps all lie inside it
  std::vector<int64_t> offsets_;  // of the runs of a patch that lies inside the input, from its first tap on
  std::vector<uint8_t> padding_;
};

}  // namespace octensor::ops
