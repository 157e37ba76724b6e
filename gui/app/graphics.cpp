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

Status Graphics::make(Platform& platform) {
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
  LS_TRY(context_, Context::create(options));
  if (options_.offscreen) {
    LS_TRY(auto target, OffscreenTarget::create(*context_, {options_.width, options_.height},
                                                VK_FORMAT_R8G8B8A8_UNORM));
    offscreen_ = target.get();
    target_ = std::move(target);
  } else {
    LS_TRY(target_, WindowTarget::create(*context_, platform.window()));
  }
  LS_TRY(renderer_, Renderer::create(*context_, *target_, "no model is loaded yet", options_.with));
  renderer_->measure(options_.measure);
  pictures_ = std::make_unique<Pictures>(*context_, *renderer_, options_.refused);
  return {};
}

Status Graphics::start(Platform& platform) { return make(platform); }

bool Graphics::lost() const { return context_ != nullptr && context_->lost(); }

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
  frames_before_ += renderer_->frames();
  for (session::SessionLink* session : sessions) {
    session->set_draw_sink(nullptr);
  }
  // As at the end of the program, but for what a worker holds: the drawing first, then the window's
  // surface, which a new device needs, then the device.
  Left left;
  left.sinks = pictures_->release();
  pictures_.reset();
  renderer_.reset();
  offscreen_ = nullptr;
  target_.reset();
  left.context = std::move(context_);
  left_.push_back(std::move(left));
  sweep(sinks_lost_);
  Status status;
  for (int attempt = 1; attempt <= kAttempts; ++attempt) {
    status = make(platform);
    if (status.ok() && context_ != nullptr) {
      return {};
    }
    spdlog::warn("starting to draw again, attempt {} of {}: {}", attempt, kAttempts,
                 status.error().message);
    renderer_.reset();
    offscreen_ = nullptr;
    target_.reset();
    context_.reset();
    if (attempt < kAttempts) {
      std::this_thread::sleep_for(kBetweenAttempts);
      sweep(sinks_lost_);
    }
  }
  return status;
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

Status Graphics::resize(int width, int height) {
  options_.width = static_cast<std::uint32_t>(width);
  options_.height = static_cast<std::uint32_t>(height);
  return offscreen_ != nullptr ? offscreen_->resize({options_.width, options_.height}) : Status{};
}

}  // namespace layerscope::gui
