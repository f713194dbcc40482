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

CpuFeatures detect() {
  CpuFeatures f;
#if defined(__x86_64__)
  unsigned a, b, c, d;
  if (!__get_cpuid(1, &a, &b, &c, &d)) return f;
  const bool osxsave = c >> 27 & 1, avx = c >> 28 & 1, fma = c >> 12 & 1;
  if (!osxsave || !avx) return f;
  uint32_t low, high;
  asm("xgetbv" : "=a"(low), "=d"(high) : "c"(0));  // XCR0: which register state the system saves
  const bool ymm = (low & 6) == 6;
  if (!ymm || !__get_cpuid_count(7, 0, &a, &b, &c, &d)) return f;
  f.avx2 = (b >> 5 & 1) && fma;
  const bool zmm = (low & 0xE6) == 0xE6;
  const bool f_dq_bw_vl = (b >> 16 & 1) && (b >> 17 & 1) && (b >> 30 & 1) && (b >> 31 & 1);
  f.avx512vnni = f.avx2 && zmm && f_dq_bw_vl && (c >> 11 & 1);
#elif defined(__aarch64__)
  f.neon = true;
  f.neondot = getauxval(AT_HWCAP) & HWCAP_ASIMDDP;
#endif
  return f;
}

}  // namespace

const CpuFeatures& cpu_features() {
  static const CpuFeatures features = detect();
  return features;
}

std::vector<std::pair<std::string, bool>> cpu_feature_list() {
  const CpuFeatures& f = cpu_features();
  return {{"avx512vnni", f.avx512vnni}, {"avx2", f.avx2}, {"neondot", f.neondot}, {"neon", f.neon}};
}

}  // namespace octensor
