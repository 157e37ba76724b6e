#include "engine/backend/cuda_backend.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <thread>

#include "engine/backend/cuda.h"
#include "engine/backend/cuda_draw.h"
#include "engine/backend/cuda_fault_pass.h"
#include "engine/backend/size.h"
#include "engine/base/log.h"
#include "kernels/cuda/dequant_blocks.h"

namespace layerscope::backend::cuda {

using kernels::cuda::Gemm;
using kernels::cuda::padded_cols;

namespace {

constexpr int kBatch = 512;
constexpr int kLogitRows = 64;
constexpr std::size_t kBounceBytes = std::size_t{32} << 20U;
constexpr std::size_t kGroupBytes = std::size_t{16} << 20U;
constexpr std::size_t kMargin = std::size_t{256} << 20U;  ///< for the driver and its kernels

double gib(std::size_t bytes) { return static_cast<double>(bytes) / (1U << 30U); }

/// Elements of the work space in which weights are converted for cuBLAS.
std::size_t converted_elements(const model::Weights& weights, bool exact) {
  std::size_t largest = 0;
  const auto look = [&](const kernels::Matrix& m) {
    const DType dtype = kernels::cuda::resident_dtype(m.dtype);
    if (exact ? dtype != DType::kF32 : kernels::cuda::has_planes(dtype)) {
      largest =
          std::max(largest, Gemm::matrix_elements(static_cast<int>(m.rows),
                                                  padded_cols(dtype, static_cast<int>(m.cols))));
    }
  };
  look(weights.head);
  for (const model::LayerWeights& w : weights.layers) {
    each_matrix(w, look);
  }
  return largest;
}

/// Values of the widest row that a product gives.
int widest_product(const model::DecoderSpec& spec) {
  return std::max({spec.hidden, spec.q_width(), spec.kv_width(), spec.ffn, spec.vocab_rows});
}

}  // namespace

CudaBackend::CudaBackend(std::shared_ptr<const model::Model> model, const BackendOptions& options,
                         int context)
    : model_(std::move(model)),
      options_(options),
      context_(context),
      float32_(options.float32),
      batch_(std::min(kBatch, context)),
      logit_rows_(std::min(kLogitRows, context)),
      pool_(static_cast<int>(std::clamp(std::thread::hardware_concurrency(), 1U, 8U))) {
  options_.progress = {};
  options_.stop = {};
  const model::DecoderSpec& spec = model_->spec;
  heads_ = {spec.n_heads, spec.n_kv_heads, spec.head_dim, (spec.head_dim + 7) / 8 * 8,
            context,      float32_};
  bins_ = capture::pooled_bins(spec.n_layers, spec.n_heads);
  rope_ = {spec.rope_dim > 0 ? spec.rope_pairing : kernels::RopePairing::kNone, spec.rope_dim};
  fused_ = fused_parts(*model_);
}

CudaBackend::Fused CudaBackend::fused_parts(const model::Model& model) {
  const model::DecoderSpec& spec = model.spec;
  const model::LayerWeights& layer = model.weights.layers.front();
  const bool rms = spec.norm_kind == model::NormKind::kRms;
  Fused fused;
  fused.qkv_products = rms && spec.pre_norm && !spec.second_attn_norm;
  fused.qkv = fused.qkv_products && spec.qk_norm == model::QkNorm::kNone;
  fused.feed_forward = rms && spec.has_ffn_norm() && spec.gated && spec.n_experts == 0 &&
                       spec.activation == kernels::Activation::kSilu && layer.gate_bias.empty() &&
                       layer.up_bias.empty();
  fused.residual = !spec.post_norm && spec.n_experts == 0;
  fused.head = rms && model.weights.head_bias.empty();
  return fused;
}

kernels::cuda::RopeLayout CudaBackend::rope_of(int layer) const {
  return model_->spec.layer_rotates(layer)
             ? rope_
             : kernels::cuda::RopeLayout{kernels::RopePairing::kNone, rope_.dim};
}

const float* CudaBackend::cos_sin(int layer) const {
  const bool own = weights_.inv_freq_windowed != nullptr && model_->spec.layer_windowed(layer);
  return own ? work_.cos_sin_windowed : work_.cos_sin;
}

/// They may depend on the context; windowed layers with a base of their own have theirs beside the
/// weights.
Status CudaBackend::send_frequencies() const {
  const model::DecoderSpec& spec = model_->spec;
  int layer = 0;
  while (layer + 1 < spec.n_layers && spec.layer_windowed(layer)) {
    ++layer;
  }
  const std::vector<double> values = model_->weights.frequencies(spec, layer, context_);
  if (values.empty()) {
    return {};
  }
  LS_CUDA(cudaMemcpyAsync(work_.inv_freq, values.data(), values.size() * sizeof(double),
                          cudaMemcpyHostToDevice, on_.stream));
  LS_CUDA(cudaStreamSynchronize(on_.stream));  // `values` leaves
  return {};
}

kernels::cuda::ScoreRules CudaBackend::rules_of(int layer) const {
  const model::DecoderSpec& spec = model_->spec;
  return {spec.attention_cap, spec.layer_windowed(layer) ? spec.window : 0};
}

bool CudaBackend::attends_plainly(int layer) const {
  constexpr int kLargestFused = 256;
  return rules_of(layer).any() || heads_.head_stride > kLargestFused;
}

CudaBackend::~CudaBackend() {
  if (stream_) {
    cudaStreamSynchronize(stream_.get());
  }
  if (copy_stream_) {
    cudaStreamSynchronize(copy_stream_.get());
  }
  if (drawing_ != nullptr) {
    cudaStreamSynchronize(drawing_->stream.get());
  }
}

Result<std::unique_ptr<Backend>> CudaBackend::create(std::shared_ptr<const model::Model> model,
                                                     const BackendOptions& options, int context) {
  std::unique_ptr<CudaBackend> backend(
      new CudaBackend(std::move(model), options, context));  // NOLINT: private constructor
  LS_CHECK(backend->prepare(options, nullptr));
  return std::unique_ptr<Backend>(std::move(backend));
}

Result<std::unique_ptr<Backend>> CudaBackend::fork(int context) const {
  BackendOptions options = options_;
  options.draw = false;
  options.row_memory = 1;  // the least: a second backend's rows are read at once
  std::unique_ptr<CudaBackend> backend(
      new CudaBackend(model_, options, context));  // NOLINT: private constructor
  LS_CHECK(backend->prepare(options, this));
  return std::unique_ptr<Backend>(std::move(backend));
}

// 4 u per operation: the runtime's expf, rsqrtf and division are within 2 units in the last place
// (CUDA C++ Programming Guide, mathematical functions). Products of several tokens round their
// input, and quantised weights with it, to F16 (Gemm::create). The fault pass multiplies with the
// kernels of a decode step, which keep float32.
capture::Rounding CudaBackend::rounding() const {
  capture::Rounding r;
  r.operation = r.product = 4.0 * 0x1p-24;
  r.half_cache = !float32_;
  const auto look = [&](const kernels::Matrix& m) {
    const double u = m.dtype == DType::kF32 ? 0.0 : m.dtype == DType::kBF16 ? 0x1p-16 : 0x1p-10;
    r.product = std::max(r.product, u);
  };
  if (float32_ || faults_ != nullptr) {
    return r;
  }
  look(model_->weights.head);
  for (const model::LayerWeights& w : model_->weights.layers) {
    each_matrix(w, look);
  }
  return r;
}

std::size_t CudaBackend::cache_size() const {
  const std::size_t per_head = size(context_) * size(heads_.head_stride);
  const std::size_t kv = 2 * size(heads_.n_kv_heads) * per_head * (float32_ ? 4 : 2);
  return size(model_->spec.n_layers) * (kv + size(heads_.n_heads) * per_head * sizeof(float));
}

Result<std::size_t> CudaBackend::free_bytes() const {
  std::size_t free = 0;
  std::size_t total = 0;
  LS_CUDA(cudaMemGetInfo(&free, &total));
  return free;
}

/// `like`: a backend of the same model whose weights are shared, or null.
Status CudaBackend::prepare(const BackendOptions& options, const CudaBackend* like) {
  LS_CUDA(cudaSetDevice(options.gpu));
  LS_CHECK(kernels::cuda::check_device_code());
  int major = 0;
  int sm_count = 0;
  LS_CUDA(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, options.gpu));
  LS_CUDA(cudaDeviceGetAttribute(&sm_count, cudaDevAttrMultiProcessorCount, options.gpu));
  cudaDeviceProp properties{};
  LS_CUDA(cudaGetDeviceProperties(&properties, options.gpu));
  description_ = fmt::format("CUDA · {} · {} cache", properties.name, float32_ ? "F32" : "F16");

  Planner measure;
  static_cast<void>(place_work(measure));
  const std::size_t weights = like != nullptr ? 0 : weight_bytes(*model_);
  const std::size_t caches = cache_size();
  LS_TRY(const std::size_t free, free_bytes());
  if (weights + caches + measure.used() + kMargin > free) {
    const char* advice = weights + kMargin > free ? "choose a smaller model or --backend cpu"
                                                  : "choose a smaller --context or --backend cpu";
    return device_error(fmt::format(
        "{} has {:.2f} GiB free, but the weights need {:.2f} GiB, the caches of {} tokens {:.2f} "
        "GiB and work space {:.2f} GiB; {}",
        properties.name, gib(free), gib(weights), context_, gib(caches),
        gib(measure.used() + kMargin), advice));
  }
  LS_TRY(stream_, create_stream(true));
  on_ = {stream_.get(), sm_count, options.overlap && major >= 9};
  if (like != nullptr) {
    weights_ = like->weights_;
  } else {
    LS_TRY(weights_,
           upload_weights(*model_, stream_.get(), sm_count, options.stop, options.progress));
  }
  LS_TRY(work_memory_, DeviceBuffer::create(measure.used()));
  Planner planner(work_memory_.data());
  work_ = place_work(planner);
  LS_CUDA(cudaMemsetAsync(work_memory_.data(), 0, work_memory_.bytes(), stream_.get()));
  LS_CHECK(send_frequencies());
  LS_TRY(cache_memory_, DeviceBuffer::create(caches));
  LS_CUDA(cudaMemsetAsync(cache_memory_.data(), 0, caches, stream_.get()));
  const std::size_t kv_bytes = size(model_->spec.n_layers) * size(heads_.n_kv_heads) *
                               size(context_) * size(heads_.head_stride) * (float32_ ? 4 : 2);
  keys_ = static_cast<std::byte*>(cache_memory_.data());
  values_ = keys_ + kv_bytes;
  queries_ = reinterpret_cast<float*>(values_ + kv_bytes);
  LS_CHECK(place_rows(options, free - weights - caches - measure.used() - kMargin));
  LS_TRY(gemm_, Gemm::create(on_, work_.gemm, float32_));
  LS_TRY(bounce_, PinnedBuffer::create(kBounceBytes));
  LS_TRY(groups_, PinnedBuffer::create(std::max(kGroupBytes, 2 * size(batch_) * layer_bytes())));
  LS_TRY(copy_stream_, create_stream());
  for (std::size_t i = 0; i < group_ready_.size(); ++i) {
    LS_TRY(group_ready_[i], create_event());
    LS_TRY(group_copied_[i], create_event());
  }
  const std::size_t slot_bytes = static_cast<std::size_t>(slot(1) - slot(0));
  LS_TRY(step_, PinnedBuffer::create(kernels::cuda::kStepSlots *
                                     (sizeof(kernels::cuda::StepState) + slot_bytes)));
  for (Event& event : step_done_) {
    LS_TRY(event, create_event());
  }
  LS_CHECK(make_entries());
  if (options.draw) {
    if (const Status status = start_drawing(); !status.ok()) {
      spdlog::warn("attention rows are drawn through host memory: {}", status.error().message);
    }
  }
  LS_CUDA(cudaStreamSynchronize(stream_.get()));
  return {};
}

LayerTaps CudaBackend::place_taps(Planner& planner, std::size_t tokens) const {
  const model::DecoderSpec& spec = model_->spec;
  const auto rows = [&](int width) { return planner.take<float>(tokens * size(width)); };
  LayerTaps t{};
  t.attn_norm = rows(spec.hidden);
  t.q = rows(spec.q_width());
  t.k = rows(spec.kv_width());
  t.v = rows(spec.kv_width());
  t.q_rope = rows(spec.q_width());
  t.k_rope = rows(spec.kv_width());
  t.context = rows(spec.q_width());
  t.attn_out = rows(spec.hidden);
  t.resid_mid = rows(spec.hidden);
  t.ffn_norm = rows(spec.hidden);
  t.gate = rows(spec.ffn_width());
  t.up = rows(spec.ffn_width());
  t.act = rows(spec.ffn_width());
  t.ffn_out = rows(spec.hidden);
  t.resid_out = rows(spec.hidden);
  if (spec.post_norm) {
    t.attn_post = rows(spec.hidden);
    t.ffn_post = rows(spec.hidden);
  }
  if (spec.n_experts > 0) {
    t.router = rows(spec.n_experts);
    t.topk = rows(spec.n_experts_used);
    t.shares = rows(spec.n_experts_used);
    t.chosen = planner.take<std::int32_t>(tokens * size(spec.n_experts_used));
  }
  return t;
}

Work CudaBackend::place_work(Planner& planner) const {
  const model::DecoderSpec& spec = model_->spec;
  const std::size_t batch = size(batch_);
  const std::size_t layers = size(spec.n_layers);
  const std::size_t head_rows = layers * size(spec.n_heads);
  Work w{};
  w.state = planner.take<kernels::cuda::StepState>(1);
  w.ids = planner.take<std::int32_t>(batch);
  w.position = planner.take<std::int32_t>(1);
  w.cos_sin = planner.take<float>(batch * size(std::max(2, spec.rope_dim)));
  w.inv_freq = planner.take<double>(size(std::max(2, spec.rope_dim)) / 2);
  w.cos_sin_windowed = planner.take<float>(batch * size(std::max(2, spec.rope_dim)));
  w.zeros = planner.take<float>(size(widest_product(spec)));
  w.sink = planner.take<float>(size(widest_product(spec)));
  if (spec.n_experts > 0) {
    const std::size_t pairs = batch * size(spec.n_experts_used);
    w.expert_out = planner.take<float>(pairs * size(spec.hidden));
    w.expert_order = planner.take<std::int32_t>(pairs);
    w.grouped_in = planner.take<float>(pairs * size(std::max(spec.hidden, spec.ffn)));
    w.grouped_out = planner.take<float>(pairs * size(std::max(spec.hidden, spec.ffn)));
  }
  w.embedding = planner.take<float>(size(spec.hidden));
  w.final_norm = planner.take<float>(batch * size(spec.hidden));
  w.logits = planner.take<float>(size(logit_rows_) * size(spec.vocab_rows));
  for (std::size_t layer = 0; layer < layers; ++layer) {
    w.decode.push_back(place_taps(planner, 1));
  }
  w.prefill = place_taps(planner, batch);
  w.scores = planner.take<float>(head_rows * (size(row_stride(context_ - 1)) + 1));
  w.lse = planner.take<float>(head_rows);
  w.parts = planner.take<float>(kernels::cuda::attention_parts_floats(heads_, max_splits()));
  w.arrived = planner.take<unsigned>(size(heads_.n_kv_heads * attention_groups(heads_)));
  w.history = planner.take<std::int32_t>(size(context_));
  w.results = planner.take<std::byte>(results_layout().bytes);
  // Rows of scores are filled up to 8.
  const std::size_t score_row = size(kernels::cuda::pair_stride(context_));
  w.prefill_scores =
      planner.take<float>(std::max(size(spec.n_heads) * score_row,
                                   std::min(kScoreFloats, size(spec.n_heads) * batch * score_row)));
  if (kernels::cuda::takes_pairs(heads_)) {
    w.q_pair = planner.take<std::byte>(kernels::cuda::pair_queries_bytes(heads_, batch_));
    w.value_pair = planner.take<std::byte>(kernels::cuda::pair_values_bytes(heads_));
    w.pair_pointers = planner.take<const void*>(size(kernels::cuda::kPairPointers * spec.n_heads));
  } else if (!float32_) {
    const std::size_t rows = size(heads_.n_kv_heads) * size(context_) * size(heads_.head_stride);
    w.keys_f32 = planner.take<float>(rows);
    w.values_f32 = planner.take<float>(rows);
  }
  w.stats = planner.take<kernels::cuda::RawStats>(batch * stats_slots());
  w.finished = planner.take<kernels::cuda::FinishedStats>(batch * stats_slots());
  w.heads = planner.take<kernels::cuda::RawHeadStats>(batch * head_rows);
  w.pooled = planner.take<std::uint8_t>(batch * head_rows * size(bins_));
  w.places = planner.take<kernels::cuda::RowPlace>(batch);
  w.entries = planner.take<kernels::cuda::StatsEntry>(2 * stats_slots() + size(logit_pieces()));
  w.usable = planner.take<std::uint8_t>(size(spec.vocab_rows));
  w.logit_parts =
      planner.take<kernels::cuda::LogitPart>(size(kernels::cuda::logit_parts(spec.vocab_rows)));
  w.sample.adjusted = planner.take<float>(size(spec.vocab_rows));
  w.sample.top = planner.take<unsigned>(1);
  w.sample.counts = planner.take<unsigned>(kernels::cuda::kSampleBins);
  w.sample.mass = planner.take<unsigned long long>(kernels::cuda::kSampleBins);
  w.sample.heat = planner.take<unsigned long long>(kernels::cuda::kSampleBins);
  const int widest = std::max({spec.hidden, spec.q_width(), spec.ffn});
  w.gemm.activations = planner.take<std::byte>(Gemm::activation_bytes(batch_, widest));
  w.gemm.matrix = planner.take<std::byte>(converted_elements(model_->weights, float32_) *
                                          (float32_ ? sizeof(float) : 2));
  w.gemm.row_scale = planner.take<float>(batch);
  w.gemm.cublas = planner.take<std::byte>(Gemm::kCublasBytes);
  return w;
}

kernels::cuda::LayerCache CudaBackend::layer_cache(int layer) const {
  const std::size_t per_head = size(context_) * size(heads_.head_stride);
  const std::size_t kv =
      size(layer) * size(heads_.n_kv_heads) * per_head * (float32_ ? sizeof(float) : 2);
  return {keys_ + kv, values_ + kv, queries_ + size(layer) * size(heads_.n_heads) * per_head};
}

// A block takes 64 keys up to 4,096 tokens, then twice as many per doubling, 1,024 at most: the
// parts stay few enough for one block to combine. The number of blocks is rounded up to a power of
// two, so that a few graphs serve all lengths; superfluous blocks leave at once and change nothing.
CudaBackend::Splits CudaBackend::splits_for(int kv_len) const {
  Splits s;
  while (s.chunk < 1024 && kv_len > s.chunk * 64) {
    s.chunk *= 2;
  }
  while (s.n * s.chunk < kv_len) {
    s.n *= 2;
  }
  return s;
}

int CudaBackend::max_splits() const { return std::max(64, splits_for(context_).n); }

Status CudaBackend::forward(const ForwardRequest& request, std::vector<float>& logits,
                            capture::PassCapture& captured) {
  if (!request.splices.empty()) {
    return usage_error("the CUDA backend does not splice; use --backend cpu");
  }
  if (request.ids.empty() || request.position != kv_len_) {
    return internal_error(fmt::format("a pass of {} tokens at position {} does not continue {}",
                                      request.ids.size(), request.position, kv_len_));
  }
  if (request.ids.size() > size(context_ - kv_len_)) {
    return invalid_input(fmt::format("{} tokens do not fit: {} of the context's {} are used",
                                     request.ids.size(), kv_len_, context_));
  }
  if (request.ids.size() > size(batch_)) {
    return internal_error(fmt::format("a pass of {} tokens is larger than a batch of {}",
                                      request.ids.size(), batch_));
  }
  for (const std::int32_t id : request.ids) {
    if (id < 0 || id >= model_->spec.vocab_rows) {
      return invalid_input(fmt::format("token id {} is outside the embedding's {} rows", id,
                                       model_->spec.vocab_rows));
    }
  }
  if (request.chosen != nullptr) {
    *request.chosen = {};
  }
  if (faults_ != nullptr) {
    steps_.clear();
    LS_CHECK(forward_with_faults(request, logits, captured));
    const auto n = static_cast<int>(request.ids.size());
    LS_CHECK(note_kept(false, request.position, n));
    if (!looking_) {
      note_stats(false, request.position, n);
    }
  } else if (request.ids.size() == 1) {
    LS_CHECK(decode(request, logits, captured));
  } else {
    steps_.clear();
    LS_CHECK(prefill(request, logits, captured));
  }
  kv_len_ = request.position + static_cast<int>(request.ids.size());
  written_ = std::min(context_, std::max(written_, kv_len_ + (faults_ != nullptr ? 1 : 0)));
  return {};
}

void CudaBackend::truncate(int length) {
  if (length < kv_len_) {
    steps_.clear();
    kv_len_ = std::max(length, 0);
    cut_drawing(kv_len_);
  }
  if (faults_ != nullptr && kv_len_ < faults_->stuck_slot) {
    faults_->stuck_slot = -1;
  }
}

}  // namespace layerscope::backend::cuda

namespace layerscope::backend {

Result<std::unique_ptr<Backend>> create_cuda_backend(std::shared_ptr<const model::Model> model,
                                                     const BackendOptions& options, int context) {
  const std::vector<DeviceInfo> devices = list_cuda_devices();
  const auto index = static_cast<std::size_t>(std::max(0, options.gpu));
  if (index >= devices.size()) {
    return device_error(fmt::format("there is no GPU {}: {} found (--gpu counts from 0)",
                                    options.gpu, devices.size()));
  }
  if (!devices[index].usable) {
    return device_error(
        fmt::format("the CUDA backend is not available: {}", devices[index].reason));
  }
  return cuda::CudaBackend::create(std::move(model), options, context);
}

}  // namespace layerscope::backend
