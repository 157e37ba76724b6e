// out[n, rows] = x[n, cols] · w[rows, cols]ᵀ for weights in their file type.
//
// Idea: one vector accumulator per (row, token), never more, so that a result has the same bits
// whether a token is computed alone (decode) or among others (prefill). Speed comes from tiles:
// 8 rows × 1 token when decoding (8 independent FMA chains, x loaded once per 8 rows), 2 rows × 4
// tokens in prefill (each converted weight vector is used four times). Weights are converted in
// registers; nothing is written back. Row chunks of 32 keep their weights in the L2 cache while
// blocks of 16 tokens pass. Compiled once per instruction set, chosen at run time (Highway).
#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>

#include "engine/base/half.h"
#include "kernels/ops.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/matmul.cpp"
#include "hwy/foreach_target.h"  // NOLINT: must come before highway.h
#include "hwy/highway.h"
#include "kernels/cpu/matmul_blocks-inl.h"

HWY_BEFORE_NAMESPACE();
namespace layerscope::kernels::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;
using D = hn::ScalableTag<float>;
using V = hn::Vec<D>;

struct LoadF32 {
  static HWY_INLINE V vector(D d, const std::byte* row, std::size_t c) {
    return hn::LoadU(d, reinterpret_cast<const float*>(row) + c);
  }
  static HWY_INLINE float scalar(const std::byte* row, std::size_t c) {
    return reinterpret_cast<const float*>(row)[c];
  }
};

struct LoadF16 {
  static HWY_INLINE V vector(D d, const std::byte* row, std::size_t c) {
    const hn::Rebind<hwy::float16_t, D> dh;
    return hn::PromoteTo(d, hn::LoadU(dh, reinterpret_cast<const hwy::float16_t*>(row) + c));
  }
  static HWY_INLINE float scalar(const std::byte* row, std::size_t c) {
    return f16_to_f32(reinterpret_cast<const std::uint16_t*>(row)[c]);
  }
};

struct LoadBf16 {
  static HWY_INLINE V vector(D d, const std::byte* row, std::size_t c) {
    const hn::Rebind<hwy::bfloat16_t, D> dh;
    return hn::PromoteTo(d, hn::LoadU(dh, reinterpret_cast<const hwy::bfloat16_t*>(row) + c));
  }
  static HWY_INLINE float scalar(const std::byte* row, std::size_t c) {
    return bf16_to_f32(reinterpret_cast<const std::uint16_t*>(row)[c]);
  }
};

/// Numbers that no model computes with in earnest: one by one.
template <class T>
struct LoadNumber {
  static HWY_INLINE V vector(D d, const std::byte* row, std::size_t c) {
    float values[HWY_MAX_BYTES / sizeof(float)];
    for (std::size_t i = 0; i < hn::Lanes(d); ++i) {
      values[i] = scalar(row, c + i);
    }
    return hn::LoadU(d, values);
  }
  static HWY_INLINE float scalar(const std::byte* row, std::size_t c) {
    T value;
    std::memcpy(&value, row + c * sizeof(T), sizeof(T));
    return static_cast<float>(value);
  }
};

/// kRows × kTokens dots of plain types. `w[r]` points to a row, `x[t]` to a token's activations.
template <class Load, int kRows, int kTokens>
HWY_INLINE void dot_plain(const std::array<const std::byte*, kRows>& w,
                          const std::array<const float*, kTokens>& x, std::size_t cols,
                          float (&sums)[kRows][kTokens]) {
  const D d;
  const std::size_t lanes = hn::Lanes(d);
  V acc[kRows][kTokens];
  for (auto& row : acc) {
    for (V& v : row) {
      v = hn::Zero(d);
    }
  }
  std::size_t c = 0;
  for (; c + lanes <= cols; c += lanes) {
    V weight[kRows];
    for (std::size_t r = 0; r < kRows; ++r) {
      weight[r] = Load::vector(d, w[r], c);
    }
    for (std::size_t t = 0; t < kTokens; ++t) {
      const V value = hn::LoadU(d, x[t] + c);
      for (std::size_t r = 0; r < kRows; ++r) {
        acc[r][t] = hn::MulAdd(weight[r], value, acc[r][t]);
      }
    }
  }
  for (std::size_t r = 0; r < kRows; ++r) {
    for (std::size_t t = 0; t < kTokens; ++t) {
      float sum = hn::GetLane(hn::SumOfLanes(d, acc[r][t]));
      for (std::size_t i = c; i < cols; ++i) {
        sum += Load::scalar(w[r], i) * x[t][i];
      }
      sums[r][t] = sum;
    }
  }
}

template <class Load>
struct Plain {
  template <int kRows, int kTokens>
  static HWY_INLINE void dot(const std::array<const std::byte*, kRows>& w,
                             const std::array<const float*, kTokens>& x, std::size_t cols,
                             float (&sums)[kRows][kTokens]) {
    dot_plain<Load, kRows, kTokens>(w, x, cols, sums);
  }
};

template <DType kType>
struct Blocks {
  template <int kRows, int kTokens>
  static HWY_INLINE void dot(const std::array<const std::byte*, kRows>& w,
                             const std::array<const float*, kTokens>& x, std::size_t cols,
                             float (&sums)[kRows][kTokens]) {
    dot_blocks<kType, kRows, kTokens>(w, x, cols, sums);
  }
};

/// One tile of the product: rows [row, row + kRows), tokens [token, token + kTokens).
template <class Type, int kRows, int kTokens>
HWY_INLINE void tile(const Product& p, const float* x, std::size_t cols, std::size_t row,
                     std::size_t token) {
  std::array<const std::byte*, kRows> w;
  std::array<const float*, kTokens> xs;
  const std::size_t row_bytes = dtype_bytes(p.w.dtype, cols);
  for (std::size_t r = 0; r < kRows; ++r) {
    w[r] = p.w.data + (row + r) * row_bytes;
  }
  for (std::size_t t = 0; t < kTokens; ++t) {
    xs[t] = x + (token + t) * cols;
  }
  float sums[kRows][kTokens];
  Type::template dot<kRows, kTokens>(w, xs, cols, sums);
  for (std::size_t r = 0; r < kRows; ++r) {
    const float bias = p.bias != nullptr ? p.bias[row + r] : 0.0F;
    for (std::size_t t = 0; t < kTokens; ++t) {
      p.out[(token + t) * p.out_stride + row + r] = sums[r][t] + bias;
    }
  }
}

template <class Type>
void rows_of_type(const Product& p, const float* x, std::size_t n_tokens, std::size_t cols,
                  std::size_t begin, std::size_t end) {
  constexpr std::size_t kTokenBlock = 16;
  constexpr std::size_t kRowChunk = 32;
  for (std::size_t chunk = begin; chunk < end; chunk += kRowChunk) {
    const std::size_t chunk_end = std::min(end, chunk + kRowChunk);
    for (std::size_t block = 0; block < n_tokens; block += kTokenBlock) {
      const std::size_t block_end = std::min(n_tokens, block + kTokenBlock);
      const std::size_t fours = block + (block_end - block) / 4 * 4;
      std::size_t row = chunk;
      for (; row + 2 <= chunk_end && fours > block; row += 2) {
        for (std::size_t t = block; t < fours; t += 4) {
          tile<Type, 2, 4>(p, x, cols, row, t);
        }
      }
      for (; row < chunk_end && fours > block; ++row) {
        for (std::size_t t = block; t < fours; t += 4) {
          tile<Type, 1, 4>(p, x, cols, row, t);
        }
      }
      for (std::size_t t = fours; t < block_end; ++t) {
        row = chunk;
        for (; row + 8 <= chunk_end; row += 8) {
          tile<Type, 8, 1>(p, x, cols, row, t);
        }
        for (; row < chunk_end; ++row) {
          tile<Type, 1, 1>(p, x, cols, row, t);
        }
      }
    }
  }
}

void matmul_rows(const Product& p, const float* x, std::size_t n_tokens, std::size_t cols,
                 std::size_t begin, std::size_t end) {
  switch (p.w.dtype) {
    case DType::kF32:
      return rows_of_type<Plain<LoadF32>>(p, x, n_tokens, cols, begin, end);
    case DType::kF16:
      return rows_of_type<Plain<LoadF16>>(p, x, n_tokens, cols, begin, end);
    case DType::kBF16:
      return rows_of_type<Plain<LoadBf16>>(p, x, n_tokens, cols, begin, end);
    case DType::kF64:
      return rows_of_type<Plain<LoadNumber<double>>>(p, x, n_tokens, cols, begin, end);
    case DType::kI8:
      return rows_of_type<Plain<LoadNumber<std::int8_t>>>(p, x, n_tokens, cols, begin, end);
    case DType::kI16:
      return rows_of_type<Plain<LoadNumber<std::int16_t>>>(p, x, n_tokens, cols, begin, end);
    case DType::kI32:
      return rows_of_type<Plain<LoadNumber<std::int32_t>>>(p, x, n_tokens, cols, begin, end);
    case DType::kI64:
      return rows_of_type<Plain<LoadNumber<std::int64_t>>>(p, x, n_tokens, cols, begin, end);
    default:
      // The loader refuses types that are not decodable.
      for_block_dtype(p.w.dtype, [&]<DType kType>() {
        rows_of_type<Blocks<kType>>(p, x, n_tokens, cols, begin, end);
      });
  }
}

}  // namespace layerscope::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace layerscope::kernels {
namespace {

HWY_EXPORT(matmul_rows);

/// Multiply-adds below which a second thread costs more than it brings (a wake-up is about 2 µs).
constexpr std::size_t kMinWorkPerPart = 32768;

}  // namespace

void matmul(ThreadPool& pool, const Product* products, std::size_t n_products, const float* x,
            std::size_t n_tokens, std::size_t cols) {
  std::size_t total_rows = 0;
  for (std::size_t i = 0; i < n_products; ++i) {
    total_rows += products[i].w.rows;
  }
  // Chunks are multiples of 8 rows (one decode tile); a few per thread even out other load.
  const std::size_t work = std::max<std::size_t>(1, n_tokens * cols);
  const std::size_t least = std::max<std::size_t>(8, (kMinWorkPerPart / work + 7) / 8 * 8);
  const auto threads = static_cast<std::size_t>(pool.size());
  const std::size_t even = (total_rows / (threads * 4) + 7) / 8 * 8;
  const std::size_t chunk = std::max(least, even);
  const std::size_t n_parts = (total_rows + chunk - 1) / chunk;
  pool.run(static_cast<int>(n_parts), [&](int part) {
    std::size_t begin = static_cast<std::size_t>(part) * chunk;
    std::size_t left = std::min(chunk, total_rows - begin);
    for (std::size_t i = 0; i < n_products && left > 0; ++i) {
      const std::size_t rows = products[i].w.rows;
      if (begin >= rows) {
        begin -= rows;
        continue;
      }
      const std::size_t take = std::min(left, rows - begin);
      HWY_DYNAMIC_DISPATCH(matmul_rows)(products[i], x, n_tokens, cols, begin, begin + take);
      left -= take;
      begin = 0;
    }
  });
}

}  // namespace layerscope::kernels
#endif  // HWY_ONCE
