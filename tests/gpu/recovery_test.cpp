// A GPU that fails while a session runs: the error is told, the session lives on, and where the
// driver gives the device back the model is loaded again and runs.
#include <cuda_runtime_api.h>

#include <cstdio>

#include "engine/session/session.h"
#include "kernels/cuda/ops.h"
#include "tests/gpu/cuda_generator.h"

namespace layerscope::testing {
namespace {

TEST(GpuRecovery, FailedKernel_IsReportedAndTheSessionLivesOn) {
  LS_NEEDS_CUDA();
  session::SessionOptions options;
  options.backend = "cuda";
  options.context = 128;
  session::Session session(options);
  session.send(session::LoadModel{demo_model()});
  session.send(session::SetPrompt{"spring"});
  session.send(session::Step{4});
  session.wait_idle();
  const auto before = session.snapshot();
  ASSERT_TRUE(before->error.empty()) << before->error;
  ASSERT_EQ(before->n_generated, 4);
  // Writes to an address that is nobody's: the context is lost for everything in the process.
  ASSERT_TRUE(kernels::cuda::launch_fill({}, reinterpret_cast<float*>(0x10), 64, 1.0F).ok());
  ASSERT_NE(cudaDeviceSynchronize(), cudaSuccess);
  session.send(session::Step{4});
  session.wait_idle();
  const auto failed = session.snapshot();
  EXPECT_NE(failed->error.find("loaded again"), std::string::npos) << failed->error;
  if (failed->state == session::State::kEmpty) {
    // Some drivers keep the device from a process that lost its context. Then it says so, for every
    // further model too, and the processor still works.
    EXPECT_NE(failed->error.find("start Layerscope again"), std::string::npos) << failed->error;
    EXPECT_EQ(failed->model, nullptr);
    session.send(session::LoadModel{demo_model()});
    session.wait_idle();
    EXPECT_FALSE(session.snapshot()->error.empty());
    session::SessionOptions cpu;
    cpu.backend = "cpu";
    session::Session other(cpu);
    other.send(session::LoadModel{demo_model()});
    other.send(session::SetPrompt{"spring"});
    other.send(session::Step{1});
    other.wait_idle();
    EXPECT_EQ(other.snapshot()->n_generated, 1) << other.snapshot()->error;
    GTEST_SKIP() << "the driver did not give the GPU back to this process";
  }
  EXPECT_EQ(failed->state, session::State::kIdle);
  EXPECT_EQ(failed->prompt, "spring");
  EXPECT_EQ(failed->n_frames, 0);
  session.send(session::Step{4});
  session.wait_idle();
  const auto after = session.snapshot();
  EXPECT_TRUE(after->error.empty()) << after->error;
  ASSERT_EQ(after->n_frames, before->n_frames);
  for (int p = 0; p < after->n_frames; ++p) {
    EXPECT_EQ(after->frame(p)->id, before->frame(p)->id);
  }
}

// Nobody asked for the GPU by name: the processor goes on with the session.
TEST(GpuRecovery, FailedKernel_WithAnyBackend_GoesOnWithTheSamePrompt) {
  LS_NEEDS_CUDA();
  session::SessionOptions options;
  options.context = 128;
  session::Session session(options);
  session.send(session::LoadModel{demo_model()});
  session.send(session::SetPrompt{"spring"});
  session.send(session::Step{4});
  session.wait_idle();
  const auto before = session.snapshot();
  if (before->backend != "cuda") {
    GTEST_SKIP() << "this process has no GPU any more: " << before->backend_reason;
  }
  ASSERT_TRUE(kernels::cuda::launch_fill({}, reinterpret_cast<float*>(0x10), 64, 1.0F).ok());
  ASSERT_NE(cudaDeviceSynchronize(), cudaSuccess);
  session.send(session::Step{4});
  session.wait_idle();
  const auto failed = session.snapshot();
  ASSERT_EQ(failed->state, session::State::kIdle) << failed->error;
  EXPECT_NE(failed->error.find("loaded again"), std::string::npos) << failed->error;
  EXPECT_EQ(failed->prompt, "spring");
  std::printf("goes on with: %s (%s)\n", failed->backend.c_str(), failed->backend_reason.c_str());
  if (failed->backend == "cpu") {
    EXPECT_NE(failed->error.find("processor"), std::string::npos) << failed->error;
    EXPECT_NE(failed->backend_reason.find("does not give"), std::string::npos);
  }
  session.send(session::Step{4});
  session.wait_idle();
  const auto after = session.snapshot();
  EXPECT_TRUE(after->error.empty()) << after->error;
  ASSERT_EQ(after->n_frames, before->n_frames);
  for (int p = 0; p < after->n_frames; ++p) {
    EXPECT_EQ(after->frame(p)->id, before->frame(p)->id);
  }
}

}  // namespace
}  // namespace layerscope::testing
