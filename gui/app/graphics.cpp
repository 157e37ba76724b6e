#include "gui/app/graphics.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <chrono>
#include <thread>
#include <utility>

#include "gui/vulkan/window_target.h"

namespace layerscope::gui {
namespace {

/// A driver that resets its device refuses a new one for a moment.
constexpr int kAttempts = 4;
constexpr std::chrono::milliseconds kBetweenAttempts{250};

/// More losses than these in this time, and drawing is given up.
constexpr std::size_t kMostLosses = 3;
constexpr std::chrono::seconds kLossTime{30};

}  // namespace

Graphics::Graphics(GraphicsOptions options, std::shared_ptr<std::atomic<std::uint32_t>> problems)
    : options_(std::move(options)),
      problems_(std::move(problems)),
      rehearsals_(options_.rehearsals.begin(), options_.rehearsals.end()) {}

Graphics::~Graphics() = default;

Result<Graphics::Drawing> Graphics::make(Platform& platform) {
  ContextOptions options;
  options.validation = options_.validation;
  options.problems = problems_;
  if (!rehearsals_.empty()) {
    options.rehearse = rehearsals_.front();
    rehearsals_.pop_front();
  }
  if (!options_.offscreen) {
    LS_TRY(options.instance_extensions, window_instance_extensions());
    options.can_present = window_can_present;
  }
  Drawing made;
  LS_TRY(made.context, Context::create(options));
  if (options_.offscreen) {
    LS_TRY(auto target, OffscreenTarget::create(*made.context, {options_.width, options_.height},
                                                VK_FORMAT_R8G8B8A8_UNORM));
    made.offscreen = target.get();
    made.target = std::move(target);
  } else {
    LS_TRY(made.target, WindowTarget::create(*made.context, platform.window()));
  }
  LS_TRY(made.renderer,
         Renderer::create(*made.context, *made.target, "no model is loaded yet", options_.with));
  made.renderer->measure(options_.measure);
  made.renderer->set_drawing(draws_all_);
  made.pictures = std::make_unique<Pictures>(*made.context, *made.renderer, options_.refused);
  return made;
}

Status Graphics::start(Platform& platform) {
  LS_TRY(drawing_, make(platform));
  return {};
}

bool Graphics::lost() const { return drawing_.context != nullptr && drawing_.context->lost(); }

Status Graphics::recover(const Error& error, Platform& platform,
                         std::span<session::SessionLink* const> sessions) {
  recent_losses_.push_back(std::chrono::steady_clock::now());
  while (recent_losses_.back() - recent_losses_.front() > kLossTime) {
    recent_losses_.pop_front();
  }
  if (recent_losses_.size() > kMostLosses) {
    return device_error(fmt::format("{}, {} times in {} s", error.message, recent_losses_.size(),
                                    kLossTime.count()));
  }
  spdlog::warn("{}; starting to draw again", error.message);
  if (const Status status = rebuild(platform, sessions); !status.ok()) {
    return device_error(fmt::format("{} and could not be started again: {}", error.message,
                                    status.error().message));
  }
  return {};
}

Status Graphics::rebuild(Platform& platform, std::span<session::SessionLink* const> sessions) {
  ++losses_;
  frames_before_ += drawing_.renderer->frames();
  for (session::SessionLink* session : sessions) {
    session->set_draw_sink(nullptr);
  }
  // As at the end of the program, but for what a worker holds: the drawing first, then the window's
  // surface, which a new device needs, then the device.
  Left left;
  left.sinks = drawing_.pictures->release();
  drawing_.pictures.reset();
  drawing_.renderer.reset();
  drawing_.offscreen = nullptr;
  drawing_.target.reset();
  left.context = std::move(drawing_.context);
  left_.push_back(std::move(left));
  sweep(sinks_lost_);
  for (int attempt = 1;; ++attempt) {
    Result<Drawing> made = make(platform);
    if (made.ok()) {
      drawing_ = std::move(made).value();
      return {};
    }
    spdlog::warn("starting to draw again, attempt {} of {}: {}", attempt, kAttempts,
                 made.error().message);
    if (attempt == kAttempts) {
      return made.error();
    }
    std::this_thread::sleep_for(kBetweenAttempts);
    sweep(sinks_lost_);
  }
}

void Graphics::sweep(int sinks_lost) {
  if (std::exchange(sinks_lost_, sinks_lost) != sinks_lost) {
    for (const Left& left : left_) {
      for (const auto& sink : left.sinks) {
        sink->forget_cuda();
      }
    }
  }
  std::erase_if(left_, [](const Left& left) {
    return std::all_of(left.sinks.begin(), left.sinks.end(),
                       [](const auto& sink) { return sink.use_count() == 1; });
  });
}

void Graphics::draw_frames(bool all) {
  draws_all_ = all;
  drawing_.renderer->set_drawing(all);
}

Status Graphics::resize(int width, int height) {
  options_.width = static_cast<std::uint32_t>(width);
  options_.height = static_cast<std::uint32_t>(height);
  return drawing_.offscreen != nullptr
             ? drawing_.offscreen->resize({options_.width, options_.height})
             : Status{};
}

}  // namespace layerscope::gui
