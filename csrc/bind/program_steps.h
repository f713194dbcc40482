// How Python adds a step to a program: _C.Program.NAME(inputs, path, arguments...) -> value, or values.
#pragma once
#include "bind/bind.h"
#include "program/program.h"

namespace octensor::bind {

using ProgramClass = py::class_<program::Program>;

template <class... Args, class Make, class... Extra>
void step(ProgramClass& c, const char* name, Make make, const Extra&... extra) {
  c.def(
      name,
      [name, make](program::Program& p, std::vector<int> inputs, std::string path, Args... args) {
        return p.add_step(name, std::move(path), std::move(inputs), 1, make(std::forward<Args>(args)...))[0];
      },
      py::arg("inputs"), py::arg("path"), extra...);
}

// (fixed, per_batch) of each size.
using SizePairs = std::vector<std::pair<int64_t, int64_t>>;
inline std::vector<program::Size> sizes_of(const SizePairs& pairs) {
  std::vector<program::Size> sizes;
  for (auto [fixed, per_batch] : pairs) sizes.push_back({fixed, per_batch});
  return sizes;
}

void bind_program_floats(ProgramClass& c);
void bind_program_elements(ProgramClass& c);

}  // namespace octensor::bind
