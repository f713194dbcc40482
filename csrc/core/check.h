// Errors of the border: every argument is validated once, before a kernel sees it.
//
// A failed check throws ValueError or TypeError (bind/ turns them into Python's) whose text reads
// "op: argument: expected ..., got ...".
#pragma once
#include <sstream>
#include <stdexcept>
#include <string>

namespace octensor {

struct ValueError : std::invalid_argument {
  using std::invalid_argument::invalid_argument;
};
struct TypeError : std::invalid_argument {
  using std::invalid_argument::invalid_argument;
};

template <class... Parts>
std::string text(const Parts&... parts) {
  std::ostringstream out;
  (out << ... << parts);
  return out.str();
}

template <class Error = ValueError, class... Parts>
void check(bool ok, const Parts&... parts) {
  if (!ok) [[unlikely]]
    throw Error(text(parts...));
}

}  // namespace octensor
