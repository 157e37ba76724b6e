#include "engine/server/callback.h"

#include <fmt/format.h>
#include <httplib.h>

#include <algorithm>
#include <random>
#include <utility>

#include "engine/base/log.h"

namespace layerscope::server {
namespace {

constexpr int kConnectSeconds = 3;
constexpr int kAnswerSeconds = 5;

}  // namespace

Verdict judge(int status) {
  if (status >= 200 && status < 300) {
    return Verdict::kDone;
  }
  const bool transient = status == 0 || status == 408 || status == 425 || status == 429 ||
                         (status >= 500 && status < 600);
  return transient ? Verdict::kRetry : Verdict::kGiveUp;
}

std::chrono::milliseconds back_off(int n, double jitter) {
  constexpr double kFirst = 250.0;
  constexpr double kMost = 30000.0;
  const double plain =
      std::min(kMost, kFirst * static_cast<double>(1U << std::clamp(n - 1, 0, 20)));
  return std::chrono::milliseconds(
      static_cast<long>(plain * (0.8 + 0.4 * std::clamp(jitter, 0.0, 1.0))));
}

Callback::Callback(Url url, std::string body, int most)
    : url_(std::move(url)), body_(std::move(body)), most_(most), thread_([this] { loop(); }) {}

Callback::~Callback() {
  {
    const std::lock_guard lock(mutex_);
    quitting_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

int Callback::attempt() const {
  httplib::Client client(url_.origin());
  client.set_connection_timeout(kConnectSeconds);
  client.set_read_timeout(kAnswerSeconds);
  client.set_write_timeout(kAnswerSeconds);
  const auto answer = client.Post(url_.path, body_, "application/json");
  return answer ? answer->status : 0;
}

void Callback::loop() {
  std::mt19937 random(std::random_device{}());
  std::uniform_real_distribution<double> unit(0.0, 1.0);
  for (int n = 1; n <= most_; ++n) {
    const int status = attempt();
    const Verdict verdict = judge(status);
    const std::string answer = status == 0 ? "no answer" : fmt::format("status {}", status);
    if (verdict == Verdict::kDone) {
      spdlog::info("the readiness callback to {} was taken ({}, attempt {})", url_.origin(), answer,
                   n);
      return;
    }
    if (verdict == Verdict::kGiveUp || n == most_) {
      spdlog::error("the readiness callback to {} is given up after {} attempt(s): {}",
                    url_.origin(), n, answer);
      return;
    }
    const auto pause = back_off(n, unit(random));
    spdlog::warn("the readiness callback to {} failed ({}), attempt {} of {}, next in {} ms",
                 url_.origin(), answer, n, most_, pause.count());
    std::unique_lock lock(mutex_);
    if (changed_.wait_for(lock, pause, [this] { return quitting_; })) {
      return;
    }
  }
}

}  // namespace layerscope::server
