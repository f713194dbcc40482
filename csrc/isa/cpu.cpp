#include "isa/cpu.h"

#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

#include <cstdint>

namespace octensor {
namespace {

#if defined(__x86_64__)
struct Cpuid {
  uint32_t a = 0, b = 0, c = 0, d = 0;
  explicit Cpuid(uint32_t leaf, uint32_t subleaf = 0) {
    if (leaf <= __get_cpuid_max(0, nullptr)) __cpuid_count(leaf, subleaf, a, b, c, d);
  }
};
constexpr bool bit(uint32_t word, int i) { return word >> i & 1; }

std::vector<CpuFeature> detect() {
  const Cpuid first(1), seventh(7), more = seventh.a >= 1 ? Cpuid(7, 1) : Cpuid(UINT32_MAX);
  uint32_t low = 0, high = 0;  // XCR0: which register state the system saves
  if (bit(first.c, 27)) asm("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return {{"fma", bit(first.c, 12)},          {"avx2", bit(seventh.b, 5)},         {"avx_vnni", bit(more.a, 4)},
          {"avx512f", bit(seventh.b, 16)},    {"avx512dq", bit(seventh.b, 17)},    {"avx512bw", bit(seventh.b, 30)},
          {"avx512vl", bit(seventh.b, 31)},   {"avx512_vnni", bit(seventh.c, 11)}, {"ymm_state", (low & 0x06) == 0x06},
          {"zmm_state", (low & 0xE6) == 0xE6}};
}
#elif defined(__aarch64__)
std::vector<CpuFeature> detect() {
  constexpr unsigned long kI8mm = 1ul << 13;  // HWCAP2_I8MM, which older headers lack
  return {{"asimd", (getauxval(AT_HWCAP) & HWCAP_ASIMD) != 0},
          {"asimddp", (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0},
          {"i8mm", (getauxval(AT_HWCAP2) & kI8mm) != 0}};
}
#else
std::vector<CpuFeature> detect() { return {}; }
#endif

}  // namespace

const std::vector<CpuFeature>& cpu_features() {
  static const std::vector<CpuFeature> features = detect();
  return features;
}

bool cpu_has(std::string_view name) {
  for (const CpuFeature& feature : cpu_features())
    if (name == feature.name) return feature.present;
  return false;
}

}  // namespace octensor
