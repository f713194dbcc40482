// The index of all kernels: raw pointers, no checks, no allocation, no threads.
//
// Each kernel is written once, a template over the instruction-set struct (contract in
// simd/scalar.h); make_table stamps the whole list for one of them. Kernels leave every address
// outside their arguments alone, so callers may pass borrowed memory.
#pragma once
#include "kernels/args.h"
#include "kernels/depthwise_3x3.h"
#include "kernels/elementwise.h"
#include "kernels/gemm.h"
#include "kernels/pool.h"
#include "kernels/transcendental.h"

namespace octensor {

struct KernelTable {
  const char* name;
  GemmTile tile;
  void (*gemm)(const GemmArgs&);
  void (*pack_codes)(const uint8_t* codes, bool is_signed, int64_t n, int32_t zero_point, void* out);
  void (*pack_padding)(int64_t n, int32_t zero, void* out);
  const uint8_t* depthwise_order;  // the channel in a block whose weights and sums come first, second, ...
  void (*depthwise)(const DepthwiseArgs&);
  void (*quantize)(const float* x, int64_t n, float scale, int32_t zero_point, float lo, float hi, uint8_t* out);
  void (*range)(const float* x, int64_t n, float* lo, float* hi);
  void (*dequantize)(const uint8_t* q, bool is_signed, int64_t n, float scale, int32_t zero_point, float* out);
  void (*add)(const BinaryArgs&);
  void (*mul)(const BinaryArgs&);
  void (*max_codes)(const uint8_t* x, bool is_signed, int64_t n, uint8_t* out);
  void (*sum_codes)(const uint8_t* x, bool is_signed, int64_t n, int32_t zero_point, int32_t* sums);
  void (*mean_codes)(const int32_t* sums, int64_t n, float divisor, float lo, float hi, int32_t zero_point,
                     uint8_t* out);
  void (*curve)(Curve which, const float* x, int64_t n, float* out);
  void (*lstm_cell)(const float* gates, const float* c, int64_t hidden, float* h_out, float* c_out);
  void (*gru_cell)(const float* gi, const float* gh, const float* h, int64_t hidden, float* h_out);
};

template <class S>
constexpr KernelTable make_table(const char* name) {
  return {.name = name,
          .tile = {.rows = S::kRows,
                   .panel = S::kPanel,
                   .group = S::kGroup,
                   .lanes = S::kLanes,
                   .activation = sizeof(typename S::Activation),
                   .signed_bytes = static_cast<typename S::Activation>(-1) < 0},
          .gemm = kernels::gemm<S>,
          .pack_codes = kernels::pack_codes<S>,
          .pack_padding = kernels::pack_padding<S>,
          .depthwise_order = S::kOrder,
          .depthwise = kernels::depthwise<S>,
          .quantize = kernels::quantize<S>,
          .range = kernels::range<S>,
          .dequantize = kernels::dequantize<S>,
          .add = kernels::add<S>,
          .mul = kernels::mul<S>,
          .max_codes = kernels::max_codes<S>,
          .sum_codes = kernels::sum_codes<S>,
          .mean_codes = kernels::mean_codes<S>,
          .curve = kernels::curve<S>,
          .lstm_cell = kernels::lstm_cell<S>,
          .gru_cell = kernels::gru_cell<S>};
}

}  // namespace octensor
