#include "engine/backend/backend.h"

#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <thread>

#include "engine/backend/cpu_backend.h"

namespace layerscope::backend {
namespace {

constexpr int kDefaultContext = 4096;
constexpr const char* kNoCuda = "this build has no CUDA backend";

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

std::vector<DeviceInfo> list_devices(int threads) {
  const int n =
      threads > 0 ? threads : static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
  const std::string name = cpu_name();
  return {{"cpu", fmt::format("{}, {} threads", name.empty() ? "processor" : name, n), true,
           "always available; chosen because no usable GPU was found"},
          {"cuda", "", false, kNoCuda}};
}

Result<std::unique_ptr<Backend>> create_backend(std::shared_ptr<const model::Model> model,
                                                const BackendOptions& options) {
  if (options.kind == "cuda") {
    return device_error(fmt::format("the CUDA backend is not available: {}", kNoCuda));
  }
  if (options.kind != "auto" && options.kind != "cpu") {
    return usage_error(fmt::format("unknown backend '{}' (use auto, cpu or cuda)", options.kind));
  }
  const int context =
      options.context > 0 ? options.context : std::min(model->spec.train_context, kDefaultContext);
  return CpuBackend::create(std::move(model), options.threads, context);
}

}  // namespace layerscope::backend
