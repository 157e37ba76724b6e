#include "engine/format/byte_reader.h"

#include <fmt/format.h>

#include "engine/base/utf8.h"

namespace layerscope::format {

Result<std::string_view> ByteReader::read_string(std::string_view what, std::uint64_t max_bytes) {
  const std::uint64_t start = offset_;
  LS_TRY(const std::uint64_t length, read<std::uint64_t>(what));
  if (length > remaining()) {
    return fail_at(start, fmt::format("the {} claims {} bytes, but only {} are left in the file",
                                      what, length, remaining()));
  }
  if (length > max_bytes) {
    return fail_at(start, fmt::format("the {} has {} bytes, more than the {} that are accepted",
                                      what, length, max_bytes));
  }
  LS_TRY(const std::span<const std::byte> view, take(length, what));
  return std::string_view(reinterpret_cast<const char*>(view.data()), view.size());
}

Result<std::span<const std::byte>> ByteReader::take(std::uint64_t n, std::string_view what) {
  if (n > remaining()) {
    return cut_short(n, what);
  }
  const auto view = bytes_.subspan(offset_, n);
  offset_ += n;
  return view;
}

Error ByteReader::fail_at(std::uint64_t offset, std::string_view sentence) const {
  const std::string subject = subject_.empty() ? "" : subject_ + ": ";
  return invalid_input(fmt::format("'{}': {}{} (at offset {})", file_, subject, sentence, offset));
}

Error ByteReader::fail_file(std::string_view sentence) const {
  const std::string subject = subject_.empty() ? "" : subject_ + ": ";
  return invalid_input(fmt::format("'{}': {}{}", file_, subject, sentence));
}

Error ByteReader::cut_short(std::uint64_t needed, std::string_view what) const {
  return fail(
      fmt::format("expected {} bytes for the {}, but the file ends after {}; it was cut short",
                  needed, what, remaining()));
}

std::string quote_name(std::string_view name) {
  constexpr std::size_t kShown = 80;
  std::string text = utf8_escape(name.substr(0, kShown));
  if (name.size() > kShown) {
    text += fmt::format("… ({} bytes)", name.size());
  }
  return "'" + text + "'";
}

}  // namespace layerscope::format
