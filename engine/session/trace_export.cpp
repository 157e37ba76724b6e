#include "engine/session/trace_export.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <utility>

#include "engine/compare/trace_meta.h"
#include "engine/compare/trace_writer.h"
#include "engine/session/trace_records.h"
#include "engine/session/trace_run.h"
#include "engine/session/trace_vocabulary.h"

namespace layerscope::session {
namespace {

using Frame = std::shared_ptr<const capture::TokenFrame>;

constexpr int kMostInPass = 512;

std::vector<Frame> frames_of(const Snapshot& snapshot) {
  std::vector<Frame> frames;
  frames.reserve(static_cast<std::size_t>(snapshot.n_frames));
  for (const auto& chunk : snapshot.chunks) {
    frames.insert(frames.end(), chunk->frames.begin(), chunk->frames.end());
  }
  frames.resize(std::min(frames.size(), static_cast<std::size_t>(snapshot.n_frames)));
  return frames;
}

bool has_rows(const Frame& frame) {
  return frame->attention != nullptr && !frame->attention->values().empty();
}

/// The prompt in passes, each later token in one of its own; a pass holds rows (and statistics)
/// of all its tokens or of none.
std::vector<compare::TracePass> passes_of(const std::vector<Frame>& frames, int n_prompt) {
  std::vector<compare::TracePass> passes;
  for (int p = 0; p < static_cast<int>(frames.size()); ++p) {
    const auto at = static_cast<std::size_t>(p);
    const bool goes_on = !passes.empty() && p < n_prompt && passes.back().n_tokens < kMostInPass &&
                         has_rows(frames[at]) == has_rows(frames[at - 1]) &&
                         frames[at]->has_stats() == frames[at - 1]->has_stats();
    if (goes_on) {
      ++passes.back().n_tokens;
    } else {
      passes.push_back({p, 1});
    }
  }
  return passes;
}

compare::TraceModel model_of(const Snapshot& snapshot) {
  const ModelInfo& info = *snapshot.model;
  compare::TraceModel model;
  if (snapshot.recording != nullptr && snapshot.trace != nullptr) {
    return snapshot.trace->model;
  }
  model.name = info.name;
  model.architecture = info.architecture;
  model.quantization = info.quantization;
  model.n_layers = info.n_layers;
  model.n_heads = info.n_heads;
  model.n_kv_heads = info.n_kv_heads;
  model.head_dim = info.head_dim;
  model.hidden = info.hidden;
  model.ffn = info.ffn;
  if (info.file != nullptr) {
    model.metadata_sha256 = metadata_sha256(*info.file);
  }
  return model;
}

/// Writes one pass of frames: rows, statistics, choices and distributions.
class PassWriter {
 public:
  PassWriter(compare::TraceWriter& writer, const std::vector<Frame>& frames)
      : writer_(writer), frames_(frames) {}

  void write(int number, const compare::TracePass& pass, bool rows) {
    const auto part = FrameSpan(frames_).subspan(static_cast<std::size_t>(pass.first_position),
                                                 static_cast<std::size_t>(pass.n_tokens));
    if (rows && has_rows(part.front())) {
      for (int layer = 0; layer < part.front()->n_layers; ++layer) {
        attention(number, pass, part, layer);
      }
    }
    statistics(number, part);
    add(number, choice_records(part));
  }

 private:
  void attention(int number, const compare::TracePass& pass, FrameSpan part, int layer) {
    const auto heads = static_cast<std::size_t>(part.front()->n_heads);
    const int end = pass.first_position + pass.n_tokens;
    const auto keys = static_cast<std::size_t>(end);
    std::vector<float> all(heads * part.size() * keys, 0.0F);
    for (std::size_t t = 0; t < part.size(); ++t) {
      for (std::size_t h = 0; h < heads; ++h) {
        const auto row = part[t]->attention_row(layer, static_cast<int>(h));
        if (row.empty()) {
          return;  // a layer that was not captured
        }
        std::copy(row.begin(), row.end(),
                  all.begin() + static_cast<std::ptrdiff_t>((h * part.size() + t) * keys));
      }
    }
    writer_.add(fmt::format("p{}.l{}.attn_weights", number, layer),
                {part.front()->n_heads, pass.n_tokens, static_cast<std::int64_t>(keys)}, all);
  }

  void statistics(int number, FrameSpan part) {
    std::vector<capture::TapStats> taps;
    std::vector<capture::HeadStats> heads;
    const auto n_layers = static_cast<std::size_t>(part.front()->n_layers);
    const auto n_heads = static_cast<std::size_t>(part.front()->n_heads);
    for (const Frame& frame : part) {
      if (frame->taps.empty() && frame->heads.empty()) {
        return;
      }
      // Foreign traces may know either; what they do not know counts no elements.
      std::vector<capture::TapStats> of_frame = frame->taps;
      of_frame.resize((n_layers + 1) * capture::kNumTaps);
      taps.insert(taps.end(), of_frame.begin(), of_frame.end());
      std::vector<capture::HeadStats> heads_of_frame = frame->heads;
      heads_of_frame.resize(n_layers * n_heads);
      heads.insert(heads.end(), heads_of_frame.begin(), heads_of_frame.end());
    }
    add(number, statistics_records(taps, heads, static_cast<int>(part.size()),
                                   part.front()->n_layers, part.front()->n_heads));
  }

  void add(int number, const std::vector<RecordTensor>& records) {
    for (const RecordTensor& record : records) {
      writer_.add(fmt::format("p{}.{}", number, record.name), record.shape, record.values);
    }
  }

  compare::TraceWriter& writer_;
  const std::vector<Frame>& frames_;
};

/// Taps of the trace under our names; foreign names keep theirs.
Status write_tensors(const compare::Trace& trace, compare::TraceWriter& writer,
                     const std::stop_token& stop) {
  for (const compare::TraceTensor& tensor : trace.tensors) {
    if (stop.stop_requested()) {
      return cancelled_error();
    }
    const std::string_view name = tensor.name;
    const bool record = name.ends_with(".tap_stats") || name.ends_with(".head_stats") ||
                        name.ends_with(".choice") || name.ends_with(".logit_stats") ||
                        name.ends_with(".logit_top");
    if (record || !tensor.known.empty()) {
      continue;
    }
    LS_TRY(const std::vector<float> values, compare::known_values(tensor));
    writer.add(tensor.name, tensor.shape, values);
  }
  return {};
}

}  // namespace

bool trace_is_present(const Snapshot& snapshot) {
  if (snapshot.trace == nullptr ||
      snapshot.trace->ids.size() != static_cast<std::size_t>(snapshot.n_frames)) {
    return false;
  }
  for (int p = 0; p < snapshot.n_frames; ++p) {
    if (snapshot.frame(p)->id != snapshot.trace->ids[static_cast<std::size_t>(p)]) {
      return false;
    }
  }
  return snapshot.trace->faults == snapshot.faults;
}

Result<TraceExportReport> write_session_trace(const Snapshot& snapshot, const std::string& path,
                                              const TraceExportOptions& options) {
  if (snapshot.model == nullptr || snapshot.n_frames == 0) {
    return usage_error("nothing has been evaluated yet, so there is nothing to export");
  }
  if (options.whole && !trace_is_present(snapshot)) {
    return usage_error("the whole tensors of the present tokens are not there");
  }
  const std::vector<Frame> frames = frames_of(snapshot);
  compare::Trace trace;
  trace.model = model_of(snapshot);
  for (const Frame& frame : frames) {
    trace.ids.push_back(std::max(frame->id, 0));
  }
  trace.n_prompt = std::min(static_cast<std::size_t>(snapshot.n_prompt()), trace.ids.size());
  trace.passes = options.whole ? snapshot.trace->passes : passes_of(frames, snapshot.n_prompt());
  trace.capture = options.whole ? "full" : "attention";
  trace.backend = snapshot.backend;
  trace.unit_roundoff = snapshot.unit_roundoff;
  trace.faults = snapshot.faults;
  trace.prompt = snapshot.prompt;
  trace.findings = snapshot.findings;
  if (snapshot.model->tokenizer != nullptr) {
    trace.vocabulary =
        trace_vocabulary(*snapshot.model->tokenizer, snapshot.model->vocab_rows, frames);
  }
  compare::TraceWriterOptions how;
  const std::uint64_t per_pass = static_cast<std::uint64_t>(snapshot.model->n_layers) + 6;
  how.header_bytes = (std::uint64_t{1} << 18U) + trace.passes.size() * per_pass * 110 / 8 * 8;
  LS_TRY(auto writer, compare::TraceWriter::create(path, how));
  if (options.whole) {
    LS_CHECK(write_tensors(*snapshot.trace, *writer, options.stop));
  }
  PassWriter passes(*writer, frames);
  for (std::size_t p = 0; p < trace.passes.size(); ++p) {
    if (options.stop.stop_requested()) {
      return cancelled_error();
    }
    passes.write(static_cast<int>(p), trace.passes[p], !options.whole);
    if (options.progress) {
      options.progress(static_cast<double>(p + 1) / static_cast<double>(trace.passes.size()));
    }
  }
  const SamplerSettings& s = snapshot.sampler;
  const compare::TraceSampler sampler{static_cast<double>(s.temperature),
                                      static_cast<double>(s.top_p),
                                      static_cast<double>(s.min_p),
                                      static_cast<double>(s.repeat_penalty),
                                      s.top_k,
                                      s.seed};
  LS_CHECK(writer->finish(compare::kTraceMetaKey, compare::trace_meta_text(trace, sampler)));
  TraceExportReport report;
  report.n_positions = static_cast<int>(frames.size());
  if (!options.whole) {
    report.without_rows = static_cast<int>(
        std::count_if(frames.begin(), frames.end(), [](const Frame& f) { return !has_rows(f); }));
  }
  report.without_statistics =
      static_cast<int>(std::count_if(frames.begin(), frames.end(), [](const Frame& f) {
        return f->detail < capture::Detail::kStatistics;
      }));
  std::error_code ignored;
  report.bytes = std::filesystem::file_size(path, ignored);
  return report;
}

TraceExport::TraceExport(std::shared_ptr<const Snapshot> snapshot, std::string path, bool whole,
                         std::function<void()> on_done)
    : path_(std::move(path)) {
  thread_ = std::jthread([this, snapshot = std::move(snapshot), whole,
                          on_done = std::move(on_done)](const std::stop_token& stop) {
    TraceExportOptions options;
    options.whole = whole;
    options.stop = stop;
    options.progress = [this](double done) { fraction_ = done; };
    auto outcome = write_session_trace(*snapshot, path_, options);
    {
      const std::lock_guard lock(mutex_);
      outcome_ = std::move(outcome);
    }
    if (on_done) {
      on_done();
    }
  });
}

TraceExport::~TraceExport() = default;

std::optional<Result<TraceExportReport>> TraceExport::take() {
  const std::lock_guard lock(mutex_);
  return std::exchange(outcome_, std::nullopt);
}

}  // namespace layerscope::session
