// Storage: the bytes of a tensor, owned (64-byte aligned) or borrowed from somebody kept alive.
//
// Fresh pages cost more than the kernels that fill them (a page fault per 4 KiB, and the kernel zeroes the
// page first), so large blocks that are let go of are kept for the next tensor: at most kCachedBlocks of
// them and kCachedBytes in all, the oldest returned to the system first (storage.cpp). Who has used many that will not
// come again may return them all.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>

namespace octensor {

struct StoragePtr {
  std::shared_ptr<uint8_t[]> bytes;
  bool writable = true;  // false where the memory's owner forbids it
  uint8_t* get() const { return bytes.get(); }
};

inline constexpr size_t kAlignment = 64;
inline constexpr size_t kCachedFrom = size_t{64} << 10;  // smaller blocks are malloc's, which keeps them itself
inline constexpr size_t kCachedBytes = size_t{128} << 20, kCachedBlocks = 64;

// Uninitialised bytes; std::bad_alloc where there are none. Any thread may allocate and let go.
StoragePtr allocate(size_t bytes);

// Gives the kept blocks that nobody uses back to the system; those of malloc as well, where it can.
void release_unused();

// `keeper` owns `data` and lives as long as the storage.
inline StoragePtr borrow(void* data, std::shared_ptr<void> keeper, bool writable) {
  return {{static_cast<uint8_t*>(data), [keeper = std::move(keeper)](uint8_t*) mutable { keeper.reset(); }}, writable};
}

}  // namespace octensor
