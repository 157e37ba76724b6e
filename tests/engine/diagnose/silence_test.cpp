// Silence: healthy runs give no error and no warning, whatever the prompt.
#include <gtest/gtest.h>

#include <fstream>

#include "tests/engine/diagnose/diagnose_run.h"
#include "tests/support/architectures.h"

namespace layerscope::testing {
namespace {

using diagnose::Severity;

void expect_silent(const RunResult& run, const std::string& what) {
  ASSERT_TRUE(run.status.ok()) << what << ": " << run.status.error().message;
  for (const diagnose::Finding& finding : run.findings) {
    EXPECT_EQ(finding.severity, Severity::kInfo)
        << what << ": " << finding.cause << ", " << finding.message;
  }
}

std::vector<std::string> prompts() {
  std::vector<std::string> list{
      "Write a haiku about GPU computing. Use the word forty-six.",
      "Write a haiku about snow. Use the word lantern.",
      "Write a haiku about rivers. Use the word seven.",
      "Write a haiku about time. Use the word zero.",
      "Write a haiku about bread. Use the word quizzical.",
      "Tell me a very short story.",
      "Tell me a very short story about a fox.",
      "Count from one to nine.",
      "Count from nine down to one.",
      "Count from 1 to 20.",
      "What is 17 plus 25?",
      "What is 4 plus 4?",
      "Repeat these words: red red red red red red red red red red.",
      "Repeat these words: stone river lamp stone river lamp stone river lamp.",
      "Repeat after me: a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a",
      "Say something about attention.",
      "Say something about GPUs.",
      "The ball is red. The cup is blue. What colour is the cup?",
      "Ann lives in Rome. Bob lives in Oslo. Where does Bob live?",
      "x",
      "?",
      "1",
      " ",
      "\n",
      "the the the the the the the the the the the the the the the the the the the the",
      "Schreibe ein Gedicht über den Schnee und die stille Nacht.",
      "Écris un poème sur la rivière, s'il te plaît.",
      "Escribe un poema sobre el tiempo y la lluvia de mañana.",
      "Напиши стихотворение о снеге и реке.",
      "写一首关于雪的俳句。",
      "雪についての俳句を書いてください。",
      "눈에 대한 시를 써 주세요.",
      "اكتب قصيدة عن الثلج",
      "כתוב שיר על שלג",
      "บทกวีเกี่ยวกับหิมะ",
      "🙂🙃🔥🚀 what do these mean?",
      "int main(void) { return 0; }",
      "def f(x):\n    return x * x\n\nprint(f(3))",
      "SELECT name FROM users WHERE id = 7;",
      "{\"a\": [1, 2, 3], \"b\": null}",
      "https://example.org/path?query=1#fragment",
      "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
      "0.1 0.2 0.3 0.4 0.5 0.6 0.7 0.8 0.9 1.0",
      "!!!!!!!!!!!!!!!!!!!!????????????????????",
      "tab\tseparated\tvalues\nand\r\nline ends",
      "<|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant\n",
      "<|endoftext|>",
      "MiXeD CaSe WoRdS aNd punctuation; all: of - it...",
      "Lorem ipsum dolor sit amet, consectetur adipiscing elit, sed do eiusmod tempor.",
      "Write a haiku about a topic that nobody knows: glorbification. Use the word zynth.",
  };
  std::string text;
  for (int i = 0; i < 40; ++i) {
    text += "The quiet river carries light past stone and reed, and no one counts the turns. ";
  }
  list.push_back(text);
  return list;
}

TEST(Silence, DemoModel_FiftyPrompts) {
  const auto model = load(demo_model());
  const auto list = prompts();
  ASSERT_GE(list.size(), 50U);
  for (std::size_t i = 0; i < list.size(); ++i) {
    RunRequest request;
    const bool chat = i % 3 != 2;
    request.prompt = chat ? chat_text(*model, list[i]) : list[i];
    request.tokens = i % 5 == 0 ? 60 : 12;
    request.context = 1024;
    if (i % 4 == 1) {
      request.sampler.temperature = 0.8F;
      request.sampler.seed = i;
    } else if (i % 4 == 3) {
      request.sampler = {1.2F, 0, 0.9F, 0.0F, 1.1F, 64, i};
    }
    expect_silent(diagnosed_run(model, request), list[i].substr(0, 60));
  }
}

TEST(Silence, DemoModel_OneTokenAndFullContext) {
  const auto model = load(demo_model());
  RunRequest request;
  request.prompt = "a";
  request.tokens = 0;
  expect_silent(diagnosed_run(model, request), "one token");
  request.tokens = 1;
  expect_silent(diagnosed_run(model, request), "two tokens");
  request.prompt = chat_text(*model, "Repeat these words: " + std::string(300, 'a'));
  request.context = 512;
  request.tokens = 512;
  expect_silent(diagnosed_run(model, request), "full context");
}

/// Random weights loop and saturate; that is how they are, not a bug.
void expect_silent_golden(const std::string& name, const std::vector<std::string>& texts,
                          const std::string& path, int context) {
  const auto model = load(path);
  for (const std::string& text : texts) {
    RunRequest request;
    request.prompt = text;
    request.tokens = 8;
    request.context = context;
    expect_silent(diagnosed_run(model, request), name + ": " + text.substr(0, 20));
  }
  RunRequest request;
  request.context = context;
  request.tokens = 200;
  expect_silent(diagnosed_run(model, request), name + " 200 tokens");
  request.sampler.temperature = 1.0F;
  request.tokens = 40;
  expect_silent(diagnosed_run(model, request), name + " sampled");
}

TEST(Silence, Goldens_ShortLongAndTwoHundredTokens) {
  for (const std::string& name : golden_models()) {
    const std::string path = any_golden(name, "model.gguf");
    if (undecodable_type(path).empty()) {
      expect_silent_golden(name,
                           {read_text(any_golden(name, "prompt-short.txt")),
                            read_text(any_golden(name, "prompt-long.txt"))},
                           path, 256);
    }
  }
}

TEST(Silence, EveryArchitecture_ShortLongAndFullContext) {
  ASSERT_GE(tiny_models().size(), 20U);
  for (const std::string& name : tiny_models()) {
    expect_silent_golden(name, {"a", "Hello", std::string(70, 'a'), "One, two, three, four, five."},
                         tiny(name, "model.gguf"), 128);
  }
}

}  // namespace
}  // namespace layerscope::testing
