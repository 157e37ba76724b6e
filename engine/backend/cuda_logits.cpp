// The distribution after the last token: summarised on the GPU, fetched only when asked for.
#include <algorithm>
#include <cmath>

#include "engine/backend/cuda_backend.h"

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

Status CudaBackend::last_logits(std::vector<float>& logits) const {
  logits.resize(static_cast<std::size_t>(model_->spec.vocab_rows));
  return download(logits.data(), work_.logits, logits.size() * sizeof(float));
}

/// Formulas as in session::Sampler::summarize. False: the ranking has to be done on the host.
bool CudaBackend::finish_summary(const kernels::cuda::RawLogitSummary& raw,
                                 capture::LogitSummary& summary) const {
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

/// After a pass of several tokens: the summary, or the last row of logits.
Status CudaBackend::deliver_logits(const ForwardRequest& request,
                                   std::vector<float>& logits) const {
  if (summarises_ && request.summary != nullptr) {
    kernels::cuda::RawLogitSummary raw;
    LS_CHECK(launch_logit_summary({on_.stream, on_.sm_count, false}, work_.logits, work_.usable,
                                  model_->spec.vocab_rows, work_.logit_parts, work_.logit_summary));
    LS_CHECK(download(&raw, work_.logit_summary, sizeof(raw)));
    if (finish_summary(raw, *request.summary)) {
      logits.clear();
      return {};
    }
  }
  return last_logits(logits);
}

}  // namespace layerscope::backend::cuda
