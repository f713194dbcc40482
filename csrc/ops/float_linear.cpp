#include "ops/float_linear.h"

#include <algorithm>

#include "isa/dispatch.h"
#include "kernels/float_table.h"
#include "ops/float_driver.h"

namespace octensor {

PackedFloat::PackedFloat(const float* weight, int64_t columns, int64_t k, std::vector<float> bias)
    : columns_(columns), k_(k), weight_(weight, weight + columns * k), bias_(std::move(bias)) {}

std::shared_ptr<const float[]> PackedFloat::panels(const KernelTable& table) const {
  std::lock_guard lock(cache_->mutex);
  if (cache_->table != &table) {
    const StoragePtr storage = allocate(float_panels_size(k_, columns_, table) * sizeof(float));
    auto* values = reinterpret_cast<float*>(storage.get());
    pack_float_panels({weight_.data(), k_, columns_, 1, k_}, table, values);
    cache_->panels = std::shared_ptr<const float[]>(storage.bytes, values);
    cache_->table = &table;
  }
  return cache_->panels;
}

int64_t float_panels_size(int64_t k, int64_t columns, const KernelTable& table) {
  return round_up(columns, table.floats->panel) * k;
}

void pack_float_panels(const FloatMatrix& w, const KernelTable& table, float* out, const int64_t* order) {
  const int64_t panel = table.floats->panel;
  const int threads = threads_for(w.k * w.columns);
  run_tasks(ceil_div(w.columns, panel), threads, [&](int64_t i) {
    table.floats->pack({.w = w.values + i * panel * w.column_stride,
                        .k_stride = w.k_stride,
                        .column_stride = w.column_stride,
                        .size = w.k,
                        .columns = std::min(panel, w.columns - i * panel),
                        .out = out + i * panel * w.k,
                        .order = order});
  });
}

namespace ops {
namespace {

FloatGemmArgs arguments(const FloatMatrix& w, const FloatFinish& finish) {
  return {.w = w.values,
          .packed = false,
          .k_stride = w.k_stride,
          .column_stride = w.column_stride,
          .k = w.k,
          .columns = w.columns,
          .bias = finish.bias,
          .relu = finish.relu};
}

auto rows_of(const FloatRowsView& x) {
  return [=](int64_t first, int64_t) { return x.values + first * x.stride; };
}

}  // namespace

void float_product_into(const FloatRowsView& x, const PackedFloat& w, bool relu, float* out, int64_t ldo) {
  const KernelTable& table = kernel_table();
  const auto panels = w.panels(table);
  FloatGemmArgs g = arguments({panels.get(), w.k(), w.columns(), 0, 0}, {w.bias(), relu});
  g.packed = true;
  g.ldx = x.stride, g.out = out, g.ldo = ldo;
  run_float_gemm(table, g, x.rows, rows_of(x));
}

void float_product_into(const FloatRowsView& x, const FloatMatrix& w, const FloatFinish& finish, float* out,
                        int64_t ldo) {
  FloatGemmArgs g = arguments(w, finish);
  g.ldx = x.stride, g.out = out, g.ldo = ldo;
  run_float_gemm(kernel_table(), g, x.rows, rows_of(x));
}

void float_matmul_into(const FloatRowsView& a, int64_t a_batch, const FloatMatrix& b, int64_t b_batch, int64_t batch,
                       float* out) {
  const int64_t each = a.rows * b.columns;
  const auto one = [&](int64_t i) {
    float_product_into({a.values + i * a_batch, a.rows, a.stride},
                       {b.values + i * b_batch, b.k, b.columns, b.k_stride, b.column_stride}, {}, out + i * each,
                       b.columns);
  };
  const int threads = threads_for(batch * each * std::max<int64_t>(b.k, 1));
  run_tasks(batch, batch >= threads ? threads : 1, one);  // few large ones: each takes the threads
}

}  // namespace ops
}  // namespace octensor
