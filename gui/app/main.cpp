// layerscope: the window. Everything happens in Application; here errors become exit codes.
#include <cstdio>
#include <exception>

#include "engine/base/log.h"
#include "gui/app/application.h"
#include "gui/app/options.h"

namespace {

int fail(const layerscope::Error& error) {
  std::fprintf(stderr, "layerscope: %s\n", error.message.c_str());
  return layerscope::exit_code(error.code);
}

}  // namespace

int main(int argc, char** argv) {
  try {
    const auto options = layerscope::gui::parse_options(argc, argv);
    if (!options.ok()) {
      return fail(options.error());
    }
    if (!options.value()) {
      return 0;
    }
    if (const auto status = layerscope::log::init(options.value()->log_level); !status.ok()) {
      return fail(status.error());
    }
    const auto status = layerscope::gui::run_application(*options.value());
    return status.ok() ? 0 : fail(status.error());
  } catch (const std::exception& error) {
    std::fprintf(stderr, "layerscope: unexpected failure: %s\n", error.what());
    return 1;
  }
}
