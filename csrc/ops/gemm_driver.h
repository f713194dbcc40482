// The one loop around the GEMM kernel, which linear layers, convolutions and integer matmul share.
//
// Rows are packed block by block (a block of activations stays in the L2 cache while all panels of
// weights stream past it); who the rows are, image patches or matrix rows, is the packer's affair.
#pragma once
#include <functional>

#include "ops/packed.h"

namespace octensor {

// Turns codes of one tensor into the packed form that an instruction set's GEMM reads.
struct CodePacker {
  const KernelTable& table;
  bool is_signed;
  int32_t zero_point;
  int32_t packed_zero;  // the packed value of real 0

  CodePacker(const KernelTable& table, bool is_signed, int32_t zero_point);
  CodePacker(const KernelTable& table, const QParams& qparams)
      : CodePacker(table, is_signed8(qparams.dtype()), qparams.zero_point()) {}
  int64_t size() const { return table.tile.activation; }  // bytes of a packed value
  void codes(const uint8_t* from, int64_t n, uint8_t* out) const {
    table.pack_codes(from, is_signed, n, zero_point, out);
  }
};

// Writes the k packed values of rows [first, first + n) of one group, `stride` bytes apart.
using RowPacker = std::function<void(int64_t first, int64_t n, int64_t group, uint8_t* out, int64_t stride)>;

// Where a GEMM's rows come from. Rows that lie in memory as codes are read in place where the instruction set's
// packed form is the code itself.
struct GemmRows {
  RowPacker pack;
  const uint8_t* codes = nullptr;  // null: only the packer knows
  int64_t stride = 0;              // bytes between rows of codes; of one group
};

struct GemmOutput {
  // [rows][groups * columns], one of:
  uint8_t* codes = nullptr;  // 8-bit codes, with `epilogue` and `qparams`
  int32_t* sums = nullptr;   // int32 sums
  float* reals = nullptr;    // floats, with `real`
  int64_t stride = 0;        // elements between rows
  bool relu = false;         // of codes
  const Epilogue* epilogue = nullptr;
  const QParams* qparams = nullptr;
  const RealEpilogue* real = nullptr;  // pointers at row 0, column 0
  bool backward = false;               // columns are computed from the last one on
};

void run_gemm(const CodePacker& packer, const PackedWeight& weight, int64_t rows, const GemmRows& from,
              const GemmOutput& out);

// The epilogue's bounds: the output's codes minus its zero point, from 0 upward with relu.
Requantize requantize_of(const Epilogue& epilogue, const QParams& qparams, bool relu, int64_t first_channel);

// The same epilogue seen from another row and column.
RealEpilogue at(const RealEpilogue& epilogue, int64_t row, int64_t column);

}  // namespace octensor
