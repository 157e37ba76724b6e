#include "engine/base/log.h"

#include <fmt/format.h>
#include <spdlog/sinks/ringbuffer_sink.h>
#include <spdlog/sinks/stdout_color_sinks.h>

#include <memory>

namespace layerscope::log {
namespace {

constexpr std::size_t kRingLines = 512;

using RingSink = spdlog::sinks::ringbuffer_sink_mt;

std::shared_ptr<RingSink> find_ring() {
  for (const auto& sink : spdlog::default_logger()->sinks()) {
    if (auto ring = std::dynamic_pointer_cast<RingSink>(sink)) {
      return ring;
    }
  }
  return nullptr;
}

}  // namespace

Status init(const std::string& level) {
  const auto parsed = spdlog::level::from_str(level == "warn" ? "warning" : level);
  if (parsed == spdlog::level::off && level != "off") {
    return usage_error(
        fmt::format("unknown log level '{}' (use trace, debug, info, warn, error or off)", level));
  }
  auto console = std::make_shared<spdlog::sinks::stderr_color_sink_mt>();
  console->set_level(parsed);
  console->set_pattern("%^%l%$: %v");
  auto ring = std::make_shared<RingSink>(kRingLines);
  ring->set_pattern("%H:%M:%S.%e %l: %v");
  ring->set_level(spdlog::level::debug);
  auto logger =
      std::make_shared<spdlog::logger>("layerscope", spdlog::sinks_init_list{console, ring});
  logger->set_level(std::min(parsed, spdlog::level::debug));
  spdlog::set_default_logger(std::move(logger));
  return {};
}

std::vector<Line> recent() {
  std::vector<Line> lines;
  const auto ring = find_ring();
  if (ring == nullptr) {
    return lines;
  }
  const auto raw = ring->last_raw();
  const auto formatted = ring->last_formatted();
  for (std::size_t i = 0; i < formatted.size() && i < raw.size(); ++i) {
    std::string text = formatted[i];
    while (!text.empty() && (text.back() == '\n' || text.back() == '\r')) {
      text.pop_back();
    }
    lines.push_back(Line{raw[i].level, std::move(text)});
  }
  return lines;
}

}  // namespace layerscope::log
