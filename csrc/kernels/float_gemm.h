// Float rows times float columns, one order of operations:
//
//   y[i][j] = fma(x[i][K - 1], w[K - 1][j], ... fma(x[i][1], w[1][j], fma(x[i][0], w[0][j], 0)) ...) + bias[j]
//
// fma rounding once, then, with relu, y > 0 ? y : 0; a NaN result is the quiet one without sign and payload. An output
// is one chain over k: columns lie along the lanes, so no width shows in it, and partial sums may wait in memory
// between blocks of K and start the next one, so neither does blocking.
//
// Weights are panels [panel][k][2 * kLanes], or any strided matrix, whose panels are then packed block by block into
// the L1 cache: a transposition of kLanes x kLanes costs 4 operations per vector, which 32 rows hide.
//
// Bound: R * V multiply-adds against R broadcasts and V loads per k, so the multiply ports; with one row, the weights'
// bytes.
#pragma once
#include <cstdint>

namespace octensor {

inline constexpr int kFloatGemmRows = 96;  // at most, per call

struct FloatGemmArgs {
  const float* x = nullptr;  // [rows][k], row stride ldx
  int64_t rows = 0, ldx = 0;
  const float* w = nullptr;  // panels of 2 * lanes columns, or, where not packed, w[k * k_stride + j * column_stride]
  bool packed = false;
  int64_t k_stride = 0, column_stride = 0;
  int64_t k = 0, columns = 0;
  const float* bias = nullptr;  // [columns], or null
  bool relu = false;
  float* out = nullptr;  // row stride ldo
  int64_t ldo = 0;
};

// size x columns of a strided matrix -> [size][2 * lanes], columns beyond the last 0.
struct FloatPackArgs {
  const float* w;
  int64_t k_stride, column_stride, size, columns;  // at most 2 * lanes columns
  float* out;
  const int64_t* order = nullptr;  // the row of `out` where every k goes; null: k
};

}  // namespace octensor

namespace octensor::kernels {

template <class S>
inline constexpr int kFloatPanel = 2 * S::kLanes;

// A NaN becomes the one with sign and payload 0 of every float op.
template <class S>
[[gnu::always_inline]] inline typename S::F32 plain_nan(typename S::F32 x) {
  return S::where_number(x, x, S::fset(__builtin_nanf("")));
}

// max(x, 0); NaN stays, -0 becomes 0.
template <class S>
[[gnu::always_inline]] inline typename S::F32 at_least_zero(typename S::F32 x) {
  return S::where_number(x, S::fmax(x, S::fset(0.0f)), x);
}

// R rows x V vectors of sums as named members, as in kernels/tile.h.
template <class S, int R, int V>
struct FloatTile {
  static constexpr int kLanes = S::kLanes;
  using F32 = typename S::F32;
  F32 c0, c1;
  const float* row;
  FloatTile<S, R - 1, V> below;

  [[gnu::always_inline]] void start(const float* x, int64_t ldx, const float* sums, int64_t stride) {
    c0 = sums ? S::fload(sums) : S::fset(0.0f);
    if constexpr (V == 2) c1 = sums ? S::fload(sums + kLanes) : S::fset(0.0f);
    row = x;
    below.start(x + ldx, ldx, sums ? sums + stride : nullptr, stride);
  }
  [[gnu::always_inline]] void step(int64_t k, F32 w0, F32 w1) {
    const F32 x = S::fset(row[k]);
    c0 = S::ffma(x, w0, c0);
    if constexpr (V == 2) c1 = S::ffma(x, w1, c1);
    below.step(k, w0, w1);
  }
  [[gnu::always_inline]] void finish(F32 b0, F32 b1, bool add, bool relu) {
    c0 = finished(c0, b0, add, relu);
    if constexpr (V == 2) c1 = finished(c1, b1, add, relu);
    below.finish(b0, b1, add, relu);
  }
  [[gnu::always_inline]] void save(float* out, int64_t stride) const {
    S::fstore(out, c0);
    if constexpr (V == 2) S::fstore(out + kLanes, c1);
    below.save(out + stride, stride);
  }

 private:
  [[gnu::always_inline]] static F32 finished(F32 y, F32 bias, bool add, bool relu) {
    if (add) y = S::fadd(y, bias);
    if (relu) y = at_least_zero<S>(y);
    return plain_nan<S>(y);
  }
};
template <class S, int V>
struct FloatTile<S, 0, V> {
  using F32 = typename S::F32;
  [[gnu::always_inline]] void start(const float*, int64_t, const float*, int64_t) {}
  [[gnu::always_inline]] void step(int64_t, F32, F32) {}
  [[gnu::always_inline]] void finish(F32, F32, bool, bool) {}
  [[gnu::always_inline]] void save(float*, int64_t) const {}
};

// One block of K of one panel for all rows. `first` and `last` say where it stands in the chain; bias has a whole
// panel.
template <class S>
struct FloatBlock {
  const float* x;
  int64_t ldx;
  const float* w;  // [size][panel]
  int64_t size;
  bool first, last, relu;
  const float* bias;
  float* sums;  // between blocks, a panel apart
  float* out;
  int64_t ldo;
};

template <class S, int R, int V>
void float_tile(const FloatBlock<S>& b, int64_t i) {
  constexpr int kLanes = S::kLanes, kPanel = kFloatPanel<S>;
  FloatTile<S, R, V> tile;
  tile.start(b.x + i * b.ldx, b.ldx, b.first ? nullptr : b.sums + i * kPanel, kPanel);
  const float* w = b.w;
  for (int64_t k = 0; k < b.size; ++k, w += kPanel) {
    const typename S::F32 w0 = S::fload(w);
    tile.step(k, w0, V == 2 ? S::fload(w + kLanes) : w0);
  }
  if (!b.last) return tile.save(b.sums + i * kPanel, kPanel);
  const typename S::F32 none = S::fset(0.0f);
  tile.finish(b.bias ? S::fload(b.bias) : none, b.bias && V == 2 ? S::fload(b.bias + kLanes) : none, b.bias, b.relu);
  tile.save(b.out + i * b.ldo, b.ldo);
}

template <class S, int V, int R = S::kRows>
void float_rows(const FloatBlock<S>& b, int64_t i, int64_t rows) {
  for (; rows >= R; rows -= R, i += R) float_tile<S, R, V>(b, i);
  if constexpr (R > 1)
    if (rows > 0) float_rows<S, V, R - 1>(b, i, rows);
}

template <class S>
void float_pack(const FloatPackArgs& a) {
  constexpr int kLanes = S::kLanes, kPanel = kFloatPanel<S>;
  const auto row = [&](int64_t k) [[gnu::always_inline]] { return a.out + (a.order ? a.order[k] : k) * kPanel; };
  const bool whole = a.columns == kPanel;
  int64_t done = 0;
  if (a.column_stride == 1 && whole) {
    for (; done < a.size; ++done)
      for (int v = 0; v < 2; ++v) S::fstore(row(done) + v * kLanes, S::fload(a.w + done * a.k_stride + v * kLanes));
  } else if (a.k_stride == 1 && whole) {
    done = a.size / kLanes * kLanes;
    for (int v = 0; v < 2; ++v) {  // apart, as an L1 cache may hold no more columns whose stride is a power of two
      const float* w = a.w + v * kLanes * a.column_stride;
      for (int64_t k = 0; k < done; k += kLanes) {
        typename S::F32 rows[kLanes];
        S::transposed(w + k, a.column_stride, rows);
        for (int t = 0; t < kLanes; ++t) S::fstore(row(k + t) + v * kLanes, rows[t]);
      }
    }
  }
  for (int64_t k = done; k < a.size; ++k)
    for (int64_t c = 0; c < kPanel; ++c) row(k)[c] = c < a.columns ? a.w[k * a.k_stride + c * a.column_stride] : 0.0f;
}

// One row: chains of four panels at a time, as two alone would wait for each other.
template <class S>
int64_t float_row(const FloatGemmArgs& g) {
  constexpr int kLanes = S::kLanes, kPanel = kFloatPanel<S>, kPanels = 4;
  int64_t j = 0;
  for (; j + kPanels * kPanel <= g.columns; j += kPanels * kPanel) {
    const float *w0 = g.w + j * g.k, *w1 = w0 + kPanel * g.k, *w2 = w1 + kPanel * g.k, *w3 = w2 + kPanel * g.k;
    FloatTile<S, 1, 2> t0, t1, t2, t3;
    t0.start(g.x, 0, nullptr, 0), t1.start(g.x, 0, nullptr, 0), t2.start(g.x, 0, nullptr, 0);
    t3.start(g.x, 0, nullptr, 0);
    for (int64_t k = 0; k < g.k; ++k) {
      const int64_t at = k * kPanel;
      t0.step(k, S::fload(w0 + at), S::fload(w0 + at + kLanes));
      t1.step(k, S::fload(w1 + at), S::fload(w1 + at + kLanes));
      t2.step(k, S::fload(w2 + at), S::fload(w2 + at + kLanes));
      t3.step(k, S::fload(w3 + at), S::fload(w3 + at + kLanes));
    }
    const auto save = [&](FloatTile<S, 1, 2>& t, int64_t at) [[gnu::always_inline]] {
      const typename S::F32 none = S::fset(0.0f);
      t.finish(g.bias ? S::fload(g.bias + at) : none, g.bias ? S::fload(g.bias + at + kLanes) : none, g.bias, g.relu);
      t.save(g.out + at, 0);
    };
    save(t0, j), save(t1, j + kPanel), save(t2, j + 2 * kPanel), save(t3, j + 3 * kPanel);
  }
  return j;
}

template <class S>
void float_gemm(const FloatGemmArgs& g) {
  constexpr int kLanes = S::kLanes, kPanel = kFloatPanel<S>;
  constexpr int64_t kBlock = 4096 / kPanel;  // 16 KiB of a panel, half of the smallest L1 cache
  alignas(64) float sums[kFloatGemmRows * kPanel];
  alignas(64) float block[kBlock * kPanel];
  alignas(64) float bias[kPanel];
  for (int64_t j = g.packed && g.rows == 1 ? float_row<S>(g) : 0; j < g.columns; j += kPanel) {
    const int64_t columns = g.columns - j < kPanel ? g.columns - j : kPanel;
    const bool part = columns < kPanel;
    if (part && g.bias)
      for (int64_t c = 0; c < kPanel; ++c) bias[c] = c < columns ? g.bias[j + c] : 0.0f;
    FloatBlock<S> b{.x = g.x,
                    .ldx = g.ldx,
                    .w = nullptr,
                    .size = 0,
                    .first = true,
                    .last = false,
                    .relu = g.relu,
                    .bias = !g.bias ? nullptr
                            : part  ? bias
                                    : g.bias + j,
                    .sums = sums,
                    .out = part ? sums : g.out + j,
                    .ldo = part ? kPanel : g.ldo};
    for (int64_t k = 0; b.first || k < g.k; k += kBlock, b.first = false) {  // once even for K = 0
      b.size = g.k - k < kBlock ? g.k - k : kBlock;
      b.last = k + kBlock >= g.k;
      b.x = g.x + k;
      if (g.packed) {
        b.w = g.w + j * g.k + k * kPanel;
      } else {
        float_pack<S>({.w = g.w + k * g.k_stride + j * g.column_stride,
                       .k_stride = g.k_stride,
                       .column_stride = g.column_stride,
                       .size = b.size,
                       .columns = columns,
                       .out = block});
        b.w = block;
      }
      columns > kLanes ? float_rows<S, 2>(b, 0, g.rows) : float_rows<S, 1>(b, 0, g.rows);
    }
    if (part)
      for (int64_t i = 0; i < g.rows; ++i)
        for (int64_t c = 0; c < columns; ++c) g.out[i * g.ldo + j + c] = sums[i * kPanel + c];
  }
}

}  // namespace octensor::kernels
