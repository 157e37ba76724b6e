#include "gui/view/history_text.h"

#include <fmt/format.h>

#include "gui/view/text.h"

namespace layerscope::gui::view {
namespace {

using capture::Detail;

std::string advice(const session::Snapshot& snapshot) {
  return fmt::format("to stay within {} of history; raise it with --history-memory",
                     bytes_text(snapshot.history.budget));
}

std::string dropped(const session::Snapshot& snapshot, int position, Detail least,
                    std::string_view what) {
  const capture::TokenFrame* frame = snapshot.frame(position);
  if (frame == nullptr || frame->detail >= least) {
    return {};
  }
  const auto& use = snapshot.history;
  // Rows of a GPU have room of their own, which the context's length decides.
  const bool on_device =
      least == Detail::kAll && frame->detail == Detail::kStatistics && use.device_capacity > 0;
  return on_device ? fmt::format("{} of this step were dropped: the GPU keeps {} of them.", what,
                                 bytes_text(use.device_capacity))
                   : fmt::format("{} of this step were dropped {}.", what, advice(snapshot));
}

}  // namespace

std::string dropped_rows(const session::Snapshot& snapshot, int position) {
  return dropped(snapshot, position, Detail::kAll, "Attention rows");
}

std::string dropped_statistics(const session::Snapshot& snapshot, int position) {
  return dropped(snapshot, position, Detail::kStatistics, "Statistics");
}

std::string dropped_from_map(const session::Snapshot& snapshot) {
  const int n = snapshot.history.without_statistics;
  return n <= 0 ? std::string()
                : fmt::format("Statistics of the oldest {} steps were dropped {}.", grouped(n),
                              advice(snapshot));
}

std::string history_line(const session::Snapshot& snapshot) {
  const session::HistoryUse& use = snapshot.history;
  if (use.budget == 0 || snapshot.n_frames == 0) {
    return {};
  }
  std::string line =
      fmt::format("history {} of {}", bytes_text(use.host()), bytes_text(use.budget));
  if (use.without_statistics > 0) {
    line += fmt::format(" · detail of {} steps dropped", grouped(use.without_statistics));
  } else if (use.without_rows > 0) {
    line += fmt::format(" · attention of {} steps dropped", grouped(use.without_rows));
  }
  return line;
}

std::string history_lines(const session::Snapshot& snapshot) {
  const session::HistoryUse& use = snapshot.history;
  std::string all = fmt::format(
      "Captured history {} of at most {} (--history-memory)\n"
      "  steps of this line {}\n  branches {}\n  asked for by panels {}",
      bytes_text(use.host()), bytes_text(use.budget), bytes_text(use.line),
      bytes_text(use.branches), bytes_text(use.requested));
  if (use.device_capacity > 0) {
    all += fmt::format("\nAttention rows on the GPU {} of at most {}", bytes_text(use.device_rows),
                       bytes_text(use.device_capacity));
  }
  all += fmt::format(
      "\nWhen it is full the oldest steps lose attention rows first ({} so far), then statistics "
      "and candidates ({}). Tokens, choices and the likeliest candidate always stay.",
      grouped(use.without_rows), grouped(use.without_statistics));
  return all;
}

std::string missing_in_export(const session::Snapshot& snapshot) {
  const session::HistoryUse& use = snapshot.history;
  return use.without_statistics <= 0
             ? std::string()
             : fmt::format(
                   "; statistics and candidates of {} steps are not in it: they were "
                   "dropped {}",
                   grouped(use.without_statistics), advice(snapshot));
}

}  // namespace layerscope::gui::view
