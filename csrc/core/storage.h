// Storage: the bytes of a tensor, owned (64-byte aligned) or borrowed from somebody kept alive.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>

namespace octensor {

struct StoragePtr {
  std::shared_ptr<uint8_t[]> bytes;
  bool writable = true;  // false where the memory's owner forbids it
  uint8_t* get() const { return bytes.get(); }
};

inline constexpr size_t kAlignment = 64;

inline StoragePtr allocate(size_t bytes) {
  size_t rounded = (bytes / kAlignment + 1) * kAlignment;
  void* p = rounded < bytes ? nullptr : std::aligned_alloc(kAlignment, rounded);
  if (!p) throw std::bad_alloc();
  return {{static_cast<uint8_t*>(p), [](uint8_t* q) { std::free(q); }}};
}

// `keeper` owns `data` and lives as long as the storage.
inline StoragePtr borrow(void* data, std::shared_ptr<void> keeper, bool writable) {
  return {{static_cast<uint8_t*>(data), [keeper = std::move(keeper)](uint8_t*) mutable { keeper.reset(); }}, writable};
}

}  // namespace octensor
