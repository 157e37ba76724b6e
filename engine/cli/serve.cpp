// serve: the HTTP worker, until SIGTERM or SIGINT.
#include <fmt/format.h>
#include <pthread.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <atomic>
#include <csignal>
#include <cstdio>
#include <memory>
#include <thread>

#include "engine/base/log.h"
#include "engine/cli/commands.h"
#include "engine/cli/options.h"
#include "engine/server/trace_jobs.h"
#include "engine/server/worker.h"

namespace layerscope::cli {
namespace {

struct ServeOptions {
  CommonOptions common;
  server::WorkerOptions worker;
  std::string trace_dir;             ///< where jobs are saved; empty: nowhere
  std::uint64_t history_memory = 0;  ///< bytes for everything captured; 0: the default
};

/// Blocks the signals that end the worker in this thread and in all that it starts; they are waited
/// for instead, so that no handler runs.
sigset_t block_signals() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  return set;
}

Status serve(const ServeOptions& options) {
  LS_CHECK(log::init(options.common.log_level));
  server::WorkerOptions wanted = options.worker;
  wanted.session.backend = options.common.backend;
  wanted.session.gpu = options.common.gpu;
  wanted.session.threads = options.common.threads;
  wanted.session.context = options.common.context;
  wanted.session.history_budget = options.history_memory;
  if (!options.trace_dir.empty()) {
    wanted.make_recorder = server::record_traces(options.trace_dir);
  }
  if (wanted.worker_id.empty()) {
    wanted.worker_id = fmt::format("layerscope-{}", ::getpid());
  }
  const sigset_t signals = block_signals();
  server::Worker worker(std::move(wanted));
  LS_CHECK(worker.start());
  if (!options.common.quiet) {
    fmt::print(stderr, "listening on {}\n", worker.endpoint());
  }
  int signal = 0;
  sigwait(&signals, &signal);
  if (!options.common.quiet) {
    fmt::print(stderr, "ending; a second signal cancels the running job\n");
  }
  std::atomic<bool> ended{false};
  std::thread ending([&] {
    worker.shut_down();
    ended = true;
  });
  while (!ended) {
    constexpr timespec kMoment{0, 50'000'000};
    if (sigtimedwait(&signals, nullptr, &kMoment) > 0) {
      worker.hurry();
    }
  }
  ending.join();
  return {};
}

}  // namespace

Runner add_serve(CLI::App& app) {
  auto options = std::make_shared<ServeOptions>();
  server::WorkerOptions& w = options->worker;
  CLI::App* command =
      app.add_subcommand("serve", "serve generation over HTTP, and attached windows");
  command->add_option("MODEL", w.model, "model file")->required();
  command->add_option("--host", w.host, "address to listen on")->capture_default_str();
  command->add_option("--port", w.port, "port (0: any free one)")
      ->check(CLI::Range(0, 65535))
      ->capture_default_str();
  command->add_option("--worker-id", w.worker_id, "name of this worker in the callback");
  command->add_option("--callback-url", w.callback_url, "POST here when ready");
  command->add_option("--token-file", w.token_file,
                      "file with the bearer token that every request must carry");
  command->add_option("--queue", w.queue, "jobs that may wait")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str();
  command->add_option("--job-timeout", w.job_seconds, "seconds that a job may run")
      ->check(CLI::Range(0.1, 86400.0))
      ->capture_default_str();
  command->add_option("--wait-timeout", w.wait_seconds, "seconds that a job may wait")
      ->check(CLI::Range(0.1, 86400.0))
      ->capture_default_str();
  command->add_option("--grace", w.grace_seconds, "seconds for the running job at the end")
      ->check(CLI::Range(0.0, 3600.0))
      ->capture_default_str();
  command->add_option("--rate", w.requests_per_second, "POSTs per second and address (0: no limit)")
      ->check(CLI::Range(0.0, 1e6))
      ->capture_default_str();
  command->add_option("--window-bandwidth", w.window_mib_s, "MiB/s for one attached window")
      ->check(CLI::Range(0.01, 10000.0))
      ->capture_default_str();
  command
      ->add_option("--trace-dir", options->trace_dir,
                   "folder for jobs that ask to be saved (save_trace); without it they are "
                   "refused")
      ->check(CLI::ExistingDirectory);
  command->add_flag("--log-text", w.log_text, "prompts and outputs may be logged (level info)");
  add_common_options(*command, options->common);
  command
      ->add_option("--history-memory", options->history_memory,
                   "memory for everything captured (2G, 512M); 0: a quarter of the machine's")
      ->transform(CLI::AsSizeValue(false));
  return [options] { return serve(*options); };
}

}  // namespace layerscope::cli
