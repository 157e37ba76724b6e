// layerscope_dump.h as an engine on a GPU uses it: compiled by nvcc, given device pointers.
#define LAYERSCOPE_DUMP_CUDA
#include "assets/dump/layerscope_dump.h"

#include <string>
#include <vector>

namespace layerscope::testing {
namespace {

/// A device buffer with a copy of some bytes; null when the device gives none.
class Device {
 public:
  Device(const void* values, std::size_t bytes) {
    if (cudaMalloc(&data_, bytes) == cudaSuccess) {
      cudaMemcpy(data_, values, bytes, cudaMemcpyHostToDevice);
    }
  }
  ~Device() { cudaFree(data_); }
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;
  const void* get() const { return data_; }

 private:
  void* data_ = nullptr;
};

}  // namespace

/// Dumps float32 and half values from device memory, and one tensor from the host. Empty when all
/// went well, else why not.
std::string dump_from_device(const std::string& path, const std::vector<float>& embedding,
                             const std::vector<std::uint16_t>& normed,
                             const std::vector<float>& logits) {
  const std::vector<std::int32_t> ids{3, 1, 2};
  const Device a(embedding.data(), embedding.size() * sizeof(float));
  const Device b(normed.data(), normed.size() * sizeof(std::uint16_t));
  Dump dump(path, 0x1p-11);
  dump.begin_pass(ids.data(), 3);
  dump.put("embedding", -1, static_cast<const float*>(a.get()), {3, 8});
  dump.put("attn_norm", 0, b.get(), DumpType::kF16, {3, 8});
  dump.put("logits", -1, logits.data(), {1, 16});  // host memory works as well
  if (!dump.save()) {
    return dump.error().empty() ? "failed without a reason" : dump.error();
  }
  // A null pointer is reported, not crashed on.
  Dump bad(path + ".bad");
  bad.begin_pass(ids.data(), 3);
  bad.put("embedding", -1, static_cast<const float*>(nullptr), {3, 8});
  cudaGetLastError();
  if (bad.save() || bad.error().find("null") == std::string::npos) {
    return "a null pointer was not reported";
  }
  return {};
}

}  // namespace layerscope::testing
