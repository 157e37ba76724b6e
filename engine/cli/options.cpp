#include "engine/cli/options.h"

#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <filesystem>
#include <fstream>

#include "engine/backend/backend.h"

namespace layerscope::cli {

void add_common_options(CLI::App& command, CommonOptions& options) {
  command.add_option("--backend", options.backend, "auto, cpu or cuda")
      ->check(CLI::IsMember({"auto", "cpu", "cuda"}))
      ->capture_default_str();
  command.add_option("--gpu", options.gpu, "GPU number")->check(CLI::NonNegativeNumber);
  command.add_flag("--float32", options.float32,
                   "GPU: float32 keys, values and products (slower, to compare with the CPU)");
  command.add_option("--threads", options.threads, "processor threads (0: all)")
      ->check(CLI::Range(0, 4096));
  command
      .add_option("--context", options.context,
                  "slots of the KV cache (0: the model's own, at most 4096)")
      ->check(CLI::Range(0, 16777216));
  command.add_flag("--quiet", options.quiet, "no progress and no summary");
  command.add_option("--log-level", options.log_level, "trace, debug, info, warn, error or off")
      ->capture_default_str();
}

Result<std::shared_ptr<const model::Model>> load_with_progress(const std::string& path,
                                                               const CommonOptions& options) {
  const bool show = !options.quiet && ::isatty(STDERR_FILENO) == 1;
  constexpr int kBarWidth = 30;
  backend::BackendOptions wanted;
  wanted.kind = options.backend;
  wanted.gpu = options.gpu;
  const std::jthread warm = backend::warm_up(wanted);
  auto result = model::load_model(path, {}, [&](double fraction) {
    if (show) {
      const int filled = static_cast<int>(fraction * kBarWidth);
      fmt::print(stderr, "\rloading [{:<{}}] {:3.0f} %",
                 std::string(static_cast<std::size_t>(filled), '#'), kBarWidth, fraction * 100.0);
      std::fflush(stderr);
    }
  });
  if (show) {
    fmt::print(stderr, "\r\033[K");
  }
  return result;
}

Result<session::Generator> make_generator(std::shared_ptr<const model::Model> model,
                                          const CommonOptions& options) {
  backend::BackendOptions wanted{options.backend, options.threads, options.context, options.gpu};
  wanted.float32 = options.float32;
  wanted.row_memory = options.row_memory;
  LS_TRY(auto backend, backend::create_backend(model, wanted));
  return session::Generator(std::move(model), std::move(backend));
}

Status write_file(const std::string& path, std::span<const std::byte> bytes) {
  const std::string temporary = fmt::format("{}.{}.part", path, ::getpid());
  {
    std::ofstream out(temporary, std::ios::binary | std::ios::trunc);
    out.write(reinterpret_cast<const char*>(bytes.data()),
              static_cast<std::streamsize>(bytes.size()));
    out.flush();
    if (!out) {
      std::error_code ignored;
      std::filesystem::remove(temporary, ignored);
      return invalid_input(fmt::format("cannot write '{}'", path));
    }
  }
  std::error_code failed;
  std::filesystem::rename(temporary, path, failed);
  if (failed) {
    std::error_code ignored;
    std::filesystem::remove(temporary, ignored);
    return invalid_input(fmt::format("cannot write '{}': {}", path, failed.message()));
  }
  return {};
}

Result<std::string> read_file(const std::string& path) {
  constexpr std::uintmax_t kMostBytes = 256U << 20U;
  std::error_code failed;
  const auto size = std::filesystem::file_size(path, failed);
  if (failed) {
    return invalid_input(fmt::format("cannot read '{}': {}", path, failed.message()));
  }
  if (size > kMostBytes) {
    return invalid_input(fmt::format("'{}' is larger than 256 MiB", path));
  }
  std::ifstream in(path, std::ios::binary);
  std::string text((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
  if (!in && !in.eof()) {
    return invalid_input(fmt::format("cannot read '{}'", path));
  }
  return text;
}

void print_json_line(const nlohmann::ordered_json& value) {
  const std::string line =
      value.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
  std::fwrite(line.data(), 1, line.size(), stdout);
  std::fputc('\n', stdout);
  std::fflush(stdout);
}

std::string bytes_text(std::uint64_t bytes) {
  constexpr double kStep = 1024.0;
  const char* units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  auto value = static_cast<double>(bytes);
  std::size_t unit = 0;
  while (value >= kStep && unit + 1 < std::size(units)) {
    value /= kStep;
    ++unit;
  }
  return unit == 0 ? fmt::format("{} B", bytes) : fmt::format("{:.1f} {}", value, units[unit]);
}

}  // namespace layerscope::cli
