// StreamDecoder: token bytes to valid UTF-8, as early as possible.
#include <utility>

#include "engine/base/utf8.h"
#include "engine/tokenizer/tokenizer.h"

namespace layerscope::tokenizer {

StreamDecoder::StreamDecoder(std::shared_ptr<const Tokenizer> tokenizer, bool special)
    : tokenizer_(std::move(tokenizer)), special_(special) {}

std::string StreamDecoder::push(std::int32_t id) {
  pending_ += tokenizer_->decode(id, special_);
  const std::size_t complete = utf8_complete_prefix(pending_);
  std::string text = utf8_sanitize(std::string_view(pending_).substr(0, complete));
  pending_.erase(0, complete);
  return text;
}

std::string StreamDecoder::finish() {
  std::string text = utf8_sanitize(pending_);
  pending_.clear();
  return text;
}

}  // namespace layerscope::tokenizer
