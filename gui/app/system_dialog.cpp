#include "gui/app/system_dialog.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <spawn.h>
#include <spdlog/spdlog.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <string_view>
#include <vector>

extern char** environ;  // NOLINT: POSIX declares it this way

namespace layerscope::gui {
namespace {

bool on_path(const char* program) {
  const char* path = std::getenv("PATH");
  std::string_view rest = path != nullptr ? path : "";
  while (!rest.empty()) {
    const std::size_t colon = rest.find(':');
    const std::string candidate = std::string(rest.substr(0, colon)) + "/" + program;
    if (access(candidate.c_str(), X_OK) == 0) {
      return true;
    }
    rest.remove_prefix(colon == std::string_view::npos ? rest.size() : colon + 1);
  }
  return false;
}

}  // namespace

std::string SystemDialog::program() {
  for (const char* name : {"zenity", "kdialog"}) {
    if (on_path(name)) {
      return name;
    }
  }
  return {};
}

SystemDialog::~SystemDialog() {
  if (child_ > 0) {
    kill(child_, SIGTERM);
    waitpid(child_, nullptr, 0);
  }
  if (output_ >= 0) {
    close(output_);
  }
}

std::string SystemDialog::ways() {
  std::string by_hand = program();
  if (!PortalDialog::why_not().empty()) {
    return by_hand;
  }
  return by_hand.empty() ? "the portal" : "the portal, else " + by_hand;
}

Status SystemDialog::open(const std::string& folder) {
  if (running()) {
    return {};
  }
  folder_ = folder;
  if (const std::string why = PortalDialog::why_not(); !why.empty()) {
    return start_program(why);
  }
  via_ = "portal";
  portal_.open(PortalDialog::bus_address(), folder);
  return {};
}

Status SystemDialog::start_program(const std::string& portal_problem) {
  const std::string name = program();
  std::vector<std::string> arguments;
  if (name == "zenity") {
    arguments = {name,
                 "--file-selection",
                 "--title=Open a model",
                 "--filename=" + folder_ + "/",
                 "--file-filter=Models | *.gguf *.safetensors",
                 "--file-filter=All files | *"};
  } else if (name == "kdialog") {
    arguments = {name,           "--title",
                 "Open a model", "--getopenfilename",
                 folder_,        "Models (*.gguf *.safetensors)"};
  } else {
    return device_error(fmt::format(
        "there is no system dialog here: {}, and neither zenity nor kdialog is installed",
        portal_problem));
  }
  via_ = name;
  std::array<int, 2> ends{};
  if (pipe2(ends.data(), O_CLOEXEC) != 0) {
    return internal_error(fmt::format("cannot make a pipe: {}", std::strerror(errno)));
  }
  std::vector<char*> argv;
  argv.reserve(arguments.size() + 1);
  for (std::string& argument : arguments) {
    argv.push_back(argument.data());
  }
  argv.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
  const int failed = posix_spawnp(&child_, name.c_str(), &actions, nullptr, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  close(ends[1]);
  if (failed != 0) {
    close(ends[0]);
    child_ = -1;
    return internal_error(fmt::format("cannot start {}: {}", name, std::strerror(failed)));
  }
  fcntl(ends[0], F_SETFL, O_NONBLOCK);
  output_ = ends[0];
  text_.clear();
  return {};
}

std::optional<Result<std::string>> SystemDialog::poll_portal() {
  const std::optional<PortalAnswer> answer = portal_.poll();
  if (!answer) {
    return std::nullopt;
  }
  if (!answer->available) {
    spdlog::info("no portal shows a file dialog: {}", answer->problem);
    const Status started = start_program(answer->problem);
    return started.ok() ? std::nullopt
                        : std::optional<Result<std::string>>(Result<std::string>(started.error()));
  }
  if (!answer->problem.empty()) {
    return Result<std::string>(invalid_input(answer->problem));
  }
  return Result<std::string>(answer->path);
}

std::optional<Result<std::string>> SystemDialog::poll() {
  if (portal_.running()) {
    return poll_portal();
  }
  if (child_ <= 0) {
    return std::nullopt;
  }
  std::array<char, 512> buffer{};
  ssize_t n = 0;
  while ((n = read(output_, buffer.data(), buffer.size())) > 0) {
    text_.append(buffer.data(), static_cast<std::size_t>(n));
  }
  const bool ended = n == 0;
  if (!ended && errno != EAGAIN && errno != EINTR) {
    text_.clear();
  } else if (!ended) {
    return std::nullopt;
  }
  int status = 0;
  waitpid(child_, &status, 0);
  child_ = -1;
  close(output_);
  output_ = -1;
  while (!text_.empty() && text_.back() == '\n') {
    text_.pop_back();
  }
  return Result<std::string>(WIFEXITED(status) && WEXITSTATUS(status) == 0 ? text_ : std::string());
}

}  // namespace layerscope::gui
