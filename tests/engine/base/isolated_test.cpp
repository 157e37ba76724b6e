#include "engine/base/isolated.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <stdexcept>
#include <thread>
#include <vector>

namespace layerscope {
namespace {

using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

std::string error_of(const IsolatedLimits& limits,
                     const std::function<Result<std::string>()>& body) {
  const auto result = run_isolated(limits, body);
  return result.ok() ? "none" : result.error().message;
}

TEST(RunIsolated, WhatTheBodyGives_ComesBack) {
  const std::string text(300000, 'x');
  EXPECT_EQ(run_isolated({}, [&] { return text + std::string("\0é", 3); }).value(),
            text + std::string("\0é", 3));
  EXPECT_EQ(run_isolated({}, [] { return std::string(); }).value(), "");
  const auto failed =
      run_isolated({}, []() -> Result<std::string> { return usage_error("what is wrong"); });
  ASSERT_FALSE(failed.ok());
  EXPECT_EQ(failed.error().code, ErrorCode::kUsage);
  EXPECT_EQ(failed.error().message, "what is wrong");
  EXPECT_EQ(error_of({}, []() -> Result<std::string> { throw std::runtime_error("thrown"); }),
            "thrown");
}

TEST(RunIsolated, WhatTheBodyChanges_IsLost) {
  int value = 1;
  EXPECT_EQ(run_isolated({}, [&] { return std::to_string(++value); }).value(), "2");
  EXPECT_EQ(value, 1);
}

TEST(RunIsolated, EndlessLoop_EndsInTime) {
  IsolatedLimits limits;
  limits.time = milliseconds(300);
  const auto start = Clock::now();
  EXPECT_EQ(error_of(limits,
                     []() -> Result<std::string> {
                       volatile bool on = true;
                       while (on) {
                       }
                       return std::string();
                     }),
            "needs more than 0.3 s");
  EXPECT_EQ(error_of(limits,
                     []() -> Result<std::string> {
                       ::pause();
                       return std::string();
                     }),
            "needs more than 0.3 s");
  EXPECT_LT(Clock::now() - start, std::chrono::seconds(5));
}

/// Not a tail call, whatever the compiler thinks.
int deeper(volatile int* depth) {
  volatile char room[1024] = {};
  room[*depth % 1024] = 1;
  *depth = *depth + 1;
  return *depth > 0 ? deeper(depth) + room[0] : 0;
}

TEST(RunIsolated, EndlessRecursion_EndsTheCopyOnly) {
  const std::string error = error_of({}, []() -> Result<std::string> {
    volatile int depth = 0;
    return std::to_string(deeper(&depth));
  });
  EXPECT_NE(error.find("endless recursion"), std::string::npos) << error;
}

TEST(RunIsolated, StackIsAsLargeAsAsked) {
  IsolatedLimits limits;
  limits.stack = std::size_t{64} << 20U;
  EXPECT_EQ(run_isolated(limits,
                         []() -> Result<std::string> {
                           volatile char room[32U << 20U];
                           for (std::size_t i = 0; i < sizeof room; i += 4096) {
                             room[i] = 1;
                           }
                           return std::to_string(int{room[4096]});
                         })
                .value(),
            "1");
}

TEST(RunIsolated, TooMuchMemory_IsSaid) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "the sanitizer has an allocator of its own";
#endif
  IsolatedLimits limits;
  limits.memory = std::uint64_t{64} << 20U;
  EXPECT_EQ(error_of(limits,
                     []() -> Result<std::string> {
                       std::vector<std::string> all;
                       for (int i = 0; i < 4096; ++i) {
                         all.emplace_back(1U << 20U, 'x');
                       }
                       return std::to_string(all.size());
                     }),
            "needs more than 64 MiB of memory");
}

TEST(RunIsolated, TooMuchOutput_IsSaid) {
  IsolatedLimits limits;
  limits.output = 4096;
  EXPECT_EQ(error_of(limits, [] { return std::string(100000, 'x'); }), "gives more than 4 KiB");
}

TEST(RunIsolated, FromManyThreads_WhileOthersAllocate) {
  std::atomic<bool> on{true};
  std::thread busy([&] {
    while (on) {
      std::vector<std::string> some(100, std::string(100, 'x'));
    }
  });
  std::vector<std::thread> threads;
  std::atomic<int> right{0};
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&right, t] {
      for (int i = 0; i < 25; ++i) {
        const auto text = run_isolated({}, [&] { return std::to_string(t * 100 + i); });
        right += text.ok() && text.value() == std::to_string(t * 100 + i) ? 1 : 0;
      }
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  on = false;
  busy.join();
  EXPECT_EQ(right, 100);
}

}  // namespace
}  // namespace layerscope
