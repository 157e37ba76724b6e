#include "engine/backend/cpu_backend.h"

#include <fmt/format.h>

#include <algorithm>

#include "engine/backend/cpu_fault_pass.h"
#include "engine/backend/cpu_pass.h"
#include "engine/backend/fault_plan.h"
#include "kernels/ops.h"

namespace layerscope::backend {

using capture::PassCapture;

CpuBackend::CpuBackend(std::shared_ptr<const model::Model> model, KvCache cache, int threads,
                       int context)
    : model_(std::move(model)),
      cache_(std::move(cache)),
      pool_(threads),
      context_(context),
      computed_(model_) {}

Result<std::unique_ptr<Backend>> CpuBackend::create(std::shared_ptr<const model::Model> model,
                                                    int threads, int context) {
  LS_TRY(KvCache cache, KvCache::create(model->spec, context));
  return std::unique_ptr<Backend>(new CpuBackend(std::move(model), std::move(cache), threads,
                                                 context));  // NOLINT: private ctor
}

Status CpuBackend::forward(const ForwardRequest& request, std::vector<float>& logits,
                           PassCapture& captured) {
  if (request.ids.empty() || request.position != kv_len_) {
    return internal_error(fmt::format("a pass of {} tokens at position {} does not continue {}",
                                      request.ids.size(), request.position, kv_len_));
  }
  if (request.ids.size() > static_cast<std::size_t>(context_ - kv_len_)) {
    return invalid_input(fmt::format("{} tokens do not fit: {} of the context's {} are used",
                                     request.ids.size(), kv_len_, context_));
  }
  for (const Splice& splice : request.splices) {
    if (splice.residual.size() !=
        request.ids.size() * static_cast<std::size_t>(model_->spec.hidden)) {
      return internal_error(fmt::format("a splice of {} values does not fit {} tokens",
                                        splice.residual.size(), request.ids.size()));
    }
  }
  for (const std::int32_t id : request.ids) {
    if (id < 0 || id >= model_->spec.vocab_rows) {
      return invalid_input(fmt::format("token id {} is outside the embedding's {} rows", id,
                                       model_->spec.vocab_rows));
    }
  }
  if (faults_.empty()) {
    LS_CHECK(Pass(*this, request, captured).run(logits));
  } else {
    LS_CHECK(FaultPass(*this, request, captured).run(logits));
  }
  kv_len_ += static_cast<int>(request.ids.size());
  // A fault may write one slot too far.
  written_ = std::min(context_, std::max(written_, kv_len_ + (faults_.empty() ? 0 : 1)));
  return {};
}

void CpuBackend::truncate(int length) {
  kv_len_ = std::clamp(length, 0, kv_len_);
  if (kv_len_ < stuck_slot_) {
    stuck_slot_ = -1;
  }
}

Status CpuBackend::set_interventions(const model::Interventions& list) {
  LS_TRY(auto computed, model::edit_model(model_, list));
  model::Interventions faults;
  std::copy_if(list.begin(), list.end(), std::back_inserter(faults), [](const auto& item) {
    return model::obeyed_by(item.kind) == model::Obeyed::kForward;
  });
  computed_ = std::move(computed);
  faults_ = std::move(faults);
  stuck_slot_ = -1;
  return {};
}

kernels::AttentionHead CpuBackend::attention_of(int layer, int head, int position) const {
  const model::DecoderSpec& spec = model_->spec;
  const int kv_head = head / spec.heads_per_kv();
  kernels::AttentionHead row;
  row.k = cache_.key(layer, kv_head, 0);
  row.v = cache_.value(layer, kv_head, 0);
  row.kv_len = static_cast<std::size_t>(position) + 1;
  row.first_key = static_cast<std::size_t>(spec.first_key(layer, position));
  row.head_dim = static_cast<std::size_t>(spec.head_dim);
  row.scale = spec.attention_scale;
  row.soft_cap = spec.attention_cap;
  return row;
}

void CpuBackend::attention_row(int layer, int head, int position, std::span<float> out) const {
  kernels::AttentionHead row = attention_of(layer, head, position);
  row.q = cache_.query(layer, head, position);
  row.v = nullptr;
  row.probs = out.data();
  kernels::attention_head(row, nullptr);
}

std::string CpuBackend::description() const {
  return fmt::format("CPU · {} thread{}", pool_.size(), pool_.size() == 1 ? "" : "s");
}

}  // namespace layerscope::backend
