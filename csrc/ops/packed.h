// Weights made ready for the kernels: a cache over (weight, bias), never saved.
//
// A packed object keeps the quantized weight it was made from, which may lie in a mapped file, and packs it for an
// instruction set the first time a kernel of that set asks (forcing another set packs again). The weight's codes are
// read while packing and at no other time: nothing keeps a second copy of them, and a mapped file's pages may go. What
// depends on the activations' parameters too (int32 bias, multipliers) is computed when they are first seen and kept.
#pragma once
#include <array>
#include <memory>
#include <mutex>
#include <vector>

#include "core/qtensor.h"
#include "kernels/table.h"

namespace octensor {

// What flipping the top bit adds to a code whose signedness is not that of the bytes that kernels read.
inline int32_t byte_shift(bool is_signed, bool signed_bytes) {
  return is_signed == signed_bytes ? 0 : is_signed ? 128 : -128;
}

// Entries after what kernels read by whole vectors from any channel on.
inline constexpr int64_t kEpiloguePadding = 64;

// The codes of a WeightMatrix, [group][column][k]: read where the weight lies, or a copy that goes with this.
class WeightCodes {
 public:
  explicit WeightCodes(const QTensor& rows);
  const int8_t* data() const { return data_; }
  int8_t operator[](int64_t i) const { return data_[i]; }
  int64_t size() const { return size_; }

 private:
  StoragePtr storage_;
  const int8_t* data_;
  int64_t size_;
};

// Weights as one matrix [groups][columns][k] of int8, zero points moved into int8's range: all but its codes.
struct WeightMatrix {
  int64_t groups, columns, k;         // columns and k per group
  std::vector<int32_t> zero_points;   // [group * columns]
  std::vector<float> scales;          // [group * columns]
  std::vector<int32_t> weight_sums;   // [group * columns], sum over k of the values, without the zero point; padded
  std::vector<int32_t> centred_sums;  // the same of value - zero point
  bool asymmetric;                    // some zero point is not 0
  int64_t worst_sum;                  // max over columns of sum_k |w - zero_point|
  int64_t widest;                     // the column with the largest scale
};

// The panels of one instruction set, all groups one after the other.
struct PackedPanels {
  StoragePtr values;
  int64_t group_bytes;
  // Of the mixed GEMM: `order`, `ends` and `flipped_sums` of kernels/args.h, for all groups of the matrix.
  std::vector<uint16_t> order, ends;
  std::vector<int32_t> flipped_sums;
};

// Largest |code - zero point| that parameters allow.
int64_t reach_of(const QParams& qparams);

// Everything of the epilogue for one pair of input and output parameters; padded by kEpiloguePadding entries.
struct Epilogue {
  std::vector<int32_t> bias;
  std::vector<float> multiplier;
  bool within = false;  // see Requantize
};

class PackedWeight {
 public:
  // `op` names the caller in errors. `rows` is the weight as [out, ...], groups dividing the first axis; `weight`
  // is the same as the user gave it.
  PackedWeight(const char* op, QTensor weight, const QTensor& rows, std::vector<float> bias, int64_t groups);

  const QTensor& weight() const { return weight_; }
  const std::vector<float>& bias() const { return bias_; }  // empty: none
  const WeightMatrix& matrix() const { return matrix_; }
  WeightCodes codes() const { return WeightCodes(rows_); }
  const char* op() const { return op_; }

  // Throws ValueError when a sum could leave int32, or a bias or multiplier cannot be represented.
  std::shared_ptr<const Epilogue> epilogue(const QParams& input, const QParams& output) const;
  // Throws ValueError when a sum (and bias) could leave int32 for codes `reach` away from their zero point.
  void check_sums(int64_t reach, int64_t worst_bias = 0) const;
  // The proof for float results, with real scales: input scale * weight scale must be finite too.
  void check_reals(float input_scale, int64_t reach) const;
  std::shared_ptr<const PackedPanels> panels(const KernelTable& table) const;

  // A further form of these weights, as make(*this, table) gives it; made once per form and table.
  template <class Form, class Self>
  std::shared_ptr<const Form> form(const KernelTable& table,
                                   std::shared_ptr<const Form> (*make)(const Self&, const KernelTable&)) const {
    std::lock_guard lock(caches_->mutex);
    const std::pair key{&table, reinterpret_cast<void (*)()>(make)};
    for (auto& [known, value] : caches_->forms)
      if (known == key) return std::static_pointer_cast<const Form>(value);
    std::shared_ptr<const Form> made = make(static_cast<const Self&>(*this), table);
    caches_->forms.emplace_back(key, made);
    return made;
  }

  // As [out, in...]: the weight itself, or a transposed one's mirror image.
  const QTensor& rows() const { return rows_; }

 private:
  const char* op_;
  QTensor weight_, rows_;
  std::vector<float> bias_;
  WeightMatrix matrix_;
  struct Caches {
    std::mutex mutex;
    std::vector<std::pair<std::pair<const KernelTable*, void (*)()>, std::shared_ptr<const void>>> forms;
    std::shared_ptr<const Epilogue> epilogue;
    std::shared_ptr<const QParams> input, output;
  };
  std::unique_ptr<Caches> caches_ = std::make_unique<Caches>();
};

struct PackedLinear : PackedWeight {
  PackedLinear(QTensor weight, std::vector<float> bias);
};

// The walk of a convolution's kernel along its spatial axes, three of them: 1-D and 2-D convolutions have
// leading axes of size 1. Output o and tap t read the input at (o * step - padding + t * dilation) / upsample,
// where that is a whole number inside the input, and real 0 elsewhere. An ordinary convolution has
// upsample = 1; a transposed one has step = 1, upsample = its stride, the kernel mirrored and
// padding = dilation * (kernel - 1) - its padding.
using Triple = std::array<int64_t, 3>;

struct DepthwiseCache;  // ops/depthwise_plan.h
std::shared_ptr<DepthwiseCache> make_depthwise_cache();

struct PackedConv : PackedWeight {
  // weight [O, C / groups, k...] with 1 to 3 spatial axes; the vectors have one value per spatial axis.
  static PackedConv conv(QTensor weight, std::vector<float> bias, std::vector<int64_t> stride,
                         std::vector<int64_t> padding, std::vector<int64_t> dilation, int64_t groups);
  // weight [C, O / groups, k...].
  static PackedConv transposed(QTensor weight, std::vector<float> bias, std::vector<int64_t> stride,
                               std::vector<int64_t> padding, std::vector<int64_t> output_padding,
                               std::vector<int64_t> dilation, int64_t groups);

  // Where upsample > 1: the ordinary convolution that gives outputs first, first + upsample, ... of this one. It holds
  // the taps that meet input values there and no others, perhaps none; bias and multipliers are this one's.
  PackedConv phase(const Triple& first) const;

  // Sizes of the output for these input sizes; ValueError where the kernel does not fit.
  Triple output_size(const Triple& input) const;

  std::vector<int64_t> stride, padding, output_padding, dilation;  // as given
  int64_t groups;
  bool is_transposed;
  int spatial;                                 // number of spatial axes of the tensors that users see
  Triple kernel, step, lead, reach, upsample;  // the walk; lead is its padding, reach its dilation
  Triple extra;                                // output_padding of a transposed convolution
  std::shared_ptr<DepthwiseCache> depthwise = make_depthwise_cache();

 private:
  PackedConv(const char* op, QTensor user_weight, const QTensor& rows, std::vector<float> bias,
             std::vector<int64_t> stride, std::vector<int64_t> padding, std::vector<int64_t> output_padding,
             std::vector<int64_t> dilation, int64_t groups, bool transposed);
};

}  // namespace octensor
