// The arguments of kernels: plain structs, filled by ops.
#pragma once
#include <cstdint>

namespace octensor {

// The shape of an instruction set's GEMM tile, which fixes the layout of packed weights:
//   packed[panel][group][column][g] = w[group * kGroup + g][panel * panel_columns + column]
// padded with zeros to whole panels and whole groups.
struct GemmTile {
  int rows, panel, group, lanes;
  int activation;     // bytes of a packed activation: 2, code minus zero point; 1, the code itself ...
  bool signed_bytes;  // ... as int8 or as uint8 (simd/scalar.h)
  int mixed_block;    // groups per block of the mixed GEMM (kernels/gemm_mixed.h); 0: not mixed
  int few_rows;       // up to how many rows its kernel is kernels/gemm_row.h
};

// int32 accumulator -> 8-bit code, per output channel c:
//   clamp(round_half_even(float(acc + bias[c]) * multiplier[c]), lo, hi) + zero_point
// lo and hi are the output bounds minus the zero point, so that clamping happens before the addition.
// bias and multiplier can be read for a whole vector from any channel on.
struct Requantize {
  const int32_t* bias;
  const float* multiplier;
  float lo, hi;
  int32_t zero_point;
  bool within = false;  // proved: float(acc + bias) * multiplier[c] stays inside int32, with a margin
};

// int32 sum -> float, for row i and column c:
//   y = float(sum - row_zero[i] * column_sum[c]) * (row_scale[i] * column_scale[c]) + bias[c]
// every operation rounded once, the subtraction modulo 2^32.
struct RealEpilogue {
  const float* column_scale;
  const float* bias;  // null: none
  const float* row_scale;
  const int32_t* row_zero;    // zero points that packing left in the rows; null: none
  const int32_t* column_sum;  // sum over k of the weights less their zero point, with row_zero
  bool relu;                  // reals below 0 become 0
};

// One block of rows times all panels of one weight matrix.
struct GemmArgs {
  const void* a;  // rows x k packed activations; row stride lda (bytes, when interleaved), k padded to whole groups
  int64_t rows, lda;
  const int8_t* b;  // packed panels, first column first
  int64_t columns;  // valid columns from b's first panel on
  int64_t groups;   // k / kGroup, rounded up
  // Mixed GEMM only, from b's first panel on (kernels/mixed_tile.h): per panel its groups' byte offsets in their blocks
  // of weights, in the order in which they are multiplied; per panel and block where plain twins, plain singles and
  // flipped twins end; per column what flipped sums lack, padded as weight_sums are. Else null.
  const uint16_t *order, *ends;
  const int32_t* flipped_sums;
  // Where packed activations hold their zero point: that, and the sums of the columns' weights, readable for two whole
  // panels from any panel on. Else null.
  int32_t code_zero;
  const int32_t* weight_sums;
  // Weight zero points: subtracts row_sums[i] * weight_zero[j]; both null when all are zero.
  const int32_t* row_sums;
  const int32_t* weight_zero;
  Requantize requantize;  // used when `codes` is set; pointers at b's first column
  // Out, row stride ldc. One of: 8-bit codes, the int32 sums themselves, or reals.
  uint8_t* codes;
  int32_t* sums;
  float* reals;
  RealEpilogue real;  // used when `reals` is set; pointers at b's first column and a's first row
  int64_t ldc;
  int32_t* scratch;  // at least rows * two vectors of int32
  bool backward;     // from the last columns to the first
};

// Channels that a depthwise convolution handles at a time.
inline constexpr int kDepthwiseChannels = 16;

// The channel at which a block begins.
inline constexpr int64_t depthwise_channel(int64_t block, int64_t channels) {
  const int64_t most = channels - kDepthwiseChannels;
  return most < 0 ? 0 : block * kDepthwiseChannels < most ? block * kDepthwiseChannels : most;
}

// One kind of step's activations along a line of outputs: kGroup taps interleaved, a cell per index. Index i of tap t
// is the input's column `column[t] + i * step` (before upsampling) of the row that row tap `row[t]` reads.
struct DepthwiseStream {
  int32_t row[4];
  int64_t column[4];
  int64_t base;   // its first cell in the buffer
  int64_t extra;  // cells needed beyond one per output
  // Indices for which every tap lies inside the line; the others are looked up in `offsets`.
  int64_t inner_begin, inner_end;
};

// Some lines of outputs of a depthwise convolution, for some blocks of kDepthwiseChannels channels. Each output is the
// sum over steps k of  weights[k] . cell[cells[k] + its index].  Fewer than a block's channels are one short block;
// from there on the last block ends at the last channel and may overlap the one before.
struct DepthwiseArgs {
  int64_t lines;
  const uint8_t* const* rows;  // [lines][row_taps] the input row that a tap reads, at channel 0
  int64_t row_taps;
  const int64_t* offsets;  // byte offset in a row of each column, from the first one any stream reads; -1: padding
  int64_t first_column;    // the column that offsets[0] stands for
  int64_t column_stride;   // bytes between the input's columns
  int64_t step;            // columns between neighbouring indices
  const uint8_t* padding;  // a row of the zero point's code
  const DepthwiseStream* streams;
  int64_t stream_count;
  const int64_t* cells;  // [steps]
  int64_t steps;
  const void* weights;  // [blocks][steps][channel][kGroup], typed as activations are, channels in the set's order
  int64_t channels, first_block, last_block;
  bool is_signed;          // codes are int8
  Requantize requantize;   // [blocks][channel], in that order; the bias already holds -zero_point * sum of weights
  uint8_t* out;            // [lines][width][channels]
  int64_t width, segment;  // outputs per line; as many of them share a filling of the buffer ...
  int64_t blocks;          // ... with this many blocks
  int64_t cell_count;      // cells of a block in the buffer
  void* buffer;
  // Where `window` is set (kernels/depthwise_3x3.h) the members from `offsets` to `first_column`, from `streams` to
  // `cells` and from `segment` to `buffer` are not used, but these.
  bool window;
  int64_t lead, columns;      // columns of padding before the input's, and its own
  const uint8_t** addresses;  // room for those of the rows of (width - 1) * step + 4 columns
};

// Rows that are made of runs of codes, all of one length (kernels/patches.h).
struct PatchRun {
  const uint8_t* from;  // of the first row
  int64_t advance;      // bytes to the next row's
};
struct RunArgs {
  const PatchRun* runs;
  int64_t count, length, rows;
  bool is_signed;
  int32_t zero_point;
  void* out;  // packed as pack_codes packs, the rows row_bytes apart
  int64_t row_bytes;
};

// Input positions of a grouped convolution, laid out for the lanes of one vector of output channels, in `steps` steps
// of input channels.
struct SpreadArgs {
  const uint8_t* codes;  // the first position's channel 0
  int64_t advance;       // bytes to the next position
  int64_t positions, steps;
  const uint8_t* last;     // positions up to this address may be read in windows
  const int32_t* windows;  // per step and 16 values of a vector: where the 16 bytes begin that hold them ...
  const uint8_t* index;    // ... and per value, padded to 16, which of those it is
  const int32_t* offsets;  // per step and value: which byte of the position it is
  bool is_signed;
  int32_t zero_point;
  void* out;      // per step the positions' vectors ...
  int64_t plane;  // ... and so many vectors from one step to the next
};

// One run of output positions of a grouped convolution, one vector of output channels.
struct GroupedArgs {
  const void* const* sources;  // per step: the vectors of the positions that it multiplies, one after the other
  const void* weights;         // [steps] vectors
  int64_t steps, pixels;
  Requantize requantize;  // of the first lane; readable for a whole vector
  int64_t channels;       // lanes that exist
  uint8_t* out;           // row stride out_stride
  int64_t out_stride;
};

// Some output tiles of a 3x3 convolution by Winograd's algorithm (kernels/winograd.h). Tiles are numbered along the
// width, then the height, then the batch. P = (outputs per tile and axis + 2)^2 products per tile; the input channels
// are summed in `parts` parts, whose exact sums are added at the end.
struct WinogradArgs {
  const uint8_t* x;
  int64_t image_stride, row_stride, column_stride;  // bytes; channels are adjacent
  int64_t height, width, channels;
  int64_t lead_height, lead_width;  // padding before the input
  bool is_signed;
  int32_t zero_point;
  int64_t tile_rows, tile_columns;  // tiles per image
  int64_t first, count;             // tiles of this call
  int16_t* v;                       // transformed input: [P][v_plane], in it [count][v_row]
  int64_t v_plane, v_row;
  const int16_t* u;              // transformed weights: [panels][P][groups][panel][kGroup]
  int64_t groups, part_groups;   // groups of input channels, and those of one part
  int64_t columns;               // output channels from u's first panel on
  const int32_t* centre;         // [parts][centre_stride]: what the middle of each sum's range is
  int64_t parts, centre_stride;  //
  int32_t* m;                    // scratch: [parts][P][m_plane], in it [count][panel]
  int64_t m_plane;
  Requantize requantize;  // bias with the centres of all parts added; vectors padded to whole panels
  uint8_t* out;           // channels-last; the first panel's first channel
  int64_t out_height, out_width, out_channels;
};

// codes -> float -> codes for element-wise ops.
struct BinaryArgs {
  const uint8_t *a, *b;
  uint8_t* out;
  int64_t n;
  bool a_signed, b_signed;
  int32_t a_zero, b_zero, out_zero;
  float a_scale, b_scale;  // add
  float out_scale;         // add: divides; mul: multiplies (a_scale * b_scale / out scale)
  float lo, hi;            // output bounds minus the zero point (relu raises lo to 0)
  bool multiply;           // add: in place of dividing, where that is proved to be the same (kernels/binary.h)
};

}  // namespace octensor
