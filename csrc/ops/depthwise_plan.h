// How a depthwise convolution's taps share dot steps, and its weights in that order: packed once per instruction set.
//
// Input rows are taken a few at a time, as many as a step has taps (kGroup), so that a cell of the kernel's buffer
// holds one column of these rows and serves every output column that reads it. Rows that are left over are paired
// with their neighbour columns instead: 3 x 3 taps are 5 steps of two, 5 x 5 are 13. With a stride only the columns
// of some residues are read; each residue is a stream of its own, in which outputs side by side read cells side by
// side.
#pragma once
#include <memory>
#include <mutex>
#include <vector>

#include "ops/conv_geometry.h"

namespace octensor {

struct DepthwisePlan {
  std::vector<DepthwiseStream> streams;            // base, inner_begin and inner_end are a call's
  std::vector<std::pair<int64_t, int64_t>> steps;  // stream, and its cell for output 0
  StoragePtr weights;
  std::vector<uint32_t> weight_sums;  // per channel, zero point subtracted
  int64_t blocks, row_taps;
};

// What a call needs besides; kept for the next one, which mostly finds it fitting.
struct DepthwiseCall {
  std::shared_ptr<const DepthwisePlan> plan;
  std::shared_ptr<const Epilogue> epilogue;
  int64_t columns, width, column_stride;  // of the input, of the output; bytes between input columns
  std::vector<DepthwiseStream> streams;
  std::vector<int64_t> offsets;
  int64_t first_column;
  std::vector<int64_t> cells;  // per step, in the buffer
  int64_t segment, blocks, cell_count, buffer_bytes;
  bool window;                    // by kernels/depthwise_3x3.h
  std::vector<int32_t> bias;      // [blocks][kDepthwiseChannels], the input's zero point folded in
  std::vector<float> multiplier;  // the same
  std::vector<uint8_t> padding_codes;
  const uint8_t* padding;  // a row of the input's zero point
};

// The call before.
struct DepthwiseCache {
  std::mutex mutex;
  std::shared_ptr<const DepthwiseCall> call;
};

std::shared_ptr<const DepthwiseCall> depthwise_call(const ops::Geometry& g, const KernelTable& table,
                                                    const std::shared_ptr<const Epilogue>& epilogue);

}  // namespace octensor
