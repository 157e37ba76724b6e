// Owners of CUDA objects, and the planner of device memory. One thread uses them.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

#include "engine/base/result.h"
#include "kernels/cuda/check.h"

namespace layerscope::backend::cuda {

/// Device memory.
class DeviceBuffer {
 public:
  static Result<DeviceBuffer> create(std::size_t bytes) {
    DeviceBuffer buffer;
    void* data = nullptr;
    LS_CUDA(cudaMalloc(&data, bytes > 0 ? bytes : 1));
    buffer.data_.reset(data);
    buffer.bytes_ = bytes;
    return buffer;
  }
  [[nodiscard]] void* data() const { return data_.get(); }
  [[nodiscard]] std::size_t bytes() const { return bytes_; }

 private:
  struct Free {
    void operator()(void* p) const { cudaFree(p); }
  };
  std::unique_ptr<void, Free> data_;
  std::size_t bytes_ = 0;
};

/// Page-locked host memory.
class PinnedBuffer {
 public:
  static Result<PinnedBuffer> create(std::size_t bytes) {
    PinnedBuffer buffer;
    void* data = nullptr;
    LS_CUDA(cudaMallocHost(&data, bytes > 0 ? bytes : 1));
    buffer.data_.reset(static_cast<std::byte*>(data));
    buffer.bytes_ = bytes;
    return buffer;
  }
  [[nodiscard]] std::byte* data() const { return data_.get(); }
  [[nodiscard]] std::size_t bytes() const { return bytes_; }

 private:
  struct Free {
    void operator()(std::byte* p) const { cudaFreeHost(p); }
  };
  std::unique_ptr<std::byte, Free> data_;
  std::size_t bytes_ = 0;
};

struct StreamDeleter {
  void operator()(cudaStream_t stream) const { cudaStreamDestroy(stream); }
};
using Stream = std::unique_ptr<CUstream_st, StreamDeleter>;

/// `urgent`: its kernels come before those of other streams, also when a graph records them.
inline Result<Stream> create_stream(bool urgent = false) {
  int least = 0;
  int greatest = 0;
  LS_CUDA(cudaDeviceGetStreamPriorityRange(&least, &greatest));
  cudaStream_t stream = nullptr;
  LS_CUDA(cudaStreamCreateWithPriority(&stream, cudaStreamNonBlocking, urgent ? greatest : least));
  return Stream(stream);
}

struct EventDeleter {
  void operator()(cudaEvent_t event) const { cudaEventDestroy(event); }
};
using Event = std::unique_ptr<CUevent_st, EventDeleter>;

/// `timed`: cudaEventElapsedTime may be asked.
inline Result<Event> create_event(bool timed = false) {
  cudaEvent_t event = nullptr;
  LS_CUDA(cudaEventCreateWithFlags(&event, timed ? cudaEventDefault : cudaEventDisableTiming));
  return Event(event);
}

struct GraphDeleter {
  void operator()(cudaGraphExec_t graph) const { cudaGraphExecDestroy(graph); }
};
using GraphExec = std::unique_ptr<CUgraphExec_st, GraphDeleter>;

/// Hands out pieces of one allocation. Run over the same requests twice: first with a null base to
/// learn the size, then with the memory.
class Planner {
 public:
  explicit Planner(void* base = nullptr) : base_(static_cast<std::byte*>(base)) {}

  template <class T>
  T* take(std::size_t n) {
    constexpr std::size_t kAlignment = 256;
    const std::size_t at = used_;
    used_ += (n * sizeof(T) + kAlignment - 1) / kAlignment * kAlignment;
    return base_ != nullptr ? reinterpret_cast<T*>(base_ + at) : nullptr;
  }
  [[nodiscard]] std::size_t used() const { return used_; }
  [[nodiscard]] bool measuring() const { return base_ == nullptr; }

 private:
  std::byte* base_;
  std::size_t used_ = 0;
};

}  // namespace layerscope::backend::cuda
