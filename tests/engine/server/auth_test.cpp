// Tokens, local callers, rates, addresses, back-off, metrics.
#include "engine/server/auth.h"

#include <gtest/gtest.h>

#include <cstdio>
#include <fstream>

#include "engine/server/callback.h"
#include "engine/server/metrics.h"
#include "engine/server/remote_socket.h"
#include "engine/server/routes.h"
#include "engine/server/token.h"
#include "engine/server/url.h"

namespace layerscope::server {
namespace {

TEST(Auth, Secret_OnlyTheSameMatches) {
  const std::string secret = "0123456789abcdef";
  EXPECT_TRUE(same_secret(secret, secret));
  for (const char* other : {"", "0", "0123456789abcdeF", "0123456789abcdef0", "0123456789abcde"}) {
    EXPECT_FALSE(same_secret(other, secret)) << other;
  }
  EXPECT_FALSE(same_secret(secret + secret, secret));
  EXPECT_FALSE(same_secret("", ""));
  EXPECT_TRUE(bearer_matches("Bearer " + secret, secret));
  EXPECT_FALSE(bearer_matches(secret, secret));
  EXPECT_FALSE(bearer_matches("Basic " + secret, secret));
}

TEST(Auth, Loopback_AddressesNotNamesThatLookLikeThem) {
  for (const char* host : {"localhost", "127.0.0.1", "127.1.2.3", "::1"}) {
    EXPECT_TRUE(is_loopback(host)) << host;
  }
  for (const char* host : {"", "0.0.0.0", "::", "10.0.0.1", "127.0.0.1.example",
                           "localhost.example", "127.example.a.b"}) {
    EXPECT_FALSE(is_loopback(host)) << host;
  }
  EXPECT_TRUE(is_local_request("localhost:9999", ""));
  EXPECT_TRUE(is_local_request("[::1]:9999", "http://127.0.0.1:8000"));
  EXPECT_FALSE(is_local_request("evil.example:9999", ""));
  EXPECT_FALSE(is_local_request("localhost", "https://evil.example"));
  EXPECT_FALSE(is_local_request("localhost", "null"));
  EXPECT_FALSE(is_local_request("[::1", ""));
}

TEST(Auth, TokenFile_TrimmedAndChecked) {
  const std::string path = ::testing::TempDir() + "token";
  const auto with = [&path](const std::string& text) {
    std::ofstream(path, std::ios::binary) << text;
    return read_token(path);
  };
  EXPECT_EQ(with("  0123456789abcdef\r\n").value(), "0123456789abcdef");
  EXPECT_FALSE(with("short\n").ok());
  EXPECT_FALSE(with("").ok());
  EXPECT_FALSE(with("0123456789 abcdef").ok());
  EXPECT_FALSE(with(std::string(600, 'a')).ok());
  std::remove(path.c_str());
  EXPECT_FALSE(read_token(path).ok());
}

TEST(RateLimiter, Burst_ThenTheRate) {
  RateLimiter limiter(2.0, 3.0, 8);
  const auto t0 = RateLimiter::Clock::now();
  int taken = 0;
  for (int i = 0; i < 10; ++i) {
    taken += limiter.allow("a", t0) ? 1 : 0;
  }
  EXPECT_EQ(taken, 3);
  EXPECT_TRUE(limiter.allow("b", t0));
  EXPECT_FALSE(limiter.has("a", t0));
  EXPECT_TRUE(limiter.allow("a", t0 + std::chrono::milliseconds(500)));
  EXPECT_FALSE(limiter.allow("a", t0 + std::chrono::milliseconds(500)));
  for (int i = 0; i < 1000; ++i) {
    limiter.allow("many " + std::to_string(i), t0);
    EXPECT_LE(limiter.size(), 8U);
  }
}

TEST(Url, Parts_AndRefusals) {
  const Url url = parse_url("http://127.0.0.1:81/a/b?c#d").value();
  EXPECT_EQ(url.host, "127.0.0.1");
  EXPECT_EQ(url.port, 81);
  EXPECT_EQ(url.path, "/a/b?c");
  EXPECT_EQ(parse_url("http://h").value().path, "/");
  EXPECT_EQ(parse_url("https://h").value().port, 443);
  EXPECT_EQ(parse_url("http://[::1]:9/x").value().origin(), "http://[::1]:9");
  for (const char* bad :
       {"", "h", "ftp://h", "http://", "http://:80", "http://h:", "http://h:0", "http://h:65536",
        "http://h:8x", "http://u@h", "http://h/a b", "http://[::1", "http://h\r\nX: y"}) {
    EXPECT_FALSE(parse_url(bad).ok()) << bad;
  }
}

TEST(Callback, Verdicts) {
  EXPECT_EQ(judge(200), Verdict::kDone);
  EXPECT_EQ(judge(204), Verdict::kDone);
  for (const int status : {0, 408, 425, 429, 500, 503}) {
    EXPECT_EQ(judge(status), Verdict::kRetry) << status;
  }
  for (const int status : {301, 400, 401, 404, 422}) {
    EXPECT_EQ(judge(status), Verdict::kGiveUp) << status;
  }
}

TEST(Callback, BackOff_DoublesUpToABound) {
  for (int n = 1; n < 40; ++n) {
    EXPECT_GE(back_off(n + 1, 0.5), back_off(n, 0.5));
    EXPECT_LE(back_off(n, 1.0).count(), 36000);
  }
  EXPECT_EQ(back_off(1, 0.5).count(), 250);
  EXPECT_EQ(back_off(2, 0.5).count(), 500);
  EXPECT_LT(back_off(3, 0.0), back_off(3, 1.0));
}

TEST(Routes, CorrelationId_TakenWhereItIsFit) {
  EXPECT_EQ(correlation_id("a-B.7_:x"), "a-B.7_:x");
  for (const std::string& bad : {std::string(), std::string("a b"), std::string("x\r\ny"),
                                 std::string(129, 'x'), std::string("é")}) {
    const std::string made = correlation_id(bad);
    EXPECT_EQ(made.size(), 32U);
    EXPECT_NE(made, correlation_id(bad));
  }
}

TEST(Upgrade, StatusLines_AreJudged) {
  EXPECT_TRUE(judge_upgrade("HTTP/1.1 101 Switching Protocols\r\n").ok());
  EXPECT_EQ(judge_upgrade("HTTP/1.1 503 x").error().code, ErrorCode::kDevice);
  for (const char* head :
       {"HTTP/1.1 401 x", "HTTP/1.1 200 OK", "SSH-2.0-OpenSSH", "", "HTTP/1.1"}) {
    EXPECT_EQ(judge_upgrade(head).error().code, ErrorCode::kUsage) << head;
  }
}

TEST(Metrics, Text_HasWhatWasCounted) {
  Metrics metrics;
  metrics.tokens += 7;
  metrics.job_ended("end");
  metrics.job_ended("end");
  metrics.request("/health", 200);
  Gauges now;
  now.waiting = 3;
  const std::string text = metrics.text(now);
  for (const char* line : {"\nlayerscope_tokens_total 7\n", "\nlayerscope_jobs_waiting 3\n",
                           "\nlayerscope_jobs_total{outcome=\"end\"} 2\n",
                           "\nlayerscope_requests_total{path=\"/health\",status=\"200\"} 1\n",
                           "# TYPE layerscope_tokens_total counter\n"}) {
    EXPECT_NE(text.find(line), std::string::npos) << line;
  }
}

}  // namespace
}  // namespace layerscope::server
