// Working memory of a task: one buffer per thread that grows and never shrinks, so that a steady network allocates
// nothing. Valid until the thread asks again; a second slot is for what a call shares with its tasks.
#pragma once
#include "core/storage.h"

namespace octensor {

template <int Slot = 0>
uint8_t* scratch(size_t bytes) {
  thread_local StoragePtr buffer;
  thread_local size_t size = 0;
  if (size < bytes) {
    buffer = allocate(bytes);
    size = bytes;
  }
  return buffer.get();
}

}  // namespace octensor
