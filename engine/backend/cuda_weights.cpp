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
    if (from.data == nullptr) {
      return {};
    }
    const DeviceMatrix m = room(type, from.rows, from.cols);
    if (!planner_.measuring()) {
      jobs.push_back({from, m});
    }
    return m;
  }

  /// One matrix of all experts, one after the other: the file has them in one tensor or in many.
  DeviceMatrix stack(const std::vector<model::ExpertWeights>& experts,
                     Matrix model::ExpertWeights::*which, DType type) {
    const Matrix& first = experts.front().*which;
    const DeviceMatrix all = room(type, experts.size() * first.rows, first.cols);
    for (std::size_t e = 0; e < experts.size() && !planner_.measuring(); ++e) {
      jobs.push_back(
          {experts[e].*which, kernels::cuda::matrix_rows(all, static_cast<int>(e * first.rows),
                                                         static_cast<int>(first.rows))});
    }
    return all;
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
    w.positions = matrix(weights.positions);
    w.head = weights.tied_head ? w.embedding : matrix(weights.head);
    w.head_bias = vector(weights.head_bias);
    w.output_norm = vector(weights.output_norm);
    w.output_norm_bias = vector(weights.output_norm_bias);
    w.inv_freq_windowed = vector(weights.inv_freq_windowed);
    w.layers.resize(weights.layers.size());
    for (std::size_t i = 0; i < weights.layers.size(); ++i) {
      const model::LayerWeights& from = weights.layers[i];
      DeviceLayer& to = w.layers[i];
      place_vectors(from, to);
      const bool fuse_qkv = fits(from.q, from.k) && fits(from.q, from.v);
      const bool fuse_ffn = from.gate.data == nullptr || fits(from.gate, from.up);
      const std::array<const Matrix*, 3> qkv{&from.q, &from.k, &from.v};
      for (std::size_t m = 0; m < qkv.size(); ++m) {
        to.qkv[m] = matrix(*qkv[m], fuse_qkv ? resident_dtype(qkv[m]->dtype) : DType::kF32);
      }
      to.out = matrix(from.out);
      to.gate = matrix(from.gate, fuse_ffn ? resident_dtype(from.gate.dtype) : DType::kF32);
      to.up = matrix(from.up, fuse_ffn ? resident_dtype(from.up.dtype) : DType::kF32);
      to.down = matrix(from.down);
      to.router = matrix(from.router);
      if (!from.experts.empty()) {
        place_experts(from.experts, to);
      }
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
  DeviceMatrix room(DType type, std::size_t rows, std::size_t cols) {
    DeviceMatrix m;
    m.dtype = type;
    m.rows = static_cast<int>(rows);
    m.cols = static_cast<int>(cols);
    m.stride = padded_cols(type, m.cols);
    m.data = planner_.take<std::byte>(plane_bytes(type, m.rows, m.cols));
    if (const std::size_t scales = scale_bytes(type, m.rows, m.cols); scales > 0) {
      m.scales = planner_.take<std::byte>(scales);
    }
    return m;
  }

  void place_vectors(const model::LayerWeights& from, DeviceLayer& to) {
    to.qkv_bias[0] = vector(from.q_bias);
    to.qkv_bias[1] = vector(from.k_bias);
    to.qkv_bias[2] = vector(from.v_bias);
    to.out_bias = vector(from.out_bias);
    to.gate_bias = vector(from.gate_bias);
    to.up_bias = vector(from.up_bias);
    to.down_bias = vector(from.down_bias);
    to.attn_norm = vector(from.attn_norm);
    to.attn_norm_bias = vector(from.attn_norm_bias);
    to.attn_norm_2 = vector(from.attn_norm_2);
    to.attn_norm_2_bias = vector(from.attn_norm_2_bias);
    to.q_norm = vector(from.q_norm);
    to.k_norm = vector(from.k_norm);
    to.ffn_norm = vector(from.ffn_norm);
    to.ffn_norm_bias = vector(from.ffn_norm_bias);
    to.post_attn_norm = vector(from.post_attn_norm);
    to.post_ffn_norm = vector(from.post_ffn_norm);
  }

  void place_experts(const std::vector<model::ExpertWeights>& experts, DeviceLayer& to) {
    // Old files hold each expert in a tensor of its own, whose types may differ.
    const auto type = [&](Matrix model::ExpertWeights::*which) {
      const DType first = (experts.front().*which).dtype;
      const bool same = std::all_of(experts.begin(), experts.end(), [&](const auto& expert) {
        return (expert.*which).dtype == first;
      });
      return same ? resident_dtype(first) : DType::kF32;
    };
    using E = model::ExpertWeights;
    to.expert_gate = stack(experts, &E::gate, type(&E::gate));
    to.expert_up = stack(experts, &E::up, type(&E::up));
    to.expert_down = stack(experts, &E::down, type(&E::down));
  }

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
    look(model.weights.positions);
    for (const model::LayerWeights& w : model.weights.layers) {
      each_matrix(w, look);
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
