// Window protocol: the snapshot's scalars, and the commands of a window.
#include <algorithm>
#include <array>
#include <type_traits>
#include <utility>
#include <variant>

#include "engine/server/window_protocol.h"

namespace layerscope::server {
namespace {

using session::Command;
using session::Snapshot;

constexpr std::size_t kMostText = std::size_t{512} << 10U;
constexpr std::size_t kMostPrompt = std::size_t{1} << 20U;
constexpr std::size_t kMostFaults = 64;
constexpr std::size_t kMostBranches = 256;
constexpr std::size_t kMostTail = 16;
constexpr std::array<const char*, 4> kProgress{"", "loading", "evaluating the prompt",
                                               "diagnosing"};

/// Numbers of the commands on the wire; they never change their meaning.
enum class Kind : std::uint8_t {
  kSetPrompt = 1,
  kStep,
  kRun,
  kPause,
  kStop,
  kRewind,
  kForceToken,
  kSetSampler,
  kSetCapture,
  kSetFaults,
  kSetDiagnosis,
  kDiagnoseNow,
  kInspectToken,
  kInspectCache,
  kSwitchBranch,
  kDropBranch,
};

void put(WireWriter& w, const session::SamplerSettings& s) {
  for (const float value : {s.temperature, s.top_p, s.min_p, s.repeat_penalty}) {
    w.put(value);
  }
  w.put(s.top_k);
  w.put(s.repeat_last_n);
  w.put(s.seed);
}

session::SamplerSettings get_sampler(WireReader& r) {
  session::SamplerSettings s;
  for (float* value : {&s.temperature, &s.top_p, &s.min_p, &s.repeat_penalty}) {
    *value = r.get<float>();
  }
  s.top_k = r.get<std::int32_t>();
  s.repeat_last_n = r.get<std::int32_t>();
  s.seed = r.get<std::uint64_t>();
  return s;
}

void put(WireWriter& w, const capture::Request& request) {
  w.put(request.tier);
  w.put(static_cast<std::int32_t>(request.first_layer));
  w.put(static_cast<std::int32_t>(request.last_layer));
  w.put(request.taps);
}

capture::Request get_request(WireReader& r, capture::Tier most) {
  capture::Request request;
  request.tier =
      static_cast<capture::Tier>(r.within<std::uint8_t>(0, static_cast<std::uint8_t>(most)));
  request.first_layer = r.get<std::int32_t>();
  request.last_layer = r.get<std::int32_t>();
  request.taps = r.get<std::uint32_t>();
  return request;
}

void put_texts(WireWriter& w, const std::vector<std::string>& texts) {
  w.put(static_cast<std::uint32_t>(texts.size()));
  for (const std::string& text : texts) {
    w.text(text);
  }
}

std::vector<std::string> get_texts(WireReader& r) {
  std::vector<std::string> texts(r.count(kMostFaults, sizeof(std::uint32_t)));
  for (std::string& text : texts) {
    text = r.text(4096);
  }
  return texts;
}

void put_history(WireWriter& w, const session::HistoryUse& use) {
  for (const std::uint64_t bytes :
       {use.budget, use.line, use.branches, use.requested, use.device_rows, use.device_capacity}) {
    w.put(bytes);
  }
  w.put(use.without_rows);
  w.put(use.without_statistics);
}

session::HistoryUse get_history(WireReader& r) {
  session::HistoryUse use;
  for (std::uint64_t* bytes : {&use.budget, &use.line, &use.branches, &use.requested,
                               &use.device_rows, &use.device_capacity}) {
    *bytes = r.get<std::uint64_t>();
  }
  use.without_rows = r.within<std::int32_t>(0, 1 << 20);
  use.without_statistics = r.within<std::int32_t>(0, 1 << 20);
  return use;
}

void put_branches(WireWriter& w, const Snapshot& s) {
  const std::size_t n = std::min(s.branches.size(), kMostBranches);
  w.put(static_cast<std::uint32_t>(n));
  const auto sent = std::span(s.branches).last(n);
  for (const session::BranchInfo& b : sent) {
    const int parent = b.parent < sent.front().id ? -1 : b.parent;
    for (const int value : {b.id, b.n_tokens, b.fork, parent}) {
      w.put(static_cast<std::int32_t>(value));
    }
    const std::size_t some = std::min(b.tail.size(), kMostTail);
    w.put(static_cast<std::uint32_t>(some));
    w.array(std::span(b.tail).first(some));
  }
  w.put(static_cast<std::int32_t>(s.undo_branch));
}

/// Identifiers ascend and parents are older, so that what follows them comes to an end.
void get_branches(WireReader& r, Snapshot& s) {
  int last = -1;
  s.branches.resize(r.count(kMostBranches, 5 * sizeof(std::int32_t)));
  for (session::BranchInfo& b : s.branches) {
    for (int* value : {&b.id, &b.n_tokens, &b.fork}) {
      *value = r.within<std::int32_t>(0, 1 << 30);
    }
    b.parent = r.get<std::int32_t>();
    if (b.id <= last || b.parent < -1 || b.parent >= b.id) {
      r.fail();
    }
    last = b.id;
    b.tail.resize(r.count(kMostTail, sizeof(std::int32_t)));
    r.array(std::span(b.tail));
    if (std::any_of(b.tail.begin(), b.tail.end(), [&](std::int32_t id) {
          return id < 0 || (s.model != nullptr && id >= s.model->vocab_rows);
        })) {
      r.fail();
    }
  }
  s.undo_branch = r.within<std::int32_t>(-1, 1 << 30);
}

/// Writes a command's number and fields; false for those that do not travel.
struct Write {
  WireWriter& w;

  void kind(Kind k) const { w.put(k); }
  bool operator()(const session::SetPrompt& c) const {
    kind(Kind::kSetPrompt);
    w.text(c.text);
    w.put(static_cast<std::uint8_t>(c.chat));
    return c.text.size() <= kMostText;
  }
  bool operator()(const session::Step& c) const { return number(Kind::kStep, c.n); }
  bool operator()(const session::Run& c) const { return number(Kind::kRun, c.max_tokens); }
  bool operator()(const session::Pause&) const { return bare(Kind::kPause); }
  bool operator()(const session::Stop&) const { return bare(Kind::kStop); }
  bool operator()(const session::Rewind& c) const { return number(Kind::kRewind, c.position); }
  bool operator()(const session::ForceToken& c) const { return number(Kind::kForceToken, c.id); }
  bool operator()(const session::SetSampler& c) const {
    kind(Kind::kSetSampler);
    put(w, c.settings);
    return true;
  }
  bool operator()(const session::SetCapture& c) const {
    kind(Kind::kSetCapture);
    put(w, c.request);
    return true;
  }
  bool operator()(const session::SetFaults& c) const {
    kind(Kind::kSetFaults);
    put_texts(w, c.faults);
    return c.faults.size() <= kMostFaults;
  }
  bool operator()(const session::SetDiagnosis& c) const {
    kind(Kind::kSetDiagnosis);
    w.put(static_cast<std::uint8_t>(c.live));
    w.put(static_cast<std::int32_t>(c.deep_every));
    return true;
  }
  bool operator()(const session::DiagnoseNow&) const { return bare(Kind::kDiagnoseNow); }
  bool operator()(const session::InspectToken& c) const {
    kind(Kind::kInspectToken);
    w.put(static_cast<std::int32_t>(c.position));
    w.put(static_cast<std::int32_t>(c.lens_top));
    return true;
  }
  bool operator()(const session::InspectCache& c) const {
    kind(Kind::kInspectCache);
    w.put(static_cast<std::int32_t>(c.layer));
    w.put(static_cast<std::int32_t>(c.kv_head));
    w.put(static_cast<std::int32_t>(c.slot));
    return true;
  }
  bool operator()(const session::SwitchBranch& c) const {
    return number(Kind::kSwitchBranch, c.id);
  }
  bool operator()(const session::DropBranch& c) const { return number(Kind::kDropBranch, c.id); }
  /// A worker opens no file for a window, and its jobs come by HTTP; heads are watched instead.
  template <typename Other>
  bool operator()(const Other&) const {
    return false;
  }

 private:
  [[nodiscard]] bool bare(Kind k) const {
    kind(k);
    return true;
  }
  [[nodiscard]] bool number(Kind k, std::int32_t value) const {
    kind(k);
    w.put(value);
    return true;
  }
};

std::optional<Command> get_command(WireReader& r) {
  constexpr std::int32_t kMostNumber = 1 << 24;
  switch (static_cast<Kind>(r.get<std::uint8_t>())) {
    case Kind::kSetPrompt: {
      session::SetPrompt c;
      c.text = r.text(kMostText);
      c.chat = r.flag();
      return c;
    }
    case Kind::kStep:
      return session::Step{r.within<std::int32_t>(0, kMostNumber)};
    case Kind::kRun:
      return session::Run{r.within<std::int32_t>(0, kMostNumber)};
    case Kind::kPause:
      return session::Pause{};
    case Kind::kStop:
      return session::Stop{};
    case Kind::kRewind:
      return session::Rewind{r.within<std::int32_t>(0, kMostNumber)};
    case Kind::kForceToken:
      return session::ForceToken{r.within<std::int32_t>(0, kMostNumber)};
    case Kind::kSetSampler:
      return session::SetSampler{get_sampler(r)};
    case Kind::kSetCapture:
      // Whole tensors stay on the worker: a window shows none of them.
      return session::SetCapture{get_request(r, capture::Tier::kAttention)};
    case Kind::kSetFaults:
      return session::SetFaults{get_texts(r)};
    case Kind::kSetDiagnosis: {
      session::SetDiagnosis c;
      c.live = r.flag();
      c.deep_every = r.within<std::int32_t>(0, kMostNumber);
      return c;
    }
    case Kind::kDiagnoseNow:
      return session::DiagnoseNow{};
    case Kind::kInspectToken: {
      session::InspectToken c;
      c.position = r.within<std::int32_t>(0, kMostNumber);
      c.lens_top = r.within<std::int32_t>(0, static_cast<std::int32_t>(capture::kTopTokens));
      return c;
    }
    case Kind::kInspectCache: {
      session::InspectCache c;
      for (int* value : {&c.layer, &c.kv_head, &c.slot}) {
        *value = r.within<std::int32_t>(-1, kMostNumber);
      }
      return c;
    }
    case Kind::kSwitchBranch:
      return session::SwitchBranch{r.within<std::int32_t>(0, kMostNumber)};
    case Kind::kDropBranch:
      return session::DropBranch{r.within<std::int32_t>(0, kMostNumber)};
  }
  return std::nullopt;
}

}  // namespace

std::span<const char* const> progress_texts() { return kProgress; }

std::string encode(const Resume& resume) {
  WireWriter w;
  w.put(resume.session_key);
  w.put(resume.n_frames);
  w.put(resume.last_serial);
  w.put(static_cast<std::uint8_t>(resume.has_model));
  return w.take();
}

std::optional<Resume> decode_resume(std::string_view bytes) {
  WireReader r(bytes);
  Resume resume;
  resume.session_key = r.get<std::uint64_t>();
  resume.n_frames = r.within<std::int32_t>(0, 1 << 20);
  resume.last_serial = r.get<std::uint64_t>();
  resume.has_model = r.flag();
  return r.complete() ? std::optional(resume) : std::nullopt;
}

std::string encode(const Watch& watch) {
  WireWriter w;
  w.put(watch.layer);
  w.put(watch.head);
  return w.take();
}

std::optional<Watch> decode_watch(std::string_view bytes) {
  WireReader r(bytes);
  Watch watch;
  watch.layer = r.within<std::int32_t>(-1, 1023);
  watch.head = r.within<std::int32_t>(-1, 1023);
  return r.complete() ? std::optional(watch) : std::nullopt;
}

std::optional<std::string> encode_command(std::uint64_t number, const Command& command) {
  WireWriter w;
  w.put(number);
  if (!std::visit(Write{w}, command)) {
    return std::nullopt;
  }
  return w.take();
}

std::optional<NumberedCommand> decode_command(std::string_view bytes) {
  WireReader r(bytes);
  const auto number = r.get<std::uint64_t>();
  auto command = get_command(r);
  if (!command || !r.complete()) {
    return std::nullopt;
  }
  return NumberedCommand{number, std::move(*command)};
}

std::string encode_prompt(const Snapshot& s) {
  WireWriter w;
  w.put(s.session_serial);
  w.text(s.prompt);
  w.put(static_cast<std::uint8_t>(s.chat));
  w.text(s.fed_text);
  w.put(static_cast<std::uint32_t>(s.prompt_ids.size()));
  w.array(std::span(s.prompt_ids));
  return w.take();
}

bool decode_prompt(std::string_view bytes, Snapshot& s) {
  WireReader r(bytes);
  s.session_serial = r.get<std::uint64_t>();
  s.prompt = r.text(kMostPrompt);
  s.chat = r.flag();
  s.fed_text = r.text(2 * kMostPrompt);
  s.prompt_ids.resize(r.count(1 << 20, sizeof(std::int32_t)));
  r.array(std::span(s.prompt_ids));
  return r.complete();
}

std::string encode_state(const Snapshot& s, int n_frames, const StateExtra& extra) {
  WireWriter w;
  w.put(s.version);
  w.put(s.state);
  w.put(s.stop_reason);
  for (const std::string* text : {&s.backend, &s.backend_text, &s.backend_reason, &s.error}) {
    w.text(std::string_view(*text).substr(0, kMostText));
  }
  w.put(static_cast<std::int32_t>(s.context));
  w.put(s.device_bytes);
  put_history(w, s.history);
  w.put(static_cast<std::int32_t>(n_frames));
  put(w, s.sampler);
  put(w, s.capture);
  for (const double value :
       {s.timing.load_s, s.timing.prefill_tok_s, s.timing.decode_tok_s, s.timing.ms_per_token}) {
    w.put(value);
  }
  put_texts(w, s.faults);
  w.put(static_cast<std::int32_t>(s.checks_run));
  w.put(static_cast<std::uint8_t>(s.diagnosed));
  put_branches(w, s);
  w.put(s.error_serial);
  w.put(extra.acknowledged);
  w.put(static_cast<std::uint8_t>(extra.idle));
  w.put(extra.permille);
  w.put(extra.what);
  return w.take();
}

bool decode_state(std::string_view bytes, Snapshot& s, StateExtra& extra) {
  WireReader r(bytes);
  s.version = r.get<std::uint64_t>();
  s.state = static_cast<session::State>(
      r.within<std::uint8_t>(0, static_cast<std::uint8_t>(session::State::kRunning)));
  s.stop_reason = static_cast<session::StopReason>(
      r.within<std::uint8_t>(0, static_cast<std::uint8_t>(session::StopReason::kContextFull)));
  for (std::string* text : {&s.backend, &s.backend_text, &s.backend_reason, &s.error}) {
    *text = r.text(kMostText);
  }
  s.context = r.within<std::int32_t>(0, 1 << 24);
  s.device_bytes = r.get<std::uint64_t>();
  s.history = get_history(r);
  s.n_frames = r.within<std::int32_t>(0, 1 << 20);
  s.sampler = get_sampler(r);
  s.capture = get_request(r, capture::Tier::kFull);
  for (double* value : {&s.timing.load_s, &s.timing.prefill_tok_s, &s.timing.decode_tok_s,
                        &s.timing.ms_per_token}) {
    *value = r.get<double>();
  }
  s.faults = get_texts(r);
  s.checks_run = r.within<std::int32_t>(0, 1 << 20);
  s.diagnosed = r.flag();
  get_branches(r, s);
  s.error_serial = r.get<std::uint64_t>();
  extra.acknowledged = r.get<std::uint64_t>();
  extra.idle = r.flag();
  extra.permille = r.within<std::int32_t>(-1, 1000);
  extra.what = r.get<std::uint8_t>();
  extra.what = extra.what < kProgress.size() ? extra.what : std::uint8_t{0};
  return r.complete();
}

}  // namespace layerscope::server
