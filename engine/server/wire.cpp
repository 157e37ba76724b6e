#include "engine/server/wire.h"

namespace layerscope::server {

std::string frame_record(std::uint8_t type, std::string_view payload) {
  WireWriter w;
  w.put(static_cast<std::uint32_t>(payload.size() + 1));
  w.put(type);
  std::string record = w.take();
  record += payload;
  return record;
}

std::optional<Record> RecordReader::next() {
  std::uint32_t length = 0;
  if (broken_ || buffered() < sizeof length) {
    return std::nullopt;
  }
  std::memcpy(&length, bytes_.data() + begin_, sizeof length);
  if (length == 0 || length > most_) {
    broken_ = true;
    return std::nullopt;
  }
  if (buffered() < sizeof length + length) {
    return std::nullopt;
  }
  Record record;
  record.type = static_cast<std::uint8_t>(bytes_[begin_ + sizeof length]);
  record.payload = bytes_.substr(begin_ + sizeof length + 1, length - 1);
  begin_ += sizeof length + length;
  // Dropping the front costs a copy of the rest: only when that is the smaller part.
  if (begin_ > bytes_.size() / 2) {
    bytes_.erase(0, begin_);
    begin_ = 0;
  }
  return record;
}

}  // namespace layerscope::server
