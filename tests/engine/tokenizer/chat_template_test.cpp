#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "engine/tokenizer/tokenizer.h"
#include "tests/engine/tokenizer/small_vocab.h"

namespace layerscope::tokenizer {
namespace {

const std::vector<ChatMessage> kConversation = {
    {"system", "Be brief."}, {"user", "Say \"hi\"\n{{ x }}"}, {"assistant", "hi"}, {"user", "é?"}};

Result<std::string> render(const std::string& source, bool generate = true,
                           const std::vector<ChatMessage>& messages = kConversation,
                           bool add_bos = false) {
  Vocab vocab = testing::small_spm();
  vocab.add_bos = add_bos;
  vocab.chat_template = source;
  return render_chat(*build_tokenizer(std::move(vocab)).value(), messages, generate);
}

std::string repeat(const std::string& text, int n) {
  std::string out;
  for (int i = 0; i < n; ++i) {
    out += text;
  }
  return out;
}

constexpr const char* kChatMl =
    "{% for m in messages %}\n"
    "{{ '<|im_start|>' + m.role + '\\n' + m['content'] + '<|im_end|>' + '\\n' }}\n"
    "{%- endfor %}\n"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

TEST(RenderChat, ChatMl_GivesExactText) {
  const auto text = render(kChatMl);
  ASSERT_TRUE(text.ok()) << text.error().message;
  EXPECT_EQ(text.value(),
            "<|im_start|>system\nBe brief.<|im_end|>\n"
            "<|im_start|>user\nSay \"hi\"\n{{ x }}<|im_end|>\n"
            "<|im_start|>assistant\nhi<|im_end|>\n"
            "<|im_start|>user\né?<|im_end|>\n"
            "<|im_start|>assistant\n");
  EXPECT_EQ(render(kChatMl, false).value() + "<|im_start|>assistant\n", text.value());
}

TEST(RenderChat, BosAndEos_AreKnown) {
  EXPECT_EQ(render("{{ bos_token }}|{{ eos_token }}").value(), "<s>|</s>");
}

TEST(RenderChat, BosOfTheTemplate_IsNotDoubled) {
  const std::string source = "{{ bos_token }}{{ bos_token }}x";
  EXPECT_EQ(render(source, true, kConversation, false).value(), "<s><s>x");
  EXPECT_EQ(render(source, true, kConversation, true).value(), "<s>x");
}

TEST(RenderChat, FailingTemplates_GiveOneSentence) {
  for (const std::string source :
       {"{{ raise_exception('roles must\nalternate') }}", "{% if %}", "{{ messages[9].x.y }}",
        "{% for a in %}{% endfor %}", "{{ 1 / }}", "{% endfor %}", "{{ 'open", "{% macro %}"}) {
    const auto text = render(source);
    ASSERT_FALSE(text.ok()) << source;
    EXPECT_EQ(text.error().code, ErrorCode::kInvalidInput);
    EXPECT_EQ(text.error().message.find('\n'), std::string::npos);
    EXPECT_NE(text.error().message.find("chat template fails: "), std::string::npos);
  }
  EXPECT_NE(render("{{ raise_exception('no system') }}").error().message.find("no system"),
            std::string::npos);
}

TEST(RenderChat, NoTemplate_SaysSo) {
  EXPECT_NE(render("").error().message.find("no chat template"), std::string::npos);
}

TEST(RenderChat, OversizedTemplates_AreRefused) {
  EXPECT_NE(render(std::string(70000, 'x')).error().message.find("70000 bytes"), std::string::npos);
  EXPECT_NE(render("{{ '" + std::string(20000, 'x') + "' }}").error().message.find("a block of"),
            std::string::npos);
  EXPECT_NE(render("{{ " + repeat("(", 100) + "1" + repeat(")", 100) + " }}")
                .error()
                .message.find("nests more than"),
            std::string::npos);
  EXPECT_NE(render(repeat("{{1}}", 1001)).error().message.find("1000 blocks"), std::string::npos);
}

TEST(RenderChat, DeepButAcceptedTemplates_DoNotOverflowTheStack) {
  const auto text_of = [](const std::string& source) {
    const auto text = render(source);
    return text.ok() ? text.value() : text.error().message;
  };
  EXPECT_EQ(text_of("{{ " + repeat("not ", 3000) + "0 }}"), "False");
  EXPECT_EQ(text_of(repeat("{%if 1%}", 200) + "x" + repeat("{%endif%}", 200)), "x");
  EXPECT_EQ(text_of(std::string(65000, 'a')), std::string(65000, 'a'));
#if !defined(__SANITIZE_THREAD__)  // it needs more time and stack than a template is given
  EXPECT_EQ(text_of("{{ 1" + repeat("+1", 4000) + " }}"), "4001");
  EXPECT_EQ(text_of("{#" + std::string(65000, 'a') + "#}"), "");
#endif
}

TEST(RenderChat, EndlessTemplates_AreEndedWithASentence) {
  struct Case {
    const char* source;
    const char* fragment;
  };
  const char* loops =
      "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}";
  for (const Case& each :
       {Case{"{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "endless recursion"},
        Case{loops, "needs more than 5 s"},
        Case{"{{ range(1000000000) | length }}", "needs more than"},
        Case{"{% set ns = namespace(s='x') %}{% for i in range(60) %}"
             "{% set ns.s = ns.s ~ ns.s %}{% endfor %}{{ ns.s }}",
             "needs more than 256 MiB"},
        Case{"{% for i in range(300000) %}0123456789012345678901234567890123456789"
             "01234567890123456789{% endfor %}",
             "gives more than 16384 KiB"}}) {
    const auto text = render(each.source);
    ASSERT_FALSE(text.ok()) << each.source;
    EXPECT_EQ(text.error().code, ErrorCode::kInvalidInput);
    EXPECT_NE(text.error().message.find("the model's chat template fails: "), std::string::npos);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)  // they are slower and larger
    EXPECT_NE(text.error().message.find(each.fragment), std::string::npos) << text.error().message;
#endif
  }
}

std::string read(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  EXPECT_TRUE(file.good()) << path;
  return {std::istreambuf_iterator<char>(file), {}};
}

/// Against Jinja2 with the settings of the models' own library (tests/golden/templates).
TEST(RenderChat, RealTemplates_GiveJinjasText) {
  const char* shared = std::getenv("LS_SHARED_DIR");
  const char* source = std::getenv("LS_SOURCE_DIR");
  const std::filesystem::path folder =
      std::filesystem::path(shared == nullptr ? "../shared" : shared) / "templates";
  if (!std::filesystem::exists(folder)) {
    GTEST_SKIP() << "no templates here; set LS_SHARED_DIR";
  }
  const auto cases =
      nlohmann::json::parse(read(std::filesystem::path(source == nullptr ? "." : source) /
                                 "tests/golden/templates/expected.json"));
  ASSERT_GE(cases.size(), 40U);
  for (const auto& each : cases) {
    std::vector<ChatMessage> messages;
    for (const auto& message : each.at("messages")) {
      messages.push_back({message.at("role"), message.at("content")});
    }
    const std::string name = each.at("template");
    const auto text = render(read(folder / name), each.at("generate"), messages);
    if (each.contains("error")) {
      ASSERT_FALSE(text.ok()) << name << " gave " << text.value();
      EXPECT_NE(text.error().message.find("the model's chat template fails: "), std::string::npos);
      EXPECT_NE(text.error().message.find(each.at("error").get<std::string>()), std::string::npos)
          << text.error().message;
    } else {
      ASSERT_TRUE(text.ok()) << name << ": " << text.error().message;
      EXPECT_EQ(text.value(), each.at("text")) << name;
    }
  }
}

}  // namespace
}  // namespace layerscope::tokenizer
