// The routed feed-forward on the GPU. A decode step reads the rows of the chosen experts where it
// finds their numbers, so nothing comes to the host. A prefill of many tokens groups the rows by
// expert, for which the host has to know the numbers: one small copy and a wait per layer.
#include <vector>

#include "engine/backend/cuda_stages.h"
#include "engine/backend/size.h"

namespace layerscope::backend::cuda {

namespace {

/// So many rows per expert, on average, make cuBLAS worth its launches.
constexpr int kRowsWorthGrouping = 4;

}  // namespace

Status CudaBackend::Stages::experts(int layer, const float* in, const Routing& routing) {
  const DeviceLayer& w = weights_.layers[size(layer)];
  const int used = spec_.n_experts_used;
  kernels::cuda::ExpertStage router;
  router.w = w.router;
  router.rows = spec_.n_experts;
  router.n = n_;
  router.x = in;
  router.out = taps_.router;
  LS_CHECK(launch_expert_product(on_, router));
  kernels::cuda::RouteStage route;
  route.logits = taps_.router;
  route.n = n_;
  route.n_experts = spec_.n_experts;
  route.used = used;
  route.normalise = spec_.expert_weights_norm && !routing.unnormalised;
  route.skip = routing.shifted && used < spec_.n_experts ? 1 : 0;
  route.chosen = taps_.chosen;
  route.numbers = taps_.topk;
  route.shares = taps_.shares;
  LS_CHECK(launch_route(on_, route));
  if (batch_ && n_ * used >= kRowsWorthGrouping * spec_.n_experts) {
    LS_CHECK(grouped_experts(w, in));
  } else {
    LS_CHECK(chosen_experts(w, in));
  }
  return launch_weigh_experts(on_, self_.work_.expert_out, taps_.shares, n_, used, spec_.hidden,
                              taps_.ffn_out);
}

Status CudaBackend::Stages::activate_experts() {
  return launch_activate(on_, spec_.activation, taps_.gate, taps_.up, taps_.act,
                         size(n_) * size(spec_.ffn_width()));
}

/// Products with the rows of the chosen experts, looked up on the GPU.
Status CudaBackend::Stages::chosen_experts(const DeviceLayer& w, const float* in) {
  kernels::cuda::ExpertStage product;
  product.n = n_;
  product.used = spec_.n_experts_used;
  product.chosen = taps_.chosen;
  product.rows = spec_.ffn;
  product.x = in;
  product.w = w.expert_gate;
  product.out = taps_.gate;
  LS_CHECK(launch_expert_product(on_, product));
  product.w = w.expert_up;
  product.out = taps_.up;
  LS_CHECK(launch_expert_product(on_, product));
  LS_CHECK(activate_experts());
  product.w = w.expert_down;
  product.rows = spec_.hidden;
  product.x = taps_.act;
  product.x_per_slot = true;
  product.out = self_.work_.expert_out;
  return launch_expert_product(on_, product);
}

/// Rows grouped by expert, multiplied on cuBLAS, and put back in their places.
Status CudaBackend::Stages::grouped_experts(const DeviceLayer& w, const float* in) {
  const Work& work = self_.work_;
  const int used = spec_.n_experts_used;
  const int pairs = n_ * used;
  std::vector<std::int32_t> chosen(size(pairs));
  LS_CUDA(cudaMemcpyAsync(chosen.data(), taps_.chosen, chosen.size() * sizeof(chosen[0]),
                          cudaMemcpyDeviceToHost, on_.stream));
  LS_CUDA(cudaStreamSynchronize(on_.stream));
  std::vector<std::int32_t> first(size(spec_.n_experts) + 1, 0);
  for (const std::int32_t expert : chosen) {
    ++first[size(expert) + 1];
  }
  for (std::size_t e = 1; e < first.size(); ++e) {
    first[e] += first[e - 1];
  }
  std::vector<std::int32_t> order(size(pairs));
  std::vector<std::int32_t> next(first.begin(), first.end() - 1);
  for (int pair = 0; pair < pairs; ++pair) {
    order[size(next[size(chosen[size(pair)])]++)] = pair;
  }
  LS_CUDA(cudaMemcpyAsync(work.expert_order, order.data(), order.size() * sizeof(order[0]),
                          cudaMemcpyHostToDevice, on_.stream));
  LS_CUDA(cudaStreamSynchronize(on_.stream));  // `order` leaves
  const auto move = [&](const float* from, float* to, int width, int share, bool scatter) {
    return launch_move_rows(on_, {from, to, work.expert_order, pairs, width, share, scatter});
  };
  // One matrix of every expert with its rows: grouped_in → grouped_out.
  const auto multiply = [&](const DeviceMatrix& all, int rows) -> Status {
    for (int e = 0; e < spec_.n_experts; ++e) {
      const int n = first[size(e) + 1] - first[size(e)];
      if (n == 0) {
        continue;
      }
      const DeviceMatrix one = kernels::cuda::matrix_rows(all, e * rows, rows);
      const std::size_t at = size(first[size(e)]);
      float* out = work.grouped_out + at * size(rows);
      LS_CHECK(self_.gemm_->set_input(work.grouped_in + at * size(all.cols), n, one));
      LS_CHECK(self_.gemm_->product(one, out));
      LS_CHECK(launch_finish_rows(on_, out, self_.gemm_->row_scale(), nullptr, n, rows));
    }
    return {};
  };
  LS_CHECK(move(in, work.grouped_in, spec_.hidden, used, false));
  LS_CHECK(multiply(w.expert_gate, spec_.ffn));
  LS_CHECK(move(work.grouped_out, taps_.gate, spec_.ffn, 1, true));
  LS_CHECK(multiply(w.expert_up, spec_.ffn));
  LS_CHECK(move(work.grouped_out, taps_.up, spec_.ffn, 1, true));
  LS_CHECK(activate_experts());
  LS_CHECK(move(taps_.act, work.grouped_in, spec_.ffn, 1, false));
  LS_CHECK(multiply(w.expert_down, spec_.hidden));
  return move(work.grouped_out, work.expert_out, spec_.hidden, 1, true);
}

}  // namespace layerscope::backend::cuda
