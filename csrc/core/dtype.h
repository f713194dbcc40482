// The quantized element types: integer storage plus the range of its codes.
#pragma once
#include <cstddef>
#include <cstdint>

namespace octensor {

enum class DType : uint8_t { qint8, quint8, qint32, quint4x2 };

struct DTypeInfo {
  const char* name;
  const char* numpy;  // NumPy's name of the storage type
  size_t itemsize;    // bytes
  int64_t qmin, qmax;
};

inline constexpr DTypeInfo kDTypes[] = {
    {"qint8", "int8", 1, -128, 127},
    {"quint8", "uint8", 1, 0, 255},
    {"qint32", "int32", 4, INT32_MIN, INT32_MAX},
    {"quint4x2", "uint8", 1, 0, 15},  // a byte per code here; two to a byte where they are packed for an op
};

inline constexpr const DTypeInfo& info(DType t) { return kDTypes[static_cast<size_t>(t)]; }
inline constexpr bool is_byte(DType t) { return info(t).itemsize == 1; }
// The types that integer arithmetic runs on.
inline constexpr bool is_8bit(DType t) { return t == DType::qint8 || t == DType::quint8; }
inline constexpr bool is_signed8(DType t) { return t == DType::qint8; }

}  // namespace octensor
