// CpuBackend::FaultPass: a forward pass that does something wrong on purpose.
//
// It runs only while interventions are set. Plain loops: it is read to understand a bug, not timed.
#pragma once

#include "engine/backend/cpu_pass.h"

namespace layerscope::backend {

class CpuBackend::FaultPass final : public CpuBackend::Pass {
 public:
  using Pass::Pass;

 protected:
  void embed(std::int32_t id, int position, float* out) override;
  void normalise_heads(int layer) override;
  void rotate_and_store(int layer) override;
  void attend(int layer) override;
  void route(int layer, std::size_t token) override;
  void finish_logits(std::vector<float>& logits) override;
  void add_block(capture::Tap block, int layer) override;
  void alter(capture::Tap which, int layer, std::vector<float>& values) override;

 private:
  [[nodiscard]] bool active(model::InterventionKind kind, int layer = -1) const {
    return model::find(self_.faults_, kind, layer) != nullptr;
  }
  void rotate(int layer, int head, std::size_t token, float* values) const;
  void store(int layer, std::size_t token);
  void write_slot(int layer, std::size_t token, int slot);
  void attend_head(int layer, int head, std::size_t token, float* scores, float* weights);

  bool written_late_ = false;  ///< the pass's token is stored after it has attended
};

}  // namespace layerscope::backend
