// Tokenizer: text ↔ token ids, from the model file's own vocabulary.
//
// Immutable after construction; `encode`, `decode` and the accessors may be called from any thread
// at the same time. StreamDecoder is owned by one thread.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "engine/base/result.h"
#include "engine/format/model_file.h"

namespace layerscope::tokenizer {

/// GGUF `tokenizer.ggml.token_type`.
enum class TokenType : std::uint8_t {
  kNormal = 1,
  kUnknown = 2,
  kControl = 3,
  kUserDefined = 4,
  kUnused = 5,  ///< Padding: a row of the embedding that no text ever uses.
  kByte = 6,
};

struct EncodeOptions {
  bool parse_special = true;  ///< Names of special tokens in the text become those tokens.
  bool add_special = true;    ///< Add BOS (and EOS) where the model's metadata asks for it.
};

struct Encoding {
  std::vector<std::int32_t> ids;
  std::vector<std::size_t> offsets;  ///< Byte offset in the input where each token starts.
};

struct Vocab;

class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  /// Builds the tokenizer that the file's metadata describe (`tokenizer.ggml.*`).
  /// Errors (kInvalidInput): missing or contradictory keys, unknown model or pre-tokenizer (named).
  /// `stop` is polled while a large vocabulary is built (kCancelled).
  static Result<std::shared_ptr<const Tokenizer>> from_model(const format::ModelFile& file,
                                                             std::stop_token stop = {});

  /// Tokenises `text` (any bytes). Never fails on content: bytes outside the vocabulary fall back
  /// to byte tokens, or to the unknown token where there is none.
  [[nodiscard]] virtual Encoding encode(std::string_view text,
                                        const EncodeOptions& options = {}) const = 0;

  /// The bytes that token `id` stands for; control tokens give nothing unless `special` is set.
  /// An id out of range gives nothing.
  [[nodiscard]] std::string decode(std::int32_t id, bool special = false) const;
  /// Concatenated bytes; for SPM models that add a space prefix, the first such space is removed.
  [[nodiscard]] std::string decode(std::span<const std::int32_t> ids, bool special = false) const;

  /// One-line display form of a token: escapes, U+FFFD-free; control tokens by name.
  [[nodiscard]] std::string display(std::int32_t id) const;

  /// Number of tokens of the list (embedding rows may be more).
  [[nodiscard]] std::int32_t n_tokens() const { return static_cast<std::int32_t>(pieces_.size()); }
  [[nodiscard]] TokenType type(std::int32_t id) const;
  /// True for tokens that text can produce: within the list and not of type unused.
  [[nodiscard]] bool is_usable(std::int32_t id) const;
  /// End of generation, by id (eos, eot, eom) or by name (`<|endoftext|>`, `<|im_end|>`, `</s>`,
  /// …).
  [[nodiscard]] bool is_end(std::int32_t id) const;

  [[nodiscard]] std::int32_t bos() const { return bos_; }  ///< -1 when there is none
  [[nodiscard]] std::int32_t eos() const { return eos_; }
  [[nodiscard]] bool adds_bos() const { return add_bos_; }
  /// Raw piece of the list ("Ġhello", "▁hello", "<0x0A>"); empty when out of range.
  [[nodiscard]] std::string_view piece(std::int32_t id) const;
  /// Id of an exact raw piece, -1 when absent.
  [[nodiscard]] virtual std::int32_t find(std::string_view piece) const = 0;
  [[nodiscard]] const std::string& model_name() const { return model_; }  ///< "gpt2" or "llama"
  [[nodiscard]] const std::string& pre_name() const { return pre_; }  ///< "qwen2", "llama-bpe", …
  [[nodiscard]] const std::string& chat_template() const { return chat_template_; }

 protected:
  /// Takes over a checked vocabulary and computes what each token stands for.
  explicit Tokenizer(Vocab&& vocab);

  std::vector<std::string> pieces_;  ///< Raw pieces by id.
  std::vector<std::string> bytes_;   ///< Decoded bytes by id.
  std::vector<TokenType> types_;
  std::vector<bool> is_end_;
  std::string model_, pre_, chat_template_;
  std::int32_t bos_ = -1, eos_ = -1, unk_ = -1;
  bool add_bos_ = false, add_eos_ = false, add_space_prefix_ = false;
};

/// Turns a stream of token bytes into valid UTF-8: bytes of an incomplete character are held back
/// until they are complete; invalid bytes become U+FFFD.
class StreamDecoder {
 public:
  explicit StreamDecoder(std::shared_ptr<const Tokenizer> tokenizer, bool special = false);
  /// Text that became complete with this token (possibly empty).
  std::string push(std::int32_t id);
  /// What is still held back at the end, sanitised.
  std::string finish();

 private:
  std::shared_ptr<const Tokenizer> tokenizer_;
  bool special_;
  std::string pending_;
};

struct ChatMessage {
  std::string role;  ///< "system", "user" or "assistant"
  std::string content;
};

/// Renders messages with the model's own Jinja template (metadata `tokenizer.chat_template`). A BOS
/// that the template puts first is left out where `encode` adds it.
/// Errors (kInvalidInput): the model has no template, or the template fails (its message is given).
Result<std::string> render_chat(const Tokenizer& tokenizer, std::span<const ChatMessage> messages,
                                bool add_generation_prompt);

}  // namespace layerscope::tokenizer
