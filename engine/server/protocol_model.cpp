// Window protocol: the greeting, the model, its vocabulary, weight statistics.
#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <utility>
#include <variant>

#include "engine/base/utf8.h"
#include "engine/server/window_protocol.h"

namespace layerscope::server {
namespace {

constexpr std::size_t kMostText = std::size_t{64} << 10U;
constexpr std::size_t kMostTemplate = std::size_t{1} << 20U;
constexpr std::size_t kMostEntries = std::size_t{1} << 16U;
constexpr std::size_t kShownValues = 64;
constexpr int kMostTokens = 1 << 22;

std::string value_text(const std::string& value) {
  return value.size() <= kMostText
             ? value
             : value.substr(
                   0, utf8_complete_prefix(std::string_view(value).substr(0, kMostText - 8))) +
                   "…";
}
std::string value_text(bool value) { return value ? "true" : "false"; }
template <typename T>
std::string value_text(T value) {
  return fmt::format("{}", value);
}

/// A metadata value in words; of a long list the first values and the number of all.
struct MetaText {
  template <typename T>
  std::string operator()(const T& value) const {
    return value_text(value);
  }
  template <typename T>
  std::string operator()(const std::vector<T>& list) const {
    std::string text = "[";
    for (std::size_t i = 0; i < std::min(list.size(), kShownValues); ++i) {
      text += (i > 0 ? ", " : "") + value_text(T(list[i])).substr(0, 256);
    }
    return text + (list.size() > kShownValues ? fmt::format(", …] ({} values)", list.size()) : "]");
  }
};

void put_file(WireWriter& w, const format::ModelFile* file) {
  w.put(static_cast<std::uint8_t>(file != nullptr));
  if (file == nullptr) {
    return;
  }
  w.text(file->container);
  w.put(file->file_bytes);
  w.put(file->header_bytes);
  const std::size_t n_meta = std::min(file->metadata.size(), kMostEntries);
  w.put(static_cast<std::uint32_t>(n_meta));
  for (const format::MetaEntry& entry : std::span(file->metadata).first(n_meta)) {
    w.text(value_text(entry.key));
    w.text(value_text(entry.type));
    w.text(value_text(std::visit(MetaText{}, entry.value)));
  }
  const std::size_t n_tensors = std::min(file->tensors.size(), kMostEntries);
  w.put(static_cast<std::uint32_t>(n_tensors));
  for (const format::TensorInfo& t : std::span(file->tensors).first(n_tensors)) {
    w.text(value_text(t.name));
    w.put(static_cast<std::uint32_t>(t.dtype));
    w.put(static_cast<std::uint32_t>(t.shape.size()));
    w.array(std::span(t.shape));
    w.put(t.offset);
    w.put(t.n_elements);
  }
}

std::shared_ptr<const format::ModelFile> get_file(WireReader& r, const std::string& path) {
  if (!r.flag()) {
    return nullptr;
  }
  auto file = std::make_shared<format::ModelFile>();
  file->path = path;
  file->container = r.text(kMostText);
  file->file_bytes = r.get<std::uint64_t>();
  file->header_bytes = r.get<std::uint64_t>();
  file->metadata.resize(r.count(kMostEntries, 12));
  for (format::MetaEntry& entry : file->metadata) {
    entry.key = r.text(kMostText);
    entry.type = r.text(kMostText);
    entry.value = r.text(kMostText);
  }
  file->tensors.resize(r.count(kMostEntries, 28));
  for (format::TensorInfo& t : file->tensors) {
    t.name = r.text(kMostText);
    const auto type = find_dtype(r.get<std::uint32_t>());
    t.shape.resize(r.count(8, sizeof(std::uint64_t)));
    r.array(std::span(t.shape));
    t.offset = r.get<std::uint64_t>();
    t.n_elements = r.get<std::uint64_t>();
    if (!type || t.n_elements > std::uint64_t{1} << 48U) {
      r.fail();
      return nullptr;
    }
    t.dtype = type->dtype;
  }
  file->index();
  return file;
}

}  // namespace

std::string encode(const Hello& hello) {
  WireWriter w;
  w.put(hello.version);
  w.put(hello.n_taps);
  w.put(hello.session_key);
  w.put(hello.bytes_per_second);
  return w.take();
}

std::optional<Hello> decode_hello(std::string_view bytes) {
  WireReader r(bytes);
  Hello hello;
  hello.version = r.get<std::uint32_t>();
  hello.n_taps = r.get<std::uint32_t>();
  hello.session_key = r.get<std::uint64_t>();
  hello.bytes_per_second = r.get<std::uint64_t>();
  return r.complete() ? std::optional(hello) : std::nullopt;
}

std::string encode_model(const session::ModelInfo& m) {
  WireWriter w;
  for (const std::string* text : {&m.name, &m.architecture, &m.quantization}) {
    w.text(value_text(*text));
  }
  w.put(m.n_params);
  w.put(m.weight_bytes);
  for (const int value : {m.n_layers, m.n_heads, m.n_kv_heads, m.head_dim, m.hidden, m.ffn,
                          m.vocab_rows, m.n_tokens, m.n_padded, m.train_context}) {
    w.put(static_cast<std::int32_t>(value));
  }
  const tokenizer::Tokenizer& t = *m.tokenizer;
  w.text(t.model_name());
  w.text(t.pre_name());
  w.text(std::string_view(t.chat_template()).substr(0, kMostTemplate));
  w.put(t.bos());
  w.put(t.eos());
  put_file(w, m.file.get());
  w.put(static_cast<std::uint32_t>(m.faults.size()));
  for (const session::FaultInfo& f : m.faults) {
    for (const std::string* text : {&f.name, &f.usage, &f.title, &f.story, &f.example, &f.reason}) {
      w.text(value_text(*text));
    }
  }
  return w.take();
}

std::shared_ptr<session::ModelInfo> decode_model(std::string_view bytes, tokenizer::Vocab& vocab) {
  WireReader r(bytes);
  auto m = std::make_shared<session::ModelInfo>();
  for (std::string* text : {&m->name, &m->architecture, &m->quantization}) {
    *text = r.text(kMostText);
  }
  m->n_params = r.get<std::uint64_t>();
  m->weight_bytes = r.get<std::uint64_t>();
  struct Bound {
    int* value;
    int low, high;
  };
  constexpr int kLarge = 1 << 26;
  for (const Bound& b :
       {Bound{&m->n_layers, 1, 1024}, Bound{&m->n_heads, 1, 1024}, Bound{&m->n_kv_heads, 1, 1024},
        Bound{&m->head_dim, 1, 1 << 16}, Bound{&m->hidden, 1, kLarge}, Bound{&m->ffn, 0, kLarge},
        Bound{&m->vocab_rows, 1, kMostTokens}, Bound{&m->n_tokens, 1, kMostTokens},
        Bound{&m->n_padded, 0, kMostTokens}, Bound{&m->train_context, 0, kLarge}}) {
    *b.value = r.within<std::int32_t>(b.low, b.high);
  }
  if (m->n_layers * m->n_heads > 1 << 16) {
    r.fail();
  }
  vocab = {};
  vocab.model = r.text(64);
  vocab.pre = r.text(256);
  vocab.chat_template = r.text(kMostTemplate);
  vocab.bos = r.within<std::int32_t>(-1, m->n_tokens - 1);
  vocab.eos = r.within<std::int32_t>(-1, m->n_tokens - 1);
  m->file = get_file(r, m->name);
  m->faults.resize(r.count(1024, 24));
  for (session::FaultInfo& f : m->faults) {
    for (std::string* text : {&f.name, &f.usage, &f.title, &f.story, &f.example, &f.reason}) {
      *text = r.text(kMostText);
    }
  }
  return r.complete() ? m : nullptr;
}

std::string encode_vocabulary(const tokenizer::Tokenizer& tokenizer, std::int32_t& first,
                              std::size_t bytes) {
  WireWriter w;
  w.put(first);
  while (first < tokenizer.n_tokens() && w.size() < bytes) {
    w.put(static_cast<std::uint8_t>(tokenizer.type(first)));
    w.put(static_cast<std::uint8_t>(tokenizer.is_end(first)));
    w.text(tokenizer.piece(first).substr(0, kMostText));
    ++first;
  }
  return w.take();
}

bool decode_vocabulary(std::string_view bytes, std::size_t most, tokenizer::Vocab& vocab) {
  WireReader r(bytes);
  if (r.get<std::int32_t>() != static_cast<std::int32_t>(vocab.pieces.size())) {
    return false;
  }
  while (r.ok() && r.left() > 0) {
    const auto type =
        r.within<std::uint8_t>(static_cast<std::uint8_t>(tokenizer::TokenType::kNormal),
                               static_cast<std::uint8_t>(tokenizer::TokenType::kByte));
    const bool ends = r.flag();
    vocab.pieces.push_back(r.text(kMostText));
    vocab.types.push_back(static_cast<tokenizer::TokenType>(type));
    if (ends) {
      vocab.end_ids.push_back(static_cast<std::int32_t>(vocab.pieces.size() - 1));
    }
    if (vocab.pieces.size() > most) {
      return false;
    }
  }
  return r.complete();
}

}  // namespace layerscope::server
