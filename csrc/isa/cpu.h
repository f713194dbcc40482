// What this CPU and this operating system can run.
#pragma once
#include <string>
#include <utility>
#include <vector>

namespace octensor {

struct CpuFeatures {
  bool avx2 = false;        // with FMA, and YMM state saved by the operating system
  bool avx512vnni = false;  // with F, BW, VL, DQ, and the whole ZMM and mask state saved
  bool neondot = false;     // sdot, udot
  bool neon = false;        // the aarch64 baseline
};

const CpuFeatures& cpu_features();
std::vector<std::pair<std::string, bool>> cpu_feature_list();

}  // namespace octensor
