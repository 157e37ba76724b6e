#include "engine/session/generator.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <thread>

#include "engine/base/log.h"

#include "engine/session/run_faults.h"

namespace layerscope::session {

using capture::Choice;
using capture::Origin;
using capture::TokenFrame;

namespace {

constexpr std::size_t kForThreads = 64;  ///< tokens of a pass whose frames several threads make

}  // namespace

Generator::Generator(std::shared_ptr<const model::Model> model,
                     std::unique_ptr<backend::Backend> backend)
    : model_(std::move(model)), backend_(std::move(backend)), sampler_(model_->usable_rows()) {
  backend_summarises_ = backend_->summarise_logits(model_->usable_rows());
}

void Generator::reset() {
  backend_->truncate(0);
  ids_.clear();
  history_.clear();
  logits_.clear();
  has_distribution_ = false;
  chosen_ = {};
  summary_ = {};
}

Status Generator::evaluate(std::span<const std::int32_t> ids, bool logits_for_all,
                           std::stop_token stop, const std::function<void(std::size_t)>& progress) {
  const auto context = static_cast<std::size_t>(backend_->context());
  if (ids_.size() + ids.size() > context) {
    return invalid_input(
        fmt::format("the prompt has {} tokens, but the context holds {}; shorten it "
                    "or raise --context",
                    ids_.size() + ids.size(), context));
  }
  LS_CHECK(catch_up(ids_.size(), stop));
  const auto batch = static_cast<std::size_t>(backend_->batch_tokens());
  for (std::size_t begin = 0; begin < ids.size(); begin += batch) {
    const std::size_t n = std::min(batch, ids.size() - begin);
    LS_CHECK(pass(ids.subspan(begin, n), logits_for_all, Origin::kPrompt, stop));
    if (progress) {
      progress(begin + n);
    }
  }
  return {};
}

std::span<const float> Generator::logits() const {
  if (has_distribution_ && logits_.empty()) {
    if (const Status status = backend_->last_logits(logits_); !status.ok()) {
      spdlog::error("{}", status.error().message);
      logits_.clear();
    }
  }
  return logits_;
}

Result<std::int32_t> Generator::choose() const {
  if (!has_distribution_) {
    return internal_error("nothing has been evaluated yet, so no token can be chosen");
  }
  if (chosen_.id >= 0 && interventions_.empty() && chosen_for_ == sampler_settings) {
    return chosen_.id;
  }
  const bool plain_greedy =
      interventions_.empty() && sampler_settings.temperature <= 0.0F &&
      (sampler_settings.repeat_penalty == 1.0F || sampler_settings.repeat_last_n <= 0);
  if (plain_greedy && !summary_.top.empty()) {
    return summary_.top.front().id;
  }
  return draw(logits(), ids_, sampler_settings);
}

Status Generator::set_interventions(model::Interventions list) {
  LS_CHECK(backend_->set_interventions(list));
  interventions_ = std::move(list);
  return {};
}

Result<std::int32_t> Generator::draw(std::span<const float> logits,
                                     std::span<const std::int32_t> history,
                                     const SamplerSettings& settings) const {
  if (interventions_.empty()) {
    return sampler_.sample(logits, history, settings);
  }
  return sample_with_faults(sampler_, interventions_, logits, history, settings);
}

Choice Generator::describe(std::int32_t id, Origin origin) const {
  const auto made = [&](float logit, std::int32_t rank) {
    const double logprob = static_cast<double>(logit) - summary_.lse;
    return Choice{origin,
                  true,
                  logit,
                  static_cast<float>(std::exp(logprob)),
                  static_cast<float>(logprob),
                  rank,
                  summary_.entropy};
  };
  if (logits_.empty()) {
    for (std::size_t i = 0; i < summary_.top.size(); ++i) {
      if (summary_.top[i].id == id) {
        return made(summary_.top[i].logit, static_cast<std::int32_t>(i));
      }
    }
    if (id >= 0 && id == chosen_.id && chosen_.rank >= 0) {
      return made(chosen_.logit, chosen_.rank);
    }
  }
  return sampler_.describe(logits(), id, origin, summary_);
}

Status Generator::append(std::int32_t id, Origin origin, std::stop_token stop) {
  if (backend_->kv_len() >= backend_->context()) {
    return invalid_input(fmt::format("the context of {} tokens is full", backend_->context()));
  }
  return pass(std::span(&id, 1), false, origin, stop);
}

Status Generator::pass(std::span<const std::int32_t> ids, bool logits_for_all, Origin origin,
                       const std::stop_token& stop) {
  const auto start = std::chrono::steady_clock::now();
  make_room_for_rows(ids.size());
  backend::ForwardRequest request;
  request.ids = ids;
  request.position = backend_->kv_len();
  request.all_logits = logits_for_all;
  request.capture = capture;
  request.stop = stop;
  capture::LogitSummary summary;
  backend::Chosen chosen;
  if (backend_summarises_ && !logits_for_all && !on_pass) {
    request.summary = &summary;
    request.chosen = &chosen;
    request.sampling = interventions_.empty() ? &sampler_settings : nullptr;
    request.ahead = ahead;
  }
  // The distribution before the first token goes when the backend starts.
  const Choice first = has_distribution_ ? describe(ids[0], origin) : Choice{};
  std::vector<float> logits;
  std::vector<std::shared_ptr<TokenFrame>> frames(ids.size());
  std::jthread preparing = prepare_frames(frames);
  Status status = backend_->forward(request, logits, captured_);
  if (preparing.joinable()) {
    preparing.join();
  }
  if (!status.ok()) {
    has_distribution_ = has_distribution_ && !logits_.empty();
    chosen_ = {};
    return status;
  }
  chosen_ = chosen;
  chosen_for_ = sampler_settings;
  const double ms =
      std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count() /
      static_cast<double>(ids.size());
  if (on_pass) {
    on_pass(captured_, logits);
  }
  const auto vocab = static_cast<std::size_t>(model_->spec.vocab_rows);
  make_frames(frames, history_.frames().size(), ids, ms);
  for (std::size_t t = 0; t < ids.size(); ++t) {
    frames[t]->choice = t == 0 ? first : has_distribution_ ? describe(ids[t], origin) : Choice{};
    frames[t]->choice.origin = origin;
    has_distribution_ = logits_for_all || t + 1 == ids.size();
    if (has_distribution_ && logits.empty()) {
      logits_.clear();
      summary_ = summary;
    } else if (has_distribution_) {
      const std::size_t row = logits_for_all ? t : 0;
      logits_.assign(logits.begin() + static_cast<std::ptrdiff_t>(row * vocab),
                     logits.begin() + static_cast<std::ptrdiff_t>((row + 1) * vocab));
      summary_ = sampler_.summarize(logits_);
    } else {
      logits_.clear();
    }
    if (has_distribution_) {
      frames[t]->logits = summary_;
    }
    history_.append(std::move(frames[t]));
    ids_.push_back(ids[t]);
  }
  history_.limit_rows(attention_budget);
  return {};
}

ThreadPool& Generator::pool() {
  if (pool_ == nullptr) {
    pool_ = std::make_unique<ThreadPool>(
        static_cast<int>(std::clamp(std::thread::hardware_concurrency(), 1U, 8U)));
  }
  return *pool_;
}

/// Memory for the frames of a long pass (25 MB of statistics for 512 tokens of Llama-3-8B), taken
/// and touched while a GPU computes: copying into new memory afterwards costs several times as
/// much. The thread uses pool_ until it ends. Without a GPU there is nothing to hide it behind.
std::jthread Generator::prepare_frames(std::vector<std::shared_ptr<TokenFrame>>& frames) {
  if (frames.size() < kForThreads || capture.tier == capture::Tier::kOff ||
      backend_->row_capacity() == 0) {
    return {};
  }
  const auto layers = static_cast<std::size_t>(model_->spec.n_layers);
  const std::size_t n_heads = layers * static_cast<std::size_t>(model_->spec.n_heads);
  return std::jthread([&frames, &workers = pool(), layers, n_heads] {
    workers.run_ranges(frames.size(), 8, [&](std::size_t begin, std::size_t end) {
      for (std::size_t t = begin; t < end; ++t) {
        frames[t] = std::make_shared<TokenFrame>();
        frames[t]->taps.resize((layers + 1) * capture::kNumTaps);
        frames[t]->heads.resize(n_heads);
      }
    });
  });
}

/// Fills the frames of a pass, but for what depends on the distributions; those of a long one by
/// several threads.
void Generator::make_frames(std::vector<std::shared_ptr<TokenFrame>>& frames,
                            std::size_t first_position, std::span<const std::int32_t> ids,
                            double ms) {
  const std::uint64_t serial = next_serial_;
  next_serial_ += ids.size();
  const auto make = [&](std::size_t begin, std::size_t end) {
    for (std::size_t t = begin; t < end; ++t) {
      if (frames[t] == nullptr) {
        frames[t] = std::make_shared<TokenFrame>();
      }
      fill_frame(*frames[t], t);
      frames[t]->serial = serial + t;
      frames[t]->position = static_cast<std::int32_t>(first_position + t);
      frames[t]->id = ids[t];
      frames[t]->eval_ms = ms;
    }
  };
  if (ids.size() < kForThreads) {
    make(0, ids.size());
  } else {
    pool().run_ranges(ids.size(), 8, make);
  }
}

/// What was captured of one token of the latest pass.
void Generator::fill_frame(TokenFrame& frame, std::size_t token) {
  frame.n_layers = captured_.n_layers;
  frame.n_heads = captured_.n_heads;
  const auto slice = [&](const auto& all, auto& out) {
    const std::size_t n = all.size() / static_cast<std::size_t>(captured_.n_tokens);
    const auto begin = all.begin() + static_cast<std::ptrdiff_t>(token * n);
    out.assign(begin, begin + static_cast<std::ptrdiff_t>(n));
  };
  slice(captured_.taps, frame.taps);
  slice(captured_.heads, frame.heads);
  if (token < captured_.kept.size()) {
    frame.attention = std::move(captured_.kept[token]);
  } else if (token < captured_.attention.size()) {
    frame.attention =
        std::make_shared<const capture::AttentionRows>(std::move(captured_.attention[token]));
  }
}

/// Rows that stay on the GPU need their room before the pass, and that of the steps ahead.
void Generator::make_room_for_rows(std::size_t n_tokens) {
  const std::uint64_t capacity = backend_->row_capacity();
  if (capacity == 0 || capture.tier < capture::Tier::kAttention) {
    return;
  }
  const int position = backend_->kv_len();
  const std::uint64_t newest = backend_->row_bytes(position + static_cast<int>(n_tokens) + ahead);
  // A few more than are written: pieces of different sizes do not fill the memory up.
  const std::uint64_t need = (n_tokens + 6) * newest;
  history_.limit_all_rows(capacity > need ? capacity - need : 0);
}

Status Generator::rewind(int position, std::stop_token stop) {
  if (position < 0 || static_cast<std::size_t>(position) >= history_.frames().size()) {
    return usage_error(fmt::format("cannot rewind to position {}: {} tokens are evaluated",
                                   position, history_.frames().size()));
  }
  const auto keep = static_cast<std::size_t>(position) + 1;
  if (keep == history_.frames().size() && has_distribution_) {
    return {};
  }
  LS_CHECK(catch_up(keep - 1, stop));
  backend_->truncate(position);
  backend::ForwardRequest request;
  request.ids = std::span(&ids_[keep - 1], 1);
  request.position = position;
  request.stop = stop;
  request.capture.tier = quiet_tier();
  request.again = true;
  std::vector<float> logits;
  capture::PassCapture unused;
  const Status status = backend_->forward(request, logits, unused);
  const std::size_t left = status.ok() ? keep : keep - 1;  // cancelled: that token is gone as well
  history_.truncate(left);
  ids_.resize(left);
  logits_ = std::move(logits);
  has_distribution_ = !logits_.empty();
  chosen_ = {};
  summary_ = logits_.empty() ? capture::LogitSummary{} : sampler_.summarize(logits_);
  LS_CHECK(status);
  if (const auto& last = history_.frames().back();
      !last->logits || last->detail < capture::Detail::kStatistics) {
    // A prompt token whose distribution had not been computed, or candidates that were dropped.
    auto frame = std::make_shared<TokenFrame>(*last);
    frame->logits = summary_;
    history_.replace(keep - 1, std::move(frame));
  }
  return {};
}

void Generator::adopt(std::vector<std::shared_ptr<const TokenFrame>> frames) {
  std::vector<std::int32_t> ids;
  ids.reserve(frames.size());
  for (const auto& frame : frames) {
    ids.push_back(frame->id);
  }
  const auto differ = std::mismatch(ids_.begin(), ids_.end(), ids.begin(), ids.end());
  const auto shared = static_cast<int>(differ.first - ids_.begin());
  backend_->truncate(std::min(shared, backend_->kv_len()));
  ids_ = std::move(ids);
  history_.adopt(std::move(frames));
  logits_.clear();
  has_distribution_ = false;
  summary_ = {};
  history_.limit_rows(attention_budget);
}

Status Generator::catch_up(std::size_t length, const std::stop_token& stop) {
  const std::size_t end = std::min(length, ids_.size());
  const auto batch = static_cast<std::size_t>(backend_->batch_tokens());
  for (auto begin = static_cast<std::size_t>(backend_->kv_len()); begin < end; begin += batch) {
    backend::ForwardRequest request;
    request.ids = std::span(ids_).subspan(begin, std::min(batch, end - begin));
    request.position = static_cast<int>(begin);
    request.stop = stop;
    request.capture.tier = quiet_tier();
    request.again = true;
    std::vector<float> unused_logits;
    capture::PassCapture unused;
    LS_CHECK(backend_->forward(request, unused_logits, unused));
  }
  return {};
}

capture::Tier Generator::quiet_tier() const {
  return backend_->draws() ? capture::Tier::kAttention : capture::Tier::kOff;
}

Result<bool> Generator::draw(const backend::DrawRequest& request, std::uint64_t session_serial,
                             backend::DrawSink& sink, const std::stop_token& stop) {
  const auto evaluated = static_cast<std::size_t>(backend_->kv_len());
  if (evaluated == 0 || evaluated > history_.frames().size()) {
    return false;
  }
  const auto lse = [this](int layer, int head, int query) {
    const TokenFrame& frame = *history_.frames()[static_cast<std::size_t>(query)];
    return frame.heads.empty() ? std::numeric_limits<float>::quiet_NaN()
                               : frame.head(layer, head).lse;
  };
  const auto frame = [this](int position) -> const TokenFrame* {
    const auto at = static_cast<std::size_t>(position);
    return position >= 0 && at < history_.frames().size() ? history_.frames()[at].get() : nullptr;
  };
  return backend_->draw(
      {request, {session_serial, history_.frames()[evaluated - 1]->serial}, lse, frame}, sink,
      stop);
}

Status Generator::inspect(int position, const capture::Request& request,
                          const std::stop_token& stop, capture::PassCapture& captured) {
  if (position < 0 || static_cast<std::size_t>(position) >= ids_.size()) {
    return usage_error(
        fmt::format("there is no token at position {}: {} are evaluated", position, ids_.size()));
  }
  LS_CHECK(catch_up(static_cast<std::size_t>(position) + 1, stop));
  return backend_->inspect(ids_[static_cast<std::size_t>(position)], position, request, stop,
                           captured);
}

Result<std::vector<backend::LensSummary>> Generator::lens(std::span<const float> residual,
                                                          const std::stop_token& stop) {
  std::vector<backend::LensSummary> rows;
  LS_TRY(const bool summarised, backend_->lens(residual, rows));
  if (summarised) {
    return rows;
  }
  std::vector<float> logits;
  LS_CHECK(backend_->head_logits(residual, logits));
  const auto vocab = static_cast<std::size_t>(model_->spec.vocab_rows);
  rows.assign(logits.size() / vocab, {});
  for (std::size_t r = rows.size(); r-- > 0;) {
    if (stop.stop_requested()) {
      return cancelled_error();
    }
    const std::span<const float> values = std::span(logits).subspan(r * vocab, vocab);
    rows[r].summary = sampler_.summarize(values);
    const std::vector<capture::TopToken>& answer = rows.back().summary.top;
    if (!answer.empty()) {
      const float logit = values[static_cast<std::size_t>(answer.front().id)];
      rows[r].final_logit = logit;
      rows[r].final_rank = static_cast<std::int32_t>(
          std::count_if(values.begin(), values.end(), [logit](float v) { return v > logit; }));
    }
  }
  return rows;
}

}  // namespace layerscope::session
