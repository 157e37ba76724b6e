#include "engine/compare/trace_writer.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "engine/format/safetensors.h"

namespace layerscope::compare {
namespace {

constexpr std::uint64_t kPrefix = 8;  ///< bytes of the header's length

/// All bytes at an offset; empty, or what went wrong.
std::string write_all(int file, const void* data, std::uint64_t n, std::uint64_t offset) {
  const auto* bytes = static_cast<const char*>(data);
  while (n > 0) {
    const ssize_t written = ::pwrite(file, bytes, n, static_cast<off_t>(offset));
    if (written < 0 && errno == EINTR) {
      continue;
    }
    if (written <= 0) {
      return std::strerror(errno);  // NOLINT(concurrency-mt-unsafe): glibc's is thread-safe
    }
    bytes += written;
    offset += static_cast<std::uint64_t>(written);
    n -= static_cast<std::uint64_t>(written);
  }
  return {};
}

}  // namespace

Result<std::unique_ptr<TraceWriter>> TraceWriter::create(const std::string& path,
                                                         TraceWriterOptions options) {
  const std::string temporary = fmt::format("{}.part-{}", path, ::getpid());
  const int file = ::open(temporary.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (file < 0) {
    return invalid_input(fmt::format("the trace '{}' cannot be written: {}", path,
                                     std::strerror(errno)));  // NOLINT: as above
  }
  return std::unique_ptr<TraceWriter>(new TraceWriter(path, temporary, file, options));
}

TraceWriter::TraceWriter(std::string path, std::string temporary, int file,
                         TraceWriterOptions options)
    : path_(std::move(path)),
      temporary_(std::move(temporary)),
      file_(file),
      options_(options),
      thread_([this] { write_loop(); }) {}

TraceWriter::~TraceWriter() {
  stop_thread();
  ::close(file_);
  if (!finished_) {
    std::error_code ignored;
    std::filesystem::remove(temporary_, ignored);
  }
}

void TraceWriter::stop_thread() {
  {
    const std::lock_guard lock(mutex_);
    closing_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) {
    thread_.join();
  }
}

void TraceWriter::add(std::string name, std::vector<std::int64_t> shape,
                      std::span<const float> values) {
  std::vector<float> copy(values.begin(), values.end());
  const std::uint64_t bytes = copy.size() * sizeof(float);
  entries_.push_back({std::move(name), std::move(shape), data_bytes_, data_bytes_ + bytes});
  data_bytes_ += bytes;
  std::unique_lock lock(mutex_);
  // A tensor larger than the whole queue goes in alone.
  const auto fits = [&] { return queue_.empty() || queued_bytes_ + bytes <= options_.queue_bytes; };
  if (!fits()) {
    const auto start = std::chrono::steady_clock::now();
    changed_.wait(lock, fits);
    waited_s_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  }
  queue_.push_back(std::move(copy));
  queued_bytes_ += bytes;
  lock.unlock();
  changed_.notify_all();
}

void TraceWriter::write_loop() {
  std::uint64_t offset = kPrefix + options_.header_bytes;
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [this] { return closing_ || !queue_.empty(); });
    if (queue_.empty()) {
      return;
    }
    const std::vector<float> values = std::move(queue_.front());
    const bool failed = !problem_.empty();
    lock.unlock();
    const std::uint64_t bytes = values.size() * sizeof(float);
    const std::string problem =
        failed ? std::string() : write_all(file_, values.data(), bytes, offset);
    offset += bytes;
    lock.lock();
    if (problem_.empty()) {
      problem_ = problem;
    }
    queue_.pop_front();
    queued_bytes_ -= bytes;
    changed_.notify_all();
  }
}

std::string TraceWriter::header_text(const std::string& key, const std::string& metadata) const {
  nlohmann::json header{{"__metadata__", {{key, metadata}}}};
  for (const Entry& entry : entries_) {
    header[entry.name] = {
        {"dtype", "F32"}, {"shape", entry.shape}, {"data_offsets", {entry.begin, entry.end}}};
  }
  return header.dump();
}

/// Shifts the data towards the end, last piece first.
Status TraceWriter::move_data(std::uint64_t from, std::uint64_t to) const {
  constexpr std::uint64_t kPiece = std::uint64_t{4} << 20U;
  std::vector<char> piece(kPiece);
  for (std::uint64_t left = data_bytes_; left > 0;) {
    const std::uint64_t n = std::min(left, kPiece);
    left -= n;
    const ssize_t read = ::pread(file_, piece.data(), n, static_cast<off_t>(from + left));
    if (read != static_cast<ssize_t>(n)) {
      return device_error("what was written cannot be read back");
    }
    if (const std::string problem = write_all(file_, piece.data(), n, to + left);
        !problem.empty()) {
      return device_error(problem);
    }
  }
  return {};
}

Status TraceWriter::write_header(const std::string& header) {
  std::string padded = header;
  const std::uint64_t aligned = (header.size() + kPrefix + 7U) / 8U * 8U - kPrefix;
  padded.resize(std::max(aligned, options_.header_bytes), ' ');
  if (padded.size() > format::kMaxSafetensorsHeader) {
    return invalid_input("it has too many tensors for one file; trace fewer layers or tokens");
  }
  if (padded.size() > options_.header_bytes) {
    LS_CHECK(move_data(kPrefix + options_.header_bytes, kPrefix + padded.size()));
  }
  const std::uint64_t length = padded.size();
  std::string problem = write_all(file_, &length, kPrefix, 0);
  if (problem.empty()) {
    problem = write_all(file_, padded.data(), padded.size(), kPrefix);
  }
  return problem.empty() ? Status{} : Status(device_error(problem));
}

Status TraceWriter::finish(const std::string& key, const std::string& metadata) {
  stop_thread();
  const auto fail = [&](ErrorCode code, const std::string& why) {
    return Error{code, fmt::format("the trace '{}' could not be written: {}", path_, why)};
  };
  if (!problem_.empty()) {
    return fail(ErrorCode::kDevice, problem_);
  }
  if (const Status status = write_header(header_text(key, metadata)); !status.ok()) {
    return fail(status.error().code, status.error().message);
  }
  if (::fsync(file_) != 0 || std::rename(temporary_.c_str(), path_.c_str()) != 0) {
    return fail(ErrorCode::kDevice, std::strerror(errno));  // NOLINT: as above
  }
  finished_ = true;
  return {};
}

}  // namespace layerscope::compare
