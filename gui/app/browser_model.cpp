#include "gui/app/browser_model.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <filesystem>
#include <fstream>

#include "engine/backend/gpu_memory.h"
#include "engine/compare/registry.h"
#include "engine/session/trace_session.h"
#include "gui/view/text.h"

namespace layerscope::gui {
namespace {

std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text;
}

FolderListing read_folder(const std::string& folder) {
  namespace fs = std::filesystem;
  FolderListing listing;
  listing.folder = folder;
  std::error_code failed;
  fs::directory_iterator it(folder, fs::directory_options::skip_permission_denied, failed);
  if (failed) {
    listing.error = fmt::format("cannot read {}: {}", folder, failed.message());
    return listing;
  }
  for (const fs::directory_iterator end; it != end; it.increment(failed)) {
    BrowserEntry entry;
    entry.name = it->path().filename().string();
    struct stat info {};
    if (stat(it->path().c_str(), &info) == 0) {
      entry.folder = S_ISDIR(info.st_mode);
      entry.bytes = entry.folder ? 0 : static_cast<std::uint64_t>(info.st_size);
      entry.modified = info.st_mtime;
    }
    listing.entries.push_back(std::move(entry));
    if (failed) {
      break;
    }
  }
  return listing;
}

/// A whole text is read for its preview up to this size; beyond, opening tells.
constexpr std::uint64_t kMostText = std::uint64_t{64} << 20U;

PreviewResult preview_trace(const std::string& path) {
  PreviewResult result;
  result.path = path;
  std::error_code failed;
  TracePreview preview;
  preview.file_bytes = std::filesystem::file_size(path, failed);
  if (!path.ends_with(".safetensors") && preview.file_bytes > kMostText) {
    preview.format = "a trace";
    preview.notes.emplace_back("It is large: what it holds shows when it is opened.");
    result.trace = std::move(preview);
    return result;
  }
  const auto read = compare::import_trace(path);
  if (!read.ok()) {
    result.error = read.error().message;
    return result;
  }
  const compare::Trace& trace = read.value();
  preview.format = trace.format;
  preview.model = trace.model.name;
  preview.architecture = trace.model.architecture;
  preview.backend = trace.backend;
  preview.capture = trace.capture;
  preview.n_tensors = trace.tensors.size();
  preview.n_positions = trace.n_positions();
  preview.n_prompt = trace.n_prompt;
  preview.faults = trace.faults;
  preview.notes = trace.notes;
  result.trace = std::move(preview);
  return result;
}

PreviewResult preview_file(const std::string& path) {
  if (session::opens_as_trace(path)) {
    return preview_trace(path);
  }
  auto read = format::preview_model(path);
  PreviewResult result;
  result.path = path;
  if (read.ok()) {
    result.preview = std::move(read).value();
  } else {
    result.error = read.error().message;
  }
  return result;
}

}  // namespace

bool is_model_file(const std::string& name) {
  const std::string text = lower(name);
  return text.ends_with(".gguf") || text.ends_with(".safetensors") ||
         text.ends_with(".safetensors.index.json") || text == "config.json";
}

bool is_trace_file(const std::string& name) {
  const std::string text = lower(name);
  constexpr std::array<std::string_view, 9> kEndings{
      ".safetensors", ".log", ".txt", ".npz", ".npy", ".jsonl", ".json", ".bin", ".ndjson"};
  return std::any_of(kEndings.begin(), kEndings.end(),
                     [&text](std::string_view ending) { return text.ends_with(ending); });
}

std::vector<BrowserEntry> arrange(const std::vector<BrowserEntry>& entries, BrowserFilter filter,
                                  BrowserSort sort, bool descending) {
  std::vector<BrowserEntry> shown;
  for (const BrowserEntry& entry : entries) {
    const bool hidden = entry.name.starts_with('.');
    const bool wanted = entry.folder || filter == BrowserFilter::kAll ||
                        (filter == BrowserFilter::kModels && is_model_file(entry.name)) ||
                        (filter == BrowserFilter::kTraces && is_trace_file(entry.name));
    if (!hidden && wanted) {
      shown.push_back(entry);
    }
  }
  std::sort(shown.begin(), shown.end(), [sort, descending](const auto& a, const auto& b) {
    if (a.folder != b.folder) {
      return a.folder;
    }
    const auto& first = descending ? b : a;
    const auto& second = descending ? a : b;
    if (sort == BrowserSort::kSize && first.bytes != second.bytes) {
      return first.bytes < second.bytes;
    }
    if (sort == BrowserSort::kDate && first.modified != second.modified) {
      return first.modified < second.modified;
    }
    const std::string x = lower(first.name);
    const std::string y = lower(second.name);
    return x != y ? x < y : first.name < second.name;
  });
  return shown;
}

int find_typed(const std::vector<BrowserEntry>& entries, const std::string& typed) {
  const std::string wanted = lower(typed);
  for (std::size_t i = 0; i < entries.size(); ++i) {
    if (lower(entries[i].name).starts_with(wanted)) {
      return static_cast<int>(i);
    }
  }
  return -1;
}

std::string complete_name(const std::vector<BrowserEntry>& entries, const std::string& name) {
  std::string shared;
  int matches = 0;
  for (const BrowserEntry& entry : entries) {
    if (!entry.name.starts_with(name)) {
      continue;
    }
    const std::string whole = entry.folder ? entry.name + "/" : entry.name;
    if (matches++ == 0) {
      shared = whole;
    } else {
      const auto differs = std::mismatch(shared.begin(), shared.end(), whole.begin(), whole.end());
      shared.erase(differs.first, shared.end());
    }
  }
  return matches > 0 ? shared : name;
}

std::string fits_text(std::uint64_t bytes, std::uint64_t available, std::uint64_t gpu) {
  if (gpu > 0) {
    const bool fits = bytes + bytes / 8 <= gpu;
    return fits ? fmt::format("yes: {} of the GPU's {}", view::bytes_text(bytes),
                              view::bytes_text(gpu))
                : fmt::format(
                      "no: needs {} and an eighth for caches, the GPU has {}; with "
                      "--backend cpu: {}",
                      view::bytes_text(bytes), view::bytes_text(gpu),
                      fits_text(bytes, available, 0));
  }
  if (available == 0) {
    return fmt::format("unknown: needs {}", view::bytes_text(bytes));
  }
  // Weights are mapped; caches, captured history and scratch come on top.
  if (bytes + bytes / 8 <= available) {
    return fmt::format("yes: {} of {} free", view::bytes_text(bytes), view::bytes_text(available));
  }
  return fmt::format("no: needs {} and an eighth for caches, {} are free", view::bytes_text(bytes),
                     view::bytes_text(available));
}

std::uint64_t available_memory() {
  std::ifstream file("/proc/meminfo");
  std::string key;
  std::uint64_t kilobytes = 0;
  while (file >> key >> kilobytes) {
    if (key == "MemAvailable:") {
      return kilobytes * 1024;
    }
    file.ignore(64, '\n');
  }
  return 0;
}

BrowserWorker::BrowserWorker(std::function<void()> on_done)
    : on_done_(std::move(on_done)), thread_([this](const std::stop_token& stop) { work(stop); }) {}

BrowserWorker::~BrowserWorker() = default;

void BrowserWorker::list(std::string folder) {
  const std::lock_guard lock(mutex_);
  wanted_folder_ = std::move(folder);
  listing_.reset();
  wake_.notify_one();
}

void BrowserWorker::preview(std::string path) {
  const std::lock_guard lock(mutex_);
  wanted_preview_ = std::move(path);
  preview_.reset();
  wake_.notify_one();
}

std::optional<FolderListing> BrowserWorker::take_listing() {
  const std::lock_guard lock(mutex_);
  return std::exchange(listing_, std::nullopt);
}

std::optional<PreviewResult> BrowserWorker::take_preview() {
  const std::lock_guard lock(mutex_);
  return std::exchange(preview_, std::nullopt);
}

void BrowserWorker::work(const std::stop_token& stop) {
  // Asks the driver what there is; that makes no context and touches no device.
  std::optional<std::uint64_t> gpu_bytes;
  for (;;) {
    std::optional<std::string> folder;
    std::optional<std::string> path;
    {
      std::unique_lock lock(mutex_);
      if (!wake_.wait(lock, stop, [this] { return wanted_folder_ || wanted_preview_; })) {
        return;
      }
      folder = std::exchange(wanted_folder_, std::nullopt);
      path = std::exchange(wanted_preview_, std::nullopt);
    }
    if (folder) {
      FolderListing listing = read_folder(*folder);
      const std::lock_guard lock(mutex_);
      if (!wanted_folder_) {
        listing_ = std::move(listing);
      }
    }
    if (path) {
      PreviewResult result = preview_file(*path);
      if (!gpu_bytes) {
        gpu_bytes = backend::default_gpu_memory();
      }
      result.gpu_bytes = *gpu_bytes;
      const std::lock_guard lock(mutex_);
      if (!wanted_preview_) {
        preview_ = std::move(result);
      }
    }
    on_done_();
  }
}

}  // namespace layerscope::gui
