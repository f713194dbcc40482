// Gives a process on a CPU with AVX2 the instructions of AVX-VNNI that the kernels use. Preloaded; Linux on x86-64.
//
// scripts/avx_vnni.py has replaced `cpuid` (0F A2) in a copy of the extension by 0F 0A, which no CPU defines and which
// raises SIGILL: the handler answers as a CPU with AVX-VNNI and without AVX-512 would. A CPU without AVX-VNNI also
// raises SIGILL at the VEX forms of vpdpbusd and vpdpwssd: the handler computes what they would have, in the registers
// that the signal saved. The program's own machine code runs, every operand and register that the compiler chose
// included.
//
// A signal takes microseconds. Where the CPU has the same instructions in their EVEX forms (AVX-512 VNNI), the ones
// listed in EXTENSION.sites are replaced beforehand by a jump, of the same 5 bytes, to their EVEX form and back.
#include <cpuid.h>
#include <dlfcn.h>
#include <sys/mman.h>
#include <ucontext.h>

#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

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

// VEX.66.0F38.W0 50 (vpdpbusd) or 52 (vpdpwssd) between registers: 5 bytes.
bool is_multiply(const uint8_t* code) {
  const bool vex = code[0] == 0xC4 && (code[1] & 0x1F) == 2 && (code[2] & 0x83) == 1;
  return vex && (code[3] == 0x50 || code[3] == 0x52) && code[4] >= 0xC0;
}

void multiply(const uint8_t* code, Registers& registers) {
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
}

// The same as EVEX: 6 bytes.
void write_evex(const uint8_t* vex, uint8_t* out) {
  out[0] = 0x62;
  out[1] = static_cast<uint8_t>((vex[1] & 0xE0) | 0x12);
  out[2] = static_cast<uint8_t>((vex[2] & 0x78) | 0x05);
  out[3] = vex[2] & 4 ? 0x28 : 0x08;
  out[4] = vex[3];
  out[5] = vex[4];
}

void write_jump(uint8_t* from, const uint8_t* to) {
  const auto distance = static_cast<int32_t>(to - (from + 5));
  from[0] = 0xE9;
  std::memcpy(from + 1, &distance, 4);
}

bool has_evex_forms() {
  uint32_t a, b, c, d;
  __cpuid_count(7, 0, a, b, c, d);
  return (b >> 31 & 1) && (c >> 11 & 1);  // AVX-512 VL, VNNI
}

// Replaces the multiplications of the extension that `inside` lies in.
void replace_multiplications(const void* inside) {
  Dl_info info;
  if (!has_evex_forms() || !dladdr(inside, &info)) return;
  auto* base = static_cast<uint8_t*>(info.dli_fbase);
  std::FILE* list = std::fopen((std::string(info.dli_fname) + ".sites").c_str(), "r");
  if (!list) return;
  constexpr size_t kThunk = 16, kRoom = 1 << 20;
  uint8_t* thunk = nullptr;
  for (size_t i = 1; i < 512 && !thunk; ++i) {  // near enough for a jump of 32 bits
    void* at = mmap(base - i * kRoom * 2, kRoom, PROT_READ | PROT_WRITE | PROT_EXEC,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    if (at != MAP_FAILED) thunk = static_cast<uint8_t*>(at);
  }
  const uint8_t* end = thunk + kRoom;
  for (unsigned long address; thunk && thunk + kThunk <= end && std::fscanf(list, "%lx", &address) == 1;) {
    uint8_t* code = base + address;
    if (!is_multiply(code)) std::abort();
    auto* page = reinterpret_cast<uint8_t*>(reinterpret_cast<uintptr_t>(code) & ~uintptr_t{4095});
    mprotect(page, 8192, PROT_READ | PROT_WRITE | PROT_EXEC);
    write_evex(code, thunk);
    write_jump(thunk + 6, code + 5);
    write_jump(code, thunk);
    thunk += kThunk;
  }
  std::fclose(list);
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
    static bool first = true;  // while the extension is imported: no other thread runs it yet
    if (first) replace_multiplications(code);
    first = false;
    answer_cpuid(machine.gregs);
    machine.gregs[REG_RIP] += 2;
    return;
  }
  Registers registers(machine.fpregs);
  const uint8_t* next = code;
  for (; is_multiply(next); next += 5) multiply(next, registers);
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
