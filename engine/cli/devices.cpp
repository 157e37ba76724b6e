// devices: the backends of this build and whether they are usable here.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>

#include "engine/backend/backend.h"
#include "engine/cli/commands.h"
#include "engine/cli/options.h"

namespace layerscope::cli {
namespace {

struct DevicesOptions {
  CommonOptions common;
  bool json = false;
};

Status devices(const DevicesOptions& options) {
  for (const backend::DeviceInfo& device : backend::list_devices(options.common.threads)) {
    if (options.json) {
      print_json_line({{"backend", device.backend},
                       {"name", device.name},
                       {"usable", device.usable},
                       {"reason", device.reason}});
    } else {
      fmt::print("{:<5} {:<8} {}{}{}\n", device.backend, device.usable ? "usable" : "no",
                 device.name, device.name.empty() ? "" : ": ", device.reason);
    }
  }
  return {};
}

}  // namespace

Runner add_devices(CLI::App& app) {
  auto options = std::make_shared<DevicesOptions>();
  CLI::App* command = app.add_subcommand("devices", "backends and GPUs, and why one is not usable");
  command->add_flag("--json", options->json, "one JSON object per device");
  add_common_options(*command, options->common);
  return [options] { return devices(*options); };
}

}  // namespace layerscope::cli
