// The distribution after the last token: summarised on the GPU, fetched only when asked for.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstring>

#include "engine/backend/cuda_backend.h"
#include "engine/base/uniform.h"

namespace layerscope::backend::cuda {

static_assert(kernels::cuda::kTopLogits == capture::kTopTokens);

bool CudaBackend::summarise_logits(const std::vector<bool>& usable) {
  std::vector<std::uint8_t> bytes(static_cast<std::size_t>(model_->spec.vocab_rows), 0);
  for (std::size_t i = 0; i < bytes.size() && i < usable.size(); ++i) {
    bytes[i] = usable[i] ? 1 : 0;
  }
  summarises_ = cudaMemcpyAsync(work_.usable, bytes.data(), bytes.size(), cudaMemcpyHostToDevice,
                                on_.stream) == cudaSuccess &&
                cudaStreamSynchronize(on_.stream) == cudaSuccess;
  return summarises_;
}

// Steps done ahead have replaced the logits: the last token is evaluated once more, which gives the
// same bits. What was done ahead is lost, so this is for those who stop and look.
Status CudaBackend::last_logits(std::vector<float>& logits) {
  if (kv_len_ == 0) {
    return internal_error("nothing has been evaluated yet, so there are no logits");
  }
  if (logits_position_ != kv_len_ - 1) {
    steps_.clear();
    Step again;
    again.token = last_token_;
    again.position = kv_len_ - 1;
    again.only_logits = true;
    LS_CHECK(begin_step(std::move(again)));
    steps_.clear();
  }
  logits.resize(static_cast<std::size_t>(model_->spec.vocab_rows));
  return download(logits.data(), work_.logits, logits.size() * sizeof(float));
}

Choosing CudaBackend::choosing(const ForwardRequest& request) const {
  if (!summarises_ || request.summary == nullptr || request.sampling == nullptr ||
      request.chosen == nullptr) {
    return Choosing::kNot;
  }
  const Sampling& s = *request.sampling;
  const bool penalty = s.repeat_penalty != 1.0F && s.repeat_last_n > 0;
  return s.temperature <= 0.0F && !penalty ? Choosing::kGreedy : Choosing::kSampling;
}

Chosen CudaBackend::chosen_of(Choosing how, const kernels::cuda::RawLogitSummary& summary,
                              const kernels::cuda::ChosenToken& drawn) {
  if (how == Choosing::kGreedy) {
    return {summary.top_id, summary.top_id < 0 ? -1 : 0, summary.max};
  }
  return how == Choosing::kSampling ? Chosen{drawn.id, drawn.rank, drawn.logit} : Chosen{};
}

kernels::cuda::StepSampling CudaBackend::step_sampling(const Sampling& sampling, int position) {
  kernels::cuda::StepSampling s;
  s.uniform = uniform_at(sampling.seed, static_cast<std::uint64_t>(position) + 1);
  s.temperature = sampling.temperature;
  s.top_p = sampling.top_p;
  s.min_p = sampling.min_p;
  s.repeat_penalty = sampling.repeat_penalty;
  s.top_k = sampling.top_k;
  s.repeat_last_n = sampling.repeat_last_n;
  return s;
}

/// Formulas as in session::Sampler::summarize. False: the ranking has to be done on the host.
bool CudaBackend::finish_summary(const kernels::cuda::RawLogitSummary& raw,
                                 capture::LogitSummary& summary) {
  if (raw.n_top < 0) {
    return false;
  }
  summary = {};
  summary.non_finite = raw.non_finite;
  summary.raw_argmax = raw.raw_argmax;
  summary.best_padded = {raw.best_padded_id, raw.best_padded_id < 0 ? 0.0F : raw.best_padded, 0.0F};
  if (raw.n_usable == 0) {
    return true;
  }
  summary.min = raw.min;
  summary.max = raw.max;
  summary.mean = static_cast<float>(raw.sum / raw.n_usable);
  summary.lse = static_cast<double>(raw.max) + std::log(raw.exp_sum);
  summary.entropy =
      static_cast<float>((std::log(raw.exp_sum) - raw.exp_weighted / raw.exp_sum) / std::log(2.0));
  for (int i = 0; i < raw.n_top; ++i) {
    const float logit = raw.logits[i];
    summary.top.push_back({raw.ids[i], logit,
                           static_cast<float>(std::exp(static_cast<double>(logit) - summary.lse))});
  }
  return true;
}

/// After a pass of several tokens: the summary and the choice, or the last row of logits.
Status CudaBackend::deliver_logits(const ForwardRequest& request, std::vector<float>& logits) {
  const int last = request.position + static_cast<int>(request.ids.size()) - 1;
  logits_position_ = last;
  last_token_ = request.ids.back();
  const kernels::cuda::Launch on{on_.stream, on_.sm_count, false};
  if (summarises_ && request.summary != nullptr) {
    const StepResults at = results_layout();
    auto* summary = reinterpret_cast<kernels::cuda::RawLogitSummary*>(work_.results + at.summary);
    auto* chosen = reinterpret_cast<kernels::cuda::ChosenToken*>(work_.results + at.chosen);
    LS_CHECK(launch_logit_summary(on, work_.logits, work_.usable, model_->spec.vocab_rows,
                                  work_.logit_parts, summary));
    const Choosing how = choosing(request);
    if (how == Choosing::kSampling) {
      kernels::cuda::StepState state;
      state.position = last;
      state.sampling = step_sampling(*request.sampling, last);
      // What the steps count themselves stays.
      LS_CUDA(cudaMemcpyAsync(work_.state, &state, offsetof(kernels::cuda::StepState, next),
                              cudaMemcpyHostToDevice, on.stream));
      LS_CHECK(launch_sample(on, work_.logits, work_.usable, model_->spec.vocab_rows, work_.history,
                             work_.state, work_.sample, chosen));
    }
    std::vector<std::byte> results(at.chosen + sizeof(kernels::cuda::ChosenToken));
    LS_CHECK(download(results.data(), work_.results, results.size()));
    kernels::cuda::RawLogitSummary raw;
    kernels::cuda::ChosenToken drawn;
    std::memcpy(&raw, results.data() + at.summary, sizeof(raw));
    std::memcpy(&drawn, results.data() + at.chosen, sizeof(drawn));
    if (how != Choosing::kNot) {
      *request.chosen = chosen_of(how, raw, drawn);
    }
    if (finish_summary(raw, *request.summary)) {
      logits.clear();
      return {};
    }
  }
  logits.resize(static_cast<std::size_t>(model_->spec.vocab_rows));
  return download(logits.data(), work_.logits, logits.size() * sizeof(float));
}

}  // namespace layerscope::backend::cuda
