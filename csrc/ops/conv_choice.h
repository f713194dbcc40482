// Which algorithm a convolution takes: one pure function of its shape, the instruction set and what packing proved
// about the weights. It never changes a result.
#pragma once
#include <optional>
#include <string>

#include "kernels/table.h"

namespace octensor::ops {

enum class ConvAlgorithm : uint8_t { direct, winograd2, winograd4 };

struct ConvChoice {
  ConvAlgorithm algorithm;
  int parts;  // of the input channels, summed apart
};
std::string name_of(const ConvChoice& choice);  // "winograd4"; with 2 parts "winograd4/2"

// What the choice looks at.
struct ConvWork {
  bool winograd;                  // 3x3, stride 1, dilation 1, one group
  int64_t images, height, width;  // of the output
  int64_t in, out;                // channels
  int parts2, parts4;             // parts of the input channels that are exact (ops/winograd.h); 0: not exact
};

ConvChoice choose_conv(const ConvWork& work, const GemmTile& tile);

// For tests and measurements: prefer one algorithm wherever it applies and is exact; "auto" takes the choice above.
void set_conv_algorithm(const std::string& name);

}  // namespace octensor::ops
