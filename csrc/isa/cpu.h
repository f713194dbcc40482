// What this CPU and this operating system can run, feature by feature.
//
// An instruction may be used when the CPU has it and the system saves the registers it works on. Names are those of
// /proc/cpuinfo; ymm_state and zmm_state say that the system saves these registers (XCR0).
#pragma once
#include <string_view>
#include <vector>

namespace octensor {

struct CpuFeature {
  const char* name;
  bool present;
};

// All that instruction sets ask for (isa/dispatch.cpp), of this architecture.
const std::vector<CpuFeature>& cpu_features();
bool cpu_has(std::string_view name);

}  // namespace octensor
