#include "isa/dispatch.h"

#include <atomic>
#include <cstdlib>

#include "core/check.h"
#include "isa/cpu.h"

namespace octensor {

extern const KernelTable table_scalar, table_avx2, table_avxvnni, table_avx512vnni, table_neon, table_neondot,
    table_neoni8mm;

const std::vector<IsaRow>& isa_rows() {
  static const std::vector<IsaRow> rows = {
#if OCTENSOR_HAS_AVX512VNNI
      {"avx512vnni",
       &table_avx512vnni,
       {"avx2", "fma", "avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512_vnni", "zmm_state"}},
#endif
#if OCTENSOR_HAS_AVXVNNI
      {"avxvnni", &table_avxvnni, {"avx2", "fma", "avx_vnni", "ymm_state"}},
#endif
#if OCTENSOR_HAS_AVX2
      {"avx2", &table_avx2, {"avx2", "fma", "ymm_state"}},
#endif
#if OCTENSOR_HAS_NEONI8MM
      {"neoni8mm", &table_neoni8mm, {"asimd", "asimddp", "i8mm"}},
#endif
#if OCTENSOR_HAS_NEONDOT
      {"neondot", &table_neondot, {"asimd", "asimddp"}},
#endif
#if OCTENSOR_HAS_NEON
      {"neon", &table_neon, {"asimd"}},
#endif
      {"scalar", &table_scalar, {}},
  };
  return rows;
}

std::vector<const char*> IsaRow::missing() const {
  std::vector<const char*> out;
  for (const char* feature : needs)
    if (!cpu_has(feature)) out.push_back(feature);
  return out;
}

namespace {

const KernelTable& find(const std::string& name, const char* who) {
  std::string usable;
  for (const IsaRow& row : isa_rows()) {
    if (!row.supported()) continue;
    if (name == row.name) return *row.kernels;
    usable += std::string(usable.empty() ? "" : ", ") + row.name;
  }
  throw ValueError(
      text(who, ": expected one of the instruction sets that this CPU supports (", usable, "), got '", name, "'"));
}

const KernelTable& choose() {
  if (const char* forced = std::getenv("OCTENSOR_ISA"); forced && *forced) return find(forced, "OCTENSOR_ISA");
  for (const IsaRow& row : isa_rows())
    if (row.supported()) return *row.kernels;
  return *isa_rows().back().kernels;
}

std::atomic<const KernelTable*> chosen{nullptr};

}  // namespace

const KernelTable& kernel_table() {
  const KernelTable* table = chosen.load(std::memory_order_acquire);
  if (!table) [[unlikely]] {
    table = &choose();
    chosen.store(table, std::memory_order_release);
  }
  return *table;
}

void set_isa(const std::string& name) { chosen.store(&find(name, "set_isa: name"), std::memory_order_release); }

}  // namespace octensor
