// Threads and instruction sets.
#include "bind/bind.h"
#include "core/check.h"
#include "core/storage.h"
#include "core/threads.h"
#include "isa/cpu.h"
#include "isa/dispatch.h"
#include "ops/conv_choice.h"

namespace octensor::bind {
namespace {

std::string operands(int bytes, bool is_signed) { return bytes == 2 ? "16-bit words" : is_signed ? "int8" : "uint8"; }

std::vector<std::pair<std::string, std::string>> kernel_forms(const KernelTable& table) {
  const GemmTile& t = table.tile;
  const GroupedKernels& g = table.grouped_bytes;
  const char* else_words = t.mixed_block ? ", signs taken off the weights where a sum of two could overflow" : "";
  return {
      {"gemm", text(t.rows, " x ", t.panel, " sums, ", t.group, " of K a step, ",
                    operands(t.activation, t.signed_bytes), else_words)},
      {"depthwise", text("16 channels, ", table.taps.group, " taps a step, ",
                         operands(table.taps.activation, table.taps.signed_bytes))},
      {"grouped", text(t.lanes, " channels, ", g.group, " inputs a step, ", operands(g.activation, g.signed_bytes))},
      {"winograd", text(2 * t.lanes, " channels, ", table.winograd4.group, " inputs a step, 16-bit words")},
      {"others", text(t.lanes, " lanes of 32 bits")}};
}

}  // namespace

void bind_runtime(py::module_& m) {
  m.def("set_num_threads", &set_num_threads, py::arg("n"),
        "Set how many threads one op may use (1 to 1024). Results do not depend on it.");
  m.def("get_num_threads", &num_threads, "How many threads one op may use.");
  m.def(
      "isa_list",
      [] {
        std::vector<std::pair<std::string, bool>> rows;
        for (const IsaRow& row : isa_rows()) rows.emplace_back(row.name, row.supported());
        return rows;
      },
      "The instruction sets of this build, best first, each with whether this CPU supports it.");
  m.def(
      "kernel_forms", [] { return kernel_forms(kernel_table()); },
      "How the kernels that run multiply: the size of a step and the type of activations, by kernel.");
  m.def("get_isa", [] { return std::string(kernel_table().name); }, "The instruction set whose kernels run.");
  m.def("set_isa", &set_isa, py::arg("name"),
        "Choose the instruction set whose kernels run, for the whole process. Results do not depend on it.");
  m.def("release_memory", &release_unused,
        "Give memory that is kept for the next results, and that nobody uses now, back to the system.");
  m.def("set_conv_algorithm", &ops::set_conv_algorithm, py::arg("name"),
        "Prefer direct, winograd2 or winograd4 wherever it applies and is exact; auto chooses by shape. For tests and "
        "measurements: results do not depend on it.");
  m.def(
      "cpu_features",
      [] {
        py::dict features;
        for (const CpuFeature& feature : cpu_features()) features[py::str(feature.name)] = feature.present;
        return features;
      },
      "What this CPU has and this operating system saves, by the names of /proc/cpuinfo.");
  m.def(
      "isa_missing",
      [](const std::string& name) {
        for (const IsaRow& row : isa_rows())
          if (name == row.name) {
            const std::vector<const char*> missing = row.missing();
            return std::vector<std::string>(missing.begin(), missing.end());
          }
        throw ValueError(text("isa_missing: name: expected an instruction set of this build, got '", name, "'"));
      },
      py::arg("name"), "The features that an instruction set needs and that are not there.");
}

}  // namespace octensor::bind
