// Session::Worker: what panels ask for — one token in full, the logit lens, the cache — and
// branches.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <utility>

#include "engine/session/history_use.h"
#include "engine/session/worker.h"

namespace layerscope::session {
namespace {

using Clock = std::chrono::steady_clock;

double ms_since(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

const std::vector<float>* find_tensor(const capture::PassCapture& pass, capture::Tap tap,
                                      int layer) {
  for (const capture::FullTensor& tensor : pass.tensors) {
    if (tensor.tap == tap && tensor.layer == layer) {
      return &tensor.values;
    }
  }
  return nullptr;
}

}  // namespace

void Session::Worker::forget_views() {
  state_.head_map.reset();
  state_.token_detail.reset();
  state_.cache_view.reset();
  state_.attention_values = {};
  state_.trace.reset();
  branches_.clear();
  state_.undo_branch = -1;
}

void Session::Worker::update_branches() {
  if (generator_ == nullptr) {
    state_.branches.clear();
    state_.history = {};
    return;
  }
  state_.branches = branches_.list(generator_->frames());
  const auto kept = [this](const BranchInfo& info) { return info.id == state_.undo_branch; };
  if (std::none_of(state_.branches.begin(), state_.branches.end(), kept)) {
    state_.undo_branch = -1;
  }
  // A quarter of it all, so that the present line never gives way to what was left.
  state_.history.branches =
      branches_.limit_bytes(generator_->frames(), options_.history_budget / 4);
}

void Session::Worker::limit_history() {
  HistoryUse& use = state_.history;
  use.budget = options_.history_budget;
  if (generator_ == nullptr) {
    return;
  }
  if (counted_trace_ != state_.trace.get()) {
    counted_trace_ = state_.trace.get();
    trace_bytes_ = counted_trace_ != nullptr ? trace_bytes(*counted_trace_) : 0;
  }
  use.requested = requested_bytes(state_) + trace_bytes_;
  History& history = generator_->history();
  const std::uint64_t others = use.branches + use.requested;
  history.limit_host(use.budget - std::min(use.budget, others));
  use.line = history.memory().host();
  use.device_rows = history.memory().device_rows;
  use.device_capacity = generator_->backend().row_capacity();
  use.without_rows = history.without_rows();
  use.without_statistics = history.without_statistics();
}

Status Session::Worker::fits_history(const char* what, double bytes) const {
  const double most = static_cast<double>(options_.history_budget) / 2.0;
  if (bytes <= most) {
    return {};
  }
  return usage_error(fmt::format(
      "{} of {} tokens takes {:.1f} MiB, more than half of the {:.1f} MiB that captured data may "
      "take; raise that with --history-memory, or rewind to fewer tokens",
      what, generator_->frames().size(), bytes / 0x1p20, most * 2.0 / 0x1p20));
}

void Session::Worker::handle(const SwitchBranch& command) {
  state_.error.clear();
  auto line = branches_.take(command.id);
  if (generator_ == nullptr || !line) {
    report(usage_error(fmt::format("there is no branch {}", command.id)));
    return;
  }
  const std::size_t common = Branches::shared(*line, generator_->frames());
  state_.undo_branch = branches_.keep(generator_->frames());
  generator_->adopt(std::move(*line));
  state_.stop_reason = StopReason::kNone;
  state_.head_map.reset();
  diagnosis_->rewind(common);
  observe();
  take_findings();
}

void Session::Worker::handle(const DropBranch& command) {
  state_.error.clear();
  if (!branches_.take(command.id)) {
    report(usage_error(fmt::format("there is no branch {}", command.id)));
  }
}

void Session::Worker::handle(const InspectToken& command) {
  auto detail = std::make_shared<TokenDetail>();
  detail->position = command.position;
  if (const Status status = inspect(command, *detail); !status.ok()) {
    if (status.error().code == ErrorCode::kCancelled) {
      return;
    }
    detail->error = status.error().message;
  }
  state_.token_detail = std::move(detail);
}

Status Session::Worker::inspect(const InspectToken& command, TokenDetail& detail) {
  if (generator_ == nullptr) {
    return usage_error("no model is loaded; open one first");
  }
  const auto& frames = generator_->frames();
  if (command.position < 0 || static_cast<std::size_t>(command.position) >= frames.size()) {
    return usage_error(fmt::format("there is no token at position {}", command.position));
  }
  const capture::TokenFrame& frame = *frames[static_cast<std::size_t>(command.position)];
  detail.id = frame.id;
  detail.serial = frame.serial;
  const auto start = Clock::now();
  capture::Request request;
  request.tier = capture::Tier::kFull;
  LS_CHECK(generator_->inspect(command.position, request, stop_, detail.pass));
  detail.eval_ms = ms_since(start);
  return command.lens_top > 0 ? add_lens(command.lens_top, detail) : Status{};
}

Status Session::Worker::add_lens(int top, TokenDetail& detail) {
  const auto start = Clock::now();
  const int n_layers = generator_->model().spec.n_layers;
  std::vector<float> residual;
  for (int layer = -1; layer < n_layers; ++layer) {
    const auto* row = layer < 0 ? find_tensor(detail.pass, capture::Tap::kEmbedding, -1)
                                : find_tensor(detail.pass, capture::Tap::kResidOut, layer);
    if (row == nullptr) {
      return internal_error(fmt::format("the residual after layer {} was not captured", layer));
    }
    residual.insert(residual.end(), row->begin(), row->end());
  }
  LS_TRY(const std::vector<backend::LensSummary> rows, generator_->lens(residual, stop_));
  for (std::size_t r = 0; r < rows.size(); ++r) {
    const capture::LogitSummary& summary = rows[r].summary;
    LensRow row;
    row.layer = static_cast<int>(r) - 1;
    row.entropy = summary.entropy;
    row.top = summary.top;
    row.top.resize(std::min(row.top.size(), static_cast<std::size_t>(top)));
    row.final_rank = rows[r].final_rank;
    if (row.final_rank >= 0) {
      row.final_prob =
          static_cast<float>(std::exp(static_cast<double>(rows[r].final_logit) - summary.lse));
    }
    detail.lens.push_back(std::move(row));
  }
  detail.lens_ms = ms_since(start);
  return {};
}

void Session::Worker::handle(const InspectCache& command) {
  auto view = std::make_shared<CacheView>();
  if (const Status status = inspect(command, *view); !status.ok()) {
    if (status.error().code == ErrorCode::kCancelled) {
      return;
    }
    view->error = status.error().message;
  }
  state_.cache_view = std::move(view);
}

Status Session::Worker::inspect(const InspectCache& command, CacheView& view) {
  if (generator_ == nullptr) {
    return usage_error("no model is loaded; open one first");
  }
  const auto start = Clock::now();
  LS_CHECK(generator_->catch_up(generator_->frames().size(), stop_));
  LS_TRY(view.stats, generator_->backend().cache_stats());
  const capture::CacheStats& stats = view.stats;
  const auto within = [](int value, int count) {
    return std::clamp(value, 0, std::max(count - 1, 0));
  };
  view.layer = within(command.layer, stats.n_layers);
  view.kv_head = within(command.kv_head, stats.n_kv_heads);
  view.slot = within(command.slot, stats.n_slots);
  if (stats.n_slots > 0) {
    LS_CHECK(generator_->backend().cache_slot(view.layer, view.kv_head, view.slot, view.key,
                                              view.value));
  }
  if (!generator_->frames().empty()) {
    view.last_serial = generator_->frames().back()->serial;
  }
  view.ms = ms_since(start);
  return {};
}

/// Slow motion: waits until the token that began then has had its time. The pace may change
/// meanwhile; Pause and Stop end the wait, and questions are answered in it.
void Session::Worker::keep_pace(std::chrono::steady_clock::time_point token_began) {
  using namespace std::chrono_literals;
  for (;;) {
    const double pace = pace_;
    if (pace <= 0.0 || paused(sequence_)) {
      return;
    }
    const auto left =
        token_began + std::chrono::duration<double>(1.0 / pace) - std::chrono::steady_clock::now();
    if (left <= 0s) {
      return;
    }
    serve_views();
    draw(false);
    std::this_thread::sleep_for(std::min<std::chrono::duration<double>>(left, 10ms));
  }
}

void Session::Worker::serve_views() {
  for (;;) {
    Queued item;
    {
      const std::lock_guard lock(mutex_);
      const auto found = std::find_if(queue_.begin(), queue_.end(), [](const Queued& queued) {
        return std::holds_alternative<InspectToken>(queued.command) ||
               std::holds_alternative<InspectAttention>(queued.command) ||
               std::holds_alternative<InspectCache>(queued.command);
      });
      if (found == queue_.end()) {
        return;
      }
      item = std::move(*found);
      queue_.erase(found);
    }
    if (const auto* token = std::get_if<InspectToken>(&item.command)) {
      handle(*token);
    } else if (const auto* values = std::get_if<InspectAttention>(&item.command)) {
      handle(*values);
    } else if (const auto* cache = std::get_if<InspectCache>(&item.command)) {
      handle(*cache);
    }
    publish();
  }
}

}  // namespace layerscope::session
