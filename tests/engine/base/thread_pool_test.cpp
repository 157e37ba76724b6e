#include "engine/base/thread_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <numeric>
#include <vector>

namespace layerscope {
namespace {

TEST(ThreadPool, ManyLoops_RunEveryPartOnce) {
  for (const int n_threads : {1, 2, 3, 5}) {
    ThreadPool pool(n_threads);
    EXPECT_EQ(pool.size(), n_threads);
    for (int loop = 0; loop < 3000; ++loop) {
      const int n_parts = loop % 9;
      std::vector<int> runs(static_cast<std::size_t>(n_parts));
      pool.run(n_parts, [&](int part) { ++runs[static_cast<std::size_t>(part)]; });
      for (const int count : runs) {
        ASSERT_EQ(count, 1);
      }
    }
  }
}

TEST(ThreadPool, Ranges_CoverEveryIndexOnce) {
  ThreadPool pool(3);
  for (const std::size_t count : {0U, 1U, 2U, 3U, 7U, 64U, 1000U}) {
    for (const std::size_t chunk : {0U, 1U, 5U, 100U, 5000U}) {
      std::vector<int> runs(count);
      std::atomic<int> ranges = 0;
      pool.run_ranges(count, chunk, [&](std::size_t begin, std::size_t end) {
        ++ranges;
        for (std::size_t i = begin; i < end; ++i) {
          ++runs[i];
        }
      });
      EXPECT_EQ(std::accumulate(runs.begin(), runs.end(), std::size_t{0}), count);
      EXPECT_LE(ranges.load(), 3);
      for (const int run : runs) {
        ASSERT_EQ(run, 1);
      }
    }
  }
}

TEST(ThreadPool, SumOverManyLoops_IsExact) {
  ThreadPool pool(4);
  std::atomic<std::int64_t> sum = 0;
  for (int loop = 0; loop < 20000; ++loop) {
    pool.run(4, [&](int part) { sum += part; });
  }
  EXPECT_EQ(sum.load(), 20000LL * 6);
}

TEST(ThreadPool, ZeroThreads_MeansAllOfTheMachine) { EXPECT_GE(ThreadPool(0).size(), 1); }

TEST(ThreadPool, ConstructedAndDestroyedIdle_Ends) {
  for (int i = 0; i < 50; ++i) {
    ThreadPool pool(4);
  }
}

}  // namespace
}  // namespace layerscope
