// TensorSource: a matrix of values that can be looked at — a tensor of the file, a captured tap, or
// the difference of two. Immutable; read from any thread, a piece at a time.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "engine/base/result.h"
#include "engine/format/model_file.h"
#include "engine/session/snapshot.h"

namespace layerscope::gui::view {

class TensorSource {
 public:
  using Ptr = std::shared_ptr<const TensorSource>;

  /// A tensor of `file`; its key is its name.
  static Ptr weight(std::shared_ptr<const format::ModelFile> file,
                    const format::TensorInfo& tensor);
  /// Tensor `index` of an inspected token; its key is "tap/LAYER/NAME", or "tap/NAME" for
  /// model-wide ones.
  static Ptr tap(std::shared_ptr<const session::TokenDetail> detail, std::size_t index);
  /// a − b. Error (kUsage): their shapes differ.
  static Result<Ptr> difference(Ptr a, Ptr b);

  std::string key;
  std::string name;  ///< as shown
  std::string type;  ///< "Q8_0", "captured F32"
  std::vector<std::uint64_t> shape;
  std::uint64_t rows = 0, cols = 0;  ///< the last dimension, and everything before it
  std::uint64_t count = 0;           ///< rows · cols

  /// Values [first, first + n). Errors: a type that cannot be decoded yet, out of range.
  [[nodiscard]] Result<std::vector<float>> read(std::uint64_t first, std::uint64_t n) const;

  /// The tensor in the file; null for others.
  [[nodiscard]] const format::TensorInfo* stored() const { return info_; }
  [[nodiscard]] bool is_difference() const { return a_ != nullptr; }

 private:
  void set_shape(std::vector<std::uint64_t> dimensions);

  std::shared_ptr<const format::ModelFile> file_;
  const format::TensorInfo* info_ = nullptr;
  std::shared_ptr<const session::TokenDetail> detail_;
  const std::vector<float>* values_ = nullptr;  ///< inside detail_
  Ptr a_, b_;
};

/// Key of a captured tap: "tap/3/attn_out", "tap/final_norm".
std::string tap_key(capture::Tap tap, int layer);

/// "[3, 17]": the place of one value in a tensor of that shape.
std::string index_text(const std::vector<std::uint64_t>& shape, std::uint64_t flat);

}  // namespace layerscope::gui::view
