// Memory that one place of the code reuses from call to call, so that a steady network allocates nothing: one buffer
// per thread and Tag, which grows and never shrinks. A Tag names its place; no two uses of one may overlap on a thread.
#pragma once
#include "core/storage.h"

namespace octensor {

template <class Tag, class T>
T* scratch(int64_t n) {
  thread_local StoragePtr buffer;
  thread_local int64_t size = 0;
  if (size < n) {
    buffer = {};  // before the new one: peak memory is one buffer
    size = 0;
    buffer = allocate(n * sizeof(T));
    size = n;
  }
  return reinterpret_cast<T*>(buffer.get());
}

}  // namespace octensor
