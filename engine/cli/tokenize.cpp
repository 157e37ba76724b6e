// tokenize and detokenize: ids, pieces, byte offsets.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>

#include "engine/base/log.h"
#include "engine/base/utf8.h"
#include "engine/cli/commands.h"
#include "engine/cli/options.h"
#include "engine/format/model_file.h"
#include "engine/format/model_folder.h"
#include "engine/tokenizer/hf_files.h"
#include "engine/tokenizer/tokenizer.h"

namespace layerscope::cli {
namespace {

struct TokenizeOptions {
  CommonOptions common;
  std::string model, text, file;
  bool has_text = false, no_special = false, json = false;
};

struct DetokenizeOptions {
  CommonOptions common;
  std::string model;
  std::vector<std::int32_t> ids;
};

Result<std::shared_ptr<const tokenizer::Tokenizer>> load_tokenizer(const std::string& path,
                                                                   const CommonOptions& common) {
  LS_CHECK(log::init(common.log_level));
  if (const auto folder = format::model_folder_of(path)) {
    return tokenizer::from_hf_files(*folder);  // which needs no weights
  }
  LS_TRY(const auto file, format::read_model_file(path));
  return tokenizer::Tokenizer::from_model(*file);
}

Status tokenize(const TokenizeOptions& options) {
  LS_TRY(const auto tokenizer, load_tokenizer(options.model, options.common));
  std::string text = options.text;
  if (!options.has_text) {
    LS_TRY(text, read_file(options.file));
  }
  const tokenizer::EncodeOptions how{!options.no_special, !options.no_special};
  const tokenizer::Encoding encoding = tokenizer->encode(text, how);
  if (options.json) {
    nlohmann::ordered_json out;
    out["ids"] = encoding.ids;
    out["pieces"] = nlohmann::ordered_json::array();
    for (const std::int32_t id : encoding.ids) {
      out["pieces"].push_back(tokenizer->decode(id, true));
    }
    out["offsets"] = encoding.offsets;
    print_json_line(out);
    return {};
  }
  for (std::size_t i = 0; i < encoding.ids.size(); ++i) {
    fmt::print("{:>8} {:>8}  {}\n", encoding.offsets[i], encoding.ids[i],
               tokenizer->display(encoding.ids[i]));
  }
  if (!options.common.quiet) {
    fmt::print(stderr, "{} tokens, {} bytes\n", encoding.ids.size(), text.size());
  }
  return {};
}

Status detokenize(const DetokenizeOptions& options) {
  LS_TRY(const auto tokenizer, load_tokenizer(options.model, options.common));
  for (const std::int32_t id : options.ids) {
    if (id < 0 || id >= tokenizer->n_tokens()) {
      return invalid_input(fmt::format("token id {} is outside the vocabulary of {} tokens", id,
                                       tokenizer->n_tokens()));
    }
  }
  const std::string text = tokenizer->decode(options.ids, true);
  std::fwrite(text.data(), 1, text.size(), stdout);
  std::fputc('\n', stdout);
  return {};
}

}  // namespace

Runner add_tokenize(CLI::App& app) {
  auto options = std::make_shared<TokenizeOptions>();
  CLI::App* command = app.add_subcommand("tokenize", "text to token ids, pieces and byte offsets");
  command->add_option("MODEL", options->model, "model file")->required();
  CLI::Option* text = command->add_option("--text", options->text, "text to tokenise");
  CLI::Option* file = command->add_option("--file", options->file, "file whose bytes to tokenise");
  text->excludes(file);
  command->add_flag("--no-special", options->no_special,
                    "special tokens' names are plain text, and no BOS is added");
  command->add_flag("--json", options->json, "one JSON object");
  add_common_options(*command, options->common);
  return [options, text, file]() -> Status {
    options->has_text = text->count() > 0;
    if (!options->has_text && file->count() == 0) {
      return usage_error("give the text with --text or --file");
    }
    return tokenize(*options);
  };
}

Runner add_detokenize(CLI::App& app) {
  auto options = std::make_shared<DetokenizeOptions>();
  CLI::App* command = app.add_subcommand("detokenize", "token ids to text");
  command->add_option("MODEL", options->model, "model file")->required();
  command->add_option("--ids", options->ids, "ids separated by commas")->required()->delimiter(',');
  add_common_options(*command, options->common);
  return [options] { return detokenize(*options); };
}

}  // namespace layerscope::cli
