#include "gui/view/fault_view.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>

#include "engine/base/utf8.h"
#include "gui/view/frames.h"
#include "gui/view/text.h"

namespace layerscope::gui::view {
namespace {

std::string decoded(const tokenizer::Tokenizer* tokenizer, std::span<const std::int32_t> ids) {
  std::string text;
  for (const std::int32_t id : ids) {
    text += token_bytes(tokenizer, id);
  }
  return utf8_sanitize(text);
}

bool starts_with(const std::vector<std::int32_t>& ids, const std::vector<std::int32_t>& start) {
  return start.size() <= ids.size() && std::equal(start.begin(), start.end(), ids.begin());
}

}  // namespace

std::vector<std::int32_t> generated_ids(const session::Snapshot& s) {
  std::vector<std::int32_t> ids;
  for (int i = std::max(0, s.n_frames - std::max(s.n_generated, 0)); i < s.n_frames; ++i) {
    ids.push_back(token_id(s, i));
  }
  return ids;
}

void HealthyText::update(const session::Snapshot& s) {
  if (s.version == version_ || !s.faults.empty() || s.model == nullptr || s.n_generated <= 0) {
    return;
  }
  version_ = s.version;
  std::vector<std::int32_t> ids = generated_ids(s);
  if (comparable(s) && starts_with(ids_, ids)) {
    return;
  }
  ids_ = std::move(ids);
  model_ = s.model->path;
  prompt_ = s.prompt;
  chat_ = s.chat;
  sampler_ = s.sampler;
}

bool HealthyText::comparable(const session::Snapshot& s) const {
  return !ids_.empty() && s.model != nullptr && s.model->path == model_ && s.prompt == prompt_ &&
         s.chat == chat_ && s.sampler == sampler_;
}

TextDiff diff_text(const tokenizer::Tokenizer* tokenizer, std::span<const std::int32_t> before,
                   std::span<const std::int32_t> after) {
  const auto [b, a] = std::mismatch(before.begin(), before.end(), after.begin(), after.end());
  const auto n = static_cast<std::size_t>(b - before.begin());
  TextDiff diff;
  diff.same = decoded(tokenizer, before.first(n));
  if (b == before.end() || a == after.end()) {
    diff.before_rest = decoded(tokenizer, before.subspan(n));
    diff.after_rest = decoded(tokenizer, after.subspan(n));
    return diff;
  }
  diff.first = static_cast<int>(n);
  diff.before_token = decoded(tokenizer, before.subspan(n, 1));
  diff.after_token = decoded(tokenizer, after.subspan(n, 1));
  diff.before_rest = decoded(tokenizer, before.subspan(n + 1));
  diff.after_rest = decoded(tokenizer, after.subspan(n + 1));
  return diff;
}

std::vector<std::size_t> matching_faults(const std::vector<session::FaultInfo>& faults,
                                         std::string_view search) {
  std::vector<std::size_t> found;
  for (std::size_t i = 0; i < faults.size(); ++i) {
    const session::FaultInfo& f = faults[i];
    if (contains_ci(f.name, search) || contains_ci(f.title, search) ||
        contains_ci(f.story, search)) {
      found.push_back(i);
    }
  }
  std::stable_partition(found.begin(), found.end(),
                        [&](std::size_t i) { return faults[i].reason.empty(); });
  return found;
}

std::string fault_title(const std::vector<session::FaultInfo>& faults, std::string_view text) {
  const session::FaultInfo* best = nullptr;
  for (const session::FaultInfo& f : faults) {
    const bool here =
        text.starts_with(f.name) &&
        (text.size() == f.name.size() || text[f.name.size()] == ',' || text[f.name.size()] == ':');
    if (here && (best == nullptr || f.name.size() > best->name.size())) {
      best = &f;
    }
  }
  return best == nullptr ? std::string(text)
                         : fmt::format("{} · {}", capitalised(best->title), text);
}

std::string capitalised(std::string text) {
  if (!text.empty()) {
    text.front() = static_cast<char>(std::toupper(static_cast<unsigned char>(text.front())));
  }
  return text;
}

std::string fault_count_text(std::size_t n_active) {
  return n_active == 0 ? "Faults" : fmt::format("Faults · {} active", n_active);
}

}  // namespace layerscope::gui::view
