// layerscope_dump.h: writes what an engine computes as a Layerscope trace (.safetensors).
//
// One header, C++17, nothing but the standard library; define LAYERSCOPE_DUMP_CUDA before including
// it to pass device pointers too. Copy it into the engine under test. An example:
//
//   #include "layerscope_dump.h"
//   layerscope::Dump dump("trace.safetensors");
//   dump.begin_pass(ids, n_tokens);                       // once per forward pass, also for
//   decoding dump.put("embedding", -1, x, {n_tokens, hidden});     // −1: not of a layer for (int l
//   = 0; l < n_layers; ++l) {
//     dump.put("attn_norm", l, normed, {n_tokens, hidden});
//     dump.put("q", l, q, {n_tokens, n_heads, head_dim}); // after bias and QK-norm, before RoPE
//     ...
//   }
//   dump.put("logits", -1, logits, {1, vocab});           // the last rows, where not all are
//   computed dump.save();                                          // false and dump.error() when
//   it fails
//
//   layerscope-cli diagnose trace.safetensors --model model.gguf
//
// Taps, in order: embedding; per layer attn_norm q k v q_rope k_rope attn_scores attn_weights
// attn_context attn_out resid_mid ffn_norm ffn_gate ffn_up ffn_act ffn_out resid_out; final_norm
// logits. Shapes are [tokens, …] row-major; attn_scores (scaled, masked with −∞) and attn_weights
// are [heads, tokens, keys]. Give what the engine has: what is missing is not checked, everything
// else is. `unit_roundoff` of the constructor is the rounding of its activations: 0 (unknown),
// 2⁻²⁴ (float32), 2⁻¹¹ (float16), 2⁻⁸ (bfloat16).
//
// Not thread-safe. Values are copied by `put` (a device pointer after a synchronisation) and stay
// in memory until `save`, which writes to a temporary name and renames.
#ifndef LAYERSCOPE_DUMP_H
#define LAYERSCOPE_DUMP_H

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <initializer_list>
#include <string>
#include <utility>
#include <vector>
#ifdef LAYERSCOPE_DUMP_CUDA
#include <cuda_runtime.h>
#endif

namespace layerscope {

/// Element types that `put` takes besides float; they are stored as they are.
enum class DumpType { kF32, kF16, kBF16 };

class Dump {
 public:
  explicit Dump(std::string path, double unit_roundoff = 0.0)
      : path_(std::move(path)), unit_roundoff_(unit_roundoff) {}

  /// Starts a forward pass over the next `n` tokens of the sequence.
  void begin_pass(const std::int32_t* ids, int n) {
    passes_.emplace_back(static_cast<int>(ids_.size()), n);
    ids_.insert(ids_.end(), ids, ids + n);
  }

  /// One tensor of the present pass; `layer` −1 for embedding, final_norm and logits.
  void put(const char* tap, int layer, const float* values, std::initializer_list<int> shape) {
    put(tap, layer, values, DumpType::kF32, shape);
  }

  void put(const char* tap, int layer, const void* values, DumpType type,
           std::initializer_list<int> shape) {
    Tensor tensor;
    tensor.name = place(tap, layer);
    tensor.type = type;
    tensor.shape.assign(shape.begin(), shape.end());
    std::size_t bytes = type == DumpType::kF32 ? 4 : 2;
    for (const int d : tensor.shape) {
      bytes *= static_cast<std::size_t>(d);
    }
    tensor.data.resize(bytes);
    if (!copy(tensor.data.data(), values, bytes)) {
      return;
    }
    for (Tensor& old : tensors_) {
      if (old.name == tensor.name) {  // put twice: the later counts
        old = std::move(tensor);
        return;
      }
    }
    tensors_.push_back(std::move(tensor));
  }

  /// Writes the file. False: `error()` says why, and no file is left.
  bool save() {
    if (!error_.empty()) {
      return false;
    }
    const std::string temporary = path_ + ".part";
    std::FILE* file = std::fopen(temporary.c_str(), "wb");
    if (file == nullptr) {
      error_ = "cannot write " + temporary;
      return false;
    }
    const std::string header = header_text();
    const std::uint64_t length = header.size();
    unsigned char prefix[8];
    for (int i = 0; i < 8; ++i) {
      prefix[i] = static_cast<unsigned char>(length >> (8 * i));
    }
    bool good = std::fwrite(prefix, 1, 8, file) == 8 &&
                std::fwrite(header.data(), 1, header.size(), file) == header.size();
    for (const Tensor& tensor : tensors_) {
      good = good &&
             std::fwrite(tensor.data.data(), 1, tensor.data.size(), file) == tensor.data.size();
    }
    good = std::fclose(file) == 0 && good;
    good = good && std::rename(temporary.c_str(), path_.c_str()) == 0;
    if (!good) {
      error_ = "cannot write " + path_ + ": is the disk full?";
      std::remove(temporary.c_str());
    }
    return good;
  }

  const std::string& error() const { return error_; }

 private:
  struct Tensor {
    std::string name;
    DumpType type = DumpType::kF32;
    std::vector<int> shape;
    std::vector<unsigned char> data;
  };

  std::string place(const char* tap, int layer) const {
    std::string name = "p";
    name += std::to_string(passes_.empty() ? 0 : passes_.size() - 1) + ".";
    if (layer >= 0) {
      name += "l";
      name += std::to_string(layer) + ".";
    }
    return name + tap;
  }

  bool copy(void* to, const void* from, std::size_t bytes) {
    if (from == nullptr && bytes > 0) {
      error_ = "put was given a null pointer";
      return false;
    }
#ifdef LAYERSCOPE_DUMP_CUDA
    const cudaError_t status = cudaMemcpy(to, from, bytes, cudaMemcpyDefault);
    if (status != cudaSuccess) {
      error_ = std::string("cudaMemcpy: ") + cudaGetErrorString(status);
      return false;
    }
#else
    std::memcpy(to, from, bytes);
#endif
    return true;
  }

  /// A list of numbers in JSON.
  template <typename List>
  static std::string numbers(const List& list) {
    std::string text = "[";
    for (const auto& value : list) {
      text += text.size() > 1 ? "," : "";
      text += std::to_string(value);
    }
    return text + "]";
  }

  /// The trace's metadata; quotes are escaped because the header holds it as a string.
  std::string metadata() const {
    std::string passes;
    for (const auto& pass : passes_) {
      passes += std::string(passes.empty() ? "" : ",") + R"({\"first_position\":)" +
                std::to_string(pass.first) + R"(,\"n_tokens\":)" + std::to_string(pass.second) +
                "}";
    }
    char roundoff[32];
    std::snprintf(roundoff, sizeof(roundoff), "%.9g", unit_roundoff_);
    return R"({\"format\":1,\"ids\":)" + numbers(ids_) + R"(,\"passes\":[)" + passes +
           R"(],\"capture\":\"full\",\"unit_roundoff\":)" + roundoff + "}";
  }

  std::string header_text() const {
    std::string text = R"({"__metadata__":{"layerscope.trace":")" + metadata() + "\"}";
    std::uint64_t offset = 0;
    for (const Tensor& tensor : tensors_) {
      const char* type = tensor.type == DumpType::kF32   ? "F32"
                         : tensor.type == DumpType::kF16 ? "F16"
                                                         : "BF16";
      const std::uint64_t end = offset + tensor.data.size();
      text += ",\"" + tensor.name + R"(":{"dtype":")" + type + R"(","shape":)" +
              numbers(tensor.shape) + R"(,"data_offsets":[)" + std::to_string(offset) + "," +
              std::to_string(end) + "]}";
      offset = end;
    }
    text += "}";
    text.resize((text.size() + 7) / 8 * 8, ' ');
    return text;
  }

  std::string path_;
  double unit_roundoff_;
  std::vector<std::int32_t> ids_;
  std::vector<std::pair<int, int>> passes_;  ///< first position, tokens
  std::vector<Tensor> tensors_;
  std::string error_;
};

}  // namespace layerscope

#endif  // LAYERSCOPE_DUMP_H
