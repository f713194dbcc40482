// linear and integer matmul: rows of a matrix through the shared GEMM.
#include <algorithm>

#include "isa/dispatch.h"
#include "ops/checks.h"
#include "ops/gemm_driver.h"
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

GemmRows gemm_rows(const CodePacker& packer, const QTensor& rows) {
  const uint8_t* from = rows.bytes();
  const int64_t step = rows.stride(0), k = rows.size(1);
  return {.pack =
              [packer, from, step, k](int64_t first, int64_t n, int64_t, uint8_t* out, int64_t stride) {
                for (int64_t i = 0; i < n; ++i) packer.codes(from + (first + i) * step, k, out + i * stride);
              },
          .codes = from,
          .stride = step};
}

}  // namespace

QTensor linear(const QTensor& x, const PackedLinear& packed, QParamsPtr qparams, bool relu) {
  check_activation("linear", "input", x);
  check_output("linear", *qparams);
  const WeightMatrix& m = packed.matrix();
  check(x.ndim() >= 1 && x.size(x.ndim() - 1) == m.k, "linear: input: expected shape [..., ", m.k,
        "] (in_features of the weight), got ", x.shape_text());
  const auto epilogue = packed.epilogue(x.qparams(), *qparams);
  Shape shape = x.shape();
  shape.back() = m.columns;
  QTensor out = QTensor::empty(std::move(shape), qparams);
  const QTensor rows = as_rows(x);
  const CodePacker packer(kernel_table(), x.qparams());
  run_gemm(
      packer, packed, rows.size(0), gemm_rows(packer, rows),
      {.codes = out.bytes(), .stride = m.columns, .relu = relu, .epilogue = epilogue.get(), .qparams = qparams.get()});
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
  const CodePacker packer(kernel_table(), a.qparams());
  run_gemm(packer, weight, rows.size(0), gemm_rows(packer, rows), {.sums = out, .stride = b.size(1)});
}

}  // namespace octensor::ops
