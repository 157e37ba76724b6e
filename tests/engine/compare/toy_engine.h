// A small engine of its own: plain loops over the file's tensors, dumping with layerscope_dump.h.
//
// It shares no arithmetic with ours, so that a healthy dump is an independent witness. Bugs are
// planted by flags, each the kind that a young engine really has.
#pragma once

#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "assets/dump/layerscope_dump.h"
#include "engine/format/model_file.h"

namespace layerscope::testing {

struct ToyBugs {
  bool bias_dropped = false;       ///< of K, in every layer
  bool heads_by_modulo = false;    ///< query head h reads KV head h mod n
  bool output_transposed = false;  ///< the output projection of layer 1
};

class ToyEngine {
 public:
  ToyEngine(std::shared_ptr<const format::ModelFile> file, ToyBugs bugs)
      : file_(std::move(file)), bugs_(bugs) {
    arch_ = file_->get_string("general.architecture").value().value();
    layers_ = number("block_count");
    hidden_ = number("embedding_length");
    heads_ = number("attention.head_count");
    kv_ = number("attention.head_count_kv");
    dim_ = hidden_ / heads_;
    eps_ = *file_->get_float(arch_ + ".attention.layer_norm_rms_epsilon").value();
    base_ = *file_->get_float(arch_ + ".rope.freq_base").value();
    keys_.resize(static_cast<std::size_t>(layers_));
    values_.resize(static_cast<std::size_t>(layers_));
  }

  /// One forward pass after what was evaluated before; every stage goes to the dump.
  void forward(const std::vector<std::int32_t>& ids, Dump& dump) {
    const int n = static_cast<int>(ids.size());
    dump.begin_pass(ids.data(), n);
    Rows x;
    const Rows table = matrix("token_embd.weight");
    for (const std::int32_t id : ids) {
      x.push_back(table[static_cast<std::size_t>(id)]);
    }
    put(dump, "embedding", -1, x, {n, hidden_});
    for (int l = 0; l < layers_; ++l) {
      attention(l, n, x, dump);
      feed_forward(l, n, x, dump);
    }
    const Rows last = norm(x, "output_norm.weight");
    put(dump, "final_norm", -1, last, {n, hidden_});
    const Rows logits = project({last.back()}, "output.weight", "");
    put(dump, "logits", -1, logits, {1, static_cast<int>(logits[0].size())});
    position_ += n;
  }

 private:
  using Row = std::vector<float>;
  using Rows = std::vector<Row>;

  int number(const char* key) const {
    return static_cast<int>(*file_->get_int(arch_ + "." + key).value());
  }

  Rows matrix(const std::string& name, bool transposed = false) const {
    const format::TensorInfo* t = file_->find_tensor(name);
    const Row flat = format::decode_values(*t, 0, t->n_elements).value();
    const std::size_t cols = t->shape.back();
    const std::size_t rows = t->n_elements / cols;
    Rows m(rows, Row(cols));
    for (std::size_t i = 0; i < flat.size(); ++i) {
      m[i / cols][i % cols] = transposed ? flat[i % cols * rows + i / cols] : flat[i];
    }
    return m;
  }

  Rows project(const Rows& x, const std::string& weight, const std::string& bias,
               bool transposed = false) const {
    const Rows w = matrix(weight, transposed);
    const bool has_bias = !bias.empty() && file_->find_tensor(bias) != nullptr;
    const Rows b = has_bias ? matrix(bias) : Rows{Row(w.size(), 0.0F)};
    Rows out;
    for (const Row& in : x) {
      Row& o = out.emplace_back();
      for (std::size_t r = 0; r < w.size(); ++r) {
        float sum = b[0][r];
        for (std::size_t c = 0; c < in.size(); ++c) {
          sum += w[r][c] * in[c];
        }
        o.push_back(sum);
      }
    }
    return out;
  }

  Rows norm(const Rows& x, const std::string& weight) const {
    const Row w = matrix(weight)[0];
    Rows out = x;
    for (Row& row : out) {
      double square = 0.0;
      for (const float v : row) {
        square += static_cast<double>(v) * static_cast<double>(v);
      }
      const double scale = 1.0 / std::sqrt(square / static_cast<double>(row.size()) + eps_);
      for (std::size_t i = 0; i < row.size(); ++i) {
        row[i] = static_cast<float>(static_cast<double>(row[i]) * scale) * w[i];
      }
    }
    return out;
  }

  /// Rotates halves of each head (NeoX pairing).
  Rows rotate(const Rows& x) const {
    Rows out = x;
    for (std::size_t t = 0; t < x.size(); ++t) {
      for (std::size_t i = 0; i < x[t].size(); ++i) {
        const int j = static_cast<int>(i) % dim_;
        const int half = dim_ / 2;
        const double angle =
            (position_ + static_cast<int>(t)) * std::pow(base_, -2.0 * (j % half) / dim_);
        const double other =
            static_cast<double>(x[t][j < half ? i + static_cast<std::size_t>(half)
                                              : i - static_cast<std::size_t>(half)]);
        out[t][i] = static_cast<float>(static_cast<double>(x[t][i]) * std::cos(angle) +
                                       (j < half ? -other : other) * std::sin(angle));
      }
    }
    return out;
  }

  void attention(int l, int n, Rows& x, Dump& dump) {
    const std::string blk = "blk." + std::to_string(l) + ".";
    const Rows in = norm(x, blk + "attn_norm.weight");
    const Rows q = project(in, blk + "attn_q.weight", blk + "attn_q.bias");
    const Rows k =
        project(in, blk + "attn_k.weight", bugs_.bias_dropped ? "" : blk + "attn_k.bias");
    const Rows v = project(in, blk + "attn_v.weight", blk + "attn_v.bias");
    const Rows q_rope = rotate(q);
    const Rows k_rope = rotate(k);
    put(dump, "attn_norm", l, in, {n, hidden_});
    put(dump, "q", l, q, {n, heads_, dim_});
    put(dump, "k", l, k, {n, kv_, dim_});
    put(dump, "v", l, v, {n, kv_, dim_});
    put(dump, "q_rope", l, q_rope, {n, heads_, dim_});
    put(dump, "k_rope", l, k_rope, {n, kv_, dim_});
    Rows& keys = keys_[static_cast<std::size_t>(l)];
    Rows& values = values_[static_cast<std::size_t>(l)];
    keys.insert(keys.end(), k_rope.begin(), k_rope.end());
    values.insert(values.end(), v.begin(), v.end());
    const Rows context = attend(l, n, q_rope, keys, values, dump);
    const Rows out =
        project(context, blk + "attn_output.weight", "", bugs_.output_transposed && l == 1);
    put(dump, "attn_context", l, context, {n, heads_, dim_});
    put(dump, "attn_out", l, out, {n, hidden_});
    add(x, out);
    put(dump, "resid_mid", l, x, {n, hidden_});
  }

  Rows attend(int l, int n, const Rows& q, const Rows& keys, const Rows& values, Dump& dump) {
    const std::size_t slots = keys.size();
    Rows context(q.size(), Row(q[0].size(), 0.0F));
    Row all_scores;
    Row all_weights;
    for (int h = 0; h < heads_; ++h) {
      const int kv = bugs_.heads_by_modulo ? h % kv_ : h / (heads_ / kv_);
      for (std::size_t t = 0; t < q.size(); ++t) {
        const std::size_t seen = static_cast<std::size_t>(position_) + t + 1;
        Row scores(slots, -INFINITY);
        Row weights(slots, 0.0F);
        float top = -INFINITY;
        for (std::size_t j = 0; j < seen; ++j) {
          float sum = 0.0F;
          for (int d = 0; d < dim_; ++d) {
            sum += q[t][index(h, d)] * keys[j][index(kv, d)];
          }
          scores[j] = sum / std::sqrt(static_cast<float>(dim_));
          top = std::max(top, scores[j]);
        }
        float total = 0.0F;
        for (std::size_t j = 0; j < seen; ++j) {
          weights[j] = std::exp(scores[j] - top);
          total += weights[j];
        }
        for (std::size_t j = 0; j < seen; ++j) {
          weights[j] /= total;
          for (int d = 0; d < dim_; ++d) {
            context[t][index(h, d)] += weights[j] * values[j][index(kv, d)];
          }
        }
        all_scores.insert(all_scores.end(), scores.begin(), scores.end());
        all_weights.insert(all_weights.end(), weights.begin(), weights.end());
      }
    }
    dump.put("attn_scores", l, all_scores.data(), {heads_, n, static_cast<int>(slots)});
    dump.put("attn_weights", l, all_weights.data(), {heads_, n, static_cast<int>(slots)});
    return context;
  }

  void feed_forward(int l, int n, Rows& x, Dump& dump) {
    const std::string blk = "blk." + std::to_string(l) + ".";
    const Rows in = norm(x, blk + "ffn_norm.weight");
    const Rows gate = project(in, blk + "ffn_gate.weight", "");
    const Rows up = project(in, blk + "ffn_up.weight", "");
    Rows act = gate;
    for (std::size_t t = 0; t < act.size(); ++t) {
      for (std::size_t i = 0; i < act[t].size(); ++i) {
        act[t][i] = gate[t][i] / (1.0F + std::exp(-gate[t][i])) * up[t][i];
      }
    }
    const Rows out = project(act, blk + "ffn_down.weight", "");
    const int wide = static_cast<int>(gate[0].size());
    put(dump, "ffn_norm", l, in, {n, hidden_});
    put(dump, "ffn_gate", l, gate, {n, wide});
    put(dump, "ffn_up", l, up, {n, wide});
    put(dump, "ffn_act", l, act, {n, wide});
    put(dump, "ffn_out", l, out, {n, hidden_});
    add(x, out);
    put(dump, "resid_out", l, x, {n, hidden_});
  }

  [[nodiscard]] std::size_t index(int head, int d) const {
    return static_cast<std::size_t>(head * dim_ + d);
  }

  static void add(Rows& x, const Rows& y) {
    for (std::size_t t = 0; t < x.size(); ++t) {
      for (std::size_t i = 0; i < x[t].size(); ++i) {
        x[t][i] += y[t][i];
      }
    }
  }

  static void put(Dump& dump, const char* tap, int layer, const Rows& rows,
                  std::initializer_list<int> shape) {
    Row flat;
    for (const Row& row : rows) {
      flat.insert(flat.end(), row.begin(), row.end());
    }
    dump.put(tap, layer, flat.data(), shape);
  }

  std::shared_ptr<const format::ModelFile> file_;
  ToyBugs bugs_;
  std::string arch_;
  int layers_ = 0, hidden_ = 0, heads_ = 0, kv_ = 0, dim_ = 0, position_ = 0;
  double eps_ = 0.0, base_ = 0.0;
  std::vector<Rows> keys_, values_;  ///< the KV cache, by layer
};

}  // namespace layerscope::testing
