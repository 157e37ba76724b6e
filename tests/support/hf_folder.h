// HfFolder: a Hugging Face model folder written from a golden GGUF, so that the GGUF's reference
// results hold for it too. Names, keys and the order of Q's and K's rows are undone here by hand,
// from the published conversion rules, not with the product's tables.
#pragma once

#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "engine/format/model_file.h"
#include "tests/engine/format/safetensors_writer.h"
#include "tests/engine/format/temp_file.h"

namespace layerscope::testing {

class HfFolder {
 public:
  /// `n_shards` > 1 writes an index; `header_pad` shifts the data to odd addresses.
  explicit HfFolder(const std::string& gguf, int n_shards = 1)
      : file_(format::read_model_file(gguf).value()), marker_("", "marker") {
    architecture_ = *file_->get_string("general.architecture").value();
    write("config.json", config().dump());
    write_tokenizer();
    write_weights(n_shards);
  }

  [[nodiscard]] std::string path() const { return marker_.folder(); }
  [[nodiscard]] std::string operator/(const std::string& name) const { return path() + "/" + name; }
  void write(const std::string& name, const std::string& content) const {
    std::ofstream(*this / name, std::ios::binary) << content;
  }
  [[nodiscard]] const std::string& shard_name(std::size_t i) const { return shards_[i]; }

  [[nodiscard]] nlohmann::ordered_json config() const {
    const auto integer = [&](const std::string& key) {
      return file_->get_int(architecture_ + "." + key).value().value_or(0);
    };
    const auto number = [&](const std::string& key, double otherwise) {
      return file_->get_float(architecture_ + "." + key).value().value_or(otherwise);
    };
    return {{"model_type", architecture_},
            {"hidden_size", integer("embedding_length")},
            {"num_hidden_layers", integer("block_count")},
            {"num_attention_heads", integer("attention.head_count")},
            {"num_key_value_heads", integer("attention.head_count_kv")},
            {"intermediate_size", integer("feed_forward_length")},
            {"max_position_embeddings", integer("context_length")},
            {"rms_norm_eps", number("attention.layer_norm_rms_epsilon", 0.0)},
            {"rope_theta", number("rope.freq_base", 10000.0)},
            {"rope_scaling", nullptr},
            {"tie_word_embeddings", file_->find_tensor("output.weight") == nullptr}};
  }

 private:
  static std::string replace_all(std::string text, const std::string& from, const std::string& to) {
    for (std::size_t at = text.find(from); at != std::string::npos;
         at = text.find(from, at + to.size())) {
      text.replace(at, from.size(), to);
    }
    return text;
  }

  static std::string hf_name(const std::string& gguf) {
    std::string name = gguf;
    for (const auto& [from, to] :
         std::vector<std::pair<std::string, std::string>>{{"token_embd", "model.embed_tokens"},
                                                          {"output_norm", "model.norm"},
                                                          {"attn_output", "self_attn.o_proj"},
                                                          {"attn_q", "self_attn.q_proj"},
                                                          {"attn_k", "self_attn.k_proj"},
                                                          {"attn_v", "self_attn.v_proj"},
                                                          {"attn_norm", "input_layernorm"},
                                                          {"ffn_norm", "post_attention_layernorm"},
                                                          {"ffn_gate", "mlp.gate_proj"},
                                                          {"ffn_up", "mlp.up_proj"},
                                                          {"ffn_down", "mlp.down_proj"},
                                                          {"blk.", "model.layers."}}) {
      name = replace_all(name, from, to);
    }
    return name == "output.weight" ? "lm_head.weight" : name;
  }

  /// The converter turns Llama's row pair (i, i + half) of a head into (2i, 2i + 1).
  [[nodiscard]] std::string bytes_of(const format::TensorInfo& tensor) const {
    std::string bytes(reinterpret_cast<const char*>(tensor.data.data()), tensor.data.size());
    const bool q = tensor.name.find("attn_q.") != std::string::npos;
    const bool k = tensor.name.find("attn_k.") != std::string::npos;
    if (architecture_ != "llama" || (!q && !k)) {
      return bytes;
    }
    const auto heads = static_cast<std::size_t>(
        file_->get_int(q ? "llama.attention.head_count" : "llama.attention.head_count_kv")
            .value()
            .value());
    const std::size_t rows = tensor.shape[0];
    const std::size_t row = bytes.size() / rows;
    const std::size_t dim = rows / heads;
    std::string out(bytes.size(), '\0');
    for (std::size_t h = 0; h < heads; ++h) {
      for (std::size_t i = 0; i < dim; ++i) {
        const std::size_t from = h * dim + i;
        const std::size_t to = h * dim + (i % 2) * dim / 2 + i / 2;
        std::memcpy(out.data() + to * row, bytes.data() + from * row, row);
      }
    }
    return out;
  }

  void write_weights(int n_shards) {
    std::vector<SafetensorsWriter> writers(static_cast<std::size_t>(n_shards));
    nlohmann::ordered_json map = nlohmann::ordered_json::object();
    for (int i = 0; i < n_shards; ++i) {
      shards_.push_back(n_shards == 1 ? "model.safetensors"
                                      : "model-0000" + std::to_string(i + 1) + "-of-0000" +
                                            std::to_string(n_shards) + ".safetensors");
    }
    std::size_t next = 0;
    for (const format::TensorInfo& tensor : file_->tensors) {
      const std::size_t shard = next++ % writers.size();
      const std::string name = hf_name(tensor.name);
      writers[shard].raw(name, "F32", tensor.shape, bytes_of(tensor));
      map[name] = shards_[shard];
    }
    for (std::size_t i = 0; i < writers.size(); ++i) {
      write(shards_[i], writers[i].build());
    }
    if (n_shards > 1) {
      write("model.safetensors.index.json", nlohmann::ordered_json{{"weight_map", map}}.dump());
    }
  }

  /// Byte-level vocabularies as vocab.json and merges.txt.
  void write_tokenizer() const {
    const auto* merges = file_->get_strings("tokenizer.ggml.merges");
    const auto* pieces = file_->get_strings("tokenizer.ggml.tokens");
    const auto types = file_->get_ints("tokenizer.ggml.token_type");
    nlohmann::ordered_json vocab = nlohmann::ordered_json::object();
    nlohmann::ordered_json added = nlohmann::ordered_json::object();
    for (std::size_t i = 0; i < pieces->size(); ++i) {
      const auto type = (*types)[i];
      (type == 3 || type == 4 ? added : vocab)[(*pieces)[i]] = i;
    }
    std::string lines = "#version: 0.2\n";
    for (std::size_t i = 0; merges != nullptr && i < merges->size(); ++i) {
      lines += (*merges)[i] + "\n";
    }
    write("vocab.json", vocab.dump());
    write("added_tokens.json", added.dump());
    write("merges.txt", lines);
    write("tokenizer_config.json", R"({"tokenizer_class": "Qwen2Tokenizer"})");
  }

  std::shared_ptr<const format::ModelFile> file_;
  TempFile marker_;
  std::string architecture_;
  std::vector<std::string> shards_;
};

}  // namespace layerscope::testing
