// Validation of POST /execute and /cancel: every constraint, all at once, hostile bodies.
#include "engine/server/execute_request.h"

#include <gtest/gtest.h>

#include <random>

#include "engine/server/limits.h"

namespace layerscope::server {
namespace {

using nlohmann::json;

json good() { return {{"job_id", "j"}, {"prompt", "p"}}; }

std::vector<std::string> fields_of(const std::string& body, bool traces = false) {
  std::vector<std::string> fields;
  for (const FieldError& error : parse_execute(body, traces).errors) {
    fields.push_back(error.field);
    EXPECT_FALSE(error.constraint.empty());
    EXPECT_FALSE(error.message.empty());
  }
  return fields;
}

using Names = std::vector<std::string>;

TEST(ExecuteRequest, OnlyTheRequired_TakesDefaults) {
  const ParsedRequest parsed = parse_execute(good().dump(), false);
  ASSERT_TRUE(parsed.errors.empty());
  EXPECT_EQ(parsed.request.job_id, "j");
  EXPECT_EQ(parsed.request.settings.max_tokens, 128);
  EXPECT_EQ(parsed.request.settings.sampler, session::SamplerSettings{});
  EXPECT_EQ(parsed.request.settings.capture.tier, capture::Tier::kOff);
  EXPECT_FALSE(parsed.request.findings);
}

TEST(ExecuteRequest, EveryField_Arrives) {
  json body = good();
  body.update({{"max_tokens", 2048},
               {"temperature", 2},
               {"seed", 18446744073709551615ULL},
               {"top_p", 0.5},
               {"top_k", 7},
               {"min_p", 0},
               {"repetition_penalty", 1.5},
               {"stop", {"a", "é"}},
               {"capture", "attention"},
               {"chat", true},
               {"other", 1}});
  const ParsedRequest parsed = parse_execute(body.dump(), false);
  ASSERT_TRUE(parsed.errors.empty());
  const session::JobSettings& s = parsed.request.settings;
  EXPECT_EQ(s.max_tokens, 2048);
  EXPECT_EQ(s.sampler.temperature, 2.0F);
  EXPECT_EQ(s.sampler.seed, ~std::uint64_t{0});
  EXPECT_EQ(s.sampler.top_p, 0.5F);
  EXPECT_EQ(s.sampler.top_k, 7);
  EXPECT_EQ(s.sampler.min_p, 0.0F);
  EXPECT_EQ(s.sampler.repeat_penalty, 1.5F);
  EXPECT_EQ(parsed.request.stop, (Names{"a", "é"}));
  EXPECT_EQ(s.capture.tier, capture::Tier::kAttention);
  EXPECT_TRUE(s.chat);
  EXPECT_TRUE(parsed.request.findings);
}

TEST(ExecuteRequest, AllowedEnds_PassTheSampler) {
  for (const double penalty : {0.0, 0.001, 2.0}) {
    json body = good();
    body["repetition_penalty"] = penalty;
    body["temperature"] = 0;
    body["top_p"] = 0;
    const ParsedRequest parsed = parse_execute(body.dump(), false);
    ASSERT_TRUE(parsed.errors.empty());
    EXPECT_TRUE(session::validate(parsed.request.settings.sampler).ok()) << penalty;
  }
}

TEST(ExecuteRequest, EachViolation_NamesItsField) {
  const std::vector<std::pair<const char*, json>> cases{{"job_id", ""},
                                                        {"job_id", 1},
                                                        {"job_id", "a\nb"},
                                                        {"prompt", ""},
                                                        {"prompt", nullptr},
                                                        {"max_tokens", 0},
                                                        {"max_tokens", 2049},
                                                        {"max_tokens", 1.5},
                                                        {"max_tokens", "1"},
                                                        {"temperature", -0.01},
                                                        {"temperature", 2.01},
                                                        {"temperature", "hot"},
                                                        {"seed", -1},
                                                        {"seed", 0.5},
                                                        {"top_p", 1.01},
                                                        {"top_k", -1},
                                                        {"top_k", 4294967296},
                                                        {"min_p", -0.1},
                                                        {"repetition_penalty", 2.5},
                                                        {"stop", "x"},
                                                        {"stop", {"1", "2", "3", "4", "5"}},
                                                        {"capture", "all"},
                                                        {"capture", true},
                                                        {"chat", 1},
                                                        {"save_trace", true}};
  for (const auto& [name, value] : cases) {
    json body = good();
    body[name] = value;
    EXPECT_EQ(fields_of(body.dump()), Names{name}) << body;
  }
  json body = good();
  body["stop"] = {"", std::string(101, 'x'), 3};
  EXPECT_EQ(fields_of(body.dump()), (Names{"stop[0]", "stop[1]", "stop[2]"}));
}

TEST(ExecuteRequest, ManyViolations_AllAtOnce) {
  const Names all = fields_of(R"({"temperature":9,"top_p":2,"stop":5})");
  EXPECT_EQ(all, (Names{"job_id", "prompt", "temperature", "top_p", "stop"}));
}

TEST(ExecuteRequest, Lengths_CountCharacters) {
  json body = good();
  std::string text;
  for (std::size_t i = 0; i < kMaxPromptChars; ++i) {
    text += "é";
  }
  body["prompt"] = text;
  EXPECT_TRUE(fields_of(body.dump()).empty());
  body["prompt"] = text + "x";
  EXPECT_EQ(fields_of(body.dump()), Names{"prompt"});
}

TEST(ExecuteRequest, NoJson_OneErrorAboutTheBody) {
  for (const char* body : {"", "{", "[]", "7", "\"x\"", "{\"job_id\":\"\xff\"}", "nul", "{}{}"}) {
    EXPECT_EQ(fields_of(body).front().substr(0, 4),
              body[0] == '{' && body[1] == '}' ? "body" : "body");
  }
  const std::string deep(500000, '[');
  EXPECT_EQ(fields_of(deep), Names{"body"});
}

TEST(ExecuteRequest, Errors_StaySmallWhateverIsSent) {
  json body = good();
  body["prompt"] = std::string(40960, 'a');
  body["temperature"] = json::array({std::string(100000, 'b')});
  const std::string text = errors_json(parse_execute(body.dump(), false).errors);
  EXPECT_LT(text.size(), 1200U);
  EXPECT_TRUE(json::accept(text));
}

TEST(ExecuteRequest, RandomBytes_NeverAccepted) {
  constexpr unsigned kSeed = 11;
  SCOPED_TRACE(kSeed);
  std::mt19937 random(kSeed);
  const std::string base = R"({"job_id":"j","prompt":"p","stop":["a"],"temperature":1.5,"seed":3})";
  for (int i = 0; i < 20000; ++i) {
    std::string body = base;
    for (auto n = random() % 4 + 1; n > 0; --n) {
      body[random() % body.size()] = static_cast<char>(random());
    }
    const ParsedRequest parsed = parse_execute(body, false);
    EXPECT_TRUE(json::accept(errors_json(parsed.errors)));
    if (parsed.errors.empty()) {
      EXPECT_FALSE(parsed.request.job_id.empty());
      EXPECT_TRUE(session::validate(parsed.request.settings.sampler).ok()) << body;
    }
  }
}

TEST(CancelRequest, JobId_IsRequired) {
  EXPECT_EQ(parse_cancel(R"({"job_id":"a"})").job_id, "a");
  EXPECT_EQ(parse_cancel("{}").errors.size(), 1U);
  EXPECT_EQ(parse_cancel("x").errors.size(), 1U);
}

}  // namespace
}  // namespace layerscope::server
