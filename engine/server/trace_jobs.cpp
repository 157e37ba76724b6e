#include "engine/server/trace_jobs.h"

#include <fmt/format.h>

#include <atomic>
#include <ctime>
#include <filesystem>

#include "engine/session/trace_recorder.h"

namespace layerscope::server {
namespace {

class TraceJob final : public JobRecorder {
 public:
  TraceJob(std::unique_ptr<session::TraceRecorder> recorder, std::string name,
           const session::Snapshot& state)
      : recorder_(std::move(recorder)),
        name_(std::move(name)),
        n_prompt_(state.prompt_ids.size()),
        faults_(state.faults) {}

  Result<std::string> finish() override {
    LS_CHECK(recorder_->finish(n_prompt_, faults_));
    return name_;
  }

 private:
  std::unique_ptr<session::TraceRecorder> recorder_;
  std::string name_;
  std::size_t n_prompt_;
  std::vector<std::string> faults_;
};

}  // namespace

MakeRecorder record_traces(std::string folder) {
  auto next = std::make_shared<std::atomic<unsigned>>(0);
  return [folder = std::move(folder), next](
             session::Generator& generator, const session::Snapshot& state,
             const session::JobSettings& settings) -> Result<std::unique_ptr<JobRecorder>> {
    std::string name;
    std::filesystem::path path;
    std::error_code ignored;
    do {
      name = fmt::format("trace-{}-{}.safetensors", std::time(nullptr), ++*next);
      path = std::filesystem::path(folder) / name;
    } while (std::filesystem::exists(path, ignored));
    const int prompt_passes =
        static_cast<int>(state.prompt_ids.size()) / generator.backend().batch_tokens() + 1;
    LS_TRY(auto recorder, session::TraceRecorder::start(generator, path.string(),
                                                        prompt_passes + settings.max_tokens));
    return std::unique_ptr<JobRecorder>(
        std::make_unique<TraceJob>(std::move(recorder), std::move(name), state));
  };
}

}  // namespace layerscope::server
