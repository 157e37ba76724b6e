// Healthy runs: prompts of every kind, and what must stay silent on them.
#pragma once

#include <string>
#include <vector>

#include "tests/engine/diagnose/diagnose_run.h"
#include "tests/support/architectures.h"

namespace layerscope::testing {

inline void expect_silent(const RunResult& run, const std::string& what) {
  ASSERT_TRUE(run.status.ok()) << what << ": " << run.status.error().message;
  for (const diagnose::Finding& finding : run.findings) {
    EXPECT_EQ(finding.severity, diagnose::Severity::kInfo)
        << what << ": " << finding.cause << ", " << finding.message << " (" << finding.value
        << " against " << finding.threshold << ")";
  }
}

inline std::vector<std::string> healthy_prompts() {
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

/// The i-th of them: some as chat, some long, some sampled.
inline RunRequest healthy_request(const model::Model& model,
                                  const std::vector<std::string>& prompts, std::size_t i) {
  RunRequest request;
  request.prompt = i % 3 != 2 ? chat_text(model, prompts[i]) : prompts[i];
  request.tokens = i % 5 == 0 ? 60 : 12;
  request.context = 1024;
  if (i % 4 == 1) {
    request.sampler.temperature = 0.8F;
    request.sampler.seed = i;
  } else if (i % 4 == 3) {
    request.sampler = {1.2F, 0, 0.9F, 0.0F, 1.1F, 64, i};
  }
  return request;
}

/// One token alone, two, and a context filled to its end.
inline void expect_silent_at_the_limits(const std::shared_ptr<const model::Model>& model,
                                        const std::string& backend) {
  RunRequest request;
  request.backend = backend;
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
inline void expect_silent_model(const std::string& name, const std::vector<std::string>& texts,
                                const std::string& path, int context, const std::string& backend) {
  const auto model = load(path);
  RunRequest request;
  request.backend = backend;
  request.context = context;
  for (const std::string& text : texts) {
    request.prompt = text;
    request.tokens = 8;
    expect_silent(diagnosed_run(model, request), name + ": " + text.substr(0, 20));
  }
  request.prompt = RunRequest().prompt;
  request.tokens = 200;
  expect_silent(diagnosed_run(model, request), name + " 200 tokens");
  request.sampler.temperature = 1.0F;
  request.tokens = 40;
  expect_silent(diagnosed_run(model, request), name + " sampled");
}

inline void expect_silent_golden(const std::string& name, const std::string& backend) {
  expect_silent_model(name,
                      {read_text(any_golden(name, "prompt-short.txt")),
                       read_text(any_golden(name, "prompt-long.txt"))},
                      any_golden(name, "model.gguf"), 256, backend);
}

}  // namespace layerscope::testing
