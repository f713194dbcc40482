// Which instruction set's kernels run: one list, one choice per process.
//
// The first supported row wins, unless the environment variable OCTENSOR_ISA or set_isa names
// another. The choice never changes a result, only its speed.
#pragma once
#include <string>
#include <vector>

#include "kernels/table.h"

namespace octensor {

struct IsaRow {
  const char* name;
  const KernelTable* kernels;
  std::vector<const char*> needs;            // features, by the names of isa/cpu.h
  std::vector<const char*> missing() const;  // those that are not there
  bool supported() const { return missing().empty(); }
};

const std::vector<IsaRow>& isa_rows();  // best first
const KernelTable& kernel_table();      // the chosen row; ValueError when OCTENSOR_ISA is not usable
void set_isa(const std::string& name);  // ValueError when unknown or not supported here

}  // namespace octensor
