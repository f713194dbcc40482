// Linear layers with 4-bit weights: signed codes, a scale (and perhaps a zero point) for every group of K.
//
// docs/numerics.md has the arithmetic, kernels/int4.h the form in which kernels read the weights.
#pragma once
#include <memory>
#include <mutex>
#include <vector>

#include "core/storage.h"
#include "kernels/table.h"
#include "ops/ops.h"

namespace octensor {

// Packed panels by instruction set, made on first use.
struct PanelCache {
  std::mutex mutex;
  std::vector<std::pair<const KernelTable*, StoragePtr>> panels;

  template <class F>
  StoragePtr get(const KernelTable& table, F make) {
    std::lock_guard lock(mutex);
    for (auto& [key, value] : panels)
      if (key == &table) return value;
    return panels.emplace_back(&table, make()).second;
  }
};

class PackedInt4Linear {
 public:
  // `nibbles` [n][(k + 1) / 2]: two's complement, the even k in the lower half of a byte; `scales` and `zero_points`
  // (codes -8 ... 7; empty: all 0) [n][groups]; `bias` [n] or empty. Throws ValueError where they do not fit.
  PackedInt4Linear(std::vector<uint8_t> nibbles, int64_t n, int64_t k, int64_t group_size, std::vector<float> scales,
                   std::vector<int8_t> zero_points, std::vector<float> bias);

  int64_t out_features() const { return n_; }
  int64_t in_features() const { return k_; }
  int64_t group_size() const { return group_size_; }
  int64_t groups() const { return groups_; }
  const std::vector<float>& bias() const { return bias_; }
  const std::vector<uint8_t>& nibbles() const { return nibbles_; }
  const std::vector<float>& scales() const { return scales_; }
  const std::vector<int8_t>& zero_points() const { return zero_points_; }
  int code(int64_t row, int64_t k) const {  // 0 ... 15: the signed code plus 8
    return (nibbles_[row * ((k_ + 1) / 2) + k / 2] >> (k % 2 * 4) & 15) ^ 8;
  }
  int zero_point(int64_t row, int64_t group) const {  // as code
    return zero_points_.empty() ? 8 : zero_points_[row * groups_ + group] + 8;
  }
  int64_t padded_k() const { return (k_ + kInt4Chunk - 1) / kInt4Chunk * kInt4Chunk; }
  bool has_zeros() const { return !zero_points_.empty(); }
  const std::vector<float>& ones() const { return ones_; }
  // Bytes of one panel for an instruction set, and all of them.
  int64_t panel_bytes(const KernelTable& table) const;
  StoragePtr panels(const KernelTable& table) const;

 private:
  int64_t n_, k_, group_size_, groups_;
  std::vector<uint8_t> nibbles_;
  std::vector<float> scales_;
  std::vector<int8_t> zero_points_;
  std::vector<float> bias_;
  std::vector<float> ones_;  // [n], the sums for activations of 1: what a zero point of 1 takes away
  std::unique_ptr<PanelCache> cache_ = std::make_unique<PanelCache>();
};

namespace ops {

// x [..., K] float32, each row quantized to 8 bits over its own range; out [..., N], dense.
void linear_int4(const FloatView& x, const PackedInt4Linear& packed, bool relu, float* out);

}  // namespace ops
}  // namespace octensor
