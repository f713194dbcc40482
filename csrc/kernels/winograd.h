// 3x3 convolutions of stride 1 by Winograd's algorithm, exact: transforms of the input and of the output around P
// small matrix products per tile of outputs, on the register tile that GEMM uses, in its 16-bit form.
//
//   v[i][j] = B^T (d - zero point) B           int16, P = kIn^2 values per tile and input channel
//   m[i][j] = sum over channels of v * u       int32, modulo 2^32
//   acc     = A^T m A / scale                  int32, exact as long as its range is proved (ops/winograd.cpp)
//
// The transforms are those of Tile2 or Tile4 (kernels/winograd_tile.h). The zero point need not be subtracted from
// every input: all rows of B^T but one sum to 0, so it shows in a single one of the P values.
//
// Bound: P / kOut^2 multiplications per output and pair of channels in place of 9: 4 times fewer for Tile4, 2.25 times
// for Tile2. Beside it stand, per tile, about 250 instructions per vector of input channels and 350 per vector of
// output channels (Tile4), which is why few channels gain less.
#pragma once
#include "kernels/args.h"
#include "kernels/requantize.h"
#include "kernels/tile.h"
#include "kernels/winograd_tile.h"

namespace octensor {

struct WinogradKernels {
  int out;            // outputs per tile and axis
  int vector, group;  // input channels that the transform takes at a time, and a step of the products
  void (*input)(const WinogradArgs&);
  void (*output)(const WinogradArgs&);  // the products too
};

namespace kernels {

// Where a tile lies: its image and its first output.
struct WinogradPlace {
  int64_t image, row, column;
};
template <class S, class T>
[[gnu::always_inline]] inline WinogradPlace winograd_place(const WinogradArgs& g, int64_t tile) {
  return {tile / (g.tile_rows * g.tile_columns), tile / g.tile_columns % g.tile_rows * T::kOut,
          tile % g.tile_columns * T::kOut};
}

// One vector of channels of one tile, from codes `row` and `column` bytes apart.
template <class S, class T, bool Signed>
void winograd_input_vector(const uint8_t* x, int64_t row, int64_t column, typename S::Words::Wide constant, int16_t* v,
                           int64_t plane) {
  using Words = typename S::Words;
  constexpr int kVector = S::kLanes * Words::kGroup, kIn = T::kIn;
  alignas(64) int16_t half[kIn * kIn * kVector];
  for (int j = 0; j < kIn; ++j)
    T::template input<Words>([&](int i) { return Words::template widen<Signed>(x + i * row + j * column); },
                             [&](int i, auto d) { Words::store(half + (i * kIn + j) * kVector, d); });
  for (int i = 0; i < kIn; ++i) {
    const typename Words::Wide here = i == T::kConstantRow ? constant : Words::set(0);
    T::template input<Words>([&](int j) { return Words::load(half + (i * kIn + j) * kVector); },
                             [&](int j, auto d) {
                               Words::store(v + (i * kIn + j) * plane, j == T::kConstantRow ? Words::sub(d, here) : d);
                             });
  }
}

template <class S, class T, bool Signed>
void winograd_input_of(const WinogradArgs& g) {
  using Words = typename S::Words;
  constexpr int kVector = S::kLanes * Words::kGroup, kIn = T::kIn;
  const auto constant = Words::set(static_cast<int16_t>(T::kConstant * T::kConstant * g.zero_point));
  uint8_t patch[kIn * kIn * kVector];
  // Up to here a whole vector may be read, although only its first channels are the tile's; nowhere, where positions go
  // backwards.
  const int64_t end = g.row_stride > 0 && g.column_stride > 0
                          ? (g.height - 1) * g.row_stride + (g.width - 1) * g.column_stride + g.channels - kVector
                          : INT64_MIN;
  for (int64_t t = 0; t < g.count; ++t) {
    const WinogradPlace at = winograd_place<S, T>(g, g.first + t);
    const int64_t h = at.row - g.lead_height, w = at.column - g.lead_width;
    const bool inside = h >= 0 && w >= 0 && h + kIn <= g.height && w + kIn <= g.width;
    const uint8_t* image = g.x + at.image * g.image_stride;
    for (int64_t c = 0; c < g.channels; c += kVector) {
      const int64_t n = g.channels - c < kVector ? g.channels - c : kVector;
      int16_t* v = g.v + t * g.v_row + c;
      const int64_t first = h * g.row_stride + w * g.column_stride + c;
      if (inside && (n == kVector || first + (kIn - 1) * (g.row_stride + g.column_stride) <= end)) {
        winograd_input_vector<S, T, Signed>(image + first, g.row_stride, g.column_stride, constant, v, g.v_plane);
        continue;
      }
      // Positions that are not there read as the zero point. Channels past the last are anything: their weights are 0.
      for (int i = 0; i < kIn; ++i)
        for (int j = 0; j < kIn; ++j) {
          uint8_t* to = patch + (i * kIn + j) * kVector;
          const bool valid = h + i >= 0 && h + i < g.height && w + j >= 0 && w + j < g.width;
          const int64_t from = first + i * g.row_stride + j * g.column_stride;
          if (valid && (n == kVector || from <= end)) {
            __builtin_memcpy(to, image + from, kVector);
          } else {
            __builtin_memset(to, g.zero_point, kVector);
            if (valid) __builtin_memcpy(to, image + from, n);
          }
        }
      winograd_input_vector<S, T, Signed>(patch, kIn * kVector, kVector, constant, v, g.v_plane);
    }
  }
}

template <class S, class T>
void winograd_input(const WinogradArgs& g) {
  g.is_signed ? winograd_input_of<S, T, true>(g) : winograd_input_of<S, T, false>(g);
}

// The P products of one panel and one part; rows are spread evenly over the register tiles.
template <class S, class T, int V>
void winograd_products(const WinogradArgs& g, int64_t panel, int64_t part) {
  using Words = typename S::Words;
  constexpr int kStep = S::kPanel * Words::kGroup, kProducts = T::kIn * T::kIn;
  constexpr int kAhead = 8192;  // a wide layer's weights are larger than any L2 cache
  const int64_t from = part * g.part_groups;
  const int64_t groups = g.groups - from < g.part_groups ? g.groups - from : g.part_groups;
  const int64_t tiles = (g.count + S::kRows - 1) / S::kRows;
  for (int p = 0; p < kProducts; ++p) {
    const int16_t* u = g.u + ((panel * kProducts + p) * g.groups + from) * kStep;
    const int16_t* v = g.v + p * g.v_plane + from * Words::kGroup;
    int32_t* m = g.m + (part * kProducts + p) * g.m_plane;
    for (int64_t i = 0, left = tiles; left > 0; --left) {
      const int64_t rows = (g.count - i + left - 1) / left;
      gemm_tile_of<S, Words, V, int16_t, kAhead>(static_cast<int>(rows), v + i * g.v_row, g.v_row, u, kStep, groups,
                                                 nullptr, 0, m + i * S::kPanel, S::kPanel);
      i += rows;
    }
  }
}

// One panel of one tile: sums[kOut * kOut], rows kPanel apart, become acc - centre, or grow by it. All vectors take
// the first step before any takes the second, whose operands have left the store buffers by then.
template <class S, class T, int V, bool Add>
void winograd_output_panel(const int32_t* m, int64_t plane, const int32_t* centre, int32_t* sums) {
  constexpr int kLanes = S::kLanes, kIn = T::kIn, kOut = T::kOut;
  alignas(64) int32_t half[V * kOut * kIn * kLanes];
  for (int v = 0; v < V; ++v)
    for (int j = 0; j < kIn; ++j)
      T::template output<S>([&](int i) { return S::load(m + (i * kIn + j) * plane + v * kLanes); },
                            [&](int p, auto x) { S::store(half + ((v * kOut + p) * kIn + j) * kLanes, x); });
  for (int v = 0; v < V; ++v) {
    const typename S::I32 shifted = S::template shift_left<T::kShift>(S::load(centre + v * kLanes));
    for (int p = 0; p < kOut; ++p)
      T::template output<S>([&](int j) { return S::load(half + ((v * kOut + p) * kIn + j) * kLanes); },
                            [&](int q, auto x) {
                              int32_t* to = sums + (p * kOut + q) * S::kPanel + v * kLanes;
                              const auto lifted = T::kShift > 2 ? S::mul(x, S::set(T::factor(p, q))) : x;
                              const auto sum = S::template shift_right<T::kShift>(S::sub(lifted, shifted));
                              S::store(to, Add ? S::add(S::load(to), sum) : sum);
                            });
  }
}

// One panel of one tile: sums -> codes, where the output has such positions and channels.
template <class S, class T>
void winograd_store(const WinogradArgs& g, const WinogradPlace& at, const int32_t* sums, int64_t j, int64_t columns) {
  constexpr int kLanes = S::kLanes;
  const Requantize& r = g.requantize;
  const typename S::F32 lo = S::fset(r.lo), hi = S::fset(r.hi);
  const typename S::I32 zero = S::set(r.zero_point);
  const typename S::I32 bias0 = S::load(r.bias + j), bias1 = S::load(r.bias + j + kLanes);
  const typename S::F32 scale0 = S::fload(r.multiplier + j), scale1 = S::fload(r.multiplier + j + kLanes);
  const int64_t rows = g.out_height - at.row < T::kOut ? g.out_height - at.row : T::kOut;
  const int64_t pixels = g.out_width - at.column < T::kOut ? g.out_width - at.column : T::kOut;
  uint8_t* line = g.out + ((at.image * g.out_height + at.row) * g.out_width + at.column) * g.out_channels + j;
  for (int64_t p = 0; p < rows; ++p, line += g.out_width * g.out_channels)
    for (int64_t q = 0; q < pixels; ++q) {
      const int32_t* sum = sums + (p * T::kOut + q) * S::kPanel;
      const auto x = requantize_vector<S>(S::add(S::load(sum), bias0), scale0, lo, hi, zero);
      const auto y = requantize_vector<S>(S::add(S::load(sum + kLanes), bias1), scale1, lo, hi, zero);
      if (columns == S::kPanel) {
        S::store_panel(line + q * g.out_channels, x, y);
      } else {
        uint8_t codes[S::kPanel];
        S::store_panel(codes, x, y);
        copy_codes(line + q * g.out_channels, codes, columns);
      }
    }
}

// One panel of all tiles, V vectors of output channels.
template <class S, class T, int V>
void winograd_panel(const WinogradArgs& g, int64_t j, int64_t columns) {
  constexpr int kProducts = T::kIn * T::kIn;
  alignas(64) int32_t sums[T::kOut * T::kOut * S::kPanel] = {};  // with V = 1 half of them stay unused
  for (int64_t part = 0; part < g.parts; ++part) winograd_products<S, T, V>(g, j / S::kPanel, part);
  for (int64_t t = 0; t < g.count; ++t) {
    for (int64_t part = 0; part < g.parts; ++part) {
      const int32_t* m = g.m + part * kProducts * g.m_plane + t * S::kPanel;
      const int32_t* centre = g.centre + part * g.centre_stride + j;
      part ? winograd_output_panel<S, T, V, true>(m, g.m_plane, centre, sums)
           : winograd_output_panel<S, T, V, false>(m, g.m_plane, centre, sums);
    }
    winograd_store<S, T>(g, winograd_place<S, T>(g, g.first + t), sums, j, columns);
  }
}

template <class S, class T>
void winograd_output(const WinogradArgs& g) {
  for (int64_t j = 0; j < g.columns; j += S::kPanel) {
    const int64_t columns = g.columns - j < S::kPanel ? g.columns - j : S::kPanel;
    columns > S::kLanes ? winograd_panel<S, T, 2>(g, j, columns) : winograd_panel<S, T, 1>(g, j, columns);
  }
}

template <class S, class T>
constexpr WinogradKernels winograd_kernels() {
  return {.out = T::kOut,
          .vector = S::kLanes * S::Words::kGroup,
          .group = S::Words::kGroup,
          .input = winograd_input<S, T>,
          .output = winograd_output<S, T>};
}

}  // namespace kernels
}  // namespace octensor
