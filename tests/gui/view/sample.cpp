#include "tests/gui/view/sample.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "engine/tokenizer/vocab.h"

namespace layerscope::gui::sample {

namespace {

tokenizer::Vocab vocab_of(const std::vector<std::string>& words) {
  tokenizer::Vocab vocab;
  vocab.model = "gpt2";
  vocab.pieces = words;
  for (const std::string& word : words) {
    const bool control = word.size() > 2 && word.front() == '<' && word.back() == '>';
    vocab.types.push_back(word.empty() ? tokenizer::TokenType::kUnused
                          : control    ? tokenizer::TokenType::kControl
                                       : tokenizer::TokenType::kNormal);
  }
  return vocab;
}

}  // namespace

WordTokenizer::WordTokenizer(const std::vector<std::string>& words) : Tokenizer(vocab_of(words)) {
  bytes_ = words;  // the words are bytes already, not byte-level pieces
}

tokenizer::Encoding WordTokenizer::encode(std::string_view /*text*/,
                                          const tokenizer::EncodeOptions& /*options*/) const {
  return {};
}

std::int32_t WordTokenizer::find(std::string_view piece) const {
  const auto found = std::find(pieces_.begin(), pieces_.end(), piece);
  return found == pieces_.end() ? -1 : static_cast<std::int32_t>(found - pieces_.begin());
}

std::shared_ptr<const tokenizer::Tokenizer> tokenizer() {
  std::vector<std::string> words{
      "<|im_start|>", "<|im_end|>",       "\n", "\n\n", " the", " forty", "-six",
      "\xE2\x82",     "\xF0\x9F\x98\x80", "  ", "\t",   ".",    "##"};
  while (words.size() < 60) {
    words.push_back((words.size() % 3 == 0 ? "" : " ") + std::string("word") +
                    std::to_string(words.size()));
  }
  words.resize(64);  // four unused rows
  return std::make_shared<WordTokenizer>(words);
}

Builder::Builder(Shape shape, std::uint32_t seed) : shape_(shape), random_(seed) {
  auto model = std::make_shared<session::ModelInfo>();
  model->path = "/models/sample.gguf";
  model->name = "sample";
  model->architecture = "qwen2";
  model->quantization = "F16";
  model->n_params = 7'100'000;
  model->n_layers = shape.layers;
  model->n_heads = shape.heads;
  model->n_kv_heads = 1;
  model->vocab_rows = 64;
  model->n_tokens = 60;
  model->n_padded = 4;
  model->tokenizer = tokenizer();
  model->file = model_file();
  model_ = model;
  for (int i = 0; i < shape.prompt; ++i) {
    prompt_ids_.push_back(i % 13);
  }
}

std::shared_ptr<const capture::TokenFrame> Builder::make_frame(int position) {
  std::uniform_real_distribution<float> unit(0.001F, 1.0F);
  auto frame = std::make_shared<capture::TokenFrame>();
  frame->serial = ++serial_;
  frame->position = position;
  frame->id = position < shape_.prompt ? prompt_ids_[static_cast<std::size_t>(position)]
                                       : static_cast<std::int32_t>(random_() % 60);
  frame->n_layers = shape_.layers;
  frame->n_heads = shape_.heads;
  frame->choice.origin =
      position < shape_.prompt ? capture::Origin::kPrompt : capture::Origin::kSampled;
  frame->choice.known = position >= shape_.prompt;
  frame->choice.prob = unit(random_);
  frame->choice.rank = static_cast<std::int32_t>(random_() % 40);
  frame->choice.entropy = 3.0F * unit(random_);
  for (int i = 0; i < (shape_.layers + 1) * static_cast<int>(capture::kNumTaps); ++i) {
    capture::TapStats stats;
    stats.count = 16;
    stats.l2 = 10.0F * unit(random_);
    frame->taps.push_back(stats);
  }
  std::vector<float> attention;
  for (int head = 0; head < shape_.layers * shape_.heads; ++head) {
    float sum = 0.0F;
    const std::size_t first = attention.size();
    for (int k = 0; k <= position; ++k) {
      attention.push_back(unit(random_));
      sum += attention.back();
    }
    capture::HeadStats stats;
    for (std::size_t k = first; k < attention.size(); ++k) {
      attention[k] /= sum;
      stats.row_sum += attention[k];
      if (attention[k] > stats.max) {
        stats.max = attention[k];
        stats.argmax = static_cast<std::int32_t>(k - first);
      }
    }
    stats.entropy = unit(random_);
    stats.first = attention[first];
    stats.self = attention.back();
    stats.lse = 4.0F * unit(random_);
    frame->heads.push_back(stats);
  }
  frame->attention = std::make_shared<capture::AttentionRows>(std::move(attention));
  if (position + 1 >= shape_.prompt) {
    capture::LogitSummary logits;
    float left = 1.0F;
    for (int rank = 0; rank < 20; ++rank) {
      left *= 0.6F;
      logits.top.push_back(
          {static_cast<std::int32_t>((random_() % 3 + 3 * static_cast<unsigned>(rank)) % 60),
           9.0F - static_cast<float>(rank), left});
    }
    logits.best_padded = {61, -1.25F, 0.0F};
    logits.min = -5.0F * unit(random_);
    logits.max = 9.0F;
    logits.mean = unit(random_);
    logits.entropy = 5.0F * unit(random_);
    frame->logits = logits;
  }
  return frame;
}

Builder& Builder::grow_to(int n) {
  while (static_cast<int>(frames_.size()) < n) {
    frames_.push_back(make_frame(static_cast<int>(frames_.size())));
  }
  return *this;
}

Builder& Builder::cut_to(int n) {
  frames_.resize(static_cast<std::size_t>(n));
  return *this;
}

Builder& Builder::restart() {
  frames_.clear();
  ++session_serial_;
  return *this;
}

Builder& Builder::drop_attention(int position) {
  return change(position, [](capture::TokenFrame& frame) { frame.attention = nullptr; });
}

std::shared_ptr<session::Snapshot> Builder::build() {
  auto snapshot = std::make_shared<session::Snapshot>();
  snapshot->version = ++version_;
  snapshot->state = session::State::kIdle;
  snapshot->model = model_;
  snapshot->backend = "cpu";
  snapshot->backend_text = "CPU · 2 threads";
  snapshot->backend_reason = "no GPU";
  snapshot->context = 512;
  snapshot->prompt = "Write a haiku";
  snapshot->fed_text = "<|im_start|>user\nWrite a haiku<|im_end|>\n";
  snapshot->prompt_ids = prompt_ids_;
  snapshot->session_serial = session_serial_;
  snapshot->n_frames = static_cast<int>(frames_.size());
  snapshot->n_generated = std::max(0, snapshot->n_frames - shape_.prompt);
  snapshot->timing.decode_tok_s = 123.0;
  snapshot->timing.ms_per_token = 8.1;
  for (std::size_t i = 0; i < frames_.size(); i += session::kChunkFrames) {
    auto chunk = std::make_shared<session::FrameChunk>();
    const std::size_t end = std::min(frames_.size(), i + session::kChunkFrames);
    chunk->frames.assign(frames_.begin() + static_cast<std::ptrdiff_t>(i),
                         frames_.begin() + static_cast<std::ptrdiff_t>(end));
    snapshot->chunks.push_back(chunk);
  }
  return snapshot;
}

std::shared_ptr<const format::ModelFile> model_file() {
  struct Owner {
    std::vector<float> values;
    format::ModelFile file;
  };
  auto owner = std::make_shared<Owner>();
  owner->values.resize(4096 + 8);
  for (std::size_t i = 0; i < owner->values.size(); ++i) {
    owner->values[i] = std::sin(static_cast<float>(i) * 0.37F) * 0.1F;
  }
  owner->values[4096] = std::numeric_limits<float>::quiet_NaN();
  owner->values[4097] = std::numeric_limits<float>::infinity();
  owner->values[4098] = 0.0F;
  format::ModelFile& file = owner->file;
  file.path = "/models/sample.gguf";
  file.container = "GGUF v3";
  file.file_bytes = 17'000;
  file.metadata.push_back({"general.architecture", "string", std::string("qwen2")});
  file.metadata.push_back({"qwen2.block_count", "u32", std::uint64_t{3}});
  file.metadata.push_back(
      {"tokenizer.ggml.tokens", "array of string", std::vector<std::string>(500, "a\nb")});
  const auto tensor = [&](const char* name, std::size_t first, std::vector<std::uint64_t> shape) {
    format::TensorInfo info;
    info.name = name;
    info.shape = std::move(shape);
    info.n_elements = 1;
    for (const std::uint64_t extent : info.shape) {
      info.n_elements *= extent;
    }
    info.offset = first * sizeof(float);
    info.data = std::as_bytes(std::span<const float>(owner->values)
                                  .subspan(first, static_cast<std::size_t>(info.n_elements)));
    file.tensors.push_back(info);
  };
  tensor("token_embd.weight", 0, {64, 64});
  tensor("output_norm.weight", 4096, {8});
  file.index();
  return {owner, &owner->file};
}

}  // namespace layerscope::gui::sample
