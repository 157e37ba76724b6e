#include "engine/backend/backend.h"

#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <thread>

#include "engine/backend/cpu_backend.h"
#include "engine/backend/cuda.h"

namespace layerscope::backend {
namespace {

constexpr int kDefaultContext = 4096;

/// "AMD EPYC 7763" from the kernel's processor list; empty when it cannot be read.
std::string cpu_name() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("model name")) {
      const auto colon = line.find(": ");
      return colon == std::string::npos ? std::string() : line.substr(colon + 2);
    }
  }
  return {};
}

}  // namespace

Status Backend::inspect(std::int32_t /*id*/, int /*position*/, const capture::Request& /*request*/,
                        const std::stop_token& /*stop*/, capture::PassCapture& /*captured*/) {
  return usage_error(fmt::format(
      "the {} backend cannot evaluate one token again yet; use --backend cpu to look inside",
      name()));
}

Status Backend::head_logits(std::span<const float> /*residual*/, std::vector<float>& /*logits*/) {
  return usage_error(fmt::format(
      "the {} backend has no logit lens yet; use --backend cpu to look through it", name()));
}

Result<capture::CacheStats> Backend::cache_stats() const {
  return usage_error(fmt::format(
      "the {} backend cannot read its key and value cache out yet; use --backend cpu", name()));
}

Status Backend::cache_slot(int /*layer*/, int /*kv_head*/, int /*slot*/,
                           std::vector<float>& /*key*/, std::vector<float>& /*value*/) const {
  return usage_error(fmt::format(
      "the {} backend cannot read its key and value cache out yet; use --backend cpu", name()));
}

Status Backend::set_interventions(const model::Interventions& list) {
  for (const model::Intervention& item : list) {
    const model::Obeyed who = model::obeyed_by(item.kind);
    if (who == model::Obeyed::kModel || who == model::Obeyed::kForward) {
      return usage_error(fmt::format(
          "the {} backend cannot inject faults into the forward pass; use --backend cpu", name()));
    }
  }
  return {};
}

Result<std::unique_ptr<Backend>> Backend::fork(int /*context*/) const {
  return device_error(fmt::format("the {} backend cannot be had a second time", name()));
}

bool Backend::attention_rows(int layer, int head, int first, int n, std::span<float> out,
                             std::size_t stride, const std::stop_token& stop) const {
  for (int i = 0; i < n; ++i) {
    if (stop.stop_requested()) {
      return false;
    }
    attention_row(
        layer, head, first + i,
        out.subspan(static_cast<std::size_t>(i) * stride, static_cast<std::size_t>(first + i) + 1));
  }
  return true;
}

Status Backend::captured_row(const capture::TokenFrame& frame, int layer, int head,
                             std::span<float> out) const {
  const std::span<const float> row = frame.attention_row(layer, head);
  if (row.empty() || row.size() != out.size()) {
    return usage_error(fmt::format("no attention row of layer {} head {} is kept for position {}",
                                   layer, head, frame.position));
  }
  std::copy(row.begin(), row.end(), out.begin());
  return {};
}

Status recover_device(int gpu) { return recover_cuda_device(gpu); }

std::jthread warm_up(const BackendOptions& options) {
  return options.kind == "cpu" ? std::jthread()
                               : std::jthread([gpu = options.gpu] { warm_up_cuda(gpu); });
}

std::vector<DeviceInfo> list_devices(int threads) {
  const int n =
      threads > 0 ? threads : static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
  const std::string name = cpu_name();
  std::vector<DeviceInfo> gpus = list_cuda_devices();
  DeviceInfo cpu{"cpu", fmt::format("{}, {} threads", name.empty() ? "processor" : name, n), true,
                 "always available"};
  // The one that `auto` takes comes first.
  if (!gpus.front().usable) {
    cpu.reason += "; chosen because no usable GPU was found";
    gpus.insert(gpus.begin(), std::move(cpu));
  } else {
    gpus.push_back(std::move(cpu));
  }
  return gpus;
}

Result<std::unique_ptr<Backend>> create_backend(std::shared_ptr<const model::Model> model,
                                                const BackendOptions& options) {
  if (options.kind != "auto" && options.kind != "cpu" && options.kind != "cuda") {
    return usage_error(fmt::format("unknown backend '{}' (use auto, cpu or cuda)", options.kind));
  }
  const int context =
      options.context > 0 ? options.context : std::min(model->spec.train_context, kDefaultContext);
  if (context > model->spec.train_context && model->spec.learned_positions) {
    return usage_error(
        fmt::format("a context of {} tokens is more than the model's {} learned positions", context,
                    model->spec.train_context));
  }
  if (options.kind == "cuda" ||
      (options.kind == "auto" && (options.gpu > 0 || list_cuda_devices().front().usable))) {
    return create_cuda_backend(std::move(model), options, context);
  }
  return CpuBackend::create(std::move(model), options.threads, context);
}

}  // namespace layerscope::backend
