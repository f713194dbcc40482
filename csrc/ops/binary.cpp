// add and mul of quantized tensors, and cat: ops whose operands may have different parameters.
#include <cmath>

#include "isa/dispatch.h"
#include "ops/add_proof.h"
#include "ops/checks.h"
#include "ops/chunks.h"
#include "ops/into.h"
#include "ops/ops.h"

namespace octensor::ops {
namespace {

QTensor binary(const char* op, Binary which, const QTensor& a, const QTensor& b, QParamsPtr qparams, bool relu) {
  const Shape shape = broadcast(op, a.shape(), b.shape());
  const Layout layout = layout_of(a.shape() == shape ? a : b);
  QTensor out = QTensor::empty(shape, std::move(qparams), layout);
  binary_into(which, a.expand(shape).to(layout), b.expand(shape).to(layout), relu, out);
  return out;
}

float mul_factor(const QParams& a, const QParams& b, const QParams& out) {
  const double multiplier = double(a.scale()) * double(b.scale()) / double(out.scale());
  const float m = static_cast<float>(multiplier);
  check(std::isfinite(m), "mul: qparams: expected a scale * b scale / output scale inside float32, got ", multiplier);
  return m;
}

void check_operands(const char* op, const QTensor& a, const QTensor& b, const QParams& q) {
  check_activation(op, "a", a);
  check_activation(op, "b", b);
  check_output(op, q);
}

}  // namespace

void binary_into(Binary which, const QTensor& a, const QTensor& b, bool relu, QTensor& out) {
  const QParams& q = out.qparams();
  const DTypeInfo& t = info(q.dtype());
  const int32_t z = q.zero_point();
  const bool is_add = which == Binary::add;
  BinaryArgs all{.a = a.bytes(),
                 .b = b.bytes(),
                 .out = nullptr,
                 .n = 0,
                 .a_signed = is_signed8(a.dtype()),
                 .b_signed = is_signed8(b.dtype()),
                 .a_zero = a.qparams().zero_point(),
                 .b_zero = b.qparams().zero_point(),
                 .out_zero = z,
                 .a_scale = a.qparams().scale(),
                 .b_scale = b.qparams().scale(),
                 .out_scale = is_add ? q.scale() : mul_factor(a.qparams(), b.qparams(), q),
                 .lo = relu ? 0.0f : static_cast<float>(t.qmin - z),
                 .hi = static_cast<float>(t.qmax - z),
                 .multiply = false};
  const KernelTable& table = kernel_table();
  if (is_add) all.multiply = add_by_product(table, all, out.numel());
  const auto kernel = is_add ? table.add : table.mul;
  const bool in_place = out.bytes() == a.bytes() || out.bytes() == b.bytes();
  for_chunks(out.numel(), out.bytes(), in_place, [&](int64_t at, int64_t size, uint8_t* to) {
    BinaryArgs run = all;
    run.a += at;
    run.b += at;
    run.out = to;
    run.n = size;
    kernel(run);
  });
}

QTensor add(const QTensor& a, const QTensor& b, QParamsPtr qparams, bool relu) {
  check_operands("add", a, b, *qparams);
  return binary("add", Binary::add, a, b, std::move(qparams), relu);
}

QTensor mul(const QTensor& a, const QTensor& b, QParamsPtr qparams, bool relu) {
  check_operands("mul", a, b, *qparams);
  return binary("mul", Binary::mul, a, b, std::move(qparams), relu);
}

Shape cat_shape(const std::vector<Shape>& shapes, int64_t axis) {
  check(!shapes.empty(), "cat: tensors: expected at least one, got none");
  const Shape& first = shapes.front();
  const int ndim = static_cast<int>(first.size()), a = normalize_axis("cat", "dim", axis, ndim);
  Shape shape = first;
  shape[a] = 0;
  for (const Shape& other : shapes) {
    bool fits = other.size() == first.size();
    for (int i = 0; fits && i < ndim; ++i) fits = i == a || other[i] == first[i];
    check(fits, "cat: tensors: expected shapes equal but for axis ", a, ", got ", to_text(first), " and ",
          to_text(other));
    shape[a] += other[a];
  }
  return shape;
}

QTensor cat(const std::vector<QTensor>& xs, int64_t axis, QParamsPtr qparams) {
  check_output("cat", *qparams);
  std::vector<Shape> shapes;
  for (const QTensor& x : xs) {
    shapes.push_back(x.shape());
    check_activation("cat", "tensors", x);
  }
  Shape shape = cat_shape(shapes, axis);
  const int a = normalize_axis("cat", "dim", axis, static_cast<int>(shape.size()));
  QTensor out = QTensor::empty(std::move(shape), std::move(qparams), layout_of(xs.front()));
  int64_t at = 0;
  for (const QTensor& x : xs) {
    QTensor to = out.slice(a, at, x.size(a), 1);
    requantize_into(x, to);
    at += x.size(a);
  }
  return out;
}

}  // namespace octensor::ops
