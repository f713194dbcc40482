// add and mul of quantized tensors, and cat: ops whose operands may have different parameters.
#include <algorithm>
#include <cmath>

#include "core/threads.h"
#include "isa/dispatch.h"
#include "ops/add_proof.h"
#include "ops/checks.h"
#include "ops/ops.h"

namespace octensor::ops {
namespace {

QTensor binary(const char* op, void (*KernelTable::*kernel)(const BinaryArgs&), const QTensor& a, const QTensor& b,
               QParamsPtr qparams, float out_scale, bool relu) {
  const Shape shape = broadcast(op, a.shape(), b.shape());
  const Layout layout = layout_of(a.shape() == shape ? a : b);
  const QTensor x = a.expand(shape).to(layout), y = b.expand(shape).to(layout);
  const DTypeInfo& t = info(qparams->dtype());
  const int32_t z = qparams->zero_point();
  BinaryArgs all{.a = x.bytes(),
                 .b = y.bytes(),
                 .out = nullptr,
                 .n = 0,
                 .a_signed = is_signed8(a.dtype()),
                 .b_signed = is_signed8(b.dtype()),
                 .a_zero = a.qparams().zero_point(),
                 .b_zero = b.qparams().zero_point(),
                 .out_zero = z,
                 .a_scale = a.qparams().scale(),
                 .b_scale = b.qparams().scale(),
                 .out_scale = out_scale,
                 .lo = relu ? 0.0f : static_cast<float>(t.qmin - z),
                 .hi = static_cast<float>(t.qmax - z),
                 .multiply = false};
  if (kernel == &KernelTable::add) all.multiply = add_by_product(kernel_table(), all, count(shape));
  QTensor out = QTensor::empty(shape, std::move(qparams), layout);
  const KernelTable& table = kernel_table();
  constexpr int64_t kChunk = 1 << 15;
  const int64_t n = out.numel();
  parallel_for((n + kChunk - 1) / kChunk, [&, to = out.bytes()](int64_t task) {
    BinaryArgs run = all;
    const int64_t at = task * kChunk;
    run.a += at;
    run.b += at;
    run.out = to + at;
    run.n = std::min(kChunk, n - at);
    (table.*kernel)(run);
  });
  return out;
}

void check_operands(const char* op, const QTensor& a, const QTensor& b, const QParams& q) {
  check_activation(op, "a", a);
  check_activation(op, "b", b);
  check_output(op, q);
}

}  // namespace

QTensor add(const QTensor& a, const QTensor& b, QParamsPtr qparams, bool relu) {
  check_operands("add", a, b, *qparams);
  const float scale = qparams->scale();
  return binary("add", &KernelTable::add, a, b, std::move(qparams), scale, relu);
}

QTensor mul(const QTensor& a, const QTensor& b, QParamsPtr qparams, bool relu) {
  check_operands("mul", a, b, *qparams);
  const double multiplier = double(a.qparams().scale()) * double(b.qparams().scale()) / double(qparams->scale());
  const float m = static_cast<float>(multiplier);
  check(std::isfinite(m), "mul: qparams: expected a scale * b scale / output scale inside float32, got ", multiplier);
  return binary("mul", &KernelTable::mul, a, b, std::move(qparams), m, relu);
}

QTensor cat(const std::vector<QTensor>& xs, int64_t axis, QParamsPtr qparams) {
  check(!xs.empty(), "cat: tensors: expected at least one, got none");
  check_output("cat", *qparams);
  const QTensor& first = xs.front();
  const int a = normalize_axis("cat", "dim", axis, first.ndim());
  Shape shape = first.shape();
  shape[a] = 0;
  for (const QTensor& x : xs) {
    check_activation("cat", "tensors", x);
    bool fits = x.ndim() == first.ndim();
    for (int i = 0; fits && i < x.ndim(); ++i) fits = i == a || x.size(i) == first.size(i);
    check(fits, "cat: tensors: expected shapes equal but for axis ", a, ", got ", first.shape_text(), " and ",
          x.shape_text());
    shape[a] += x.size(a);
  }
  QTensor out = QTensor::empty(std::move(shape), qparams, layout_of(first));
  int64_t at = 0;
  for (const QTensor& x : xs) {
    const QTensor part = requantize(x, qparams);
    QTensor to = out.slice(a, at, x.size(a), 1);
    copy_strided(part.bytes(), part.strides(), to.bytes(), to.strides(), part.shape(), 1);
    at += x.size(a);
  }
  return out;
}

}  // namespace octensor::ops
