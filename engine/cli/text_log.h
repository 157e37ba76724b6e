// TextLog: the plain debug log that one greps: a section per forward pass, from the embedding to
// the sampled token, with limits so that it stays readable. Written to a C stream (standard error).
#pragma once

#include <cstdio>
#include <span>

#include "engine/capture/frame.h"
#include "engine/session/generator.h"

namespace layerscope::cli {

struct TextLogLimits {
  int passes = 3;     ///< passes logged in all
  int positions = 3;  ///< first tokens of a pass
  int values = 6;     ///< first values of a row
  int first_layer = 0, last_layer = 1;
};

class TextLog {
 public:
  TextLog(session::Generator& generator, TextLogLimits limits, std::FILE* out);

  /// Makes the generator capture what the log shows and report its passes here; after the last
  /// logged pass the generator captures as before.
  void attach();
  /// The token that was taken after the pass.
  void sampled(std::int32_t id, const capture::Choice& choice);

 private:
  void pass(const capture::PassCapture& captured, std::span<const float> logits);
  void tensor(const capture::FullTensor& tensor, const capture::PassCapture& captured);
  void rows(const capture::FullTensor& tensor, const capture::PassCapture& captured);
  void attention(const capture::FullTensor& tensor, const capture::PassCapture& captured);
  void logits(std::span<const float> row);

  session::Generator& generator_;
  TextLogLimits limits_;
  std::FILE* out_;
  capture::Request before_;
  int passes_ = 0;
  bool open_ = false;  ///< The last pass was logged.
};

}  // namespace layerscope::cli
