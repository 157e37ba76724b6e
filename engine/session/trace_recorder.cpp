#include "engine/session/trace_recorder.h"

#include <fmt/format.h>

#include <algorithm>

#include "engine/base/log.h"
#include "engine/session/trace_run.h"
#include "engine/session/trace_vocabulary.h"

namespace layerscope::session {
namespace {

using capture::Tap;

const char* tier_name(capture::Tier tier) {
  switch (tier) {
    case capture::Tier::kOff:
      return "off";
    case capture::Tier::kSummary:
      return "summary";
    case capture::Tier::kAttention:
      return "attention";
    case capture::Tier::kFull:
      return "full";
  }
  return "";
}

}  // namespace

Result<std::unique_ptr<TraceRecorder>> TraceRecorder::start(Generator& generator,
                                                            const std::string& path, int n_passes) {
  constexpr std::uint64_t kEntry = 120;       // bytes of a tensor's line in the header
  constexpr std::uint64_t kSmallest = 16384;  // metadata and ids
  constexpr std::uint64_t kLargest = std::uint64_t{32} << 20U;
  const auto n_layers = static_cast<std::uint64_t>(generator.model().spec.n_layers);
  compare::TraceWriterOptions options;
  const std::uint64_t entries = static_cast<std::uint64_t>(n_passes) * (n_layers * 19 + 6);
  options.header_bytes = std::min(kLargest, kSmallest + entries * kEntry) / 8 * 8;
  LS_TRY(auto writer, compare::TraceWriter::create(path, options));
  return std::unique_ptr<TraceRecorder>(new TraceRecorder(generator, std::move(writer)));
}

TraceRecorder::TraceRecorder(Generator& generator, std::unique_ptr<compare::TraceWriter> writer)
    : generator_(generator), writer_(std::move(writer)) {
  generator_.on_pass = [this](const capture::PassCapture& captured, std::span<const float> logits) {
    pass(captured, logits);
  };
}

TraceRecorder::~TraceRecorder() { generator_.on_pass = {}; }

void TraceRecorder::pass(const capture::PassCapture& captured, std::span<const float> logits) {
  const int number = static_cast<int>(passes_.size());
  passes_.push_back({captured.first_position, captured.n_tokens});
  bool has_logits = false;
  bool has_weights = false;
  for (const capture::FullTensor& tensor : captured.tensors) {
    const auto tap = capture::tap_name(tensor.tap);
    has_logits = has_logits || tensor.tap == Tap::kLogits;
    has_weights = has_weights || tensor.tap == Tap::kAttnWeights;
    writer_->add(tensor.layer < 0 ? fmt::format("p{}.{}", number, tap)
                                  : fmt::format("p{}.l{}.{}", number, tensor.layer, tap),
                 tensor.shape, tensor.values);
  }
  if (!has_logits && !logits.empty()) {
    const auto rows = static_cast<std::int64_t>(generator_.model().spec.vocab_rows);
    writer_->add(fmt::format("p{}.logits", number),
                 {static_cast<std::int64_t>(logits.size()) / rows, rows}, logits);
  }
  if (!has_weights) {
    attention(number, captured);
  }
  add_records(number, statistics_records(captured.taps, captured.heads, captured.n_tokens,
                                         captured.n_layers, captured.n_heads));
}

/// Rows of the attention tier as [heads, tokens, keys], zero after each token.
void TraceRecorder::attention(int number, const capture::PassCapture& captured) {
  if (captured.attention.empty()) {
    return;
  }
  const auto heads = static_cast<std::size_t>(captured.n_heads);
  const auto tokens = static_cast<std::size_t>(captured.n_tokens);
  const std::size_t keys = static_cast<std::size_t>(captured.first_position) + tokens;
  for (int layer = 0; layer < captured.n_layers; ++layer) {
    std::vector<float> all(heads * tokens * keys, 0.0F);
    for (std::size_t t = 0; t < std::min(tokens, captured.attention.size()); ++t) {
      const std::size_t row = static_cast<std::size_t>(captured.first_position) + t + 1;
      for (std::size_t h = 0; h < heads; ++h) {
        const std::size_t from = (static_cast<std::size_t>(layer) * heads + h) * row;
        if (from + row <= captured.attention[t].size()) {
          std::copy_n(captured.attention[t].begin() + static_cast<std::ptrdiff_t>(from), row,
                      all.begin() + static_cast<std::ptrdiff_t>((h * tokens + t) * keys));
        }
      }
    }
    writer_->add(fmt::format("p{}.l{}.attn_weights", number, layer),
                 {captured.n_heads, captured.n_tokens, static_cast<std::int64_t>(keys)}, all);
  }
}

void TraceRecorder::add_records(int number, const std::vector<RecordTensor>& records) {
  for (const RecordTensor& record : records) {
    writer_->add(fmt::format("p{}.{}", number, record.name), record.shape, record.values);
  }
}

Status TraceRecorder::finish(std::size_t n_prompt, const std::vector<std::string>& faults) {
  generator_.on_pass = {};
  const FrameSpan frames(generator_.frames());
  for (std::size_t p = 0; p < passes_.size(); ++p) {
    const auto first = static_cast<std::size_t>(passes_[p].first_position);
    const auto n = static_cast<std::size_t>(passes_[p].n_tokens);
    if (first + n <= frames.size()) {
      add_records(static_cast<int>(p), choice_records(frames.subspan(first, n)));
    }
  }
  compare::Trace trace;
  trace.model = trace_model(generator_.model());
  trace.ids = generator_.ids();
  trace.n_prompt = n_prompt;
  trace.passes = passes_;
  trace.capture = tier_name(generator_.capture.tier);
  trace.backend = generator_.backend().name();
  trace.unit_roundoff = generator_.backend().rounding().coarsest();
  trace.faults = faults;
  trace.vocabulary = trace_vocabulary(*generator_.model().tokenizer,
                                      generator_.model().spec.vocab_rows, generator_.frames());
  const SamplerSettings& s = generator_.sampler_settings;
  const compare::TraceSampler sampler{static_cast<double>(s.temperature),
                                      static_cast<double>(s.top_p),
                                      static_cast<double>(s.min_p),
                                      static_cast<double>(s.repeat_penalty),
                                      s.top_k,
                                      s.seed};
  LS_CHECK(writer_->finish(compare::kTraceMetaKey, compare::trace_meta_text(trace, sampler)));
  if (writer_->waited_s() > 0.0) {
    spdlog::info("the run waited {:.2f} s for the trace to be written", writer_->waited_s());
  }
  return {};
}

}  // namespace layerscope::session
