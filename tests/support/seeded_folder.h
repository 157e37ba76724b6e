// SeededFolder: a Hugging Face model folder rebuilt from tests/golden/folders/CASE.json. The
// weights follow from the tensors' names, as generate.py there makes them; the tokenizer is 256
// bytes and fillers, since prompts are given as ids.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "engine/base/half.h"
#include "tests/engine/format/safetensors_writer.h"
#include "tests/engine/format/temp_file.h"
#include "tests/support/fixtures.h"

namespace layerscope::testing {

inline std::string folder_cases() { return source_dir() + "/tests/golden/folders"; }

/// zlib's CRC-32, bit by bit.
inline std::uint32_t crc32(const std::string& text) {
  std::uint32_t crc = ~0U;
  for (const char c : text) {
    crc ^= static_cast<std::uint8_t>(c);
    for (int bit = 0; bit < 8; ++bit) {
      crc = (crc >> 1U) ^ ((crc & 1U) != 0 ? 0xEDB88320U : 0U);
    }
  }
  return ~crc;
}

/// See `weights` of generate.py.
inline std::vector<float> seeded_weights(const std::string& name, std::size_t n) {
  const auto has = [&](const char* part) { return name.find(part) != std::string::npos; };
  const bool norm = has("norm") || has(".ln_") || name.starts_with("ln_");
  const bool embedding = has("embed") || has("wte") || has("wpe");
  const std::uint64_t seed = std::uint64_t{crc32(name)} << 16U;
  std::vector<float> values(n);
  for (std::size_t i = 0; i < n; ++i) {
    std::uint64_t x = seed + (i + 1) * 0x9E3779B97F4A7C15U;
    x = (x ^ (x >> 30U)) * 0xBF58476D1CE4E5B9U;
    x = (x ^ (x >> 27U)) * 0x94D049BB133111EBU;
    x ^= x >> 31U;
    const float u = static_cast<float>(x >> 56U) / 128.0F - 1.0F;
    values[i] = norm        ? u / 8.0F + (name.ends_with("weight") ? 1.0F : 0.0F)
                : embedding ? u
                            : u / 4.0F;
  }
  return values;
}

class SeededFolder {
 public:
  /// `key`: "config" or "older_config".
  SeededFolder(const std::string& name, const char* key)
      : golden(read_json(folder_cases() + "/" + name + ".json")), marker_("", "marker") {
    write("config.json", golden.at(key).dump());
    const std::string dtype = golden.at("dtype");
    SafetensorsWriter writer;
    writer.metadata("format", "pt");
    for (const auto& [tensor, shape] : golden.at("tensors").items()) {
      std::size_t n = 1;
      for (const std::size_t dimension : shape) {
        n *= dimension;
      }
      const std::vector<float> values = seeded_weights(tensor, n);
      if (dtype == "F32") {
        writer.tensor(tensor, dtype, shape, values);
      } else {
        std::vector<std::uint16_t> halves(n);
        for (std::size_t i = 0; i < n; ++i) {
          halves[i] = f32_to_f16(values[i]);
        }
        writer.tensor(tensor, dtype, shape, halves);
      }
    }
    write("model.safetensors", writer.build());
    write_tokenizer(golden.at("config").at("vocab_size"));
  }

  [[nodiscard]] std::string path() const { return marker_.folder(); }
  void write(const std::string& name, const std::string& content) const {
    std::ofstream(path() + "/" + name, std::ios::binary) << content;
  }

  const nlohmann::json golden;

 private:
  /// Byte-level: GPT-2's printable stand-in for every byte, then fillers.
  void write_tokenizer(int rows) const {
    nlohmann::ordered_json vocab = nlohmann::ordered_json::object();
    int next = 0x100;
    for (int i = 0; i < 256; ++i) {
      const bool printable = (i >= 33 && i <= 126) || (i >= 161 && i != 173);
      const int code = printable ? i : next++;
      std::string piece;
      if (code >= 0x80) {
        piece += static_cast<char>(0xC0 | (code >> 6));
      }
      piece += static_cast<char>(code >= 0x80 ? 0x80 | (code & 0x3F) : code);
      vocab[piece] = i;
    }
    for (int i = 256; i < rows; ++i) {
      vocab["<" + std::to_string(i) + ">"] = i;
    }
    write("vocab.json", vocab.dump());
    write("merges.txt", "#version: 0.2\n");
    write("tokenizer_config.json", R"({"tokenizer_class": "GPT2Tokenizer"})");
  }

  TempFile marker_;
};

}  // namespace layerscope::testing
