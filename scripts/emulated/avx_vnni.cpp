// Gives a process on a CPU with AVX2 the instructions of AVX-VNNI that the kernels use. Preloaded; Linux on x86-64.
//
// A CPU without them raises SIGILL at the VEX forms of vpdpbusd and vpdpwssd. The handler computes what the instruction
// would have, in the registers that the signal saved, and steps over it: the program's own machine code runs, every
// operand and every register choice of the compiler included. Only the rest of CPUID has to be arranged: where `cpuid`
// (0F A2) was replaced by 0F 0A, which no CPU defines, the answer is that of a CPU with AVX-VNNI and without AVX-512.
#include <cpuid.h>
#include <dlfcn.h>
#include <ucontext.h>

#include <csignal>
#include <cstdint>
#include <cstring>

namespace {

// The register file of a signal frame: the lower halves in the legacy area, the upper ones in the AVX component of
// the standard XSAVE layout, whose bit in the header says that they are not all zero.
class Registers {
 public:
  explicit Registers(void* frame) : frame_(static_cast<uint8_t*>(frame)) {}
  void read(int i, uint8_t* out) const {
    std::memcpy(out, frame_ + kLower + 16 * i, 16);
    if (header() & kAvx)
      std::memcpy(out + 16, frame_ + kUpper + 16 * i, 16);
    else
      std::memset(out + 16, 0, 16);
  }
  void write(int i, const uint8_t* in) {
    if (!(header() & kAvx)) {
      std::memset(frame_ + kUpper, 0, 16 * 16);
      const uint64_t all = header() | kAvx;
      std::memcpy(frame_ + kHeader, &all, sizeof all);
    }
    std::memcpy(frame_ + kLower + 16 * i, in, 16);
    std::memcpy(frame_ + kUpper + 16 * i, in + 16, 16);
  }

 private:
  static constexpr int kLower = 160, kHeader = 512, kUpper = 576;
  static constexpr uint64_t kAvx = 4;
  uint64_t header() const {
    uint64_t bits;
    std::memcpy(&bits, frame_ + kHeader, sizeof bits);
    return bits;
  }
  uint8_t* frame_;
};

// VEX.66.0F38.W0 50 (vpdpbusd) or 52 (vpdpwssd) between registers: 5 bytes. Returns whether it was one.
bool multiply(const uint8_t* code, Registers& registers) {
  const bool vex = code[0] == 0xC4 && (code[1] & 0x1F) == 2 && (code[2] & 0x83) == 1;
  if (!vex || (code[3] != 0x50 && code[3] != 0x52) || code[4] < 0xC0) return false;
  const int into = (code[4] >> 3 & 7) | (code[1] & 0x80 ? 0 : 8), from = (code[4] & 7) | (code[1] & 0x20 ? 0 : 8);
  const int lanes = code[2] & 4 ? 8 : 4;
  alignas(32) uint8_t a[32], b[32], c[32];
  registers.read(~(code[2] >> 3) & 15, a);
  registers.read(from, b);
  registers.read(into, c);
  for (int lane = 0; lane < lanes; ++lane) {
    uint32_t sum;
    std::memcpy(&sum, c + 4 * lane, 4);
    if (code[3] == 0x50) {
      for (int i = 4 * lane; i < 4 * lane + 4; ++i) sum += static_cast<uint32_t>(a[i] * static_cast<int8_t>(b[i]));
    } else {
      for (int i = 4 * lane; i < 4 * lane + 4; i += 2) {
        int16_t x, y;
        std::memcpy(&x, a + i, 2), std::memcpy(&y, b + i, 2);
        sum += static_cast<uint32_t>(x * y);
      }
    }
    std::memcpy(c + 4 * lane, &sum, 4);
  }
  if (lanes == 4) std::memset(c + 16, 0, 16);
  registers.write(into, c);
  return true;
}

void answer_cpuid(greg_t* registers) {
  const auto leaf = static_cast<uint32_t>(registers[REG_RAX]), subleaf = static_cast<uint32_t>(registers[REG_RCX]);
  uint32_t a, b, c, d;
  __cpuid_count(leaf, subleaf, a, b, c, d);
  if (leaf == 7 && subleaf == 0) {
    a = a < 1 ? 1 : a;
    b &= ~(1u << 16 | 1u << 17 | 1u << 30 | 1u << 31);  // AVX-512 F, DQ, BW, VL
    c &= ~(1u << 11);                                   // VNNI
  }
  if (leaf == 7 && subleaf == 1) a |= 1u << 4;  // AVX-VNNI
  registers[REG_RAX] = a, registers[REG_RBX] = b, registers[REG_RCX] = c, registers[REG_RDX] = d;
}

using SetAction = int (*)(int, const struct sigaction*, struct sigaction*);
SetAction real_sigaction() {
  static const auto real = reinterpret_cast<SetAction>(dlsym(RTLD_NEXT, "sigaction"));
  return real;
}

void handle(int, siginfo_t*, void* context) {
  auto& machine = static_cast<ucontext_t*>(context)->uc_mcontext;
  auto* code = reinterpret_cast<const uint8_t*>(machine.gregs[REG_RIP]);
  if (code[0] == 0x0F && code[1] == 0x0A) {
    answer_cpuid(machine.gregs);
    machine.gregs[REG_RIP] += 2;
    return;
  }
  Registers registers(machine.fpregs);
  const uint8_t* next = code;
  while (multiply(next, registers)) next += 5;
  if (next == code) {  // somebody else's: die of it
    struct sigaction action = {};
    action.sa_handler = SIG_DFL;
    real_sigaction()(SIGILL, &action, nullptr);
  }
  machine.gregs[REG_RIP] = reinterpret_cast<greg_t>(next);
}

__attribute__((constructor(101))) void install() {
  struct sigaction action = {};
  action.sa_sigaction = handle;
  action.sa_flags = SA_SIGINFO | SA_NODEFER;
  real_sigaction()(SIGILL, &action, nullptr);
}

}  // namespace

// Nobody else takes SIGILL (faulthandler would).
extern "C" int sigaction(int signal, const struct sigaction* action, struct sigaction* previous) {
  if (signal != SIGILL) return real_sigaction()(signal, action, previous);
  if (previous) std::memset(previous, 0, sizeof *previous);
  return 0;
}
