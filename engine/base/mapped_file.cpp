#include "engine/base/mapped_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>
#include <utility>

namespace layerscope {
namespace {

std::string errno_text() { return std::generic_category().message(errno); }

/// Closes a file descriptor at the end of its scope.
struct ScopedFd {
  int fd;
  ~ScopedFd() { ::close(fd); }
};

}  // namespace

MappedFile::MappedFile(MappedFile&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) {
    ::munmap(const_cast<std::byte*>(data_), size_);
  }
}

Result<MappedFile> MappedFile::open(const std::filesystem::path& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) {
    return invalid_input(fmt::format("cannot open '{}': {}", path.string(), errno_text()));
  }
  const ScopedFd closer{fd};
  struct stat info {};
  if (::fstat(fd, &info) != 0) {
    return invalid_input(fmt::format("cannot read '{}': {}", path.string(), errno_text()));
  }
  if (!S_ISREG(info.st_mode)) {
    return invalid_input(fmt::format("'{}' is not a regular file", path.string()));
  }
  if (info.st_size == 0) {
    return invalid_input(fmt::format("'{}' is empty", path.string()));
  }
  const auto size = static_cast<std::size_t>(info.st_size);
  void* address = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd, 0);
  if (address == MAP_FAILED) {
    return invalid_input(fmt::format("cannot map '{}': {}", path.string(), errno_text()));
  }
  MappedFile file;
  file.data_ = static_cast<const std::byte*>(address);
  file.size_ = size;
  return file;
}

}  // namespace layerscope
