// Codes whose scale and zero point are computed while the program runs (ONNX's dynamic operators). In a program such
// codes are tensors with scale 1 and zero point 0, and their parameters are tensors of their own.
#include <algorithm>
#include <cmath>

#include "core/check.h"
#include "ops/checks.h"
#include "program/steps.h"
#include "program/wanted.h"

namespace octensor::program {
namespace {

QParamsPtr plain_codes(DType dtype) {
  return std::make_shared<QParams>(std::vector{1.0f}, std::vector<int32_t>{0}, dtype);
}

int32_t code_at(const Slot& slot, int64_t i) {
  const uint8_t code = slot.bytes()[i];
  return is_signed8(slot.view().qparams->dtype()) ? static_cast<int8_t>(code) : int32_t{code};
}

// A matrix of codes in memory that the program keeps.
QTensor matrix(const Slot& slot, int64_t offset, int64_t rows, int64_t columns, std::vector<int32_t> zeros) {
  const DType dtype = slot.view().qparams->dtype();
  auto q = zeros.size() == 1
               ? std::make_shared<QParams>(std::vector{1.0f}, std::move(zeros), dtype)
               : std::make_shared<QParams>(std::vector<float>(zeros.size(), 1.0f), std::move(zeros), dtype, 1);
  return QTensor({}, slot.bytes() + offset, {rows, columns}, {columns, 1}, std::move(q));
}

}  // namespace

PlanStep with_qparams_step(QParamsPtr qparams) {
  return [=](Inputs& in) -> Planned {
    const QTensor x = codes("codes", in, 0);
    check<TypeError>(x.dtype() == qparams->dtype(), "codes: input: expected ", info(qparams->dtype()).name, ", got ",
                     in[0].text());
    return {.outputs = {{.view = {Element::codes, qparams, in[0].shape, in[0].strides}, .alias = 0}}};
  };
}

PlanStep dynamic_quantize_step() {
  return [](Inputs& in) -> Planned {
    want(Element::float32, "dynamic_quantize", in, 0);
    const View& x = in.dense(0);
    const QParamsPtr plain = plain_codes(DType::quint8);
    std::vector<Output> outputs{{.view = dense_view(Element::codes, plain, x.shape)},
                                {.view = dense_view(Element::float32, {}, {})},
                                {.view = dense_view(Element::codes, plain, {})}};
    auto axes = copy_plan(x.strides, x.strides, x.shape);
    return {.outputs = std::move(outputs), .run = [axes = std::move(axes), n = x.numel()](const Operands& t) {
              const auto* x = t.in[0]->data<float>();
              float low = 0, high = 0;
              bool numbers = true;
              for (int64_t i = 0; i < n; ++i) {
                numbers &= x[i] == x[i];
                low = std::min(low, x[i]);
                high = std::max(high, x[i]);
              }
              float scale = numbers ? (high - low) / 255.0f : 0.0f;
              const float zero = scale == 0 ? 0.0f : std::clamp(std::nearbyint(0.0f - low / scale), 0.0f, 255.0f);
              if (scale == 0) scale = 1;
              const auto code = static_cast<uint8_t>(zero);
              QTensor out({}, t.out[0]->bytes(), t.in[0]->view().shape, t.in[0]->view().strides,
                          std::make_shared<QParams>(std::vector{scale}, std::vector<int32_t>{code}, DType::quint8));
              ops::quantize_into(t.in[0]->floats(), axes, out);
              *t.out[1]->data<float>() = scale;
              *t.out[2]->bytes() = code;
            }};
  };
}

PlanStep matmul_integer_step(bool a_zeros, bool b_zeros) {
  return [=](Inputs& in) -> Planned {
    constexpr const char* kOp = "matmul_integer";
    check(in.size() == 2 + size_t{a_zeros} + size_t{b_zeros}, kOp, ": expected two operands and their zero points");
    for (size_t i = 0; i < in.size(); ++i) ops::check_activation(kOp, "input", codes(kOp, in, i));
    const Shape a = in[0].shape, b = in[1].shape;
    check(a.size() >= 2 && b.size() >= 2 && a.back() == b[b.size() - 2], kOp,
          ": expected [..., M, K] and [..., K, N], got ", to_text(a), " and ", to_text(b));
    const int64_t k = a.back(), n = b.back();
    const bool shared = b.size() == 2;
    Shape shape =
        shared ? Shape(a.begin(), a.end() - 2) : broadcast(kOp, {a.begin(), a.end() - 2}, {b.begin(), b.end() - 2});
    const auto whole = [&](int64_t rows, int64_t columns) {
      Shape s = shape;
      s.push_back(rows);
      s.push_back(columns);
      return s;
    };
    in.expanded(0, whole(a[a.size() - 2], k), Layout::contiguous);
    in.expanded(1, shared ? b : whole(k, n), Layout::contiguous);
    for (size_t i = 2; i < in.size(); ++i) {
      const int64_t count = in.dense(i).numel();
      check(count == 1 || (i == in.size() - 1 && b_zeros && count == n), kOp,
            ": zero points: expected one, or one for each column of b, got ", in[i].text());
    }
    const int64_t stacks = shared ? 1 : count(shape), m = shared ? count(shape) * a[a.size() - 2] : a[a.size() - 2];
    View out = dense_view(Element::int32, {}, whole(a[a.size() - 2], n));
    return {.outputs = {{.view = std::move(out)}},
            .run =
                [=](const Operands& t) {
                  if (stacks * m * n == 0) return;
                  const auto zeros = [&](bool given, size_t i) {
                    std::vector<int32_t> values{0};
                    if (given) {
                      values.clear();
                      for (int64_t j = 0; j < t.in[i]->view().numel(); ++j) values.push_back(code_at(*t.in[i], j));
                    }
                    return values;
                  };
                  const auto of_a = zeros(a_zeros, 2), of_b = zeros(b_zeros, 2 + size_t{a_zeros});
                  for (int64_t i = 0; i < stacks; ++i)
                    ops::matmul_integer(matrix(*t.in[0], i * m * k, m, k, of_a),
                                        matrix(*t.in[1], i * k * n, k, n, of_b), t.out[0]->data<int32_t>() + i * m * n);
                },
            .multiply_adds = stacks * m * n * k};
  };
}

}  // namespace octensor::program
