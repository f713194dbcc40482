// The register tile of kernels/tile.h where one instruction multiplies two rows with two columns: the same rows, the
// same packed weights (groups of eight K, so that two neighbouring columns are one operand), sums in blocks of 2 x 2
// that are put into rows at the end. A last odd row has a form of its own.
//
// Rows R, two vectors of columns: 4 R multiply instructions of 32 multiply-adds per group of eight K, 8 loads of
// weights, R loads of activations and R / 2 that join two of these. The multiply ports are the limit.
#pragma once
#include "kernels/tile.h"

namespace octensor::kernels {

template <class F, int Rows>
struct RowForm {
  using Type = typename F::TwoRows;
};
template <class F>
struct RowForm<F, 1> {
  using Type = typename F::OneRow;
};

template <class S, class F, int R, int V>
  requires kBlocks<F>
struct TileSums<S, F, R, V> {
  static constexpr int kHere = R > 1 ? 2 : 1;
  using Rows = typename RowForm<F, kHere>::Type;
  typename F::Sums c0, c1;
  typename F::Rows x;
  const typename F::Activation *first, *second;
  TileSums<S, F, R - kHere, V> below;

  [[gnu::always_inline]] void start(const typename F::Activation* a, int64_t lda, const int32_t* initial,
                                    int64_t stride) {
    static constexpr int32_t kZeros[2 * S::kLanes] = {};
    const int32_t *from = initial ? initial : kZeros, *next = initial ? initial + stride : kZeros;
    c0 = Rows::start(from, next);
    if constexpr (V == 2) c1 = Rows::start(from + S::kLanes, next + S::kLanes);
    first = a, second = a + lda;
    below.start(a + kHere * lda, lda, initial ? initial + kHere * stride : nullptr, stride);
  }
  // All rows first, then one vector of columns after the other: there are registers for half of the columns.
  [[gnu::always_inline]] void step(int64_t k, typename F::Wide b0, typename F::Wide b1) {
    load(k);
    multiply<0>(F::columns(b0));
    if constexpr (V == 2) multiply<1>(F::columns(b1));
  }
  [[gnu::always_inline]] void load(int64_t k) {
    x = Rows::load(first + k, second + k);
    below.load(k);
  }
  template <int Vector>
  [[gnu::always_inline]] void multiply(const typename F::Columns& b) {
    Rows::dot(Vector == 0 ? c0 : c1, x, b);
    below.template multiply<Vector>(b);
  }
  [[gnu::always_inline]] void save(int32_t* out, int64_t stride) const {
    Rows::save(c0, out, out + stride);
    if constexpr (V == 2) Rows::save(c1, out + S::kLanes, out + stride + S::kLanes);
    below.save(out + kHere * stride, stride);
  }
};
template <class S, class F, int V>
  requires kBlocks<F>
struct TileSums<S, F, 0, V> {
  [[gnu::always_inline]] void start(const typename F::Activation*, int64_t, const int32_t*, int64_t) {}
  [[gnu::always_inline]] void load(int64_t) {}
  template <int Vector>
  [[gnu::always_inline]] void multiply(const typename F::Columns&) {}
  [[gnu::always_inline]] void save(int32_t*, int64_t) const {}
};

}  // namespace octensor::kernels
