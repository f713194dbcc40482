// Float convolutions of one to three spatial axes with one order of operations (docs/numerics.md). Images are dense and
// channels-last, [batch][size 0][size 1][size 2][channels]; fewer axes have leading ones of size 1.
#pragma once
#include <array>
#include <memory>
#include <mutex>
#include <vector>

#include "core/storage.h"
#include "kernels/table.h"

namespace octensor {

// How a kernel walks over its input. Output o and tap t read the input at o * step - lead + t * reach; beyond its sides
// that is 0. A transposed convolution is as many of these as it has phases.
struct FloatWalk {
  using Triple = std::array<int64_t, 3>;
  Triple kernel{1, 1, 1}, step{1, 1, 1}, lead{0, 0, 0}, reach{1, 1, 1};
  int64_t groups = 1, channels = 1, outputs = 1;  // channels and outputs of all groups

  int64_t taps() const { return kernel[0] * kernel[1] * kernel[2]; }
  int64_t k() const { return taps() * (channels / groups); }
  bool depthwise() const { return groups == channels && outputs == channels && groups > 1; }
};

// What the user gives: one value per spatial axis (the last ones of three).
struct FloatConvSpec {
  int spatial = 2;
  FloatWalk::Triple stride{1, 1, 1}, padding{0, 0, 0}, dilation{1, 1, 1}, output_padding{0, 0, 0};
  int64_t groups = 1;
  bool transposed = false;

  // ValueError if it cannot be for a weight of this first size and kernel size.
  void check_for(int64_t first, const FloatWalk::Triple& kernel) const;
};

// A convolution's weight, [O, C / groups, kernel...] or, transposed, [C, O / groups, kernel...], dense, packed for one
// instruction set. It keeps nothing of what it was made from.
class FloatFilters {
 public:
  // `kernel` has leading ones where there are fewer axes; `first` and `second` are the weight's first two sizes.
  FloatFilters(const float* weight, int64_t first, int64_t second, const FloatWalk::Triple& kernel,
               const FloatConvSpec& spec, const KernelTable& table);

  // One ordinary convolution; several where a transposed one has a stride.
  struct Phase {
    FloatWalk walk;
    FloatWalk::Triple first;  // of the outputs, which are `spec.stride` apart
    StoragePtr panels;        // group by group; of a depthwise one [tap][channel]
    int64_t group_floats;
  };
  const std::vector<Phase>& phases() const { return phases_; }
  const FloatWalk::Triple& apart() const { return apart_; }  // outputs of a phase
  int64_t channels() const { return channels_; }
  int64_t outputs() const { return outputs_; }
  FloatWalk::Triple output_size(const FloatWalk::Triple& input) const { return output_size(spec_, kernel_, input); }
  static FloatWalk::Triple output_size(const FloatConvSpec& spec, const FloatWalk::Triple& kernel,
                                       const FloatWalk::Triple& input);
  const KernelTable& table() const { return table_; }

 private:
  FloatConvSpec spec_;
  FloatWalk::Triple kernel_, apart_{1, 1, 1};
  int64_t channels_, outputs_;
  const KernelTable& table_;
  std::vector<Phase> phases_;
};

// A layer's weight and bias: copies, packed when first used and anew when another instruction set is chosen.
class PackedFloatConv {
 public:
  PackedFloatConv(const float* weight, int64_t first, int64_t second, const FloatWalk::Triple& kernel,
                  const FloatConvSpec& spec, std::vector<float> bias);
  const float* bias() const { return bias_.empty() ? nullptr : bias_.data(); }
  std::shared_ptr<const FloatFilters> filters(const KernelTable& table) const;

 private:
  std::vector<float> weight_, bias_;
  int64_t first_, second_;
  FloatWalk::Triple kernel_;
  FloatConvSpec spec_;
  struct Cache {
    std::mutex mutex;
    std::shared_ptr<const FloatFilters> filters;
  };
  std::unique_ptr<Cache> cache_ = std::make_unique<Cache>();
};

namespace ops {

// out [batch][output size][outputs], dense; `out` does not overlap `x`.
void float_conv_into(const float* x, int64_t batch, const FloatWalk::Triple& size, const FloatFilters& w,
                     const float* bias, bool relu, float* out);

}  // namespace ops
}  // namespace octensor
