// Window protocol: views, that is what a window asks for and what is too large for one record.
#include <algorithm>
#include <array>
#include <utility>

#include "engine/server/window_protocol.h"

namespace layerscope::server {
namespace {

using capture::HeadStats;
using capture::SlotStats;
using capture::TapStats;
using capture::TopToken;

constexpr std::size_t kMostText = std::size_t{64} << 10U;
constexpr std::size_t kMostRank = 4;
constexpr std::int32_t kMostPositions = 1 << 24;
constexpr std::size_t kSlotBytes = 2 * sizeof(float) + sizeof(std::uint16_t) + 1;

/// Which tensors of a pass are sent: the largest stay behind until the rest fits.
std::vector<const capture::FullTensor*> chosen_tensors(const capture::PassCapture& pass) {
  std::vector<const capture::FullTensor*> by_size;
  std::size_t total = 0;
  for (const capture::FullTensor& tensor : pass.tensors) {
    by_size.push_back(&tensor);
    total += tensor.values.size() * sizeof(float);
  }
  std::stable_sort(by_size.begin(), by_size.end(), [](const auto* a, const auto* b) {
    return a->values.size() < b->values.size();
  });
  while (!by_size.empty() && total > kMostViewValues) {
    total -= by_size.back()->values.size() * sizeof(float);
    by_size.pop_back();
  }
  std::sort(by_size.begin(), by_size.end());  // as computed: they stand in one vector
  return by_size;
}

void put(WireWriter& w, const capture::FullTensor& tensor) {
  w.put(tensor.tap);
  w.put(static_cast<std::int32_t>(tensor.layer));
  w.put(static_cast<std::uint32_t>(tensor.shape.size()));
  w.array(std::span(std::as_const(tensor.shape)));
  w.array(std::span(std::as_const(tensor.values)));
}

/// The values' number is the product of the shape.
capture::FullTensor get_tensor(WireReader& r, const session::ModelInfo& model) {
  capture::FullTensor tensor;
  tensor.tap =
      static_cast<capture::Tap>(r.within<std::uint8_t>(0, std::uint8_t{capture::kNumTaps - 1}));
  tensor.layer = r.within<std::int32_t>(-1, model.n_layers - 1);
  tensor.shape.resize(r.count(kMostRank, sizeof(std::int64_t)));
  r.array(std::span(tensor.shape));
  std::size_t n = 1;
  for (const std::int64_t dimension : tensor.shape) {
    if (dimension < 1 || static_cast<std::uint64_t>(dimension) > r.left() / n) {
      r.fail();
      return {};
    }
    n *= static_cast<std::size_t>(dimension);
  }
  if (tensor.shape.empty() || n > r.left() / sizeof(float) ||
      capture::is_layer_tap(tensor.tap) != (tensor.layer >= 0)) {
    r.fail();
    return {};
  }
  tensor.values.resize(n);
  r.array(std::span(tensor.values));
  return tensor;
}

session::LensRow get_lens(WireReader& r, const session::ModelInfo& model) {
  session::LensRow row;
  row.layer = r.within<std::int32_t>(-1, model.n_layers - 1);
  row.top.resize(r.count(capture::kTopTokens, sizeof(TopToken)));
  r.array(std::span(row.top));
  const bool known = std::all_of(row.top.begin(), row.top.end(), [&](const TopToken& t) {
    return t.id >= 0 && t.id < model.vocab_rows;
  });
  row.entropy = r.get<float>();
  row.final_prob = r.get<float>();
  row.final_rank = r.within<std::int32_t>(-1, model.vocab_rows);
  if (!known) {
    r.fail();
  }
  return row;
}

}  // namespace

std::string PartWriter::next() {
  WireWriter w;
  w.put(kind_);
  w.put(static_cast<std::uint8_t>(at_ == 0));
  w.put(static_cast<std::uint32_t>(bytes_.size()));
  const std::string_view piece = std::string_view(bytes_).substr(at_, kPartBytes);
  w.array(std::span(piece));
  at_ += piece.size();
  return w.take();
}

bool PartReader::take(std::string_view part, std::optional<View>& view) {
  WireReader r(part);
  const auto kind = static_cast<ViewKind>(r.within<std::uint8_t>(
      static_cast<std::uint8_t>(ViewKind::kToken), static_cast<std::uint8_t>(ViewKind::kTensor)));
  const bool first = r.flag();
  const auto total = r.get<std::uint32_t>();
  if (!r.ok() || total == 0 || total > kMostView || r.left() == 0) {
    return false;
  }
  if (first) {
    begun_ = {kind, {}};
    total_ = total;
  }
  if (kind != begun_.kind || total != total_ || r.left() > total_ - begun_.bytes.size()) {
    return false;
  }
  begun_.bytes.append(part.substr(part.size() - r.left()));
  if (begun_.bytes.size() == total_) {
    view = std::exchange(begun_, {});
    total_ = 0;
  }
  return true;
}

std::string encode(const session::TokenDetail& detail) {
  WireWriter w;
  w.put(static_cast<std::int32_t>(detail.position));
  w.put(detail.id);
  w.put(detail.serial);
  w.put(detail.eval_ms);
  w.put(detail.lens_ms);
  w.text(std::string_view(detail.error).substr(0, kMostText));
  w.put(static_cast<std::int32_t>(detail.pass.first_position));
  w.put(static_cast<std::uint32_t>(detail.pass.taps.size()));
  w.array(std::span(detail.pass.taps));
  w.put(static_cast<std::uint32_t>(detail.pass.heads.size()));
  w.array(std::span(detail.pass.heads));
  const auto tensors = chosen_tensors(detail.pass);
  w.put(static_cast<std::uint32_t>(tensors.size()));
  for (const capture::FullTensor* tensor : tensors) {
    put(w, *tensor);
  }
  w.put(static_cast<std::uint32_t>(detail.lens.size()));
  for (const session::LensRow& row : detail.lens) {
    w.put(static_cast<std::int32_t>(row.layer));
    w.put(static_cast<std::uint32_t>(row.top.size()));
    w.array(std::span(row.top));
    w.put(row.entropy);
    w.put(row.final_prob);
    w.put(static_cast<std::int32_t>(row.final_rank));
  }
  return w.take();
}

std::shared_ptr<session::TokenDetail> decode_detail(std::string_view bytes,
                                                    const session::ModelInfo& model) {
  WireReader r(bytes);
  auto detail = std::make_shared<session::TokenDetail>();
  detail->position = r.within<std::int32_t>(-1, kMostPositions);
  detail->id = r.within<std::int32_t>(-1, model.vocab_rows - 1);
  detail->serial = r.get<std::uint64_t>();
  detail->eval_ms = r.get<double>();
  detail->lens_ms = r.get<double>();
  detail->error = r.text(kMostText);
  capture::PassCapture& pass = detail->pass;
  pass.request.tier = capture::Tier::kFull;
  pass.first_position = r.within<std::int32_t>(0, kMostPositions);
  pass.n_tokens = 1;
  pass.n_layers = model.n_layers;
  pass.n_heads = model.n_heads;
  const std::size_t n_taps = static_cast<std::size_t>(model.n_layers + 1) * capture::kNumTaps;
  pass.taps.resize(r.count(n_taps, sizeof(TapStats)));
  r.array(std::span(pass.taps));
  const std::size_t n_heads =
      static_cast<std::size_t>(model.n_layers) * static_cast<std::size_t>(model.n_heads);
  pass.heads.resize(r.count(n_heads, sizeof(HeadStats)));
  r.array(std::span(pass.heads));
  if ((!pass.taps.empty() && pass.taps.size() != n_taps) ||
      (!pass.heads.empty() && pass.heads.size() != n_heads)) {
    return nullptr;
  }
  const std::size_t n_tensors = r.count(n_taps, 2 + sizeof(std::int32_t));
  for (std::size_t i = 0; i < n_tensors && r.ok(); ++i) {
    pass.tensors.push_back(get_tensor(r, model));
  }
  const std::size_t n_rows = r.count(static_cast<std::size_t>(model.n_layers) + 1, 20);
  for (std::size_t i = 0; i < n_rows && r.ok(); ++i) {
    detail->lens.push_back(get_lens(r, model));
  }
  return r.complete() ? detail : nullptr;
}

std::string encode(const session::CacheView& view) {
  WireWriter w;
  const capture::CacheStats& s = view.stats;
  const bool fits = s.slots.size() <= kMostViewValues / kSlotBytes;
  std::string error = view.error;
  if (!fits) {
    error = "the cache has more slots than a worker sends; a shorter context can be shown";
  }
  w.text(std::string_view(error).substr(0, kMostText));
  for (const int value : {s.n_layers, s.n_kv_heads, s.head_dim, s.context, s.kv_len,
                          fits ? s.n_slots : 0, view.layer, view.kv_head, view.slot}) {
    w.put(static_cast<std::int32_t>(value));
  }
  if (fits) {
    for (const SlotStats& slot : s.slots) {
      w.put(slot.k_l2);
      w.put(slot.v_l2);
      w.put(slot.non_finite);
      w.put(static_cast<std::uint8_t>(slot.zero));
    }
  }
  for (const std::vector<float>* values : {&view.key, &view.value}) {
    w.put(static_cast<std::uint32_t>(values->size()));
    w.array(std::span(*values));
  }
  w.put(view.last_serial);
  w.put(view.ms);
  return w.take();
}

std::shared_ptr<session::CacheView> decode_cache(std::string_view bytes,
                                                 const session::ModelInfo& model) {
  WireReader r(bytes);
  auto view = std::make_shared<session::CacheView>();
  capture::CacheStats& s = view->stats;
  view->error = r.text(kMostText);
  s.n_layers = r.within<std::int32_t>(0, model.n_layers);
  s.n_kv_heads = r.within<std::int32_t>(0, model.n_kv_heads);
  s.head_dim = r.within<std::int32_t>(0, model.head_dim);
  s.context = r.within<std::int32_t>(0, kMostPositions);
  s.kv_len = r.within<std::int32_t>(0, s.context);
  s.n_slots = r.within<std::int32_t>(0, s.context);
  view->layer = r.within<std::int32_t>(0, std::max(s.n_layers, 1) - 1);
  view->kv_head = r.within<std::int32_t>(0, std::max(s.n_kv_heads, 1) - 1);
  view->slot = r.within<std::int32_t>(0, std::max(s.n_slots, 1) - 1);
  const std::size_t rows =
      static_cast<std::size_t>(s.n_layers) * static_cast<std::size_t>(s.n_kv_heads);
  const auto slots = static_cast<std::size_t>(s.n_slots);
  if (!r.ok() || (rows > 0 && slots > r.left() / kSlotBytes / rows)) {
    return nullptr;
  }
  s.slots.resize(rows * slots);
  for (SlotStats& slot : s.slots) {
    slot.k_l2 = r.get<float>();
    slot.v_l2 = r.get<float>();
    slot.non_finite = r.get<std::uint16_t>();
    slot.zero = r.flag();
  }
  const auto head_dim = static_cast<std::size_t>(s.head_dim);
  for (std::vector<float>* values : {&view->key, &view->value}) {
    values->resize(r.count(head_dim, sizeof(float)));
    r.array(std::span(*values));
    if (!values->empty() && values->size() != head_dim) {
      r.fail();
    }
  }
  view->last_serial = r.get<std::uint64_t>();
  view->ms = r.get<double>();
  return r.complete() ? view : nullptr;
}

std::string encode(const TensorAnswer& answer) {
  WireWriter w;
  const format::TensorStats& s = answer.stats;
  w.text(answer.name);
  w.text(answer.error);
  for (const double value : {s.min, s.max, s.mean, s.std, s.l2}) {
    w.put(value);
  }
  for (const std::uint64_t value : {s.count, s.nans, s.infs, s.zeros, s.subnormals}) {
    w.put(value);
  }
  w.array(std::span(s.histogram));
  w.put(static_cast<std::uint32_t>(answer.first.size()));
  w.array(std::span(answer.first));
  w.text(answer.data);
  return w.take();
}

std::optional<TensorAnswer> decode_tensor(std::string_view bytes) {
  WireReader r(bytes);
  TensorAnswer answer;
  format::TensorStats& s = answer.stats;
  answer.name = r.text(kMostText);
  answer.error = r.text(kMostText);
  for (double* value : {&s.min, &s.max, &s.mean, &s.std, &s.l2}) {
    *value = r.get<double>();
  }
  for (std::uint64_t* value : {&s.count, &s.nans, &s.infs, &s.zeros, &s.subnormals}) {
    *value = r.get<std::uint64_t>();
  }
  r.array(std::span(s.histogram));
  answer.first.resize(r.count(256, sizeof(float)));
  r.array(std::span(answer.first));
  answer.data = r.text(kMostViewValues);
  return r.complete() ? std::optional(std::move(answer)) : std::nullopt;
}

}  // namespace layerscope::server
