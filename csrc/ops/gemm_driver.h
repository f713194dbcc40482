// The one loop around the GEMM kernel, which linear layers, convolutions and integer matmul share.
//
// Rows are packed block by block (a block of activations stays in the L2 cache while all panels of
// weights stream past it); who the rows are, image patches or matrix rows, is the packer's affair.
#pragma once
#include <functional>

#include "ops/packed.h"

namespace octensor {

// Writes k int16 values (code minus zero point) of one row of one group.
using RowPacker = std::function<void(int64_t row, int64_t group, int16_t* out)>;

struct GemmOutput {
  uint8_t* codes = nullptr;  // [rows][groups * columns] 8-bit codes, with `epilogue` and `qparams` ...
  int32_t* sums = nullptr;   // ... or int32 sums
  int64_t stride = 0;        // elements between rows
  const Epilogue* epilogue = nullptr;
  const QParams* qparams = nullptr;
  bool relu = false;
};

void run_gemm(const KernelTable& table, const PackedWeight& weight, int64_t rows, const RowPacker& pack,
              const GemmOutput& out);

// The epilogue's bounds: the output's codes minus its zero point, from 0 upward with relu.
Requantize requantize_of(const Epilogue& epilogue, const QParams& qparams, bool relu, int64_t first_channel);

}  // namespace octensor
