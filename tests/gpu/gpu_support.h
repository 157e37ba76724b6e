// Device memory for tests of single operations, and random material.
#pragma once

#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <memory>
#include <random>
#include <vector>

#include "engine/base/half.h"
#include "kernels/cuda/ops.h"
#include "tests/tools/quantize.h"

namespace layerscope::kernels::cuda::testing {

constexpr float kPoison = 1e30F;
constexpr unsigned kSeed = 20260101;

/// Why there is nothing to test on; null with a GPU.
inline const char* no_gpu() {
  int n = 0;
  const cudaError_t code = cudaGetDeviceCount(&n);
  return code != cudaSuccess ? cudaGetErrorString(code) : n == 0 ? "no GPU" : nullptr;
}
#define LS_NEEDS_GPU()                                                                    \
  if (const char* why = ::layerscope::kernels::cuda::testing::no_gpu(); why != nullptr) { \
    GTEST_SKIP() << "needs a GPU: " << why;                                               \
  }

inline std::vector<float> random_values(std::size_t n, unsigned seed, float scale = 1.0F) {
  std::mt19937 rng(kSeed + seed);
  std::normal_distribution<float> normal(0.0F, scale);
  std::vector<float> values(n);
  for (float& v : values) {
    v = normal(rng);
  }
  return values;
}

/// Device memory with a value; freed at the end.
template <class T>
class Device {
 public:
  explicit Device(const std::vector<T>& values) : n_(values.size()) {
    EXPECT_EQ(cudaSuccess, cudaMalloc(&data_, std::max<std::size_t>(1, bytes())));
    EXPECT_EQ(cudaSuccess, cudaMemcpy(data_, values.data(), bytes(), cudaMemcpyHostToDevice));
  }
  Device(std::size_t n, T value) : Device(std::vector<T>(n, value)) {}
  ~Device() { cudaFree(data_); }
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  [[nodiscard]] T* get() const { return static_cast<T*>(data_); }
  [[nodiscard]] std::vector<T> read() const {
    std::vector<T> values(n_);
    EXPECT_EQ(cudaSuccess, cudaDeviceSynchronize());
    EXPECT_EQ(cudaSuccess, cudaMemcpy(values.data(), data_, bytes(), cudaMemcpyDeviceToHost));
    return values;
  }

 private:
  [[nodiscard]] std::size_t bytes() const { return n_ * sizeof(T); }
  void* data_ = nullptr;
  std::size_t n_;
};

inline Launch launch_info() {
  int sm_count = 1;
  cudaDeviceGetAttribute(&sm_count, cudaDevAttrMultiProcessorCount, 0);
  return {nullptr, sm_count, false};
}

/// A random matrix in a file type, on the host and on the device.
class TestMatrix {
 public:
  TestMatrix(DType dtype, int rows, int cols, unsigned seed = 0)
      : bytes_(make(dtype, rows, cols, seed)),
        planes_(plane_bytes(dtype, rows, cols), std::byte{0}),
        scales_(scale_bytes(dtype, rows, cols), std::byte{0}) {
    device_ = {dtype, planes_.get(), scales_.get(), rows, cols, padded_cols(dtype, cols)};
    host_ = {dtype, bytes_.data(), static_cast<std::size_t>(rows), static_cast<std::size_t>(cols)};
    if (has_planes(dtype)) {
      std::vector<std::byte> shifted(bytes_.size() + 1);  // at an odd address, as in a file
      std::memcpy(shifted.data() + 1, bytes_.data(), bytes_.size());
      const Device<std::byte> blocks(shifted);
      EXPECT_TRUE(launch_repack(launch_info(), blocks.get() + 1, device_).ok());
      EXPECT_EQ(cudaSuccess, cudaDeviceSynchronize());
    } else {
      const std::size_t row = dtype_bytes(dtype, static_cast<std::size_t>(cols));
      const std::size_t device_row = plane_bytes(dtype, 1, cols);
      EXPECT_EQ(cudaSuccess, cudaMemcpy2D(planes_.get(), device_row, bytes_.data(), row, row,
                                          static_cast<std::size_t>(rows), cudaMemcpyHostToDevice));
    }
  }

  [[nodiscard]] const DeviceMatrix& device() const { return device_; }
  [[nodiscard]] const Matrix& host() const { return host_; }

  /// out = x · wᵀ (+ bias) by the reference, for n tokens.
  [[nodiscard]] std::vector<float> multiply(const std::vector<float>& x, std::size_t n,
                                            const float* bias = nullptr) const {
    std::vector<float> out(n * host_.rows);
    reference::matmul({host_, bias, out.data(), host_.rows}, x.data(), n, host_.cols);
    return out;
  }

 private:
  static std::vector<std::byte> make(DType dtype, int rows, int cols, unsigned seed) {
    const auto r = static_cast<std::size_t>(rows);
    const auto c = static_cast<std::size_t>(cols);
    std::vector<std::byte> bytes(r * dtype_bytes(dtype, c));
    if (dtype == DType::kQ8_0) {
      std::mt19937 rng(kSeed + seed);
      for (std::size_t block = 0; block < bytes.size() / 34; ++block) {
        const std::uint16_t scale = f32_to_f16(0.01F + 0.001F * static_cast<float>(rng() % 16));
        std::memcpy(bytes.data() + block * 34, &scale, 2);
        for (std::size_t i = 2; i < 34; ++i) {
          bytes[block * 34 + i] = static_cast<std::byte>(rng() & 0xFFU);
        }
      }
      return bytes;
    }
    const std::vector<float> values = random_values(r * c, seed + static_cast<unsigned>(r + c));
    if (has_planes(dtype)) {
      return layerscope::testing::quantize(dtype, values.data(), values.size());
    }
    for (std::size_t i = 0; i < values.size(); ++i) {
      const float value = i % 97 == 0 ? 3e-7F : values[i];  // subnormal halves
      if (dtype == DType::kF32) {
        std::memcpy(bytes.data() + 4 * i, &value, 4);
      } else {
        const std::uint16_t bits = dtype == DType::kF16 ? f32_to_f16(value) : f32_to_bf16(value);
        std::memcpy(bytes.data() + 2 * i, &bits, 2);
      }
    }
    return bytes;
  }

  std::vector<std::byte> bytes_;
  Device<std::byte> planes_, scales_;
  DeviceMatrix device_;
  Matrix host_;
};

/// `cols` rounded up to whole blocks of the type.
inline int whole_blocks(DType dtype, int cols) {
  const int block = static_cast<int>(dtype_info(dtype).block);
  return (cols + block - 1) / block * block;
}

/// Largest |a − b| / (1 + |b|).
inline double difference(const std::vector<float>& a, const std::vector<float>& b) {
  EXPECT_EQ(a.size(), b.size());
  double largest = 0.0;
  for (std::size_t i = 0; i < a.size() && i < b.size(); ++i) {
    const double d = std::fabs(static_cast<double>(a[i]) - static_cast<double>(b[i])) /
                     (1.0 + std::fabs(static_cast<double>(b[i])));
    largest = std::isnan(d) ? INFINITY : std::max(largest, d);
  }
  return largest;
}

}  // namespace layerscope::kernels::cuda::testing
