// Weights made ready for the kernels: a cache over (weight, bias), never saved.
//
// A packed object keeps the quantized weight it was made from and packs it for an instruction set
// the first time a kernel of that set asks (forcing another set packs again). What depends on the
// activations' parameters too (int32 bias, multipliers) is computed when they are first seen and kept.
#pragma once
#include <array>
#include <memory>
#include <mutex>
#include <vector>

#include "core/qtensor.h"
#include "kernels/table.h"

namespace octensor {

// Weights as one matrix [groups][columns][k] of int8, zero points moved into int8's range.
struct WeightMatrix {
  int64_t groups, columns, k;        // columns and k per group
  std::vector<int8_t> values;        // [group][column][k]
  std::vector<int32_t> zero_points;  // [group * columns]
  std::vector<float> scales;         // [group * columns]
  bool asymmetric;                   // some zero point is not 0
  int64_t worst_sum;                 // max over columns of sum_k |w - zero_point|
};

// The panels of one instruction set, all groups one after the other.
struct PackedPanels {
  StoragePtr values;
  int64_t group_bytes;
};

// Everything of the epilogue for one pair of input and output parameters.
struct Epilogue {
  std::vector<int32_t> bias;
  std::vector<float> multiplier;
};

class PackedWeight {
 public:
  // `op` names the caller in errors. The weight is [out, ...]; groups divide the first axis.
  PackedWeight(const char* op, QTensor weight, std::vector<float> bias, int64_t groups);

  const QTensor& weight() const { return weight_; }
  const std::vector<float>& bias() const { return bias_; }  // empty: none
  const WeightMatrix& matrix() const { return matrix_; }

  // Throws ValueError when a sum could leave int32, or a bias or multiplier cannot be represented.
  std::shared_ptr<const Epilogue> epilogue(const QParams& input, const QParams& output) const;
  std::shared_ptr<const PackedPanels> panels(const KernelTable& table) const;
  // Depthwise form: int16 [tap pairs][padded channels][2], weight zero points subtracted; needs k taps, one
  // column per group.
  std::shared_ptr<const std::vector<int16_t>> depthwise(const KernelTable& table) const;

 private:
  const char* op_;
  QTensor weight_;
  std::vector<float> bias_;
  WeightMatrix matrix_;
  struct Caches {
    std::mutex mutex;
    std::vector<std::pair<const KernelTable*, std::shared_ptr<const PackedPanels>>> panels;
    std::vector<std::pair<const KernelTable*, std::shared_ptr<const std::vector<int16_t>>>> depthwise;
    std::shared_ptr<const Epilogue> epilogue;
    std::shared_ptr<const QParams> input, output;
  };
  std::unique_ptr<Caches> caches_ = std::make_unique<Caches>();
};

struct PackedLinear : PackedWeight {
  PackedLinear(QTensor weight, std::vector<float> bias);
};

struct PackedConv2d : PackedWeight {
  PackedConv2d(QTensor weight, std::vector<float> bias, std::array<int64_t, 2> stride, std::array<int64_t, 2> padding,
               std::array<int64_t, 2> dilation, int64_t groups);
  std::array<int64_t, 2> stride, padding, dilation, kernel;
  int64_t groups;
};

}  // namespace octensor
