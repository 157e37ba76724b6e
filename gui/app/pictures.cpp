#include "gui/app/pictures.h"

#include <fmt/format.h>
#include <imgui.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

namespace layerscope::gui {
namespace {

constexpr double kAskAgain = 0.25;  ///< seconds, for a picture that did not come

std::uint64_t newest_serial(const session::Snapshot& snapshot) {
  const capture::TokenFrame* last = snapshot.frame(snapshot.n_frames - 1);
  return last != nullptr ? last->serial : 0;
}

bool wants_anything(const backend::DrawRequest& look) {
  return look.thumbnails || look.map.layer >= 0 || look.row_layer >= 0 || look.stats.any();
}

bool same_look(const backend::DrawRequest& a, const backend::DrawRequest& b) {
  return a.thumbnails == b.thumbnails && a.map == b.map && a.row_layer == b.row_layer &&
         a.row_head == b.row_head && a.row_position == b.row_position && a.stats == b.stats;
}

/// Whether the picture was asked for with these statistics; parts that cannot be had stay empty.
bool shows_stats(const backend::DrawnFrame& frame, const backend::StatsLook& look) {
  backend::StatsLook resolved = look;
  resolved.position = look.position < 0 ? frame.n_tokens - 1 : look.position;
  return !look.any() || frame.stats.look == resolved;
}

}  // namespace

Pictures::Pictures(const Context& context, Renderer& renderer, std::string refused)
    : context_(context), renderer_(renderer), refused_(std::move(refused)) {}

// The last frame may still read a slot; the heatmaps' sets name the buffers until they go.
Pictures::~Pictures() {
  renderer_.finish();
  renderer_.wait_before_reading(VK_NULL_HANDLE, 0);
  static_cast<void>(renderer_.heatmaps().set_device_slots({}, 0));
}

/// Tries to share memory with CUDA; `why` says why not.
Status Pictures::share(std::string& why) {
#ifdef LS_HAVE_INTEROP
  auto sink = interop::DeviceSink::create(context_);
  if (!sink.ok()) {
    why = sink.error().message;
    return {};
  }
  const auto buffers = sink.value()->buffers();
  renderer_.finish();
  LS_CHECK(renderer_.heatmaps().set_device_slots(buffers, sink.value()->bytes()));
  shared_ = sink.value().get();
  sink_ = std::move(sink).value();
#else
  why = "this program was built without CUDA";
  static_cast<void>(context_);
#endif
  return {};
}

void Pictures::retire() {
  if (sink_ != nullptr) {
    retired_.push_back(std::move(sink_));
    sink_ = nullptr;
  }
#ifdef LS_HAVE_INTEROP
  shared_ = nullptr;
#endif
  renderer_.wait_before_reading(VK_NULL_HANDLE, 0);
  drawn_ = {};
}

std::vector<std::shared_ptr<interop::PictureSource>> Pictures::release() {
  retire();
  path_ = Path::kNone;
  session_ = nullptr;
  return std::move(retired_);
}

Status Pictures::use(session::SessionLink& session, Path path) {
  if (path_ == Path::kDevice) {
    renderer_.finish();
    LS_CHECK(renderer_.heatmaps().set_device_slots({}, 0));
  }
  retire();
  path_ = path;
  if (path == Path::kDevice) {
    LS_CHECK(share(why_not_));
    path_ = sink_ != nullptr ? Path::kDevice : Path::kHost;
    if (path_ == Path::kHost) {
      spdlog::info("no zero-copy drawing: {}", why_not_);
    }
  }
  if (path_ == Path::kHost) {
    sink_ = std::make_shared<interop::HostSink>();
  }
  session.set_draw_sink(sink_);
  session_ = &session;
  return {};
}

/// The path for the present session and backend.
Status Pictures::choose(session::SessionLink& session, const session::Snapshot& snapshot) {
  const bool cuda = snapshot.backend == "cuda";
  const bool lost = snapshot.sinks_lost != sinks_lost_;
  if (lost) {
    if (sink_ != nullptr) {
      sink_->forget_cuda();
    }
    for (const auto& sink : retired_) {
      sink->forget_cuda();
    }
  }
  if (!cuda || lost) {
    tried_ = false;
    why_not_.clear();
  }
  sinks_lost_ = snapshot.sinks_lost;
  Path wanted = session.link().remote ? Path::kNone : Path::kHost;
  if (wanted == Path::kHost && cuda && refused_.empty()) {
    wanted = tried_ ? path_ : Path::kDevice;
    tried_ = true;
  }
  if (wanted != path_ || lost || session_ != &session) {
    LS_CHECK(use(session, wanted));
  }
  std::erase_if(retired_, [](const auto& sink) { return sink.use_count() == 1; });
  return {};
}

void Pictures::describe(const session::Snapshot& snapshot) {
  VulkanHeatmaps& heatmaps = renderer_.heatmaps();
  if (path_ == Path::kDevice && snapshot.draws && snapshot.draw_error.empty()) {
    heatmaps.set_path(fmt::format("zero-copy · {}", context_.device_name()),
                      "CUDA writes attention maps into memory that Vulkan reads: nothing is copied "
                      "to the host to be drawn");
    return;
  }
  std::string reason = "the backend computes in host memory, so values are copied to the device";
  if (!refused_.empty()) {
    reason = refused_;
  } else if (!snapshot.draw_error.empty()) {
    reason = snapshot.draw_error;
  } else if (snapshot.backend == "cuda" && !why_not_.empty()) {
    reason = why_not_;
  } else if (snapshot.backend == "cuda" && !snapshot.draws) {
    reason = snapshot.faults.empty() ? "there was no GPU memory left for drawing"
                                     : "with faults in force the attention rows are in host memory";
  } else if (context_.software()) {
    reason = "software Vulkan shares no memory with a GPU; " + context_.device_reason();
  }
  heatmaps.set_path(context_.software()
                        ? fmt::format("staging · software Vulkan ({})", context_.device_name())
                        : fmt::format("staging · {}", context_.device_name()),
                    std::move(reason));
}

Status Pictures::before_panels(session::SessionLink& session, Ui& ui) {
  const session::Snapshot& snapshot = *ui.snapshot;
  LS_CHECK(choose(session, snapshot));
  describe(snapshot);
  ui.drawn = nullptr;
  ui.look = {};
  // A recording has no backend that could draw, nor has a difference.
  ui.pictures = sink_ != nullptr && ui.side() == session::Side::kA && snapshot.recording == nullptr;
  if (!ui.pictures) {
    return {};
  }
  ui.frames_dropped = sink_->dropped();
  LS_TRY(const std::uint64_t finished, renderer_.finished());
  const auto picture = sink_->take(finished);
  if (!picture) {
    return {};
  }
  drawn_.frame = picture->frame;
  drawn_.host = picture->host;
  drawn_.slot = picture->host != nullptr ? -1 : picture->slot;
  drawn_.value = picture->value;
#ifdef LS_HAVE_INTEROP
  if (shared_ != nullptr) {
    renderer_.wait_before_reading(shared_->semaphore(), picture->value);
  }
#endif
  if (view::shows(drawn_, snapshot)) {
    ui.drawn = &drawn_;
  }
  return {};
}

/// Whether the picture shows what the panels look at now.
bool Pictures::answers(const Ui& ui) const {
  const backend::DrawnFrame& frame = drawn_.frame;
  const backend::DrawRequest& look = ui.look;
  const auto rect = resolve(look.map, frame.n_tokens);
  const int row = look.row_position < 0 ? frame.n_tokens - 1 : look.row_position;
  return ui.drawn != nullptr && view::is_complete(drawn_, *ui.snapshot) &&
         (!look.thumbnails || !frame.thumbnails.empty() || !ui.snapshot->draws) &&
         (!rect || *rect == frame.rect) && shows_stats(frame, look.stats) &&
         (look.row_layer < 0 || (frame.row_layer == look.row_layer &&
                                 frame.row_head == look.row_head && frame.row_position == row));
}

void Pictures::after_panels(session::SessionLink& session, Ui& ui) {
  if (renderer_.heatmaps().reads_slots() && sink_ != nullptr) {
    sink_->used_by(renderer_.frames());
  }
  settled_ = true;
  if (!ui.pictures || !wants_anything(ui.look) || ui.snapshot->n_frames == 0) {
    return;
  }
  if (answers(ui)) {
    return;
  }
  settled_ = !ui.snapshot->draw_error.empty();
  // The host draws between two runs, not during one: asking then would only keep the window awake.
  const session::State state = ui.snapshot->state;
  if (!ui.snapshot->draws &&
      (state == session::State::kEvaluating || state == session::State::kRunning)) {
    return;
  }
  const std::uint64_t serial = newest_serial(*ui.snapshot);
  const bool same = same_look(ui.look, asked_) && serial == asked_serial_;
  if (!same || ImGui::GetTime() > asked_at_ + kAskAgain) {
    asked_ = ui.look;
    asked_.ticket = ++ticket_;
    asked_serial_ = serial;
    asked_at_ = ImGui::GetTime();
    session.look(asked_);
  }
  ui.requests.redraw = ui.requests.redraw || !settled_;
}

void Pictures::forget(Ui& ui) {
  ui.drawn = nullptr;
  session_ = nullptr;
  tried_ = false;
}

}  // namespace layerscope::gui
