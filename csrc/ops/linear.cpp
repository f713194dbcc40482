// linear and integer matmul: rows of a matrix through the shared GEMM.
#include <functional>

#include "isa/dispatch.h"
#include "ops/checks.h"
#include "ops/gemm_driver.h"
#include "ops/into.h"
#include "ops/ops.h"

namespace octensor::ops {
namespace {

// [..., K] -> rows of K adjacent codes; copies unless they already are.
QTensor as_rows(const QTensor& x) {
  const int64_t k = x.size(x.ndim() - 1);
  QTensor rows =
      x.ndim() == 2 ? x : x.reshape({k ? x.numel() / k : count({x.shape().begin(), x.shape().end() - 1}), k});
  return rows.stride(1) == 1 || k == 1 ? rows : rows.to(Layout::contiguous);
}

// The product of rows of adjacent codes.
void multiply(const QTensor& x, int64_t rows, int64_t step, const PackedWeight& weight, const GemmOutput& out) {
  const CodePacker packer(kernel_table(), x.qparams());
  const uint8_t* from = x.bytes();
  const int64_t k = weight.matrix().k;
  const auto pack = [&](int64_t first, int64_t n, int64_t, uint8_t* to, int64_t stride) {
    for (int64_t i = 0; i < n; ++i) packer.codes(from + (first + i) * step, k, to + i * stride);
  };
  run_gemm(packer, weight, rows, {.pack = std::cref(pack), .codes = from, .stride = step}, out);
}

}  // namespace

Shape linear_shape(const PackedLinear& packed, const Shape& input) {
  const WeightMatrix& m = packed.matrix();
  check(!input.empty() && input.back() == m.k, "linear: input: expected shape [..., ", m.k,
        "] (in_features of the weight), got ", to_text(input));
  Shape shape = input;
  shape.back() = m.columns;
  return shape;
}

void linear_into(const QTensor& x, const PackedLinear& packed, const Epilogue& epilogue, bool relu, QTensor& out) {
  const int64_t columns = packed.matrix().columns;
  if (out.numel() == 0) return;
  const int64_t step = x.ndim() == 2 ? x.stride(0) : packed.matrix().k;
  multiply(x, out.numel() / columns, step, packed,
           {.codes = out.bytes(), .stride = columns, .relu = relu, .epilogue = &epilogue, .qparams = &out.qparams()});
}

QTensor linear(const QTensor& x, const PackedLinear& packed, QParamsPtr qparams, bool relu) {
  check_activation("linear", "input", x);
  check_output("linear", *qparams);
  Shape shape = linear_shape(packed, x.shape());
  const auto epilogue = packed.epilogue(x.qparams(), *qparams);
  QTensor out = QTensor::empty(std::move(shape), std::move(qparams));
  linear_into(as_rows(x), packed, *epilogue, relu, out);
  return out;
}

void matmul_integer(const QTensor& a, const QTensor& b, int32_t* out) {
  check(a.ndim() == 2, "matmul_integer: a: expected shape [M, K], got ", a.shape_text());
  check(b.ndim() == 2, "matmul_integer: b: expected shape [K, N], got ", b.shape_text());
  check(a.size(1) == b.size(0), "matmul_integer: operands: expected a [M, K] and b [K, N], got ", a.shape_text(),
        " and ", b.shape_text());
  check_activation("matmul_integer", "a", a);
  const QTensor columns = b.transpose(0, 1);
  const PackedWeight weight("matmul_integer", columns, columns, {}, 1);
  weight.check_sums(reach_of(a.qparams()));
  const QTensor rows = as_rows(a);
  multiply(rows, rows.size(0), rows.stride(0), weight, {.sums = out, .stride = b.size(1)});
}

}  // namespace octensor::ops
