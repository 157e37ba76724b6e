// Browser model: what the file browser lists and previews, without drawing. Pure functions and one
// worker thread that touches the disk, so that a slow folder never stops the window.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "engine/base/result.h"
#include "engine/format/preview.h"

namespace layerscope::gui {

struct BrowserEntry {
  std::string name;
  bool folder = false;
  std::uint64_t bytes = 0;
  std::int64_t modified = 0;  ///< seconds since 1970
};

enum class BrowserFilter { kModels, kTraces, kFolders, kAll };
enum class BrowserSort { kName, kSize, kDate };

/// Folders first, hidden files left out, filtered and sorted.
std::vector<BrowserEntry> arrange(const std::vector<BrowserEntry>& entries, BrowserFilter filter,
                                  BrowserSort sort, bool descending);

/// Files that the filter shows: models, and those of a model folder that stand for it.
bool is_model_file(const std::string& name);

/// Files that may be traces, by their ending.
bool is_trace_file(const std::string& name);

/// Index of the first entry whose name begins with `typed` (any case); −1 when none.
int find_typed(const std::vector<BrowserEntry>& entries, const std::string& typed);

/// The longest completion of `name` that all matching entries share; `name` when there is none.
std::string complete_name(const std::vector<BrowserEntry>& entries, const std::string& name);

/// "yes: 16 MB of 23 GB free" / "no: needs 16 GB, 12 GB are free". With a GPU (`gpu` > 0 bytes) its
/// memory counts, since `auto` takes it; the host's is named where the GPU's does not do.
std::string fits_text(std::uint64_t bytes, std::uint64_t available, std::uint64_t gpu);

/// Memory that can be taken without swapping; 0 when unknown.
std::uint64_t available_memory();

struct FolderListing {
  std::string folder;
  std::vector<BrowserEntry> entries;
  std::string error;
};

/// What a trace holds, for the dialog.
struct TracePreview {
  std::string format, model, architecture, backend, capture;
  std::size_t n_tensors = 0;
  int n_positions = 0;
  std::size_t n_prompt = 0;
  std::vector<std::string> faults, notes;
  std::uint64_t file_bytes = 0;
};

struct PreviewResult {
  std::string path;
  std::optional<format::FilePreview> preview;
  std::optional<TracePreview> trace;  ///< instead, for traces
  std::string error;
  std::uint64_t gpu_bytes = 0;  ///< memory of the GPU that `auto` would take; 0: none
};

/// Reads folders and headers on its own thread; a new request of the same kind replaces the one
/// that waits. `on_done` is called on that thread. All members: UI thread.
class BrowserWorker {
 public:
  explicit BrowserWorker(std::function<void()> on_done);
  ~BrowserWorker();
  BrowserWorker(const BrowserWorker&) = delete;
  BrowserWorker& operator=(const BrowserWorker&) = delete;

  void list(std::string folder);
  void preview(std::string path);
  std::optional<FolderListing> take_listing();
  std::optional<PreviewResult> take_preview();

 private:
  void work(const std::stop_token& stop);

  std::function<void()> on_done_;
  std::mutex mutex_;
  std::condition_variable_any wake_;
  std::optional<std::string> wanted_folder_, wanted_preview_;
  std::optional<FolderListing> listing_;
  std::optional<PreviewResult> preview_;
  std::jthread thread_;  ///< last: stops before the rest goes
};

}  // namespace layerscope::gui
