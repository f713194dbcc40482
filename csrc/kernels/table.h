// The index of all kernels: raw pointers, no checks, no allocation, no threads.
//
// Each kernel is written once, a template over the instruction-set struct (contract in
// simd/scalar.h); make_table stamps the whole list for one of them. Kernels leave every address
// outside their arguments alone, so callers may pass borrowed memory.
#pragma once
#include "kernels/args.h"
#include "kernels/binary.h"
#include "kernels/depthwise_3x3.h"
#include "kernels/elementwise.h"
#include "kernels/gemm.h"
#include "kernels/grouped.h"
#include "kernels/int4.h"
#include "kernels/line_gemm.h"
#include "kernels/patches.h"
#include "kernels/pool.h"
#include "kernels/recurrent_cell.h"
#include "kernels/transcendental.h"
#include "kernels/weight_only.h"
#include "kernels/winograd.h"

namespace octensor {

struct FloatKernels;  // kernels/float_table.h

// The two kernels of a grouped convolution in one form of operands.
struct GroupedKernels {
  int group;          // input channels per lane and step
  int activation;     // bytes of a value, as in GemmTile
  bool signed_bytes;  // as in GemmTile
  void (*spread)(const SpreadArgs&);
  void (*sum)(const GroupedArgs&);
};

// How depthwise convolution multiplies taps (kernels/depthwise.h): as GemmTile has it, in a form of its own.
struct TapForm {
  int group, activation;
  bool signed_bytes;
  const uint8_t* order;  // the channel in a block whose weights and sums come first, second, ...
};

struct KernelTable {
  const char* name;
  GemmTile tile;
  void (*gemm)(const GemmArgs&);
  void (*pack_codes)(const uint8_t* codes, bool is_signed, int64_t n, int32_t zero_point, void* out);
  // Interleaves rows for a mixed tile (kernels/gemm_mixed.h); null where the tile is not mixed.
  void (*pack_tile)(const uint8_t* rows, int64_t stride, int64_t n, int64_t groups, uint8_t* out);
  int64_t (*tile_height)(int64_t rows);  // rows of its tiles, where there are so many in all; null likewise
  // Prepares a row's codes for a mixed GEMM of few (kernels/gemm_row.h); null where the tile is not mixed.
  void (*pack_row)(const uint8_t* codes, int64_t groups, uint8_t* out);
  void (*pack_runs)(const RunArgs&);
  void (*line_gemm)(const LineArgs&);
  TapForm taps;
  void (*depthwise)(const DepthwiseArgs&);
  GroupedKernels grouped_words, grouped_bytes;  // the same where there is no exact product of bytes
  WinogradKernels winograd2, winograd4;         // F(2x2, 3x3), F(4x4, 3x3)
  void (*quantize)(const float* x, int64_t n, float scale, int32_t zero_point, float lo, float hi, uint8_t* out);
  void (*range)(const float* x, int64_t n, float* lo, float* hi);
  void (*dequantize)(const uint8_t* q, bool is_signed, int64_t n, float scale, int32_t zero_point, float* out);
  void (*add)(const BinaryArgs&);
  void (*mul)(const BinaryArgs&);
  void (*lookup)(const uint8_t* table, const uint8_t* codes, int64_t n, uint8_t* out);
  void (*max_pool)(const PoolRow&);
  void (*mean_pool)(const PoolRow&);
  void (*curve)(Curve which, const float* x, int64_t n, float* out);
  void (*recurrent_cell)(RecurrentCell cell, const float* gi, const float* gh, int64_t hidden, float* h, float* c);
  int32_t (*quantize_sum)(const float* x, int64_t n, float scale, int32_t zero_point, float lo, float hi, int8_t* out);
  void (*int4_gemm)(const Int4Args&);
  void (*weight_only)(const WeightOnlyArgs&);
  const FloatKernels* floats;
};

template <class S>
constexpr TapForm tap_form() {
  using Taps = typename S::Taps;
  return {.group = Taps::kGroup,
          .activation = sizeof(typename Taps::Activation),
          .signed_bytes = static_cast<typename Taps::Activation>(-1) < 0,
          .order = Taps::kOrder};
}

template <class S, class F>
constexpr GroupedKernels grouped_kernels() {
  return {.group = F::kGroup,
          .activation = sizeof(typename F::Activation),
          .signed_bytes = static_cast<typename F::Activation>(-1) < 0,
          .spread = kernels::spread<S, F>,
          .sum = kernels::grouped<S, F>};
}

template <class S>
constexpr GemmTile gemm_tile_shape() {
  using Operand = typename S::Operand;
  GemmTile tile{.rows = S::kRows,
                .panel = S::kPanel,
                .group = Operand::kGroup,
                .lanes = S::kLanes,
                .activation = sizeof(typename Operand::Activation),
                .signed_bytes = static_cast<typename Operand::Activation>(-1) < 0,
                .mixed_block = 0,
                .few_rows = 0};
  if constexpr (kernels::kMixed<S>) {
    tile.rows = Operand::kRows;
    tile.panel = S::kLanes;
    tile.mixed_block = Operand::kBlock;
    tile.few_rows = Operand::kFewRows;
  }
  return tile;
}

template <class S>
constexpr auto tile_packer() -> decltype(KernelTable::pack_tile) {
  if constexpr (kernels::kMixed<S>) return kernels::pack_tile<S>;
  return nullptr;
}

template <class S>
constexpr auto tile_height() -> decltype(KernelTable::tile_height) {
  if constexpr (kernels::kMixed<S>) return kernels::mixed_height<S>;
  return nullptr;
}

template <class S>
constexpr auto row_packer() -> decltype(KernelTable::pack_row) {
  if constexpr (kernels::kMixed<S>) return kernels::pack_row<S>;
  return nullptr;
}

template <class S>
constexpr KernelTable make_table(const char* name, const FloatKernels* floats) {
  return {.name = name,
          .tile = gemm_tile_shape<S>(),
          .gemm = kernels::gemm<S>,
          .pack_codes = kernels::pack_codes<S>,
          .pack_tile = tile_packer<S>(),
          .tile_height = tile_height<S>(),
          .pack_row = row_packer<S>(),
          .pack_runs = kernels::pack_runs<S>,
          .line_gemm = kernels::line_gemm<S>,
          .taps = tap_form<S>(),
          .depthwise = kernels::depthwise<S>,
          .grouped_words = grouped_kernels<S, typename S::Words>(),
          .grouped_bytes = grouped_kernels<S, typename kernels::GroupedBytes<S>::Form>(),
          .winograd2 = kernels::winograd_kernels<S, kernels::Tile2>(),
          .winograd4 = kernels::winograd_kernels<S, kernels::Tile4>(),
          .quantize = kernels::quantize<S>,
          .range = kernels::range<S>,
          .dequantize = kernels::dequantize<S>,
          .add = kernels::add<S>,
          .mul = kernels::mul<S>,
          .lookup = kernels::lookup<S>,
          .max_pool = kernels::max_pool<S>,
          .mean_pool = kernels::mean_pool<S>,
          .curve = kernels::curve<S>,
          .recurrent_cell = kernels::recurrent_cell<S>,
          .quantize_sum = kernels::quantize_sum<S>,
          .int4_gemm = kernels::int4_gemm<S>,
          .weight_only = kernels::weight_only<S>,
          .floats = floats};
}

}  // namespace octensor
