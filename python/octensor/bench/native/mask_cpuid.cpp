// Answers the CPUID instructions that bench/mask.py took out of the peers' libraries (copies of them), as
// a CPU with AVX2 and nothing beyond would. Preloaded; Linux on x86-64.
//
// Each `cpuid` (0F A2) was replaced by 0F 0A, which no CPU defines: it raises SIGILL, and the handler below
// executes the real instruction, clears what AVX2 machines lack, and steps over the two bytes. A genuine
// trap (ud2, 0F 0B) is left to kill the process as ever.
#include <cpuid.h>
#include <ucontext.h>

#include <csignal>
#include <cstdint>
#include <initializer_list>

namespace {

constexpr uint32_t bits(std::initializer_list<int> positions) {
  uint32_t mask = 0;
  for (const int position : positions) mask |= 1u << position;
  return mask;
}

// Leaf 7, subleaf 0: AVX-512 F, DQ, IFMA, PF, ER, CD, BW, VL; VBMI, VBMI2, GFNI, VNNI, BITALG, VPOPCNTDQ;
// 4VNNIW, 4FMAPS, VP2INTERSECT, AMX-BF16, AVX512-FP16, AMX-TILE, AMX-INT8.
constexpr uint32_t k7b = bits({16, 17, 21, 26, 27, 28, 30, 31});
constexpr uint32_t k7c = bits({1, 6, 8, 11, 12, 14});
constexpr uint32_t k7d = bits({2, 3, 8, 22, 23, 24, 25});
// Subleaf 1: AVX-VNNI, AVX512-BF16, AMX-FP16, AVX-IFMA; AVX-VNNI-INT8, AVX-NE-CONVERT, AMX-COMPLEX,
// AVX-VNNI-INT16, AVX10.
constexpr uint32_t k71a = bits({4, 5, 21, 23});
constexpr uint32_t k71d = bits({4, 5, 8, 10, 19});

void answer(uint32_t leaf, uint32_t subleaf, uint32_t out[4]) {
  __cpuid_count(leaf, subleaf, out[0], out[1], out[2], out[3]);
  if (leaf == 7 && subleaf == 0) {
    out[1] &= ~k7b;
    out[2] &= ~k7c;
    out[3] &= ~k7d;
  } else if (leaf == 7 && subleaf == 1) {
    out[0] &= ~k71a;
    out[3] &= ~k71d;
  } else if (leaf == 0x24 || leaf == 0x1D || leaf == 0x1E) {  // AVX10 versions, AMX tiles
    out[0] = out[1] = out[2] = out[3] = 0;
  }
}

struct sigaction previous;

void handle(int signal, siginfo_t* info, void* context) {
  auto* registers = static_cast<ucontext_t*>(context)->uc_mcontext.gregs;
  const auto* code = reinterpret_cast<const uint8_t*>(registers[REG_RIP]);
  if (code[0] != 0x0F || code[1] != 0x0A) {
    sigaction(SIGILL, &previous, nullptr);  // returns to the same instruction, and so to the earlier handler
    return;
  }
  (void)signal, (void)info;
  uint32_t out[4];
  answer(static_cast<uint32_t>(registers[REG_RAX]), static_cast<uint32_t>(registers[REG_RCX]), out);
  registers[REG_RAX] = out[0];
  registers[REG_RBX] = out[1];
  registers[REG_RCX] = out[2];
  registers[REG_RDX] = out[3];
  registers[REG_RIP] += 2;
}

// Before the constructors of any library that asks.
__attribute__((constructor(101))) void install() {
  struct sigaction action = {};
  action.sa_sigaction = handle;
  action.sa_flags = SA_SIGINFO | SA_NODEFER;
  sigaction(SIGILL, &action, &previous);
}

}  // namespace
