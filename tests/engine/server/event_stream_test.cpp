// Event streams: wire format, order, exactly one terminal event whoever writes.
#include "engine/server/event_stream.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

#include "engine/base/utf8.h"

namespace layerscope::server {
namespace {

using std::chrono::milliseconds;

std::string all_of(EventStream& stream) {
  std::string text;
  for (;;) {
    const EventStream::Piece piece = stream.take(milliseconds(0), 7);
    text += piece.text;
    if (piece.finished || (piece.text.empty() && !stream.ended())) {
      return text;
    }
  }
}

std::size_t count(const std::string& text, const std::string& what) {
  std::size_t n = 0;
  for (std::size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + 1)) {
    ++n;
  }
  return n;
}

TEST(EventStream, WireFormat_OneLineOfJson) {
  EXPECT_EQ(event_text("token", {{"t", "a\nb\r\n\n"}, {"i", 0}}),
            "event: token\ndata: {\"t\":\"a\\nb\\r\\n\\n\",\"i\":0}\n\n");
  EXPECT_TRUE(utf8_valid(event_text("token", {{"t", "\xff\xc3"}})));
}

TEST(EventStream, Order_IsKept) {
  EventStream stream(nlohmann::ordered_json{{"job_id", "j"}});
  EXPECT_FALSE(stream.token(0, "early"));
  EXPECT_TRUE(stream.start({{"job_id", "j"}}));
  EXPECT_FALSE(stream.start({{"job_id", "j"}}));
  EXPECT_TRUE(stream.token(0, "a"));
  EXPECT_TRUE(stream.metrics({{"tokens_per_sec", 1.0}}));
  EXPECT_TRUE(stream.end({{"tokens_out", 1}}));
  EXPECT_FALSE(stream.token(1, "late"));
  EXPECT_FALSE(stream.error("CANCELLED", "late"));
  EXPECT_FALSE(stream.end({{"tokens_out", 2}}));
  EXPECT_EQ(all_of(stream),
            "event: started\ndata: {\"job_id\":\"j\"}\n\n"
            "event: token\ndata: {\"t\":\"a\",\"i\":0}\n\n"
            "event: metrics\ndata: {\"tokens_per_sec\":1.0}\n\n"
            "event: end\ndata: {\"tokens_out\":1}\n\n");
}

TEST(EventStream, EndedBeforeItBegan_StartedComesFirst) {
  EventStream stream(nlohmann::ordered_json{{"job_id", "j"}});
  EXPECT_TRUE(stream.error("CANCELLED", "while it waited"));
  const std::string text = all_of(stream);
  EXPECT_EQ(text.find("event: started"), 0U);
  EXPECT_EQ(count(text, "event: error"), 1U);
  EXPECT_FALSE(stream.start({}));
}

TEST(EventStream, ManyEndings_OneCounts) {
  for (int round = 0; round < 50; ++round) {
    EventStream stream(nlohmann::ordered_json{{"job_id", "j"}});
    stream.start({{"job_id", "j"}});
    std::atomic<int> won{0};
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i) {
      threads.emplace_back([&, i] {
        stream.token(i, "x");
        won += (i % 2 == 0 ? stream.end({{"i", i}}) : stream.error("TIMEOUT", "late")) ? 1 : 0;
      });
    }
    for (std::thread& thread : threads) {
      thread.join();
    }
    EXPECT_EQ(won, 1);
    const std::string text = all_of(stream);
    EXPECT_EQ(count(text, "event: end") + count(text, "event: error"), 1U);
  }
}

TEST(EventStream, Taken_InPiecesAndWaitedFor) {
  EventStream stream(nlohmann::ordered_json::object());
  EXPECT_TRUE(stream.take(milliseconds(1), 100).text.empty());
  std::thread writer([&] { stream.error("TIMEOUT", "x"); });
  const EventStream::Piece piece = stream.take(milliseconds(5000), 100000);
  writer.join();
  EXPECT_TRUE(piece.finished);
  EXPECT_EQ(stream.pending(), 0U);
}

}  // namespace
}  // namespace layerscope::server
