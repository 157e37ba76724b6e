#include "engine/backend/cuda_weights.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <thread>

#include "engine/base/thread_pool.h"
#include "kernels/cuda/dequant_blocks.h"

namespace layerscope::backend::cuda {
namespace {

using kernels::Matrix;
using kernels::cuda::padded_cols;
using kernels::cuda::plane_bytes;
using kernels::cuda::resident_dtype;
using kernels::cuda::scale_bytes;

constexpr std::size_t kRingBytes = std::size_t{32} << 20U;
constexpr std::size_t kCopyStreams = 2;
constexpr std::size_t kRingSlots = 4;  ///< two per copy stream: one is copied while the other fills

/// One copy to be made: rows of the file, or decoded rows, to a matrix on the device.
struct Job {
  Matrix from;
  DeviceMatrix to;
};

/// Places every tensor; with memory it also notes what has to be copied.
class Layout {
 public:
  explicit Layout(void* base) : planner_(base) {}

  /// Kept in the type that the kernels read it in.
  DeviceMatrix matrix(const Matrix& from) { return matrix(from, resident_dtype(from.dtype)); }

  DeviceMatrix matrix(const Matrix& from, DType type) {
    DeviceMatrix m;
    m.dtype = type;
    m.rows = static_cast<int>(from.rows);
    m.cols = static_cast<int>(from.cols);
    m.stride = padded_cols(type, m.cols);
    m.data = planner_.take<std::byte>(plane_bytes(type, m.rows, m.cols));
    if (const std::size_t scales = scale_bytes(type, m.rows, m.cols); scales > 0) {
      m.scales = planner_.take<std::byte>(scales);
    }
    if (!planner_.measuring()) {
      jobs.push_back({from, m});
    }
    return m;
  }

  template <class T>
  const T* vector(const std::vector<T>& from) {
    if (from.empty()) {
      return nullptr;
    }
    T* to = planner_.take<T>(from.size());
    if (!planner_.measuring()) {
      vectors.push_back({to, from.data(), from.size() * sizeof(T)});
    }
    return to;
  }

  void place(const model::Model& model, DeviceWeights& w) {
    const model::Weights& weights = model.weights;
    w.embedding = matrix(weights.embedding);
    w.head = weights.tied_head ? w.embedding : matrix(weights.head);
    w.output_norm = vector(weights.output_norm);
    w.inv_freq = vector(weights.inv_freq);
    w.layers.resize(weights.layers.size());
    for (std::size_t i = 0; i < weights.layers.size(); ++i) {
      const model::LayerWeights& from = weights.layers[i];
      DeviceLayer& to = w.layers[i];
      to.attn_norm = vector(from.attn_norm);
      const bool fuse_qkv = fits(from.q, from.k) && fits(from.q, from.v);
      const bool fuse_ffn = fits(from.gate, from.up);
      const std::array<const Matrix*, 3> qkv{&from.q, &from.k, &from.v};
      const std::array<const std::vector<float>*, 3> bias{&from.q_bias, &from.k_bias, &from.v_bias};
      for (std::size_t m = 0; m < qkv.size(); ++m) {
        to.qkv[m] = matrix(*qkv[m], fuse_qkv ? resident_dtype(qkv[m]->dtype) : DType::kF32);
        to.qkv_bias[m] = vector(*bias[m]);
      }
      to.out = matrix(from.out);
      to.out_bias = vector(from.out_bias);
      to.ffn_norm = vector(from.ffn_norm);
      to.gate = matrix(from.gate, fuse_ffn ? resident_dtype(from.gate.dtype) : DType::kF32);
      to.up = matrix(from.up, fuse_ffn ? resident_dtype(from.up.dtype) : DType::kF32);
      to.down = matrix(from.down);
    }
    // Blocks to be repacked or decoded pass through a device buffer of one ring slot per stream.
    for (std::byte*& buffer : staging) {
      buffer = planner_.take<std::byte>(std::min(kRingBytes, largest_file_matrix(model)));
    }
  }

  [[nodiscard]] std::size_t used() const { return planner_.used(); }

  struct VectorJob {
    void* to;
    const void* from;
    std::size_t bytes;
  };
  std::vector<Job> jobs;
  std::vector<VectorJob> vectors;
  std::array<std::byte*, kCopyStreams> staging{};

 private:
  /// Whether two matrices of a fused stage can stay as they are: block types mix, others do not;
  /// where the file mixes those, float32 holds all of them exactly.
  static bool fits(const Matrix& a, const Matrix& b) {
    const DType first = resident_dtype(a.dtype);
    const DType second = resident_dtype(b.dtype);
    return first == second ||
           (kernels::cuda::has_planes(first) && kernels::cuda::has_planes(second));
  }

  static std::size_t largest_file_matrix(const model::Model& model) {
    std::size_t largest = 0;
    const auto look = [&](const Matrix& m) {
      if (kernels::cuda::can_decode_blocks(m.dtype)) {
        largest = std::max(largest, m.rows * dtype_bytes(m.dtype, m.cols));
      }
    };
    look(model.weights.embedding);
    look(model.weights.head);
    for (const model::LayerWeights& w : model.weights.layers) {
      for (const Matrix* m : {&w.q, &w.k, &w.v, &w.out, &w.gate, &w.up, &w.down}) {
        look(*m);
      }
    }
    return largest;
  }

  Planner planner_;
};

/// Page-locked buffers in turn: filled by several threads, then copied while the next one fills.
/// Their copies go to two streams alternately, so that one stream's repacking hides behind the
/// other's copy.
class Ring {
 public:
  Ring() = default;
  Ring(const Ring&) = delete;
  Ring& operator=(const Ring&) = delete;
  /// An upload that ended early may still be copying out of the buffers.
  ~Ring() { static_cast<void>(finish()); }

  static Result<std::unique_ptr<Ring>> create() {
    auto ring = std::make_unique<Ring>();
    for (Stream& stream : ring->streams_) {
      LS_TRY(stream, create_stream());
    }
    for (Slot& slot : ring->slots_) {
      LS_TRY(slot.buffer, PinnedBuffer::create(kRingBytes));
      LS_TRY(slot.copied, create_event());
    }
    return ring;
  }

  /// A free buffer; waits until its last copy is done.
  Result<std::byte*> next() {
    Slot& slot = slots_[turn_];
    LS_CUDA(cudaEventSynchronize(slot.copied.get()));
    return slot.buffer.data();
  }

  /// Which stream (and staging buffer) the buffer that `next` gave belongs to.
  [[nodiscard]] std::size_t lane() const { return turn_ % kCopyStreams; }
  [[nodiscard]] cudaStream_t stream() const { return streams_[lane()].get(); }

  /// Waits for everything that was sent.
  Status finish() const {
    for (const Stream& stream : streams_) {
      if (stream != nullptr) {
        LS_CUDA(cudaStreamSynchronize(stream.get()));
      }
    }
    return {};
  }

  /// Sends `bytes` of the buffer that `next` gave.
  Status send(void* to, std::size_t bytes) {
    Slot& slot = slots_[turn_];
    LS_CUDA(cudaMemcpyAsync(to, slot.buffer.data(), bytes, cudaMemcpyHostToDevice, stream()));
    return {};
  }

  /// After everything that reads the buffer has been enqueued.
  Status done() {
    LS_CUDA(cudaEventRecord(slots_[turn_].copied.get(), stream()));
    turn_ = (turn_ + 1) % kRingSlots;
    return {};
  }

  void copy(std::byte* to, const std::byte* from, std::size_t bytes) {
    constexpr std::size_t kPiece = std::size_t{1} << 20U;
    const std::size_t pieces = (bytes + kPiece - 1) / kPiece;
    pool_.run_ranges(pieces, 1, [&](std::size_t begin, std::size_t end) {
      const std::size_t first = begin * kPiece;
      std::memcpy(to + first, from + first, std::min(bytes, end * kPiece) - first);
    });
  }

 private:
  struct Slot {
    PinnedBuffer buffer;
    Event copied;
  };
  std::array<Slot, kRingSlots> slots_;
  std::size_t turn_ = 0;
  std::array<Stream, kCopyStreams> streams_;
  ThreadPool pool_{static_cast<int>(std::clamp(std::thread::hardware_concurrency(), 1U, 8U))};
};

class Upload {
 public:
  Upload(Ring& ring, int sm_count, const std::array<std::byte*, kCopyStreams>& staging,
         const std::stop_token& stop, const std::function<void(double)>& progress,
         std::size_t total)
      : ring_(ring),
        sm_count_(sm_count),
        staging_(staging),
        stop_(stop),
        progress_(progress),
        total_(total) {}

  Status run(const Job& job) {
    const std::size_t row_bytes = dtype_bytes(job.from.dtype, job.from.cols);
    const bool decode = job.from.dtype != job.to.dtype;
    const std::size_t device_row =
        plane_bytes(job.to.dtype, 1, job.to.cols);  // of the (code) plane
    const bool on_device = decode && kernels::cuda::can_decode_blocks(job.from.dtype);
    const std::size_t slot_row = on_device ? row_bytes
                                 : decode  ? device_row
                                           : std::max(row_bytes, device_row);
    const std::size_t per_slot = std::max<std::size_t>(1, kRingBytes / slot_row);
    for (std::size_t row = 0; row < job.from.rows; row += per_slot) {
      if (stop_.stop_requested()) {
        return cancelled_error();
      }
      const std::size_t n = std::min(per_slot, job.from.rows - row);
      LS_TRY(std::byte* const buffer, ring_.next());
      std::byte* const staging = staging_[ring_.lane()];
      const kernels::cuda::Launch on{ring_.stream(), sm_count_, false};
      auto* to = static_cast<std::byte*>(const_cast<void*>(job.to.data)) + row * device_row;
      if (on_device) {
        ring_.copy(buffer, job.from.row(row), n * row_bytes);
        LS_CHECK(ring_.send(staging, n * row_bytes));
        LS_CHECK(kernels::cuda::launch_decode_blocks(on, job.from.dtype, staging, n, job.to.cols,
                                                     reinterpret_cast<float*>(to), job.to.stride));
      } else if (decode) {
        decode_rows(job, row, n, buffer);
        LS_CHECK(ring_.send(to, n * device_row));
      } else if (kernels::cuda::has_planes(job.to.dtype)) {
        ring_.copy(buffer, job.from.row(row), n * row_bytes);
        LS_CHECK(ring_.send(staging, n * row_bytes));
        LS_CHECK(kernels::cuda::launch_repack(
            on, staging,
            kernels::cuda::matrix_rows(job.to, static_cast<int>(row), static_cast<int>(n))));
      } else if (row_bytes == device_row) {
        ring_.copy(buffer, job.from.row(row), n * row_bytes);
        LS_CHECK(ring_.send(to, n * row_bytes));
      } else {
        for (std::size_t r = 0; r < n; ++r) {
          std::memcpy(buffer + r * device_row, job.from.row(row + r), row_bytes);
          std::memset(buffer + r * device_row + row_bytes, 0, device_row - row_bytes);
        }
        LS_CHECK(ring_.send(to, n * device_row));
      }
      LS_CHECK(ring_.done());
      sent_ += n * row_bytes;
      if (progress_) {
        progress_(std::min(1.0, static_cast<double>(sent_) / static_cast<double>(total_)));
      }
    }
    return {};
  }

 private:
  static void decode_rows(const Job& job, std::size_t row, std::size_t n, std::byte* buffer) {
    auto* out = reinterpret_cast<float*>(buffer);
    const auto stride = static_cast<std::size_t>(job.to.stride);
    for (std::size_t r = 0; r < n; ++r) {
      kernels::dequantize_row(job.from.dtype, job.from.row(row + r), job.from.cols,
                              out + r * stride);
      std::fill(out + r * stride + job.from.cols, out + (r + 1) * stride, 0.0F);
    }
  }

  Ring& ring_;
  int sm_count_;
  std::array<std::byte*, kCopyStreams> staging_;
  const std::stop_token& stop_;
  const std::function<void(double)>& progress_;
  std::size_t total_;
  std::size_t sent_ = 0;
};

}  // namespace

std::size_t weight_bytes(const model::Model& model) {
  Layout layout(nullptr);
  DeviceWeights unused;
  layout.place(model, unused);
  return layout.used();
}

Result<DeviceWeights> upload_weights(const model::Model& model, cudaStream_t stream, int sm_count,
                                     const std::stop_token& stop,
                                     const std::function<void(double)>& progress) {
  DeviceWeights w;
  LS_TRY(DeviceBuffer memory, DeviceBuffer::create(weight_bytes(model)));
  w.memory = std::make_shared<const DeviceBuffer>(std::move(memory));
  Layout layout(w.memory->data());
  layout.place(model, w);
  LS_TRY(const std::unique_ptr<Ring> ring, Ring::create());
  for (const Layout::VectorJob& job : layout.vectors) {
    LS_CUDA(cudaMemcpyAsync(job.to, job.from, job.bytes, cudaMemcpyHostToDevice, stream));
  }
  Upload upload(*ring, sm_count, layout.staging, stop, progress,
                std::max<std::size_t>(1, model.weight_bytes()));
  for (const Job& job : layout.jobs) {
    LS_CHECK(upload.run(job));
  }
  LS_CHECK(ring->finish());
  LS_CUDA(cudaStreamSynchronize(stream));
  return w;
}

}  // namespace layerscope::backend::cuda
