#include "engine/session/branches.h"

#include <algorithm>
#include <unordered_set>

#include "engine/capture/frame_memory.h"

namespace layerscope::session {
namespace {

constexpr std::size_t kTailTokens = 16;

/// `whole` begins with all of `part`.
bool begins_with(const Branches::Line& whole, const Branches::Line& part) {
  return Branches::shared(whole, part) == part.size();
}

}  // namespace

std::size_t Branches::shared(const Line& a, const Line& b) {
  const std::size_t most = std::min(a.size(), b.size());
  std::size_t n = 0;
  while (n < most && (a[n] == b[n] || a[n]->id == b[n]->id)) {
    ++n;
  }
  return n;
}

int Branches::keep(const Line& line) {
  if (line.empty()) {
    return -1;
  }
  for (const Kept& kept : lines_) {
    if (begins_with(kept.line, line)) {
      return kept.id;
    }
  }
  std::erase_if(lines_, [&line](const Kept& kept) { return begins_with(line, kept.line); });
  if (lines_.size() >= kMaxBranches) {
    lines_.erase(lines_.begin());
  }
  lines_.push_back({next_id_, line});
  return next_id_++;
}

std::optional<Branches::Line> Branches::take(int id) {
  const auto found =
      std::find_if(lines_.begin(), lines_.end(), [id](const Kept& kept) { return kept.id == id; });
  if (found == lines_.end()) {
    return std::nullopt;
  }
  Line line = std::move(found->line);
  lines_.erase(found);
  return line;
}

std::vector<BranchInfo> Branches::list(const Line& present) {
  std::erase_if(lines_, [&present](const Kept& kept) { return begins_with(present, kept.line); });
  std::vector<BranchInfo> infos;
  for (std::size_t i = 0; i < lines_.size(); ++i) {
    const Line& line = lines_[i].line;
    BranchInfo info;
    info.id = lines_[i].id;
    info.n_tokens = static_cast<int>(line.size());
    std::size_t fork = shared(line, present);
    // The nearest relative among the present line and older branches is the parent.
    for (std::size_t other = 0; other < i; ++other) {
      const std::size_t common = shared(line, lines_[other].line);
      if (common > fork) {
        fork = common;
        info.parent = lines_[other].id;
      }
    }
    info.fork = static_cast<int>(fork);
    for (std::size_t t = fork; t < line.size() && info.tail.size() < kTailTokens; ++t) {
      info.tail.push_back(line[t]->id);
    }
    infos.push_back(std::move(info));
  }
  return infos;
}

void Branches::replace(std::size_t position,
                       const std::shared_ptr<const capture::TokenFrame>& before,
                       const std::shared_ptr<const capture::TokenFrame>& after) {
  for (Kept& kept : lines_) {
    if (position < kept.line.size() && kept.line[position] == before) {
      kept.line[position] = after;
    }
  }
}

std::uint64_t Branches::limit_bytes(const Line& present, std::uint64_t budget) {
  // A frame counts once: where lines share it, with the newest of them.
  std::unordered_set<const capture::TokenFrame*> counted;
  std::uint64_t used = 0;
  const auto own = [&present](const Line& line, std::size_t t) {
    return t >= present.size() || present[t] != line[t];
  };
  for (auto kept = lines_.rbegin(); kept != lines_.rend(); ++kept) {
    used += kept->line.capacity() * sizeof(kept->line.front());
    for (std::size_t t = 0; t < kept->line.size(); ++t) {
      if (own(kept->line, t) && counted.insert(kept->line[t].get()).second) {
        used += capture::memory_of(*kept->line[t]).host();
      }
    }
  }
  for (const capture::Detail most : {capture::Detail::kStatistics, capture::Detail::kSummary}) {
    for (std::size_t i = 0; i < lines_.size() && used > budget; ++i) {
      for (std::size_t t = 0; t < lines_[i].line.size() && used > budget; ++t) {
        const auto before = lines_[i].line[t];
        const auto after = own(lines_[i].line, t) ? capture::reduced(before, most) : before;
        if (after != before) {
          used -= capture::memory_of(*before).host() - capture::memory_of(*after).host();
          replace(t, before, after);
        }
      }
    }
  }
  return used;
}

}  // namespace layerscope::session
