// Float linear layers and matrix products with one order of operations (docs/numerics.md). Matrices are dense but for
// what is said; a call takes the threads it needs.
#pragma once
#include <memory>
#include <mutex>
#include <vector>

#include "core/storage.h"
#include "kernels/table.h"

namespace octensor {

// A matrix [k][columns] of floats in any strides, as one operand of a product.
struct FloatMatrix {
  const float* values;
  int64_t k, columns, k_stride, column_stride;
};

// The same as panels that the kernels of one instruction set read. Made once per instruction set.
class PackedFloat {
 public:
  // weight [columns][k], which is copied; bias [columns], or empty.
  PackedFloat(const float* weight, int64_t columns, int64_t k, std::vector<float> bias);
  int64_t columns() const { return columns_; }
  int64_t k() const { return k_; }
  const float* bias() const { return bias_.empty() ? nullptr : bias_.data(); }
  std::shared_ptr<const float[]> panels(const KernelTable& table) const;

 private:
  int64_t columns_, k_;
  std::vector<float> weight_, bias_;
  struct Cache {
    std::mutex mutex;
    const KernelTable* table = nullptr;
    std::shared_ptr<const float[]> panels;
  };
  std::unique_ptr<Cache> cache_ = std::make_unique<Cache>();
};

// Floats that panels of a matrix take, and the panels. `order`, if not null, has the place in a panel of every k.
int64_t float_panels_size(int64_t k, int64_t columns, const KernelTable& table);
void pack_float_panels(const FloatMatrix& w, const KernelTable& table, float* out, const int64_t* order = nullptr);

namespace ops {

// What is done with a sum.
struct FloatFinish {
  const float* bias = nullptr;  // [columns]
  bool relu = false;
};

// Rows of a product: dense but for their stride.
struct FloatRowsView {
  const float* values;
  int64_t rows, stride;
};

// out[rows][columns], row stride ldo, = x times w. The second form packs w as it goes.
void float_product_into(const FloatRowsView& x, const PackedFloat& w, bool relu, float* out, int64_t ldo);
void float_product_into(const FloatRowsView& x, const FloatMatrix& w, const FloatFinish& finish, float* out,
                        int64_t ldo);

// x [rows][w.k] dense, out [rows][w.columns] dense: a linear layer.
inline void float_linear_into(const float* x, int64_t rows, const PackedFloat& w, bool relu, float* out) {
  float_product_into({x, rows, w.k()}, w, relu, out, w.columns());
}

// `batch` products a [rows][k] times b [k][columns]; strides between the operands of one and the next product, 0 where
// all share one. Rows of a have stride a.stride; out is dense.
void float_matmul_into(const FloatRowsView& a, int64_t a_batch, const FloatMatrix& b, int64_t b_batch, int64_t batch,
                       float* out);

}  // namespace ops
}  // namespace octensor
