// make_model: writes a GGUF with random weights in the exact shape of a known model, for speed
// measurements and tests of size.
//
//   make_model SHAPE TYPE OUT.gguf [SEED]
//
// TYPE is a tensor type or the usual mixture Q4_K_M, in which the feed-forward's last and the value
// matrices of half the layers, and the head, are Q6_K. Rows that do not divide into blocks of 256
// fall back as the usual quantiser does: Q4_K to Q5_0, Q5_K to Q5_1, Q6_K to Q8_0, others to
// IQ4_NL.
//
// Weights are normal with a standard deviation of 1/√columns, so that activations keep their size;
// norms are 1. Values come from one table per tensor, read from changing offsets: fast enough for
// 16 GB, and no two rows are alike. The tokenizer is byte-level BPE with a few merges; what is left
// of the vocabulary is padding. Layouts follow the GGUF specification.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <map>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "engine/base/half.h"
#include "kernels/dtype.h"
#include "tests/tools/quantize.h"

namespace layerscope {
namespace {

struct Shape {
  const char* name;
  const char* architecture;
  int layers, hidden, heads, kv_heads, head_dim, ffn, vocab, context;
  float rope_base;
  bool tied, qkv_bias;
  bool qk_norm = false;  ///< each head of Q and K
  bool gemma2 = false;   ///< norms after the blocks, caps, a window in every other layer
  int experts = 0, experts_used = 0;  ///< then `ffn` is the width of one
};

constexpr Shape kShapes[] = {
    {"qwen2.5-0.5b", "qwen2", 24, 896, 14, 2, 64, 4864, 151936, 32768, 1e6F, true, true},
    {"llama-3.2-1b", "llama", 16, 2048, 32, 8, 64, 8192, 128256, 131072, 5e5F, true, false},
    {"llama-3-8b", "llama", 32, 4096, 32, 8, 128, 14336, 128256, 8192, 5e5F, false, false},
    {"qwen3-0.6b", "qwen3", 28, 1024, 16, 8, 128, 3072, 151936, 40960, 1e6F, true, false, true},
    {"gemma-2-2b", "gemma2", 26, 2304, 8, 4, 256, 9216, 256000, 8192, 1e4F, true, false, false,
     true},
    // The first twelve of 48 layers: a file of 16 GB instead of 61 in F16.
    {"qwen3-30b-a3b-12l", "qwen3moe", 12, 2048, 32, 4, 128, 768, 151936, 40960, 1e6F, false, false,
     true, false, 128, 8},
    {"tiny", "llama", 2, 96, 6, 2, 16, 160, 320, 2048, 1e4F, false, false},
    {"tiny-long", "llama", 1, 32, 2, 1, 16, 64, 320, 65536, 1e4F, false, false},
    {"tiny-256", "qwen2", 2, 256, 4, 2, 64, 512, 320, 2048, 1e4F, true, true},
};

struct Tensor {
  std::string name;
  DType dtype;
  std::vector<std::uint64_t> dims;  ///< as GGUF writes them: fastest first
  std::uint64_t offset = 0;
  float value = 0.0F;  ///< of a vector; matrices are random

  [[nodiscard]] std::uint64_t elements() const {
    std::uint64_t n = 1;
    for (const std::uint64_t d : dims) {
      n *= d;
    }
    return n;
  }
  [[nodiscard]] std::uint64_t bytes() const { return dtype_bytes(dtype, elements()); }
};

/// Little-endian GGUF header.
class Header {
 public:
  template <class T>
  void number(T v) {
    const char* p = reinterpret_cast<const char*>(&v);
    bytes_.insert(bytes_.end(), p, p + sizeof(T));
  }
  void text(const std::string& s) {
    number<std::uint64_t>(s.size());
    bytes_.insert(bytes_.end(), s.begin(), s.end());
  }
  void u32(const std::string& key, std::uint32_t v) { pair(key, 4, v); }
  void f32(const std::string& key, float v) { pair(key, 6, v); }
  void boolean(const std::string& key, bool v) {
    pair(key, 7, static_cast<std::uint8_t>(v ? 1 : 0));
  }
  void string(const std::string& key, const std::string& v) {
    text(key);
    number<std::uint32_t>(8);
    text(v);
    ++pairs_;
  }
  void strings(const std::string& key, const std::vector<std::string>& list) {
    array(key, 8, list.size());
    for (const std::string& s : list) {
      text(s);
    }
  }
  void numbers(const std::string& key, const std::vector<std::int32_t>& list) {
    array(key, 5, list.size());
    for (const std::int32_t v : list) {
      number(v);
    }
  }
  [[nodiscard]] const std::vector<char>& bytes() const { return bytes_; }
  [[nodiscard]] std::uint64_t pairs() const { return pairs_; }

 private:
  template <class T>
  void pair(const std::string& key, std::uint32_t type, T v) {
    text(key);
    number(type);
    number(v);
    ++pairs_;
  }
  void array(const std::string& key, std::uint32_t type, std::uint64_t n) {
    text(key);
    number<std::uint32_t>(9);
    number(type);
    number(n);
    ++pairs_;
  }

  std::vector<char> bytes_;
  std::uint64_t pairs_ = 0;
};

std::string utf8(unsigned c) {
  if (c < 0x80) {
    return {static_cast<char>(c)};
  }
  return {static_cast<char>(0xC0U | (c >> 6U)), static_cast<char>(0x80U | (c & 0x3FU))};
}

/// The 256 bytes as GPT-2 writes them (Radford et al. 2019): printable ones as themselves, the
/// others from U+0100 on.
std::vector<std::string> byte_tokens() {
  std::vector<std::string> tokens;
  unsigned next = 256;
  for (unsigned b = 0; b < 256; ++b) {
    const bool printable = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
    tokens.push_back(utf8(printable ? b : next++));
  }
  return tokens;
}

void add_tokenizer(Header& header, const Shape& shape) {
  std::vector<std::string> tokens = byte_tokens();
  const std::string space = utf8(0x120);  // Ġ
  const std::vector<std::string> merges{space + " t", "h e", "i n", "r e", space + "t he"};
  for (const std::string& merge : merges) {
    std::string joined = merge;
    joined.erase(joined.find(' '), 1);
    tokens.push_back(joined);
  }
  std::vector<std::int32_t> types(tokens.size(), 1);  // normal
  const auto end = static_cast<std::uint32_t>(tokens.size());
  tokens.push_back("<|endoftext|>");
  types.push_back(3);  // control
  for (int i = static_cast<int>(tokens.size()); i < shape.vocab; ++i) {
    tokens.push_back("[PAD" + std::to_string(i) + "]");
    types.push_back(5);  // unused
  }
  header.string("tokenizer.ggml.model", "gpt2");
  header.string("tokenizer.ggml.pre",
                std::string(shape.architecture) == "qwen2" ? "qwen2" : "llama-bpe");
  header.strings("tokenizer.ggml.tokens", tokens);
  header.numbers("tokenizer.ggml.token_type", types);
  header.strings("tokenizer.ggml.merges", merges);
  header.u32("tokenizer.ggml.bos_token_id", end);
  header.u32("tokenizer.ggml.eos_token_id", end);
  header.boolean("tokenizer.ggml.add_bos_token", false);
}

/// What the caller asked for: one type, or the mixture.
struct Mixture {
  std::string name;
  DType main;
  bool mixed;
};

DType fitting(DType dtype, int cols) {
  if (static_cast<std::uint32_t>(cols) % dtype_info(dtype).block == 0) {
    return dtype;
  }
  return dtype == DType::kQ4_K   ? DType::kQ5_0
         : dtype == DType::kQ5_K ? DType::kQ5_1
         : dtype == DType::kQ6_K ? DType::kQ8_0
                                 : DType::kIQ4_NL;
}

/// `layer` −1: embedding and head. Half the layers get more bits: the outer eighths and every third
/// between them.
DType type_of(const Mixture& mixture, const Shape& s, const std::string& role, int layer,
              int cols) {
  const int eighth = s.layers / 8;
  const bool chosen =
      layer >= 0 && (layer < eighth || layer >= 7 * s.layers / 8 || (layer - eighth) % 3 == 2);
  const bool rich = (chosen && (role == "attn_v" || role == "ffn_down")) || role == "output" ||
                    (role == "token_embd" && s.tied);
  return fitting(mixture.mixed && rich ? DType::kQ6_K : mixture.main, cols);
}

std::vector<Tensor> list_tensors(const Shape& s, const Mixture& mixture) {
  std::vector<Tensor> list;
  const auto u = [](int v) { return static_cast<std::uint64_t>(v); };
  int layer = -1;
  const auto matrix = [&](const std::string& name, int rows, int cols) {
    const std::string role = layer < 0 ? name : name.substr(name.find('.', 4) + 1);
    const std::string base = role.substr(0, role.rfind('.'));
    list.push_back({name, type_of(mixture, s, base, layer, cols), {u(cols), u(rows)}});
  };
  const auto expert_matrices = [&](const std::string& name, int rows, int cols) {
    matrix(name, rows, cols);
    list.back().dims.push_back(u(s.experts));
  };
  const auto vector = [&](const std::string& name, int n, float value) {
    list.push_back({name, DType::kF32, {u(n)}, 0, value});
  };
  matrix("token_embd.weight", s.vocab, s.hidden);
  for (layer = 0; layer < s.layers; ++layer) {
    const std::string at = "blk." + std::to_string(layer) + ".";
    const int q = s.heads * s.head_dim;
    const int kv = s.kv_heads * s.head_dim;
    vector(at + "attn_norm.weight", s.hidden, 1.0F);
    matrix(at + "attn_q.weight", q, s.hidden);
    matrix(at + "attn_k.weight", kv, s.hidden);
    matrix(at + "attn_v.weight", kv, s.hidden);
    if (s.qkv_bias) {
      vector(at + "attn_q.bias", q, 0.1F);
      vector(at + "attn_k.bias", kv, 0.1F);
      vector(at + "attn_v.bias", kv, 0.1F);
    }
    matrix(at + "attn_output.weight", s.hidden, q);
    vector(at + "ffn_norm.weight", s.hidden, 1.0F);
    if (s.qk_norm) {
      vector(at + "attn_q_norm.weight", s.head_dim, 1.0F);
      vector(at + "attn_k_norm.weight", s.head_dim, 1.0F);
    }
    if (s.gemma2) {
      vector(at + "post_attention_norm.weight", s.hidden, 1.0F);
      vector(at + "post_ffw_norm.weight", s.hidden, 1.0F);
    }
    if (s.experts > 0) {
      list.push_back(
          {at + "ffn_gate_inp.weight", DType::kF32, {u(s.hidden), u(s.experts)}, 0, 0.0F});
      expert_matrices(at + "ffn_gate_exps.weight", s.ffn, s.hidden);
      expert_matrices(at + "ffn_up_exps.weight", s.ffn, s.hidden);
      expert_matrices(at + "ffn_down_exps.weight", s.hidden, s.ffn);
      continue;
    }
    matrix(at + "ffn_gate.weight", s.ffn, s.hidden);
    matrix(at + "ffn_up.weight", s.ffn, s.hidden);
    matrix(at + "ffn_down.weight", s.hidden, s.ffn);
  }
  layer = -1;
  vector("output_norm.weight", s.hidden, 1.0F);
  if (!s.tied) {
    matrix("output.weight", s.vocab, s.hidden);
  }
  return list;
}

/// A table of whole blocks in the tensor's type.
std::vector<std::byte> make_table(DType dtype, std::size_t n, float deviation, unsigned seed) {
  std::mt19937_64 rng(seed);
  std::normal_distribution<float> normal(0.0F, deviation);
  std::vector<float> values(n);
  for (float& v : values) {
    v = normal(rng);
  }
  return testing::quantize(dtype, values.data(), n);
}

bool write_all(int file, const void* from, std::size_t n, std::uint64_t at) {
  const char* data = static_cast<const char*>(from);
  while (n > 0) {
    const ssize_t done = ::pwrite(file, data, n, static_cast<off_t>(at));
    if (done <= 0) {
      return false;
    }
    data += done;
    n -= static_cast<std::size_t>(done);
    at += static_cast<std::uint64_t>(done);
  }
  return true;
}

bool write_tensor(int file, const Tensor& tensor, std::uint64_t start,
                  const std::vector<std::byte>& table, unsigned seed) {
  if (tensor.dims.size() == 1) {
    const std::vector<float> values(tensor.elements(), tensor.value);
    return write_all(file, values.data(), tensor.bytes(), start + tensor.offset);
  }
  std::mt19937_64 rng(seed);
  const std::size_t block = dtype_info(tensor.dtype).block_bytes;
  const std::size_t half = table.size() / 2 / block * block;
  for (std::uint64_t done = 0; done < tensor.bytes();) {
    const std::size_t offset = rng() % (half / block) * block;
    const std::size_t n = std::min<std::uint64_t>(half, tensor.bytes() - done);
    if (!write_all(file, table.data() + offset, n, start + tensor.offset + done)) {
      return false;
    }
    done += n;
  }
  return true;
}

int run(const Shape& shape, const Mixture& mixture, const std::string& path, unsigned seed) {
  constexpr std::uint64_t kAlignment = 32;
  const std::string arch = shape.architecture;
  std::vector<Tensor> tensors = list_tensors(shape, mixture);
  Header body;
  body.string("general.architecture", arch);
  body.string("general.name", std::string(shape.name) + " (random)");
  const auto u32 = [&](const char* key, int v) {
    body.u32(arch + "." + key, static_cast<std::uint32_t>(v));
  };
  u32("context_length", shape.context);
  u32("embedding_length", shape.hidden);
  u32("block_count", shape.layers);
  u32("feed_forward_length", shape.ffn);
  u32("attention.head_count", shape.heads);
  u32("attention.head_count_kv", shape.kv_heads);
  u32("rope.dimension_count", shape.head_dim);
  u32("attention.key_length", shape.head_dim);
  u32("attention.value_length", shape.head_dim);
  if (shape.gemma2) {
    constexpr int kWindow = 4096;
    u32("attention.sliding_window", kWindow);
    body.f32(arch + ".attn_logit_softcapping", 50.0F);
    body.f32(arch + ".final_logit_softcapping", 30.0F);
  }
  if (shape.experts > 0) {
    u32("expert_count", shape.experts);
    u32("expert_used_count", shape.experts_used);
    u32("expert_feed_forward_length", shape.ffn);
  }
  body.f32(arch + ".rope.freq_base", shape.rope_base);
  body.f32(arch + ".attention.layer_norm_rms_epsilon", 1e-5F);
  add_tokenizer(body, shape);
  const std::uint64_t pairs = body.pairs();
  std::uint64_t size = 0;
  for (Tensor& tensor : tensors) {
    tensor.offset = size;
    size += (tensor.bytes() + kAlignment - 1) / kAlignment * kAlignment;
    body.text(tensor.name);
    body.number<std::uint32_t>(static_cast<std::uint32_t>(tensor.dims.size()));
    for (const std::uint64_t d : tensor.dims) {
      body.number(d);
    }
    body.number(static_cast<std::uint32_t>(tensor.dtype));
    body.number(tensor.offset);
  }
  Header head;
  head.number<std::uint32_t>(0x46554747);  // "GGUF"
  head.number<std::uint32_t>(3);
  head.number<std::uint64_t>(tensors.size());
  head.number(pairs);
  const std::uint64_t header_bytes = head.bytes().size() + body.bytes().size();
  const std::uint64_t start = (header_bytes + kAlignment - 1) / kAlignment * kAlignment;

  const int file = ::open(path.c_str(), O_CREAT | O_TRUNC | O_WRONLY, 0644);
  if (file < 0 || ::ftruncate(file, static_cast<off_t>(start + size)) != 0 ||
      !write_all(file, head.bytes().data(), head.bytes().size(), 0) ||
      !write_all(file, body.bytes().data(), body.bytes().size(), head.bytes().size())) {
    std::fprintf(stderr, "cannot write '%s'\n", path.c_str());
    return 3;
  }
  std::map<std::pair<std::uint64_t, DType>, std::vector<std::byte>> tables;  // by columns and type
  for (const Tensor& tensor : tensors) {
    const std::uint64_t cols = tensor.dims[0];
    std::vector<std::byte>* table =
        tensor.dims.size() >= 2 ? &tables[{cols, tensor.dtype}] : nullptr;
    if (table != nullptr && table->empty()) {
      const float deviation = 1.0F / std::sqrt(static_cast<float>(cols));
      const std::size_t n = std::size_t{1} << (tensor.elements() > 1U << 20U ? 20U : 16U);
      *table = make_table(tensor.dtype, n, deviation, seed + static_cast<unsigned>(cols));
    }
  }
  std::atomic<std::size_t> next{0};
  std::atomic<bool> good{true};
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < std::clamp(std::thread::hardware_concurrency(), 1U, 16U); ++t) {
    threads.emplace_back([&] {
      for (std::size_t i = next++; i < tensors.size(); i = next++) {
        static const std::vector<std::byte> kNone;
        const auto table = tables.find({tensors[i].dims[0], tensors[i].dtype});
        good = write_tensor(file, tensors[i], start, table == tables.end() ? kNone : table->second,
                            seed + static_cast<unsigned>(i) * 7919U) &&
               good;
      }
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  if (::close(file) != 0 || !good) {
    std::fprintf(stderr, "cannot write '%s'\n", path.c_str());
    return 3;
  }
  std::printf("%s: %s %s, %.2f GB, seed %u\n", path.c_str(), shape.name, mixture.name.c_str(),
              static_cast<double>(start + size) / 1e9, seed);
  return 0;
}

int main_checked(const std::vector<std::string>& args) {
  const Shape* shape = nullptr;
  for (const Shape& s : kShapes) {
    if (args.size() >= 3 && args[0] == s.name) {
      shape = &s;
    }
  }
  std::vector<Mixture> mixtures{{"Q4_K_M", DType::kQ4_K, true}};
  std::string names = "Q4_K_M";
  for (std::uint32_t raw = 0; raw < 64; ++raw) {
    if (const auto info = find_dtype(raw); info && testing::can_quantize(info->dtype)) {
      mixtures.push_back({std::string(info->name), info->dtype, false});
      names += ", " + mixtures.back().name;
    }
  }
  for (const Mixture& mixture : mixtures) {
    if (shape != nullptr && args[1] == mixture.name) {
      const unsigned seed = args.size() > 3 ? static_cast<unsigned>(std::stoul(args[3])) : 1U;
      return run(*shape, mixture, args[2], seed);
    }
  }
  std::fprintf(stderr,
               "usage: make_model SHAPE TYPE OUT.gguf [SEED]\n"
               "SHAPE: qwen2.5-0.5b, llama-3.2-1b, llama-3-8b, qwen3-0.6b, gemma-2-2b, "
               "qwen3-30b-a3b-12l, tiny, tiny-256\nTYPE: %s\n",
               names.c_str());
  return 2;
}

}  // namespace
}  // namespace layerscope

int main(int argc, char** argv) {
  return layerscope::main_checked(std::vector<std::string>(argv + 1, argv + argc));
}
