// Linear layers on float activations with quantized weights, which are taken apart on the way: docs/numerics.md has the
// order of the sums, kernels/weight_only.h the form of the weights.
#pragma once
#include "ops/int4.h"
#include "ops/packed.h"

namespace octensor {

// An 8-bit weight; 4-bit ones are a PackedInt4Linear.
class PackedWeightOnly {
 public:
  PackedWeightOnly(QTensor weight, std::vector<float> bias) : linear_(std::move(weight), std::move(bias)) {}
  int64_t out_features() const { return linear_.matrix().columns; }
  int64_t in_features() const { return linear_.matrix().k; }
  const std::vector<float>& bias() const { return linear_.bias(); }
  const QTensor& weight() const { return linear_.weight(); }
  bool has_zeros() const { return linear_.matrix().asymmetric; }
  int64_t panel_bytes(const KernelTable& table) const;
  std::shared_ptr<const uint8_t[]> panels(const KernelTable& table) const;

 private:
  PackedLinear linear_;
};

namespace ops {

// x [..., K] float32, out [..., N], dense.
void linear_weight_only(const FloatView& x, const PackedWeightOnly& packed, bool relu, float* out);
void linear_weight_only(const FloatView& x, const PackedInt4Linear& packed, bool relu, float* out);

}  // namespace ops
}  // namespace octensor
